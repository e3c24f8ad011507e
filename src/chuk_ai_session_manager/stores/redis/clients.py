"""Redis clients from URLs: for one server, for a Cluster, or for the master that Sentinel names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from ...exceptions import StorageError

Client: TypeAlias = "Redis | RedisCluster"

_URL = re.compile(
    r"(?P<scheme>rediss?)(?P<sentinel>\+sentinel)?://(?:(?P<user>.*)@)?"
    r"(?P<hosts>[^@/?#]+)(?P<path>(?:/[^/?#]*){0,2})(?P<query>\?.*)?"
)

_UNIX = ("unix://", "redis+unix://")


@dataclass(frozen=True, slots=True)
class _Parsed:
    options: dict[str, Any]
    hosts: list[tuple[str, int]]
    tls: bool
    service: str | None
    socket: str | None = None
    """The path of a Unix domain socket, in place of hosts."""

    @property
    def is_cluster(self) -> bool:
        """Whether the URL names several servers that form one Cluster."""
        return self.service is None and len(self.hosts) > 1


def checked_url(url: str) -> _Parsed:
    """Parse a Redis URL. An error does not repeat the URL, because there may be a password in it.

    Raises:
        StorageError: the URL is invalid; the error shows a valid one.
    """
    try:
        return _parsed(url)
    except ValueError:
        raise StorageError(
            "A valid Redis URL looks like redis://user:password@host:6379/0, with more hosts after "
            "commas for a Cluster, rediss:// for TLS, redis+sentinel://host:26379,host:26379/service/0, or "
            "unix:///path/to/redis.sock?db=0"
        ) from None


def _parsed(url: str) -> _Parsed:
    if url.startswith(_UNIX):
        return _parsed_socket(url)
    # Several URLs separated by commas count as several hosts.
    found = _URL.fullmatch(re.sub(r",rediss?://(?:[^,@/]*@)?", ",", url))
    if found is None:
        raise ValueError("not a Redis URL")
    path = found["path"].strip("/").split("/")
    database, service = path[-1], None
    if found["sentinel"]:
        service, database = path[0], path[1] if len(path) > 1 else ""
        if not service:
            raise ValueError("a Sentinel URL names the service")
    user = f"{found['user']}@" if found["user"] else ""
    hosts = found["hosts"].split(",")
    options: dict[str, Any] = dict(parse_url(f"{found['scheme']}://{user}{hosts[0]}{found['query'] or ''}"))
    tls = options.pop("connection_class", None) is not None
    port = 26379 if service else 6379
    places = [parse_url(f"redis://{host}") for host in hosts]
    for name in ("host", "port", "db"):
        options.pop(name, None)
    if database:
        options["db"] = int(database)
    return _Parsed(
        options,
        [(place.get("host") or "localhost", place.get("port") or port) for place in places],
        tls,
        service,
    )


def _parsed_socket(url: str) -> _Parsed:
    options: dict[str, Any] = dict(parse_url(url.removeprefix("redis+")))
    options.pop("connection_class")
    path = options.pop("path", "")
    if not path.startswith("/"):
        raise ValueError("a socket's URL names its path")
    return _Parsed(options, [], tls=False, service=None, socket=path)


def checked_access(url: str, credential_provider: CredentialProvider | None) -> _Parsed:
    """Parse a Redis URL, if a provider may give user and password instead of the URL.

    Raises:
        StorageError: the URL is invalid, or both the URL and the provider give a user or a password.
    """
    parsed = checked_url(url)
    if credential_provider is not None and not {"username", "password"}.isdisjoint(parsed.options):
        raise StorageError("Remove user and password from the Redis URL: the credential provider gives them")
    return parsed


def make_client(url: str, timeout: float, credential_provider: CredentialProvider | None = None) -> Client:
    """A pooled client for a URL: for one server, for a Cluster, or for the master that Sentinel names."""
    parsed = checked_access(url, credential_provider)
    # The link retries within its deadline; retries of the driver would only delay that.
    options: dict[str, Any] = {
        "socket_timeout": None,  # the link's deadline applies; a second one would cost time
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        **parsed.options,
    }
    if credential_provider is not None:
        options["credential_provider"] = credential_provider
    if parsed.socket:
        return Redis(unix_socket_path=parsed.socket, **options)
    if parsed.tls:
        options["ssl"] = True
    if parsed.service:
        watching = {name: value for name, value in options.items() if name.startswith("ssl")}
        # The sentinels are asked one after the other: one that hangs must leave time for the others.
        each = timeout / (len(parsed.hosts) + 1)
        watching |= {"socket_timeout": each, "socket_connect_timeout": each, "retry": Retry(NoBackoff(), 0)}
        sentinel = Sentinel(parsed.hosts, sentinel_kwargs=watching, **options)  # type: ignore[no-untyped-call]
        master: Redis = sentinel.master_for(parsed.service)
        return master
    if parsed.is_cluster:
        options.pop("db", None)  # a Cluster has only one database
        # Only this timeout tells the client that a node hangs, so that it looks for another master.
        options["socket_timeout"] = timeout / 2
        return RedisCluster(startup_nodes=[ClusterNode(*host) for host in parsed.hosts], **options)
    host, port = parsed.hosts[0]
    return Redis(host=host, port=port, **options)
