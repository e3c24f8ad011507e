"""The sessions of a store, without their messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

from ..exceptions import UnreadableData
from ..models.record import utc_now
from ..models.session import next_segment_id
from ..stores import EventStore
from ..stores.base import is_segment_after
from .figures import dollars
from .screen import NUMBER

_LISTED_AT_ONCE = 500
_POSITIONS = {
    (False, False): "only",
    (False, True): "first",
    (True, True): "middle",
    (True, False): "last",
}


async def all_ids(store: EventStore) -> AsyncIterator[str]:
    """The ids of all sessions, the one written to last first."""
    page = await store.list_sessions(limit=_LISTED_AT_ONCE)
    while True:
        for each in page:
            yield each
        if page.next_cursor is None:
            return
        page = await store.list_sessions(limit=_LISTED_AT_ONCE, cursor=page.next_cursor)


async def live_ids(store: EventStore) -> list[str]:
    """The last segments of all conversations, the one written to longest ago first."""
    return [each async for each in all_ids(store) if await _is_live(each, store)][::-1]


async def _is_live(session_id: str, store: EventStore) -> bool:
    following = next_segment_id(session_id)
    try:
        session = await store.head(session_id)
        goes_on = session is not None and following in session.child_ids
        return not goes_on or await store.head(following) is None
    except UnreadableData:
        return True  # for who reads it to tell of


async def row_of(session_id: str, store: EventStore) -> dict[str, Any]:
    """What a listing says of a session."""
    try:
        session = await store.head(session_id)
    except UnreadableData:
        return {"id": session_id, "damaged": True}
    if session is None:  # it expired meanwhile
        return {"id": session_id, "gone": True}
    follows = is_segment_after(session, session.parent_id)
    goes_on = next_segment_id(session.id) in session.child_ids
    return {
        "id": session.id,
        "user_id": session.user_id,
        "segment": _POSITIONS[follows, goes_on],
        "parent_id": session.parent_id,
        "events": session.totals.events,
        "content_tokens": session.total_tokens,
        "cost_usd": session.total_cost,
        "created_at": session.metadata.created_at.isoformat(),
        "last_update": session.last_update_time.isoformat(),
    }


HEADINGS = ("Session", "User", "Segment", f"{NUMBER}Events", f"{NUMBER}Cost", "Ago")


def cells_for_people(row: dict[str, Any]) -> list[str]:
    """The same under `HEADINGS`."""
    if "last_update" not in row:
        return [row["id"], "", "damaged" if row.get("damaged") else "gone", "", "", ""]
    age = ago(utc_now() - datetime.fromisoformat(row["last_update"]))
    figures = [f"{row['events']:,}", dollars(row["cost_usd"])]
    return [row["id"], row["user_id"] or "", row["segment"], *figures, age]


def cells_for_programs(row: dict[str, Any]) -> list[str]:
    """The same as values: id, user, segment, events, content tokens, USD, time of the last event."""
    if "last_update" not in row:
        return [row["id"], "", "damaged" if row.get("damaged") else "gone", "", "", "", ""]
    figures = [str(row["events"]), str(row["content_tokens"]), f"{row['cost_usd']:.6f}"]
    return [row["id"], row["user_id"] or "", row["segment"], *figures, row["last_update"]]


def ago(age: timedelta) -> str:
    """How long ago something was, to its largest unit."""
    seconds = int(age.total_seconds())
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length * (2 if unit == "days" else 1):
            return f"{seconds // length} {unit}"
    return "now"
