"""What is of Redis alone: its keys, whose client it is, and what lies beside a conversation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from breakage import Proxy
from places import in_another_process
from redis.asyncio import Redis, RedisCluster
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from running import HOST, PATIENCE, wait_until
from servers import SLOTS, RedisServer, has_all_of
from servers import RedisCluster as Cluster

from chuk_ai_session_manager import SessionManager, StorageError
from chuk_ai_session_manager.models import Session, SessionEvent
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores.redis import listing
from chuk_ai_session_manager.stores.redis.store import RedisStore

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
    async def test_a_given_client_is_used_unchanged_and_left_open(
        self, redis_server: RedisServer, decode: bool, protocol: int
    ) -> None:
        client = Redis.from_url(redis_server.url, decode_responses=decode, protocol=protocol)
        store = RedisStore(client, sandbox_id=uuid4().hex)
        ids = await three_segments(store)
        await SessionManager("root", store=store).claim("ada")
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

    def test_a_given_client_is_not_used_in_two_event_loops(self, redis_server: RedisServer) -> None:
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


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that nobody else uses."""
    with RedisServer() as server:
        yield server


def has_none(server: RedisServer) -> bool:
    """Whether nobody is connected beside who asks."""
    return len(server.command("CLIENT", "LIST").splitlines()) == 1


class TestConnections:
    @pytest.mark.parametrize(
        "use",
        [
            lambda store: store.append(Session(id="s"), [event()]),
            lambda store: store.get("s"),
        ],
    )
    async def test_closing_waits_for_what_is_under_way_and_leaves_none(
        self, server: RedisServer, use: Callable[[RedisStore], Coroutine[Any, Any, object]]
    ) -> None:
        proxy = Proxy(server.port)
        proxy.delay = 0.05
        async with proxy.running() as port:
            store = RedisStore(f"redis://{HOST}:{port}")
            await Session.create("s", store=store)
            under_way = [asyncio.create_task(use(store)) for _ in range(50)]
            await asyncio.sleep(0.01)
            assert not all(task.done() for task in under_way)
            await store.close()
            await asyncio.gather(*under_way)
            await asyncio.to_thread(wait_until, partial(has_none, server), "the end of all connections")
            await use(store)  # the next use connects again
            await store.close()

    async def test_a_name_may_lead_to_another_master_by_now(self, server: RedisServer) -> None:
        """Nobody cuts the connections to the one that was demoted, which goes on answering."""
        with RedisServer(options={"replicaof": f"{HOST} {server.port}"}) as other:
            proxy = Proxy(server.port)  # stands for the name
            async with proxy.running() as port, RedisStore(f"redis://{HOST}:{port}") as store:
                session = await Session.create("s", store=store)
                await store.append(session, [event("1")])
                await asyncio.to_thread(wait_until, partial(has_all_of, other, server), "a whole copy")
                other.command("REPLICAOF", "NO", "ONE")
                server.command("REPLICAOF", HOST, other.port)
                proxy.target_port = other.port
                await store.append(session, [event("2")])
                await Session.create("new", store=store)
            async with RedisStore(other.url) as fresh:
                read = await fresh.get("s")
                assert read is not None
                assert [each.message for each in read.events] == ["1", "2"]

    async def test_the_cause_is_what_the_last_try_met_with(self) -> None:
        async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(cut, HOST, 0) as nobody:
            port = nobody.sockets[0].getsockname()[1]
            async with RedisStore(f"redis://{HOST}:{port}", timeout=1.0) as store:
                with pytest.raises(StorageError) as caught:
                    await store.append(Session(id="s"), [event()])
            assert isinstance(caught.value.__cause__, RedisConnectionError)

    async def test_a_writer_that_is_cancelled_twice_ends_once_the_write_is_decided(
        self, server: RedisServer
    ) -> None:
        async with RedisStore(server.url, timeout=PATIENCE) as store:
            session = await Session.create("s", store=store)
            await store.append(session, [event()])
            server.pause()
            appends = [asyncio.create_task(store.append(Session(id="s"), [event()])) for _ in range(3)]
            for _ in range(3):
                await asyncio.sleep(0.01)
                for each in appends:
                    each.cancel()
            assert not any(each.done() for each in appends)
            server.resume()
            await asyncio.wait(appends)
            assert all(each.cancelled() for each in appends)
            read = await store.get(session.id)
            assert read is not None
            assert len(read.events) == 4

    def test_a_client_that_was_used_is_not_used_in_a_fork(self, server: RedisServer) -> None:
        before, in_child, after = in_another_process(_use_and_fork, server.url)
        assert "in use in another event loop" in in_child
        assert (before, after) == ("ok", "ok")

    async def test_an_index_that_is_not_to_be_reached_is_told_of_with_the_event(self) -> None:
        with Cluster() as cluster:
            async with RedisStore(cluster.url, timeout=0.5) as store:

                def node_of(key: str) -> RedisServer:
                    return cluster.nodes[key_slot(key.encode()) * 3 // SLOTS]

                node = node_of(store._keys.index)
                elsewhere = next(
                    each for each in map(str, range(99)) if node_of(store._keys.of(each)) is not node
                )
                session = await Session.create(elsewhere, store=store)
                stored = event()
                node.pause()
                with pytest.raises(StorageError, match=stored.id):
                    await store.append(session, [stored])
                node.resume()
                await asyncio.to_thread(cluster.settle)
                async with RedisStore(cluster.url, timeout=PATIENCE) as patient:
                    assert await patient.get(elsewhere) is not None
                    await patient.append(Session(id=elsewhere), [stored])
                    read = await patient.get(elsewhere)
                    assert read is not None
                    assert [each.id for each in read.events] == [stored.id]
            for each in cluster.nodes:
                await asyncio.to_thread(wait_until, partial(has_none, each), "the end of all connections")


async def _use_and_fork(url: str) -> list[str]:
    """What comes of appends through a client of the application's own: before a fork, in the child, after."""
    client = Redis.from_url(url)
    store = RedisStore(client, timeout=2.0)
    await Session.create("s", store=store)

    async def append() -> str:
        try:
            await store.append(Session(id="s"), [event()])
        except StorageError as problem:
            return str(problem)
        return "ok"

    told = [await append()]
    answers, answer = os.pipe()
    if os.fork() == 0:
        try:
            os.write(answer, asyncio.run(append()).encode())
        finally:
            os._exit(0)
    os.wait()  # noqa: ASYNC222  (nobody else waits here)
    told += [os.read(answers, 1_000).decode(), await append()]
    await client.aclose()
    return told


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
        monkeypatch.setattr(listing, "_SWEEP_EVERY", 4)
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

    async def test_a_session_is_listed_for_its_user_only(self, redis_server: RedisServer) -> None:
        async with RedisStore(redis_server.url, sandbox_id=uuid4().hex) as store:
            session = await Session.create("s", store=store, metadata={"properties": {"user_id": "ada"}})
            await session.metadata.set_property("user_id", "bob")
            await store.save(session)
            assert await store.list_sessions(user_id="ada") == []
            assert await store.list_sessions(user_id="bob") == ["s"]


async def test_waiting_writers_are_served_after_a_sender_is_dropped(redis_server: RedisServer) -> None:
    async with RedisStore(redis_server.url, sandbox_id=uuid4().hex) as store:
        link = store._link
        sender = link.call_together(("PING",))
        sender.send(None)  # it waits for its connection
        waiting = asyncio.create_task(link.call_together(("ECHO", "heard")))
        await asyncio.sleep(0)
        with suppress(RuntimeError):  # the driver may have to wait for a connection that is being made
            sender.close()
        assert await asyncio.wait_for(waiting, PATIENCE) == b"heard"
