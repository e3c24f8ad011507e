"""The default store, which opens when it is first used, as the environment says at that time."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from .accounts.counters import installed_counters
from .exceptions import StorageError
from .exceptions.validation import check_name, check_ttl_hours
from .models.guard import guard
from .models.home import set_default_store
from .stores import (
    DEFAULT_SANDBOX_ID,
    DEFAULT_TTL_HOURS,
    EventStore,
    MemoryStore,
    SessionPage,
    SessionStore,
    WholeSessionStore,
    load_client,
    open_store,
    store_of_sessions,
    without_password,
)
from .stores.base import AnySession
from .stores.lifecycle import Lifecycle, SessionRecords

if TYPE_CHECKING:
    from chuk_sessions import SessionManager as ChukSessionManager

__all__ = [
    "ChukSessionsStore",
    "SessionStorage",
    "configure_storage",
    "get_backend",
    "get_storage_info",
    "setup_chuk_sessions_storage",
]


class SessionStorage:
    """The store that the environment names; it opens when it is first used.

    `SESSION_PROVIDER` names the kind: `memory` (the default), `sqlite` (in the file `SESSION_SQLITE_PATH`) or
    `redis` (at `SESSION_REDIS_URL`, or else `REDIS_URL`, or else on this machine). All methods raise
    `StorageError` if the store cannot be opened, or fails.

    Args:
        sandbox_id: the tenant. The sessions of other sandboxes are invisible.
        default_ttl_hours: hours after the last write at which a conversation expires; by default, 24 in
            memory and Redis, and never in a file. `None` means never.

    Raises:
        InvalidInput: the sandbox is empty, or the lifetime is not above 0.
    """

    def __init__(
        self, sandbox_id: str = "ai-session-manager", default_ttl_hours: float | None = DEFAULT_TTL_HOURS
    ) -> None:
        check_name(sandbox_id, "sandbox_id", "set up storage")
        check_ttl_hours(default_ttl_hours, "set up storage")
        self.sandbox_id = sandbox_id
        self.default_ttl_hours = default_ttl_hours

    @cached_property
    def store(self) -> EventStore:
        """The store itself, with all its methods.

        Raises:
            StorageError: the store that the environment names cannot be opened; the error says why.
        """
        with guard:  # two threads that come first at the same time get the same store
            kept: dict[str, Any] = self.__dict__
            if "store" not in kept:
                kept["store"] = open_store(
                    named_url(), sandbox_id=self.sandbox_id, ttl_hours=self.default_ttl_hours
                )
            return cast("EventStore", kept["store"])

    @cached_property
    def chuk(self) -> ChukSessionManager:
        """The chuk-sessions manager of this sandbox, for other chuk tools that look up sessions there."""
        provider = self.store.record_provider or SessionRecords(self.store, self.sandbox_id)
        lifecycle = Lifecycle(provider, self.sandbox_id, self.default_ttl_hours)
        return lifecycle.manager(sys.modules[__name__].ChukSessionManager)

    @property
    def _cache(self) -> dict[str, AnySession]:
        return dict(self.store.sessions) if isinstance(self.store, MemoryStore) else {}

    async def get(self, session_id: str) -> AnySession | None:
        """Return the stored session, or `None`."""
        return await self.store.get(session_id)

    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now."""
        await self.store.save(session)

    async def delete(self, session_id: str) -> None:
        """Delete a session, if it exists."""
        await self.store.delete(session_id)

    async def list_sessions(self, prefix: str = "") -> SessionPage:
        """Return the ids that begin with `prefix`, the newest first; `store.list_sessions` returns pages."""
        return await self.store.list_sessions(prefix)

    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Let a session and its conversation live so many hours longer; `False` if it does not exist.

        Raises:
            InvalidInput: the hours are below 0, or more than a hundred years.
        """
        return await self.store.extend_session_ttl(session_id, additional_hours)

    async def close(self) -> None:
        """Close connections and files, if any were opened."""
        if "store" in self.__dict__:
            await self.store.close()

    def get_stats(self) -> dict[str, Any]:
        """Return statistics of the store that need no request to a server."""
        return {
            "backend": "chuk_sessions",
            "sandbox_id": self.sandbox_id,
            "cached_ai_sessions": len(self._cache),
            "chuk_sessions_stats": self.chuk.get_cache_stats(),
            "store": self.store.get_stats(),
        }


class ChukSessionsStore:
    """The original's store interface: calls a backend, by default the default store.

    Its methods raise `StorageError` if the store fails.
    """

    def __init__(self, backend: Any = None) -> None:
        self.backend: Any = backend if backend is not None else get_backend()

    async def get(self, session_id: str) -> AnySession | None:
        """Return the stored session, or `None`."""
        session: AnySession | None = await self.backend.get(session_id)
        return session

    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now."""
        await self.backend.save(session)

    async def delete(self, session_id: str) -> None:
        """Delete a session, if it exists."""
        await self.backend.delete(session_id)

    async def list_sessions(self, prefix: str = "") -> list[str]:
        """Return the ids that begin with `prefix`, the newest first."""
        ids: list[str] = await self.backend.list_sessions(prefix)
        return ids


def _named_provider() -> str:
    """The provider that the environment names; if that is a URL by mistake, only its scheme."""
    return (os.environ.get("SESSION_PROVIDER") or "memory").partition(":")[0]


def _named_redis() -> str | None:
    return os.environ.get("SESSION_REDIS_URL") or os.environ.get("REDIS_URL")


def named_url() -> str:
    """The URL of the store that the environment names.

    Raises:
        StorageError: the environment names SQLite, but no file.
    """
    provider = _named_provider()
    if provider == "redis":
        return _named_redis() or "redis://localhost:6379/0"
    if provider == "sqlite":
        path = os.environ.get("SESSION_SQLITE_PATH")
        if not path:
            raise StorageError("SESSION_PROVIDER is sqlite: name the file in SESSION_SQLITE_PATH")
        return f"sqlite:///{quote(path)}"
    return f"{provider}://"


def __getattr__(name: str) -> Any:
    """`ChukSessionManager`, imported when it is first used: importing it takes a fifth of a second."""
    if name == "ChukSessionManager":
        from chuk_sessions import SessionManager  # noqa: PLC0415  (see above)

        return SessionManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_backend: SessionStorage | None = None


def get_backend() -> SessionStorage:
    """Return the default store of this process, which is created when it is first used.

    Its sandbox is `CHUK_SANDBOX_ID`, or else "chuk-ai-session-manager".
    """
    if _backend is None:
        with guard:  # two threads that come first at the same time get the same store
            if _backend is None:
                setup_chuk_sessions_storage(os.environ.get("CHUK_SANDBOX_ID") or DEFAULT_SANDBOX_ID)
    assert _backend is not None  # noqa: S101  (set by the line above; tells mypy)
    return _backend


def setup_chuk_sessions_storage(
    sandbox_id: str = "ai-session-manager", default_ttl_hours: float | None = DEFAULT_TTL_HOURS
) -> SessionStorage:
    """Replace the default store, and return the new one. Holders of the earlier store keep its sessions.

    As in the original, `CHUK_SANDBOX_ID` is ignored, and the default sandbox is another one than that of a
    process that never calls this function ("chuk-ai-session-manager").

    Args:
        sandbox_id: the tenant. The sessions of other sandboxes are invisible.
        default_ttl_hours: hours after the last write at which a conversation expires; by default, 24 in
            memory and Redis, and never in a file. `None` means never.

    Raises:
        InvalidInput: the sandbox is empty, or the lifetime is not above 0.
    """
    global _backend  # noqa: PLW0603  (the default store is one per process)
    _backend = SessionStorage(sandbox_id=sandbox_id, default_ttl_hours=default_ttl_hours)
    return _backend


def event_store(store: SessionStore | None = None) -> EventStore | WholeSessionStore:
    """A store in the form that sessions need; by default, the default store.

    The names `ChukSessionsStore` and `get_backend` are looked up now so that an application may replace them.
    """
    store = _wrapped(store)
    return store_of_sessions(store.store if type(store) is SessionStorage else store)


async def opened_store(store: SessionStore | None = None) -> EventStore | WholeSessionStore:
    """The same; but what the default store needs is imported outside the event loop."""
    storage = _wrapped(store)
    if type(storage) is SessionStorage and "store" not in vars(storage):
        await load_client(named_url())
    return event_store(storage)


def _wrapped(store: SessionStore | None) -> Any:
    """What the original's interface wraps, unless an application subclasses it."""
    if store is None:
        store = ChukSessionsStore(get_backend())
    return store.backend if type(store) is ChukSessionsStore else store


set_default_store(event_store)


def configure_storage(
    sandbox_id: str = DEFAULT_SANDBOX_ID, default_ttl_hours: float | None = DEFAULT_TTL_HOURS
) -> bool:
    """Replace the default store. The new one opens when it is first used, and raises then if it cannot.

    Args:
        sandbox_id: the tenant, whatever `CHUK_SANDBOX_ID` says.
        default_ttl_hours: hours after the last write at which a conversation expires; by default, 24 in
            memory and Redis, and never in a file. `None` means never.

    Returns:
        `True`.

    Raises:
        InvalidInput: the sandbox is empty, or the lifetime is not above 0 hours.
    """
    setup_chuk_sessions_storage(sandbox_id=sandbox_id, default_ttl_hours=default_ttl_hours)
    return True


def get_storage_info() -> dict[str, Any]:
    """Describe the default store, its contents, and the packages that count tokens; without passwords.

    `token_counters` has the versions of the packages that count exactly, or `None` for a package that is not
    installed. If the store cannot be opened, there are only the `provider`, and the `error` that says why.
    """
    backend = get_backend()
    try:
        stats = backend.get_stats()
    except StorageError as problem:
        return {"provider": _named_provider(), "error": str(problem)}
    redis_url = _named_redis()
    return {
        "provider": stats["store"]["provider"],
        "backend": type(backend).__name__,
        "sandbox_id": backend.sandbox_id,
        "redis_url": without_password(redis_url) if redis_url else "not_set",
        "stats": stats,
        "token_counters": installed_counters(),
    }
