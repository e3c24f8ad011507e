"""What is written: messages of conversations, made up or real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

USER_LENGTH, ASSISTANT_LENGTH = 170, 300  # characters
MODEL, PROVIDER = "gpt-4o-mini", "openai"

_WORDS = "Where is my parcel? It was sent on Monday, and the page says that nobody was at home. "
_numbers = count()


class Message(NamedTuple):
    """A user's question, an assistant's answer, or what a tool answered to a call."""

    role: str
    text: str
    tool: str = ""
    arguments: Any = None


def text(length: int) -> str:
    """A text that no other is equal to."""
    return (f"{next(_numbers)} " + _WORDS * (length // len(_WORDS) + 1))[:length]


def messages(number: int) -> list[Message]:
    """Questions and answers alternately, every text different."""
    return list(islice(_alternating(), number))


def _alternating() -> Iterator[Message]:
    while True:
        yield Message("user", text(USER_LENGTH))
        yield Message("assistant", text(ASSISTANT_LENGTH))


def conversations(path: Path) -> list[list[Message]]:
    """Those of a file with one JSON a line, with OpenAI `messages`; without system prompts."""
    lines = path.read_text("utf-8").splitlines()
    return [list(_said(json.loads(line)["messages"])) for line in lines]


def _said(rows: list[dict[str, Any]]) -> Iterator[Message]:
    calls: dict[str, Any] = {}
    for row in rows:
        calls |= {call["id"]: call["function"] for call in row.get("tool_calls") or []}
        if row["role"] == "tool":
            call = calls[row["tool_call_id"]]
            yield Message("tool", row["content"], call["name"], json.loads(call["arguments"]))
        elif row["role"] in {"user", "assistant"} and row.get("content"):
            yield Message(row["role"], row["content"])
