"""Only a server that takes writes may say that something is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from breakage import Proxy
from running import HOST, PATIENCE, in_time, wait_until
from servers import RedisSentinel, RedisServer, has_all_of, is_master

from chuk_ai_session_manager import SessionManager, StorageError
from chuk_ai_session_manager.exceptions import SessionNotFound
from chuk_ai_session_manager.models import Session, SessionEvent
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores.base import RecordProvider
from chuk_ai_session_manager.stores.redis.store import RedisStore


def event(message: str = "hi") -> SessionEvent[Any]:
    return SessionEvent(message=message)


def records(store: RedisStore) -> RecordProvider:
    assert store.record_provider is not None
    return store.record_provider


# What asks for a session "s", or for sessions at all.
QUESTIONS: dict[str, Callable[[RedisStore], Awaitable[object]]] = {
    "get": lambda store: store.get("s"),
    "head": lambda store: store.head("s"),
    "latest": lambda store: store.latest(Session(id="s")),
    "append": lambda store: store.append(Session(id="s"), [event()]),
    "save": lambda store: store.save(Session(id="s")),
    "create": lambda store: store.create(Session(id="s")),
    "delete": lambda store: store.delete("s"),
    "delete_conversation": lambda store: store.delete_conversation("s"),
    "segment_ids": lambda store: store.segment_ids("s"),
    "last_segment_id": lambda store: store.last_segment_id("s"),
    "time_to_live": lambda store: store.time_to_live("s"),
    "extend_session_ttl": lambda store: store.extend_session_ttl("s", 1),
    "list_sessions": lambda store: store.list_sessions(),
    "list_sessions of a user": lambda store: store.list_sessions(user_id="ada"),
    "list_sessions of a parent": lambda store: store.list_sessions(parent_id="s"),
    "a record of chuk-sessions": lambda store: records(store).get("session:s"),
    "deleting such a record": lambda store: records(store).delete("session:s"),
    "what the original wrote": lambda store: store.lifecycle.original("s"),
    "a manager that reads": lambda store: SessionManager("s", store=store, create=False).get_conversation(),
    "a manager that writes": lambda store: SessionManager("s", store=store).user_says("hello"),
}


@pytest.fixture(scope="module")
def lonely_replica() -> Iterator[RedisServer]:
    """A replica whose master was never reached: it is empty, and answers."""
    with RedisServer() as gone:
        port = gone.port
    with RedisServer(options={"replicaof": f"{HOST} {port}"}) as replica:
        yield replica


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_replica_without_its_master_has_no_say(lonely_replica: RedisServer, question: str) -> None:
    async with RedisStore(lonely_replica.url, timeout=0.4) as store:
        with pytest.raises(StorageError, match="is not a master"):
            await QUESTIONS[question](store)


async def test_a_replica_that_serves_no_stale_data_is_no_master_either() -> None:
    with RedisServer() as gone:
        port = gone.port
    with RedisServer(options={"replicaof": f"{HOST} {port}"}) as replica:
        replica.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        async with RedisStore(replica.url, timeout=0.4) as store:
            for question in QUESTIONS.values():
                with pytest.raises(StorageError, match="is not a master"):
                    await question(store)


async def test_what_a_replica_lacks_of_what_it_has_is_not_believed_either() -> None:
    """A replica that was cut off goes on with what it had: later segments and sessions are not in it."""
    with RedisServer() as master, RedisServer(options={"replicaof": f"{HOST} {master.port}"}) as replica:
        sandbox = uuid4().hex
        second = next_segment_id("s")
        async with RedisStore(master.url, sandbox_id=sandbox) as store:
            metadata = {"properties": {"user_id": "ada"}}
            session = await Session.create("s", store=store, metadata=metadata)
            await store.append(session, [event()])
            await asyncio.to_thread(wait_until, partial(has_all_of, replica, master), "a whole copy")
            master.pause()
            replica.command("REPLICAOF", HOST, 1)  # nobody is there
            master.resume()
            await Session.create(second, "s", store=store)
            await Session.create("another", store=store, metadata=metadata)
        async with RedisStore(replica.url, sandbox_id=sandbox, timeout=0.2) as store:
            read = await store.get("s")  # what it has is read as ever
            assert read is not None
            assert len(read.events) == 1
            for ask in (
                lambda: store.get(second),
                lambda: store.segment_ids("s"),
                lambda: store.last_segment_id("s"),
                store.list_sessions,
                lambda: store.list_sessions(user_id="ada"),
                lambda: store.list_sessions(parent_id="s"),
                lambda: store.delete("s"),
                # Known there, too: but what a demoted master holds may be lost.
                lambda: store.append(Session(id="s"), read.events),
            ):
                with pytest.raises(StorageError, match="is not a master"):
                    await ask()


async def test_a_master_that_takes_no_writes_has_no_say() -> None:
    """Cut off from its replicas, it may have been replaced."""
    with RedisServer(options={"min-replicas-to-write": "1"}) as server:
        async with RedisStore(server.url, timeout=0.2) as store:
            for question in QUESTIONS.values():
                with pytest.raises(StorageError, match="too few replicas"):
                    await question(store)


async def test_a_full_server_may_say_that_nothing_is_there() -> None:
    with RedisServer() as server:
        server.command("CONFIG", "SET", "maxmemory", 1)
        async with RedisStore(server.url) as store:
            assert await store.get("s") is None
            assert await store.head("s") is None
            assert await store.list_sessions() == []
            assert await store.list_sessions(user_id="ada") == []
            assert await store.segment_ids("s") == []
            assert await store.last_segment_id("s") is None
            assert await store.time_to_live("s") is None
            assert await store.lifecycle.original("s") is None
            assert await store.delete_conversation("s") == 0
            await store.delete("s")
            with pytest.raises(SessionNotFound):
                await store.append(Session(id="s"), [event()])


async def test_asking_writes_nothing() -> None:
    with RedisServer(aof=True) as server:
        async with RedisStore(server.url) as store:
            for name in ("get", "segment_ids", "list_sessions", "list_sessions of a user", "time_to_live"):
                await QUESTIONS[name](store)
        info = server.client().info("replication")
        assert info["master_repl_offset"] == 0
        changed = server.client().info("persistence")["rdb_changes_since_last_save"]
        assert changed == 0
        assert server.command("DBSIZE") == 0


async def test_an_empty_demoted_master_is_not_asked_any_longer_than_it_has_the_name() -> None:
    """It answers as a replica of an empty server, until the name leads to the one that was promoted."""
    with (
        RedisServer() as empty,
        RedisServer() as first,
        RedisServer(options={"replicaof": f"{HOST} {first.port}"}) as second,
    ):
        proxy = Proxy(first.port)  # stands for the name
        async with proxy.running() as port, RedisStore(f"redis://{HOST}:{port}", timeout=PATIENCE) as store:
            session = await Session.create("s", store=store)
            await store.append(session, [event("1")])
            await asyncio.to_thread(wait_until, partial(has_all_of, second, first), "a whole copy")
            second.command("REPLICAOF", "NO", "ONE")
            first.command("REPLICAOF", HOST, empty.port)
            await asyncio.to_thread(wait_until, lambda: not first.command("DBSIZE"), "an empty replica")
            asked = [
                asyncio.ensure_future(each)
                for each in (
                    store.append(session, [event("2")]),
                    SessionManager("s", store=store, create=False).get_conversation(),
                    store.list_sessions(),
                    store.segment_ids("s"),
                    store.time_to_live("s"),
                    records(store).get("session:s"),
                )
            ]
            await asyncio.sleep(0.1)
            assert not any(each.done() for each in asked)
            proxy.target_port = second.port
            answers: list[Any] = await in_time(asyncio.gather(*asked))
            assert answers[0]
            assert answers[1]
            assert answers[2:4] == [["s"], ["s"]]
            assert answers[4] > 0
            assert answers[5] is not None


async def test_behind_sentinels_the_new_master_is_asked() -> None:
    with RedisSentinel() as rig:
        async with RedisStore(rig.url, timeout=PATIENCE) as store:
            session = await Session.create("s", store=store)
            await store.append(session, [event("1")])
            await asyncio.to_thread(wait_until, partial(has_all_of, rig.replica, rig.master), "a whole copy")
            rig.sentinels[0].command("SENTINEL", "FAILOVER", rig.service)
            is_over = False
            while not is_over:
                is_over = is_master(rig.replica) and not is_master(rig.master)
                assert await store.list_sessions() == ["s"]
                assert await store.segment_ids("s") == ["s"]
                async with RedisStore(rig.url, timeout=PATIENCE) as fresh:
                    assert await fresh.get("s") is not None
            await store.append(session, [event("2")])
        async with RedisStore(rig.replica.url) as store:
            read = await store.get("s")
            assert read is not None
            assert [each.message for each in read.events] == ["1", "2"]
