"""What a model's next call is to see of a conversation, in the format of the provider that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from ...accounts.tokens import DEFAULT_MODEL
from ...exceptions import InvalidInput
from ...exceptions.validation import check_count
from ...models.home import HomeStore
from ...providers.context_rows import ORIGIN, context_rows, said_rows
from ...providers.earlier import with_earlier
from ...providers.fingerprints import fingerprint_of_tools
from ...providers.formats import Format, check_format, written
from ...providers.messages import ChatMessage, plain_messages
from ...providers.responses_state import responses_request
from ...stores.base import AnyEvent
from ..log_end import KnownEnd, LogEnd, PathEnd
from ..opening import Conversation
from ..order import as_told, late_questions
from .beginning import Beginning
from .chain import Contexts, signing
from .fitting import Fitting, RowsOf, fitted_with_earlier
from .loops import Loop, unfinished_loop
from .steps import STEP
from .windows import content_length, is_system

_OPERATION = "get_messages_for_llm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `SessionManager.get_messages_for_llm` is asked for; see there."""

    format_name: Format | None
    include_system: bool
    include_tools: bool
    max_tokens: int | None
    steady: bool
    model: str | None
    tools: Sequence[Any] | None
    server_state: bool

    def check(self) -> None:
        """Refuse what cannot be right.

        Raises:
            InvalidInput: saying what.
        """
        if self.format_name is not None:
            check_format(self.format_name, _OPERATION)
        if self.max_tokens is not None:
            check_count(self.max_tokens, 1, "max_tokens", _OPERATION)
        if self.server_state and self.format_name != "openai-responses":
            raise InvalidInput(_OPERATION, 'server_state goes with format="openai-responses" only')

    @property
    def has_tools(self) -> bool:
        """Whether calls and results are rows too."""
        return self.include_tools or self.format_name not in {None, "openai"}

    @property
    def kind(self) -> str:
        """What form the rows are written in."""
        return self.format_name or "openai"


async def asked(conversation: Conversation, beginning: Beginning, contexts: Contexts, wanted: Wanted) -> Any:
    """What `SessionManager.get_messages_for_llm` gives; see there."""
    wanted.check()
    home, session = await conversation.current(with_events=wanted.max_tokens is None)
    seen = _Seen(beginning, home, wanted)
    background = await beginning.background_of(home, session)
    held = background.held
    log = PathEnd(session, home) if held is None else KnownEnd(session, home, held, background.passed)
    if not wanted.has_tools:
        return written(await seen.rows(log), wanted.format_name, model=wanted.model)
    loop = await unfinished_loop(log, background, home)
    rows = await (seen.rows(log) if loop is None or not loop.is_bound else seen.rows_of_loop(loop))
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
    return request


def _before_loss(events: Sequence[AnyEvent]) -> set[str]:
    """The events before the newest call that failed because the server had forgotten what it held."""
    lost = max((at for at, event in enumerate(events) if event.metadata.get("state_lost")), default=0)
    return {event.id for event in events[:lost]}


class _Seen:
    """What of a conversation goes into a context."""

    def __init__(self, beginning: Beginning, home: HomeStore, wanted: Wanted) -> None:
        self._beginning = beginning
        self._home = home
        self._wanted = wanted
        system = wanted.include_system
        self._front = beginning.rows if system else []
        self._in_format: RowsOf = plain_messages if wanted.format_name is None else said_rows
        if wanted.has_tools:
            self._in_format = partial(context_rows, include_system=system)

    def _rows_of(self, events: Sequence[AnyEvent]) -> list[ChatMessage]:
        return self._in_format(as_told(events))

    async def _whole(
        self, events: Sequence[AnyEvent], summary: str | None, start: Sequence[AnyEvent]
    ) -> list[ChatMessage]:
        late = await late_questions(events, self._home)
        rows = [*self._front, *self._rows_of([*late, *start, *events])]
        return rows if summary is None else with_earlier(rows, summary)

    async def _told(self, log: LogEnd) -> tuple[str | None, Sequence[AnyEvent]]:
        """What goes before a segment: a summary, and the start of the exchange that it goes on with."""
        background = await self._beginning.told(self._home, log.session)
        told = background.told if self._wanted.include_system else None
        return str(told) if told else None, background.start

    async def rows(self, log: LogEnd) -> list[ChatMessage]:
        """The rows of a segment: all of them, or a window's."""
        summary, start = await self._told(log)
        if self._wanted.max_tokens is not None:
            return await self._window(log, summary, start, self._wanted.max_tokens)
        return await self._whole(log.events, summary, start)

    async def rows_of_loop(self, loop: Loop) -> list[ChatMessage]:
        """The rows that the model saw when a tool loop began, and those of the loop.

        A window that began somewhere then does so until the loop ends, and a segment that was opened
        meanwhile changes nothing.
        """
        summary, start = await self._told(loop.log)
        if self._wanted.max_tokens is None:
            while not loop.log.is_whole:
                await loop.log.read_back()
            return await self._whole([*loop.log.events, *loop.later], summary, start)
        begun = loop.log.until(loop.question)
        rows = await self._window(begun, summary, start, self._wanted.max_tokens)
        front = list(takewhile(is_system, rows))
        first = next(row[ORIGIN].event_id for row in rows if ORIGIN in row and not is_system(row))
        events = [*start, *begun.events, *loop.events[1:]]
        at = next(at for at, event in enumerate(events) if event.id == first)
        rows = [*front, *self._rows_of(events[at:])]
        return rows if summary is None else with_earlier(rows, summary)

    async def _window(
        self, log: LogEnd, summary: str | None, start: Sequence[Any], max_tokens: int
    ) -> list[ChatMessage]:
        wanted, model = self._wanted, self._wanted.model or DEFAULT_MODEL
        fitting = Fitting(
            log=log,
            beginning=self._front,
            start=start,
            rows_of=self._rows_of,
            may_begin_with_system=wanted.has_tools and wanted.include_system,
            length=content_length(model),
            step=STEP * max_tokens if wanted.steady else None,
        )
        if summary is None:
            return await fitting.rows(max_tokens)
        return await fitted_with_earlier(fitting.rows, summary, max_tokens, model)
