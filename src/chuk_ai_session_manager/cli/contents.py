"""The content of events as text, for the terminal and for reports."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ..conversation.recall.shown import shown_in
from ..conversation.summaries import summary_text
from ..models import EventSource, EventType
from ..models.choice import Choice, choice_in
from ..models.session_event import content_of
from ..providers.messages import calls_of
from ..providers.parts import describe, media_parts, part_of, shown_content
from ..stores.base import AnyEvent

_SPEAKERS = {EventSource.USER: "user", EventSource.LLM: "assistant", EventSource.SYSTEM: "system"}
# Parts of a message's content that are shown as tool calls.
_CALL_BLOCKS = {"tool_use"}


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call, or its result."""

    name: str
    arguments: str | None = None
    """As JSON; `None` if they are not known, or were shown with the call."""
    call_id: str | None = None
    result: str | None = None
    failed: bool = False
    seconds: float | None = None


def kind_of(event: AnyEvent) -> str:
    """The role of a message, or the kind of another event."""
    if event.type == EventType.MESSAGE:
        return _SPEAKERS[EventSource(event.source)]
    if choice_in(event) is not None:
        return "choice"
    if shown_in(event) is not None:
        return "recalled"
    return "tool" if event.type == EventType.TOOL_CALL else EventType(event.type).value


def text_in(event: AnyEvent) -> str:
    """The text of an event, without its tool calls."""
    if event.type == EventType.TOOL_CALL:
        return ""
    if event.type == EventType.SUMMARY:
        return summary_text(event.message)
    choice = choice_in(event)
    if choice is not None:
        return _told_of(choice)
    shown = shown_in(event)
    if shown is not None:
        return f"{len(shown.excerpts)} earlier turns were shown beside the question {shown.question_id}"
    content = content_of(event.message)
    if isinstance(content, list):
        return "\n".join(filter(None, map(_part_text, content)))
    return "" if content is None else content if isinstance(content, str) else pretty(content)


def _told_of(choice: Choice) -> str:
    """A choice in words."""
    said = []
    if choice.moves:
        said.append(f"goes on after {choice.after}" if choice.after else "goes on from the beginning")
    said += [f"leaves out {each}" for each in choice.retracted]
    said += [f"takes in again {each}" for each in choice.restored]
    return ", ".join(said) or "came late: what it belongs to is off the path"


def _part_text(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    if part.get("type") in _CALL_BLOCKS:
        return ""
    read = part_of(part)
    return read.text if read.kind == "text" else describe(read)


def calls_in(event: AnyEvent) -> list[ToolUse]:
    """The tool calls in a message."""
    found = []
    for call in calls_of(event.message) if event.type == EventType.MESSAGE else []:
        function = call.get("function") or call.get(str(call.get("type"))) or {}
        arguments = function.get("arguments", function.get("input"))
        found.append(ToolUse(str(function.get("name")), pretty(_decoded(arguments)), call.get("id")))
    return found


def outcome_in(event: AnyEvent, asked: Collection[str | None]) -> ToolUse | None:
    """The result of a tool call, if the event is one; `asked` are the ids of the calls that were shown."""
    if event.type != EventType.TOOL_CALL:
        return None
    message = event.message if isinstance(event.message, dict) else {"result": event.message}
    call_id, seconds = event.metadata.get("tool_call_id"), event.metadata.get("duration")
    error, arguments = message.get("error"), None if call_id in asked else message.get("arguments")
    return ToolUse(
        str(message.get("tool", "unknown")),
        None if arguments is None else pretty(arguments),
        call_id,
        _shown_result(message.get("result") if error is None else error),
        failed=error is not None or message.get("success") is False,
        seconds=seconds if isinstance(seconds, int | float) else None,
    )


def _shown_result(result: Any) -> str:
    """A tool's result; parts that are not text are named."""
    parts = media_parts(result)
    if parts is not None:
        return shown_content(parts)
    if isinstance(result, list) and result and all(map(_is_text, result)):
        return shown_content(result)
    return pretty(_decoded(result))


def _is_text(value: Any) -> bool:
    return isinstance(value, dict) and part_of(value).kind == "text"


def pretty(value: Any) -> str:
    """A value for people: a text as it is, anything else as indented JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def _decoded(text: Any) -> Any:
    """The JSON object or list in a text; otherwise the text."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict | list) or not isinstance(text, str) else text
