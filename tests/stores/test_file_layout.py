"""New files have the columns and unique keys of the first release's, so that every release uses both."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from schemas import sqlite_file

from chuk_ai_session_manager import Session
from chuk_ai_session_manager.stores import SqliteStore

Columns = list[tuple[str, str, int]]


def layout(path: Path) -> tuple[int, dict[str, Columns], dict[str, set[tuple[str, ...]]]]:
    """A file's version; the name, type and NOT NULL of each table's columns; and its unique keys."""
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {
            table: db.execute('SELECT name, type, "notnull" FROM pragma_table_info(?)', (table,)).fetchall()
            for table in tables
        }
        keys: dict[str, set[tuple[str, ...]]] = {}
        for table in tables:
            unique = db.execute('SELECT name FROM pragma_index_list(?) WHERE "unique"', (table,)).fetchall()
            keys[table] = {
                tuple(name for (name,) in db.execute("SELECT name FROM pragma_index_info(?)", index))
                for index in unique
            }
        return db.execute("PRAGMA user_version").fetchone()[0], columns, keys


async def test_a_new_file_has_the_columns_and_keys_of_the_first_release(tmp_path: Path) -> None:
    earlier, new = tmp_path / "earlier.db", tmp_path / "new.db"
    sqlite_file("release_1_0_0", earlier)
    async with SqliteStore(new) as store:
        await Session.create(store=store)
    assert layout(new) == layout(earlier)
    assert layout(new)[2]["events"] == {("session", "number"), ("session", "id")}
