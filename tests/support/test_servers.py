"""The servers that other tests trust in are what they claim to be."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import redis
import redis.asyncio
import servers
from redis.asyncio.sentinel import Sentinel
from running import BUS, HOST, free_port, wait_until
from servers import RedisCluster, RedisSentinel, RedisServer, TlsFront, redis_server_path

# Enough to have some on each of three nodes.
KEYS = [f"key-{number}" for number in range(20)]


class TestServer:
    def test_an_append_only_file_outlives_a_crash(self) -> None:
        with RedisServer(aof=True) as server:
            port = server.port
            server.command("SET", "key", "value")
            server.kill()
            with pytest.raises(redis.ConnectionError):
                server.command("PING")
            server.start()
            assert (server.command("GET", "key"), server.port) == ("value", port)

    def test_without_one_nothing_is_kept(self) -> None:
        with RedisServer() as server:
            server.command("SET", "key", "value")
            server.stop()
            server.start()
            assert server.command("GET", "key") is None

    async def test_a_password_and_options(self) -> None:
        with RedisServer(password="p@ss/word", options={"maxmemory": "3mb"}) as server:
            async with redis.asyncio.Redis.from_url(server.url, decode_responses=True) as client:
                assert await client.config_get("maxmemory") == {"maxmemory": str(3 * 1024**2)}
            async with redis.asyncio.Redis.from_url(f"redis://{HOST}:{server.port}", retry=None) as client:
                with pytest.raises(redis.AuthenticationError):
                    await client.ping()

    async def test_a_paused_one_answers_when_it_is_resumed(self, redis_server: RedisServer) -> None:
        url = f"{redis_server.url}?socket_timeout=0.2"
        async with redis.asyncio.Redis.from_url(url, retry=None) as client:
            await client.ping()
            redis_server.pause()
            try:
                with pytest.raises(redis.TimeoutError):
                    await client.ping()
            finally:
                redis_server.resume()
        assert redis_server.command("PING")

    def test_debug_is_allowed_whatever_the_version(self, redis_server: RedisServer) -> None:
        assert redis_server.command("DEBUG", "SLEEP", 0)
        told = redis_server.command("INFO", "server")["redis_version"]
        assert servers.redis_version(redis_server_path()) == tuple(map(int, told.split(".")))

    def test_a_paused_one_can_be_closed(self) -> None:
        with RedisServer() as server:
            server.pause()
        assert not server.folder.exists()

    @pytest.mark.parametrize("distance", [0, BUS])
    def test_a_port_that_somebody_took_meanwhile(
        self, monkeypatch: pytest.MonkeyPatch, distance: int
    ) -> None:
        port = free_port()
        ports = iter([port, free_port()])
        monkeypatch.setattr(servers, "free_port", lambda: next(ports))
        with (
            socket.create_server((HOST, port + distance)),
            RedisServer(options={"cluster-enabled": "yes"}) as server,
        ):
            assert server.port != port

    def test_a_wrong_option_is_named(self) -> None:
        with pytest.raises(RuntimeError, match="no-such-option"):
            RedisServer(options={"no-such-option": "1"})

    def test_no_server_to_be_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REDIS_SERVER", "/no/such/server")
        with pytest.raises(RuntimeError, match="make test"):
            redis_server_path()

    @pytest.mark.parametrize("end", ["pass", "1 / 0", "os.kill(os.getpid(), signal.SIGKILL)"])
    def test_none_outlives_the_process_that_made_it(self, end: str) -> None:
        program = (
            "import os, signal, servers\n"
            "server = servers.RedisServer()\n"
            "print(server.port, server.folder, flush=True)\n" + end
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
        port, folder = done.stdout.split()

        def is_gone() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((HOST, int(port))) != 0 and not Path(folder).exists()

        wait_until(is_gone, "the end of the server")


class TestCluster:
    async def test_a_client_reaches_all_slots(self, redis_cluster: RedisCluster) -> None:
        assert "cluster_slots_ok:16384" in redis_cluster.nodes[0].command("CLUSTER", "INFO")
        async with redis.asyncio.RedisCluster.from_url(redis_cluster.nodes[0].url) as client:
            for key in KEYS:
                await client.set(key, key)
            assert [await client.get(key) for key in KEYS] == [key.encode() for key in KEYS]
        assert redis_cluster.url == "redis://" + ",".join(f"{HOST}:{one.port}" for one in redis_cluster.nodes)
        assert all(node.command("DBSIZE") for node in redis_cluster.nodes)

    async def test_a_replica_takes_over_from_a_killed_master(self) -> None:
        with RedisCluster(replicas=1, options={"cluster-node-timeout": "1500"}) as cluster:
            cluster.nodes[0].kill()
            replica = cluster.nodes[3]
            wait_until(lambda: replica.command("ROLE")[0] == "master", "a new master")
            cluster.nodes[0].start()
            cluster.settle()
            assert cluster.nodes[0].command("ROLE")[0] == "slave"


class TestSentinel:
    async def test_a_client_writes_again_after_the_master_was_killed(self) -> None:
        with RedisSentinel() as rig:
            async with AsyncExitStack() as stack:
                addresses = [(HOST, one.port) for one in rig.sentinels]
                sentinel = Sentinel(addresses, socket_timeout=0.5)  # type: ignore[no-untyped-call]
                for one in sentinel.sentinels:
                    await stack.enter_async_context(one)
                client = await stack.enter_async_context(sentinel.master_for(rig.service, socket_timeout=0.5))
                await client.set("key", "before")
                rig.master.kill()
                async with asyncio.timeout(30):
                    await self.write(client)
            assert rig.replica.command("GET", "key") == "after"

    async def write(self, client: redis.asyncio.Redis) -> None:
        while True:
            try:
                await client.set("key", "after")
            except redis.RedisError:
                await asyncio.sleep(0.2)
            else:
                return


class TestTls:
    async def test_a_client_that_knows_the_authority_is_let_in(self, redis_server: RedisServer) -> None:
        with TlsFront(redis_server.port) as front:
            for host in (HOST, "localhost"):
                url = f"rediss://{host}:{front.port}?ssl_ca_certs={front.ca_path}"
                async with redis.asyncio.Redis.from_url(url) as client:
                    assert await client.ping()

    async def test_a_client_that_does_not_know_the_authority_is_refused(
        self, redis_server: RedisServer
    ) -> None:
        with TlsFront(redis_server.port) as front:
            async with redis.asyncio.Redis.from_url(f"rediss://{HOST}:{front.port}") as client:
                with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.ping()

    async def test_the_end_of_the_server_is_the_end_of_the_connection(self) -> None:
        with RedisServer() as server, TlsFront(server.port) as front:
            url = f"rediss://{HOST}:{front.port}?ssl_ca_certs={front.ca_path}"
            async with redis.asyncio.Redis.from_url(url) as client:
                await client.set("key", "x" * 1_000_000)
                assert await client.strlen("key") == 1_000_000
                assert await client.get("key") == b"x" * 1_000_000
                server.kill()
                with pytest.raises(redis.ConnectionError):
                    await client.ping()

    async def test_a_cluster(self) -> None:
        with RedisCluster(tls=True) as cluster:
            assert cluster.url.startswith("rediss://")
            async with redis.asyncio.RedisCluster(
                host=HOST, port=cluster.ports[0], ssl=True, ssl_ca_certs=cluster.ca_path
            ) as client:
                for key in KEYS:
                    await client.set(key, key)
                assert {node.port for node in client.get_nodes()} == set(cluster.ports)
            assert all(node.command("DBSIZE") for node in cluster.nodes)
