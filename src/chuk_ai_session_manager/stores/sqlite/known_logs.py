"""A connection that remembers the logs it appended to, so that the next append to one of them reads nothing.

The connection forgets all logs when anything else may have changed the file: after a commit of another
connection (`PRAGMA data_version` shows it), after other work on this connection (`total_changes` shows it),
and after a rollback.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from ..recency import now

# The most logs that are remembered: each takes about a kilobyte.
_MOST = 1_000


@dataclass(slots=True)
class KnownLog:
    """What an append needs to know of a session."""

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
        """Begin a transaction. If it writes, no other connection writes until its end."""
        if not to_write:
            self.execute("BEGIN")
            return
        self.execute("BEGIN IMMEDIATE")
        # The number changes with commits of other connections: https://www.sqlite.org/pragma.html#pragma_data_version
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
        """A session's log, if it is known and has not expired. Call this in a transaction that writes."""
        if self.total_changes != self._changes:  # other work on this connection wrote
            self._forget()
            self._changes = self.total_changes
        log = self._logs.get((sandbox, session_id))
        return log if log is None or log.expires is None or log.expires > now() else None

    def newest_place(self, sandbox: str) -> int:
        """The place of the session at the top of the sandbox's list; 0 without sessions.

        Call `known_log` first, in the same transaction.
        """
        newest = self._newest.get(sandbox)
        if newest is None:
            query = "SELECT max(written) FROM sessions WHERE sandbox = ?"
            newest = self._newest[sandbox] = self.execute(query, (sandbox,)).fetchone()[0] or 0
        return newest

    def know(self, sandbox: str, session_id: str, log: KnownLog, place: int) -> None:
        """Remember a log that was just appended to.

        Args:
            sandbox: the sandbox.
            session_id: the session.
            log: the log as it is after the append.
            place: the session's place in lists after the append.
        """
        self._changes = self.total_changes
        if sandbox in self._newest:
            self._newest[sandbox] = max(place, self._newest[sandbox])
        if len(self._logs) >= _MOST:
            self._logs.clear()
        self._logs[sandbox, session_id] = log
