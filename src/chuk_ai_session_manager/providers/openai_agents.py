"""Reads responses and results of runs of the OpenAI Agents SDK (openai-agents 0.24)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import openai_responses
from .answers import Answer, Reader
from .common import dumped, field_of, is_list, json_of, list_of, name_in, text_in
from .messages import ChatMessage

FORMAT = "openai-agents"
_NO_ID = "__fake_id__"
"""What the SDK writes as the id of each item that it makes of a chat completion."""


def read(response: Any) -> Answer | None:
    """A `ModelResponse`; or the result of a run, with the responses before it and their calls' results."""
    raw = field_of(response, "raw_responses")
    if is_list(raw) and field_of(response, "new_items") is not None:
        return _of_run(response, list_of(raw))
    is_response = hasattr(response, "response_id") and is_list(field_of(response, "output"))
    return _of_response(response) if is_response else None


def _of_response(response: Any) -> Answer | None:
    items = [json_of(item) for item in list_of(field_of(response, "output"))]
    data = {"id": field_of(response, "response_id"), "output": items, "usage": field_of(response, "usage")}
    answer = openai_responses.read(json_of(data))
    if answer is None:
        return None
    about = next((field_of(item, "provider_data") for item in items), None)
    answer.model = answer.model or name_in(field_of(about, "model"))
    if any(field_of(item, "id") == _NO_ID for item in items):  # no API knows these items
        answer.native, answer.response_id = None, name_in(field_of(about, "response_id"))
    return answer


def _of_run(run: Any, responses: Any) -> Answer | None:
    results = {
        text_in(field_of(item, "call_id")): field_of(item, "output")
        for each in list_of(field_of(run, "new_items"))
        for item in [field_of(each, "raw_item")]
        if text_in(field_of(item, "type")).endswith("_output")
    }
    model = field_of(field_of(run, "last_agent"), "model")
    steps: list[Answer | ChatMessage] = []
    for response in responses:
        answer = _of_response(response)
        if answer is None:
            continue
        answer.model = answer.model or name_in(model) or name_in(field_of(model, "model"))
        steps.append(answer)
        for call in answer.tool_calls:
            if (output := results.get(call["id"])) is not None:
                content = json_of(output) if isinstance(output, Mapping) else output
                steps.append({"role": "tool", "tool_call_id": call["id"], "content": dumped(content)})
    return Answer.of_steps(steps)


READER = Reader(FORMAT, read)
