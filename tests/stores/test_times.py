"""Times in a conversation never go backwards; lists go by the newest message, after an import too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clocks import set_clock
from places import Place

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.api.transfer import import_sessions, line_of

on_all = pytest.mark.parametrize("place", ["memory", "sqlite", "redis", "cluster"], indirect=True)


@on_all
async def test_times_do_not_go_back_with_the_clock(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    async with place.store() as store:
        sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=3)
        for hours in (0, -1, 1, -5, 0, 2, -3):
            set_clock(timedelta(hours=hours), monkeypatch)
            await sm.user_says(f"{hours}?")
    async with place.store() as store:
        rows = await SessionManager("s", store=store).get_conversation()
        times = [datetime.fromisoformat(row["timestamp"]) for row in rows]
        assert times == sorted(times)
        assert timedelta(hours=2) <= times[-1] - times[0] < timedelta(hours=2, minutes=5)
        assert times[0] >= now


def _message(text: str, said: datetime) -> SessionEvent[Any]:
    return SessionEvent(message=text, timestamp=said)


@on_all
@pytest.mark.parametrize("way", ["create", "append", "save", "add and save", "import_sessions"])
async def test_what_is_imported_stands_where_its_messages_do(place: Place, way: str) -> None:
    now = datetime.now(UTC)
    async with place.store() as store:
        await SessionManager("today", store=store).user_says("hello")
        for years in (1, 3, 2):
            events = [_message("older", now - timedelta(days=365 * years + 1))]
            events.append(_message("old", now - timedelta(days=365 * years)))
            session_id = f"{years} years"
            if way == "create":
                await store.create(Session(id=session_id, events=events))
            elif way == "append":
                session = await Session.create(session_id=session_id, store=store)
                assert await store.append(session, events[:1])
                assert await store.append(session, events[1:])
            elif way == "save":
                await store.save(Session(id=session_id, events=events))
            elif way == "add and save":
                session = await Session.create(session_id=session_id, store=store)
                for event in events:
                    await session.add_event_and_save(event)
            else:
                await import_sessions([line_of(Session(id=session_id, events=events))], store)
        assert await store.list_sessions() == ["today", "1 years", "2 years", "3 years"]
        first = await store.list_sessions(limit=2)
        assert await store.list_sessions(cursor=first.next_cursor) == ["2 years", "3 years"]
    async with place.store() as store:
        await SessionManager("2 years", store=store).user_says("again")
        assert await store.list_sessions() == ["2 years", "today", "1 years", "3 years"]


@on_all
async def test_what_is_not_said_moves_nothing(place: Place) -> None:
    async with place.store() as store:
        for name in ("a", "b"):
            await SessionManager(name, store=store).user_says(name)
        session = await store.get("a")
        assert session is not None
        session.state["looked at"] = True
        await store.save_header(session)
        await store.update(session, lambda stored: stored.state.update(more=1))
        await store.save(session)
        assert await store.list_sessions() == ["b", "a"]
        session.events[0].metadata["starred"] = True
        await store.save(session)
        assert await store.list_sessions() == ["b", "a"]
        await session.add_event(SessionEvent(message="new"))
        await store.save(session)
        assert await store.list_sessions() == ["a", "b"]


@on_all
@pytest.mark.parametrize("infinite", [False, True])
async def test_after_the_clock_was_set_back_what_was_just_written_is_on_top(
    place: Place, monkeypatch: pytest.MonkeyPatch, infinite: bool
) -> None:
    def manager(session_id: str, store: Any) -> SessionManager:
        return SessionManager(session_id, store=store, infinite_context=infinite)

    async with place.store() as store:
        for name in ("a", "b", "c"):
            await manager(name, store).user_says(name)
    set_clock(timedelta(hours=-1), monkeypatch)
    async with place.store() as store:
        await manager("a", store).user_says("again")
        assert await store.list_sessions() == ["a", "c", "b"]
        session = await store.head("b")
        assert session is not None
        await session.add_event_and_save(SessionEvent(message="by the session"))
        await manager("new", store).user_says("hello")
        assert await store.list_sessions() == ["new", "b", "a", "c"]
        session = await store.get("b")
        assert session is not None
        times = [event.timestamp for event in session.events]
        assert times == sorted(times)
        assert [row["content"] for row in await manager("b", store).get_conversation()] == [
            "b",
            "by the session",
        ]
