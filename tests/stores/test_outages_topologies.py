"""Redis behind TLS, with Sentinels, in a Cluster: what happens in an outage."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import servers
import trustme
from discretion import PASSWORD, logs_without_secrets, refused
from running import PATIENCE, in_time, wait_until
from servers import RedisCluster, RedisSentinel, RedisServer, TlsFront

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.stores.redis.store import RedisStore

__all__ = ["logs_without_secrets"]  # for each test here

from outages import at_last, begin, contents, said, stored


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server with an odd password that keeps on disk what it acknowledged."""
    with RedisServer(aof=True, password=PASSWORD) as server:
        yield server


# -- TLS ----------------------------------------------------------------------------------------


class TestTls:
    async def test_only_clients_that_know_its_authority_reach_a_server(self, server: RedisServer) -> None:
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

    async def test_only_clients_that_know_its_authority_reach_a_cluster(self) -> None:
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
