"""What a request asks of a model: its arguments, as an SDK's client is called, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .common import texts_in
from .messages import INTERRUPTED, SYSTEM_ROLES, ChatMessage


def asked_rows(arguments: Mapping[str, Any]) -> list[ChatMessage]:
    """What a request says after the model's last answer, as rows; a system prompt goes first."""
    system = arguments.get("system") or arguments.get("instructions")
    given = arguments.get("messages", arguments.get("input")) or []
    rows = [row for item in ([given] if isinstance(given, str) else given) for row in _rows_of(item)]
    while rows and rows[-1]["role"] == "assistant":  # the beginning of the answer, given to the model
        rows.pop()
    answers = [at for at, row in enumerate(rows) if row["role"] == "assistant"]
    prompt = [row for row in rows[:1] if row["role"] in SYSTEM_ROLES]
    start = answers[-1] + 1 if answers else len(prompt)
    if system:
        prompt = [{"role": "system", "content": "\n".join(texts_in(system))}]
    return [*prompt, *(row for row in rows[start:] if row.get("content") != INTERRUPTED)]


def _rows_of(item: Any) -> list[ChatMessage]:
    """One item of a request as rows in OpenAI's form; an answer, or a part of one, as an empty answer."""
    if isinstance(item, str):
        return [{"role": "user", "content": item}]
    row = item if isinstance(item, Mapping) else item.model_dump(exclude_none=True)
    kind, role, content = str(row.get("type")), row.get("role"), row.get("content")
    if kind.endswith("_output") and row.get("call_id"):
        return [_result(row["call_id"], row.get("output"))]
    if role == "tool":
        return [dict(row)]
    if role not in {"user", *SYSTEM_ROLES}:
        return [{"role": "assistant", "content": ""}]
    if isinstance(content, list | tuple):
        return _rows_of_blocks(role, content)
    return [{"role": role, "content": content if isinstance(content, str) else ""}]


def _rows_of_blocks(role: str, content: Sequence[Any]) -> list[ChatMessage]:
    """A content of several blocks as rows: tools' results, and what is said beside them."""
    blocks = [
        block if isinstance(block, Mapping) else {"type": "text", "text": str(block)} for block in content
    ]
    results = [block for block in blocks if block.get("type") == "tool_result"]
    rows = [_result(each.get("tool_use_id"), each.get("content")) for each in results]
    parts = [_part(block) for block in blocks if block.get("type") != "tool_result"]
    if all(part.keys() == {"type", "text"} for part in parts):  # as of turns that were made one
        return [*rows, *({"role": role, "content": part["text"]} for part in parts)]
    return [*rows, {"role": role, "content": parts}] if parts else rows


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a content in OpenAI's form for chats."""
    match block.get("type"):
        case "text" | "input_text" | "output_text":
            return {"type": "text", "text": str(block.get("text"))}
        case "input_image":
            return {"type": "image_url", "image_url": {"url": str(block.get("image_url"))}}
        case "image":
            source = block.get("source") or {}
            data = f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "image_url", "image_url": {"url": source.get("url") or data}}
        case _:
            return dict(block)


def _result(call_id: object, output: Any) -> ChatMessage:
    return {"role": "tool", "tool_call_id": str(call_id), "content": "\n".join(texts_in(output))}
