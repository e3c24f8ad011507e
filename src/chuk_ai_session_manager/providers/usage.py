"""Any provider's usage as one set of counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..exceptions import InvalidInput
from ..exceptions.validation import check_count
from .common import field_of

# Google's REST answers write the names of its SDK in camel case.
_GOOGLE = {
    "promptTokenCount": "prompt_token_count",
    "toolUsePromptTokenCount": "tool_use_prompt_token_count",
    "candidatesTokenCount": "candidates_token_count",
    "cachedContentTokenCount": "cached_content_token_count",
    "thoughtsTokenCount": "thoughts_token_count",
}


def read_usage(usage: object) -> dict[str, int]:
    """A provider's usage as `input_tokens` (cached ones included), `output_tokens` and their parts.

    Understands the names of OpenAI (chat and Responses), Anthropic, Google, LiteLLM and this
    library, as a dict or as an object. Anthropic leaves cached tokens out of its input, Google its
    thoughts out of its candidates; here they are always in.

    Raises:
        InvalidInput: no known names, a count that is no number of at least 0, or more cached tokens
            than input.
    """
    counts = _Counts(usage)
    read = (
        _google(counts)
        if counts.has("prompt_token_count", "candidates_token_count")
        else _openai_chat(counts)
        if counts.has("prompt_tokens", "completion_tokens")
        else _anthropic(counts)
        if counts.has("cache_read_input_tokens", "cache_creation_input_tokens")
        else _input_output(counts)
    )
    if read["cache_read_tokens"] + read["cache_write_tokens"] > read["input_tokens"]:
        raise InvalidInput("read usage", "it holds more cached tokens than input tokens")
    return read


_MOST_TOKENS = 10**12


class _Counts:
    """Token counts of a dict or object by name, nested ones by a dotted path; absent is 0."""

    def __init__(self, usage: object) -> None:
        self._usage = usage
        if isinstance(usage, Mapping):
            self._usage = {_GOOGLE.get(name, name): value for name, value in usage.items()}

    def has(self, *names: str) -> bool:
        return any(field_of(self._usage, name) is not None for name in names)

    def first(self, *paths: str) -> int:
        """The first of the counts that is there and not 0."""
        return next((count for path in paths if (count := self._one(path))), 0)

    def _one(self, path: str) -> int:
        value: Any = self._usage
        for name in path.split("."):
            value = field_of(value, name)
        if value is None:
            return 0
        check_count(value, 0, path, "read usage")
        if value > _MOST_TOKENS:
            raise InvalidInput("read usage", f"{path} is more than any model call can have")
        return int(value)


def _openai_chat(counts: _Counts) -> dict[str, int]:
    """OpenAI's chat completions, and LiteLLM, which repeats the cached tokens under Anthropic's names."""
    return _read(
        counts.first("prompt_tokens"),
        counts.first("completion_tokens"),
        counts.first("prompt_tokens_details.cached_tokens", "cache_read_input_tokens"),
        counts.first(
            "prompt_tokens_details.cache_write_tokens",
            "prompt_tokens_details.cache_creation_tokens",
            "cache_creation_input_tokens",
        ),
        counts.first("completion_tokens_details.reasoning_tokens"),
    )


def _anthropic(counts: _Counts) -> dict[str, int]:
    cached = counts.first("cache_read_input_tokens")
    written = counts.first("cache_creation_input_tokens")
    fresh, thought = counts.first("input_tokens"), counts.first("output_tokens_details.thinking_tokens")
    return _read(fresh + cached + written, counts.first("output_tokens"), cached, written, thought)


def _google(counts: _Counts) -> dict[str, int]:
    thoughts = counts.first("thoughts_token_count")
    return _read(
        counts.first("prompt_token_count") + counts.first("tool_use_prompt_token_count"),
        counts.first("candidates_token_count") + thoughts,
        counts.first("cached_content_token_count"),
        0,
        thoughts,
    )


def _input_output(counts: _Counts) -> dict[str, int]:
    """OpenAI's Responses, and this library's own names."""
    if not counts.has("input_tokens", "output_tokens"):
        raise InvalidInput(
            "read usage",
            "none of the known names is there: prompt_tokens and completion_tokens, "
            "input_tokens and output_tokens, or prompt_token_count and candidates_token_count",
        )
    return _read(
        counts.first("input_tokens"),
        counts.first("output_tokens"),
        counts.first("cache_read_tokens", "input_tokens_details.cached_tokens"),
        counts.first("cache_write_tokens", "input_tokens_details.cache_write_tokens"),
        counts.first("reasoning_tokens", "output_tokens_details.reasoning_tokens"),
    )


def _read(
    input_tokens: int, output_tokens: int, cache_read: int, cache_write: int, reasoning: int
) -> dict[str, int]:
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": cache_read,
        "cache_write_tokens": cache_write,
        "reasoning_tokens": reasoning,
    }
