"""Converts chat messages to events, and events to chat messages; no other module knows both.

A chat message is a message in OpenAI's chat format. A plain one (`role`, and a text as `content`) becomes
an event whose message is that text. One with more in it (tool calls, content parts, a name) becomes an
event whose message is the chat message itself. A `tool` message becomes a tool-call event. So the chat
messages that come out equal those that went in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..exceptions import InvalidInput
from ..exceptions.validation import check_json_object, check_name, copied
from ..models import EventSource, EventType, SessionEvent
from ..models.session_event import content_of
from .common import id_in, parsed, texts_in
from .failures import failure_in
from .pairing import KNOWN, Pairing
from .parts import media_parts, shown_content, with_images_as_parts
from .sendable import (
    arguments_text,
    is_blank,
    says_nothing,
    with_custom_calls,
    with_newest_marks,
    with_whole_calls,
)

ChatMessage = dict[str, Any]

INTERRUPTED = "[interrupted: no result of this tool call was recorded]"
"""The result of a call without one (after a crash or a cancellation): providers refuse a call without one."""

_SOURCES = {
    "user": EventSource.USER,
    "assistant": EventSource.LLM,
    "system": EventSource.SYSTEM,
    "developer": EventSource.SYSTEM,
}
SYSTEM_ROLES = {"system", "developer"}
"""The roles of an application's instructions; newer OpenAI models use the latter."""
_ROLES = {EventSource.USER: "user", EventSource.LLM: "assistant", EventSource.SYSTEM: "system"}
# The names that OpenAI accepts, from the text of its error 400 for others.
_NAME = re.compile(r"[^\s<|\\/>]{1,64}")
_TOOL_ROW_FIELDS = {"role", "tool_call_id", "content"}

NATIVE = "chuk:native"
"""In a chat message that is recorded: the provider's own item, which the event stores as `native`."""


# -- chat messages to events ---------------------------------------------------------------------


def check_chat_messages(rows: object, operation: str) -> list[ChatMessage]:
    """Check that a value is a list of chat messages, before any of them is used.

    Raises:
        InvalidInput: naming the position of the invalid message, and what is wrong with it.
    """
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise InvalidInput(operation, f"messages must be a list of dicts, not {type(rows).__name__}")
    copies = [
        with_images_as_parts(_with_text_ids(check_json_object(row, f"messages[{position}]", operation)))
        for position, row in enumerate(rows)
    ]
    has_empty_id = False  # of a call: some servers send none, and its result then has none either
    for position, row in enumerate(copies):
        _check_row(row, f"messages[{position}]", operation, may_lack_id=has_empty_id)
        has_empty_id = has_empty_id or any(call.get("id") == "" for call in calls_of(row))
    return copies


def _with_text_ids(row: ChatMessage) -> ChatMessage:
    """A message whose ids are texts; some servers count calls with numbers, or give them no ids."""
    if row.get("role") == "tool":
        row["tool_call_id"] = id_in(row.get("tool_call_id"))
    for call in calls_of(row) if isinstance(row.get("tool_calls"), list) else ():
        call["id"] = id_in(call.get("id"))
    return row


def _check_row(row: Mapping[str, Any], name: str, operation: str, *, may_lack_id: bool) -> None:
    role, content = row.get("role"), row.get("content")
    if not isinstance(role, str) or (role != "tool" and role not in _SOURCES):
        raise InvalidInput(operation, f"{name} needs a role: {', '.join(_SOURCES)} or tool")
    may_be_empty = role == "assistant"
    if not isinstance(content, str | list) and not (content is None and may_be_empty):
        raise InvalidInput(operation, f"{name} needs a content that is text or a list of parts")
    if role == "tool" and not (may_lack_id and row.get("tool_call_id") == ""):
        check_name(row.get("tool_call_id"), f"{name}['tool_call_id']", operation)
    calls = row.get("tool_calls")
    if calls is not None and (not isinstance(calls, list) or not all(map(_is_call, calls))):
        raise InvalidInput(operation, f"{name}['tool_calls'] must be calls with an id and a function's name")


def _is_call(call: object) -> bool:
    if not isinstance(call, Mapping) or not isinstance(call.get("id"), str):
        return False
    return isinstance(function_of(call).get("name"), str)


def event_of(row: ChatMessage, calls: Mapping[str, ChatMessage]) -> SessionEvent[Any]:
    """Make the event of one chat message.

    Args:
        row: a message that `check_chat_messages` accepted.
        calls: the tool calls so far, by id: a `tool` message does not contain its call.
    """
    native = row.get(NATIVE)
    row = {key: value for key, value in row.items() if key != NATIVE}
    if row["role"] == "tool":
        return _tool_event(row, calls.get(row["tool_call_id"], {}), native)
    plain = row.keys() == {"role", "content"} and isinstance(row["content"], str)
    message = row["content"] if plain and row["role"] != "developer" else row
    return SessionEvent(message=message, source=_SOURCES[row["role"]], type=EventType.MESSAGE, native=native)


def _tool_event(row: ChatMessage, call: ChatMessage, native: Any = None) -> SessionEvent[Any]:
    content = row["content"]
    extra = {key: value for key, value in row.items() if key not in _TOOL_ROW_FIELDS}
    metadata = {"tool_call_id": row["tool_call_id"]}
    if not isinstance(content, str):
        extra["content"] = content
    if extra:
        metadata["row"] = extra
    # Media stay in the parts, which are in the metadata: they are not stored twice.
    result = content if isinstance(content, str) else shown_content(content)
    message = tool_message(row.get("name", "unknown"), None, result) | asked_of(call)
    return SessionEvent(
        message=message,
        source=EventSource.SYSTEM,
        type=EventType.TOOL_CALL,
        metadata=metadata,
        native=native,
    )


def asked_of(call: ChatMessage) -> ChatMessage:
    """The tool and arguments of a call, as in a tool-call event's message; empty without a call."""
    function = function_of(call)
    if not function:
        return {}
    arguments = _decoded(function.get("arguments", function.get("input")))
    return {"tool": function["name"], "arguments": copied(arguments)}


def tool_message(tool_name: str, arguments: Any, result: Any, error: str | None = None) -> ChatMessage:
    """A tool call with its result, as in a tool-call event."""
    return {
        "tool": tool_name,
        "arguments": arguments,
        "result": result,
        "error": error,
        "success": error is None,
    }


def _decoded(arguments: Any) -> Any:
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return arguments


# -- calls and texts -----------------------------------------------------------------------------


def calls_of(message: Any) -> list[ChatMessage]:
    """The tool calls of an assistant's message: OpenAI's, or Anthropic's "tool_use" blocks."""
    if not isinstance(message, dict):
        return []
    calls, is_listed = message.get("tool_calls"), isinstance(message.get("content"), list)
    if not calls and not is_listed:  # as most messages
        return []
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    if not found and not is_listed:
        return []
    return found or [_call_of(block) for block in blocks_of(message, "tool_use")]


def blocks_of(message: Any, *kinds: str) -> list[ChatMessage]:
    """The blocks of certain kinds in a message's content."""
    content = message.get("content") if isinstance(message, dict) else None
    blocks = content if isinstance(content, list) else []
    return [block for block in blocks if isinstance(block, dict) and block.get("type") in kinds]


def _call_of(block: ChatMessage) -> ChatMessage:
    """Anthropic's call in OpenAI's form."""
    arguments = block.get("input")
    function = {
        "name": block.get("name"),
        "arguments": arguments if isinstance(arguments, str) else _json(arguments or {}),
    }
    return {key: block[key] for key in ("id",) if key in block} | {"type": "function", "function": function}


def function_of(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The name and arguments of a call, in whichever form it is."""
    kind = call.get("type", "function")
    function = call.get(kind) if isinstance(kind, str) else None
    if not isinstance(function, Mapping):  # of another type, as Moonshot's "builtin_function"
        function = call.get("function")
    return function if isinstance(function, Mapping) else {}


def text_of(row: ChatMessage) -> str:
    """The text of a chat message for counting tokens.

    It consists of the content, or the texts of its parts, and of the name and arguments of each tool call.
    """
    content = row.get("content")
    is_listed = content is None or isinstance(content, list)
    texts = texts_in(content) if is_listed else [str(content)]
    for call in calls_of(row):
        function = function_of(call)
        arguments = function.get("arguments", function.get("input", ""))
        texts += [function.get("name", ""), arguments if isinstance(arguments, str) else _json(arguments)]
    return "\n".join(filter(None, texts))


# -- events to chat messages ---------------------------------------------------------------------


def speaker(event: SessionEvent[Any]) -> str:
    """Who said it: the user, or else the assistant; the original's lists have only these two."""
    return "user" if event.source == EventSource.USER else "assistant"


def role_of(event: SessionEvent[Any]) -> str:
    """The role in a chat message: user, assistant or system."""
    return _ROLES[EventSource(event.source)]


def name_of(event: SessionEvent[Any]) -> str | None:
    """The name of the user who said it: the message's own `name`, or that in the metadata."""
    if event.source != EventSource.USER:
        return None
    message = event.message
    own = message.get("name") if isinstance(message, dict) and "role" in message else None
    name = event.metadata.get("name") if own is None else own
    return name if isinstance(name, str) and name.strip() else None


def plain_messages(events: Iterable[SessionEvent[Any]]) -> list[ChatMessage]:
    """The messages of user and model, as `role` and `content`; an answer without text is left out."""
    rows = []
    for event in events:
        if event.type != EventType.MESSAGE or event.source == EventSource.SYSTEM:
            continue
        content = _said(event.message)
        if content is None or (event.source == EventSource.LLM and is_blank(content)):
            continue
        rows += by_phase(_named({"role": speaker(event), "content": _shown(content)}, name_of(event)))
    return with_newest_marks(rows)


def _named(row: ChatMessage, name: str | None) -> ChatMessage:
    """A user message with a name: as OpenAI's `name` if possible, otherwise before the text."""
    if name is None:
        return row
    if _NAME.fullmatch(name):
        return row | {"name": name}
    content = row["content"]
    if isinstance(content, str):
        return row | {"content": f"{name}: {content}"}
    return row | {"content": [{"type": "text", "text": f"{name}:"}, *content]}


def by_phase(row: ChatMessage) -> list[ChatMessage]:
    """The messages of an answer: commentary, and the final answer.

    Responses of OpenAI's newer models distinguish them by a `phase`. Calls belong to the last message.
    """
    parts = row.get("content")
    if not isinstance(parts, list) or not any(isinstance(part, dict) and "phase" in part for part in parts):
        return [row]
    rows = [{"role": row["role"], "content": part["text"]} for part in parts]
    return [*rows[:-1], row | rows[-1]]


def _said(message: Any) -> Any:
    if isinstance(message, dict) and is_anthropic(message):
        return _from_anthropic(message)["content"]
    return content_of(message)


def full_messages(events: Sequence[SessionEvent[Any]], *, include_system: bool = True) -> list[ChatMessage]:
    """All messages and tool calls as chat messages that a provider accepts.

    Each call is followed by its result, wherever that was recorded. A call without a result gets
    `INTERRUPTED`. For a result without its call, the call is inserted before it. A result that was recorded
    twice is included once. Results are in the order in which they were recorded. Arguments that are not a
    JSON object become one. An answer without text and calls is left out.
    """
    rows = [
        row
        for turn in turns_of(events, include_system=include_system)
        if not says_nothing(turn.row)
        for row in [*by_phase(turn.row), *(result.row for result in turn.results)]
    ]
    return with_newest_marks(rows)


def is_sent(event: SessionEvent[Any]) -> bool:
    """Whether an event is sent: an answer without text and calls is not."""
    return event.type != EventType.MESSAGE or not says_nothing(_message_row(event))


class Result(NamedTuple):
    """A tool's result in a turn."""

    row: ChatMessage
    call: int
    """The index of the call, among the turn's calls, that it answers."""
    event: SessionEvent[Any] | None
    """The event of the result; `None` for the stand-in of a result that was never recorded."""
    place: int
    """The position of that event."""


@dataclass(slots=True)
class Turn:
    """A message and its event, and the results of its calls."""

    row: ChatMessage
    event: SessionEvent[Any]
    place: int | None
    """The position of the event; `None` for a call that is only known from its result."""
    results: list[Result] = field(default_factory=list)


def turns_of(events: Sequence[SessionEvent[Any]], *, include_system: bool = True) -> list[Turn]:
    """The messages, each with the results of its calls; a result without its call is a turn of its own."""
    turns: list[Turn] = []
    by_place: dict[int, Turn] = {}
    pairing = Pairing(tool_text)
    for place, event in enumerate(events):
        if event.type == EventType.TOOL_CALL:
            call_id = call_id_of(event)
            answered = None if call_id is None else pairing.call_of(call_id, event.message)
            if answered is None:
                asked, result = _lone_result(event)
                turns.append(Turn(asked, event, None, [Result(result, 0, event, place)]))
            elif answered[1] != KNOWN:
                turn, at = by_place[answered[0]], answered[1]
                row = _tool_row(event, calls_of(turn.row)[at]["id"])
                turn.results.append(Result(row, at, event, place))
        elif event.type == EventType.MESSAGE and (include_system or event.source != EventSource.SYSTEM):
            by_place[place] = turn = Turn(_message_row(event), event, place)
            turns.append(turn)
            pairing.asks(calls_of(event.message), place, by_model=event.source == EventSource.LLM)
    for turn in turns:
        has_result = {result.call for result in turn.results}
        for at, call in enumerate(calls_of(turn.row)):
            if at not in has_result:
                turn.results.append(Result(_interrupted(call["id"]), at, None, 0))
    return turns


def call_and_result_numbers(events: Sequence[SessionEvent[Any]]) -> list[tuple[int | None, int]]:
    """For each result that names its call: the position of the message with the call, and of the result.

    `None` stands for a message that is not among these events. A result that was there before is left out.
    """
    found: list[tuple[int | None, int]] = []
    pairing = Pairing(tool_text)
    for place, event in enumerate(events):
        if event.type == EventType.MESSAGE:
            pairing.asks(calls_of(event.message), place, by_model=event.source == EventSource.LLM)
        elif event.type == EventType.TOOL_CALL and (call_id := call_id_of(event)) is not None:
            answered = pairing.call_of(call_id, event.message)
            if answered is None:
                found.append((None, place))
            elif answered[1] != KNOWN:
                found.append((answered[0], place))
    return found


def _interrupted(call_id: str) -> ChatMessage:
    return {"role": "tool", "tool_call_id": call_id, "content": INTERRUPTED}


def _message_row(event: SessionEvent[Any]) -> ChatMessage:
    message = event.message
    if isinstance(message, dict) and "role" in message:
        row: ChatMessage = copied(message)
        row = _from_anthropic(row) if is_anthropic(row) else row
        row = with_whole_calls(with_custom_calls(row, event.native), _made_call_id(event))
        return row if "name" in row else _named(row, name_of(event))
    return _named({"role": role_of(event), "content": _shown(content_of(message))}, name_of(event))


# The fields of an assistant's content parts in OpenAI's chat form.
_CHAT_PARTS = {
    None, "text", "refusal", "image_url", "input_audio", "file", "audio", "input_text", "output_text",
}  # fmt: skip


def is_anthropic(row: ChatMessage) -> bool:
    """Whether a message is an answer in Anthropic's form."""
    if row.get("role", "assistant") != "assistant" or not isinstance(row.get("content"), list):
        return False
    if row.get("type") == "message":
        return True
    return any(isinstance(part, dict) and part.get("type") not in _CHAT_PARTS for part in row["content"])


def _from_anthropic(row: ChatMessage) -> ChatMessage:
    """Anthropic's answer in OpenAI's form; its thinking is included for `for_anthropic`."""
    text = "".join(texts_in(blocks_of(row, "text"))) or None
    converted: ChatMessage = {"role": row.get("role", "assistant"), "content": text}
    thinking = blocks_of(row, "thinking", "redacted_thinking")
    for name, value in {"tool_calls": calls_of(row), "thinking_blocks": thinking}.items():
        if value:
            converted[name] = value
    return converted


def _shown(content: Any) -> Any:
    """A message's content for a chat message: a text, or a new list of parts."""
    return copied(content) if isinstance(content, str | list) else str(content)


def call_id_of(event: SessionEvent[Any]) -> str | None:
    """The id of the call that a tool-call event answers, if the provider gave it one."""
    call_id = event.metadata.get("tool_call_id", event.metadata.get("call_id"))
    return call_id if isinstance(call_id, str) else None


def _tool_row(event: SessionEvent[Any], call_id: str) -> ChatMessage:
    row: ChatMessage = {"role": "tool", "tool_call_id": call_id, "content": result_content(event)}
    row.update(copied(event.metadata.get("row", {})))
    return row


def result_content(event: SessionEvent[Any]) -> Any:
    """A tool call's outcome as a chat message's content: a text, or parts if some of it is media."""
    recorded = event.metadata.get("row")
    if isinstance(recorded, dict) and "content" in recorded:
        return copied(recorded["content"])
    message = event.message if isinstance(event.message, dict) else {}
    parts = None if message.get("error") is not None else media_parts(message.get("result"))
    return tool_text(event.message) if parts is None else copied(parts)


def _lone_result(event: SessionEvent[Any]) -> list[ChatMessage]:
    message = event.message if isinstance(event.message, dict) else {}
    call_id = call_id_of(event) or _made_call_id(event)
    function = {
        "name": str(message.get("tool", "unknown")),
        "arguments": arguments_text(message.get("arguments")),
    }
    call = {"id": call_id, "type": "function", "function": function}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, _tool_row(event, call_id)]


def _made_call_id(event: SessionEvent[Any]) -> str:
    """An id for a call that was stored without one; always the same one."""
    return f"call_{event.id.replace('-', '')}"  # OpenAI accepts 40 characters


def tool_text(message: Any) -> str:
    """The text of a tool call's outcome for a model: the result, or the error."""
    if not isinstance(message, dict):
        return message if isinstance(message, str) else _json(message)
    result, error = message.get("result"), message.get("error")
    if error is not None:
        returned = parsed(result) if isinstance(result, str) else result
        says_no_more = returned is None or failure_in(returned) == error
        return _json({"error": error} | ({} if says_no_more else {"result": result}))
    return result if isinstance(result, str) else _json(result)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
