"""Servers, stores and files that several test modules use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from discretion import PASSWORD, shows_no_secret
from running import PATIENCE
from servers import RedisServer

from chuk_ai_session_manager.stores import SqliteStore
from chuk_ai_session_manager.stores.redis.store import RedisStore


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


@pytest.fixture(scope="module")
def watched_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def empty_server(watched_server: RedisServer) -> RedisServer:
    """An empty server, one for each module: chuk-sessions keeps the records of all sandboxes in one place."""
    watched_server.command("FLUSHALL")
    return watched_server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


@pytest.fixture
async def file(path: Path) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(path, busy_timeout=0.2) as store:
        yield store
