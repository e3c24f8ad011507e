"""What was said, what tools got and gave, and passwords: in no log, no error of ours, no repr, no warning.

The canary goes through every way in which a call can fail. What an application's own code raises is the
application's, and passes through as it is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from discretion import CANARY, PASSWORD, check_error, logs_without_secrets, shows_no_secret
from running import HOST, free_port, in_time
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionManager, SessionManagerError, track_llm_call
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.stores import EventStore, MemoryStore, SqliteStore, open_store
from chuk_ai_session_manager.stores.redis.store import RedisStore

__all__ = ["logs_without_secrets"]  # for each test here

from secret_rows import SECRET_ROWS, LoudError, Use, begin, raise_it, said


def uses(store: EventStore, session: Session[Any]) -> dict[str, Use]:
    """All that one can do with a session, the canary in each part of it."""

    def manager(session_id: str | None = "s", **options: Any) -> SessionManager:
        return SessionManager(session_id, store=store, **options)

    async def set_state() -> None:
        await session.set_state("more", CANARY)
        await session.add_event_and_save(said())

    async def save() -> None:
        await session.metadata.set_property("more", CANARY)
        await store.save(session)

    async def roll_over() -> None:
        sm = manager(infinite_context=True, max_turns_per_segment=1, summary_callback=raise_it)
        await sm.user_says(CANARY)
        await sm.user_says(CANARY)
        await sm.wait_for_summaries()

    async def run_tools() -> None:
        processor = await SessionAwareToolProcessor.create("s", store=store)
        await processor.process_llm_message(SECRET_ROWS[1], None)

    return {
        "get": lambda: store.get("s"),
        "user_says": lambda: manager().user_says(CANARY, channel=CANARY),
        "a new one": lambda: manager(None, system_prompt=CANARY, metadata={"a": CANARY}).user_says(CANARY),
        "ai_responds": lambda: manager().ai_responds(CANARY, note=CANARY),
        "tool_used": lambda: manager().tool_used("t", {"a": CANARY}, CANARY, error=CANARY),
        "add_messages": lambda: manager().add_messages(SECRET_ROWS),
        "infinite": roll_over,
        "prompt": lambda: manager().update_system_prompt(CANARY),
        "append": lambda: store.append(session, [said()]),
        "create": lambda: Session.create(store=store, state={"a": CANARY}, events=[said()]),
        "state": set_state,
        "save": save,
        "tools": run_tools,
        "llm": lambda: track_llm_call(CANARY, raise_it, session_manager=manager()),
        "list": lambda: store.list_sessions(user_id=CANARY),
        "stats": lambda: manager().get_stats(),
        "messages": lambda: manager(infinite_context=True).get_messages_for_llm(include_tools=True),
        "delete": lambda: store.delete_conversation("s"),
    }


async def each_discreet(store: EventStore, session: Session[Any], *, least: int = 1) -> None:
    """Of these, so many fail at least; each of those says why, and none of it what was said."""
    *others, last = uses(store, session).values()  # the last one deletes
    failed = sum(await asyncio.gather(*map(fails_discreetly, others)))
    failed += await fails_discreetly(last)
    assert failed >= least
    assert shows_no_secret(f"{session!r} {store!r} {store.get_stats()}")


async def fails_discreetly(use: Use) -> bool:
    try:
        await in_time(use())
    except SessionManagerError as problem:
        check_error(problem)
        return True
    except LoudError:  # the application's own
        return False
    return False


# -- Redis --------------------------------------------------------------------------------------

ALL = len(uses(MemoryStore(), Session()))


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(password=PASSWORD) as server:
        yield server


@asynccontextmanager
async def on(server: RedisServer) -> AsyncIterator[tuple[RedisStore, Session[Any]]]:
    """A store on an empty server, and the session in it."""
    server.command("FLUSHALL")
    async with RedisStore(server.url, timeout=2.0) as store:
        yield store, await begin(store)


async def test_a_server_that_is_down(server: RedisServer) -> None:
    async with on(server) as (store, session):
        server.kill()
        try:
            await each_discreet(store, session, least=ALL - 1)
        finally:
            server.start()


async def test_a_server_that_hangs(server: RedisServer) -> None:
    async with on(server) as (store, session):
        server.pause()
        try:
            await each_discreet(store, session, least=ALL - 1)
        finally:
            server.resume()


async def test_a_server_that_is_full(server: RedisServer) -> None:
    async with on(server) as (store, session):
        server.command("CONFIG", "SET", "maxmemory", 1)
        try:
            await each_discreet(store, session, least=ALL // 2)
        finally:
            server.command("CONFIG", "SET", "maxmemory", 0)


@pytest.mark.parametrize(
    "commands",
    [
        [("DEL", "KEY"), ("SET", "KEY", CANARY)],
        [("HSET", "KEY", "0:1", CANARY)],
        [("HSET", "KEY", "0:1", b'{"message": "\xff' + CANARY.encode())],
        [("HSET", "KEY", "0:counters", CANARY)],
        [("HSET", "KEY", "0:counters", b"\xff" + CANARY.encode())],
        [("HSET", "KEY", "0:state", CANARY)],
        [("HSET", "KEY", "0:metadata", f'{{"properties": "{CANARY}"}}')],
        [("HSET", "KEY", "0:metadata", b"\xff" + CANARY.encode())],
        [("HSET", "KEY", "0:child_ids", f'{{"{CANARY}": 1}}')],
        [("HSET", "KEY", "0:count", CANARY)],
        [("HSET", "KEY", "schema", "99")],
    ],
)
async def test_what_is_damaged_in_redis(server: RedisServer, commands: list[tuple[str | bytes, ...]]) -> None:
    async with on(server) as (store, session):
        key = store._keys.of("s")
        with server.client() as client:
            for words in commands:
                client.execute_command(*(key if word == "KEY" else word for word in words))
        async with RedisStore(server.url, timeout=0.5) as fresh:
            await each_discreet(fresh, session)


async def test_a_server_that_refuses_our_commands(server: RedisServer) -> None:
    async with on(server) as (store, session):
        server.command("ACL", "SETUSER", "default", "-@scripting")
        try:
            await each_discreet(store, session, least=ALL - 2)
        finally:
            server.command("ACL", "SETUSER", "default", "+@all")


async def test_a_server_that_does_not_know_our_commands() -> None:
    options = {"rename-command EVALSHA": '""', "rename-command EVAL": '""', "rename-command SET": '""'}
    with RedisServer(options=options) as server:
        async with RedisStore(server.url, timeout=0.5) as store:
            await each_discreet(store, Session(id="s", events=[said()]), least=ALL // 2)


@pytest.mark.parametrize("user", ["", "doctor"])
async def test_passwords_that_are_refused_and_servers_that_are_not_there(
    server: RedisServer, user: str
) -> None:
    login = f"{user}:{quote(PASSWORD + '!', safe='')}@"
    for port in (server.port, free_port()):
        async with RedisStore(f"redis://{login}{HOST}:{port}", timeout=0.3) as store:
            await each_discreet(store, Session(id="s", events=[said()]), least=ALL - 2)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{}@host:port",
        "redis://:{}@/0",
        "redis://:{}@host/db",
        "rediss://{}@host?ssl=maybe&x=",
        "redis+sentinel://:{}@host",
        "mysql://me:{}@host",
        "sqlite://me:{}@host/file",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    for password in (quote(PASSWORD, safe=""), PASSWORD):
        try:
            store = open_store(url.format(password))
        except SessionManagerError as problem:
            check_error(problem)
        else:
            assert shows_no_secret(f"{store!r} {store.get_stats()}") or isinstance(store, SqliteStore)


# -- SQLite -------------------------------------------------------------------------------------


@asynccontextmanager
async def in_file(path: Path) -> AsyncIterator[tuple[SqliteStore, Session[Any]]]:
    async with SqliteStore(path, busy_timeout=0.1) as store:
        yield store, await begin(store)


async def test_a_file_that_is_full(tmp_path: Path) -> None:
    async with in_file(tmp_path / "sessions.db") as (store, session):
        await store._worker.read(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone())
        with suppress(SessionManagerError):  # what is free in the pages that there are
            for _ in range(1_000):
                await store.append(session, [said()])
        await each_discreet(store, session)


async def test_a_file_that_is_locked(tmp_path: Path) -> None:
    async with in_file(tmp_path / "sessions.db") as (store, session):
        with closing(sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            await each_discreet(store, session, least=ALL // 2)
            holder.rollback()


@pytest.mark.parametrize("content", [CANARY * 1_000, CANARY])
async def test_a_file_that_is_no_database(tmp_path: Path, content: str) -> None:
    path = tmp_path / "sessions.db"
    path.write_text(content, encoding="utf-8")
    async with SqliteStore(path) as store:
        await each_discreet(store, Session(id="s", events=[said()]), least=ALL - 2)


@pytest.mark.parametrize(
    "change",
    [
        "events SET body = 'canary' WHERE number = 1",
        "events SET body = CAST(x'ff63616e617279' AS TEXT) WHERE number = 1",
        "sessions SET header = 'canary'",
        "sessions SET header = CAST(x'ff63616e617279' AS TEXT)",
        "sessions SET counters = 'canary'",
        "sessions SET counters = CAST(x'ff63616e617279' AS TEXT)",
        "sessions SET id = CAST(x'ff63616e617279' AS TEXT)",
    ],
)
async def test_what_is_damaged_in_a_file(tmp_path: Path, change: str) -> None:
    async with in_file(tmp_path / "sessions.db") as (_, session):
        with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection, connection:
            connection.execute(f"UPDATE {change}")
        async with SqliteStore(tmp_path / "sessions.db") as fresh:
            await each_discreet(fresh, session)


# -- a store of somebody's own -------------------------------------------------------------------


class Broken:
    """A store that quotes, in its errors, what it was to keep."""

    async def get(self, session_id: str) -> Session[Any] | None:
        raise LoudError

    async def save(self, session: Session[Any]) -> None:
        raise LoudError


async def test_a_store_of_somebody_s_own_that_fails() -> None:
    for write in (True, False):
        sm = SessionManager(None if write else "s", store=Broken())
        with pytest.raises(SessionManagerError) as caught:
            await sm.user_says(CANARY)
        assert shows_no_secret(str(caught.value) + repr(caught.value))
        assert isinstance(caught.value.__cause__, LoudError)
