"""What a Redis URL may be, and which client it becomes; no server is asked."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import BusyLoadingError, ReadOnlyError, ResponseError

from chuk_ai_session_manager import StorageError
from chuk_ai_session_manager.stores import open_store
from chuk_ai_session_manager.stores.redis.clients import make_client
from chuk_ai_session_manager.stores.redis.errors import explained
from chuk_ai_session_manager.stores.redis.store import RedisStore


def address_of(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.connection_pool.connection_kwargs
    return found


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", None),
        ("redis://db", {"host": "db", "port": 6379}),
        ("redis://db:7000/3", {"host": "db", "port": 7000, "db": 3}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
        ("redis://:pw@db", {"password": "pw"}),
        ("redis://ada:p%40s%2Fs%3A%25@db/1", {"username": "ada", "password": "p@s/s:%", "db": 1}),
        ("redis://ada:p@ss@db", {"username": "ada", "password": "p@ss", "host": "db"}),
        ("redis://db?client_name=app", {"client_name": "app"}),
    ],
)
async def test_one_server(url: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        with pytest.raises(StorageError, match="looks like redis://"):
            RedisStore(url)
        return
    client = make_client(url, 5)
    assert isinstance(client, Redis)
    assert expected.items() <= address_of(client).items()
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "redis://ada:pw@h1:7000,h2:7001,h3/0",
        "redis://ada:pw@h1:7000,redis://ada:pw@h2:7001,redis://ada:pw@h3",
    ],
)
async def test_more_hosts_are_a_cluster(url: str) -> None:
    client = make_client(url, 5)
    assert isinstance(client, RedisCluster)
    nodes = {(node.host, node.port) for node in client.nodes_manager.startup_nodes.values()}
    assert nodes == {("h1", 7000), ("h2", 7001), ("h3", 6379)}
    assert client.connection_kwargs["username"] == "ada"
    assert client.connection_kwargs["password"] == "pw"
    assert RedisStore(url).get_stats()["cluster"]
    await client.aclose()


@pytest.mark.parametrize("url", ["rediss://db", "rediss://h1,h2", "rediss+sentinel://h1,h2/main"])
async def test_tls_verifies(url: str) -> None:
    client = make_client(url, 5)
    kwargs = client.connection_kwargs if isinstance(client, RedisCluster) else address_of(client)
    if not isinstance(client, RedisCluster):
        connection: Any = client.connection_pool.connection_class(**kwargs)
        assert (connection.cert_reqs.name, connection.check_hostname) == ("CERT_REQUIRED", True)
    else:
        assert "ssl_cert_reqs" not in kwargs or kwargs["ssl_cert_reqs"] == "required"
    await client.aclose()


async def test_sentinel() -> None:
    client: Any = make_client("redis+sentinel://:pw@h1:26380,h2/main/2", 5)
    pool = client.connection_pool
    assert pool.service_name == "main"
    kwargs = [address_of(each) for each in pool.sentinel_manager.sentinels]
    hosts = [each[name] for each in kwargs for name in ("host", "port")]
    assert hosts == ["h1", 26380, "h2", 26379]
    assert (pool.connection_kwargs["db"], pool.connection_kwargs["password"]) == (2, "pw")
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "redis://:se cret@",
        "redis://u:secret@h:port",
        "redis://u:secret@h/zero",
        "redis://u:secret@h:1/0/1/2",
        "redis+sentinel://u:secret@h1,h2",
        "rediss:///secret",
        "redis://secret@h?socket_timeout=soon",
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)
    assert "looks like" in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://file.db", "sqlite:file.db"])
def test_a_sqlite_url_names_a_file(url: str) -> None:
    with pytest.raises(StorageError, match="sqlite"):
        open_store(url)


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "import asyncio, os; os.environ['SESSION_PROVIDER'] = 'redis'\n"
        "from chuk_ai_session_manager import SessionManager, StorageError, get_storage_info\n"
        "try: asyncio.run(SessionManager().user_says('hello'))\n"
        "except StorageError as error: print(error)\n"
        "print(get_storage_info()['error'])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    lines = said.splitlines()
    assert len(lines) == 2
    assert all("pip install chuk-ai-session-manager[redis]" in line for line in lines)


SCRIPT = "Error running script (call to f_6e81): @user_script:1: @user_script: 1: "


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ReadOnlyError("You can't write against a read only replica."), "is not a master"),
        (ResponseError(f"{SCRIPT}-READONLY You can't write against a read only replica."), "is not a master"),
        (ResponseError(f"{SCRIPT}-NOREPLICAS Not enough good replicas to write."), "too few replicas"),
        (ResponseError(f"{SCRIPT}-MISCONF Redis is configured to save RDB snapshots"), "to disk"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "loading its data"),
        (ResponseError("BUSY Redis is busy running a script."), "within the deadline"),
        (ResponseError(f"{SCRIPT}-OOM command not allowed when used memory > 'maxmemory'."), "is full"),
        (
            ResponseError(f"{SCRIPT}Lua redis() command arguments must be strings or integers"),
            "refused a command",
        ),
        (ResponseError("BUSYGROUP Consumer Group name already exists"), "refused a command"),
    ],
)
def test_errors_of_scripts_are_understood_as_each_release_words_them(answer: Exception, said: str) -> None:
    assert said in str(explained(answer))
