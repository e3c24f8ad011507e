"""Contexts taken apart: what the first user's row tells of the conversation before it."""

from __future__ import annotations

from collections.abc import Sequence
from html import unescape
from typing import Any

from chuk_ai_session_manager.providers.earlier import CLOSING, OPENING


def apart(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the summary in a row of its own, whose role is "earlier", before the one that it stood in."""
    found: list[dict[str, Any]] = []
    for row in rows:
        content = row["content"]
        if row["role"] != "user" or not isinstance(content, str) or not content.startswith(OPENING):
            found.append(row)
            continue
        summary, closing, rest = content.removeprefix(OPENING).partition(CLOSING)
        assert closing
        found.append({"role": "earlier", "content": unescape(summary)})
        if rest:
            found.append(row | {"content": rest.removeprefix("\n\n")})
    assert sum(row["role"] == "earlier" for row in found) <= 1
    return found


def summary_in(rows: Sequence[dict[str, Any]]) -> str | None:
    """The summary that a context tells, if there is one."""
    return next((str(row["content"]) for row in apart(rows) if row["role"] == "earlier"), None)
