"""The tool calls of a model's message: parsing them, recognising the message, and making their events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from ..accounts.tokens import DEFAULT_MODEL
from ..exceptions.validation import json_misfit
from ..models import EventSource, EventType, SessionEvent, TokenUsage
from ..models.record import new_id
from ..providers.answers import Answer
from ..providers.common import readable_json, texts_in
from ..providers.messages import (
    ChatMessage,
    call_id_of,
    calls_of,
    function_of,
    tool_message,
    tool_text,
)
from ..providers.parts import Part, media_length, media_of, media_parts
from ..providers.registry import answer_in
from ..providers.sendable import arguments_object, is_nothing, unwrapped
from ..providers.usage import ReportedUsage
from .billing import bill

RESULT_MODEL = "tool-execution"
"""Stands in the place of a model's name: no model made a tool's result, and it costs nothing."""

UNAPPROVED = (
    "The provider runs this tool itself, and waits for a person's approval: nothing was run. "
    "Answer with mcp_approval_response"
)
"""The error of a request for approval."""

UNDECIDED = (
    "This call was begun before, and its result was not recorded. "
    "It may have been made, so it was not made again"
)
"""The error of a call that was begun in another process, or here before an interruption."""

_CLAIM = "tool_calls_claim"
_IS_JSON = "result_is_json"


@dataclass(slots=True)
class Call:
    """A call as the model asked for it; if it has a `problem`, it cannot run."""

    id: str
    tool: str
    arguments: Any = field(repr=False)
    problem: str | None = None
    attempts: int = 0

    @property
    def key(self) -> str:
        """Equal for equal calls."""
        return json.dumps([self.tool, self.arguments], sort_keys=True, default=str)


@dataclass(slots=True, frozen=True)
class Recorded:
    """The recorded result of a call."""

    result: Any = field(repr=False)
    error: str | None = field(repr=False)
    attempts: int


# -- requests ------------------------------------------------------------------------------------


def answer_of(given: Mapping[str, Any]) -> Answer | None:
    """An assistant's message or a whole response as an answer; `None` if it cannot be read."""
    try:
        return answer_in(dict(given))
    except Exception:  # noqa: BLE001  (a message that no reader knows is recorded as it is)
        return None


def message_in(given: dict[str, Any], answer: Answer | None) -> dict[str, Any]:
    """The assistant's message in a provider's response: OpenAI's chat message, or Anthropic's message.

    The calls of other providers' responses are put into a chat message.
    """
    choices = given.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if isinstance(message, dict):
        return message
    is_foreign = answer is not None and answer.tool_calls and not calls_of(given)
    return answer.message if is_foreign and isinstance(answer.message, dict) else given  # type: ignore[union-attr]


def with_call_ids(message: dict[str, Any], event_id: str) -> dict[str, Any]:
    """A message whose calls all have an id; missing ids are made from the event's id."""
    content, asked = message.get("content"), message.get("tool_calls")
    blocks = [*(content if isinstance(content, list) else []), *(asked if isinstance(asked, list) else [])]
    for at, each in enumerate(blocks):
        is_call = isinstance(each, dict) and (each.get("type") == "tool_use" or "function" in each)
        if is_call and not isinstance(each.get("id"), str):
            each["id"] = f"call_{uuid5(NAMESPACE_URL, f'{event_id}:{at}').hex}"
    return message


def parsed_call(call: Mapping[str, Any]) -> Call:
    """A call in OpenAI's form; a missing id is created."""
    target = call.get("function")
    target = target if isinstance(target, Mapping) else {}
    call_id, tool = call.get("id"), target.get("name")
    arguments, problem = _arguments(target.get("arguments"))
    if not isinstance(tool, str) or not tool:
        tool, problem = "unknown", "The call does not name a tool"
    return Call(call_id if isinstance(call_id, str) else f"call_{uuid4().hex}", tool, arguments, problem)


def _arguments(given: Any) -> tuple[Any, str | None]:
    """The arguments as a dict, or what was given and its problem; nothing, in any form, becomes `{}`."""
    if isinstance(given, str) and not given.strip():
        return {}, None
    try:
        arguments = unwrapped(json.loads(given)) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        return given, "The arguments are not valid JSON"
    if is_nothing(arguments):
        return {}, None
    if not isinstance(arguments, dict):
        return given, "The arguments are not a JSON object"
    misfit = json_misfit(arguments)
    return (given, f"The arguments are not JSON: {misfit}") if misfit else (arguments, None)


def is_same_message(event: SessionEvent[Any], message: Mapping[str, Any]) -> bool:
    """Whether an event is a model's message with the same text, and the same calls with the same ids."""
    if event.type != EventType.MESSAGE or event.source != EventSource.LLM:
        return False
    recorded: Any = event.message
    if not isinstance(recorded, Mapping):
        recorded = {"content": recorded}
    known, given = list(_asked(recorded)), list(_asked(message))
    words, said = _words_of(recorded), _words_of(message)
    is_cut = bool(known) and not (words and said)  # an application may pass on the calls without the text
    return (
        (words == said or is_cut)
        and [asked for _, asked in known] == [asked for _, asked in given]
        and all(
            call_id == known_id or call_id is None
            for (known_id, _), (call_id, _) in zip(known, given, strict=True)
        )
    )


def _asked(message: Mapping[str, Any]) -> Iterator[tuple[str | None, str]]:
    for call in calls_of(message):
        function = function_of(call)
        arguments = arguments_object(function.get("arguments", function.get("input")))
        call_id = call.get("id")
        asked = json.dumps([function.get("name"), arguments], sort_keys=True, default=str)
        yield (call_id if isinstance(call_id, str) else None), asked


def _words_of(message: Mapping[str, Any]) -> str:
    return "".join("".join(texts_in(message.get("content"))).split())


# -- events --------------------------------------------------------------------------------------


def begun_id(event_id: str) -> str:
    """The id of the event that says who runs a message's calls, if the message's own event does not."""
    return str(uuid5(NAMESPACE_URL, f"chuk-ai-session-manager:tool-calls-begun:{event_id}"))


def result_id(event_id: str, position: int) -> str:
    """The id of a result's event, from the message's event and the call's place in the message."""
    return str(uuid5(NAMESPACE_URL, f"chuk-ai-session-manager:tool-result:{event_id}:{position}"))


async def message_event(
    message: dict[str, Any],
    model: str | None,
    provider: str,
    counts: ReportedUsage | None,
    *,
    claims: bool,
    native: dict[str, Any] | None = None,
) -> SessionEvent[Any]:
    """The event of a model's message, with the bill of the call, if it is known.

    Args:
        message: the message to record.
        model: the model that gave it.
        provider: the provider that ran the model.
        counts: the call's token counts.
        native: the provider's own message, from a reader.
        claims: whether the process that stores the event also runs the message's tool calls.
    """
    counted_as = model or DEFAULT_MODEL
    usage = TokenUsage(
        completion_tokens=await TokenUsage.count_tokens(json.dumps(message, ensure_ascii=False), counted_as),
        model=counted_as,
        estimated_cost_usd=None,
        estimated=TokenUsage.is_estimated(counted_as),
    )
    event: SessionEvent[Any] = SessionEvent(
        message=message, source=EventSource.LLM, type=EventType.MESSAGE, token_usage=usage, native=native
    )
    if model:
        event.metadata |= {"model": model, "provider": provider}
    if claims:
        event.metadata[_CLAIM] = new_id()
    if counts is not None:
        await bill(event, model or "unknown", provider, counts)
    return event


def is_claimed(event: SessionEvent[Any]) -> bool:
    """Whether a message's event says that the process that stored it also began its calls."""
    return _CLAIM in event.metadata


def begun_event(message_event_id: str) -> SessionEvent[Any]:
    """The event that says that a recorded message's calls are begun; the store accepts only one of these."""
    return SessionEvent(
        id=begun_id(message_event_id),
        message={"tool_calls": "begun"},
        source=EventSource.SYSTEM,
        type=EventType.REFERENCE,
        metadata={_CLAIM: new_id(), "parent_event_id": message_event_id},
        parent_event_id=message_event_id,
    )


async def result_event(
    message_event_id: str,
    position: int,
    call: Call,
    outcome: Recorded,
    *,
    seconds: float,
    cached: bool,
) -> SessionEvent[Any]:
    """The event of a call and its result."""
    is_text = isinstance(outcome.result, str)
    result = outcome.result if is_text else readable_json(outcome.result)
    # Images and the like stay parts, any other value becomes JSON.
    parts = None if outcome.error is not None else media_parts(result)
    is_json = not is_text and parts is None
    result = json.dumps(result, ensure_ascii=False) if is_json else result
    message = tool_message(call.tool, call.arguments, result, outcome.error)
    metadata: dict[str, Any] = {
        "parent_event_id": message_event_id,
        "call_id": call.id,
        "tool_call_id": call.id,
        "attempt": outcome.attempts,
        "duration": seconds,
    }
    if outcome.error is not None:
        metadata["failed"] = True
    if is_json:
        metadata[_IS_JSON] = True
    event = await SessionEvent[Any].create_with_tokens(
        message | {"cached": cached},
        # The text that the model will get; the call itself was counted with the model's message.
        prompt=tool_text(message) if parts is None else "\n".join(texts_in(parts)),
        model=RESULT_MODEL,
        source=EventSource.SYSTEM,
        type=EventType.TOOL_CALL,
        metadata=metadata,
        parent_event_id=message_event_id,
    )
    if parts is not None and event.token_usage is not None:
        await _count_media(event.token_usage, media_of(parts))
    event.id = result_id(message_event_id, position)
    return event


async def _count_media(usage: TokenUsage, media: Sequence[Part]) -> None:
    usage.prompt_tokens += await media_length(media, RESULT_MODEL)
    usage.total_tokens, usage.estimated = usage.prompt_tokens, True


def recorded_results(
    message_event_id: str, calls: Sequence[Call], events: Sequence[SessionEvent[Any]]
) -> dict[int, Recorded]:
    """The recorded results of a message's calls, by their places in the message.

    Args:
        message_event_id: the message's event.
        calls: the message's calls, in order.
        events: the events after it, the oldest first; results that others recorded belong to the call with
            their id.
    """
    ids = {result_id(message_event_id, at): at for at in range(len(calls))}
    found = {ids[event.id]: recorded_in(event) for event in events if event.id in ids}
    for event in events:
        parent = event.metadata.get("parent_event_id")
        if event.type != EventType.TOOL_CALL or event.id in ids or parent not in {None, message_event_id}:
            continue
        call_id = call_id_of(event)
        place = next((at for at, call in enumerate(calls) if call.id == call_id and at not in found), None)
        if place is not None:
            found[place] = recorded_in(event)
    return found


def recorded_in(event: SessionEvent[Any]) -> Recorded:
    """The result in a tool-call event."""
    message: ChatMessage = event.message if isinstance(event.message, dict) else {"result": event.message}
    result, error, attempts = message.get("result"), message.get("error"), event.metadata.get("attempt", 1)
    if event.metadata.get(_IS_JSON) and isinstance(result, str):
        result = json.loads(result)
    return Recorded(deepcopy(result), error, attempts if isinstance(attempts, int) else 1)
