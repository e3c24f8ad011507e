"""The file of a SQLite store: opening it, setting it up, and creating its tables."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from ...exceptions import StorageError
from ..stored_data import PLAIN_SCHEMA, SCHEMA, newer_schema
from .known_logs import Connection

# "casm" in ASCII: distinguishes our files from other applications' databases.
_APPLICATION_ID = 0x6361736D

_SCHEMA = """
CREATE TABLE conversations (
    key INTEGER PRIMARY KEY,
    parent INTEGER,             -- the conversation that its first session is a child of
    expires INTEGER             -- microseconds since 1970; NULL: never
);
CREATE INDEX conversations_expiry ON conversations (expires) WHERE expires IS NOT NULL;
CREATE INDEX conversations_parent ON conversations (parent) WHERE parent IS NOT NULL;
CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    sandbox TEXT NOT NULL,
    id TEXT NOT NULL,
    born TEXT NOT NULL,         -- tells it from another session that had its id before
    conversation INTEGER NOT NULL,
    segment INTEGER NOT NULL,   -- 0, 1, 2 ... within its conversation
    parent_id TEXT,
    user_id TEXT,
    header TEXT NOT NULL,       -- JSON: each header field as JSON
    counters TEXT NOT NULL,     -- JSON
    count INTEGER NOT NULL,     -- of its events
    revision INTEGER NOT NULL,
    rewrites INTEGER NOT NULL,
    written INTEGER NOT NULL,   -- microseconds since 1970
    UNIQUE (sandbox, id)
);
CREATE INDEX sessions_newest ON sessions (sandbox, written, id);
CREATE INDEX sessions_of_parent ON sessions (sandbox, parent_id, written, id) WHERE parent_id IS NOT NULL;
CREATE INDEX sessions_of_user ON sessions (sandbox, user_id, written, id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_of_conversation ON sessions (conversation, segment);
CREATE TABLE events (
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,    -- 0, 1, 2 ... without a gap
    id TEXT NOT NULL,
    body TEXT NOT NULL          -- JSON
);
CREATE UNIQUE INDEX events_number ON events (session, number);
CREATE UNIQUE INDEX events_id ON events (session, id);
"""


def checked_path(path: str | os.PathLike[str]) -> str:
    """The file's absolute path: SQLite gives some relative paths another meaning."""
    name = os.fspath(path)
    if not isinstance(name, str) or not name or "\0" in name:
        raise StorageError("A SQLite store needs the path of a file, as text")
    return name if name == ":memory:" else os.path.abspath(name)  # noqa: PTH100  (which keeps no "..")


def connect(path: str, busy_timeout: float) -> Connection:
    """Open the file, and create it if it does not exist.

    Raises:
        StorageError: the file belongs to another application.
        UnreadableData: a later release wrote the file.
    """
    if path != ":memory:" and not Path(path).exists():
        # Created before SQLite does it with the process's umask; SQLite's other files get the same mode.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    _make_writable_alike(path)
    connection = sqlite3.connect(
        path, timeout=busy_timeout, isolation_level=None, check_same_thread=False, factory=Connection
    )
    # SQLite's own error for text that is not UTF-8 quotes the text.
    connection.text_factory = bytes.decode
    try:
        _set_up(connection, path, busy_timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_writable_alike(path: str) -> None:
    """Make SQLite's own files writable if the database file is.

    If they were created while it was read-only, they stay read-only after it becomes writable.
    """
    for beside in (Path(f"{path}-wal"), Path(f"{path}-shm")):
        if beside.exists() and os.access(path, os.W_OK) and not os.access(beside, os.W_OK):
            with suppress(OSError):  # another user's file: SQLite reports it if it cannot be used
                beside.chmod(Path(path).stat().st_mode)


def _set_up(connection: sqlite3.Connection, path: str, busy_timeout: float) -> None:
    connection.execute("BEGIN")  # read everything at one moment: another process may be creating its tables
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        is_empty = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
    finally:
        connection.rollback()
    if application != _APPLICATION_ID and not (is_empty and version == 0):
        raise StorageError(f"{path} is another application's database: name a file of its own")
    if version > SCHEMA:
        raise newer_schema(path, version)
    # Readers do not wait for the writer, nor the writer for readers. The file keeps this setting.
    _retried(lambda: connection.execute("PRAGMA journal_mode = WAL"), busy_timeout)
    # A commit that was acknowledged survives a power cut; NORMAL would lose the last ones.
    connection.execute("PRAGMA synchronous = FULL")
    # What is deleted or written over is overwritten with zeros, not left in the file until it is used again.
    connection.execute("PRAGMA secure_delete = ON")
    if is_empty:
        connection.execute("BEGIN IMMEDIATE")
        try:
            _make_tables(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise


def _make_tables(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0]:
        return  # another process created them meanwhile
    for statement in _SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {PLAIN_SCHEMA}")


def _retried(action: Callable[[], object], seconds: float) -> None:
    """Try again: the busy timeout does not apply to the switch to WAL, which needs the file for itself."""
    end = time.monotonic() + seconds
    while True:
        try:
            action()
        except sqlite3.OperationalError as problem:
            if "locked" not in str(problem) or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def copy_file(path: str, target: str) -> None:
    """Copy a database as it is at one moment, with SQLite's own means; the copy is complete or not there.

    Raises:
        StorageError: the file could not be read, or the copy could not be written.
    """
    part = f"{target}.{os.getpid()}.part"
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            # So that the copy is a single file, however it is opened.
            copy.execute("PRAGMA journal_mode = DELETE")
        with Path(part).open("rb") as written:
            os.fsync(written.fileno())
        os.link(part, target)  # fails if the target was created meanwhile; a rename would replace it
    except (sqlite3.Error, OSError) as problem:
        raise StorageError(f"SQLite could not copy {path} to {target}: {type(problem).__name__}") from problem
    finally:
        with suppress(OSError):
            Path(part).unlink()
