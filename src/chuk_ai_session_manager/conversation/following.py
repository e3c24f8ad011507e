"""The end of a conversation, and what is added to it while one looks on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import TypeAlias

from ..exceptions import StorageError, UnreadableData, session_not_found
from ..models.session import HomeStore, next_segment_id
from ..stores.base import AnyEvent, AnySession
from .segments import latest, segment_ids_of
from .summaries import ends_in_summary

Placed: TypeAlias = "tuple[AnySession, AnyEvent]"
"""An event, and the segment that it is in."""

# Segments that were closed while they were watched: their summaries may land late, or never.
_MOST_WATCHED = 5


async def last_events(session_id: str, home: HomeStore, count: int) -> list[Placed]:
    """The last events of a conversation, oldest first, from as many segments as it takes.

    Raises:
        SessionNotFound: there is no such session.
        UnreadableData: one of those segments is damaged.
    """
    found: list[Placed] = []
    for each in reversed(await segment_ids_of(session_id, home)):
        if len(found) >= count:
            break
        segment = await home.get(each)
        events = segment.events if segment is not None else []
        found = [(segment, event) for event in events if segment is not None] + found
    return found[max(0, len(found) - count) :]


async def follow(
    session_id: str,
    home: HomeStore,
    *,
    last: int = 10,
    interval: float = 0.5,
    on_outage: Callable[[StorageError], object] | None = None,
) -> AsyncGenerator[Placed, None]:
    """The last events of a conversation, then, without end, what any process adds to it.

    It goes on into new segments. A summary comes when it is stored, which may be after the first events
    of the next segment.

    Args:
        session_id: any segment of the conversation.
        home: where it is.
        last: how many of the events that are there come first.
        interval: seconds between one look and the next.
        on_outage: told where a look fails; the next ones go on. Without it, the error is raised.

    Raises:
        SessionNotFound: there is no such session, or it expired or was deleted meanwhile.
        UnreadableData: it is damaged.
        StorageError: as said of `on_outage`; and always where the first look fails.
    """
    live = await _live_segment(session_id, home)
    watched, seen = [live], {event.id for event in live.events}
    for placed in await last_events(session_id, home, last):
        seen.add(placed[1].id)
        yield placed
    while True:
        await asyncio.sleep(interval)
        try:
            watched = await _looked_at(watched, home)
        except UnreadableData:
            raise
        except StorageError as problem:
            if on_outage is None:
                raise
            on_outage(problem)
            continue
        for placed in _events_but(seen, watched):
            yield placed
        watched = [*(each for each in watched[-_MOST_WATCHED:-1] if not _is_over(each)), watched[-1]]


async def _live_segment(session_id: str, home: HomeStore) -> AnySession:
    live = await home.get((await segment_ids_of(session_id, home))[-1])
    if live is None:
        raise session_not_found(session_id)
    return live


def _events_but(seen: set[str], segments: Sequence[AnySession]) -> Iterator[Placed]:
    """The events that were not seen yet; they are from now on."""
    for segment in segments:
        for event in segment.events:
            if event.id not in seen:
                seen.add(event.id)
                yield segment, event


async def _looked_at(watched: list[AnySession], home: HomeStore) -> list[AnySession]:
    """The segments as they are stored now, and those that follow them."""
    now = [await latest(segment, home) for segment in watched]
    while (following := next_segment_id(now[-1].id)) in now[-1].child_ids:
        child = await home.get(following)
        if child is None:
            break
        now.append(child)
    return now


def _is_over(segment: AnySession) -> bool:
    """Whether nothing is added to a segment any more: another one follows, and it has its summary."""
    return next_segment_id(segment.id) in segment.child_ids and ends_in_summary(segment.events)
