"""The end of a session's log, read only as far back as needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing
from copy import copy
from itertools import dropwhile, takewhile
from typing import Any

from ..exceptions import session_not_found
from ..models import Session
from ..models.event_page import tokens_of
from ..models.home import HomeStore
from ..stores.base import AnyEvent
from .path import EarlierNeededError, Paths

# The smallest and the largest page, in events: reading five costs as much as reading thirty.
_SMALLEST_PAGE = 30
_LARGEST_PAGE = 4_000


class LogEnd:
    """The newest events of a session: those that its object holds, and those read from the store so far.

    The session's object does not change: events that are read here are not added to it.

    Args:
        session: the session, as it came from the store, with or without its events.
        home: the store.
        may_lack: whether an `AbsentText` may stand in events for bytes, which are then not read.
    """

    _last: AnyEvent | None = None

    def __init__(self, session: Session[Any], home: HomeStore, *, may_lack: bool = False) -> None:
        self.home = home
        self._newest = home.newest_outlines if may_lack else home.newest_events
        self._take(session)

    def _take(self, session: Session[Any]) -> None:
        self.session = session
        # As they are now: others may add events to the object meanwhile.
        self._tokens = session.token_summary.total_tokens
        self._hold(list(session.events), session.totals.events - len(session.events))

    def _hold(self, read: list[AnyEvent], first: int) -> None:
        self._read = read
        self.first: int = first
        """The number of the first event that was read: the number of events before those read so far."""
        self.events: list[AnyEvent] = self._cut(self._of(read))
        """The events, the oldest first."""
        self._passed = self._passed_of(read)

    def _cut(self, events: list[AnyEvent]) -> list[AnyEvent]:
        """The events up to the one that `until` named, if there is one."""
        last = self._last
        return events if last is None else [*takewhile(lambda each: each is not last, events), last]

    def _of(self, read: list[AnyEvent]) -> list[AnyEvent]:
        """The events that count here: all of them."""
        return read

    def _passed_of(self, read: list[AnyEvent]) -> list[AnyEvent]:
        """The events that count here, including retracted ones."""
        return read

    @property
    def is_whole(self) -> bool:
        """Whether the whole log was read."""
        return self.first <= 0

    def positions(self, wanted: Collection[str]) -> dict[str, int]:
        """The positions of some events that were read: the content tokens of the log before each.

        They are counted back from the log's end, no further than to these events. Messages off the path count
        too, so that an event's position never changes.

        Args:
            wanted: the ids of the events; those of other events are left out.
        """
        found: dict[str, int] = {}
        missing = set(wanted)
        at, events = self._counted()
        for event in reversed(events):
            if not missing:
                break
            at -= tokens_of([event])
            if event.id in missing:
                missing.remove(event.id)
                found[event.id] = at
        return found

    def _counted(self) -> tuple[int, list[AnyEvent]]:
        """The content tokens of the whole log, and the events over which positions are counted."""
        return self._tokens, self._read

    @property
    def passed(self) -> list[AnyEvent]:
        """The events, including retracted ones."""
        return self._cut(self._passed)

    def retracted_since(self) -> dict[str, int]:
        """By each event's id: how many content tokens were retracted from the events after it."""
        held = {event.id for event in self.events}
        since: dict[str, int] = {}
        retracted = 0
        for event in reversed(self.passed):
            if event.id in held:
                since[event.id] = retracted
            else:
                retracted += tokens_of([event])
        return since

    async def last(self) -> AnyEvent | None:
        """Return the newest event; `None` if there is none."""
        if not self.events:
            await self.read_back()
        return self.events[-1] if self.events else None

    async def read_back(self, *, limit: int | None = None, tokens: int | None = None) -> None:
        """Read the next page towards the log's beginning.

        Args:
            limit: at most so many events; by default, as many as were read so far.
            tokens: only as many events as are needed for so many content tokens.

        Raises:
            SessionNotFound: the session expired or was deleted.
            StorageError: the store failed.
        """
        if self.is_whole:
            return
        if limit is None and tokens is None:
            limit = min(max(len(self._read), _SMALLEST_PAGE), _LARGEST_PAGE)
        page = await self._newest(self.session, before=self.first, limit=limit, tokens=tokens)
        if page is None or not page.events:
            await self._read_anew()
            return
        self._hold([*page.events, *self._read], page.first)

    async def read_back_to(
        self, is_wanted: Callable[[AnyEvent], bool], *, before: AnyEvent | None = None
    ) -> AnyEvent | None:
        """Return the newest event of a kind, reading back until there is one, or to the log's beginning.

        Args:
            is_wanted: whether an event is of that kind.
            before: only events before this one, which was read already.

        Raises:
            SessionNotFound, StorageError: as for `read_back`.
        """
        is_before = before is None
        async with aclosing(self.newest_first()) as events:
            async for event in events:
                if is_before and is_wanted(event):
                    return event
                is_before = is_before or event is before
        return None

    async def newest_first(self) -> AsyncGenerator[AnyEvent]:
        """Yield all events, from the newest to the oldest, reading further pages as needed.

        Raises:
            SessionNotFound, StorageError: as for `read_back`.
        """
        given = 0
        while True:
            while given < len(self.events):
                given += 1
                yield self.events[-given]
            if self.is_whole:
                return
            await self.read_back()

    def since(self, event: AnyEvent) -> list[AnyEvent]:
        """An event that was read, and those after it."""
        return list(dropwhile(lambda each: each is not event, self.events))

    def until(self, event: AnyEvent) -> LogEnd:
        """The same log as it was when an event that was read was its last one."""
        log = copy(self)
        after = next(at for at, each in enumerate(self.events) if each is event) + 1
        log._last = event  # noqa: SLF001  (its own)
        log.events = self.events[:after]
        return log

    async def first_events(self, are_enough: Callable[[Sequence[AnyEvent]], bool]) -> Sequence[AnyEvent]:
        """Return the log's oldest events, as many as needed; fewer only if there are no more.

        If they reach the events that were read from the end, all events are returned.

        Raises:
            SessionNotFound, StorageError: as for `read_back`.
        """
        wanted = 8
        while wanted < self.first:
            page = await self._newest(self.session, before=wanted, limit=wanted)
            if page is None:
                await self._read_anew()
            elif are_enough(page.events):
                return page.events
            wanted *= 4
        while not self.is_whole:
            await self.read_back(limit=self.first)
        return self.events

    async def _read_anew(self) -> None:
        """Read the whole log: it was rewritten meanwhile, so numbers may mean other events."""
        session = await self.home.latest(self.session)
        if session is None:
            raise session_not_found(self.session.id)
        self._take(session)


class PathEnd(LogEnd):
    """The newest events of a session's path (see `path`), including notes and summaries.

    A choice of an earlier segment's event takes all earlier messages of this segment off the path.
    """

    async def read_back(self, *, limit: int | None = None, tokens: int | None = None) -> None:
        """Read the next page towards the log's beginning, and more if the path depends on earlier events.

        Raises:
            SessionNotFound, StorageError: as for `LogEnd.read_back`.
        """
        await super().read_back(limit=limit, tokens=tokens)
        while not self._is_known:
            await super().read_back()

    def _of(self, read: list[AnyEvent]) -> list[AnyEvent]:
        """The events on the path; none if that is not known yet."""
        self._is_known = True
        self._paths = Paths(read, is_whole=self.is_whole) if self.session.totals.choices else None
        if self._paths is None:
            return read
        try:
            return self._paths.chosen()
        except EarlierNeededError:
            self._is_known = False
            return []

    def _passed_of(self, read: list[AnyEvent]) -> list[AnyEvent]:
        return read if self._paths is None else self._paths.passed()


class KnownEnd(LogEnd):
    """Events that were read already, as the end of a session's log without earlier events.

    Args:
        session: the session.
        home: the store.
        events: the events; they need not be all of the session's, nor of this session alone.
        passed: the same events, including retracted ones.
    """

    def __init__(
        self,
        session: Session[Any],
        home: HomeStore,
        events: Sequence[AnyEvent],
        passed: Sequence[AnyEvent] | None = None,
    ) -> None:
        self._known = list(events)
        self._known_passed = self._known if passed is None else list(passed)
        super().__init__(session, home)

    def _counted(self) -> tuple[int, list[AnyEvent]]:
        return tokens_of(self._known_passed), self._known_passed

    def _passed_of(self, read: list[AnyEvent]) -> list[AnyEvent]:  # noqa: ARG002  (nothing is read)
        return self._known_passed

    def _hold(self, read: list[AnyEvent], first: int) -> None:  # noqa: ARG002  (nothing is read)
        super()._hold(self._known, 0)


async def whole_outline(session: Session[Any], home: HomeStore) -> list[AnyEvent]:
    """All events of a session; an `AbsentText` may stand in them for bytes.

    Raises:
        SessionNotFound, StorageError: as for `LogEnd.read_back`.
    """
    log = LogEnd(session, home, may_lack=True)
    while not log.is_whole:
        await log.read_back(limit=log.first)
    return log.events


async def no_log_ends() -> AsyncIterator[LogEnd]:
    """No earlier segments."""
    return
    yield
