"""Conversations leave a store and come into another one as they were."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place, everywhere, in_memory_too, on_each

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, SessionRun
from chuk_ai_session_manager.api.transfer import (
    export_chat,
    export_conversation,
    import_chats,
    import_sessions,
)
from chuk_ai_session_manager.exceptions import (
    InvalidInput,
    SessionAlreadyExists,
    SessionNotFound,
    StorageError,
)
from chuk_ai_session_manager.models import CallUsage, EventSource, EventType, SessionMetadata, TokenUsage
from chuk_ai_session_manager.stores import EventStore, MemoryStore


async def exported(store: EventStore, session_id: str) -> list[str]:
    return [line async for line in export_conversation(session_id, store)]


async def stored(store: EventStore, ids: list[str]) -> list[Session[Any]]:
    return [session for each in ids if (session := await store.get(each)) is not None]


def as_lines(chats: list[dict[str, Any]]) -> list[str]:
    return [json.dumps(chat) for chat in chats]


# -- real conversations ---------------------------------------------------------------------------


@everywhere
async def test_real_conversations_in_segments_come_back_equal(
    place: Place, chats: list[dict[str, Any]]
) -> None:
    elsewhere = place.fresh()
    async with place.store() as store, elsewhere.store() as other:
        for chat in chats[:6]:
            sm = SessionManager(
                chat["id"], store=store, user_id="ada", infinite_context=True, max_turns_per_segment=6
            )
            await sm.add_messages(chat["messages"], model=chat["model"])
            chain = await sm.get_session_chain()
            assert len(chain) > 1
            middle = chain[len(chain) // 2]
            lines = await exported(store, middle)  # any segment will do
            assert await import_sessions(lines, other) == chain
            assert await exported(other, middle) == lines
            async with place.store() as fresh, elsewhere.store() as fresh_other:
                assert await stored(fresh_other, chain) == await stored(fresh, chain)
            again = SessionManager(chat["id"], store=other, infinite_context=True)
            assert await again.get_stats() == await sm.get_stats()
            assert await again.get_messages_for_llm() == await sm.get_messages_for_llm()
            await again.user_says("And one more thing.")  # it goes on
        assert await other.list_sessions(user_id="ada")


@in_memory_too
async def test_chats_in_openais_format_come_back_equal(place: Place, chats: list[dict[str, Any]]) -> None:
    async with place.store() as store:
        assert await import_chats(as_lines(chats), store) == [chat["id"] for chat in chats]
        assert [await export_chat(chat["id"], store) for chat in chats] == chats


async def test_a_chat_of_all_segments_is_one(chats: list[dict[str, Any]]) -> None:
    store = MemoryStore()
    sm = SessionManager("long", store=store, infinite_context=True, max_turns_per_segment=5)
    await sm.add_messages(chats[0]["messages"], model="gpt-4o")
    assert len(await sm.get_session_chain()) > 1
    assert (await export_chat(sm.session_id, store))["messages"] == chats[0]["messages"]


# -- any session ----------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
COUNT = st.integers(0, 10**9)
COST = st.none() | st.floats(0, 1e6)
MOMENT = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
EVENTS: st.SearchStrategy[SessionEvent[Any]] = st.builds(
    SessionEvent,
    message=JSON,
    timestamp=MOMENT,
    source=st.sampled_from(EventSource),
    type=st.sampled_from(EventType),
    metadata=OBJECT,
    parent_event_id=st.none() | TEXT,
    task_id=st.none() | TEXT,
    token_usage=st.none()
    | st.builds(
        TokenUsage, prompt_tokens=COUNT, completion_tokens=COUNT, model=TEXT, estimated_cost_usd=COST
    ),
    usage=st.none()
    | st.builds(CallUsage, model=TEXT, input_tokens=COUNT, output_tokens=COUNT, cost_usd=COST),
)
RUNS = st.builds(SessionRun, started_at=MOMENT, ended_at=st.none() | MOMENT, metadata=OBJECT)
METADATA = st.builds(SessionMetadata, created_at=MOMENT, updated_at=MOMENT, properties=OBJECT)


@on_each
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each example has a sandbox of its own
@given(data=st.data())
async def test_any_session_comes_back_equal(place: Place, data: st.DataObject) -> None:
    here, there = place.fresh(), place.fresh()
    session: Session[Any] = Session(
        metadata=data.draw(METADATA),
        parent_id=data.draw(st.none() | st.just("somebody")),
        child_ids=data.draw(st.lists(st.just("a child"), max_size=1)),
        task_ids=data.draw(st.lists(TEXT, max_size=2)),
        runs=data.draw(st.lists(RUNS, max_size=2)),
        state=data.draw(OBJECT),
    )
    session.record(*data.draw(st.lists(EVENTS, max_size=5)))
    async with here.store() as store, here.store() as fresh, there.store() as other, there.store() as again:
        await store.create(session)
        lines = await exported(fresh, session.id)
        await import_sessions([line.encode() for line in lines], other)
        back = await again.get(session.id)
        assert back is not None
        assert back == await fresh.get(session.id)
        assert back.totals == session.totals
        assert await exported(again, session.id) == lines


# -- refused --------------------------------------------------------------------------------------


async def a_line(session_id: str = "one") -> str:
    store = MemoryStore()
    sm = SessionManager(session_id, store=store)
    await sm.user_says("Hello?")
    return (await exported(store, session_id))[0]


@in_memory_too
async def test_taken_ids_are_refused_before_anything_is_written(place: Place) -> None:
    async with place.store() as store:
        await SessionManager("two", store=store).user_says("I was here first.")
        before = await exported(store, "two")
        lines = [await a_line("one"), await a_line("two")]
        chat = {"messages": [{"role": "user", "content": "Hi"}]}
        for refused in (
            import_sessions(lines, store),
            import_chats(as_lines([chat | {"id": "one"}, chat | {"id": "two"}]), store),
        ):
            with pytest.raises(SessionAlreadyExists, match="two"):
                await refused
        assert list(await store.list_sessions()) == ["two"]
        assert await exported(store, "two") == before


async def test_what_expires_while_it_is_read_is_not_there() -> None:
    class Expiring(MemoryStore):
        """In which all expires between a look at a header and one at the events."""

        async def get(self, session_id: str) -> Session[Any] | None:
            await self.delete(session_id)
            return await super().get(session_id)

    store = Expiring()
    await SessionManager("s", store=store).user_says("Hi")
    with pytest.raises(SessionNotFound):
        await export_chat("s", store)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: "{", "line 2 is not a JSON object"),
        (lambda line: "[" * 100_000, "line 2 is not a JSON object"),
        (lambda line: "[]", "line 2 is not a JSON object"),
        (lambda line: "{}", "line 2 is not an exported session"),
        (lambda line: line.replace('"schema":1', '"schema":2'), "newer release"),
        (lambda line: line.replace('"schema":1,', ""), "line 2 is not an exported session"),
        (lambda line: line.replace('"schema":1', '"schema":"1"'), "line 2 is not an exported session"),
        (lambda line: '{"schema":1,"session":{}}', "line 2 is not an exported session"),
        (lambda line: '{"schema":1,"session":[]}', "line 2 is not an exported session"),
        (
            lambda line: line.replace('"source":"user"', '"source":"SECRET"'),
            "line 2 is not an exported session",
        ),
        (
            lambda line: line.replace('"id":"two"', '"id":"a\\nb"'),
            "line 2: a session id must not contain control",
        ),
        (lambda line: line.replace('"state":{}', '"state":{"x":NaN}'), "line 2: the session's state must be"),
        (
            lambda line: line.replace("Hello?", "\\ud800"),
            "line 2: message, metadata and cost must be JSON",
        ),
        (lambda line: '{"messages": []}', "line 2 is a chat in OpenAI's format"),
        (lambda line: line.replace('"two"', '"one"'), "line 2: session one is there twice"),
    ],
)
async def test_what_is_no_exported_session_is_refused_with_its_line(change: Any, reason: str) -> None:
    store = MemoryStore()
    lines = [await a_line("one"), change(await a_line("two"))]
    with pytest.raises(InvalidInput) as caught:
        await import_sessions(lines, store)
    assert reason in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert not await store.list_sessions()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({}, 'line 1: not a JSON object with a list of "messages"'),
        ({"messages": [{"role": "king"}]}, "line 1: messages[0] needs a role"),
        ({"messages": [], "model": ""}, "line 1: model must not be empty"),
        ({"messages": [], "id": 5}, "line 1: a session id must be a text"),
    ],
)
async def test_what_is_no_chat_is_refused_with_its_line(line: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await import_chats(as_lines([line]), MemoryStore())
    assert reason in str(caught.value)


async def test_children_may_come_before_their_parents_and_blank_lines_anywhere() -> None:
    store = MemoryStore()
    sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=1)
    for at in range(4):
        await sm.user_says(f"Question {at}?")
    await sm.wait_for_summaries()
    lines, chain = await exported(store, "root"), await sm.get_session_chain()
    other = MemoryStore()
    assert await import_sessions(["", *reversed(lines), "\n"], other) == chain
    assert await exported(other, "root") == lines


async def test_what_fails_halfway_leaves_nothing() -> None:
    class Full(MemoryStore):
        async def create(self, session: Session[Any]) -> None:
            if session.id == "two":
                raise StorageError("full")
            await super().create(session)

    store = Full()
    with pytest.raises(StorageError, match="full"):
        await import_sessions([await a_line("one"), await a_line("two")], store)
    assert not await store.list_sessions()


async def test_a_store_that_went_down_is_not_asked_for_each_session() -> None:
    class Down(MemoryStore):
        asked = 0

        async def create(self, session: Session[Any]) -> None:
            if session.id == "three":
                raise StorageError("gone")
            await super().create(session)

        async def delete(self, session_id: str) -> None:
            self.asked += 1
            raise StorageError("gone")

    store = Down()
    with pytest.raises(StorageError, match="The first 3 of them may stay stored"):
        await import_sessions([await a_line(each) for each in ("one", "two", "three", "four")], store)
    assert store.asked == 1


async def test_what_is_cancelled_leaves_nothing() -> None:
    class Slow(MemoryStore):
        created = asyncio.Event()

        async def create(self, session: Session[Any]) -> None:
            await super().create(session)
            if session.id == "two":  # its answer does not come
                self.created.set()
                await asyncio.Event().wait()

    store = Slow()
    importing = asyncio.create_task(import_sessions([await a_line("one"), await a_line("two")], store))
    await store.created.wait()
    importing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert not await store.list_sessions()


async def test_another_writers_session_stays() -> None:
    class Raced(MemoryStore):
        async def create(self, session: Session[Any]) -> None:
            if session.id == "two":
                await super().create(Session(id="two"))
            await super().create(session)

    store = Raced()
    with pytest.raises(SessionAlreadyExists, match="two"):
        await import_sessions([await a_line("one"), await a_line("two")], store)
    assert list(await store.list_sessions()) == ["two"]


async def test_a_missing_session_cannot_be_exported() -> None:
    with pytest.raises(SessionNotFound):
        await exported(MemoryStore(), "nobody")
    with pytest.raises(SessionNotFound):
        await export_chat("nobody", MemoryStore())
