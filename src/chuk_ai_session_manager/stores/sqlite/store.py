"""The SQLite store: durable, on one machine, for any number of processes."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

from ...exceptions import InvalidSessionOperation, UnreadableData
from ...exceptions.validation import check_at_least
from ...models.event_page import LogState
from ...models.session_metadata import origins_of
from ..base import (
    DEFAULT_SANDBOX_ID,
    DEFAULT_TTL_HOURS,
    AnySession,
    StoreDefault,
)
from ..changes import Appended, Change, is_session_id
from ..durability import DurabilityReport
from ..durable import DurableStore
from ..erasing import account_names
from ..receipts import BACKUPS, Erased, Forgotten
from ..recency import now
from ..redaction import RedactHook
from ..stored_data import EncodedEvent, StoredSession
from .accounts import change_account
from .bodies import fetch_bodies
from .erasing import clear_log, drop_accounts, erase_whole, forks_in, sessions_of_user
from .file import checked_path, connect, copy_file
from .transactions import (
    add_events,
    change_session,
    create_session,
    delete_session,
    delete_whole,
    extend_life,
    find_events,
    find_session,
    ids_of_segments,
    list_rows,
    read_session,
    settings_of,
    states_of_logs,
)
from .worker import Worker


class SqliteStore(DurableStore):
    """Keeps sessions in a SQLite file.

    A write that returned is committed (`synchronous=FULL`), and appends that wait at the same time share a
    commit. Any number of stores, tasks and processes on one machine may use the file at once. The file is
    created when it is first needed, and only its owner may read it (mode 0600).

    Args:
        path: the file, in a folder that exists.
        sandbox_id: the tenant. The sessions of other sandboxes are invisible.
        ttl_hours: hours after the last write at which a conversation expires; by default never.
        busy_timeout: seconds to wait while another process writes, before a `StorageError` is raised.
        redact: gets each text of an event before it is written, and returns the text to store: as for
            `open_store`.

    Raises:
        InvalidInput: the sandbox is empty, or a number is invalid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sandbox_id: str = DEFAULT_SANDBOX_ID,
        ttl_hours: float | None = DEFAULT_TTL_HOURS,
        busy_timeout: float = 10.0,
        redact: RedactHook | None = None,
    ) -> None:
        super().__init__(sandbox_id, None if isinstance(ttl_hours, StoreDefault) else ttl_hours, redact)
        check_at_least(busy_timeout, 0, "busy_timeout", "open a store")
        self._path = checked_path(path)
        self._busy_timeout = busy_timeout
        self._worker = Worker(partial(connect, self._path, busy_timeout), self._path)

    def __repr__(self) -> str:
        return f"SqliteStore({self._path!r}, sandbox_id={self.sandbox_id!r})"

    async def close(self) -> None:
        """Finish waiting work and close the file; the next use opens it again."""
        await self._worker.close()

    def get_stats(self) -> dict[str, Any]:
        """Return the file's path and the sessions' lifetime."""
        return {
            "provider": "sqlite",
            "path": self._path,
            "sandbox_id": self.sandbox_id,
            "ttl_hours": self.ttl_hours,
        }

    # -- the methods of a durable store ---------------------------------------------------------

    keeps_bodies: ClassVar[bool] = True

    async def _fetch(self, hashes: Collection[str]) -> Mapping[str, bytes]:
        return await self._worker.read(partial(fetch_bodies, self.sandbox_id, hashes))

    async def _read(self, session_id: str, start: int | None, end: int | None = None) -> StoredSession | None:
        return await self._worker.read(partial(read_session, self.sandbox_id, session_id, start, end))

    async def _find(self, session_id: str, event_ids: Sequence[str]) -> list[str]:
        return await self._worker.read(partial(find_events, self.sandbox_id, session_id, event_ids))

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        lives = self._lifetime(self.ttl_hours)
        add = partial(add_events, self.sandbox_id, session_id, events, born, only_at, lives)
        return await self._worker.write(add)

    async def _create(self, session: AnySession, change: Change) -> bool:
        lives = self._lifetime(self.ttl_hours)
        return await self._worker.write(partial(create_session, self.sandbox_id, session, change, lives))

    async def _change(self, session_id: str, change: Change, born: str, only_at: int) -> bool:
        lives = self._lifetime(self.ttl_hours)
        write = partial(change_session, self.sandbox_id, session_id, change, (born, only_at), lives)
        return await self._worker.write(write)

    async def durability_report(self) -> DurabilityReport:
        """Report that committed data is on the disk, if the disk itself is reliable."""
        if self._path == ":memory:":
            return DurabilityReport("sqlite", "everything when the process ends: the path is :memory:")
        settings = await self._worker.read(settings_of)
        # 2 is FULL, 3 EXTRA: https://www.sqlite.org/pragma.html#pragma_synchronous
        synced = settings["synchronous"] in {"2", "3"}
        lossy = "when the machine fails, the last commits (synchronous is below FULL)"
        return DurabilityReport("sqlite", "none" if synced else lossy, [], settings)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the whole file, with everything that was committed, into a new one (mode 0600).

        Others may go on writing; the copy is the store as it was at one moment. The copy is complete or not
        there, and needs no file beside it.

        Raises:
            InvalidSessionOperation: the store is in memory, or the path exists already.
            StorageError: the file could not be read, or the copy could not be written.
        """
        if self._path == ":memory:":
            raise InvalidSessionOperation(
                "back up a store", "its path is :memory:, so there is no file to copy"
            )
        await self._worker.read(settings_of)  # creates a missing file, and refuses another application's
        target = checked_path(path)
        if await asyncio.to_thread(os.path.lexists, target):
            raise InvalidSessionOperation("back up a store", f"the file {target} exists: name another one")
        await asyncio.to_thread(copy_file, self._path, target)

    async def server_version(self) -> str:
        """Return the version of SQLite."""
        return sqlite3.sqlite_version

    async def segment_ids(self, session_id: str) -> list[str]:
        """Return the ids of all segments of a session's conversation, the first one first."""
        if not is_session_id(session_id):
            return []
        return await self._worker.read(partial(ids_of_segments, self.sandbox_id, session_id))

    async def log_states(self, session_id: str) -> list[LogState]:
        """How far the logs of all segments of a session's conversation have come, the first one first."""
        if not is_session_id(session_id):
            return []
        return await self._worker.read(partial(states_of_logs, self.sandbox_id, session_id))

    async def last_segment_id(self, session_id: str) -> str | None:
        """Return the id of the last of these segments, or `None` if the session does not exist."""
        if not is_session_id(session_id):
            return None
        last = await self._worker.read(partial(ids_of_segments, self.sandbox_id, session_id, last=True))
        return next(iter(last), None)

    async def time_to_live(self, session_id: str) -> float | None:
        """Return the seconds until a session expires unless it is written to."""
        row = None
        if is_session_id(session_id):
            row = await self._worker.read(partial(find_session, self.sandbox_id, session_id))
        if row is None:
            return None
        return math.inf if row.expires is None else (row.expires - now()) / 1_000_000

    async def _extend(self, session_id: str, additional_hours: float) -> bool:
        more = self._lifetime(additional_hours) or 0
        return await self._worker.write(partial(extend_life, self.sandbox_id, session_id, more))

    @staticmethod
    def _lifetime(hours: float | None) -> int | None:
        return None if hours is None else int(hours * 3_600_000_000)

    async def change_account(
        self,
        name: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
        *,
        hours: float | None = None,
    ) -> None:
        """Change a small object beside the sessions, in one transaction."""
        lives = self._lifetime(hours)
        await self._worker.write(partial(change_account, self.sandbox_id, name, change, lives))

    # -- listing and deleting -------------------------------------------------------------------

    async def delete(self, session_id: str) -> None:
        """Delete a session; its parents and children stay."""
        if is_session_id(session_id):
            await self._worker.write(partial(delete_session, self.sandbox_id, session_id))

    async def delete_conversation(self, session_id: str) -> int:
        """Delete all segments of a session's conversation; return their number."""
        if not is_session_id(session_id):
            return 0
        return await self._worker.write(partial(delete_whole, self.sandbox_id, session_id))

    async def _erase_stored(self, session_id: str, written_since: int | None) -> Erased | None:
        if not is_session_id(session_id):
            return None
        return await self._worker.write(partial(erase_whole, self.sandbox_id, session_id, written_since))

    async def _sessions_of_user(self, user_id: str) -> AsyncIterator[str]:
        for each in await self._worker.read(partial(sessions_of_user, self.sandbox_id, user_id)):
            yield each

    async def forks_of(self, conversation_id: str) -> AsyncIterator[str]:
        """The ids of conversations that began with what was said in this one."""
        for each in await self._worker.read(partial(forks_in, self.sandbox_id)):
            with suppress(UnreadableData):
                session = await self.head(each)
                if session is not None and conversation_id in origins_of(session.metadata.properties):
                    yield each

    async def _forget_user(self, user_id: str) -> Forgotten:
        names = account_names(user_id)
        return Forgotten(await self._worker.write(partial(drop_accounts, self.sandbox_id, names)))

    async def scrub(self) -> list[str]:
        """Empty the write-ahead log, and name what is out of reach."""
        if self._path == ":memory:":
            return [BACKUPS]
        is_clear = await asyncio.to_thread(clear_log, self._path, self._busy_timeout)
        busy = f"{self._path}-wal: another process was reading the file all the time. Erase again later"
        return [*([] if is_clear else [busy]), "snapshots of the file system, and what a disk keeps", BACKUPS]

    async def _list(
        self,
        prefix: str,
        parent_id: str | None,
        user_id: str | None,
        limit: int | None,
        before: tuple[int, str] | None,
    ) -> list[tuple[int, str]]:
        filters: dict[str, Any] = {
            "s.sandbox = ?": self.sandbox_id,
            "(c.expires IS NULL OR c.expires > ?)": now(),
        }
        if prefix:
            filters["substr(s.id, 1, ?) = ?"] = (len(prefix), prefix)
        if parent_id is not None:
            filters["s.parent_id = ?"] = parent_id
        if user_id is not None:
            filters["s.user_id = ?"] = user_id
        if before is not None:
            filters["(s.written, s.id) < (?, ?)"] = before
        return await self._worker.read(partial(list_rows, filters, limit))
