"""What is erased in a SQLite file: rows, and the bytes that they took up."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

from ...exceptions import StorageError
from ..receipts import Erased
from .transactions import drop_conversation

_PAUSE = 0.02


def erase_whole(
    sandbox: str, session_id: str, written_since: int | None, db: sqlite3.Connection
) -> Erased | None:
    """Erase a session's conversation, also one that expired and was not cleared away yet.

    `None` where there is none, or where it was written to since that time.
    """
    find = "SELECT conversation FROM sessions WHERE sandbox = ? AND id = ?"
    row = db.execute(find, (sandbox, session_id)).fetchone()
    if row is None:
        return None
    of_it = "SELECT id, count, written FROM sessions WHERE conversation = ? ORDER BY segment"
    segments = db.execute(of_it, row).fetchall()
    # New messages go to the last segment. Others may have been closed just now, by an import of old messages.
    if written_since is not None and segments[-1][2] >= written_since:
        return None
    drop_conversation(db, row[0])
    return Erased([each for each, *_ in segments], sum(count for _, count, _ in segments))


def sessions_of_user(sandbox: str, user_id: str, db: sqlite3.Connection) -> list[str]:
    """The ids of a user's sessions, those that expired among them."""
    query = "SELECT id FROM sessions WHERE sandbox = ? AND user_id = ? ORDER BY written DESC"
    return [each for (each,) in db.execute(query, (sandbox, user_id))]


def forks_in(sandbox: str, db: sqlite3.Connection) -> list[str]:
    """The ids of sessions that may have begun with what another conversation said."""
    query = "SELECT id FROM sessions WHERE sandbox = ? AND segment = 0 AND instr(header, '\"forked_from\"')"
    return [each for (each,) in db.execute(query, (sandbox,))]


def drop_accounts(sandbox: str, names: Sequence[str], db: sqlite3.Connection) -> int:
    """Delete accounts of what a user spent; how many there were."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'accounts'").fetchone():
        return 0
    return sum(
        db.execute("DELETE FROM accounts WHERE sandbox = ? AND name = ?", (sandbox, name)).rowcount
        for name in names
    )


def clear_log(path: str, seconds: float) -> bool:
    """Move all that was committed into the file, which overwrites what was deleted, and empty its log.

    Returns:
        `False` where another process was reading an older state of the file for longer than that.

    Raises:
        StorageError: the file could not be used.
    """
    end = time.monotonic() + seconds
    try:
        with closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as db:
            while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > end:
                    return False
                time.sleep(_PAUSE)
    except sqlite3.Error as problem:
        reason = type(problem).__name__
        raise StorageError(f"SQLite erased it, but could not empty the log of {path}: {reason}") from problem
    return True
