"""Sessions that the original left in Redis, and programs that import it beside us."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycles import moment, record_of
from running import PATIENCE
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, StorageError
from chuk_ai_session_manager.stores import DEFAULT_SANDBOX_ID
from chuk_ai_session_manager.stores.redis.store import RedisStore

ORIGINAL: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "data" / "original_0_7_1.json").read_text(encoding="utf-8")
)


PLAIN, LINKED = "orig-plain-0001", "orig-linked-0002"


(EMPTY,) = (key.removeprefix("session:") for key in ORIGINAL if "orig-" not in key)


@pytest.fixture
def server(empty_server: RedisServer) -> RedisServer:
    return empty_server


def said(message: str = "hello") -> SessionEvent[Any]:
    return SessionEvent(message=message)


# -- sessions of the original -------------------------------------------------------------------


@pytest.fixture
def old_server() -> Iterator[RedisServer]:
    """A server as the original left it."""
    with RedisServer() as server:
        for key, value in ORIGINAL.items():
            server.command("SET", key, value)
        yield server


@pytest.fixture
async def old(old_server: RedisServer) -> AsyncIterator[RedisStore]:
    async with RedisStore(old_server.url, timeout=PATIENCE) as store:
        yield store


async def read(store: RedisStore, session_id: str) -> Session[Any]:
    session = await store.get(session_id)
    assert session is not None
    head = await store.head(session_id)
    assert head is not None
    assert (head.totals, head.token_summary) == (session.totals, session.token_summary)
    return session


def written(session_id: str) -> dict[str, Any]:
    """A session as the original wrote it."""
    record = json.loads(ORIGINAL[f"session:{session_id}"])
    data: dict[str, Any] = json.loads(record["custom_metadata"]["ai_session_data"])
    return data


class TestSessionsOfTheOriginal:
    async def test_everything_in_them_is_read(self, old: RedisStore) -> None:
        plain = await read(old, PLAIN)
        assert (plain.totals.events, plain.totals.messages, plain.total_tokens) == (6, 2, 16)
        assert plain.total_cost == pytest.approx(0.000547)
        assert plain.user_id == "bob"
        assert plain.metadata.properties == written(PLAIN)["metadata"]["properties"]
        assert plain.metadata.created_at == moment(written(PLAIN)["metadata"]["created_at"])
        assert plain.state == written(PLAIN)["state"]
        assert (plain.state["step"], plain.task_ids) == (3, ["task-1", "task-2"])
        assert [run.status.value for run in plain.runs] == ["completed", "running"]
        assert [event.id for event in plain.events] == [event["id"] for event in written(PLAIN)["events"]]
        assert [event.message for event in plain.events] == [
            event["message"] for event in written(PLAIN)["events"]
        ]
        linked = await read(old, LINKED)
        assert (linked.parent_id, linked.child_ids) == (PLAIN, ["orig-child-0003"])
        assert [event.message for event in linked.events] == ["Continue"]
        empty = await read(old, EMPTY)
        assert (empty.id, empty.events, empty.total_cost) == (EMPTY, [], 0.0)

    async def test_sessions_of_the_original_go_on(self, old_server: RedisServer, old: RedisStore) -> None:
        for session_id in (PLAIN, LINKED, EMPTY):
            before = len(written(session_id)["events"])
            sm = SessionManager(session_id, store=old)
            await sm.user_says("And tomorrow?")
            assert (await sm.get_stats())["total_events"] == before + 1
        rows = await SessionManager(PLAIN, store=old).get_messages_for_llm()
        assert [row["role"] for row in rows] == ["system", "user", "assistant", "user"]
        assert rows[0]["content"] == "You are a terse assistant."
        assert await old.list_sessions() == [EMPTY, LINKED, PLAIN]
        assert await old.list_sessions(user_id="bob") == [PLAIN]
        assert await old.list_sessions(parent_id=PLAIN) == [LINKED]
        async with RedisStore(old_server.url) as fresh:
            plain = await read(fresh, PLAIN)
            assert [event.id for event in plain.events[:6]] == [
                event["id"] for event in written(PLAIN)["events"]
            ]
            assert (plain.totals.events, plain.state) == (7, written(PLAIN)["state"])
            assert plain.total_cost == pytest.approx(0.000547, rel=0.1)

    async def test_an_append_needs_no_reading_before_it(self, old: RedisStore) -> None:
        session: Session[Any] = Session(id=PLAIN)
        await old.append(session, [said("And tomorrow?")])
        plain = await read(old, PLAIN)
        assert [event.message for event in plain.events][6:] == ["And tomorrow?"]

    async def test_many_that_come_to_one_at_once_find_it_once(self, old_server: RedisServer) -> None:
        stores = [RedisStore(old_server.url, timeout=PATIENCE) for _ in range(5)]
        await asyncio.gather(
            *(store.append(Session(id=PLAIN), [said(f"{at}")]) for at, store in enumerate(stores)),
            *(store.get(PLAIN) for store in stores),
            *(SessionManager(PLAIN, store=store).user_says(f"m{at}") for at, store in enumerate(stores)),
        )
        plain = await read(stores[0], PLAIN)
        texts = [event.message for event in plain.events]
        assert texts[:6] == [event["message"] for event in written(PLAIN)["events"]]
        assert sorted(texts[6:]) == sorted([f"{at}" for at in range(5)] + [f"m{at}" for at in range(5)])
        for store in stores:
            await store.close()

    async def test_an_id_of_theirs_is_taken(self, old: RedisStore) -> None:
        from chuk_ai_session_manager import SessionAlreadyExists

        with pytest.raises(SessionAlreadyExists):
            await Session.create(session_id=PLAIN, store=old)
        assert (await read(old, PLAIN)).totals.events == 6

    async def test_another_sandbox_neither_sees_nor_harms_them(
        self, old_server: RedisServer, old: RedisStore
    ) -> None:
        async with RedisStore(old_server.url, sandbox_id="other") as other:
            for session_id in (PLAIN, LINKED, EMPTY):
                assert await other.get(session_id) is None
                assert await other.head(session_id) is None
                assert not await other.extend_session_ttl(session_id, 1)
                assert await other.time_to_live(session_id) is None
                assert await other.delete_conversation(session_id) == 0
                await other.delete(session_id)
            assert await other.list_sessions() == []
            await SessionManager(LINKED, store=other).user_says("mine")
            mine = await read(other, LINKED)
            assert [event.message for event in mine.events] == ["mine"]
        for session_id in (PLAIN, LINKED, EMPTY):
            assert len((await read(old, session_id)).events) == len(written(session_id)["events"])

    @pytest.mark.parametrize("is_read_before", [False, True], ids=["never read", "read before"])
    @pytest.mark.parametrize("whole", [False, True], ids=["the session", "its conversation"])
    async def test_a_deleted_one_does_not_come_back(
        self, old_server: RedisServer, old: RedisStore, is_read_before: bool, whole: bool
    ) -> None:
        if is_read_before:
            await read(old, PLAIN)
        if whole:
            assert await old.delete_conversation(PLAIN) == 1
        else:
            await old.delete(PLAIN)
        async with RedisStore(old_server.url) as fresh:
            for store in (old, fresh):
                assert await store.get(PLAIN) is None
                assert PLAIN not in await store.list_sessions()
            assert record_of(old_server, PLAIN) is None
            await SessionManager(PLAIN, store=fresh).user_says("anew")
            assert len((await read(fresh, PLAIN)).events) == 1
        assert len((await read(old, LINKED)).events) == 1

    async def test_their_lives_can_be_asked_for_and_extended(self, old: RedisStore) -> None:
        for session_id in (PLAIN, LINKED, EMPTY):
            assert await old.extend_session_ttl(session_id, 100)
            lives = await old.time_to_live(session_id)
            assert lives is not None
            assert lives > 123 * 3600
            assert await old.time_to_live("nobody") is None

    async def test_other_tools_see_them_as_before(self, old_server: RedisServer, old: RedisStore) -> None:
        before = record_of(old_server, PLAIN)
        assert before is not None
        await SessionManager(PLAIN, store=old).user_says("And tomorrow?")
        after = record_of(old_server, PLAIN)
        assert after is not None
        for name in ("session_id", "sandbox_id", "user_id", "created_at", "status"):
            assert after[name] == before[name]
        assert await old.lifecycle.manager().validate_session(PLAIN)

    @pytest.mark.parametrize("data", ["{", "canary", '{"id": "orig-plain-0001", "events": [{"canary": 1}]}'])
    async def test_a_damaged_one_is_told_of_and_left_as_it_is(
        self, old_server: RedisServer, old: RedisStore, data: str
    ) -> None:
        record = record_of(old_server, PLAIN)
        assert record is not None
        record["custom_metadata"]["ai_session_data"] = data
        old_server.command("SET", f"session:{PLAIN}", json.dumps(record))
        sm = SessionManager(PLAIN, store=old)
        for use in (lambda: old.head(PLAIN), lambda: sm.user_says("hello")):
            with pytest.raises(StorageError, match=f"{PLAIN} is damaged") as caught:
                await use()
            assert "canary" not in f"{caught.value}{caught.value.__cause__}"
        assert record_of(old_server, PLAIN) == record

    def test_the_original_s_data_is_for_the_default_sandbox(self) -> None:
        assert {json.loads(text)["sandbox_id"] for text in ORIGINAL.values()} == {DEFAULT_SANDBOX_ID}


# -- what is imported ---------------------------------------------------------------------------

USE = """
import asyncio, sys
from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import open_store

async def use(url, session_id):
    async with open_store(url, sandbox_id="imports") as store:
        sm = SessionManager(session_id, store=store)
        await sm.user_says("hello")
        await sm.tool_used("clock", {}, "noon")
        await sm.get_stats()
        await sm.get_messages_for_llm()
        session = await store.get(session_id)
        await session.set_state("step", 1)
        await store.save(session)
        await store.list_sessions()

for words in sys.argv[1:]:
    asyncio.run(use(*words.split()))
    print(*sorted(name for name in sys.modules if name in ("chuk_sessions", "chuk_tool_processor")))
"""


def imported(*uses: str) -> list[str]:
    """The chuk packages that a process has imported after each use of a store: URL and session id."""
    done = subprocess.run(
        [sys.executable, "-c", USE, *uses],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.stdout.splitlines()


class TestImports:
    def test_memory_and_files_import_no_chuk_package(self, tmp_path: Path) -> None:
        file = f"sqlite:///{tmp_path / 'sessions.db'}"
        assert imported("memory:// s", f"{file} s") == ["", ""]

    async def test_appending_to_a_session_in_redis_imports_none_and_making_one_does(
        self, server: RedisServer
    ) -> None:
        async with RedisStore(server.url, sandbox_id="imports") as store:
            await SessionManager("there", store=store).user_says("hello")
        assert imported(f"{server.url} there", f"{server.url} new") == ["", "chuk_sessions"]
