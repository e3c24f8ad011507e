"""Rows of the fault matrix: what may lie in a store, by whomever it was written, and under which ids."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from itertools import islice
from random import Random
from typing import Any

import redis
import schemas
from hostile_ids import check_keys, hostile_ids
from journal import named
from places import InMemory, Place
from rig import OnRedis, Trial, judging, row
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionManager, SessionNotFound
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import DEFAULT_SANDBOX_ID, EventStore, SqliteStore
from chuk_ai_session_manager.stores.redis.keys import Keys
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.stored_data import SCHEMA, StoredSession
from chuk_ai_session_manager.testing import INVALID_IDS

DEEP = "[" * 100_000

# -- damage -------------------------------------------------------------------------------------

HARM: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "bad UTF-8": lambda text: b"\xff" + text,
    "another kind": lambda text: b'{"text": [1]}' if text[:1] == b"[" else b'["text"]',
    "deep nesting": lambda text: DEEP.encode(),
    "an object twice": lambda text: text + b"," + text,
    "no JSON": lambda text: b"somebody else's",
}
FIELDS = ("0:1", "0:counters", "0:metadata", "0:child_ids", "0:runs", "0:state")


class SkippingStore(RedisStore):
    """Known to be bad: what it cannot read of a log, it leaves out."""

    async def _read(self, session_id: str, start: int | None, end: int | None = None) -> StoredSession | None:
        stored = await super()._read(session_id, start, end)
        if stored is not None and stored.bodies:
            bodies = [body for body in stored.bodies[0].split(',{"metadata"') if body.endswith("}")]
            stored.bodies = [',{"metadata"'.join(bodies)]
            stored.count = len(bodies)
        return stored


@row("foreign or damaged data", control="leaves out what it cannot read")
async def data_is_damaged(trial: Trial) -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        place = OnRedis(server.url, kind=SkippingStore if trial.is_control else RedisStore)
        await trial.begin(place, "in-redis", "beside-in-redis")
        async with place.store() as store:
            await write(trial, store, "in-redis", 3)
            key = store._keys.of("in-redis")

        def damaged(field: str, harm: Callable[[bytes], bytes]) -> Callable[[], None]:
            before = client.hget(key, field) or b""
            client.hset(key, field, harm(before))

            def mend() -> None:
                assert client.hget(key, field) == harm(before)  # left as it was
                client.hset(key, field, before)

            return mend

        for field in FIELDS:
            for harm in HARM.values():
                mend = damaged(field, harm)
                await is_told(trial, place, "in-redis", "damaged")
                mend()
        for field in ("0:1", "0:counters", "0:count", "0:state"):
            value = client.hget(key, field) or b""
            client.hdel(key, field)
            await is_told(trial, place, "in-redis", "damaged")
            client.hset(key, field, value)
        content = client.dump(key)
        client.delete(key)
        client.set(key, "somebody else's")
        await is_told(trial, place, "in-redis", "wrong type")
        assert client.get(key) == b"somebody else's"
        client.delete(key)
        client.restore(key, 0, content)
        async with place.store() as store:
            await write(trial, store, "in-redis", 2)
        await trial.check(place)
    if not trial.is_control:
        await a_file_is_damaged(trial)


async def a_file_is_damaged(trial: Trial) -> None:
    place = trial.on_sqlite()
    await trial.begin(place, "in-a-file", "beside-in-a-file")
    async with place.store() as store:
        await write(trial, store, "in-a-file", 3)

    def execute(statement: str, *values: object) -> Any:
        with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as connection, connection:
            connection.text_factory = bytes
            return connection.execute(statement, values).fetchone()

    its_event = "number = 1 AND session = (SELECT key FROM sessions WHERE id = 'in-a-file' AND count = 3)"
    parts = [
        ("events", "body", its_event),
        ("sessions", "header", "id = 'in-a-file' AND count = 3"),
        ("sessions", "counters", "id = 'in-a-file' AND count = 3"),
    ]
    for table, column, condition in parts:
        read = f"SELECT {column} FROM {table} WHERE {condition}"  # noqa: S608  (those above)
        change = f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {condition}"  # noqa: S608
        (before,) = execute(read)
        for harm in HARM.values():
            execute(change, harm(before))
            await is_told(trial, place, "in-a-file", "damaged")
            assert execute(read) == (harm(before),)
            execute(change, before)
    execute("UPDATE sessions SET count = 5 WHERE id = 'in-a-file' AND count = 3")
    await is_told(trial, place, "in-a-file", "damaged")
    execute("UPDATE sessions SET count = 3 WHERE count = 5")
    async with place.store() as store:
        await write(trial, store, "in-a-file", 2)
    await trial.check(place)


async def write(trial: Trial, store: EventStore, session_id: str, many: int) -> None:
    session = await store.head(session_id)
    assert session is not None
    at = session.totals.events
    for number in range(at, at + many):
        with trial.journal.writing(session_id, name := f"{session_id}/{number}"):
            await store.append(session, [named(name)])


async def is_told(trial: Trial, place: Place, session_id: str, word: str) -> None:
    """Who reads a session in a fresh store hears what is wrong; the one beside it is as good as ever."""
    async with place.store() as store:
        sm = SessionManager(session_id, store=store, create=False)
        uses: list[Callable[[], Awaitable[object]]] = [
            lambda: store.get(session_id),
            sm.get_conversation,
            sm.get_messages_for_llm,
        ]
        for use in uses:
            with judging(), trial.refused(session_id, word):
                await use()
        assert await store.get(f"beside-{session_id}") is not None


# -- other releases, and the original -----------------------------------------------------------


@row("older and newer schema")
async def another_release_wrote(trial: Trial) -> None:
    for release in schemas.RELEASES:
        kept = schemas.kept(release)
        path = trial.folder / f"{release}.db"
        schemas.sqlite_file(release, path)
        with trial.succeeds():
            async with SqliteStore(path, sandbox_id=schemas.SANDBOX) as store:
                assert schemas.holds(await schemas.told(store), kept["sqlite"])
                await goes_on(store)
        with RedisServer() as server, trial.succeeds():
            schemas.redis_keys(release, server)
            async with RedisStore(server.url, sandbox_id=schemas.SANDBOX) as store:
                assert schemas.holds(await schemas.told(store), kept["redis"])
                await goes_on(store)
    assert schemas.RELEASES
    await a_later_release_wrote(trial)


async def goes_on(store: EventStore) -> None:
    """What was begun by an earlier release is continued by this one."""
    for session_id in (schemas.TALK, schemas.PLAIN):
        sm = SessionManager(session_id, store=store, infinite_context=session_id == schemas.TALK)
        before = (await sm.get_stats())["total_messages"]
        await sm.user_says("more")
        assert (await sm.get_stats())["total_messages"] == before + 1
        assert (await sm.get_conversation())[-1]["content"] == "more"


async def a_later_release_wrote(trial: Trial) -> None:
    newest = schemas.RELEASES[-1]
    path = trial.folder / "later.db"
    schemas.sqlite_file(newest, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    before = path.read_bytes()
    async with SqliteStore(path, sandbox_id=schemas.SANDBOX) as store:
        await refused_for_all(trial, store, str(path), "newer release")
    assert path.read_bytes() == before
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        schemas.redis_keys(newest, server, hashes={"schema": str(SCHEMA + 1)})
        before_keys = {key: client.dump(key) for key in client.scan_iter()}
        async with RedisStore(server.url, sandbox_id=schemas.SANDBOX) as in_redis:
            await refused_for_all(trial, in_redis, schemas.PLAIN, "newer release")
        assert {key: client.dump(key) for key in client.scan_iter()} == before_keys


async def refused_for_all(trial: Trial, store: EventStore, *words: str) -> None:
    session: Session[Any] = Session(id=schemas.PLAIN)
    sm = SessionManager(schemas.PLAIN, store=store)
    uses: Sequence[Callable[[], Awaitable[object]]] = (
        lambda: store.get(schemas.PLAIN),
        lambda: store.head(schemas.PLAIN),
        lambda: sm.user_says("hello"),
        lambda: store.append(session, [named("a/0")]),
        sm.get_stats,
    )
    for use in uses:
        with trial.refused(*words):
            await use()


@row("data written by the original")
async def the_original_wrote(trial: Trial) -> None:
    blobs = json.loads((schemas.DATA / "original_0_7_1.json").read_text(encoding="utf-8"))
    with RedisServer() as server:
        for key, value in blobs.items():
            server.command("SET", key, value)
        place = Place(server.url, DEFAULT_SANDBOX_ID)
        for _ in range(2):  # once out of its blob, once as it is kept since
            async with place.store() as store:
                for key, value in blobs.items():
                    with trial.succeeds():
                        await reads_as_written(store, key.removeprefix("session:"), value)
        async with place.fresh().store() as store:
            for key in blobs:  # of another sandbox
                with trial.succeeds():
                    assert await store.get(key.removeprefix("session:")) is None


async def reads_as_written(store: EventStore, session_id: str, blob: str) -> None:
    written = json.loads(json.loads(blob)["custom_metadata"]["ai_session_data"])
    session = await store.get(session_id)
    assert session is not None
    count = len(written["events"])
    assert [each.id for each in session.events[:count]] == [each["id"] for each in written["events"]]
    assert [each.message for each in session.events[:count]] == [
        each["message"] for each in written["events"]
    ]
    assert (session.state, session.parent_id) == (written["state"], written["parent_id"])
    sm = SessionManager(session_id, store=store, create=False)
    before = (await sm.get_stats())["total_messages"]
    await sm.user_says("more")
    assert (await sm.get_stats())["total_messages"] == before + 1


# -- ids ----------------------------------------------------------------------------------------


class BareKeys(Keys):
    """Known to be bad: ids go into keys as they are."""

    def of(self, session_id: str, kind: str = "") -> str:
        return f"casm:{{{self._sandbox}:{kind}{session_id}}}"


class BareStore(RedisStore):
    """Known to be bad: it has such keys."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._keys = BareKeys(self.sandbox_id, is_cluster=False)


@row("hostile session ids", control="ids go into keys as they are")
async def ids_are_hostile(trial: Trial) -> None:
    with judging():
        check_keys(trial.size(20_000, 1_000_000), BareStore if trial.is_control else RedisStore)
    known = list(islice(hostile_ids(Random()), trial.size(100, 3_000)))  # noqa: S311  (ids, not secrets)
    with RedisServer() as server:
        for place in (InMemory(), trial.on_sqlite(), OnRedis(server.url)):
            async with place.store() as store, place.store() as other:
                for session_id in known:
                    with trial.succeeds():
                        await SessionManager(session_id, store=store).user_says(session_id)
                for session_id in known:
                    rows = await SessionManager(session_id, store=other, create=False).get_conversation()
                    assert [each["content"] for each in rows] == [session_id]
                for session_id in (*INVALID_IDS, "x" * 1_000_000):
                    with trial.refused("session id", error=InvalidInput):
                        await SessionManager(session_id, store=store).user_says("hello")
                    assert await store.get(session_id) is None
                assert sorted(await other.list_sessions()) == sorted(known)


@row('ids with "not-found" in them')
async def ids_say_not_found(trial: Trial) -> None:
    ids = ("not-found", "nonexistent", "session-not-found-1", "missing", "unknown", "None", "null", "error")
    with RedisServer() as server:
        for place in (InMemory(), trial.on_sqlite(), OnRedis(server.url)):
            async with place.store() as store, place.store() as other:
                for session_id in ids:
                    with trial.refused(session_id, "not found", error=SessionNotFound):
                        await SessionManager(session_id, store=store).get_stats()
                    with trial.succeeds():
                        await SessionManager(session_id, store=store).user_says("hello")
                        stats = await SessionManager(session_id, store=other, create=False).get_stats()
                        assert stats["total_messages"] == 1
                        await other.delete(session_id)
                        assert await store.get(session_id) is None
