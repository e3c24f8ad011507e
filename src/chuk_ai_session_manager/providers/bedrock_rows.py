"""Reads messages in the form of Amazon Bedrock's Converse API as chat messages.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ContentBlock.html names the blocks: each
is an object with a single field, which says what the block is.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from ..exceptions.validation import json_misfit
from .answers import native_of
from .bedrock import FORMAT, of_message
from .common import dumped, field_of, list_of, text_in
from .messages import NATIVE, ChatMessage

_BLOCKS = {
    "audio", "cachePoint", "citationsContent", "document", "guardContent", "image", "json",
    "reasoningContent", "searchResult", "text", "toolResult", "toolUse", "video",
}  # fmt: skip
# The formats whose media types have other names; the others are "image/png", "video/mp4" and so on.
_TYPES = {
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": "text/html",
    "md": "text/markdown",
    "mkv": "video/x-matroska",
    "mov": "video/quicktime",
    "pdf": "application/pdf",
    "three_gp": "video/3gpp",
    "txt": "text/plain",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def without_bedrock(rows: Any) -> Any:
    """Messages of which those in Bedrock's form are chat messages; all other values as they are.

    An answer is kept in its own form too, so that it goes back unchanged. Results of tools become
    Anthropic's blocks, which are taken apart later. Marks for the cache are left out.
    """
    if not isinstance(rows, list | tuple):
        return rows
    return [_chat_row(row) if _is_bedrock(row) else row for row in rows]


def _is_bedrock(row: Any) -> bool:
    content = row.get("content") if isinstance(row, Mapping) else None
    return isinstance(content, list | tuple) and bool(content) and all(map(_is_block, content))


def _is_block(block: Any) -> bool:
    return isinstance(block, Mapping) and len(block) == 1 and not _BLOCKS.isdisjoint(block)


def _chat_row(row: Mapping[str, Any]) -> ChatMessage:
    said: ChatMessage = _with_base64(row)
    if json_misfit(said) is not None:
        return said  # which is refused
    if said.get("role") == "assistant":
        answer = of_message(said)
        message: ChatMessage = {"role": "assistant", "content": answer.text or None}
        calls = {"tool_calls": answer.tool_calls} if answer.tool_calls else {}
        return message | calls | {NATIVE: native_of(FORMAT, said)}
    return said | {"content": _parts(said["content"])}


def _with_base64(value: Any) -> Any:
    """A message with its bytes in base64; arguments of calls, and results that are JSON, as they are."""
    if isinstance(value, bytes | bytearray):
        return b64encode(value).decode()
    if isinstance(value, Mapping):
        return {
            name: item if name in {"input", "json"} else _with_base64(item) for name, item in value.items()
        }
    return [_with_base64(item) for item in value] if isinstance(value, list | tuple) else value


def _parts(blocks: Any) -> list[ChatMessage]:
    return [_part(block) for block in list_of(blocks) if "cachePoint" not in block]


def _part(block: ChatMessage) -> ChatMessage:
    ((kind, value),) = block.items()
    if kind in {"image", "audio", "video", "document"}:
        return _media(kind, value)
    if kind == "toolResult":
        return _result(value)
    text = field_of(field_of(value, "text"), "text") if kind == "guardContent" else value
    # A result's JSON, and a block that has no other form, are written as JSON.
    return _text(text if isinstance(text, str) else dumped(block if kind != "json" else value))


def _result(result: Any) -> ChatMessage:
    parts = _parts(field_of(result, "content"))
    content = parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
    failed = {"is_error": True} if field_of(result, "status") == "error" else {}
    return {"type": "tool_result", "tool_use_id": field_of(result, "toolUseId"), "content": content, **failed}


def _media(kind: str, value: Any) -> ChatMessage:
    form, source = text_in(field_of(value, "format")), field_of(value, "source")
    media_type = _TYPES.get(form, f"{kind}/{form}")
    written = field_of(source, "text", "content")
    if kind == "document" and written is not None:
        written = written if isinstance(written, str) else "\n".join(p["text"] for p in _parts(written))
        media_type, data = "text/plain", b64encode(written.encode()).decode()
    else:
        data = text_in(field_of(source, "bytes"))
    linked = text_in(field_of(field_of(source, "s3Location"), "uri"))
    url = f"data:{media_type};base64,{data}" if data else linked
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    name = text_in(field_of(value, "name")) or kind
    place = {"file_data": url} if data else {"file_url": url}
    return {"type": "file", "file": {"filename": f"{name}.{form}" if form else name, **place}}


def _text(text: str) -> ChatMessage:
    return {"type": "text", "text": text}
