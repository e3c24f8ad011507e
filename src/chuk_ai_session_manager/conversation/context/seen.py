"""The rows of a context: what the next call sees of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any

from ...exceptions import TokenLimitExceeded
from ...models import TokenUsage
from ...models.home import HomeStore
from ...providers.context_rows import ORIGIN, context_rows, rows_naming_questions, said_rows
from ...providers.earlier import marked, with_earlier
from ...providers.messages import ChatMessage, plain_messages
from ...stores.base import AnyEvent
from ..log_end import LogEnd
from ..order import as_told, late_questions
from ..pinned_turns import PinnedTurn
from ..pins import pins_too_long
from ..recall.tools import NOTE, are_offered
from .beginning import Beginning
from .clearing import Clearing
from .fitting import Fitting, PinnedRows, RowsOf, Window, fitted_with_earlier
from .loops import Loop
from .recalled import Excerpts
from .room import Room
from .steps import STEP
from .wanted import Wanted
from .windows import is_system

# Where earlier turns are recalled, a summary has its own part of the room if it takes no more than this
# part; a longer one has to fit in that of the newest exchanges.
_SUMMARY_SHARE = 7


class Seen:
    """The rows of one context."""

    def __init__(
        self,
        beginning: Beginning,
        home: HomeStore,
        wanted: Wanted,
        room: Room | None,
        pinned: Sequence[PinnedTurn],
        excerpts: Excerpts,
    ) -> None:
        self._beginning = beginning
        self._home = home
        self._wanted = wanted
        self._room = room
        system = wanted.include_system
        self._front = beginning.rows if system else []
        self._in_format: RowsOf = plain_messages if wanted.format_name is None else said_rows
        if wanted.has_tools:
            self._in_format = partial(context_rows, include_system=system)
        self._excerpts = excerpts
        self._first: str | None = None
        """The id of the window's first event; `None` where the context shows the whole log."""
        self._pinned_ids = {event.id for turn in pinned for event in turn.events}
        pins = [PinnedRows(turn.event.id, self._rows_of(turn.events)) for turn in pinned]
        self._pins = [pin for pin in pins if pin.rows]
        self._clearing: Clearing | None = None
        if wanted.keep_tool_results is not None:
            self._clearing = Clearing(wanted.keep_tool_results, self._pinned_ids)

    def _rows_of(self, events: Sequence[AnyEvent]) -> list[ChatMessage]:
        told = as_told(events)
        if not self._excerpts.are_in(events):
            return self._in_format(told)
        has_names = self._wanted.has_tools
        rows = self._in_format(told) if has_names else rows_naming_questions(told, self._in_format)
        return self._excerpts.in_rows(rows, events)

    def _cleared(self, rows: list[ChatMessage], until: AnyEvent | None = None) -> list[ChatMessage]:
        """Rows with their old results cleared, except the rows from one event on."""
        if self._clearing is None:
            return rows
        end = len(rows)
        if until is not None:
            ids = [row[ORIGIN].event_id if ORIGIN in row else None for row in rows]
            end = ids.index(until.id) if until.id in ids else 0
        return [*self._clearing.applied(rows[:end]), *rows[end:]]

    async def _whole(
        self,
        events: Sequence[AnyEvent],
        summary: str | None,
        start: Sequence[AnyEvent],
        until: AnyEvent | None = None,
    ) -> list[ChatMessage]:
        late = await late_questions(events, self._home)
        events = [*late, *start, *events]
        rows = self._cleared([*self._front, *self._rows_of(events)], until)
        known = {event.id for event in events}
        pinned = [row for pin in self._pins if pin.event_id not in known for row in pin.rows]
        if pinned:
            front = len(list(takewhile(is_system, rows)))
            rows[front:front] = pinned
        return rows if summary is None else with_earlier(rows, summary)

    async def _told(self, log: LogEnd) -> tuple[str | None, Sequence[AnyEvent]]:
        """What stands before a segment: a summary, and the first part of an exchange that goes on in it."""
        background = await self._beginning.told(self._home, log.session)
        told = background.told if self._wanted.include_system else None
        if not told:
            return None, background.start
        return str(told) + (NOTE if are_offered(self._wanted.tools or ()) else ""), background.start

    async def rows(self, log: LogEnd) -> list[ChatMessage]:
        """The rows of a segment: all of them, or those of a window."""
        summary, start = await self._told(log)
        if self._room is not None:
            window, summary = await self._window(log, summary, start, self._room)
            return window.rows if summary is None else with_earlier(window.rows, summary)
        return await self._whole(log.events, summary, start)

    async def rows_of_loop(self, loop: Loop) -> list[ChatMessage]:
        """The rows that the model saw when a tool loop began, and the rows of the loop.

        The window keeps its start until the loop ends, and a segment that is opened meanwhile changes
        nothing.
        """
        summary, start = await self._told(loop.log)
        if self._room is None:
            while not loop.log.is_whole:
                await loop.log.read_back()
            return await self._whole([*loop.log.events, *loop.later], summary, start, loop.question)
        begun = loop.log.until(loop.question)
        window, summary = await self._window(begun, summary, start, self._room)
        said = (row[ORIGIN].event_id for row in window.said if ORIGIN in row and not is_system(row))
        first = next(said, None)  # there is none if the log begins with instructions, and without a question
        events = [*start, *begun.events, *loop.events[1:]]
        after_all = len(start) + len(begun.events)
        at = next((at for at, event in enumerate(events) if event.id == first), after_all)
        rows = [*window.front, *window.pinned]
        rows += self._cleared(self._rows_of(events[at:]), loop.question)
        return rows if summary is None else with_earlier(rows, summary)

    async def with_excerpts(self, rows: list[ChatMessage], events: Sequence[AnyEvent]) -> list[ChatMessage]:
        """Add excerpts of earlier turns in front of the newest question.

        Args:
            rows: the rows of the context.
            events: the events of these rows, and perhaps some before them.
        """
        at = next((at for at, event in enumerate(events) if event.id == self._first), 0)
        room = None if self._room is None else self._room.tokens
        length = self._wanted.length()
        return await self._excerpts.finished(rows, events[at:], self._pinned_ids, room, length)

    async def _window(
        self, log: LogEnd, summary: str | None, start: Sequence[Any], room: Room
    ) -> tuple[Window, str | None]:
        """A window, and the summary with which it begins.

        Where earlier turns are recalled, the newest exchanges get only a part of the room. The newest
        exchange is always there; the summary is there only where both fit.
        """
        length = self._wanted.length()
        pinned = sum([await length(row) for pin in self._pins for row in pin.rows])
        if pinned > room.limit / 2:
            raise pins_too_long(pinned, room.limit)
        window, told = await self._newest(log, summary, start, room, pinned)
        said = (row for row in window.said if ORIGIN in row and not is_system(row))
        self._first = next((row[ORIGIN].event_id for row in said), None)
        return window, told

    async def _newest(
        self, log: LogEnd, summary: str | None, start: Sequence[Any], room: Room, pinned: int
    ) -> tuple[Window, str | None]:
        if not self._wanted.recalls:
            return await self._cut(log, summary, start, room, pinned), summary
        length = self._wanted.length()
        kept = pinned + sum([await length(row) for row in self._front])
        free, least = room.tokens - self._excerpts.tokens, 0
        share = kept + self._excerpts.rest_of(room.tokens)
        gist = await TokenUsage.count_tokens(marked(summary or ""), self._wanted.counted_model)
        more = gist if gist <= room.tokens // _SUMMARY_SHARE else 0
        for told in dict.fromkeys([summary, None]):
            part = Room(min(free, share + (0 if told is None else more)))
            try:
                return await self._cut(log, told, start, part, pinned), told
            except TokenLimitExceeded as problem:
                least = int(problem.actual or 0)
        if least <= free:
            return await self._cut(log, None, start, Room(least), pinned), None
        self._excerpts.leave_out()
        return await self._cut(log, summary, start, room, pinned), summary

    async def _cut(
        self, log: LogEnd, summary: str | None, start: Sequence[Any], room: Room, pinned: int
    ) -> Window:
        wanted = self._wanted
        length = wanted.length()
        fitting = Fitting(
            log=log,
            beginning=self._front,
            start=start,
            rows_of=self._rows_of,
            may_begin_with_system=wanted.has_tools and wanted.include_system,
            length=length,
            step=STEP * room.limit if wanted.steady else None,
            pins=self._pins,
            clearing=self._clearing,
        )
        try:
            if summary is None:
                return await fitting.window(room.tokens)
            return await _window_with_earlier(fitting, summary, room.tokens, wanted.counted_model)
        except TokenLimitExceeded as problem:
            figures = {"system_prompt": sum([await length(row) for row in self._front]), "pins": pinned}
            if summary is not None:
                figures["summary"] = await TokenUsage.count_tokens(marked(summary), wanted.counted_model)
            newest = max(0, int(problem.actual or 0) - sum(figures.values()))
            raise room.exceeded(**figures, newest_exchange=newest) from None


async def _window_with_earlier(fitting: Fitting, summary: str, tokens: int, model: str) -> Window:
    """The window that fits beside a summary, which is later written into the user's first row."""
    window: Window | None = None

    async def cut(room: int) -> list[ChatMessage]:
        nonlocal window
        window = await fitting.window(room)
        return window.rows

    await fitted_with_earlier(cut, summary, tokens, model)
    assert window is not None  # noqa: S101  (`cut` has set it; mypy cannot know)
    return window
