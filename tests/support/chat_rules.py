"""What providers demand of chat messages."""

from __future__ import annotations

import json
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


def refused_by_openai(rows: list[dict[str, Any]]) -> str | None:
    """Why OpenAI's API, or a strict template behind its format, would refuse rows; `None` if it would not."""
    if any(row["role"] in {"system", "developer"} for row in rows[1:]):
        return "a system message that is not the first"
    if not is_valid(rows):
        return "a call without its result, or a result without its call"
    return next(filter(None, map(_refused_row, rows)), None)


def _refused_row(row: dict[str, Any]) -> str | None:
    calls = row.get("tool_calls")
    if calls is not None and not calls:
        return "an empty list of calls"
    if not all(_is_object(call["function"]["arguments"]) for call in calls or []):
        return "arguments that are no JSON object"
    if row["role"] == "assistant" and not calls and not str(row.get("content") or "").strip():
        return "an assistant message without words and calls"
    return None


def refused_by_anthropic(request: dict[str, Any]) -> str | None:
    """Why Anthropic's API would refuse a request; `None` if it would not."""
    messages = request["messages"]
    roles = [row["role"] for row in messages]
    if roles[::2] != ["user"] * len(roles[::2]) or roles[1::2] != ["assistant"] * len(roles[1::2]):
        return "roles that do not alternate, or that do not begin with the user"
    blocks = [_blocks(row) for row in messages]
    if not all(blocks):
        return "an empty message"
    asked = [block["id"] for row in blocks for block in row if block["type"] == "tool_use"]
    if len(set(asked)) < len(asked):
        return "an id of two calls"
    for row, following in zip(blocks, [*blocks[1:], []], strict=True):
        if reason := _refused_turn(row, following):
            return reason
    marks = sum("cache_control" in block for row in blocks for block in row)
    return "more than four cache marks" if marks > 4 else None


def _refused_turn(row: list[dict[str, Any]], following: list[dict[str, Any]]) -> str | None:
    calls = [block for block in row if block["type"] == "tool_use"]
    results = [block["tool_use_id"] for block in following if block["type"] == "tool_result"]
    if sorted(call["id"] for call in calls) != sorted(results):
        return "calls and results that are not each other's"
    if not all(isinstance(call["input"], dict) for call in calls):
        return "arguments that are no object"
    is_blank = any(block["type"] == "text" and not block["text"].strip() for block in row)
    return "a blank text" if is_blank else None


def _blocks(row: dict[str, Any]) -> list[dict[str, Any]]:
    content = row["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _is_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except ValueError:
        return False
