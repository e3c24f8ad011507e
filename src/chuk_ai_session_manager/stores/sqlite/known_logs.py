"""A connection that knows the logs it appended to, so that the next append to one of them need not ask.

What it knows is true until somebody else writes: another connection, whose commits SQLite counts, or other
work on this one, which changes rows too. After a rollback, it knows nothing.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from ..recency import now

# The most logs that are known at once: each takes about a kilobyte.
_MOST = 1_000


@dataclass(slots=True)
class KnownLog:
    """What an append needs to know of a session: not its header, which may be long."""

    key: int
    born: str
    conversation: int
    counters: dict[str, float]
    count: int
    revision: int
    expires: int | None


class Connection(sqlite3.Connection):
    """A connection to a store's file."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._logs: dict[tuple[str, str], KnownLog] = {}
        self._newest: dict[str, int] = {}
        self._version = 0
        self._changes = 0

    def begin(self, *, to_write: bool) -> None:
        """Begin a transaction; nobody else writes during one that writes."""
        if not to_write:
            self.execute("BEGIN")
            return
        self.execute("BEGIN IMMEDIATE")
        # It changes with commits of other connections: https://www.sqlite.org/pragma.html#pragma_data_version
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._forget()
            self._version = version

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        self._forget()
        super().rollback()

    def _forget(self) -> None:
        self._logs.clear()
        self._newest.clear()

    def known_log(self, sandbox: str, session_id: str) -> KnownLog | None:
        """What is known of a session's log, within a transaction that writes."""
        if self.total_changes != self._changes:  # other work on this connection wrote
            self._forget()
            self._changes = self.total_changes
        log = self._logs.get((sandbox, session_id))
        return log if log is None or log.expires is None or log.expires > now() else None

    def newest_place(self, sandbox: str) -> int:
        """The place in lists of the sandbox's first session; 0 if there is none. Call `known_log` before."""
        newest = self._newest.get(sandbox)
        if newest is None:
            query = "SELECT max(written) FROM sessions WHERE sandbox = ?"
            newest = self._newest[sandbox] = self.execute(query, (sandbox,)).fetchone()[0] or 0
        return newest

    def know(self, sandbox: str, session_id: str, log: KnownLog, place: int) -> None:
        """Remember a log that was appended to just now, which gave the session this place in lists."""
        self._changes = self.total_changes
        if sandbox in self._newest:
            self._newest[sandbox] = max(place, self._newest[sandbox])
        if len(self._logs) >= _MOST:
            self._logs.clear()
        self._logs[sandbox, session_id] = log
