"""What providers demand of chat messages."""

from __future__ import annotations

from typing import Any


def is_valid(rows: list[dict[str, Any]]) -> bool:
    """Whether a provider accepts the order: each call is answered at once, nothing else is."""
    waiting: list[str] = []
    for row in rows:
        if row["role"] == "tool":
            if row["tool_call_id"] not in waiting or not isinstance(row["content"], str | list):
                return False
            waiting.remove(row["tool_call_id"])
        elif waiting:
            return False
        else:
            waiting = [one["id"] for one in row.get("tool_calls") or []]
    return not waiting
