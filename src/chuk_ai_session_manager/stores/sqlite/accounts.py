"""Small JSON objects beside the sessions of a SQLite file: the accounts of what users spend."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from ..stored_data import account_in

# Created when it is first needed: a file without budgets is unchanged, and an older release opens either.
_TABLE = """
CREATE TABLE IF NOT EXISTS accounts (
    sandbox TEXT NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,         -- JSON
    expires INTEGER,            -- microseconds since 1970; NULL: never
    PRIMARY KEY (sandbox, name)
) WITHOUT ROWID
"""


def change_account(
    sandbox: str,
    name: str,
    change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
    lives: int | None,
    db: sqlite3.Connection,
) -> None:
    """Change an account, within a transaction; `lives` is in microseconds."""
    db.execute(_TABLE)
    now = time.time_ns() // 1_000
    db.execute("DELETE FROM accounts WHERE expires <= ?", (now,))
    row = db.execute("SELECT body FROM accounts WHERE sandbox = ? AND name = ?", (sandbox, name)).fetchone()
    changed = change(None if row is None else account_in(row[0]))
    if changed is not None:
        db.execute(
            "INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?)",
            (sandbox, name, json.dumps(changed), None if lives is None else now + lives),
        )
