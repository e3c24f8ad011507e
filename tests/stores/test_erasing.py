"""What is left, byte for byte, of what was erased: in files, under keys, after interruptions."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from leftovers import CutOffError, cut_after, holders
from running import wait_until
from servers import RedisCluster, RedisServer

from chuk_ai_session_manager import Budget, Session, SessionEvent, SessionManager
from chuk_ai_session_manager.models.record import utc_now
from chuk_ai_session_manager.stores import EventStore, open_store
from chuk_ai_session_manager.stores.sqlite.store import SqliteStore

MARKER = "marker-7f3a"
USER = "ann-of-green-gables"
ORIGINAL: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "data" / "original_0_7_1.json").read_text(encoding="utf-8")
)


async def talk(store: EventStore, session_id: str = "talk", *, exchanges: int = 5) -> SessionManager:
    """A conversation of some segments, whose words, answers, results and state all hold the marker."""
    manager = SessionManager(
        session_id,
        store=store,
        user_id=USER,
        infinite_context=True,
        max_turns_per_segment=4,
        budget=Budget(9.0),
        model="gpt-4o",
    )
    for number in range(exchanges):
        await manager.user_says(f"My name is {MARKER} {number}. " + f"{MARKER} " * 700 * (number % 2))
        answer = {"role": "assistant", "content": f"Hello, {MARKER} {number}.", "reasoning_content": MARKER}
        await manager.ai_responds({"model": "gpt-4o", "choices": [{"message": answer}]})
        await manager.tool_used("look", {"name": MARKER}, [f"{MARKER} was found"])
    await manager.update_state(lambda state: state.update(name=MARKER))
    rows = await manager.get_conversation(with_ids=True)
    await manager.edit(rows[-2]["event_id"], f"No, it is {MARKER}!")
    await manager.wait_for_summaries()
    return manager


async def fill(store: EventStore) -> None:
    """A user's conversations, a fork among them that goes on, and other people's."""
    manager = await talk(store)
    fork = await manager.fork(session_id="fork")
    await fork.user_says("Own words.")
    await talk(store, "second talk", exchanges=2)
    other = SessionManager("other", store=store, user_id="bob")
    await other.user_says("Bob's words stay.")


# -- files ------------------------------------------------------------------------------------------


async def test_no_byte_of_an_erased_user_is_in_the_files_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(path)
    await fill(store)
    assert holders(path, MARKER)
    receipt = await store.erase_user(USER)
    assert set(receipt.conversations) == {"talk", "fork", "second talk"}
    assert receipt.accounts == 1
    assert holders(path, MARKER, USER) == []  # while it is open
    assert not any("-wal" in place for place in receipt.unreached)
    await store.close()
    assert holders(path, MARKER, USER) == []
    reopened = SqliteStore(path)
    assert await reopened.list_sessions() == ["other"]
    await reopened.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for count in ("SELECT count(*) FROM sessions", "SELECT count(*) FROM events"):
            assert db.execute(count).fetchone() == (1,)


async def test_no_byte_is_left_of_what_was_deleted_edited_or_expired_before(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    async with SqliteStore(path, ttl_hours=1) as short_lived:
        with time_machine.travel(time.time() - 2 * 3_600, tick=True):
            await talk(short_lived, "expires")
    store = SqliteStore(path)
    assert await store.list_sessions() == []
    assert (await store.erase_user(USER)).conversations == ("expires",)
    await talk(store, "deleted", exchanges=3)
    await store.delete_conversation("deleted")
    session = await Session.create(
        session_id="edited", store=store, events=[SessionEvent(message=MARKER), SessionEvent(message="stays")]
    )
    session.events[0] = session.events[0].model_copy(update={"message": "edited"})
    await store.save(session)
    await store.erase_conversation("nobody")
    assert holders(path, MARKER) == []
    await store.close()


async def test_no_byte_is_left_whatever_the_sizes_and_the_order(tmp_path: Path) -> None:
    path, chance = tmp_path / "sessions.db", random.Random(7)  # noqa: S311  (no secret)
    store = SqliteStore(path)
    ids = [f"s{number}" for number in range(60)]
    for each in ids:
        await Session.create(session_id=each, store=store)
    for number in range(600):
        each = chance.choice(ids)
        session = await store.head(each)
        assert session is not None
        text = f"{each}!" if int(each[1:]) % 3 else f"{MARKER} {each}!"
        event: SessionEvent[Any] = SessionEvent(message=text * chance.choice([1, 3, 20, 100, 900]))
        await store.append(session, [event])
        if number % 50 == 49:
            await store.delete(chance.choice([one for one in ids if int(one[1:]) % 3 == 0]))
            ids = list(await store.list_sessions())
    for each in [one for one in ids if int(one[1:]) % 3 == 0]:
        await store.erase_conversation(each)
    assert holders(path, MARKER) == []
    for each in await store.list_sessions():  # and nothing of the others is harmed
        kept = await store.get(each)
        assert kept is not None
        assert all(set(event.message.split("!")) == {each, ""} for event in kept.events)
    await store.close()


async def test_a_log_that_another_process_reads_is_named_and_emptied_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(path, busy_timeout=0.1)
    await talk(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        receipt = await store.erase_conversation("talk")
        assert any("-wal" in place for place in receipt.unreached)
        assert await store.list_sessions() == []
    again = await store.erase_conversation("talk")
    assert not any("-wal" in place for place in again.unreached)
    assert holders(path, MARKER) == []
    await store.close()


async def test_no_byte_is_left_of_what_was_redacted(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(path)
    manager = SessionManager("talk", store=store, infinite_context=True, max_turns_per_segment=4)
    for number in range(6):
        await manager.user_says(f"My name is {MARKER}." if number == 1 else f"Question {number}")
        await manager.ai_responds(f"Answer {number}")
    await manager.fork(session_id="fork")
    assert holders(path, MARKER)
    rows = await manager.get_conversation(include_all_segments=True, with_ids=True)
    await manager.redact(rows[2]["event_id"])
    assert holders(path, MARKER) == []
    await store.close()


# -- keys -------------------------------------------------------------------------------------------


def dumped(server: RedisServer) -> str:
    """All keys of a server with all that they hold."""
    held: dict[str, Any] = {}
    with server.client() as client:
        for key in client.scan_iter(count=1000):
            kind = client.type(key)
            if kind == "hash":
                held[key] = client.hgetall(key)
            elif kind == "string":
                held[key] = client.get(key)
            else:
                held[key] = client.zrange(key, 0, -1) if kind == "zset" else sorted(client.smembers(key))
    return json.dumps(held)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def test_no_key_of_redis_holds_an_erased_user_or_leads_there(server: RedisServer) -> None:
    store = open_store(server.url)
    await fill(store)
    assert MARKER in dumped(server)
    receipt = await store.erase_user(USER)
    assert set(receipt.conversations) == {"talk", "fork", "second talk"}
    assert receipt.accounts == 1
    left = dumped(server)
    assert "Bob's words stay." in left
    for text in (MARKER, USER, *receipt.sessions):
        assert text not in left
    await store.erase_user("bob")
    assert dumped(server) == "{}"
    await store.close()


async def test_what_the_original_and_expired_sessions_left_in_redis_is_erased(server: RedisServer) -> None:
    for key, value in ORIGINAL.items():
        record = json.loads(value)
        server.command("SET", key, json.dumps(record | {"user_id": USER, "sandbox_id": "mine"}))
    foreign = {
        "session_id": "x",
        "sandbox_id": "other tenant",
        "user_id": USER,
        "custom_metadata": {"session_type": "s"},
    }
    tool = {"session_id": "y", "sandbox_id": "mine", "user_id": USER, "custom_metadata": {"artifact": "a"}}
    server.command("SET", "session:x", json.dumps(foreign))
    server.command("SET", "session:y", json.dumps(tool))
    store = open_store(server.url, sandbox_id="mine")
    await talk(store, "expired", exchanges=1)
    server.command("DEL", "casm:{mine:expired}")  # as if its time had come
    receipt = await store.erase_user(USER)
    assert sum("orig-" in each for each in receipt.conversations) == 2
    left = json.loads(dumped(server))
    assert set(left) == {"session:x", "session:y"}
    await store.close()


async def test_the_append_only_file_is_named_until_it_is_rewritten() -> None:
    with RedisServer(aof=True) as server:
        store = open_store(server.url)
        await talk(store)
        receipt = await store.erase_conversation("talk")
        assert any("append-only" in place for place in receipt.unreached)
        await store.erase_user(USER)

        def written() -> bool:
            files = [file for file in server.folder.rglob("*") if file.is_file() and file.suffix != ".log"]
            return any(MARKER.encode() in file.read_bytes() for file in files)

        assert written()
        server.command("BGREWRITEAOF")
        wait_until(
            lambda: not server.command("INFO", "persistence")["aof_rewrite_in_progress"], "the rewriting"
        )
        assert not written()
        await store.close()
    with RedisServer(options={"save": "3600 1"}) as server:
        store = open_store(server.url)
        assert any("snapshot" in place for place in (await store.erase_conversation("talk")).unreached)
        await store.close()


async def test_a_cluster_keeps_nothing_either_and_says_what_it_did_not_search(
    redis_cluster: RedisCluster,
) -> None:
    sandbox = f"erased-{uuid4().hex}"
    store = open_store(redis_cluster.url, sandbox_id=sandbox)
    await fill(store)
    receipt = await store.erase_user(USER)
    assert len(receipt.conversations) == 3
    assert any("Cluster" in place for place in receipt.unreached)
    held = {key: value for node in redis_cluster.nodes for key, value in json.loads(dumped(node)).items()}
    left = json.dumps({key: value for key, value in held.items() if sandbox in key + json.dumps(value)})
    assert "Bob's words stay." in left
    for text in (MARKER, USER, *receipt.sessions):
        assert text not in left
    await store.close()


# -- interruptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_an_erasure_that_is_cut_off_anywhere_is_taken_up_again(
    kind: str, tmp_path: Path, server: RedisServer
) -> None:
    path, is_over, steps = tmp_path / "sessions.db", False, 0
    url = f"sqlite:///{path}" if kind == "sqlite" else server.url
    while not is_over:
        store = open_store(url)
        await talk(store, exchanges=2)
        await SessionManager("talk", store=store).fork(session_id="fork")
        await store.close()

        cut = open_store(url)
        cut_after(cut, steps)
        with suppress(CutOffError):
            await cut.erase_conversation("talk")
            is_over = True
        again = open_store(url)
        await again.erase_conversation("talk")
        left = dumped(server) if kind == "redis" else " ".join(holders(path, MARKER))
        assert not left if kind == "sqlite" else MARKER not in left, steps
        await again.erase_user(USER)
        assert kind == "sqlite" or dumped(server) == "{}"
        await again.close()
        await cut.close()
        steps += 3
    assert steps > 9


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_of_prunes_at_the_same_time_one_counts_each_conversation(
    server: RedisServer, tmp_path: Path, kind: str
) -> None:
    url = server.url if kind == "redis" else f"sqlite:///{tmp_path / 'sessions.db'}"
    stores = [open_store(url, sandbox_id=f"prunes-{kind}", ttl_hours=None) for _ in range(4)]
    past = utc_now() - timedelta(days=100)
    for number in range(20):
        events: list[SessionEvent[Any]] = [SessionEvent(message="said long ago", timestamp=past)]
        await Session.create(f"old-{number}", store=stores[0], events=events)
    receipts = await asyncio.gather(*(store.prune("90d") for store in stores))
    named = [each for receipt in receipts for each in receipt.conversations]
    assert sorted(named) == sorted(f"old-{number}" for number in range(20))
    assert sum(receipt.events for receipt in receipts) == 20
    assert await stores[0].list_sessions() == []
    for store in stores:
        await store.close()
