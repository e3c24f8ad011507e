"""What was said, what tools got and gave, and passwords: in no log, no error of ours, no repr, no warning.

The canary goes through every way in which a call can fail. What an application's own code raises is the
application's, and passes through as it is.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from chuk_tool_processor import ToolProcessor, create_registry
from discretion import CANARY, PASSWORD, check_error, logs_without_secrets, shows_no_secret
from pydantic import ValidationError
from servers import HOST, RedisServer, free_port, in_time

import chuk_ai_session_manager as public
from chuk_ai_session_manager import (
    Budget,
    InfiniteConversationManager,
    Session,
    SessionEvent,
    SessionManager,
    SessionManagerError,
    SessionMetadata,
    SessionRun,
    TokenUsage,
    build_prompt_from_session,
    track_llm_call,
)
from chuk_ai_session_manager.accounts.pricing import set_price
from chuk_ai_session_manager.api.tracking import Exchange, LLMStream, track_client
from chuk_ai_session_manager.models import CallUsage, EventSource, EventType
from chuk_ai_session_manager.providers.answers import Answer
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.session_storage import ChukSessionsStore, SessionStorage
from chuk_ai_session_manager.stores import EventStore, MemoryStore, SqliteStore, open_store
from chuk_ai_session_manager.stores.redis.store import RedisStore

__all__ = ["logs_without_secrets"]  # for each test here

Use = Callable[[], Awaitable[object]]


class Loud:
    """A value that is no JSON, and says the canary whoever asks."""

    def __repr__(self) -> str:
        return CANARY


class LoudError(Exception):
    def __init__(self) -> None:
        super().__init__(CANARY)


async def raise_it(*_: Any) -> str:
    raise LoudError


SECRET_ROWS: list[dict[str, Any]] = [
    {"role": "user", "content": CANARY},
    {
        "role": "assistant",
        "content": CANARY,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "t", "arguments": f'{{"a": "{CANARY}"}}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": CANARY},
]


def said(**fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=CANARY, metadata={CANARY: CANARY}, **fields)


async def begin(store: EventStore) -> Session[Any]:
    """A session "s" that holds the canary wherever one can be put."""
    session: Session[Any] = Session(
        id="s",
        events=[said(id=f"e{number}") for number in range(3)],
        state={CANARY: CANARY},
        metadata=SessionMetadata(properties={"user_id": "u", "system_prompt": CANARY}),
        runs=[SessionRun(metadata={CANARY: CANARY})],
    )
    await store.create(session)
    return session


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
    async with RedisStore(server.url, timeout=0.5) as store:
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


# -- what is refused ----------------------------------------------------------------------------

ODD = [Loud(), {CANARY: Loud()}, [Loud()], b"canary", CANARY + "\ud800", {CANARY: math.nan}, {1: CANARY}]


def refusals(value: Any) -> dict[str, Use]:
    """Calls that cannot take such a value, or take it as it is."""
    sm = SessionManager(store=MemoryStore())
    store = SqliteStore(":memory:")

    async def make(kind: Callable[..., object], **fields: Any) -> None:
        kind(**fields)

    async def stored(**fields: Any) -> None:
        async with store:
            await Session.create(store=store, **fields)

    return {
        "message": lambda: sm.user_says(value),
        "metadata": lambda: sm.user_says("hello", more=value),
        "answer": lambda: sm.ai_responds(value),
        "model": lambda: sm.ai_responds("hi", value),
        "usage": lambda: sm.ai_responds("hi", usage=value),
        "count": lambda: sm.ai_responds("hi", usage={"prompt_tokens": value}),
        "tool": lambda: sm.tool_used(value, value, value),
        "call id": lambda: sm.tool_used("t", value, value, tool_call_id=value),
        "rows": lambda: sm.add_messages(value),
        "row": lambda: sm.add_messages([value]),
        "role": lambda: sm.add_messages([{"role": value, "content": CANARY}]),
        "content": lambda: sm.add_messages([{"role": "user", "content": value}]),
        "prompt": lambda: sm.update_system_prompt(value),
        "limit": lambda: make(SessionManager, token_limit=value),
        "properties": lambda: make(SessionManager, metadata=value),
        "prompt given": lambda: make(SessionManager, system_prompt=value),
        "user": lambda: make(SessionManager, user_id=value),
        "event": lambda: make(SessionEvent, message=CANARY, timestamp=value),
        "kind": lambda: make(SessionEvent, message=CANARY, type=value, source=value),
        "event's metadata": lambda: make(SessionEvent, message=CANARY, metadata=value),
        "token usage": lambda: make(TokenUsage, prompt_tokens=value, model=CANARY),
        "call usage": lambda: make(CallUsage, model=value, input_tokens=value),
        "session": lambda: make(Session, events=value, state=value, metadata=value),
        "run": lambda: make(SessionRun, status=value, metadata=value),
        "stored event": lambda: stored(events=[SessionEvent(message=value)]),
        "stored state": lambda: stored(state={"a": value}),
        "stored property": lambda: stored(metadata=SessionMetadata(properties={"a": value})),
        "cursor": lambda: store.list_sessions(cursor=value),
        "page": lambda: store.list_sessions(limit=value),
        "life": lambda: store.extend_session_ttl("s", value),
        "price": lambda: make(set_price, model=value, input_per_million=value, output_per_million=value),
        "strategy": lambda: build_prompt_from_session(Session(events=[said()]), value),
    }


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
async def test_what_is_refused_is_not_repeated(value: Any) -> None:
    refused = 0
    for name, use in refusals(value).items():
        try:
            await use()
        except (SessionManagerError, ValidationError) as problem:
            check_error(problem)
            refused += 1
        except (TypeError, AttributeError) as problem:  # Python's own, for what is no argument at all
            assert name in {"strategy", "cursor", "price"}, (name, problem)  # noqa: PT017  (where there is one)
    assert refused > 12


async def test_conflicts_limits_and_unknown_ids() -> None:
    store = MemoryStore()
    session = await begin(store)
    sm = SessionManager("s", store=store, token_limit=1, cost_limit=0.0)
    failing: list[Use] = [
        lambda: store.append(session, [SessionEvent(id="e0", message=f"{CANARY}!")]),
        lambda: Session.create("s", store=store, state={"a": CANARY}),
        lambda: sm.user_says(CANARY),
        lambda: SessionManager("s", store=store).get_messages_for_llm(max_tokens=1),
        lambda: SessionManager("unknown", store=store, create=False).user_says(CANARY),
        lambda: SessionManager("unknown", store=store).get_conversation(),
        lambda: SessionAwareToolProcessor.create("unknown", store=store),
    ]
    await SessionManager("s", store=store).user_says(CANARY)
    for use in failing:
        with pytest.raises(SessionManagerError) as caught:
            await use()
        check_error(caught.value)


# -- an application's own code -------------------------------------------------------------------


async def test_a_summary_callback_and_a_model_call_that_raise() -> None:
    store = MemoryStore()
    options: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 2}
    sm = SessionManager(store=store, summary_callback=raise_it, **options)
    for _ in range(6):
        await sm.user_says(CANARY)
    await sm.wait_for_summaries()
    with pytest.raises(LoudError):
        await track_llm_call(CANARY, raise_it, session_manager=sm)
    stream = LLMStream(Exchange(sm), CANARY, raise_it)
    with pytest.raises(LoudError):
        async for _ in stream:
            pass
    other = InfiniteConversationManager(token_threshold=1)
    other = InfiniteConversationManager(token_threshold=1)  # in the default store
    session_id = (await Session.create()).id
    for _ in range(3):
        session_id = await other.process_message(session_id, CANARY, EventSource.USER, raise_it)
    summaries = [
        event
        for each in await store.list_sessions()
        for event in (await store.get(each) or Session()).events
        if event.type == EventType.SUMMARY
    ]
    assert summaries
    assert all(shows_no_secret(str(event.metadata.get("callback_failure", ""))) for event in summaries)


async def test_a_tool_that_raises() -> None:
    class Telling:
        async def execute(self, **_: Any) -> str:
            raise LoudError

    registry = create_registry()
    await registry.register_tool(Telling, name="t")
    store = MemoryStore()
    await begin(store)
    processor = await SessionAwareToolProcessor.create(
        "s", store=store, processor=ToolProcessor(registry), max_retries=0
    )
    (result,) = await processor.process_llm_message(SECRET_ROWS[1], None)
    assert result.error is not None
    assert "doctor" in result.error  # what a tool says of its failure is for the model


# -- what is shown of objects --------------------------------------------------------------------


async def test_no_repr_shows_it(tmp_path: Path) -> None:
    stores: list[EventStore] = [
        MemoryStore(),
        SqliteStore(tmp_path / "sessions.db"),
        RedisStore(f"redis://:{quote(PASSWORD, safe='')}@{HOST}"),
    ]
    shown: list[object] = [
        Budget(usd=1, per="day"),
        CallUsage(model="m"),
        TokenUsage(model="m"),
        Answer(CANARY, [{"content": CANARY}], thinking=[{"thinking": CANARY}]),
        SessionStorage(),
        ChukSessionsStore(SessionStorage()),
        InfiniteConversationManager(),
        await stores[0].durability_report(),
        *stores,
    ]
    session = await begin(stores[0])
    sm = SessionManager(
        "s", store=stores[0], system_prompt=CANARY, metadata={"a": CANARY}, summary_callback=raise_it
    )
    await sm.user_says(CANARY)
    shown += [sm, session, *session.events, *session.runs, session.metadata, session.token_summary]
    shown += [await SessionAwareToolProcessor.create("s", store=stores[0]), Exchange(sm)]
    shown += [LLMStream(Exchange(sm), CANARY, raise_it), await stores[0].list_sessions()]

    class Client:
        async def __aenter__(self) -> Client:
            return self

        def __repr__(self) -> str:
            return CANARY

    shown.append(track_client(Client(), sm))
    for each in shown:
        assert shows_no_secret(repr(each) + str(each)), type(each)
        held = getattr(each, "__dict__", {})
        assert shows_no_secret(repr([value for value in held.values() if isinstance(value, asyncio.Future)]))
    made = {type(each).__name__ for each in shown}
    classes = {name for name in public.__all__ if isinstance(getattr(public, name), type)}
    plain = {name for name in classes if issubclass(getattr(public, name), Exception | str)}
    assert classes - plain <= made
    for store in stores:
        await store.close()
