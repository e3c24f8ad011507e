"""Stores that are down, slow, full, locked or damaged: an error that says so, nothing lost or given away."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sqlite3
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import pytest
import redis
import servers
import trustme
from discretion import CANARY, PASSWORD, each_refused, logs_without_secrets, refused, shows_no_secret
from rig import Proxy, small_disk
from servers import HOST, PATIENCE, RedisCluster, RedisSentinel, RedisServer, TlsFront, in_time, wait_until

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, SessionNotFound, StorageError
from chuk_ai_session_manager import get_storage_info as storage_info
from chuk_ai_session_manager.stores import EventStore, SqliteStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

T = TypeVar("T")

__all__ = ["logs_without_secrets"]  # for each test here

# What a store says when it cannot know whether what it sent arrived.
UNKNOWN = "may have been stored or not"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server with an odd password that keeps on disk what it acknowledged."""
    with RedisServer(aof=True, password=PASSWORD) as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    """A store with all the time that it may need."""
    async with RedisStore(server.url, timeout=PATIENCE) as store:
        yield store
        assert shows_no_secret(repr(store) + str(store.get_stats()))


@pytest.fixture
async def fresh(server: RedisServer) -> AsyncIterator[RedisStore]:
    """A store of the same sessions that has seen none of them."""
    async with RedisStore(server.url, timeout=PATIENCE) as store:
        yield store


@pytest.fixture
async def hasty(server: RedisServer) -> AsyncIterator[RedisStore]:
    """A store of the same sessions that soon gives up."""
    async with RedisStore(server.url, timeout=0.5) as store:
        yield store


async def at_last(work: Callable[[], Awaitable[T]]) -> T:
    """What comes of work that a slow machine may need several tries for."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StorageError):
                return await work()


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


def said(message: str = CANARY, **fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=message, **fields)


async def stored(store: EventStore, session_id: str = "s") -> list[str]:
    """The ids of a session's events, none twice, as many as its header counts."""
    session, head = await store.get(session_id), await store.head(session_id)
    assert session is not None
    assert head is not None
    ids = [event.id for event in session.events]
    assert len(set(ids)) == len(ids) == head.totals.events
    return ids


async def messages(store: EventStore, session_id: str = "s") -> list[str]:
    rows = await SessionManager(session_id, store=store, create=False).get_conversation()
    return [row["content"] for row in rows]


async def begin(store: EventStore, *, events: int = 3) -> Session[Any]:
    """A session "s" with some events."""
    session: Session[Any] = Session(id="s", events=[said(id=f"e{at}") for at in range(events)])
    await store.create(session)
    return session


def contents(server: RedisServer) -> dict[str, Any]:
    """All that a server holds."""
    readings: dict[str, Callable[[str], Any]] = {
        "string": lambda key: server.command("GET", key),
        "hash": lambda key: pairs(server.command("HGETALL", key)),
        "set": lambda key: sorted(server.command("SMEMBERS", key)),
        "zset": lambda key: server.command("ZRANGE", key, 0, -1, "WITHSCORES"),
    }
    return {key: readings[server.command("TYPE", key)](key) for key in server.command("KEYS", "*")}


def raw(server: RedisServer, key: str) -> Any:
    """A hash as the bytes that it is."""
    with redis.Redis(port=server.port, password=server.password) as client:
        return client.hgetall(key)


def pairs(answer: Any) -> dict[Any, Any]:
    """A hash, however this version of the client gives it."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def uses(store: EventStore, session: Session[Any]) -> dict[str, Callable[[], Awaitable[object]]]:
    """Everything that reaches the server, on the session and on others."""
    return {
        "get": lambda: store.get("s"),
        "head": lambda: store.head("s"),
        "get what is not there": lambda: store.get("new"),
        "create": lambda: store.create(Session(id="new", events=[said()])),
        "save": lambda: store.save(Session(id="new", events=[said()])),
        "append": lambda: store.append(session, [said()]),
        "list": store.list_sessions,
        "delete": lambda: store.delete("s"),
        "delete_conversation": lambda: store.delete_conversation("s"),
        "extend": lambda: store.extend_session_ttl("s", 1),
        "time_to_live": lambda: store.time_to_live("s"),
        "user_says": lambda: SessionManager("s", store=store).user_says(CANARY),
        "user_says, anew": lambda: SessionManager(store=store).user_says(CANARY),
        "get_stats": lambda: SessionManager("s", store=store).get_stats(),
        "get_messages_for_llm": lambda: SessionManager("s", store=store).get_messages_for_llm(),
    }


class TestDown:
    async def test_an_outage_is_an_error_and_no_empty_session(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore
    ) -> None:
        session = await begin(store)
        before = contents(server)
        server.stop()
        # At once, because each of them takes all its time.
        failing = (each_refused(["Redis did not answer"], use) for use in uses(hasty, session).values())
        await asyncio.gather(*failing)
        server.start()
        assert contents(server) == before
        assert await at_last(hasty.list_sessions) == ["s"]
        assert await at_last(lambda: hasty.get("new")) is None
        assert await at_last(lambda: stored(hasty)) == ["e0", "e1", "e2"]

    async def test_the_same_objects_work_again_when_it_is_over(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore
    ) -> None:
        session = await begin(store)
        sm, other = SessionManager("s", store=hasty), SessionManager(store=hasty)
        server.stop()
        event = said("later")
        await each_refused(
            ["Redis did not answer"],
            lambda: hasty.append(session, [event]),
            lambda: sm.user_says("lost"),
            lambda: other.user_says("lost"),
        )
        server.start()
        await at_last(lambda: hasty.append(session, [event]))
        assert await at_last(lambda: sm.user_says("said")) == "s"
        new_id = await at_last(lambda: other.user_says("hello"))
        assert [text for text in await messages(store) if text != CANARY] == ["later", "said"]
        assert "lost" not in await messages(store, new_id)
        assert sorted(await store.list_sessions()) == sorted(["s", new_id])

    async def test_a_restart_between_two_appends_goes_unnoticed(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        sm = SessionManager("s", store=store)
        for number in range(3):
            await store.append(session, [said(id=f"{number}")])
            await sm.user_says("hello")
            if number % 2:
                server.stop()
            else:
                server.kill()
            server.start()
        assert [one for one in await stored(store) if len(one) == 1] == ["0", "1", "2"]
        assert (await sm.get_stats())["total_events"] == 9

    async def test_a_connection_that_the_server_cuts_goes_unnoticed(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        for number in range(20):
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await store.append(session, [said(id=f"{number}")])
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert (await stored(store))[3:] == [f"{each}" for each in range(number + 1)]

    async def test_scripts_that_the_server_forgot_are_sent_again(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        for number in range(3):
            server.command("SCRIPT", "FLUSH")
            await asyncio.gather(*(store.append(session, [said(id=f"{number}-{at}")]) for at in range(5)))
            server.command("SCRIPT", "FLUSH")
            assert len(await stored(store)) == 3 + 5 * (number + 1)
        server.command("SCRIPT", "FLUSH")
        assert await store.list_sessions() == ["s"]

    async def test_a_session_that_the_server_lost_is_not_found_and_not_made_anew(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        sm = SessionManager("s", store=store)
        await sm.user_says("hello")
        server.command("FLUSHALL")
        for write in (store.append(session, [said()]), store.save(session), sm.user_says("more")):
            with pytest.raises(SessionNotFound, match="s not found"):
                await write
        assert await store.get("s") is None
        assert await store.list_sessions() == []
        await SessionManager("s", store=store).user_says("anew")
        assert await messages(store) == ["anew"]


class TestPaused:
    async def test_an_append_says_that_its_outcome_is_unknown_and_a_retry_does_it_once(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore, fresh: RedisStore
    ) -> None:
        session = await begin(store)
        await at_last(lambda: hasty.append(session, [said(id="warm")]))
        events = [said(id=f"paused-{uuid4()}") for _ in range(3)]
        server.pause()
        for event in events[:2]:
            with refused(UNKNOWN, event.id):
                await in_time(hasty.append(session, [event]))
        with refused(UNKNOWN, events[1].id, events[2].id):
            await in_time(hasty.append(session, events[1:]))
        server.resume()
        await at_last(lambda: hasty.append(session, events))
        await store.append(session, events)
        assert sorted(await stored(fresh)) == sorted(["e0", "e1", "e2", "warm", *(one.id for one in events)])

    async def test_a_manager_says_so_too_and_goes_on(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore, fresh: RedisStore
    ) -> None:
        sm = SessionManager("s", store=hasty)
        await at_last(lambda: sm.user_says("first"))
        server.pause()
        with refused(UNKNOWN):
            await in_time(sm.user_says(CANARY))
        with refused():
            await in_time(sm.get_messages_for_llm())
        server.resume()
        await at_last(lambda: sm.user_says("last"))
        texts = await messages(fresh)
        assert texts.count(CANARY) <= 1
        assert [text for text in dict.fromkeys(texts) if text != CANARY] == ["first", "last"]
        await stored(fresh)

    async def test_what_waits_together_is_told_each_for_itself(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore, fresh: RedisStore
    ) -> None:
        session = await begin(store)
        events = [said(id=f"paused-{number}") for number in range(20)]
        server.pause()

        async def fail(event: SessionEvent[Any]) -> None:
            with refused(UNKNOWN, event.id):
                await in_time(hasty.append(session, [event]))

        await asyncio.gather(*map(fail, events))
        server.resume()
        for event in events:
            await at_last(lambda event=event: hasty.append(session, [event]))  # type: ignore[misc]
        assert len(await stored(fresh)) == 3 + 20


class TestLostReplies:
    @pytest.mark.parametrize(
        "use", ["append", "only_if_current", "save", "create", "state", "says", "delete"]
    )
    async def test_what_was_done_already_is_done_once_and_succeeds(
        self, server: RedisServer, store: RedisStore, fresh: RedisStore, use: str
    ) -> None:
        session = await begin(store)
        proxy = Proxy(server.port)
        async with proxy.running() as port:
            url = server.url.replace(f":{server.port}", f":{port}")
            async with RedisStore(url, timeout=PATIENCE) as far:
                mine = await far.get("s")
                assert mine is not None
                await in_time(self._use(use, far, mine, proxy))
                assert proxy.lost
        read = await fresh.get("new" if use == "create" else "s")
        if use == "delete":
            assert read is None
            return
        assert read is not None
        expected = {"create": 1, "state": 3}.get(use, 4)
        assert len(await stored(fresh, read.id)) == expected
        assert read.state == ({"step": 1} if use == "state" else {})
        assert [event.message for event in read.events] == [CANARY] * expected
        assert await fresh.get("s") == (session if use == "create" else read)

    async def _use(self, use: str, far: RedisStore, mine: Session[Any], proxy: Proxy) -> None:
        match use:
            case "append":
                proxy.lose_next(b"doctor")
                await far.append(mine, [said()])
            case "only_if_current":
                proxy.lose_next(b"doctor")
                assert await far.append(mine, [said()], only_if_current=True)
            case "save":
                proxy.lose_next(b"doctor")
                mine.record(said())
                await far.save(mine)
            case "create":
                proxy.lose_next(b"doctor")
                await far.create(Session(id="new", events=[said()]))
            case "state":
                proxy.lose_next(b'"step":1')
                await mine.set_state("step", 1)
                await far.save_header(mine)
            case "says":
                proxy.lose_next(b"doctor")
                await SessionManager("s", store=far).user_says(CANARY)
            case _:
                proxy.lose_next(b"casm:")
                await far.delete("s")


class TestPasswords:
    @pytest.mark.parametrize(
        "login", ["", ":wr0ng@", "default:wr0ng@", f"nobody:{quote(PASSWORD, safe='')}@"], ids=range(4)
    )
    async def test_who_has_the_wrong_one_is_told_and_refused(
        self, server: RedisServer, store: RedisStore, login: str
    ) -> None:
        session = await begin(store)
        before = contents(server)
        async with RedisStore(f"redis://{login}{HOST}:{server.port}", timeout=PATIENCE) as stranger:
            await each_refused(["password"], *uses(stranger, session).values())
            assert "wr0ng" not in repr(stranger)
        assert contents(server) == before

    @pytest.mark.parametrize("user", ["", "default"])
    async def test_who_has_the_right_one_is_let_in_however_odd_it_is(
        self, server: RedisServer, user: str
    ) -> None:
        login = f"{user}:{quote(PASSWORD, safe='')}@"
        async with RedisStore(f"redis://{login}{HOST}:{server.port}", timeout=PATIENCE) as store:
            await begin(store)
            assert await stored(store) == ["e0", "e1", "e2"]

    @pytest.mark.parametrize("state", ["running", "down", "wrong password"])
    async def test_what_is_told_of_the_default_store_has_none_in_it(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch, state: str
    ) -> None:
        monkeypatch.setenv("SESSION_PROVIDER", "redis")
        monkeypatch.setenv("SESSION_REDIS_URL", server.url)
        if state == "down":
            server.stop()
        elif state == "wrong password":
            server.command("CONFIG", "SET", "requirepass", "another")
            server.password = "another"
        info = storage_info()
        assert info["provider"] == "redis"
        assert f"***@{HOST}:{server.port}" in info["redis_url"]
        assert shows_no_secret(f"{info}")
        sm = SessionManager("s")
        if state == "running":
            await sm.user_says(CANARY)
        elif state == "wrong password":
            with refused("password"):
                await in_time(sm.user_says(CANARY))
        from chuk_ai_session_manager.session_storage import get_backend

        assert shows_no_secret(
            f"{get_backend()!r} {get_backend().get_stats()} {get_backend().store!r} {sm!r}"
        )
        await get_backend().close()

    @pytest.mark.parametrize(
        "url",
        [
            f"redis://:{PASSWORD}@{HOST}",  # not encoded
            f"redis://:{quote(PASSWORD, safe='')}@{HOST}:port",
            f"redis://:{quote(PASSWORD, safe='')}@{HOST}:6379/zero",
            f"redis://:{quote(PASSWORD, safe='')}@{HOST}?socket_timeout=soon",
            f"redis+sentinel://:{quote(PASSWORD, safe='')}@{HOST}",
            f"redis://:{quote(PASSWORD, safe='')}@",
        ],
        ids=range(6),
    )
    def test_a_url_that_is_none_is_not_repeated(self, url: str) -> None:
        with refused("URL"):
            RedisStore(url)


class TestWrongType:
    async def test_what_lies_under_our_key_is_left_and_the_session_named(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        key = store._keys.of("s")
        server.command("DEL", key)
        server.command("SET", key, "somebody else's")
        sm = SessionManager("s", store=store)
        await each_refused(
            ["wrong type", "ession s "],
            lambda: store.get("s"),
            lambda: store.head("s"),
            lambda: store.append(session, [said()]),
            lambda: store.create(Session(id="s", events=[said()])),
            lambda: store.save(Session(id="s", events=[said()])),
            lambda: store.delete_conversation("s"),
            lambda: store.delete("s"),
            lambda: sm.user_says(CANARY),
            sm.get_stats,
        )
        assert server.command("GET", key) == "somebody else's"
        await SessionManager("other", store=store).user_says("hello")
        assert await messages(store, "other") == ["hello"]
        assert list(await store.list_sessions()) == ["other", "s"]
        assert not await store.list_sessions(parent_id="nobody")


class TestFull:
    async def test_what_does_not_fit_is_refused_whole_and_fits_later(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        sm = SessionManager("s", store=store)
        await sm.user_says("hello")
        used = server.command("INFO", "memory")["used_memory"]
        server.command("CONFIG", "SET", "maxmemory", used + 1_000_000)
        acknowledged = await stored(store)
        events: list[SessionEvent[Any]] = []
        with refused("full"):
            for _ in range(1_000):
                events = [said(CANARY * 1_000) for _ in range(2)]
                await in_time(store.append(session, events))
                acknowledged += [event.id for event in events]
        server.command("CONFIG", "SET", "maxmemory", 1)
        before = contents(server)
        await store.append(session, session.events[:2])  # stored already: nothing to be done
        await each_refused(
            ["full"],
            lambda: store.append(session, events),
            lambda: store.create(Session(id="new", events=[said()])),
            lambda: store.create(Session(id="child", parent_id="s")),
            lambda: sm.user_says(CANARY),
            lambda: sm.update_system_prompt(CANARY),
            lambda: SessionManager(store=store).user_says(CANARY),
        )
        assert contents(server) == before
        assert await stored(store) == acknowledged
        server.command("CONFIG", "SET", "maxmemory", 0)
        await store.append(session, events)
        assert await stored(store) == [*acknowledged, *(event.id for event in events)]
        await sm.user_says("bye")
        assert (await messages(store))[-1] == "bye"


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


# -- TLS ----------------------------------------------------------------------------------------


class TestTls:
    async def test_a_server_is_reached_by_who_knows_its_authority_and_by_nobody_else(
        self, server: RedisServer
    ) -> None:
        with TlsFront(server.port) as front:
            url = server.url.replace("redis://", "rediss://").replace(f":{server.port}", f":{front.port}")
            async with RedisStore(f"{url}?ssl_ca_certs={front.ca_path}", timeout=PATIENCE) as store:
                await begin(store)
                assert await stored(store) == ["e0", "e1", "e2"]
            before = contents(server)
            await self._is_refused(url)
        assert contents(server) == before

    async def test_a_certificate_for_another_name_is_refused(
        self, server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        authority = trustme.CA()
        ca_path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(ca_path))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("elsewhere.example").configure_cert(context)
        monkeypatch.setattr(servers, "_certificate", lambda: (context, str(ca_path)))
        with TlsFront(server.port) as front:
            url = server.url.replace("redis://", "rediss://").replace(f":{server.port}", f":{front.port}")
            await self._is_refused(f"{url}?ssl_ca_certs={ca_path}")

    async def test_a_cluster_is_reached_by_who_knows_its_authority_and_by_nobody_else(self) -> None:
        with RedisCluster(tls=True) as cluster:
            url = f"{cluster.url}?ssl_ca_certs={cluster.ca_path}"
            async with RedisStore(url, timeout=PATIENCE) as store:
                for number in range(12):
                    await SessionManager(f"s{number}", store=store).user_says("hello")
                assert len(await store.list_sessions()) == 12
            assert all(node.command("DBSIZE") for node in cluster.nodes)
            await self._is_refused(cluster.url)

    async def _is_refused(self, url: str) -> None:
        async with RedisStore(url) as store:
            with refused("certificate"):  # at once: it does not pass
                await in_time(store.create(Session(events=[said()])))


# -- Sentinel and Cluster -----------------------------------------------------------------------


@pytest.fixture(scope="class")
def rig() -> Iterator[RedisSentinel]:
    with RedisSentinel() as rig:
        yield rig


class TestSentinel:
    async def test_a_sentinel_that_hangs_is_passed_over(self, rig: RedisSentinel) -> None:
        rig.sentinels[0].pause()
        try:
            async with RedisStore(rig.url, sandbox_id="box") as store:
                session = await in_time(begin(store))
                await in_time(store.append(session, [said()]))
                assert len(await stored(store)) == 4
        finally:
            rig.sentinels[0].resume()

    async def test_appends_go_on_with_the_replica_when_the_master_is_killed(self, rig: RedisSentinel) -> None:
        journal: list[str] = []
        everybody, killed = asyncio.Barrier(6), asyncio.Event()

        async def append(name: str) -> None:
            for number in range(30):
                event = said(id=f"{name}-{number}")
                await store.append(session, [event])
                journal.append(event.id)
                if number == 10:
                    await everybody.wait()
                    await killed.wait()

        async with RedisStore(rig.url, timeout=PATIENCE) as store:
            session = await begin(store)
            async with asyncio.TaskGroup() as tasks:
                for number in range(5):
                    tasks.create_task(append(f"writer-{number}"))
                await everybody.wait()
                wait_until(lambda: _has_all(rig), "a replica that has all")
                rig.master.kill()
                killed.set()
        async with RedisStore(rig.url, timeout=PATIENCE) as fresh:
            ids = await stored(fresh)
        assert rig.replica.command("ROLE")[0] == "master"
        for number in range(5):
            name = f"writer-{number}-"
            assert [one for one in ids if one.startswith(name)] == [f"{name}{at}" for at in range(30)]
        assert set(journal) <= set(ids)
        wait_until(lambda: not any(map(_is_in_use, rig.sentinels)), "the end of all connections", 10)


class TestCluster:
    async def test_appends_go_on_with_the_replica_of_a_master_that_hangs(self) -> None:
        with RedisCluster(replicas=1, options={"cluster-node-timeout": "1500"}) as cluster:
            async with RedisStore(cluster.url, timeout=3) as store:
                sessions: list[Session[Any]] = [Session(id=f"s{number}") for number in range(12)]
                for session in sessions:  # on all masters
                    await at_last(partial(store.save, session))
                cluster.nodes[0].pause()
                events = {session.id: said() for session in sessions}
                async with asyncio.TaskGroup() as tasks:
                    for session in sessions:
                        tasks.create_task(at_last(partial(store.append, session, [events[session.id]])))
                for session in sessions:
                    assert await stored(store, session.id) == [events[session.id].id]
            cluster.nodes[0].resume()


def _is_in_use(sentinel: RedisServer) -> bool:
    """Whether anybody is connected besides who asks, and the other sentinels, which go by names."""
    clients = sentinel.command("CLIENT", "LIST").splitlines()
    return sum(" name= " in client for client in clients) > 1


def _has_all(rig: RedisSentinel) -> bool:
    offsets = []
    for server in (rig.master, rig.replica):
        with server.client() as client:
            info = client.info("replication")
        offsets.append(info.get("slave_repl_offset", info["master_repl_offset"]))
    return bool(offsets[0] == offsets[1])


# -- SQLite -------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def file(path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(path, busy_timeout=0.2) as store:
        yield store


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


def content(path: Path) -> bytes:
    return path.read_bytes()


def replace_content(path: Path, new: bytes) -> None:
    path.write_bytes(new)


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
            [str(path), "no SQLite database"], lambda: file.get("s"), lambda: sm.user_says(CANARY)
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


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes to a file and does not end."""
    holder = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()


class TestSqliteOutages:
    async def test_a_missing_folder_is_told_of_and_used_once_it_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "folder" / "sessions.db"
        async with SqliteStore(path) as store:
            sm = SessionManager("s", store=store)
            await each_refused(
                [str(path), "Does its folder exist"],
                lambda: sm.user_says(CANARY),
                lambda: store.get("s"),
                store.list_sessions,
            )
            tmp_path.joinpath("folder").mkdir()  # so it was not made, nor anything in its place
            await sm.user_says("hello")
            assert await messages(store) == ["hello"]

    async def test_a_folder_in_the_place_of_the_file_is_told_of(self, tmp_path: Path) -> None:
        async with SqliteStore(tmp_path) as store:
            with refused(str(tmp_path), "cannot be opened"):
                await store.get("s")

    async def test_a_lock_held_too_long_is_told_of_and_waited_for_anew(
        self, path: Path, file: SqliteStore
    ) -> None:
        session = await begin(file)
        sm = SessionManager("s", store=file)
        event = said()
        with locked(path):
            await each_refused(
                [str(path), "locked"],
                lambda: file.append(session, [event]),
                lambda: file.create(Session(id="new")),
                lambda: sm.user_says(CANARY),
            )
            assert await stored(file) == ["e0", "e1", "e2"]  # readers do not wait
        await file.append(session, [event])
        await sm.user_says("hello")
        assert await file.get("new") is None
        assert [*(await stored(file))[:-1]] == ["e0", "e1", "e2", event.id]

    async def test_a_lock_on_a_new_file_is_told_of_after_the_same_time(
        self, path: Path, file: SqliteStore
    ) -> None:
        with locked(path):
            async with asyncio.timeout(5):  # not the 0.2 s of the store's, but not a time of its own either
                with refused(str(path), "locked"):
                    await SessionManager("s", store=file).user_says(CANARY)
        await SessionManager("s", store=file).user_says("hello")
        assert await messages(file) == ["hello"]

    async def test_a_file_that_may_not_grow_is_told_of_and_keeps_what_it_has(self, file: SqliteStore) -> None:
        session = await begin(file)
        pages = await file._worker.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await file._worker.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 20}").fetchone())
        await self._fill_up(
            file,
            session,
            lambda: file._worker.read(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone()),
        )

    async def test_a_full_disk_is_told_of_and_keeps_what_it_has(self, tmp_path: Path) -> None:
        with small_disk(tmp_path) as disk:
            ballast = disk / "ballast"
            replace_content(ballast, b"\0" * 500_000)

            async def free() -> None:
                replace_content(ballast, b"")

            async with SqliteStore(disk / "sessions.db") as store:
                await self._fill_up(store, await begin(store), free)
            with closing(sqlite3.connect(disk / "sessions.db")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    async def _fill_up(
        self, store: SqliteStore, session: Session[Any], free: Callable[[], Awaitable[object]]
    ) -> None:
        acknowledged = await stored(store)
        event = said()
        with refused("full"):
            for _ in range(1_000):
                event = said(CANARY * 100)
                await store.append(session, [event])
                acknowledged.append(event.id)
        big = said(CANARY * 20_000)
        sm = SessionManager("s", store=store)
        await each_refused(
            ["full"],
            lambda: store.append(session, [big]),
            lambda: store.create(Session(id="new", events=[big])),
            lambda: sm.user_says(CANARY * 20_000),
        )
        assert await stored(store) == acknowledged
        assert await store.get("new") is None
        await free()
        await store.append(session, [event])
        assert await stored(store) == [*acknowledged, event.id]
        await sm.user_says("hello")
        assert (await messages(store))[-1] == "hello"

    @pytest.mark.parametrize(
        "protected", [["."], ["sessions.db"], [".", "sessions.db"]], ids=["folder", "file", "both"]
    )
    def test_what_is_read_only_is_told_of_and_used_once_it_is_not(self, protected: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if os.geteuid() == 0:
                os.chown(folder, NOBODY, NOBODY)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pool.submit(use_protected, Path(folder), protected).result(PATIENCE)


NOBODY = 65534


def use_protected(folder: Path, protected: Sequence[str]) -> None:
    """Use a store as somebody who keeps to the files' modes, which root does not."""
    asyncio.run(_warm_up())
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    asyncio.run(_use_protected(folder, protected))


async def _warm_up() -> None:
    """Import all that is imported at first use: the other user may not be let to where it is."""
    async with SqliteStore(":memory:") as store:
        await begin(store)
        await SessionManager("s", store=store).user_says("hello")
        assert len(await messages(store)) == 4
    async with SqliteStore("/no/such/folder/sessions.db") as store:
        with refused("folder"):
            await store.get("s")


async def _use_protected(folder: Path, protected: Sequence[str]) -> None:
    path = folder / "sessions.db"
    async with SqliteStore(path) as store:
        session = await begin(store)
    before = content(path)
    for name in reversed(protected):
        allow(folder / name, writing=False)
    async with SqliteStore(path) as store:
        sm = SessionManager("s", store=store)
        await each_refused(
            [str(path), "read-only"],
            lambda: store.append(session, [said()]),
            lambda: store.create(Session(id="new", events=[said()])),
            lambda: sm.user_says(CANARY),
        )
        for name in protected:
            allow(folder / name, writing=True)
        assert await store.get("new") is None
        assert await stored(store) == ["e0", "e1", "e2"]
        assert content(path) == before
        await sm.user_says("hello")
        assert (await messages(store))[-1] == "hello"


def allow(path: Path, *, writing: bool) -> None:
    path.chmod(0o700 if writing else 0o500)
