"""Contexts of at most so many tokens, made from the end of a log: events before the window are not read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Self, TypeAlias

from ...exceptions import TokenLimitExceeded
from ...models import EventSource, EventType, TokenUsage
from ...models.event_page import tokens_of
from ...providers.context_rows import ORIGIN, Origin
from ...providers.earlier import marked, with_earlier
from ...providers.messages import ChatMessage, call_and_result_numbers, text_of
from ...providers.sendable import with_newest_marks
from ...stores.base import AnyEvent
from ..log_end import LogEnd
from ..order import late_answers, late_questions
from ..path import is_question
from .clearing import Clearing
from .lengths import Length
from .steps import first_in_step
from .windows import is_system, is_user, shortened

RowsOf: TypeAlias = Callable[[Sequence[AnyEvent]], list[ChatMessage]]
"""Makes chat messages of events that follow each other."""

# The call of a result is looked for among this many events before the result. If the call is further away,
# a call is made up from what the result says.
_CALL_SEARCHED = 200
# How many events are looked at first.
_FEW = 30
# And as many as have so many more tokens than there is room for: then what does not fit is among them.
_WIDER = 1.2


@dataclass(frozen=True, slots=True)
class PinnedRows:
    """The rows of a pinned message, and of the events that belong to it."""

    event_id: str
    rows: Sequence[ChatMessage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How a log is made to fit.

    Args:
        log: the end of the live segment's log; more of the log is read as needed.
        beginning: the rows before all messages: the system prompt.
        start: the events before the log: the first part of an exchange that goes on in this log.
        rows_of: makes the messages.
        may_begin_with_system: whether `rows_of` may make system rows of the first events of the log; these
            rows are never dropped.
        length: measures a row, in tokens.
        step: how far the window's start moves at a time, in content tokens; `None`: as little as possible.
        pins: the rows that every window has; a pin that is older than the window stands in front of it.
        clearing: which results a window replaces with a line.
    """

    log: LogEnd
    beginning: Sequence[ChatMessage]
    start: Sequence[AnyEvent]
    rows_of: RowsOf
    may_begin_with_system: bool
    length: Length
    step: float | None = None
    pins: Sequence[PinnedRows] = ()
    clearing: Clearing | None = None

    async def window(self, room: int) -> Window:
        """The messages that fit: all of them, or all from one of the user's messages on.

        Args:
            room: how many tokens the rows may have together.

        Raises:
            TokenLimitExceeded: not even the newest exchange fits.
            SessionNotFound: the session expired or was deleted meanwhile.
            StorageError: the store could not say.
        """
        log = self.log
        front: list[ChatMessage] | None = None
        wide = int(room * _WIDER)
        if not log.is_whole and tokens_of(log.events) < wide:
            await log.read_back(tokens=max(1, wide))
        count = _FEW
        while True:
            count = max(count, _newest_with(log.events, wide))
            if count >= len(log.events) and log.is_whole:
                break
            if front is None:
                front = [*self.beginning, *await self._leading_system_rows()]
                continue  # the log may have been read again meanwhile
            end = _End.of_newest(log.events[-count:], self.rows_of)
            if end.starts:
                cut = await self._cut(front, end, room)
                if cut is not None:
                    return cut
            if count >= len(log.events):
                await log.read_back()
            count *= 2
        return await self._of_whole(room)

    async def _of_whole(self, room: int) -> Window:
        """The window of a log that is in memory as a whole."""
        log = self.log
        late = await late_questions(log.events, log.home)
        events = [*late, *self.start, *log.events]
        rows = [*self.beginning, *self.rows_of(events)]
        front = list(takewhile(is_system, rows))
        pinned = self._pinned_before(events, 0)
        retracted = tokens_of(log.passed) - tokens_of(log.events) if self.step else 0
        said = rows[len(front) :]
        if self.clearing is None:
            is_longer = await _are_longer([*pinned, *rows], room - retracted, self.length)
        else:
            taken = sum([await self.length(row) for row in [*front, *pinned]])
            taken += await self.clearing.length(said, self.length, at_most=self.step is not None)
            is_longer = taken > room - retracted
        if not is_longer:
            return Window(front, pinned, self._cleared(said))
        end = _End.of_whole(events, rows, self.rows_of)
        window = await self._cut(front, end, room, is_whole=True) if end.starts else None
        if window is not None:
            return window
        return await self._shortened(front, pinned, self._cleared(said), room)

    async def _shortened(
        self, front: Sequence[ChatMessage], pinned: list[ChatMessage], rows: list[ChatMessage], room: int
    ) -> Window:
        """As much of the newest exchange as fits."""
        taken = sum([await self.length(row) for row in pinned])
        try:
            cut = await shortened([*front, *rows], room - taken, self.length, self.step, self._is_pinned)
        except TokenLimitExceeded as problem:
            raise TokenLimitExceeded(room, taken + int(problem.actual or 0)) from None
        return Window(front, pinned, rows if cut is None else cut[len(front) :])

    def _is_pinned(self, row: ChatMessage) -> bool:
        """Whether a row of the window is a pinned message's."""
        origin = row.get(ORIGIN)
        if isinstance(origin, Origin):
            return any(origin.event_id == pin.event_id for pin in self.pins)
        return any(row in pin.rows for pin in self.pins)

    def _pinned_before(self, events: Sequence[AnyEvent], start: int) -> list[ChatMessage]:
        """The rows of the pins that are not in the window which begins at one of the events."""
        inside = {event.id for event in events[start:]} if self.pins else set()
        return [row for pin in self.pins if pin.event_id not in inside for row in pin.rows]

    async def _cut(
        self, front: Sequence[ChatMessage], end: _End, room: int, *, is_whole: bool = False
    ) -> Window | None:
        """A window; `None` where all events at hand fit, so that more of the log is to be read."""
        rows, firsts = end.rows, end.first_rows
        around = sum([await self.length(row) for row in front])
        lengths = await self._lengths(rows, firsts, room - around)
        if self.pins:
            pinned = [self._pinned_before(end.events, at) for at in end.starts]
            lengths = [
                length + sum([await self.length(row) for row in rows_before])
                for length, rows_before in zip(lengths, pinned, strict=True)
            ]
        fits = [around + length <= room for length in lengths]
        if self.step and len(self.log.passed) != len(self.log.events):
            # A start that did not fit before later events were retracted does not come back.
            retracted = self.log.retracted_since()
            did = [
                around + length + retracted.get(end.events[at].id, 0) <= room
                for at, length in zip(end.starts, lengths, strict=True)
            ]
            fits = did if any(did) else [*([False] * (len(fits) - 1)), fits[-1]]
        if fits[0] and not is_whole:
            return None
        if not fits[-1]:
            newest = self._pinned_before(end.events, end.starts[-1])
            return await self._shortened(front, newest, self._cleared(rows[firsts[-1] :]), room)
        chosen = fits.index(True)
        if self.step:
            chosen = first_in_step(*self._positions(end), chosen, self.step)
        pinned_rows = self._pinned_before(end.events, end.starts[chosen])
        return Window(front, pinned_rows, self._cleared(rows[firsts[chosen] :]))

    def _cleared(self, rows: Sequence[ChatMessage]) -> list[ChatMessage]:
        return list(rows) if self.clearing is None else self.clearing.applied(rows)

    async def _lengths(self, rows: Sequence[ChatMessage], firsts: Sequence[int], room: int) -> list[int]:
        """The length of the windows that begin at certain rows; counting stops once one is too long."""
        if self.clearing is None:
            return await _lengths_from_end(rows, firsts, room, self.length)
        found: list[int] = []
        for first in reversed(firsts):
            if not found or found[-1] <= room:
                at_most = self.step is not None
                found.append(await self.clearing.length(rows[first:], self.length, at_most=at_most))
            else:
                found.append(found[-1])
        return found[::-1]

    def _positions(self, end: _End) -> tuple[list[int], list[int | None]]:
        """The position of each start in the conversation, and of the exchange before each start."""
        ids = [end.events[start].id for start in end.starts]
        asked = self._asked(ids)
        known = self.log.positions(asked)
        # Events before the log count as standing where the log begins.
        at = {each: known.get(each, 0) for each in ids}
        before: dict[str, int | None] = {}
        last: int | None = None
        for each in [*(each for each in ids if each not in known), *asked]:
            before[each] = last
            last = known.get(each, 0)
        return [at[each] for each in ids], [before[each] for each in ids]

    def _asked(self, starts: Sequence[str]) -> list[str]:
        """The ids of some events and of the log's questions, retracted ones too, from one question before."""
        missing = set(starts)
        asked: list[str] = []
        for event in reversed(self.log.passed):
            is_start = event.id in missing
            if is_start or is_question(event):
                asked.append(event.id)
                if not missing:
                    break
                missing.discard(event.id)
        return asked[::-1]

    async def _leading_system_rows(self) -> list[ChatMessage]:
        """The system rows that the log begins with."""
        totals = self.log.session.totals
        if not self.may_begin_with_system or self.start:
            return []
        if totals.messages == totals.user_messages + totals.ai_messages:
            return []
        first = await self.log.first_events(
            lambda events: not all(map(is_system, self.rows_of(events))),
        )
        leading = takewhile(lambda event: all(map(is_system, self.rows_of([event]))), first)
        return self.rows_of(list(leading))


@dataclass(frozen=True, slots=True)
class Window:
    """The rows of a context, in parts."""

    front: Sequence[ChatMessage]
    """The system prompt, and the system rows that the log begins with."""
    pinned: Sequence[ChatMessage]
    """The pinned rows that stand before the others."""
    said: Sequence[ChatMessage]

    @property
    def rows(self) -> list[ChatMessage]:
        """All rows of the context."""
        return with_newest_marks([*self.front, *self.pinned, *self.said])


class _End:
    """The last events of a log, and the rows at which a window may begin.

    In the rows, results follow their calls and answers follow their questions, so a window may begin at any
    of the user's rows.
    """

    def __init__(self, events: Sequence[AnyEvent], rows: Sequence[ChatMessage], users: Sequence[int]) -> None:
        self.events = events
        self.rows = rows
        asked = [at for at, row in enumerate(rows) if is_user(row)]
        after = list(accumulate(users, initial=0))
        self.starts = [at for at, count in enumerate(users) if count]
        """The positions of the user's events."""
        self.first_rows = [asked[after[at]] for at in self.starts]
        """The position of the first row of each of these events."""

    @classmethod
    def of_whole(cls, events: Sequence[AnyEvent], rows: Sequence[ChatMessage], rows_of: RowsOf) -> Self:
        """For all events that a context may have, and their rows."""
        return cls(events, rows, [_users_rows(event, rows_of) for event in events])

    @classmethod
    def of_newest(cls, events: Sequence[AnyEvent], rows_of: RowsOf) -> Self:
        """For the newest events of a log: from the first one before which no call or question is missing."""
        users = [_users_rows(event, rows_of) for event in events]
        barred = _barred(events)
        first = next((at for at, count in enumerate(users) if count and not barred[at]), len(events))
        return cls(events[first:], rows_of(events[first:]), users[first:])


def _users_rows(event: AnyEvent, rows_of: RowsOf) -> int:
    """How many rows of an event are the user's."""
    message, is_users = event.message, event.source == EventSource.USER
    if event.type != EventType.MESSAGE:
        return 0
    if isinstance(message, str):
        return int(is_users)
    if not is_users and not (isinstance(message, dict) and message.get("role") == "user"):
        return 0
    return sum(map(is_user, rows_of([event])))


def _barred(events: Sequence[AnyEvent]) -> list[bool]:
    """For each event: whether a window that begins there has a result but lacks the result's call."""
    changes = [0] * (len(events) + 1)
    for call, result in [*call_and_result_numbers(events), *late_answers(events)]:
        if call is not None:
            changes[call + 1] += 1
        elif result < _CALL_SEARCHED:
            changes[0] += 1
        else:  # the call is not among the events, though it would be if there were one
            continue
        changes[result + 1] -= 1
    return [count > 0 for count in accumulate(changes)]


def _newest_with(events: Sequence[AnyEvent], tokens: int) -> int:
    """How many of the newest events together have this many content tokens."""
    count = 0
    for event in reversed(events):
        if tokens < 0:
            break
        tokens -= tokens_of([event])
        count += 1
    return count


async def _are_longer(rows: Sequence[ChatMessage], room: int, length: Length) -> bool:
    """Whether rows have more tokens than this; they are counted from the end, no further than needed."""
    for row in reversed(rows):
        room -= await length(row)
        if room < 0:
            return True
    return room < 0


async def _lengths_from_end(
    rows: Sequence[ChatMessage], firsts: Sequence[int], room: int, length: Length
) -> list[int]:
    """The length of the rows from each of some positions on; nothing is counted once it is far too long."""
    found: list[int] = []
    total, end = 0, len(rows)
    for first in reversed(firsts):
        if total <= room:
            total += sum([await length(row) for row in rows[first:end]])
            end = first
        found.append(total)
    return found[::-1]


async def fitted_with_earlier(
    cut: Callable[[int], Awaitable[list[ChatMessage]]], summary: str, max_tokens: int, model: str
) -> list[ChatMessage]:
    """Messages cut to so many tokens, with a summary at the beginning of the user's first row.

    Raises:
        TokenLimitExceeded: the summary, and the rows that `cut` always keeps, are too long together.
    """
    length = await TokenUsage.count_tokens(marked(summary), model)
    while length < max_tokens:
        try:
            rows = await cut(max_tokens - length)
        except TokenLimitExceeded as problem:
            raise TokenLimitExceeded(max_tokens, length + int(problem.actual or 0)) from None
        told = with_earlier(rows, summary)
        longer = await _tokens(told, model) - await _tokens(rows, model)
        if longer <= length:
            return told
        length = longer  # joined texts can have more tokens than the texts have alone
    raise TokenLimitExceeded(max_tokens, length + 1)


async def _tokens(rows: Sequence[ChatMessage], model: str) -> int:
    return sum([await TokenUsage.count_tokens(text_of(row), model) for row in rows])
