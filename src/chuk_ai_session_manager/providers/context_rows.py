"""The messages of a context, each with its origin, which the providers' own formats need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..models import SessionEvent
from . import anthropic, langchain
from .messages import (
    ChatMessage,
    calls_of,
    full_messages,
    function_of,
    is_anthropic,
    plain_messages,
    turns_of,
)
from .parts import shown_content
from .sendable import arguments_object, says_nothing, with_newest_marks

ORIGIN = "chuk:origin"
"""The key under which a message has its `Origin` while a context is made. No format contains it."""


@dataclass(slots=True)  # not frozen: there is one for each message, and freezing makes it three times as slow
class Origin:
    """The origin of a message: what its provider's own format needs beyond the common form."""

    event_id: str
    native_format: str = ""
    """The format of `native`; empty if there is none."""
    native: Any = field(default=None, repr=False)
    """The provider's own message, or the item of a result."""
    provider: str = "unknown"
    model: str = "unknown"
    finish_reason: str | None = None
    tool: str = "unknown"
    """For a result: the tool."""
    context: str | None = None
    """For an answer: the fingerprint of the context that the model was given."""
    response: Any = field(default=None, repr=False)
    """Everything else in the response: its id, and the state that its server holds."""


def context_rows(events: Sequence[SessionEvent[Any]], *, include_system: bool = True) -> list[ChatMessage]:
    """Messages for a model's next call, each with its `Origin`; results are in the order of their calls."""
    rows = []
    for turn in turns_of(events, include_system=include_system):
        if says_nothing(turn.row) and not turn.event.native:
            continue
        rows.append(turn.row | {ORIGIN: _origin(turn.event)})
        for result in sorted(turn.results, key=lambda result: result.call):
            origin = {} if result.event is None else {ORIGIN: _origin(result.event)}
            rows.append(result.row | origin)
    return with_newest_marks(rows)


def said_rows(events: Sequence[SessionEvent[Any]]) -> list[ChatMessage]:
    """The messages of user and model, for a chat without tools; a spoken answer has its `Origin`."""
    rows = [
        row | ({ORIGIN: _origin(event)} if _is_spoken(event) else {})
        for event in events
        for row in plain_messages([event])
    ]
    return with_newest_marks(rows)


def rows_naming_questions(
    events: Sequence[SessionEvent[Any]], rows_of: Callable[[Sequence[SessionEvent[Any]]], list[ChatMessage]]
) -> list[ChatMessage]:
    """The rows of events, each event by itself; a user's row says by its `Origin` which event it is of."""
    rows = [
        {ORIGIN: Origin(event.id)} | row if row["role"] == "user" else row
        for event in events
        for row in rows_of([event])
    ]
    return with_newest_marks(rows)


def _is_spoken(event: SessionEvent[Any]) -> bool:
    _, native = native_of(event)
    return isinstance(native, dict) and isinstance(native.get("audio"), dict)


def object_of(call: ChatMessage) -> ChatMessage:
    """The arguments of a call as an object, which most APIs require, whatever the model wrote."""
    function = function_of(call)
    if "arguments" not in function and isinstance(function.get("input"), str):
        return {"arguments": function["input"]}  # of one of OpenAI's custom tools: any text
    return arguments_object(function.get("arguments", function.get("input")))


def native_of(event: SessionEvent[Any]) -> tuple[str, Any]:
    """The provider's own message that an event stores, and its format; "" and `None` if there is none.

    An answer of Anthropic's with thinking that came through LangChain is in Anthropic's format.
    """
    native = event.native
    if native is not None:
        if native.get("format") == langchain.FORMAT:
            own = langchain.anthropic_message(native.get("message"))
            if own is not None:
                return anthropic.FORMAT, own
        return str(native.get("format", "")), native.get("message")
    message = event.message
    if isinstance(message, dict) and is_anthropic(message):
        return anthropic.FORMAT, {"role": "assistant", "content": message["content"]}
    return "", None


def _origin(event: SessionEvent[Any]) -> Origin:
    native_format, native = native_of(event)
    about = event.metadata
    message = event.message if isinstance(event.message, dict) else {}
    reason = about.get("finish_reason")
    return Origin(
        event.id,
        native_format,
        native,
        str(about.get("provider", "unknown")),
        str(about.get("model", "unknown")),
        reason if isinstance(reason, str) else None,
        str(message.get("tool", "unknown")),
        event.context,
        None if event.native is None else event.native.get("response"),
    )


def told_messages(events: Sequence[SessionEvent[Any]]) -> list[ChatMessage]:
    """The messages from which a summary is made: messages, tool calls and results, and instructions.

    Images and other media are described as text.
    """
    rows = (row | {"content": _told(row)} for row in full_messages(events))
    return [row for row in rows if row["content"] or calls_of(row)]


def _told(row: ChatMessage) -> Any:
    content = row.get("content")
    return shown_content(content) if isinstance(content, list) else content
