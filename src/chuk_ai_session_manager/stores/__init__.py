"""The stores, in which sessions live."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..exceptions import StorageError
from .base import (
    DEFAULT_SANDBOX_ID,
    DEFAULT_TTL_HOURS,
    EventStore,
    SessionPage,
    SessionStore,
)
from .memory import MemoryStore
from .redaction import RedactHook, checked_hook
from .whole_sessions import WholeSessionStore, store_of_sessions

if TYPE_CHECKING:
    from redis.credentials import CredentialProvider

    from .sqlite.store import SqliteStore

__all__ = [
    "DEFAULT_SANDBOX_ID",
    "DEFAULT_TTL_HOURS",
    "PROVIDERS",
    "EventStore",
    "MemoryStore",
    "SessionPage",
    "SessionStore",
    "SqliteStore",
    "WholeSessionStore",
    "load_client",
    "open_store",
    "store_of_sessions",
    "without_password",
]


def _memory(url: str, sandbox_id: str, ttl_hours: float | None) -> EventStore:  # noqa: ARG001  (all alike)
    return MemoryStore(ttl_hours=ttl_hours)


def _sqlite(url: str, sandbox_id: str, ttl_hours: float | None) -> EventStore:
    path = unquote(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not path:
        raise StorageError(
            "A SQLite URL names a file: sqlite:///folder/file.db, or sqlite:////from/the/root.db"
        )
    return _sqlite_store()(path, sandbox_id=sandbox_id, ttl_hours=ttl_hours)


def _sqlite_store() -> type[SqliteStore]:
    from .sqlite.store import SqliteStore  # noqa: PLC0415  (as slow as a tenth of the package's import)

    return SqliteStore


def _redis(
    url: str,
    sandbox_id: str,
    ttl_hours: float | None,
    credential_provider: CredentialProvider | None = None,
) -> EventStore:
    try:
        from .redis.store import RedisStore  # noqa: PLC0415  (the client is an extra, and slow to import)
    except ImportError as problem:
        raise StorageError(
            "The Redis store needs the redis client: pip install chuk-ai-session-manager[redis]"
        ) from problem
    return RedisStore(
        url, sandbox_id=sandbox_id, ttl_hours=ttl_hours, credential_provider=credential_provider
    )


def __getattr__(name: str) -> Any:
    """`SqliteStore`, imported when it is first used."""
    if name == "SqliteStore":
        return _sqlite_store()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


PROVIDERS: dict[str, Callable[..., EventStore]] = {"memory": _memory, "redis": _redis, "sqlite": _sqlite}
"""The functions that open a store, by the provider's name."""

_SCHEMES = dict.fromkeys(("rediss", "redis+sentinel", "rediss+sentinel", "unix", "redis+unix"), "redis")


def open_store(
    url: str,
    *,
    sandbox_id: str | None = None,
    ttl_hours: float | None = DEFAULT_TTL_HOURS,
    credential_provider: CredentialProvider | None = None,
    redact: RedactHook | None = None,
) -> EventStore:
    """Open the store that a URL names. The store connects when it is first used.

    Args:
        url: `memory://`; `sqlite:///folder/file.db`; `redis://[user:password@]host[:port][/database]`,
            with more hosts after commas for a Cluster; `rediss://` for verified TLS;
            `redis+sentinel://host:port,host:port/service[/database]` for Sentinel;
            `unix://[user:password@]/path/to/redis.sock[?db=0]` for a socket on this machine.
        sandbox_id: the tenant; by default `CHUK_SANDBOX_ID`, or else "chuk-ai-session-manager".
        ttl_hours: hours after the last write at which a conversation expires, `None` for never; by
            default 24 in memory and Redis, and never in a file.
        credential_provider: for Redis, a credential provider of redis-py. It is asked for user and password
            whenever a connection is made, so that these may change.
        redact: a function that gets each text of an event before it is written (messages, parts, native
            forms, arguments and results of tools, metadata, summaries), and returns the text to store; sync
            or async. If it raises, the call raises `InvalidInput`, and nothing is written.

    Raises:
        StorageError: the scheme is unknown (the error lists the known ones), the URL is invalid, or
            a required package is not installed (the error says which).
        InvalidInput: the sandbox is empty, or the lifetime is not above 0.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    provider = PROVIDERS.get(_SCHEMES.get(scheme, scheme))
    if provider is None:
        if not scheme:
            raise StorageError(
                "The URL is missing its scheme: memory://, sqlite:///folder/file.db, redis://host"
            )
        raise StorageError(f"Unknown session provider {scheme!r}: known are {', '.join(sorted(PROVIDERS))}")
    if sandbox_id is None:
        sandbox_id = os.environ.get("CHUK_SANDBOX_ID") or DEFAULT_SANDBOX_ID
    hook = checked_hook(redact, "open a store")
    if credential_provider is None:
        store = provider(url, sandbox_id, ttl_hours)
    elif provider is _redis:
        store = _redis(url, sandbox_id, ttl_hours, credential_provider)
    else:
        raise StorageError("A credential provider is for Redis: other stores have no users")
    store.redact = hook
    return store


async def load_client(url: str) -> None:
    """Import what the store of a URL needs that is slow to import, in a thread: redis-py takes 60 ms."""
    scheme = url.partition("://")[0]
    provider = PROVIDERS.get(_SCHEMES.get(scheme, scheme))
    if provider is _redis and f"{__name__}.redis.store" not in sys.modules:
        with suppress(ImportError):  # `open_store` says what is missing
            await asyncio.to_thread(import_module, f"{__name__}.redis.store")


def without_password(url: str) -> str:
    """A URL as logs and listings may show it: scheme, hosts and database, or nothing if it is unclear."""
    place = r"/[\w./-]+" if url.startswith(("unix://", "redis+unix://")) else r"[\w.:\[\],-]+(?:/[\w-]*)*"
    found = re.fullmatch(rf"([\w+]+)://(.*@)?({place})(\?[^@]*)?", url)
    if found is None or "://" in (found[2] or "") or "?" in (found[2] or ""):
        return "***"
    return f"{found[1]}://{'***@' if found[2] else ''}{found[3]}"
