"""A field of another type than the API's is no reason to fail: the rest of the response is read."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from chuk_ai_session_manager.providers.registry import answer_in

CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
MESSAGE = {"role": "assistant", "content": "Hi", "tool_calls": [CALL]}
RESPONSES: dict[str, dict[str, Any]] = {
    "openai": {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": MESSAGE}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    "openai-responses": {
        "id": "r",
        "object": "response",
        "status": "completed",
        "model": "m",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            {"type": "shell_call_output", "call_id": "d", "output": []},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "anthropic": {
        "id": "r",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "c", "name": "look", "input": {}},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "google": {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [{"text": "Hi"}, {"functionCall": {"name": "look", "args": {}}}],
                },
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
        "modelVersion": "m",
    },
    "google-interactions": {
        "id": "i",
        "object": "interaction",
        "status": "completed",
        "model": "m",
        "steps": [
            {"type": "model_output", "content": [{"type": "text", "text": "Hi"}]},
            {"type": "function_call", "id": "c", "name": "look", "arguments": {}},
            {"type": "function_result", "call_id": "d", "result": "done"},
        ],
        "usage": {"total_input_tokens": 1, "total_output_tokens": 1},
    },
    "xai": {
        "id": "x",
        "model": "m",
        "outputs": [
            {
                "finish_reason": "REASON_STOP",
                "index": 0,
                "message": {
                    "role": "ROLE_ASSISTANT",
                    "content": "Hi",
                    "tool_calls": [CALL | {"type": "TOOL_CALL_TYPE_CLIENT_SIDE_TOOL"}],
                },
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    "cohere": {
        "id": "c",
        "finish_reason": "COMPLETE",
        "message": MESSAGE | {"content": [{"type": "text", "text": "Hi"}]},
        "usage": {"billed_units": {"input_tokens": 1, "output_tokens": 1}},
    },
    "bedrock": {
        "output": {
            "message": {
                "role": "assistant",
                "content": [{"text": "Hi"}, {"toolUse": {"toolUseId": "c", "name": "look", "input": {}}}],
            }
        },
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1},
    },
    "ollama": {"model": "m", "done": True, "message": MESSAGE, "eval_count": 1, "prompt_eval_count": 1},
}
ODD: list[Any] = [None, 1, True, "else", [], [1], {}, {"a": 1}]


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*above, key)
        yield from paths(value[key], (*above, key))


@pytest.mark.parametrize("name", RESPONSES)
def test_every_field_may_be_odd(name: str) -> None:
    whole = answer_in(RESPONSES[name])
    assert whole is not None
    assert (whole.text, len(whole.tool_calls)) == ("Hi", 1)
    for path in paths(RESPONSES[name]):
        for value in ODD:
            response: Any = deepcopy(RESPONSES[name])
            *above, last = path
            holder = response
            for key in above:
                holder = holder[key]
            holder[last] = value
            answer_in(response)  # an answer, or `None`; never an error
