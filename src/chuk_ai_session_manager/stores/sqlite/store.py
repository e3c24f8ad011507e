"""Sessions in a SQLite file: durable, on one machine, for any number of processes."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...exceptions import StorageError, UnreadableData, session_not_found
from ...exceptions.validation import check_at_least
from ..base import (
    DEFAULT_SANDBOX_ID,
    DEFAULT_TTL_HOURS,
    AnySession,
    StoreDefault,
    is_segment_after,
)
from ..codec import (
    CHUNK,
    SCHEMA,
    EncodedEvent,
    StoredSession,
    check_same,
    counters_after,
    damaged_header,
    dump,
    dump_counters,
    join_header,
    load_counters,
    span_of,
    split_header,
    user_id_in,
)
from ..durability import DurabilityReport
from ..durable import Appended, Change, DurableStore, is_session_id, newer_schema
from .worker import Worker

# "casm" in ASCII: tells our files from other applications' databases.
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
    body TEXT NOT NULL,         -- JSON
    PRIMARY KEY (session, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_id ON events (session, id);
"""

_SESSION = """
SELECT
    s.id, s.key, s.born, s.conversation, s.segment, CAST(s.header AS BLOB), CAST(s.counters AS BLOB),
    s.count, s.revision, s.rewrites, c.expires
FROM sessions s JOIN conversations c ON c.key = s.conversation
WHERE s.sandbox = ? AND s.id = ? AND (c.expires IS NULL OR c.expires > ?)
"""

# Expired conversations that one write clears away: a bound to what it costs.
_EXPIRED_AT_ONCE = 20


class SqliteStore(DurableStore):
    """Keeps sessions in a SQLite file.

    What was awaited is committed (`synchronous=FULL`), and appends that wait together share a commit.
    Any number of stores, tasks and processes on one machine may use the file at once. The file is made
    when it is first needed, for its owner's eyes only (mode 0600).

    Args:
        path: the file, in a folder that is there.
        sandbox_id: the tenant; sessions of another one do not exist here.
        ttl_hours: hours that a conversation lives after the last write to it; by default for ever.
        busy_timeout: seconds to wait while another process writes, before it is a `StorageError`.

    Raises:
        InvalidInput: an empty sandbox, or a number that cannot be right.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sandbox_id: str = DEFAULT_SANDBOX_ID,
        ttl_hours: float | None = DEFAULT_TTL_HOURS,
        busy_timeout: float = 10.0,
    ) -> None:
        super().__init__(sandbox_id, None if isinstance(ttl_hours, StoreDefault) else ttl_hours)
        check_at_least(busy_timeout, 0, "busy_timeout", "open a store")
        self._path = _checked_path(path)
        self._worker = Worker(partial(_connect, self._path, busy_timeout), self._path)

    def __repr__(self) -> str:
        return f"SqliteStore({self._path!r}, sandbox_id={self.sandbox_id!r})"

    async def close(self) -> None:
        """Finish what waits and close the file; the next use opens it again."""
        await self._worker.close()

    def get_stats(self) -> dict[str, Any]:
        """Where the file is and how its sessions live."""
        return {
            "provider": "sqlite",
            "path": self._path,
            "sandbox_id": self.sandbox_id,
            "ttl_hours": self.ttl_hours,
        }

    # -- what a durable store does --------------------------------------------------------------

    async def _read(self, session_id: str, start: int | None, end: int | None = None) -> StoredSession | None:
        return await self._worker.read(partial(_read, self.sandbox_id, session_id, start, end))

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        lives = self._lifetime(self.ttl_hours)
        add = partial(_add, self.sandbox_id, session_id, events, born, only_at, lives)
        return await self._worker.write(add)

    async def _create(self, session: AnySession, change: Change) -> bool:
        lives = self._lifetime(self.ttl_hours)
        return await self._worker.write(partial(_create, self.sandbox_id, session, change, lives))

    async def _change(self, session_id: str, change: Change, born: str, only_at: int) -> bool:
        lives = self._lifetime(self.ttl_hours)
        write = partial(_change, self.sandbox_id, session_id, change, (born, only_at), lives)
        return await self._worker.write(write)

    async def durability_report(self) -> DurabilityReport:
        """What was awaited is on the disk, as far as the disk itself keeps its word."""
        if self._path == ":memory:":
            return DurabilityReport("sqlite", "all of it when the process ends: the path is :memory:")
        settings = await self._worker.read(_settings)
        # 2 is FULL, 3 EXTRA: https://www.sqlite.org/pragma.html#pragma_synchronous
        synced = settings["synchronous"] in {"2", "3"}
        lossy = "when the machine fails, the last commits (synchronous is below FULL)"
        return DurabilityReport("sqlite", "none" if synced else lossy, [], settings)

    async def server_version(self) -> str:
        """The version of SQLite."""
        return sqlite3.sqlite_version

    async def segment_ids(self, session_id: str) -> list[str]:
        """The ids of all segments of a session's conversation, the first one first."""
        if not is_session_id(session_id):
            return []
        return await self._worker.read(partial(_segment_ids, self.sandbox_id, session_id))

    async def last_segment_id(self, session_id: str) -> str | None:
        """The id of the last of these segments, or `None` where there is no such session."""
        if not is_session_id(session_id):
            return None
        last = await self._worker.read(partial(_segment_ids, self.sandbox_id, session_id, last=True))
        return next(iter(last), None)

    async def time_to_live(self, session_id: str) -> float | None:
        """Seconds that a session has left if nobody writes to it."""
        row = None
        if is_session_id(session_id):
            row = await self._worker.read(partial(_find, self.sandbox_id, session_id))
        if row is None:
            return None
        return math.inf if row.expires is None else (row.expires - _now()) / 1_000_000

    async def _extend(self, session_id: str, additional_hours: float) -> bool:
        more = self._lifetime(additional_hours) or 0
        return await self._worker.write(partial(_extend, self.sandbox_id, session_id, more))

    @staticmethod
    def _lifetime(hours: float | None) -> int | None:
        return None if hours is None else int(hours * 3_600_000_000)

    # -- listing and deleting -------------------------------------------------------------------

    async def delete(self, session_id: str) -> None:
        """Delete a session; its parents and children stay."""
        if is_session_id(session_id):
            await self._worker.write(partial(_delete, self.sandbox_id, session_id))

    async def delete_conversation(self, session_id: str) -> int:
        """Delete all segments of a session's conversation; how many there were."""
        if not is_session_id(session_id):
            return 0
        return await self._worker.write(partial(_delete_conversation, self.sandbox_id, session_id))

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
            "(c.expires IS NULL OR c.expires > ?)": _now(),
        }
        if prefix:
            filters["substr(s.id, 1, ?) = ?"] = (len(prefix), prefix)
        if parent_id is not None:
            filters["s.parent_id = ?"] = parent_id
        if user_id is not None:
            filters["s.user_id = ?"] = user_id
        if before is not None:
            filters["(s.written, s.id) < (?, ?)"] = before
        return await self._worker.read(partial(_list, filters, limit))


# -- the file -----------------------------------------------------------------------------------


def _checked_path(path: str | os.PathLike[str]) -> str:
    """The file's whole path: SQLite takes some relative ones for something else."""
    name = os.fspath(path)
    if not isinstance(name, str) or not name or "\0" in name:
        raise StorageError("A SQLite store needs the path of a file, as text")
    return name if name == ":memory:" else os.path.abspath(name)  # noqa: PTH100  (which keeps no "..")


def _connect(path: str, busy_timeout: float) -> sqlite3.Connection:
    if path != ":memory:" and not Path(path).exists():
        # Before SQLite does, whose mode would be the process's umask; its other files take this one's.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    _make_writable_alike(path)
    connection = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None, check_same_thread=False)
    # SQLite's own error for what is no UTF-8 quotes it.
    connection.text_factory = bytes.decode
    try:
        _set_up(connection, path, busy_timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_writable_alike(path: str) -> None:
    """Let SQLite's own files be writable where the file is.

    Made while that was read-only, they are read-only, and stay so when it is not any more.
    """
    for beside in (Path(f"{path}-wal"), Path(f"{path}-shm")):
        if beside.exists() and os.access(path, os.W_OK) and not os.access(beside, os.W_OK):
            with suppress(OSError):  # somebody else's: SQLite says what it thinks of it
                beside.chmod(Path(path).stat().st_mode)


def _set_up(connection: sqlite3.Connection, path: str, busy_timeout: float) -> None:
    connection.execute("BEGIN")  # all at one moment: another process may just be making its tables
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
    # Readers do not wait for the writer, nor it for them. It stays so in the file.
    _retried(lambda: connection.execute("PRAGMA journal_mode = WAL"), busy_timeout)
    # A commit that was acknowledged survives a power cut; NORMAL would lose the last ones.
    connection.execute("PRAGMA synchronous = FULL")
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
        return  # by another process, meanwhile
    for statement in _SCHEMA.split(";\n"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _retried(action: Callable[[], object], seconds: float) -> None:
    """The busy timeout does not hold for the switch to WAL, which needs the file for itself."""
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


def _now() -> int:
    return time.time_ns() // 1000


# -- within a transaction -----------------------------------------------------------------------


@dataclass(slots=True)
class _Row:
    """A session's row."""

    id: str
    key: int
    born: str
    conversation: int
    segment: int
    header: bytes
    counters: bytes
    count: int
    revision: int
    rewrites: int
    expires: int | None

    def read_header(self) -> dict[str, str]:
        """The header's fields, each as JSON."""
        try:
            return split_header(self.header)
        except (ValueError, TypeError, KeyError):
            raise damaged_header(self.id) from None  # the cause may quote it

    def read_counters(self) -> dict[str, float]:
        """The counters."""
        return load_counters(self.id, self.counters)


def _find(sandbox: str, session_id: str, db: sqlite3.Connection) -> _Row | None:
    row = db.execute(_SESSION, (sandbox, session_id, _now())).fetchone()
    return None if row is None else _Row(*row)


def _settings(db: sqlite3.Connection) -> dict[str, str | None]:
    names = ("synchronous", "journal_mode")
    return {name: str(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in names}


def _segment_ids(sandbox: str, session_id: str, db: sqlite3.Connection, *, last: bool = False) -> list[str]:
    row = _find(sandbox, session_id, db)
    query = "SELECT id FROM sessions WHERE conversation = ? ORDER BY segment"
    query += " DESC LIMIT 1" if last else ""
    return [] if row is None else [each for (each,) in db.execute(query, (row.conversation,))]


def _read(
    sandbox: str, session_id: str, start: int | None, end: int | None, db: sqlite3.Connection
) -> StoredSession | None:
    row = _find(sandbox, session_id, db)
    if row is None:
        return None
    start, end = span_of(start, end, row.count)
    query = (
        "SELECT CAST(body AS BLOB) FROM events WHERE session = ? AND number >= ? AND number < ?"
        " ORDER BY number"
    )
    # As bytes: text that is none would end the reading in mid-statement, which keeps its old snapshot open.
    bodies = [body for (body,) in db.execute(query, (row.key, start, end))]
    if len(bodies) != end - start:
        missing = end - start - len(bodies)
        raise UnreadableData(f"Session {session_id} is damaged: {missing} events are missing")
    try:
        chunks = [b",".join(bodies[at : at + CHUNK]).decode() for at in range(0, len(bodies), CHUNK)]
    except UnicodeDecodeError:
        # Without the cause, which quotes it.
        raise UnreadableData(f"Session {session_id} is damaged: an event of it is no text") from None
    header, counters = row.read_header(), row.read_counters()
    return StoredSession(
        session_id, row.born, header, counters, row.revision, row.rewrites, row.count, start, chunks
    )


def _add(
    sandbox: str,
    session_id: str,
    events: Sequence[EncodedEvent],
    born: str,
    only_at: int | None,
    lives: int | None,
    db: sqlite3.Connection,
) -> Appended | None:
    row = _find(sandbox, session_id, db)
    if row is None or born not in {"", row.born}:
        raise session_not_found(session_id)
    new = [event for event in events if not _is_stored(db, row.key, session_id, event)]
    if not new:
        return Appended(row.count, row.revision, 0)
    if only_at is not None and row.revision != only_at:
        return None
    counters = counters_after(row.read_counters(), new)
    _insert(db, row.key, row.count, new)
    db.execute(
        "UPDATE sessions SET counters = ?, count = count + ?, revision = revision + 1, written = ?"
        " WHERE key = ?",
        (dump_counters(counters), len(new), _now(), row.key),
    )
    if row.expires is not None:
        _renew(db, row.conversation, lives)
    return Appended(row.count, row.revision + 1, len(new))


def _is_stored(db: sqlite3.Connection, key: int, session_id: str, event: EncodedEvent) -> bool:
    query = "SELECT CAST(body AS BLOB) FROM events WHERE session = ? AND id = ?"
    found = db.execute(query, (key, event.id)).fetchone()
    if found is None:
        return False
    check_same(session_id, event, found[0])
    return True


def _insert(db: sqlite3.Connection, key: int, number: int, events: Sequence[EncodedEvent]) -> None:
    db.executemany(
        "INSERT INTO events (session, number, id, body) VALUES (?, ?, ?, ?)",
        [(key, number + at, event.id, event.body) for at, event in enumerate(events)],
    )


def _create(
    sandbox: str, session: AnySession, change: Change, lives: int | None, db: sqlite3.Connection
) -> bool:
    _clear_expired(db, sandbox, session.id)
    if _find(sandbox, session.id, db):
        return False
    parent = _find(sandbox, session.parent_id, db) if session.parent_id else None
    parent_fields = None if parent is None else parent.read_header()  # damaged, it refuses before all writing
    if parent is not None and is_segment_after(session, session.parent_id):
        conversation, segment = parent.conversation, parent.segment + 1
    else:
        segment = 0
        conversation = _new_conversation(db, None if parent is None else parent.conversation, lives)
    columns = {
        "sandbox": sandbox,
        "id": session.id,
        "born": change.born,
        "conversation": conversation,
        "segment": segment,
        "parent_id": session.parent_id,
        "user_id": session.user_id,
        "header": join_header(change.fields),
        "counters": dump_counters(change.counters or {}),
        "count": len(change.events),
        "revision": 1,
        "rewrites": 0,
        "written": _now(),
    }
    marks = ", ".join("?" * len(columns))
    insert = f"INSERT INTO sessions ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  (the names above)
    key = db.execute(insert, list(columns.values())).lastrowid
    assert key is not None  # noqa: S101  (an INSERT has one; tells mypy)
    _insert(db, key, 0, change.events)
    if parent is not None and parent_fields is not None:
        _enter_child(db, parent, parent_fields, session.id)
        _renew(db, parent.conversation, lives)
    _adopt_children(db, sandbox, session.id, conversation)
    return True


def _new_conversation(db: sqlite3.Connection, parent: int | None, lives: int | None) -> int:
    expires = None if lives is None else _now() + lives
    insert = "INSERT INTO conversations (parent, expires) VALUES (?, ?)"
    key = db.execute(insert, (parent, expires)).lastrowid
    assert key is not None  # noqa: S101  (an INSERT has one; tells mypy)
    return key


def _enter_child(db: sqlite3.Connection, parent: _Row, fields: dict[str, str], child_id: str) -> None:
    children = json.loads(fields["child_ids"])
    if child_id not in children:
        fields["child_ids"] = dump([*children, child_id])
        db.execute(
            "UPDATE sessions SET header = ?, revision = revision + 1 WHERE key = ?",
            (join_header(fields), parent.key),
        )


def _adopt_children(db: sqlite3.Connection, sandbox: str, session_id: str, conversation: int) -> None:
    """Let children that were stored before their parent keep it alive too."""
    db.execute(
        "UPDATE conversations SET parent = ? WHERE parent IS NULL AND key != ? AND key IN"
        " (SELECT conversation FROM sessions WHERE sandbox = ? AND parent_id = ?)",
        (conversation, conversation, sandbox, session_id),
    )


def _change(
    sandbox: str,
    session_id: str,
    change: Change,
    only_at: tuple[str, int],
    lives: int | None,
    db: sqlite3.Connection,
) -> bool:
    row = _find(sandbox, session_id, db)
    if row is None or (row.born, row.revision) != only_at:
        return False
    fields = row.read_header() | change.fields
    count, rewritten = row.count, False
    written = None if change.counters is None else _now()
    if change.keep is not None:
        rewritten = change.keep < row.count
        db.execute("DELETE FROM events WHERE session = ? AND number >= ?", (row.key, change.keep))
        _insert(db, row.key, change.keep, change.events)
        count = change.keep + len(change.events)
    db.execute(
        "UPDATE sessions SET header = ?, counters = coalesce(?, counters), count = ?, parent_id = ?,"
        " user_id = ?, revision = revision + 1, rewrites = rewrites + ?, written = coalesce(?, written)"
        " WHERE key = ?",
        (
            join_header(fields),
            None if change.counters is None else dump_counters(change.counters),
            count,
            json.loads(fields["parent_id"]),
            user_id_in(fields["metadata"]),
            rewritten,
            written,
            row.key,
        ),
    )
    _renew(db, row.conversation, lives)
    return True


def _delete(sandbox: str, session_id: str, db: sqlite3.Connection) -> None:
    row = _find(sandbox, session_id, db)
    if row is None:
        return
    db.execute("DELETE FROM events WHERE session = ?", (row.key,))
    db.execute("DELETE FROM sessions WHERE key = ?", (row.key,))
    if not db.execute("SELECT 1 FROM sessions WHERE conversation = ?", (row.conversation,)).fetchone():
        _drop_conversation(db, row.conversation)


def _delete_conversation(sandbox: str, session_id: str, db: sqlite3.Connection) -> int:
    row = _find(sandbox, session_id, db)
    return 0 if row is None else _drop_conversation(db, row.conversation)


def _drop_conversation(db: sqlite3.Connection, conversation: int) -> int:
    """Delete a conversation and its segments; its children go to its parent."""
    of_it = "SELECT key FROM sessions WHERE conversation = ?"
    db.execute(f"DELETE FROM events WHERE session IN ({of_it})", (conversation,))  # noqa: S608  (no input)
    segments = db.execute("DELETE FROM sessions WHERE conversation = ?", (conversation,)).rowcount
    db.execute(
        "UPDATE conversations SET parent = (SELECT parent FROM conversations WHERE key = ?) WHERE parent = ?",
        (conversation, conversation),
    )
    db.execute("DELETE FROM conversations WHERE key = ?", (conversation,))
    return segments


def _renew(db: sqlite3.Connection, conversation: int | None, lives: int | None) -> None:
    """Let a conversation, and those that it is a child of, live for so long from now, at least."""
    if lives is not None:
        _live_until(db, conversation, _now() + lives)


def _live_until(db: sqlite3.Connection, conversation: int | None, expires: int) -> None:
    seen = set()
    while conversation is not None and conversation not in seen:
        seen.add(conversation)
        renewed = db.execute(
            "UPDATE conversations SET expires = max(expires, ?) WHERE key = ? RETURNING parent",
            (expires, conversation),
        ).fetchone()
        conversation = renewed and renewed[0]


def _extend(sandbox: str, session_id: str, more: int, db: sqlite3.Connection) -> bool:
    row = _find(sandbox, session_id, db)
    if row is not None and row.expires is not None:
        _live_until(db, row.conversation, row.expires + more)
    return row is not None


def _clear_expired(db: sqlite3.Connection, sandbox: str, session_id: str) -> None:
    """Free what expired: the session of this id, if it did, and a few others."""
    expired = db.execute(
        "SELECT c.key FROM conversations c JOIN sessions s ON s.conversation = c.key"
        " WHERE s.sandbox = ? AND s.id = ? AND c.expires <= ?",
        (sandbox, session_id, _now()),
    ).fetchall()
    expired += db.execute(
        "SELECT key FROM conversations WHERE expires <= ? ORDER BY expires LIMIT ?",
        (_now(), _EXPIRED_AT_ONCE),
    ).fetchall()
    for (conversation,) in set(expired):
        _drop_conversation(db, conversation)


def _list(filters: dict[str, Any], limit: int | None, db: sqlite3.Connection) -> list[tuple[int, str]]:
    values: list[Any] = []
    for value in filters.values():
        values += value if isinstance(value, tuple) else (value,)
    query = (
        "SELECT s.written, s.id FROM sessions s JOIN conversations c ON c.key = s.conversation"  # noqa: S608
        f" WHERE {' AND '.join(filters)} ORDER BY s.written DESC, s.id DESC LIMIT ?"
    )
    return db.execute(query, [*values, -1 if limit is None else limit + 1]).fetchall()
