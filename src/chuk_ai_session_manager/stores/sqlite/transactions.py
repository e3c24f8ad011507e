"""The transactions of a SQLite store, as functions of a connection."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...exceptions import UnreadableData, session_not_found
from ...models.event_page import LogState
from ...models.session import next_segment_id
from ..base import AnySession
from ..changes import WHILE_LIVE, Appended, Change, MovedError
from ..codec import check_same, join_header, split_header, user_id_in
from ..counting import counters_after, dump_counters, load_counters
from ..merging import is_closed, with_shared
from ..recency import NOW, now, place_of
from ..stored_data import CHUNK, EncodedEvent, StoredSession, damaged_header, dump, span_of
from ..walking import is_segment_after
from .bodies import keep_bodies
from .known_logs import Connection, KnownLog

_SESSION = """
SELECT
    s.id, s.key, s.born, s.conversation, s.segment, CAST(s.header AS BLOB), CAST(s.counters AS BLOB),
    s.count, s.revision, s.rewrites, c.expires
FROM sessions s JOIN conversations c ON c.key = s.conversation
WHERE s.sandbox = ? AND s.id = ? AND (c.expires IS NULL OR c.expires > ?)
"""

# The columns of a `KnownLog`.
_LOG = """
SELECT s.key, s.born, s.conversation, CAST(s.counters AS BLOB), s.count, s.revision, c.expires
FROM sessions s JOIN conversations c ON c.key = s.conversation
WHERE s.sandbox = ? AND s.id = ? AND (c.expires IS NULL OR c.expires > ?)
"""
_INSERT = "INSERT INTO events (session, number, id, body) VALUES (?, ?, ?, ?)"
_APPEND = """
UPDATE sessions
SET counters = ?, count = count + ?, revision = revision + 1,
    written = max(?, CASE count WHEN 0 THEN 0 ELSE written END)
WHERE key = ?
"""

# How many expired conversations one write removes: a limit to its cost.
_EXPIRED_AT_ONCE = 20


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
            raise damaged_header(self.id) from None  # the cause may quote the header

    def read_counters(self) -> dict[str, float]:
        """The counters."""
        return load_counters(self.id, self.counters)


def find_session(sandbox: str, session_id: str, db: sqlite3.Connection) -> _Row | None:
    """A session's row; `None` if the session does not exist, or has expired."""
    row = db.execute(_SESSION, (sandbox, session_id, now())).fetchone()
    return None if row is None else _Row(*row)


def settings_of(db: sqlite3.Connection) -> dict[str, str | None]:
    """The connection's settings, by the names of SQLite's pragmas."""
    names = ("synchronous", "journal_mode")
    return {name: str(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in names}


def ids_of_segments(
    sandbox: str, session_id: str, db: sqlite3.Connection, *, last: bool = False
) -> list[str]:
    """The ids of the segments of a session's conversation, in order; or only the last one's."""
    row = find_session(sandbox, session_id, db)
    query = "SELECT id FROM sessions WHERE conversation = ? ORDER BY segment"
    query += " DESC LIMIT 1" if last else ""
    return [] if row is None else [each for (each,) in db.execute(query, (row.conversation,))]


def states_of_logs(sandbox: str, session_id: str, db: sqlite3.Connection) -> list[LogState]:
    """How far the logs of the segments of a session's conversation have come, in order."""
    row = find_session(sandbox, session_id, db)
    query = "SELECT id, born, rewrites, count FROM sessions WHERE conversation = ? ORDER BY segment"
    found = [] if row is None else db.execute(query, (row.conversation,))
    return [LogState(each, f"{born} {rewrites}", count) for each, born, rewrites, count in found]


def read_session(
    sandbox: str, session_id: str, start: int | None, end: int | None, db: sqlite3.Connection
) -> StoredSession | None:
    """A stored session with some of its events: see `DurableStore._read`."""
    row = find_session(sandbox, session_id, db)
    if row is None:
        return None
    start, end = span_of(start, end, row.count)
    query = (
        "SELECT CAST(body AS BLOB) FROM events WHERE session = ? AND number >= ? AND number < ?"
        " ORDER BY number"
    )
    # As bytes: invalid text would end the reading in mid-statement, which would keep its old snapshot open.
    cursor = db.execute(query, (row.key, start, end))
    joined, missing = [], end - start
    while bodies := cursor.fetchmany(CHUNK):
        joined.append(b",".join([body for (body,) in bodies]))
        missing -= len(bodies)
    if missing:
        raise UnreadableData(f"Session {session_id} is damaged: {missing} events are missing")
    try:
        chunks = [chunk.decode() for chunk in joined]
    except UnicodeDecodeError:
        # Without the cause, which quotes the event.
        raise UnreadableData(f"Session {session_id} is damaged: an event of it is not text") from None
    header, counters = row.read_header(), row.read_counters()
    if is_closed(session_id, header):
        header = with_shared(header, _header_of_last(db, row.conversation))
    return StoredSession(
        session_id, row.born, header, counters, row.revision, row.rewrites, row.count, start, chunks
    )


def _header_of_last(db: sqlite3.Connection, conversation: int) -> dict[str, str] | None:
    """The header of a conversation's last segment; `None` if it is damaged."""
    query = "SELECT CAST(header AS BLOB) FROM sessions WHERE conversation = ? ORDER BY segment DESC LIMIT 1"
    (header,) = db.execute(query, (conversation,)).fetchone()
    try:
        return split_header(header)
    except (ValueError, TypeError, KeyError):
        return None


def find_events(sandbox: str, session_id: str, event_ids: Sequence[str], db: sqlite3.Connection) -> list[str]:
    """The JSON of events of a session's conversation, in any segment; unknown ids are skipped."""
    row = find_session(sandbox, session_id, db)
    if row is None:
        return []
    query = (
        "SELECT CAST(e.body AS BLOB) FROM sessions s CROSS JOIN events e ON e.session = s.key"
        " WHERE s.conversation = ? AND e.id = ?"
    )
    bodies = [body for each in event_ids for (body,) in db.execute(query, (row.conversation, each))]
    try:
        return [body.decode() for body in bodies]
    except UnicodeDecodeError:
        # Without the cause, which quotes the event.
        raise UnreadableData(f"Session {session_id} is damaged: an event of it is not text") from None


def add_events(
    sandbox: str,
    session_id: str,
    events: Sequence[EncodedEvent],
    born: str,
    only_at: int | None,
    lives: int | None,
    db: Connection,
) -> Appended | None:
    """Append events that are not stored already; `None` if the session is at another revision than `only_at`.

    Raises:
        SessionNotFound: the session expired or was deleted.
        EventConflict: another event is stored with one of these ids.
    """
    log = db.known_log(sandbox, session_id) or _find_log(sandbox, session_id, db)
    if log is None or born not in {"", log.born}:
        raise session_not_found(session_id)
    if only_at == WHILE_LIVE and not _is_followed(db, sandbox, session_id):
        only_at = None
    new = events
    if not (only_at in {None, log.revision} and _inserted(db, log, events)):
        new = [event for event in events if not _is_stored(db, log.key, session_id, event)]
        if not new:
            return Appended(log.count, log.revision, 0)
        if only_at not in {None, log.revision}:
            return None
        _insert(db, sandbox, log.key, log.count, new)
    appended = Appended(log.count, log.revision + 1, len(new))
    log.counters = counters_after(log.counters, new)
    log.count += len(new)
    log.revision += 1
    place = place_of(int(max([event.counters["newest"] for event in new])))
    place = max(now(), db.newest_place(sandbox) + 1) if place == NOW else place
    db.execute(_APPEND, (dump_counters(log.counters), len(new), place, log.key))
    if log.expires is not None:
        _renew(db, log.conversation, lives)
    db.know(sandbox, session_id, log, place)
    return appended


def _is_followed(db: sqlite3.Connection, sandbox: str, session_id: str) -> bool:
    """Whether there is the next segment of a session's conversation."""
    query = "SELECT 1 FROM sessions WHERE sandbox = ? AND id = ?"
    return db.execute(query, (sandbox, next_segment_id(session_id))).fetchone() is not None


def _find_log(sandbox: str, session_id: str, db: sqlite3.Connection) -> KnownLog | None:
    """A session's log as it is stored; `None` if the session does not exist, or has expired."""
    row = db.execute(_LOG, (sandbox, session_id, now())).fetchone()
    if row is None:
        return None
    key, born, conversation, counters, count, revision, expires = row
    return KnownLog(key, born, conversation, load_counters(session_id, counters), count, revision, expires)


def _inserted(db: sqlite3.Connection, log: KnownLog, events: Sequence[EncodedEvent]) -> bool:
    """Insert an event that is most likely new; `False`, without a change, if its id is stored already."""
    if len(events) != 1 or events[0].bodies:
        return False
    (event,) = events
    try:
        db.execute(_INSERT, (log.key, log.count, event.id, event.body))
    except sqlite3.IntegrityError:
        return False
    return True


def _moment(db: sqlite3.Connection, sandbox: str, place: int) -> int:
    """The time of writing for a session that gets this place in lists: after all others, or this time."""
    if place != NOW:
        return place
    newest = db.execute("SELECT max(written) FROM sessions WHERE sandbox = ?", (sandbox,)).fetchone()[0]
    return max(now(), (newest or 0) + 1)


def _is_stored(db: sqlite3.Connection, key: int, session_id: str, event: EncodedEvent) -> bool:
    query = "SELECT CAST(body AS BLOB) FROM events WHERE session = ? AND id = ?"
    found = db.execute(query, (key, event.id)).fetchone()
    if found is None:
        return False
    check_same(session_id, event, found[0])
    return True


def _insert(
    db: sqlite3.Connection, sandbox: str, key: int, number: int, events: Sequence[EncodedEvent]
) -> None:
    db.executemany(
        _INSERT,
        [(key, number + at, event.id, event.body) for at, event in enumerate(events)],
    )
    for at, event in enumerate(events):
        if event.bodies:
            keep_bodies(sandbox, key, number + at, event.bodies, db)


def create_session(
    sandbox: str, session: AnySession, change: Change, lives: int | None, db: sqlite3.Connection
) -> bool:
    """Write a new session and enter it as a child of its parent; `False` if its id is taken."""
    _clear_expired(db, sandbox, session.id)
    if find_session(sandbox, session.id, db):
        return False
    parent = find_session(sandbox, session.parent_id, db) if session.parent_id else None
    if parent is None and change.follows_at is not None:
        raise session_not_found(session.parent_id or "")  # nothing goes on from what was deleted
    if parent is not None and change.follows_at not in {None, parent.revision}:
        raise MovedError
    parent_fields = None if parent is None else parent.read_header()  # raises before any write if damaged
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
        "written": min(_moment(db, sandbox, NOW), _moment(db, sandbox, change.place or NOW)),
    }
    marks = ", ".join("?" * len(columns))
    insert = f"INSERT INTO sessions ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  (the names above)
    key = db.execute(insert, list(columns.values())).lastrowid
    assert key is not None  # noqa: S101  (an INSERT has one; tells mypy)
    _insert(db, sandbox, key, 0, change.events)
    if parent is not None and parent_fields is not None:
        _enter_child(db, parent, parent_fields, session.id)
        _renew(db, parent.conversation, lives)
    _adopt_children(db, sandbox, session.id, conversation)
    return True


def _new_conversation(db: sqlite3.Connection, parent: int | None, lives: int | None) -> int:
    expires = None if lives is None else now() + lives
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
    """Let children that were stored before their parent keep the parent alive too."""
    db.execute(
        "UPDATE conversations SET parent = ? WHERE parent IS NULL AND key != ? AND key IN"
        " (SELECT conversation FROM sessions WHERE sandbox = ? AND parent_id = ?)",
        (conversation, conversation, sandbox, session_id),
    )


def change_session(
    sandbox: str,
    session_id: str,
    change: Change,
    only_at: tuple[str, int],
    lives: int | None,
    db: sqlite3.Connection,
) -> bool:
    """Change a stored session; `False` if it is at another revision, or gone."""
    row = find_session(sandbox, session_id, db)
    if row is None or (row.born, row.revision) != only_at:
        return False
    fields = row.read_header() | change.fields
    count, rewritten = row.count, False
    written = None if change.place is None else _moment(db, sandbox, change.place)
    if change.keep is not None:
        rewritten = change.keep < row.count
        db.execute("DELETE FROM events WHERE session = ? AND number >= ?", (row.key, change.keep))
        _insert(db, sandbox, row.key, change.keep, change.events)
        count = change.keep + len(change.events)
    db.execute(
        "UPDATE sessions SET header = ?, counters = coalesce(?, counters), count = ?, parent_id = ?,"
        " user_id = ?, revision = revision + 1, rewrites = rewrites + ?,"
        " written = coalesce(max(?, CASE count WHEN 0 THEN 0 ELSE written END), written)"
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
    if "metadata" in change.fields:  # the user is the same for all segments of a conversation
        user_id = user_id_in(fields["metadata"])
        claim = "UPDATE sessions SET user_id = ? WHERE conversation = ? AND user_id IS NOT ?"
        db.execute(claim, (user_id, row.conversation, user_id))
    _renew(db, row.conversation, lives)
    return True


def delete_session(sandbox: str, session_id: str, db: sqlite3.Connection) -> None:
    """Delete a session, and its conversation if that was its last segment."""
    row = find_session(sandbox, session_id, db)
    if row is None:
        return
    db.execute("DELETE FROM events WHERE session = ?", (row.key,))
    db.execute("DELETE FROM sessions WHERE key = ?", (row.key,))
    if not db.execute("SELECT 1 FROM sessions WHERE conversation = ?", (row.conversation,)).fetchone():
        drop_conversation(db, row.conversation)


def delete_whole(sandbox: str, session_id: str, db: sqlite3.Connection) -> int:
    """Delete a session's whole conversation; return the number of its segments."""
    row = find_session(sandbox, session_id, db)
    return 0 if row is None else drop_conversation(db, row.conversation)


def drop_conversation(db: sqlite3.Connection, conversation: int) -> int:
    """Delete a conversation and its segments; its children become children of its parent."""
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
    """Let a conversation, and those that it is a child of, live at least so long from now."""
    if lives is not None:
        _live_until(db, conversation, now() + lives)


def _live_until(db: sqlite3.Connection, conversation: int | None, expires: int) -> None:
    seen = set()
    while conversation is not None and conversation not in seen:
        seen.add(conversation)
        renewed = db.execute(
            "UPDATE conversations SET expires = max(expires, ?) WHERE key = ? RETURNING parent",
            (expires, conversation),
        ).fetchone()
        conversation = renewed and renewed[0]


def extend_life(sandbox: str, session_id: str, more: int, db: sqlite3.Connection) -> bool:
    """Let a session's conversation live so many microseconds longer; `False` if it does not exist."""
    row = find_session(sandbox, session_id, db)
    if row is not None and row.expires is not None:
        _live_until(db, row.conversation, row.expires + more)
    return row is not None


def _clear_expired(db: sqlite3.Connection, sandbox: str, session_id: str) -> None:
    """Remove expired data: the session with this id, if it has expired, and a few others."""
    expired = db.execute(
        "SELECT c.key FROM conversations c JOIN sessions s ON s.conversation = c.key"
        " WHERE s.sandbox = ? AND s.id = ? AND c.expires <= ?",
        (sandbox, session_id, now()),
    ).fetchall()
    expired += db.execute(
        "SELECT key FROM conversations WHERE expires <= ? ORDER BY expires LIMIT ?",
        (now(), _EXPIRED_AT_ONCE),
    ).fetchall()
    for (conversation,) in set(expired):
        drop_conversation(db, conversation)


def list_rows(filters: dict[str, Any], limit: int | None, db: sqlite3.Connection) -> list[tuple[int, str]]:
    """The places in lists and ids of sessions, newest first: one more than `limit`, if there is one."""
    values: list[Any] = []
    for value in filters.values():
        values += value if isinstance(value, tuple) else (value,)
    query = (
        "SELECT s.written, s.id FROM sessions s JOIN conversations c ON c.key = s.conversation"  # noqa: S608
        f" WHERE {' AND '.join(filters)} ORDER BY s.written DESC, s.id DESC LIMIT ?"
    )
    return db.execute(query, [*values, -1 if limit is None else limit + 1]).fetchall()
