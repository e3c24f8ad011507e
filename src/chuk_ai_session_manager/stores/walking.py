"""What is found of a conversation by reading its segments one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models import Session, SessionEvent
from ..models.event_page import LogState
from ..models.home import HomeStore
from ..models.session import next_segment_id


async def read_log_states(session_id: str, store: HomeStore) -> list[LogState]:
    """How far the logs of a conversation's segments have come, by reading the segments."""
    read = [await store.get(each) for each in await store.segment_ids(session_id)]
    sessions = [each for each in read if isinstance(each, Session)]
    # What was removed for good is noted in the last segment, for all of them.
    version = str(sessions[-1].metadata.rewritten) if sessions else ""
    return [LogState(each.id, version, len(each.events)) for each in sessions]


def is_segment_after(session: Session[Any], parent_id: str | None) -> bool:
    """Whether a session is the next segment of another one's conversation, not merely its child."""
    return bool(parent_id) and session.id == next_segment_id(parent_id or "")


async def walked_segment_ids(session_id: str, store: HomeStore) -> list[str]:
    """The ids of a conversation's segments, found by reading the segments one after the other."""

    async def there(wanted: str) -> Session[Any] | None:
        session = await store.head(wanted)
        # A stand-in for a store may return anything.
        return session if isinstance(session, Session) and session.id == wanted else None

    session = await there(session_id)
    ids: list[str] = []
    while session is not None and session.id not in ids:
        ids.insert(0, session.id)
        parent_id = session.parent_id or ""
        session = await there(parent_id) if is_segment_after(session, parent_id) else None
    while ids and await there(following := next_segment_id(ids[-1])):
        ids.append(following)
    return ids


async def walked_events(
    session_id: str, event_ids: Sequence[str], store: HomeStore
) -> list[SessionEvent[Any]]:
    """Events of a conversation by their ids, found by reading its segments one after the other."""
    found: dict[str, SessionEvent[Any]] = {}
    for each in await store.segment_ids(session_id):
        segment = await store.get(each)
        if isinstance(segment, Session):  # a stand-in for a store may return anything
            events = map(segment.event, event_ids)
            found |= {event.id: event for event in events if event is not None}
    return list(found.values())
