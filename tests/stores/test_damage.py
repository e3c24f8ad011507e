"""Damaged data: an error that names the session, and nothing else is lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from discretion import CANARY, each_refused, logs_without_secrets, refused
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.stores import EventStore, SqliteStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

__all__ = ["logs_without_secrets"]  # for each test here

from outages import begin, content, contents, messages, replace_content, said, stored


async def is_told_damaged(store: EventStore) -> None:
    """Whoever reads or writes the session hears that it is."""
    sm = SessionManager("s", store=store)
    await each_refused(
        ["ession s ", "damaged"],
        lambda: store.get("s"),
        lambda: store.head("s"),
        sm.get_stats,
        lambda: sm.user_says(CANARY),
    )


async def roll_over(store: EventStore) -> None:
    """Store a conversation of two segments with a state."""
    sm = SessionManager("s", store=store, infinite_context=True, token_threshold=20, max_turns_per_segment=2)
    await sm.update_state(lambda state: state.update(cart=["hat"]))
    for words in ("one", "two"):
        await sm.user_says(words)
        await sm.ai_responds(words, model="gpt-4o")
    await sm.user_says("three")
    assert sm.session_id != "s"
    await sm.update_state(lambda state: state.update(cart=["hat", "coat"]))


async def is_read(store: EventStore) -> None:
    """The closed segment of that conversation is read, with its own state or the one of the live segment."""
    closed = await store.get("s")
    assert closed is not None
    assert "one" in [event.message for event in closed.events]
    assert closed.state["cart"] in (["hat"], ["hat", "coat"])


def raw(server: RedisServer, key: str) -> Any:
    """A hash as the bytes that it is."""
    with redis.Redis(port=server.port, password=server.password) as client:
        return client.hgetall(key)


# What may be wrong with the fields of a session in Redis, and what its reader is told.
TEXTS = ["metadata", "parent_id", "child_ids", "task_ids", "runs", "state", "counters"]


LISTS = ["child_ids", "task_ids", "runs"]


NUMBERS = ["count", "revision", "rewrites"]


DAMAGED_EVENTS: dict[str, tuple[str, ...]] = {
    "event missing": ("HDEL", "0:1"),
    "last event missing": ("HDEL", "0:2"),
    "event cut": ("HSET", "0:1", f'{{"id": "e1", "message": "{CANARY}'),
    "event not JSON": ("HSET", "0:1", CANARY),
    "event of another kind": ("HSET", "0:1", json.dumps({"text": CANARY})),
    "event not UTF-8": ("HSET", "0:1", f'{{"message": "\udcff{CANARY}"}}'),
}


DAMAGED_HEADERS: dict[str, tuple[str, ...]] = {
    **{f"{name} missing": ("HDEL", f"0:{name}") for name in TEXTS + NUMBERS},
    **{f"{name} cut": ("HSET", f"0:{name}", f'{{"properties": "{CANARY}') for name in TEXTS},
    **{
        f"{name} of another kind": ("HSET", f"0:{name}", f'["{CANARY}"]')
        for name in TEXTS
        if name not in LISTS
    },
    **{f"{name} of other values": ("HSET", f"0:{name}", f'{{"{CANARY}": 1}}') for name in LISTS},
    **{f"{name} no number": ("HSET", f"0:{name}", "1.5x") for name in NUMBERS},
    "schema missing": ("HDEL", "schema"),
    "schema no number": ("HSET", "schema", "first"),
}


def damage(server: RedisServer, key: str, words: Sequence[str]) -> None:
    """Change the fields of a hash, past all that looks after them."""
    with server.client() as client:
        encoded = [word.encode(errors="surrogateescape") for word in (words[0], key, *words[1:])]
        client.execute_command(*encoded)


class TestDamageInRedis:
    @pytest.mark.parametrize("what", DAMAGED_EVENTS)
    async def test_a_damaged_event_is_told_of_and_left_as_it_is(
        self, server: RedisServer, store: RedisStore, fresh: RedisStore, what: str
    ) -> None:
        await begin(store)
        damage(server, store._keys.of("s"), DAMAGED_EVENTS[what])
        before = raw(server, store._keys.of("s"))
        sm = SessionManager("s", store=fresh)
        await each_refused(
            ["Session s ", "damaged"], lambda: fresh.get("s"), sm.get_conversation, sm.get_messages_for_llm
        )
        assert raw(server, store._keys.of("s")) == before

    @pytest.mark.parametrize("what", DAMAGED_HEADERS)
    async def test_a_damaged_header_is_told_of_and_left_as_it_is(
        self, server: RedisServer, store: RedisStore, fresh: RedisStore, what: str
    ) -> None:
        session = await begin(store)
        damage(server, store._keys.of("s"), DAMAGED_HEADERS[what])
        before = contents(server)
        await is_told_damaged(fresh)
        if what in {
            "counters missing",
            "counters cut",
            "count missing",
            "count no number",
            "revision missing",
        }:
            with refused("ession s "):  # which was read before it was damaged
                await store.append(session, [said()])
        assert contents(server) == before

    @pytest.mark.parametrize("what", [what for what in DAMAGED_HEADERS if not what.startswith("schema")])
    async def test_a_closed_segment_is_read_where_the_last_one_is_damaged(
        self, server: RedisServer, store: RedisStore, fresh: RedisStore, what: str
    ) -> None:
        await roll_over(store)
        command, field, *value = DAMAGED_HEADERS[what]
        damage(server, store._keys.of("s"), (command, field.replace("0:", "1:"), *value))
        await is_read(fresh)

    async def test_a_newer_schema_is_refused_and_left_as_it_is(
        self, server: RedisServer, store: RedisStore, fresh: RedisStore
    ) -> None:
        session = await begin(store)
        damage(server, store._keys.of("s"), ("HSET", "schema", "99"))
        before = contents(server)
        sm = SessionManager("s", store=fresh)
        await each_refused(
            ["Session s ", "newer"],
            lambda: fresh.get("s"),
            lambda: fresh.head("s"),
            lambda: sm.user_says(CANARY),
            lambda: store.save(session),
            # Read before somebody upgraded.
            lambda: store.append(session, [said()]),
        )
        assert contents(server) == before


# -- SQLite -------------------------------------------------------------------------------------


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def dump(path: Path) -> list[Any]:
    """All that is in a file, as the bytes that it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return [
            connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608  (the names below)
            for table in ("conversations", "sessions", "events")
        ]


def files_beside(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


class TestDamageInSqlite:
    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM events WHERE number = 1",
            "DELETE FROM events WHERE number = 2",
            "DELETE FROM events",
            "UPDATE events SET body = substr(body, 1, 40) WHERE number = 1",
            "UPDATE events SET body = 'x' || body WHERE number = 1",
            "UPDATE events SET body = '{}' WHERE number = 1",
            "UPDATE events SET body = x'ff00' WHERE number = 1",
            "UPDATE events SET body = CAST(x'22ff22' AS TEXT) WHERE number = 1",
        ],
    )
    async def test_a_damaged_event_is_told_of_and_left_as_it_is(self, path: Path, statement: str) -> None:
        async with SqliteStore(path) as store:
            await begin(store)
        execute(path, statement)
        before = dump(path)
        async with SqliteStore(path) as store:
            sm = SessionManager("s", store=store)
            await each_refused(
                ["Session s ", "damaged"],
                lambda: store.get("s"),
                sm.get_conversation,
                sm.get_messages_for_llm,
            )
            await SessionManager("other", store=store).user_says("hello")
            await store.delete("other")
        assert dump(path) == before

    @pytest.mark.parametrize("column", ["header", "counters"])
    @pytest.mark.parametrize("value", ["substr({}, 1, 12)", "'[]'", "'canary'", "x'ff00'", "'{{}}'"])
    async def test_a_damaged_header_is_told_of_and_left_as_it_is(
        self, path: Path, column: str, value: str
    ) -> None:
        if (column, value) == ("counters", "'{{}}'"):
            return  # those of an empty session
        async with SqliteStore(path) as store:
            session = await begin(store)
            execute(path, f"UPDATE sessions SET {column} = {value.format(column)}")  # noqa: S608  (those above)
            before = dump(path)
            fresh = SqliteStore(path)  # which has not seen it yet
            await is_told_damaged(fresh)
            if column == "counters":
                with refused("ession s "):
                    await store.append(session, [said()])
        assert dump(path) == before

    @pytest.mark.parametrize(
        "header", [f"'{CANARY}'", "'[]'", "x'ff00'", "replace(header, '\"cart\"', '\"')"]
    )
    async def test_a_closed_segment_is_read_where_the_last_one_is_damaged(
        self, path: Path, header: str
    ) -> None:
        async with SqliteStore(path) as store:
            await roll_over(store)
            execute(path, f"UPDATE sessions SET header = {header} WHERE segment = 1")  # noqa: S608  (those above)
            await is_read(SqliteStore(path))

    async def test_a_newer_schema_is_refused_and_left_as_it_is(self, path: Path, file: SqliteStore) -> None:
        await begin(file)
        await file.close()
        execute(path, "PRAGMA user_version = 99")
        before = content(path)
        sm = SessionManager("s", store=file)
        await each_refused(
            [str(path), "newer"], lambda: file.get("s"), lambda: sm.user_says(CANARY), file.list_sessions
        )
        await file.close()
        assert content(path) == before
        execute(path, "PRAGMA user_version = 1")
        assert await stored(file) == ["e0", "e1", "e2"]

    @pytest.mark.parametrize("version", [0, 1, 7])
    async def test_another_application_s_database_is_refused_and_left_as_it_is(
        self, path: Path, file: SqliteStore, version: int
    ) -> None:
        execute(
            path,
            "CREATE TABLE sessions (secret TEXT DEFAULT 'canary')",
            "INSERT INTO sessions DEFAULT VALUES",
            f"PRAGMA user_version = {version}",
        )
        before = content(path)
        await each_refused(
            [str(path), "another application"],
            lambda: file.get("s"),
            lambda: file.create(Session(events=[said()])),
        )
        await file.close()
        assert content(path) == before
        assert files_beside(path) == [path.name]

    @pytest.mark.parametrize("size", [100, 20_000])
    async def test_what_is_no_database_is_refused_and_left_as_it_is(
        self, path: Path, file: SqliteStore, size: int
    ) -> None:
        before = (CANARY.encode() * size)[:size]
        replace_content(path, before)
        sm = SessionManager("s", store=file)
        await each_refused(
            [str(path), "not a SQLite database"], lambda: file.get("s"), lambda: sm.user_says(CANARY)
        )
        await file.close()
        assert content(path) == before
        replace_content(path, b"")
        await sm.user_says("hello")
        assert await messages(file) == ["hello"]

    async def test_a_file_cut_in_half_is_told_of_and_left_as_it_is(
        self, path: Path, file: SqliteStore
    ) -> None:
        await begin(file, events=300)
        await file.close()
        before = content(path)
        before = before[: len(before) // 2 // 4096 * 4096]
        replace_content(path, before)
        with refused(str(path), "damaged"):
            await file.get("s")
        await file.close()
        assert content(path) == before
