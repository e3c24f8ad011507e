"""The end of a session's log, read as far back as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..models import Session
from ..models.event_page import tokens_of
from ..models.session import HomeStore
from ..stores.base import AnyEvent
from .segments import latest

# The fewest and the most events that one page has: reading five costs as much as reading thirty.
_SMALLEST_PAGE = 30
_LARGEST_PAGE = 4_000


class LogEnd:
    """The newest events of a session: those that its object holds, and those read from the store so far.

    The session's object stays as it is: events that are read here are not added to it.

    Args:
        session: as the store handed it out, with or without its events.
        home: the store.
    """

    def __init__(self, session: Session[Any], home: HomeStore) -> None:
        self._home = home
        self._take(session)

    def _take(self, session: Session[Any]) -> None:
        self.session = session
        self._tokens = session.total_tokens  # as of now: others may add events to the object meanwhile
        self.events: list[AnyEvent] = list(session.events)
        """The events, the oldest first."""
        self.first = session.totals.events - len(session.events)
        """The number of the first one: so many events lie before those read so far."""

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole log."""
        return self.first <= 0

    @property
    def tokens_before(self) -> int:
        """How many content tokens the events have that lie before those read so far."""
        return self._tokens - tokens_of(self.events)

    async def read_back(self, *, limit: int | None = None, tokens: int | None = None) -> None:
        """Read the next page towards the log's beginning.

        Args:
            limit: at most so many events; by default, as many as were read so far.
            tokens: no more events than it takes to have so many content tokens.

        Raises:
            SessionNotFound: the session expired or was deleted.
            StorageError: the store could not say.
        """
        if self.is_whole:
            return
        if limit is None and tokens is None:
            limit = min(max(len(self.events), _SMALLEST_PAGE), _LARGEST_PAGE)
        page = await self._home.newest_events(self.session, before=self.first, limit=limit, tokens=tokens)
        if page is None or not page.events:
            # The log was rewritten while it was read: numbers may stand for other events now.
            self._take(await latest(self.session, self._home))
            return
        self.events = [*page.events, *self.events]
        self.first = page.first

    async def read_back_to(self, is_wanted: Callable[[AnyEvent], bool]) -> AnyEvent | None:
        """The newest event of a kind; reads back until there is one, or to the log's beginning.

        Raises:
            SessionNotFound, StorageError: as for `read_back`.
        """
        seen = 0
        while True:
            session, unseen = self.session, self.events[: len(self.events) - seen]
            found = next(filter(is_wanted, reversed(unseen)), None)
            if found is not None or self.is_whole:
                return found
            seen = len(self.events)
            await self.read_back()
            if self.session is not session or len(self.events) < seen:  # read anew
                seen = 0

    async def first_events(self, are_enough: Callable[[Sequence[AnyEvent]], bool]) -> Sequence[AnyEvent]:
        """The log's oldest events, as many as it takes; fewer only where there are no more.

        Where they reach those that were read from the end, all that were read.

        Raises:
            SessionNotFound, StorageError: as for `read_back`.
        """
        wanted = 8
        while wanted < self.first:
            page = await self._home.newest_events(self.session, before=wanted, limit=wanted)
            if page is None:
                self._take(await latest(self.session, self._home))
            elif are_enough(page.events):
                return page.events
            wanted *= 4
        while not self.is_whole:
            await self.read_back(limit=self.first)
        return self.events
