"""Bodies in a SQLite file: kept once for each sandbox, and deleted with the last event that refers to them.

One transaction writes an event, its references and the new bodies. Triggers delete the references of a
deleted event, and a body with its last reference, so this holds for every way of deleting.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

from ..stored_data import BODIES_SCHEMA

# The tables are made with the first body: earlier releases can open a file without bodies.
_TABLES = (
    """
CREATE TABLE bodies (
    key INTEGER PRIMARY KEY,
    sandbox TEXT NOT NULL,
    hash TEXT NOT NULL,         -- SHA-256
    data BLOB NOT NULL,
    UNIQUE (sandbox, hash)
)
""",
    """
CREATE TABLE body_uses (
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,    -- the event's
    body INTEGER NOT NULL,
    PRIMARY KEY (session, number, body)
) WITHOUT ROWID
""",
    "CREATE INDEX body_uses_of_body ON body_uses (body)",
    """
CREATE TRIGGER event_without_bodies AFTER DELETE ON events BEGIN
    DELETE FROM body_uses WHERE session = OLD.session AND number = OLD.number;
END
""",
    """
CREATE TRIGGER body_without_events AFTER DELETE ON body_uses
WHEN NOT EXISTS (SELECT 1 FROM body_uses WHERE body = OLD.body) BEGIN
    DELETE FROM bodies WHERE key = OLD.body;
END
""",
)
_AT_ONCE = 500


def keep_bodies(
    sandbox: str, session: int, number: int, bodies: Mapping[str, bytes], db: sqlite3.Connection
) -> None:
    """Store the references of an event, and the bodies that are new."""
    if not _has_tables(db):
        for statement in _TABLES:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {BODIES_SCHEMA}")
    for name, data in bodies.items():
        find = "SELECT key FROM bodies WHERE sandbox = ? AND hash = ?"
        row = db.execute(find, (sandbox, name)).fetchone()
        if row is None:
            insert = "INSERT INTO bodies (sandbox, hash, data) VALUES (?, ?, ?) RETURNING key"
            row = db.execute(insert, (sandbox, name, data)).fetchone()
        db.execute("INSERT OR IGNORE INTO body_uses VALUES (?, ?, ?)", (session, number, row[0]))


def fetch_bodies(sandbox: str, hashes: Collection[str], db: sqlite3.Connection) -> dict[str, bytes]:
    """The bodies with these hashes, as far as they exist."""
    found: dict[str, bytes] = {}
    names = list(hashes)
    if not names or not _has_tables(db):
        return found
    for at in range(0, len(names), _AT_ONCE):
        part = names[at : at + _AT_ONCE]
        marks = ", ".join("?" * len(part))
        query = f"SELECT hash, data FROM bodies WHERE sandbox = ? AND hash IN ({marks})"  # noqa: S608
        found |= dict(db.execute(query, (sandbox, *part)))
    return found


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'bodies'").fetchone() is not None
