"""The end of a conversation, read back over its segments as far as a question needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..models.home import HomeStore
from ..stores.base import AnyEvent, AnySession
from .log_end import LogEnd, whole_outline
from .path import EarlierNeededError, Paths
from .segments import Placed, newest_in, read_all, segments_before

T = TypeVar("T")


class LookingBack:
    """The newest events of a conversation, from as many of its segments as were needed so far.

    Args:
        live: the last segment of the conversation.
        home: the store.
        earlier_segments: whether earlier segments count.
        may_lack: whether an `AbsentText` may stand in events for bytes, which are then not read.
    """

    def __init__(
        self, live: AnySession, home: HomeStore, *, earlier_segments: bool = True, may_lack: bool = False
    ) -> None:
        self._log = LogEnd(live, home, may_lack=may_lack)
        self._later: list[Placed] = []
        self._earlier = segments_before(live, home, may_lack=may_lack)
        self._is_last_segment = not (earlier_segments and live.parent_id)

    @property
    def is_whole(self) -> bool:
        """Whether there is nothing before the events that were read."""
        return self._log.is_whole and self._is_last_segment

    @property
    def first_segment(self) -> AnySession:
        """The earliest segment of which any event was read."""
        return self._log.session

    @property
    def placed(self) -> list[Placed]:
        """The events that were read, oldest first, each with its segment."""
        return [*((self._log.session, event) for event in self._log.events), *self._later]

    @property
    def events(self) -> list[AnyEvent]:
        """The same, without their segments."""
        return [*self._log.events, *(event for _, event in self._later)]

    def place_of(self, event_id: str) -> tuple[str, int]:
        """The segment of an event that was read, and its number in there."""
        numbers = {self._log.session.id: self._log.first}
        for segment, event in self.placed:
            number = numbers.get(segment.id, 0)
            if event.id == event_id:
                return segment.id, number
            numbers[segment.id] = number + 1
        raise LookupError(event_id)

    async def read_back(self) -> None:
        """Read the next page, or continue with the segment before.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store failed.
        """
        if self._log.is_whole:
            earlier = await anext(self._earlier, None)
            if earlier is None:
                self._is_last_segment = True
                return
            self._later = self.placed
            self._log = earlier
        await self._log.read_back()

    async def read_segment(self) -> None:
        """Read the rest of the earliest segment.

        Raises:
            SessionNotFound, StorageError: as for `read_back`.
        """
        while not self._log.is_whole:
            await self._log.read_back(limit=self._log.first)

    async def asked(self, question: Callable[[Paths], T]) -> T:
        """Answer a question about the conversation's paths, reading as much as the question needs.

        Raises:
            SessionNotFound, StorageError: as for `read_back`.
        """
        while True:
            try:
                return question(Paths(self.events, is_whole=self.is_whole))
            except EarlierNeededError:
                await self.read_back()


async def newest_held(
    live: AnySession,
    home: HomeStore,
    count: int,
    *,
    is_wanted: Callable[[AnyEvent], bool] = lambda event: True,  # noqa: ARG005  (any event)
    earlier_segments: bool = True,
    may_lack: bool = False,
) -> list[Placed]:
    """The newest events on a conversation's path (`newest_in` returns the newest of all events).

    Raises:
        SessionNotFound: the conversation expired or was deleted.
        UnreadableData: a segment is damaged.
    """
    newest = await newest_in(
        live, home, count, is_wanted=is_wanted, earlier_segments=earlier_segments, may_lack=may_lack
    )
    if not (live.totals.choices or any(segment.totals.choices for segment, _ in newest)):
        return newest
    back = LookingBack(live, home, earlier_segments=earlier_segments, may_lack=may_lack)

    def wanted(paths: Paths) -> set[str]:
        found = [event.id for event in paths.chosen() if is_wanted(event)]
        if len(found) < count and not paths.is_whole:
            raise EarlierNeededError
        return set(found[-count:]) if count else set()

    ids = await back.asked(wanted)
    return [(segment, event) for segment, event in back.placed if event.id in ids]


async def off_path(chain: Sequence[str], home: HomeStore) -> set[str]:
    """The ids of the messages and results in a conversation's segments that are not on the path.

    Raises:
        SessionNotFound: the conversation expired or was deleted meanwhile.
        UnreadableData: a segment is damaged.
    """
    heads = [segment async for segment in read_all(chain, home.head)]
    paths = Paths()
    if any(segment.totals.choices for segment in heads):
        for segment in heads:
            for event in await whole_outline(segment, home):
                paths.take(event)
    return paths.off()
