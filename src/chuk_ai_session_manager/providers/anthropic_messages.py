"""OpenAI's chat messages in the form that Anthropic's Messages API takes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from zlib import crc32

from .earlier import with_name_in_text
from .messages import (
    INTERRUPTED,
    SYSTEM_ROLES,
    ChatMessage,
    calls_of,
    check_chat_messages,
    function_of,
    text_of,
)
from .sendable import arguments_object, says_nothing, with_newest_marks

_OWN_BLOCKS = {"document", "image", "search_result", "text"}
_CONTINUED = "[The conversation goes on from here.]"
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
_DATA_URL = re.compile(r"data:(?P<media_type>[\w.+/-]+);base64,(?P<data>.*)", re.DOTALL)

Block = dict[str, Any]


def for_anthropic(messages: Sequence[ChatMessage]) -> dict[str, Any]:
    """Chat messages as the arguments `messages` and `system` of Anthropic's `messages.create`.

    Takes what `get_messages_for_llm(include_tools=True)` gives, or any list in OpenAI's format whose
    calls are each followed by their results. All system messages go into `system`, which is left out
    where there are none; messages that follow each other in one role become one, as the API itself
    would do; blank texts, which it refuses, are left out, and so are all but the four newest cache marks.
    An id that calls of several turns have in common is made one of its own for each.

    Raises:
        InvalidInput: a message that is no chat message; it says which.
    """
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    ids = _CallIds()
    for row in check_chat_messages(messages, "make messages for Anthropic"):
        if row["role"] in SYSTEM_ROLES:
            system.append(text_of(row))
            continue
        if says_nothing(row):
            continue
        role = "assistant" if row["role"] == "assistant" else "user"
        blocks = _blocks_of(with_name_in_text(row), ids)
        if blocks and turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [_text(_CONTINUED)]})
    finished = [_finished(turn, is_last=turn is turns[-1]) for turn in turns]
    request: dict[str, Any] = {"messages": with_newest_marks(finished)}
    return request | ({"system": "\n\n".join(system)} if any(map(str.strip, system)) else {})


def _finished(turn: dict[str, Any], *, is_last: bool) -> dict[str, Any]:
    """A turn with its results in front, as the API wants them; a single text as just that."""
    blocks = sorted(turn["content"], key=lambda block: block["type"] != "tool_result")
    if is_last and turn["role"] == "assistant" and blocks[-1]["type"] == "text":
        blocks[-1] = blocks[-1] | {"text": blocks[-1]["text"].rstrip()}  # the API refuses it otherwise
    is_plain = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
    return turn | {"content": blocks[0]["text"] if is_plain else blocks}


class _CallIds:
    """The ids of calls as the API takes them: no two calls of a request may have the same one."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._answered: dict[str, list[str]] = {}

    def of_calls(self, call_ids: Sequence[str]) -> list[str]:
        """The ids of a message's calls; its results come next."""
        self._answered = {}
        return [self._of_call(call_id) for call_id in call_ids]

    def _of_call(self, call_id: str) -> str:
        unique = clean = _id(call_id)
        number = 1
        while unique in self._used:
            number += 1
            unique = f"{clean}_{number}"
        self._used.add(unique)
        self._answered.setdefault(call_id, []).append(unique)
        return unique

    def of_result(self, call_id: str) -> str:
        """The id of the call that a result belongs to."""
        waiting = self._answered.get(call_id)
        return waiting.pop(0) if waiting else _id(call_id)


def _blocks_of(row: ChatMessage, ids: _CallIds) -> list[Block]:
    content = row.get("content")
    if row["role"] == "tool":
        return [_result(row, content, ids)]
    parts = content if isinstance(content, list) else [_text(content or "")]
    blocks = [block for part in parts if (block := _block_of(part))]
    asked = calls_of(row)
    call_ids = ids.of_calls([call["id"] for call in asked])
    calls = [
        {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        for call, call_id in zip(asked, call_ids, strict=True)
        for name, arguments in [_named(call)]
    ]
    return [*row.get("thinking_blocks", []), *blocks, *calls]


def _named(call: ChatMessage) -> tuple[str, Block]:
    function = function_of(call)
    if "arguments" not in function and isinstance(function.get("input"), str):
        return function["name"], {"arguments": function["input"]}  # of a custom tool of OpenAI's: any text
    return function["name"], arguments_object(function.get("arguments", function.get("input")))


def _result(row: ChatMessage, content: Any, ids: _CallIds) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": ids.of_result(row["tool_call_id"])}
    if isinstance(content, list):
        content = [part for each in content if (part := _block_of(each))]
    if content:
        block["content"] = content
    return block | ({"is_error": True} if _is_error(content) else {})


def _is_error(content: Any) -> bool:
    """Whether a result says that its call failed, as results of this library's tool calls say it."""
    if content == INTERRUPTED:
        return True
    if not isinstance(content, str) or not content.startswith('{"error"'):
        return False
    try:
        outcome = json.loads(content)
    except ValueError:
        return False
    return outcome["error"] is not None and outcome.keys() <= {"error", "result"}


def _block_of(part: Any) -> Block | None:
    """A part of a message's content as a block, or nothing where it is blank."""
    if not isinstance(part, dict):
        part = _text(str(part))
    kind = part.get("type")
    if kind in {"text", "refusal"}:
        text = part.get(kind)
        block = part if kind == "text" else _text(text)
        return block if isinstance(text, str) and text.strip() else None
    if kind == "image_url":
        return _image(part.get("image_url"))
    return part if kind in _OWN_BLOCKS else _text(f"[{kind}: a part that cannot be sent here]")


def _image(image: Any) -> Block:
    url = str(image.get("url") if isinstance(image, dict) else image)
    data = _DATA_URL.fullmatch(url)
    source = {"type": "base64", **data.groupdict()} if data else {"type": "url", "url": url}
    return {"type": "image", "source": source}


def _text(text: Any) -> Block:
    return {"type": "text", "text": text}


def _id(call_id: str) -> str:
    """A call's id with the characters that the API takes; no two become one."""
    clean = _NOT_IN_AN_ID.sub("_", call_id)
    return clean if clean == call_id and clean else f"{clean}_{crc32(call_id.encode()):08x}"
