"""The context of a model's next call, in the format of the provider that is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...models.home import HomeStore
from ...providers.cache_marks import with_cache_marks
from ...providers.fingerprints import fingerprint_of_tools
from ...providers.formats import written
from ...providers.messages import ChatMessage
from ...providers.responses_state import responses_request
from ...stores.base import AnyEvent, AnySession
from ..absent import fill
from ..background import Background
from ..billing import TOKENS_A_MESSAGE, TOKENS_OF_A_BEGINNING
from ..count_corrections import Corrections
from ..log_end import KnownEnd, LogEnd, PathEnd
from ..opening import Conversation
from ..path import is_question
from ..pinned_turns import PinnedTurns
from ..recall.finding import Finder
from .beginning import Beginning
from .chain import Contexts, signing
from .loops import Loop, unfinished_loop
from .recalled import Excerpts
from .room import Room
from .seen import Seen
from .wanted import Wanted


async def asked(
    conversation: Conversation,
    beginning: Beginning,
    contexts: Contexts,
    pinned: PinnedTurns,
    finder: Finder,
    corrections: Corrections,
    wanted: Wanted,
) -> Any:
    """Make what `SessionManager.get_messages_for_llm` returns; the arguments are explained there.

    Raises:
        BytesGoneError: an image or a file was deleted meanwhile.
    """
    wanted.check()
    home, session = await conversation.current(with_events=wanted.max_tokens is None)
    excerpts = Excerpts(finder, conversation.id, session, home, contexts.recalled, wanted)
    background = await beginning.background_of(home, session)
    held = background.held
    log = (
        PathEnd(session, home, may_lack=True)
        if held is None
        else KnownEnd(session, home, held, background.passed)
    )
    loop = await unfinished_loop(log, background, home) if wanted.has_tools or wanted.recalls else None
    bound = loop if loop is not None and wanted.has_tools and loop.is_bound else None
    has_choices = bool(session.totals.choices or background.sums.totals.choices)
    moment = None if bound is None else bound.began
    turns = await pinned.turns(session, home, has_choices=has_choices, moment=moment)
    if wanted.max_tokens is not None:
        await corrections.load(session, home, is_infinite=conversation.is_infinite)
    room = await wanted.room(corrections.factor(wanted.model))
    seen = Seen(beginning, home, wanted, room, turns, excerpts)
    if wanted.recalls:
        await excerpts.ask(*await _question(log, background, loop), in_loop=loop is not None)
    rows = await _rows(seen, excerpts, log, bound)
    if wanted.recalls:
        rows = await seen.with_excerpts(rows, [*background.start, *log.events])
    # In OpenAI's chat form, a result may only be text: the bytes of its images are not sent.
    only_texts = {"tool"} if wanted.format_name == "openai" else set()
    await fill((row for row in rows if row["role"] not in only_texts), home, wanted.kind)
    if corrections.is_on and (counted := await _length(rows, room, beginning, home, session, wanted)):
        contexts.count_out(counted)
    if not wanted.has_tools:
        return _marked(written(rows, wanted.format_name, model=wanted.model), wanted)
    chain = contexts.chain(wanted.kind)
    tools = "" if wanted.tools is None else fingerprint_of_tools(wanted.tools)
    if wanted.server_state:
        request: Any = responses_request(rows, chain, tools, lost=_before_loss(log.events))
    else:
        unfinished = set() if loop is None else {event.id for event in loop.events}
        may_sign = signing(wanted.kind, chain, tools, unfinished)
        request = written(rows, wanted.format_name, model=wanted.model, may_sign=may_sign, chain=chain)
    if chain.rows:
        contexts.hand_out(wanted.kind, chain, tools)
    return _marked(request, wanted)


def _marked(request: Any, wanted: Wanted) -> Any:
    """A context in which the end of the cached part is marked, where the caller asked for these marks."""
    ttl = wanted.cache_ttl
    if ttl is None:
        return request
    return with_cache_marks(request, wanted.format_name, wanted.model, ttl, wanted.tools or ())


async def _length(
    rows: Sequence[ChatMessage],
    room: Room | None,
    beginning: Beginning,
    home: HomeStore,
    session: AnySession,
    wanted: Wanted,
) -> int | None:
    """How long a context is, by our count; `None` where only counting it would tell.

    Without a limit, it is what its messages were counted when they were recorded. (What tools gave was not.)
    """
    if room is not None:
        length = wanted.length()
        tokens = sum([await length(row) for row in rows]) + sum(room.parts.values())
        around = 0 if wanted.counts_all else (TOKENS_A_MESSAGE + 1) * len(rows) + TOKENS_OF_A_BEGINNING
        return tokens + around
    held = await beginning.held_length(home, session)
    if held.tool_calls or wanted.tools:
        return None
    tokens = held.tokens + held.messages * (TOKENS_A_MESSAGE + 1) + TOKENS_OF_A_BEGINNING
    return tokens + await beginning.length(home, session, wanted.counted_model)


async def _question(
    log: LogEnd, background: Background, loop: Loop | None
) -> tuple[AnyEvent | None, Sequence[AnyEvent]]:
    """The user's newest message, and the events after it."""
    if loop is not None:
        return loop.question, loop.events
    question = await log.read_back_to(is_question)
    earlier = [event for event in background.start if is_question(event)]
    return question or (earlier[-1] if earlier else None), log.events


async def _rows(seen: Seen, excerpts: Excerpts, log: LogEnd, bound: Loop | None) -> list[ChatMessage]:
    """The rows of a context, with the excerpts that were recalled for earlier questions."""
    while True:
        rows = await (seen.rows(log) if bound is None else seen.rows_of_loop(bound))
        if not await excerpts.were_read():
            return rows


def _before_loss(events: Sequence[AnyEvent]) -> set[str]:
    """The events before the newest call that failed because the provider had lost the state it stored."""
    lost = max((at for at, event in enumerate(events) if event.metadata.get("state_lost")), default=0)
    return {event.id for event in events[:lost]}
