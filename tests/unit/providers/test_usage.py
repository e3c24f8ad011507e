"""Each provider's figures as the same five counts; the numbers are those of the providers' documentation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.registry import read_answer
from chuk_ai_session_manager.providers.usage import read_usage, usage_of

SAME = {
    "input_tokens": 1000,
    "output_tokens": 100,
    "cache_read_tokens": 400,
    "cache_write_tokens": 0,
    "reasoning_tokens": 0,
}


def as_object(value: Any) -> Any:
    """The same figures as an SDK's object has them."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(item) for name, item in value.items()})
    return value


@pytest.mark.parametrize("shape", [dict, as_object])
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
             "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
             "completion_tokens_details": {"reasoning_tokens": 64}},
            SAME | {"reasoning_tokens": 64},
            id="openai chat",
        ),
        pytest.param({"prompt_tokens": 5, "completion_tokens": 0},
                     dict.fromkeys(SAME, 0) | {"input_tokens": 5}, id="openai, no details"),
        pytest.param(
            {"input_tokens": 1000, "output_tokens": 100, "input_tokens_details": {"cached_tokens": 400},
             "output_tokens_details": {"reasoning_tokens": 20}},
            SAME | {"reasoning_tokens": 20},
            id="openai responses",
        ),
        pytest.param(
            {"input_tokens": 100, "output_tokens": 100, "cache_read_input_tokens": 400,
             "cache_creation_input_tokens": 500},
            SAME | {"cache_write_tokens": 500},
            id="anthropic leaves cached tokens out of its input",
        ),
        pytest.param(
            {"input_tokens": 1000, "output_tokens": 100, "cache_read_input_tokens": 0,
             "cache_creation_input_tokens": None},
            SAME | {"cache_read_tokens": 0},
            id="anthropic without cache",
        ),
        pytest.param(
            {"prompt_token_count": 900, "tool_use_prompt_token_count": 100, "candidates_token_count": 70,
             "thoughts_token_count": 30, "cached_content_token_count": 400, "total_token_count": 1100},
            SAME | {"reasoning_tokens": 30},
            id="google leaves thoughts out of its candidates",
        ),
        pytest.param(
            {"promptTokenCount": 1000, "candidatesTokenCount": 100, "cachedContentTokenCount": 400},
            SAME,
            id="google rest",
        ),
        pytest.param(
            {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400},
             "cache_read_input_tokens": 400, "cache_creation_input_tokens": 50},
            SAME | {"cache_write_tokens": 50},
            id="litellm says the cached tokens twice",
        ),
        pytest.param(SAME | {"cache_write_tokens": 7}, SAME | {"cache_write_tokens": 7}, id="our own"),
    ],
)  # fmt: skip
def test_shapes(usage: dict[str, Any], expected: dict[str, int], shape: Any) -> None:
    is_rest = "promptTokenCount" in usage  # Google's REST gives no objects
    assert read_usage(usage if is_rest else shape(usage)) == expected


@pytest.mark.parametrize(
    "usage",
    [
        {},
        None,
        "100 tokens",
        {"tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": "12", "completion_tokens": 5},
        {"prompt_tokens": 1.5, "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 10**400},
        {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}},
    ],
)
def test_what_cannot_be_right_is_refused(usage: Any) -> None:
    with pytest.raises(InvalidInput, match="read usage"):
        read_usage(usage)


def test_a_response_brings_its_usage_or_none() -> None:
    assert usage_of({"usage": {"prompt_tokens": 1000, "completion_tokens": 100}}) is not None
    assert usage_of(SimpleNamespace(usage_metadata=SimpleNamespace(prompt_token_count=3))) is not None
    assert usage_of("text") is None
    assert usage_of({"usage": {"prompt_tokens": "many"}}) is None


@pytest.mark.parametrize(
    "response",
    [
        "hello",
        SimpleNamespace(content="hello"),
        {"content": "hello"},
        SimpleNamespace(content=[SimpleNamespace(type="text", text="hel"), SimpleNamespace(text="lo")]),
        {"content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "hello"}]},
        SimpleNamespace(output_text="hello"),
        SimpleNamespace(text="hello"),
        {"choices": [{"message": {"content": "hello"}}]},
        SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="hello"))]),
    ],
)
def test_text_of_a_response(response: object) -> None:
    assert read_answer(response).text == "hello"
