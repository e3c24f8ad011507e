"""Repairs of messages that providers would refuse. Stored events do not change; only requests do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .common import texts_in

ChatMessage = dict[str, Any]

CACHE_MARKS = ("cache_control", "prompt_cache_breakpoint")
"""The fields with which Anthropic and OpenAI mark the end of what their caches keep."""
MOST_CACHE_MARKS = 4
"""Anthropic refuses a request with more blocks that have `cache_control`.

https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
"""


def is_nothing(arguments: object) -> bool:
    """Whether arguments mean "none": models call tools without parameters in several ways."""
    return arguments is None or arguments in ([], "")


def arguments_object(arguments: object) -> dict[str, Any]:
    """The arguments of a tool call as the JSON object that providers require.

    Missing arguments become `{}`, in whichever form (nothing, blank text, `null`, an empty list). Text that
    was cut off is useless, and becomes `{}` too; a value that is not an object is put into one, as
    `arguments`.
    """
    value = arguments
    if isinstance(arguments, str):
        if not arguments.strip():
            return {}
        try:
            value = unwrapped(json.loads(arguments, parse_constant=_no_json))
        except (ValueError, RecursionError):
            return {}
    if is_nothing(value):
        return {}
    return dict(value) if isinstance(value, Mapping) else {"arguments": value}


def unwrapped(value: Any) -> Any:
    """The object in a text that is an object's JSON; any other value as it is.

    Some servers encode arguments twice, as vLLM's parsers did
    (https://github.com/vllm-project/vllm/pull/54964).
    """
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        inner = json.loads(value, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return value
    return inner if isinstance(inner, dict) else value


def _no_json(name: str) -> object:
    raise ValueError(name)  # `NaN` and `Infinity`, which Python reads although they are not JSON


def arguments_text(arguments: object) -> str:
    """The same as text, for OpenAI's format; a text that is an object already is not changed."""
    as_object = arguments_object(arguments)
    text = arguments if isinstance(arguments, str) else ""
    is_object = text.lstrip().startswith("{") and (as_object or not text.strip("{} \t\r\n"))
    if is_object and "}" in text:
        return text
    return json.dumps(as_object, ensure_ascii=False, default=str)


def with_whole_calls(row: ChatMessage, call_id: str) -> ChatMessage:
    """An assistant's message whose calls all have an id, and arguments that are an object.

    Args:
        row: the message in OpenAI's form, which is changed.
        call_id: the beginning of the ids for calls that were stored without one.
    """
    calls = row.get("tool_calls")
    if isinstance(calls, list):
        calls = [call for call in calls if isinstance(call, dict)]
        row["tool_calls"] = [_whole(call, f"{call_id}_{at}") for at, call in enumerate(calls)]
    if not row.get("tool_calls"):
        row.pop("tool_calls", None)  # OpenAI refuses an empty list
    legacy = row.get("function_call")
    if isinstance(legacy, dict):
        legacy["arguments"] = arguments_text(legacy.get("arguments"))
    return row


def with_custom_calls(row: ChatMessage, native: Any) -> ChatMessage:
    """A message in which calls of OpenAI's custom tools are marked as such: their input may be any text."""
    message = native.get("message") if isinstance(native, dict) else None
    items = message.get("tool_calls") if isinstance(message, dict) else message
    custom = {
        item.get("call_id") or item.get("id")
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict) and item.get("type") in {"custom", "custom_tool_call"}
    }
    if not custom:
        return row
    for call in row.get("tool_calls") or []:
        if call.get("id") in custom and call.get("type") == "function":
            function = call.pop("function")
            call |= {"type": "custom", "custom": {"name": function["name"], "input": function["arguments"]}}
    return row


def _whole(call: ChatMessage, call_id: str) -> ChatMessage:
    if not isinstance(call.get("id"), str) or not call["id"]:
        call["id"] = call_id
    function = call.get("function")
    if isinstance(function, dict):
        function["arguments"] = arguments_text(function.get("arguments"))
    return call


def says_nothing(row: ChatMessage) -> bool:
    """Whether an assistant's message has neither text nor calls: it is stored and billed, but not sent."""
    if row.get("role") != "assistant":
        return False
    if any(row.get(name) for name in ("tool_calls", "function_call", "refusal", "audio")):
        return False
    return is_blank(row.get("content"))


def is_blank(content: object) -> bool:
    """Whether a content has no text, and no part of another kind."""
    if content is None or isinstance(content, str):
        return not (content or "").strip()
    if not isinstance(content, list):
        return False
    kinds = {part.get("type") if isinstance(part, dict) else "text" for part in content}
    is_text = kinds <= {"text", "output_text", "thinking", "redacted_thinking"}
    return is_text and not any(map(str.strip, texts_in(content)))


def with_newest_marks(rows: list[ChatMessage]) -> list[ChatMessage]:
    """Messages of which at most the newest four have a cache mark (`cache_control`).

    A provider's cache contains everything before a mark, so later marks include what earlier ones do.

    Args:
        rows: chat messages, or Anthropic's; they are changed.
    """
    marked = [part for row in rows for part in _marked(row)]
    for part in marked[: max(0, len(marked) - MOST_CACHE_MARKS)]:
        del part["cache_control"]
    return rows


def _marked(part: ChatMessage) -> Iterator[ChatMessage]:
    """The objects that have a mark in a message, or in a part of one, in the order in which they are sent."""
    content = part.get("content")
    inner: Sequence[object] = content if isinstance(content, list) else ()
    for each in inner:
        if isinstance(each, dict):
            yield from _marked(each)
    if "cache_control" in part:
        yield part
