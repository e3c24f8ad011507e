"""The store in memory."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from clocks import Clock

from chuk_ai_session_manager.exceptions import (
    EventConflict,
    InvalidInput,
    SessionAlreadyExists,
    SessionNotFound,
)
from chuk_ai_session_manager.models import Session, SessionEvent, TokenUsage
from chuk_ai_session_manager.stores import MemoryStore

HOUR = 3600.0


def event(message: str = "hi", **fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=message, **fields)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestMemory:
    async def test_get_returns_the_live_object(self) -> None:
        store = MemoryStore()
        session: Session[Any] = Session()
        assert await store.get(session.id) is None
        await store.save(session)
        assert await store.get(session.id) is session

    async def test_create_refuses_a_taken_id(self) -> None:
        store = MemoryStore()
        await store.create(Session(id="s"))
        with pytest.raises(SessionAlreadyExists):
            await store.create(Session(id="s"))

    async def test_ids_that_are_none_are_refused(self) -> None:
        with pytest.raises(InvalidInput):
            await MemoryStore().save(Session(id="a\nb"))

    async def test_append_to_what_is_not_there(self) -> None:
        with pytest.raises(SessionNotFound, match="Session s not found"):
            await MemoryStore().append(Session(id="s"), [event()])

    async def test_append_is_all_or_nothing_and_never_twice(self) -> None:
        store = MemoryStore()
        session: Session[Any] = Session()
        await store.save(session)
        first = event(token_usage=TokenUsage(prompt_tokens=1))
        await store.append(session, [first])
        await store.append(session, [first, first.model_copy(deep=True)])
        assert (len(session.events), session.total_tokens) == (1, 1)
        with pytest.raises(EventConflict):
            await store.append(session, [event("new"), event("other", id=first.id)])
        assert session.events == [first]

    async def test_an_append_through_a_copy_reaches_the_live_session(self) -> None:
        store = MemoryStore()
        live: Session[Any] = Session()
        await store.save(live)
        copied = live.model_copy(deep=True)
        await store.append(copied, [event()])
        assert len(live.events) == len(copied.events) == 1

    async def test_nothing_comes_back_from_the_dead(self) -> None:
        store = MemoryStore()
        session: Session[Any] = Session()
        await store.save(session)
        await store.delete(session.id)
        await store.delete(session.id)
        for write in (session.add_event_and_save(event()), session.add_child("x"), session.remove_child("x")):
            with pytest.raises(SessionNotFound):
                await write
        assert await store.list_sessions() == []

    async def test_listing_is_newest_first_by_prefix(self) -> None:
        store = MemoryStore()
        for name in ("user-1", "user-2", "admin-1"):
            await store.save(Session(id=name))
        session = await store.get("user-1")
        assert session is not None
        await session.add_event_and_save(event())
        assert await store.list_sessions() == ["user-1", "admin-1", "user-2"]
        assert await store.list_sessions("user-") == ["user-1", "user-2"]

    async def test_life_slides_with_every_append_and_ends(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=1, clock=clock)
        session: Session[Any] = Session()
        await store.save(session)
        for _ in range(5):
            clock.now += 0.9 * HOUR
            await session.add_event_and_save(event())
        assert await store.get(session.id) is session
        clock.now += 1 * HOUR
        assert await store.get(session.id) is None
        assert store.get_stats()["sessions"] == 0
        with pytest.raises(SessionNotFound):
            await session.add_event_and_save(event())

    async def test_a_conversation_expires_whole(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=1, clock=clock)
        await store.create(Session(id="parent"))
        clock.now += 0.9 * HOUR
        child = await Session.create(session_id="child", parent_id="parent", store=store)
        clock.now += 0.9 * HOUR
        await child.add_event_and_save(event())
        clock.now += 0.9 * HOUR
        assert await store.get("parent") is not None
        clock.now += 0.2 * HOUR
        assert await store.get("parent") is None
        assert await store.get("child") is None

    async def test_what_expired_is_freed_without_being_asked_for(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=1, clock=clock)
        for number in range(50):
            await store.save(Session(id=f"old-{number}"))
        clock.now += 2 * HOUR
        await store.save(Session(id="new"))
        assert set(store.sessions) == {"new"}
        assert store.get_stats() == {
            "provider": "memory",
            "sessions": 1,
            "conversations": 1,
            "max_sessions": 10_000,
            "ttl_hours": 1.0,
        }

    async def test_life_can_be_extended(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=1, clock=clock)
        await store.save(Session(id="s"))
        assert await store.extend_session_ttl("s", 2)
        assert not await store.extend_session_ttl("nobody", 2)
        clock.now += 2.5 * HOUR
        session = await store.get("s")
        assert session is not None
        await session.add_event_and_save(event())
        clock.now += 0.9 * HOUR
        assert await store.get("s") is not None
        clock.now += 0.2 * HOUR
        assert await store.get("s") is None
        with pytest.raises(InvalidInput):
            await store.extend_session_ttl("s", -1)

    async def test_a_write_never_shortens_a_life(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=1, clock=clock)
        session: Session[Any] = Session()
        await store.save(session)
        await store.extend_session_ttl(session.id, 5)
        await session.add_event_and_save(event())
        clock.now += 5 * HOUR
        assert await store.get(session.id) is session

    async def test_no_more_than_so_many_are_kept(self, caplog: pytest.LogCaptureFixture) -> None:
        store = MemoryStore(max_sessions=3)
        with caplog.at_level(logging.WARNING):
            for number in range(6):
                await store.save(Session(id=f"s{number}"))
                first = await store.get("s0")
                assert first is not None  # written to each time, so never the oldest
                await first.add_event_and_save(event("secret"))
        assert set(store.sessions) == {"s0", "s4", "s5"}
        assert len(caplog.records) == 1
        assert "secret" not in caplog.text

    async def test_the_conversation_being_written_is_never_dropped(self) -> None:
        store = MemoryStore(max_sessions=2)
        parent_id = None
        for number in range(5):
            session = await Session.create(session_id=f"s{number}", parent_id=parent_id, store=store)
            parent_id = session.id
        assert len(store.sessions) == 5

    async def test_children_of_one_parent_are_bounded_and_expire_too(self, clock: Clock) -> None:
        store = MemoryStore(max_sessions=10, ttl_hours=1, clock=clock)
        await store.create(Session(id="root"))
        for number in range(50):
            await Session.create(session_id=f"child-{number}", parent_id="root", store=store)
        assert set(store.sessions) == {"root", *(f"child-{number}" for number in range(41, 50))}
        clock.now += 0.6 * HOUR
        child = await store.get("child-49")
        assert child is not None
        await child.add_event_and_save(event())
        clock.now += 0.6 * HOUR
        assert set(store.sessions) == {"root", "child-49"}

    async def test_a_parent_that_was_saved_after_its_child_outlives_it_too(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=1, clock=clock)
        child: Session[Any] = Session(id="child", parent_id="parent")
        await store.save(child)
        await store.save(Session(id="parent", child_ids=["child"]))
        clock.now += 0.9 * HOUR
        await child.add_event_and_save(event())
        await store.extend_session_ttl("child", 1)
        clock.now += 1.5 * HOUR
        assert set(store.sessions) == {"parent", "child"}

    async def test_parents_in_a_circle_do_no_harm(self) -> None:
        store = MemoryStore()
        await store.save(Session(id="a", parent_id="b", child_ids=["b"]))
        await store.save(Session(id="b", parent_id="a", child_ids=["a"]))
        await store.delete("a")
        await store.delete("b")
        assert not store._by_last_write

    async def test_children_outlive_a_deleted_parent_and_leave_nothing(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=1, clock=clock)
        await store.create(Session(id="grandparent"))
        await Session.create(session_id="parent", parent_id="grandparent", store=store)
        child = await Session.create(session_id="child", parent_id="parent", store=store)
        await store.delete("parent")
        clock.now += 0.9 * HOUR
        await child.add_event_and_save(event())
        clock.now += 0.9 * HOUR
        assert set(store.sessions) == {"grandparent", "child"}
        await store.save(Session(id="parent", parent_id="grandparent", child_ids=["child"]))
        clock.now += 2 * HOUR
        assert store.get_stats()["sessions"] == store.get_stats()["conversations"] == 0
        assert not store._due

    async def test_deleting_leaves_nothing_behind(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=24, clock=clock)
        for number in range(1000):
            await store.save(Session(id=f"s{number}"))
            await store.delete(f"s{number}")
        assert len(store._due) < 100
        assert not store._conversations
        assert not store._by_last_write

    async def test_without_end_or_bound(self, clock: Clock) -> None:
        store = MemoryStore(ttl_hours=None, max_sessions=None, clock=clock)
        await store.save(Session(id="s"))
        clock.now += 1e9
        assert await store.get("s") is not None
        assert store.get_stats()["ttl_hours"] is None
        assert store.get_stats()["max_sessions"] is None

    @pytest.mark.parametrize(
        "options",
        [
            {"ttl_hours": 0},
            {"ttl_hours": -1},
            {"ttl_hours": "24"},
            {"max_sessions": 0},
            {"max_sessions": 1.5},
        ],
    )
    def test_options_that_cannot_be_right(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput):
            MemoryStore(**options)
