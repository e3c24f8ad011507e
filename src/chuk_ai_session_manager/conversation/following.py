"""The end of a conversation, and the events that are added while one watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from ..exceptions import StorageError, UnreadableData, session_not_found
from ..models.home import HomeStore
from ..models.session import next_segment_id
from ..stores.base import AnyEvent, AnySession
from .log_end import LogEnd
from .segments import Placed, latest, newest_in
from .summaries import ends_in_summary

__all__ = ["Placed", "follow", "last_events", "live_segment_of"]

# How many closed segments are watched: their summaries may be stored late, or never.
_MOST_WATCHED = 5


async def last_events(session_id: str, home: HomeStore, count: int) -> list[Placed]:
    """The last events of a conversation, oldest first, from as many segments as needed.

    Raises:
        SessionNotFound: the session does not exist.
        UnreadableData: a segment is damaged.
    """
    return await newest_in(await live_segment_of(session_id, home), home, count)


async def follow(
    session_id: str,
    home: HomeStore,
    *,
    last: int = 10,
    interval: float = 0.5,
    on_outage: Callable[[StorageError], object] | None = None,
) -> AsyncGenerator[Placed, None]:
    """Yield the last events of a conversation, and then, without end, the events that any process adds.

    New segments are followed too. A summary is yielded when it is stored, which may be after the first events
    of the next segment.

    Args:
        session_id: any segment of the conversation.
        home: the store.
        last: how many existing events come first.
        interval: seconds between two looks.
        on_outage: called when a look fails; then the next looks follow. Without it, the error is raised.

    Raises:
        SessionNotFound: the session does not exist, or expired or was deleted meanwhile.
        UnreadableData: the session is damaged.
        StorageError: see `on_outage`; if the first look fails, always.
    """
    live = await live_segment_of(session_id, home)
    watched = [_Watched(live, live.totals.events)]
    seen: set[str] = set()
    for placed in await newest_in(live, home, last):
        seen.add(placed[1].id)
        yield placed
    while True:
        await asyncio.sleep(interval)
        try:
            async with aclosing(_added_since(watched, home)) as added:
                async for placed in added:
                    if placed[1].id not in seen:
                        seen.add(placed[1].id)
                        yield placed
        except UnreadableData:
            raise
        except StorageError as problem:
            if on_outage is None:
                raise
            on_outage(problem)
            continue
        watched = [*(each for each in watched[-_MOST_WATCHED:-1] if not each.is_over), watched[-1]]


@dataclass(slots=True)
class _Watched:
    """A segment, and how many of its events were seen."""

    session: AnySession
    told: int
    ended: bool = False
    """Whether the summary at its end was seen."""

    @property
    def is_over(self) -> bool:
        """Whether no more events are added: another segment follows, and this one has its summary."""
        return self.ended and self.following in self.session.child_ids

    @property
    def following(self) -> str:
        """The id of the segment after it, if there is one."""
        return next_segment_id(self.session.id)

    async def added(self, home: HomeStore) -> list[AnyEvent]:
        """Return the events that were added since the last look."""
        log = LogEnd(await latest(self.session, home, with_events=False), home)
        self.session, count = log.session, log.first + len(log.events)
        missing = count - self.told
        while missing > len(log.events) and not log.is_whole:
            await log.read_back(limit=missing - len(log.events))
        new = log.events[len(log.events) - missing :] if missing > 0 else []
        self.told, self.ended = count, self.ended or ends_in_summary(new)
        return new


async def live_segment_of(session_id: str, home: HomeStore) -> AnySession:
    """The last segment of a session's conversation; its events may be left out.

    Raises:
        SessionNotFound: the session does not exist.
    """
    session = await home.head(session_id)
    if session is None:
        raise session_not_found(session_id)
    last_id = await home.last_segment_id(session_id)
    last = None if last_id in {None, session_id} else await home.head(last_id or "")
    return session if last is None else last


async def _added_since(watched: list[_Watched], home: HomeStore) -> AsyncGenerator[Placed]:
    """The events that were added to the segments, and to those that follow, which are watched from now on."""
    for each in watched:  # the list grows during the loop
        for event in await each.added(home):
            yield each.session, event
        if each is watched[-1] and each.following in each.session.child_ids:
            child = await home.head(each.following)
            if child is not None:
                watched.append(_Watched(child, 0))
