"""Lists of a store's sessions, without their messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from ..conversation.segments import segment_ids_of
from ..exceptions import SessionManagerError, SessionNotFound, UnreadableData
from ..models.record import utc_now, utc_text
from ..models.session import next_segment_id
from ..stores import EventStore
from ..stores.walking import is_segment_after
from .figures import NO_PRICE, dollars, known_cost, plain_dollars
from .screen import NUMBER

_LISTED_AT_ONCE = 500
MOST_LISTED = 100_000
"""The most sessions of one page; a longer list is read in several pages."""
_POSITIONS = {
    (False, False): "only",
    (False, True): "first",
    (True, True): "middle",
    (True, False): "last",
}
_CLOSED = {"first", "middle"}
_UNKNOWN: dict[str, Any] = dict.fromkeys(
    (
        "id",
        "user_id",
        "segment",
        "parent_id",
        "events",
        "content_tokens",
        "cost_usd",
        "unpriced_calls",
        "created_at",
        "last_update",
    )
)


async def all_ids(store: EventStore, user_id: str | None = None) -> AsyncIterator[str]:
    """Yield the ids of all sessions, or of a user's, the one with the newest message first."""
    page = await store.list_sessions(user_id=user_id, limit=_LISTED_AT_ONCE)
    while True:
        for each in page:
            yield each
        if page.next_cursor is None:
            return
        page = await store.list_sessions(user_id=user_id, limit=_LISTED_AT_ONCE, cursor=page.next_cursor)


async def chains_of(
    ids: Iterable[str], store: EventStore, on_problem: Callable[[SessionManagerError], object]
) -> list[list[str]]:
    """Yield the conversations of these sessions, each once, as the ids of their segments.

    A segment with an id of the application's own knows the segments before it, but not those after it. A
    conversation that another one continues is left out, because the other one includes it.

    Args:
        ids: segments of the conversations; they may be repeated.
        store: the store that they are in.
        on_problem: called for sessions that are damaged or missing; the other ones follow.
    """
    chains: list[list[str]] = []
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            continue
        try:
            chains.append(await segment_ids_of(each, store))
        except (SessionNotFound, UnreadableData) as problem:
            on_problem(problem)
        else:
            seen.update(chains[-1])
    followed = {each for chain in chains for each in chain[:-1]}
    return [chain for chain in chains if chain[-1] not in followed]


async def rows_of(
    store: EventStore,
    prefix: str,
    *,
    user_id: str | None,
    limit: int,
    cursor: str | None,
    only_live: bool,
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the list, and the cursor for the next page; with `only_live`, without closed segments."""
    rows: list[dict[str, Any]] = []
    while True:
        page = await store.list_sessions(prefix, user_id=user_id, limit=limit - len(rows), cursor=cursor)
        found = await asyncio.gather(*(row_of(each, store) for each in page))
        rows += [row for row in found if not (only_live and row["segment"] in _CLOSED)]
        cursor = page.next_cursor
        if cursor is None or len(rows) == limit:
            return rows, cursor


async def row_of(session_id: str, store: EventStore) -> dict[str, Any]:
    """A session's row in the list; if the session is "damaged", or "gone" meanwhile, only that."""
    try:
        session = await store.head(session_id)
    except UnreadableData:
        return _UNKNOWN | {"id": session_id, "segment": "damaged"}
    if session is None:
        return _UNKNOWN | {"id": session_id, "segment": "gone"}
    follows = is_segment_after(session, session.parent_id)
    next_id = next_segment_id(session.id)
    goes_on = next_id in session.child_ids and await store.time_to_live(next_id) is not None
    return {
        "id": session.id,
        "user_id": session.user_id,
        "segment": _POSITIONS[follows, goes_on],
        "parent_id": session.parent_id,
        "events": session.totals.events,
        "content_tokens": session.total_tokens,
        "cost_usd": known_cost(session.totals, session.total_cost),
        "unpriced_calls": session.totals.unpriced_calls,
        "created_at": utc_text(session.metadata.created_at),
        "last_update": utc_text(session.last_update_time),
    }


HEADINGS = ("Session", "User", "Segment", f"{NUMBER}Events", f"{NUMBER}Cost", "Ago")


def cells_for_people(row: dict[str, Any]) -> list[str]:
    """The row's values for people, under `HEADINGS`."""
    if row["last_update"] is None:
        return [row["id"], "", row["segment"], "", "", ""]
    age = ago(utc_now() - datetime.fromisoformat(row["last_update"]))
    cost = NO_PRICE if row["cost_usd"] is None else dollars(row["cost_usd"])
    is_more = row["cost_usd"] is not None and row["unpriced_calls"]
    figures = [f"{row['events']:,}", f"{cost}+" if is_more else cost]
    return [row["id"], row["user_id"] or "", row["segment"], *figures, age]


def cells_for_programs(row: dict[str, Any]) -> list[str]:
    """The row's values for programs: id, user, segment, events, content tokens, USD, time of the last event.

    The USD are "unknown" if no call has a known price.
    """
    if row["last_update"] is None:
        return [row["id"], "", row["segment"], "", "", "", ""]
    cost = NO_PRICE if row["cost_usd"] is None else plain_dollars(row["cost_usd"])
    figures = [str(row["events"]), str(row["content_tokens"]), cost]
    return [row["id"], row["user_id"] or "", row["segment"], *figures, row["last_update"]]


def ago(age: timedelta) -> str:
    """How long ago something was, in its largest unit."""
    seconds = int(age.total_seconds())
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length * (2 if unit == "days" else 1):
            return f"{seconds // length} {unit}"
    return "now"
