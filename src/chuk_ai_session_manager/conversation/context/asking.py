"""What a model's next call is to see of a conversation, in the format of the provider that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...providers.cache_marks import with_cache_marks
from ...providers.fingerprints import fingerprint_of_tools
from ...providers.formats import written
from ...providers.responses_state import responses_request
from ...stores.base import AnyEvent
from ..log_end import KnownEnd, PathEnd
from ..opening import Conversation
from ..pinned import PinnedTurns
from .beginning import Beginning
from .chain import Contexts, signing
from .loops import unfinished_loop
from .seen import Seen
from .wanted import Wanted


async def asked(
    conversation: Conversation,
    beginning: Beginning,
    contexts: Contexts,
    pinned: PinnedTurns,
    wanted: Wanted,
) -> Any:
    """What `SessionManager.get_messages_for_llm` gives; see there."""
    wanted.check()
    home, session = await conversation.current(with_events=wanted.max_tokens is None)
    background = await beginning.background_of(home, session)
    held = background.held
    log = PathEnd(session, home) if held is None else KnownEnd(session, home, held, background.passed)
    loop = await unfinished_loop(log, background, home) if wanted.has_tools else None
    is_bound = loop is not None and loop.is_bound
    moment = loop.began if loop is not None and is_bound else None
    has_choices = bool(session.totals.choices or background.sums.totals.choices)
    turns = await pinned.turns(session, home, has_choices=has_choices, moment=moment)
    seen = Seen(beginning, home, wanted, await wanted.room(), turns)
    if not wanted.has_tools:
        return _marked(written(await seen.rows(log), wanted.format_name, model=wanted.model), wanted)
    rows = await (seen.rows_of_loop(loop) if loop is not None and is_bound else seen.rows(log))
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
    """A context with the marks of where the provider's cache is to end, if these are wanted."""
    ttl = wanted.cache_ttl
    if ttl is None:
        return request
    return with_cache_marks(request, wanted.format_name, wanted.model, ttl, wanted.tools or ())


def _before_loss(events: Sequence[AnyEvent]) -> set[str]:
    """The events before the newest call that failed because the server had forgotten what it held."""
    lost = max((at for at, event in enumerate(events) if event.metadata.get("state_lost")), default=0)
    return {event.id for event in events[:lost]}
