"""What each store says that it may lose, from its settings as they are."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from uuid import uuid4

import pytest
from servers import RedisCluster, RedisServer

from chuk_ai_session_manager import StorageError
from chuk_ai_session_manager.stores import MemoryStore, open_store
from chuk_ai_session_manager.stores.durability import redis_report
from chuk_ai_session_manager.stores.redis.store import RedisStore


async def test_each_knows_what_it_stands_on(tmp_path: Path, redis_server: RedisServer) -> None:
    assert await MemoryStore().server_version() is None
    async with open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
        assert await store.server_version() == sqlite3.sqlite_version
    async with open_store(redis_server.url) as store:
        with redis_server.client() as client:
            assert await store.server_version() == client.info("server")["redis_version"]


async def test_memory_ends_with_its_process() -> None:
    report = await MemoryStore().durability_report()
    assert (report.provider, report.loss_window) == ("memory", "everything when the process ends")
    assert not report.is_lossless


async def test_a_sqlite_file_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/sessions.db") as store:
        report = await store.durability_report()
        assert report.is_lossless
        assert report.settings == {"synchronous": "2", "journal_mode": "wal"}


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, "none"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "when its machine fails, the last second or two"),
        ({"appendonly": "yes", "appendfsync": "no"}, "mostly up to 30 seconds"),
        ({"appendonly": "no", "save": "900 1"}, "everything since its last snapshot (save 900 1)"),
        ({"appendonly": "no", "save": ""}, "everything when the server ends"),
    ],
)
async def test_a_redis_server_by_its_settings(settings: dict[str, str], window: str) -> None:
    with RedisServer() as server:
        for name, value in settings.items():
            server.command("CONFIG", "SET", name, value)
        async with RedisStore(server.url, sandbox_id=uuid4().hex) as store:
            report = await store.durability_report()
    assert window in report.loss_window
    assert report.is_lossless == (window == "none")
    assert report.warnings == []
    assert report.settings["replicas"] == "0"


async def test_eviction_and_replicas_are_warned_of() -> None:
    with RedisServer() as server:
        server.command("CONFIG", "SET", "maxmemory", "100mb")
        server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        async with RedisStore(server.url) as store:
            (warning,) = (await store.durability_report()).warnings
    assert "evicted (maxmemory-policy allkeys-lru)" in warning
    (warning,) = redis_report({"appendonly": "yes", "appendfsync": "always", "replicas": "1"}).warnings
    assert "failover" in warning


async def test_a_server_that_does_not_tell_its_settings() -> None:
    with RedisServer() as server:
        server.command("ACL", "SETUSER", "default", "-config")
        async with RedisStore(server.url) as store:
            report = await store.durability_report()
    assert report.loss_window == "unknown: the server does not tell its settings"
    assert not report.is_lossless


async def test_a_cluster(redis_cluster: RedisCluster) -> None:
    async with RedisStore(redis_cluster.url) as store:
        assert "unknown" not in (await store.durability_report()).loss_window


async def test_an_outage_is_an_error() -> None:
    with RedisServer() as server:
        store = RedisStore(server.url, timeout=0.5)
    with pytest.raises(StorageError):
        await store.durability_report()
    await store.close()
