"""The record of each session for other chuk tools, as chuk-sessions keeps it: its user and its expiry."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..exceptions import StorageError
from .base import EventStore, RecordProvider

if TYPE_CHECKING:
    from chuk_sessions import SessionManager as ChukSessionManager

# chuk-sessions' lifetime if none is given; and some seconds more than it rounds off, or does not write at
# all.
_FOR_EVER_HOURS = 876_000.0
_MORE_SECONDS = 2.0
# Marks a record as belonging to a session of this library; the original's records have the same mark.
_SESSION_TYPE = "ai_session_manager"


class Lifecycle:
    """Writes the lifecycle records of one sandbox through chuk-sessions, to a provider.

    Each step uses a new chuk-sessions manager: a manager that lives on answers from a cache, which does
    not see the changes of other processes.
    """

    def __init__(self, provider: RecordProvider, sandbox_id: str, ttl_hours: float | None) -> None:
        self._provider = _Careful(provider)
        self._sandbox_id = sandbox_id
        self._hours = _FOR_EVER_HOURS if ttl_hours is None else min(ttl_hours, _FOR_EVER_HOURS)

    @asynccontextmanager
    async def _session_factory(self) -> AsyncIterator[RecordProvider]:
        yield self._provider

    def manager(self, manager_type: Callable[..., ChukSessionManager] | None = None) -> ChukSessionManager:
        """A chuk-sessions manager for these records."""
        with _environment_kept("CHUK_SANDBOX_ID"):
            manager = (manager_type or _chuk_sessions().SessionManager)(
                sandbox_id=self._sandbox_id,
                default_ttl_hours=self._hours,
                session_factory=self._session_factory,
            )
        # It would answer from its own copies, and write them back after a session was deleted.
        if hasattr(manager, "_max_cache_size"):  # an application may have replaced the class
            manager._max_cache_size = 0  # noqa: SLF001  (there is no other way)
        return manager

    async def enter(self, session_id: str, user_id: str | None) -> None:
        """Write the record of a new session; an existing record is kept.

        Raises:
            StorageError: the record could not be written.
        """
        manager = await self._ready()
        try:
            await manager.allocate_session(
                session_id=session_id,
                user_id=user_id,
                # Longer than the session's lifetime, because the record is renewed only when a 20th of that
                # has passed, and because chuk-sessions rounds down to whole seconds.
                ttl_hours=self._hours * 1.1 + _MORE_SECONDS / 3600,  # type: ignore[arg-type]
                custom_metadata={"session_type": _SESSION_TYPE, "layout": 2},
            )
        except Exception as problem:  # chuk-sessions raises what its backend raises, whatever that is
            if isinstance(problem.__cause__, StorageError):
                raise StorageError(str(problem.__cause__)) from problem.__cause__
            raise StorageError(f"chuk-sessions could not enter session {session_id}") from problem

    async def keep(self, session_id: str, seconds: float) -> None:
        """Let a session's record live for at least so many seconds from now."""
        manager = await self._ready()
        record = await manager.get_session_info(session_id)
        if record is not None:
            more = (
                seconds + _MORE_SECONDS - (_moment(record["expires_at"]) - datetime.now(UTC)).total_seconds()
            )
            if more > 0 and seconds < _FOR_EVER_HOURS * 3600:
                await manager.extend_session_ttl(session_id, more / 3600)  # type: ignore[arg-type]

    async def delete(self, session_id: str) -> None:
        """Delete a session's record, if it exists and belongs to this sandbox."""
        if await self.record(session_id):
            await self._provider.delete(f"session:{session_id}")

    async def original(self, session_id: str) -> str | None:
        """The session that the original wrote into its record, as JSON; `None` if there is none."""
        data = metadata_of(await self.record(session_id)).get("ai_session_data")
        return data if isinstance(data, str) else None

    async def drop_original(self, session_id: str) -> None:
        """Remove the original's session from the record: from now on, the store has it."""
        metadata = metadata_of(await self.record(session_id))
        metadata.pop("ai_session_data", None)
        manager = await self._ready()
        await manager.update_session_metadata(session_id, metadata | {"layout": 2}, merge=False)

    async def record(self, session_id: str) -> dict[str, Any]:
        """This sandbox's record, read without chuk-sessions, which takes an outage for a missing record."""
        text = await self._provider.get(f"session:{session_id}")
        try:
            record = json.loads(text or "{}")
        except ValueError:
            return {}
        return record if isinstance(record, dict) and record.get("sandbox_id") == self._sandbox_id else {}

    async def _ready(self) -> ChukSessionManager:
        if "chuk_sessions" not in sys.modules:
            await asyncio.to_thread(_chuk_sessions)  # a quarter of a second
        return self.manager()


class _Careful:
    """The records of a provider; a record that could not be read is not overwritten.

    chuk-sessions takes an outage for a missing record, and would write an empty one.
    """

    def __init__(self, provider: RecordProvider) -> None:
        self._provider = provider
        self._unread: set[str] = set()

    async def get(self, key: str) -> str | bytes | None:
        """Return a record, or `None` if there is none."""
        self._unread.add(key)
        found = await self._provider.get(key)
        self._unread.discard(key)
        return found

    async def set(self, key: str, value: str) -> None:
        """Write a record."""
        self._check(key)
        await self._provider.set(key, value)

    async def setex(self, key: str, ttl: int, value: str) -> None:
        """Write a record that expires after so many seconds."""
        self._check(key)
        await self._provider.setex(key, ttl, value)

    async def delete(self, key: str) -> object:
        """Delete a record; return whether it existed."""
        self._unread.discard(key)
        return await self._provider.delete(key)

    async def close(self) -> None:
        """Do nothing: nothing is open."""

    def _check(self, key: str) -> None:
        if key in self._unread:
            self._unread.discard(key)
            raise StorageError("chuk-sessions' record could not be read, so it was not written: try again")


class SessionRecords:
    """The records of a store that only this process reads. They are made when chuk-sessions asks for one.

    So they always agree with the sessions. What is written through chuk-sessions itself is kept in memory.
    """

    def __init__(self, store: EventStore, sandbox_id: str) -> None:
        self._store = store
        self._sandbox_id = sandbox_id
        self._written: dict[str, tuple[float, str]] = {}

    async def get(self, key: str) -> str | None:
        """Return the record of a stored session, or what chuk-sessions wrote."""
        expires, text = self._written.get(key, (0.0, None))
        if text is not None and expires <= time.time():
            del self._written[key]
            text = None
        session = await self._store.head(key.removeprefix("session:"))
        if session is None:
            if not _is_ours(text):
                return text
            self._written.pop(key, None)  # the session is gone
            return None
        seconds = await self._store.time_to_live(session.id)
        now = datetime.now(UTC)
        lives = timedelta(hours=_FOR_EVER_HOURS)
        if seconds is not None and not math.isinf(seconds):
            lives = timedelta(seconds=seconds)
        record = {
            "session_id": session.id,
            "sandbox_id": self._sandbox_id,
            "user_id": session.user_id,
            "created_at": _text(session.metadata.created_at if session.metadata else now),
            "status": "active",
            "last_accessed": _text(session.last_update_time if session.metadata else now),
            "custom_metadata": {"session_type": _SESSION_TYPE, "layout": 2},
        }
        return json.dumps(record | json.loads(text or "{}") | {"expires_at": _text(now + lives)})

    async def set(self, key: str, value: str) -> None:
        """Keep a record for an hour, as chuk-sessions does."""
        await self.setex(key, 3600, value)

    async def setex(self, key: str, ttl: int, value: str) -> None:
        """Keep what chuk-sessions writes, for so many seconds."""
        self._written[key] = (time.time() + ttl, value)

    async def delete(self, key: str) -> bool:
        """Forget what chuk-sessions wrote. The store deletes the session itself."""
        return self._written.pop(key, None) is not None

    async def close(self) -> None:
        """Do nothing: nothing is open."""


def metadata_of(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of a session beside whose it is, and until when."""
    metadata = record.get("custom_metadata")
    return metadata if isinstance(metadata, dict) else {}


def _is_ours(text: str | None) -> bool:
    """Whether a record belongs to a session of a store, not to one that an application created."""
    return text is not None and f'"{_SESSION_TYPE}"' in text


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _text(moment: datetime) -> str:
    moment = moment if moment.tzinfo else moment.astimezone()
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _chuk_sessions() -> Any:
    return importlib.import_module("chuk_sessions")


@contextmanager
def _environment_kept(name: str) -> Iterator[None]:
    """Undo the block's change of an environment variable: chuk-sessions sets its sandbox for the process."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
