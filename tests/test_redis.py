"""What is of Redis alone: its keys, whose client it is, and what lies beside a conversation."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis, RedisCluster
from servers import RedisCluster as Cluster
from servers import RedisServer

from chuk_ai_session_manager import SessionManager, StorageError
from chuk_ai_session_manager.models import Session, SessionEvent
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores import redis as redis_module
from chuk_ai_session_manager.stores.redis import RedisStore

SECOND = 1 / 3600


def event(message: str = "hi") -> SessionEvent[Any]:
    return SessionEvent(message=message)


async def three_segments(store: RedisStore, **fields: Any) -> list[str]:
    ids = ["root"]
    await Session.create("root", store=store, **fields)
    for _ in range(2):
        ids.append(next_segment_id(ids[-1]))
        await Session.create(ids[-1], ids[-2], store=store)
    return ids


class TestClients:
    @pytest.mark.parametrize("protocol", [2, 3])
    @pytest.mark.parametrize("decode", [False, True])
    async def test_one_that_is_handed_over_is_used_as_it_is_and_left_open(
        self, redis_server: RedisServer, decode: bool, protocol: int
    ) -> None:
        client = Redis.from_url(redis_server.url, decode_responses=decode, protocol=protocol)
        store = RedisStore(client, sandbox_id=uuid4().hex)
        ids = await three_segments(store)
        sm = SessionManager("root", user_id="ada", store=store, infinite_context=True)
        await sm.user_says("hello")
        assert sm.session_id == ids[-1]
        assert set(await store.list_sessions(limit=2)) < set(ids)
        assert len((await store.list_sessions()).copy()) == 3
        await store.delete(ids[1])
        assert await store.delete_conversation("root") == 2
        await store.close()
        assert await client.ping()
        await client.aclose()

    async def test_one_of_a_cluster(self, redis_cluster: Cluster) -> None:
        host, port = "127.0.0.1", redis_cluster.ports[0]
        client = RedisCluster(host=host, port=port)
        store = RedisStore(client, sandbox_id=uuid4().hex)
        ids = await three_segments(store)
        assert await store.list_sessions() == ids[::-1]
        await store.close()
        assert await client.ping()
        await client.aclose()

    def test_one_is_not_used_in_two_event_loops(self, redis_server: RedisServer) -> None:
        client = Redis.from_url(redis_server.url)
        store = RedisStore(client, sandbox_id=uuid4().hex)

        async def first() -> None:
            await store.list_sessions()
            await asyncio.to_thread(asyncio.run, second())
            await client.aclose()

        async def second() -> None:
            with pytest.raises(StorageError, match="another event loop"):
                await store.list_sessions()

        asyncio.run(first())

    async def test_one_store_has_one_connection_for_writers_that_take_turns(
        self, redis_server: RedisServer
    ) -> None:
        before = int(redis_server.client().info("stats")["total_connections_received"])
        async with RedisStore(redis_server.url, sandbox_id=uuid4().hex) as store:
            managers = [SessionManager(store=store) for _ in range(20)]
            for sm in managers:
                await sm.user_says("hello")
        after = int(redis_server.client().info("stats")["total_connections_received"])
        assert after - before <= 3  # the store's, and the two that ask here


class TestKeys:
    async def test_a_conversation_is_one_hash_and_its_segments_point_to_it(
        self, redis_server: RedisServer
    ) -> None:
        sandbox = uuid4().hex
        async with RedisStore(redis_server.url, sandbox_id=sandbox) as store:
            ids = await three_segments(store)
            keys = {f"casm:{{{sandbox}:{each}}}" for each in ids}
            client = redis_server.client()
            assert set(client.scan_iter(f"casm:*{sandbox}:*")) >= keys
            for pointer in ids[1:]:
                assert client.hgetall(f"casm:{{{sandbox}:{pointer}}}") == {"in": "root"}

    async def test_the_bytes_of_an_event_decide_only_if_they_mean_something_else(
        self, redis_server: RedisServer
    ) -> None:
        sandbox = uuid4().hex
        async with RedisStore(redis_server.url, sandbox_id=sandbox) as store:
            session = await Session.create("s", store=store)
            first, second = event("1"), event("2")
            await store.append(session, [first])
            key = f"casm:{{{sandbox}:s}}"
            client = redis_server.client()
            stored = client.hget(key, "0:0")
            assert isinstance(stored, str)
            client.hset(key, "0:0", stored.replace('","', '", "'))  # as another release might write it
            await store.append(session, [first, second])
            await store.append(session, [first])
            assert [each.message for each in session.events] == ["1", "2"]


class TestBeside:
    """What lies beside a conversation lives as long as it does, and does not pile up."""

    async def test_pointers_parents_and_lists_live_on_with_their_conversation(
        self, redis_server: RedisServer
    ) -> None:
        sandbox = uuid4().hex
        async with RedisStore(redis_server.url, sandbox_id=sandbox, ttl_hours=2 * SECOND) as store:
            await Session.create("parent", store=store)
            await Session.create("root", "parent", store=store, metadata={"properties": {"user_id": "ada"}})
            second = next_segment_id("root")
            session = await Session.create(second, "root", store=store)
            for number in range(14):  # seven seconds
                await asyncio.sleep(0.5)
                await store.append(session, [event(str(number))])
            other = RedisStore(redis_server.url, sandbox_id=sandbox, ttl_hours=2 * SECOND)
            async with other:
                for each in ("parent", "root", second):
                    assert await other.get(each) is not None
                assert await other.list_sessions(user_id="ada") == ["root"]
                assert await other.list_sessions(parent_id="root") == [second]
                await asyncio.sleep(2.5)
                assert await other.get("root") is None
                assert await other.get(second) is None
                assert await other.list_sessions() == []

    async def test_the_index_forgets_what_expired(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redis_module, "_SWEEP_EVERY", 4)
        sandbox = uuid4().hex
        async with RedisStore(redis_server.url, sandbox_id=sandbox, ttl_hours=SECOND / 2) as store:
            for number in range(20):
                await Session.create(f"old-{number}", store=store)
            await asyncio.sleep(0.6)
            for number in range(40):
                await Session.create(f"new-{number}", store=store)
                await asyncio.sleep(0.001)
            index = redis_server.command("ZRANGE", f"casm:{{{sandbox}}}:index", "0", "-1")
            # They are looked at by chance: not all of them were, but they do not pile up.
            assert len([name for name in index if name.startswith("old-")]) < 10

    async def test_whose_a_session_is_decides_who_lists_it(self, redis_server: RedisServer) -> None:
        async with RedisStore(redis_server.url, sandbox_id=uuid4().hex) as store:
            session = await Session.create("s", store=store, metadata={"properties": {"user_id": "ada"}})
            await session.metadata.set_property("user_id", "bob")
            await store.save(session)
            assert await store.list_sessions(user_id="ada") == []
            assert await store.list_sessions(user_id="bob") == ["s"]
