"""The counts of a usage: how they are found in a provider's data, and how they are put together.

Whether a provider's output includes reasoning, or its input cached tokens, is decided by its total if it
reports one: the names prove nothing, because many providers use OpenAI's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NotRequired, TypedDict

from ..exceptions import InvalidInput
from ..exceptions.validation import check_count
from .common import field_of, list_of, text_in


class ReportedUsage(TypedDict):
    """The billed tokens of one model call, as its provider reports them."""

    input_tokens: int
    """Everything that was sent, including cached tokens."""
    output_tokens: int
    """Everything that the model wrote, including reasoning."""
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    details: NotRequired[dict[str, int]]
    """Parts with prices of their own, by the names of `CallUsage.details`; only those that are not 0."""
    service_tier: NotRequired[str]
    speed: NotRequired[str]
    inference_geo: NotRequired[str]
    cache_miss_reason: NotRequired[str]
    """Why the provider's cache did not have the beginning of the prompt, as it says."""
    counted_tokens: NotRequired[int]
    """Not from the provider: how many tokens we counted in the context."""
    cost_usd: NotRequired[float]
    """The charge that the provider or a gateway reports."""
    model: NotRequired[str]
    """For an iteration: the model that ran it, if it is not the answer's."""
    unreported: NotRequired[Literal["input_tokens", "output_tokens"]]
    """The count that the provider left out, and that is estimated."""
    iterations: NotRequired[list[ReportedUsage]]
    """Calls that the provider made by itself, which the counts include; each has its own price."""


DETAILS = (
    "cache_write_1h_tokens",
    "cache_write_12h_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cache_audio_read_tokens",
    "input_image_tokens",
    "output_image_tokens",
    "cache_image_read_tokens",
    "input_video_tokens",
    "output_video_tokens",
    "cache_video_read_tokens",
    "output_citation_tokens",
    "input_audio_seconds",
    "web_searches",
    "storage_searches",
)
"""The names of the parts with prices of their own; all but the last three are tokens of the counts.

`storage_searches` are searches in files that are stored at the provider, by its name in the price list."""

_MOST_TOKENS = 10**12


class Counts:
    """Token counts of a dict or object by name; nested ones by a dotted path. A missing count is 0."""

    def __init__(self, usage: object) -> None:
        self._given = self._usage = usage
        self._containers: dict[str, Any] = {}
        if isinstance(usage, Mapping):
            if _INPUT_HEADER in usage:
                usage = _counts_in_headers(usage)
            self._usage = {_common_name(name): value for name, value in usage.items()}

    def has(self, *names: str) -> bool:
        """Whether any of the names exists."""
        usage = self._usage
        for name in names:  # noqa: SIM110  (`any` makes a generator, for every call that is billed)
            if _field(usage, name) is not None:
                return True
        return False

    def are_only(self, names: frozenset[str]) -> bool:
        """Whether a dict has no other names than these."""
        usage = self._usage
        return type(usage) is dict and names.issuperset(usage)

    @property
    def is_telemetry(self) -> bool:
        """Whether the names are those of OpenTelemetry's attributes."""
        usage = self._given
        return isinstance(usage, Mapping) and any(str(name).startswith(_TELEMETRY) for name in usage)

    def first(self, *paths: str) -> int:
        """The first of the counts that exists and is not 0."""
        for path in paths:
            if count := self._one(path):
                return count
        return 0

    def by_kind(self, *names: str) -> dict[str, int]:
        """Google's counts by modality ("AUDIO"): the sums of all the lists with these names."""
        found: dict[str, int] = {}
        for name in names:
            for each in list_of(field_of(self._usage, name)):
                kind = field_of(each, "modality")
                kind = text_in(getattr(kind, "value", kind)).lower()
                counts = Counts(each)
                found[kind] = found.get(kind, 0) + counts.first("token_count", "tokenCount", "tokens")
        return found

    def sum_where(self, name: str, field: str, value: str, count: str) -> int:
        """The sum of a count over the entries of a list whose field has a value."""
        entries = [each for each in list_of(field_of(self._usage, name)) if field_of(each, field) == value]
        return sum(Counts(each).first(count) for each in entries)

    def _one(self, path: str) -> int:
        within, name = _parts_of(path)
        container = self._container(within) if within else self._usage
        value = None if container is None else _field(container, name)
        if value is None:
            return 0
        if type(value) is int and 0 <= value <= _MOST_TOKENS:
            return value
        if isinstance(value, float) and value.is_integer():  # Cohere's SDK returns its counts as floats
            value = int(value)
        if type(value) is not int or value < 0:
            check_count(value, 0, path, "read usage")
        if value > _MOST_TOKENS:
            raise InvalidInput("read usage", f"{path} is more than any model call can have")
        return int(value)

    def _container(self, path: str) -> Any:
        """The container at a path; looked up once, because many counts are in the same one."""
        if path not in self._containers:
            within, name = _parts_of(path)
            container = self._container(within) if within else self._usage
            self._containers[path] = None if container is None else _field(container, name)
        return self._containers[path]


@cache
def _parts_of(path: str) -> tuple[str, str]:
    """The container of a count, and its name there; the paths are those of this module."""
    within, _, name = path.rpartition(".")
    return within, name


def _field(container: Any, name: str) -> Any:
    """A field; a plain dict is read without further checks."""
    return container.get(name) if type(container) is dict else field_of(container, name)


# Google's REST answers write the names of its SDK in camel case; OpenTelemetry has a prefix of its own.
_OTHER_NAMES = {
    "promptTokenCount": "prompt_token_count",
    "toolUsePromptTokenCount": "tool_use_prompt_token_count",
    "candidatesTokenCount": "candidates_token_count",
    "responseTokenCount": "candidates_token_count",
    "response_token_count": "candidates_token_count",
    "cachedContentTokenCount": "cached_content_token_count",
    "thoughtsTokenCount": "thoughts_token_count",
    "totalTokenCount": "total_token_count",
    "promptTokensDetails": "prompt_tokens_details",
    "cacheTokensDetails": "cache_tokens_details",
    "candidatesTokensDetails": "candidates_tokens_details",
    "responseTokensDetails": "candidates_tokens_details",
    "response_tokens_details": "candidates_tokens_details",
    "toolUsePromptTokensDetails": "tool_use_prompt_tokens_details",
    # Vercel's AI SDK 4 (https://v4.ai-sdk.dev/docs/reference/ai-sdk-core/generate-text).
    "promptTokens": "prompt_tokens",
    "completionTokens": "completion_tokens",
    # The metrics in the last event of a stream of Amazon Bedrock's InvokeModel, and Llama's answers there
    # (https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-meta.html).
    "inputTokenCount": "inputTokens",
    "outputTokenCount": "outputTokens",
    "cacheReadInputTokenCount": "cacheReadInputTokens",
    "cacheWriteInputTokenCount": "cacheWriteInputTokens",
    "generation_token_count": "candidates_token_count",
}
_TELEMETRY = "gen_ai.usage."


# Bedrock's InvokeModel counts in headers; the bodies of many models have no usage
# (https://github.com/aws/aws-sdk-js-v3/issues/8172).
_INPUT_HEADER = "x-amzn-bedrock-input-token-count"
_HEADERS = {
    _INPUT_HEADER: "inputTokens",
    "x-amzn-bedrock-output-token-count": "outputTokens",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokens",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokens",
}


def _counts_in_headers(headers: Mapping[Any, Any]) -> dict[str, Any]:
    """The counts in an answer's headers, whose values are texts."""
    found = {name: str(headers[header]) for header, name in _HEADERS.items() if header in headers}
    return {name: int(text) if text.isdecimal() else text for name, text in found.items()}


def _common_name(name: Any) -> Any:
    if isinstance(name, str) and name.startswith(_TELEMETRY):
        return name.removeprefix(_TELEMETRY).replace(".", "_")
    return _OTHER_NAMES.get(name, name)


_TOTALS = frozenset({"total_tokens", "totalTokens", "totalTokenCount"})


def continued(before: Any, more: Any) -> Any:
    """The usage of a stream, continued by a later one.

    Counts are running totals: a later one replaces an earlier one, unless it is missing or 0. The total of
    earlier counts is dropped.
    """
    if not isinstance(before, dict) or not isinstance(more, dict):
        return before if more is None else more
    whole = dict(before)
    if not _TOTALS.isdisjoint(before) and any(type(value) is int and value for value in more.values()):
        whole = {name: value for name, value in before.items() if name not in _TOTALS}
    for name, value in more.items():
        known = whole.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            whole[name] = continued(known, value)
        elif value or known is None:
            whole[name] = value
    return whole


def put_together(
    *,
    sent: int,
    answered: int,
    cached: int = 0,
    written: int = 0,
    thought: int = 0,
    total: int = 0,
    cached_is_inside: bool = True,
    thought_is_inside: bool = True,
    rest_is_thought: bool = False,
    details: Mapping[str, int] | None = None,
) -> ReportedUsage:
    """Combine counts; if there is a total, it tells which counts include which.

    Args:
        sent: the input.
        answered: the output.
        cached: the input that was read from a cache.
        written: the input that was written to a cache.
        thought: the output that was reasoning.
        total: the total that the provider reports; 0 if it reports none.
        cached_is_inside: whether the input includes cached tokens, if there is no total.
        thought_is_inside: whether the output includes reasoning, if there is no total.
        rest_is_thought: whether what the total has beyond all counts is reasoning that is not reported.
        details: the parts with prices of their own.
    """
    outside_input = 0 if cached_is_inside else cached + written
    outside_output = 0 if thought_is_inside else thought
    if total and total != sent + answered + outside_input + outside_output:
        for more_in, more_out in ((0, 0), (0, thought), (cached + written, 0), (cached + written, thought)):
            if total == sent + answered + more_in + more_out:
                outside_input, outside_output = more_in, more_out
                break
        else:
            rest = total - sent - answered - outside_input
            if rest_is_thought and not thought and rest > 0:
                thought = outside_output = rest
    read: ReportedUsage = {
        "input_tokens": sent + outside_input,
        "output_tokens": answered + outside_output,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "reasoning_tokens": thought,
    }
    found = {name: count for name, count in (details or {}).items() if count}
    if found:
        read["details"] = found
    return read
