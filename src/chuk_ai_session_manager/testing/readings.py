"""Functions with which the tests of the contract read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ..models.event_page import EventPage
from ..stores.base import AnySession, EventStore, SessionPage


async def read_session(store: EventStore, session_id: str) -> AnySession:
    session = await store.get(session_id)
    assert session is not None
    assert session.id == session_id
    return session


async def read_head(store: EventStore, session_id: str) -> AnySession:
    session = await store.head(session_id)
    assert session is not None
    return session


async def read_latest(store: EventStore, session: AnySession) -> AnySession:
    latest = await store.latest(session)
    assert latest is not None
    return latest


async def read_newest(store: EventStore, session: AnySession, **asked_for: int) -> EventPage:
    page = await store.newest_events(session, **asked_for)
    assert page is not None
    return page


async def log_pages(store: EventStore, session: AnySession, **asked_for: int) -> list[tuple[int, list[Any]]]:
    """The first number and the messages of each page of a log, from its end to its beginning."""
    pages = [await read_newest(store, session, **asked_for)]
    while pages[-1].has_more:
        pages.append(await read_newest(store, session, before=pages[-1].first, **asked_for))
    return [(page.first, [event.message for event in page.events]) for page in pages]


async def read_by_another(store: EventStore, session: AnySession) -> AnySession:
    """The session as another object, which does not notice changes to this one."""
    read = await read_session(store, session.id)
    return read.model_copy(deep=True) if read is session else read


async def listed_pages(
    store: EventStore,
    limit: int,
    *,
    between: Callable[[SessionPage], Awaitable[object]] | None = None,
    **filters: Any,
) -> list[str]:
    """All listed sessions, page by page; `between` runs after each page."""
    page = await store.list_sessions(limit=limit, **filters)
    listed = list(page)
    while page.next_cursor is not None:
        assert len(page) == limit
        if between is not None:
            await between(page)
        page = await store.list_sessions(limit=limit, **filters | {"cursor": page.next_cursor})
        assert page, "a cursor leads on to something"
        assert not set(page) & set(listed), "no page repeats what was on one before"
        listed += page
    return listed


async def hours_left(store: EventStore, session_ids: Iterable[str]) -> list[float]:
    return [(await store.time_to_live(session_id) or 0) / 3600 for session_id in session_ids]


def messages_in(session: AnySession) -> list[Any]:
    return [event.message for event in session.events]


def plain_contents(session: AnySession) -> dict[str, Any]:
    """All contents and totals of a session, as plain values that another process can send."""
    summed = {"totals": session.totals.as_dict(), "cost": session.total_cost, "tokens": session.total_tokens}
    return session.model_dump() | summed | {"changed": session.last_update_time}


async def contents_of(session_id: str, store: EventStore) -> dict[str, Any]:
    return plain_contents(await read_session(store, session_id))
