"""Reads pydantic-ai's responses, and the results of its runs (pydantic-ai-slim 2.68)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answers import Answer, Reader, call_of, native_of
from .common import dumped, field_of, is_list, json_of, list_of, mended, name_in, text_in, without
from .messages import ChatMessage
from .usage import usage_of

FORMAT = "pydantic-ai"
_RESULTS = {"tool-return", "retry-prompt"}


def read(response: Any) -> Answer | None:
    """A `ModelResponse`, as an object or as its adapter dumps it; or the result of a run.

    A run calls the model several times if it runs tools: the last response is the answer, and the others with
    the results of their calls come before. Each has its own usage.
    """
    messages = getattr(response, "new_messages", None)
    if callable(messages):
        return _of_run([_data(each) for each in list_of(messages())])
    return _read(_data(response)) if _is_response(response) else None


def _is_response(message: Any) -> bool:
    parts = field_of(message, "parts")
    return (
        text_in(field_of(message, "kind")) == "response"
        and is_list(parts)
        and all(text_in(field_of(part, "part_kind")) for part in parts)
    )


def _data(message: Any) -> dict[str, Any]:
    """A message as JSON; its fields of the value `None` were not sent."""
    data = _without_none(json_of(message))
    return data if isinstance(data, dict) else {}


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(item) for name, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value


def _read(message: Mapping[str, Any]) -> Answer:
    parts = list_of(message.get("parts"))
    texts = [text_in(part.get("content")) for part in parts if part.get("part_kind") == "text"]
    answer = Answer(
        mended("".join(texts)),
        [
            call_of(part.get("tool_call_id"), part.get("tool_name"), part.get("args"))
            for part in parts
            if part.get("part_kind") == "tool-call"
        ],
        model=name_in(message.get("model_name")),
        provider=name_in(message.get("provider_name")),
        finish_reason=name_in(message.get("finish_reason")),
        usage=usage_of(message),
        response_id=name_in(message.get("provider_response_id")),
    )
    answer.native = native_of(FORMAT, {"kind": "response", "parts": parts}, without(message, "kind", "parts"))
    return answer


def _of_run(messages: Sequence[Mapping[str, Any]]) -> Answer | None:
    steps: list[Answer | ChatMessage] = []
    for message in messages:
        if _is_response(message):
            steps.append(_read(message))
        elif steps:
            steps += [_result(part) for part in list_of(message.get("parts")) if _is_result(part)]
    answer = Answer.of_steps(steps)
    if answer is not None and answer.tool_calls and len(steps) > len(answer.before) + 1:
        # Its calls have results: the output is the arguments of a call that is no tool's.
        answer.text = answer.text or answer.tool_calls[0]["function"]["arguments"]
        answer.tool_calls = []
    return answer


def _is_result(part: Any) -> bool:
    return field_of(part, "part_kind") in _RESULTS and bool(field_of(part, "tool_call_id"))


def _result(part: Mapping[str, Any]) -> ChatMessage:
    return {
        "role": "tool",
        "tool_call_id": text_in(part.get("tool_call_id")),
        "content": mended(dumped(part.get("content", ""))),
    }


READER = Reader(FORMAT, read)
