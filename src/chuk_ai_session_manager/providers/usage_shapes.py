"""How each provider writes its usage: one function for each shape, recognised by its names.

Whether a provider's output includes reasoning, or its input cached tokens, is decided by its total if it
reports one: the names prove nothing, because many providers use OpenAI's names. The table in docs/costs.md
says where each field goes, and its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NotRequired, TypedDict

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
    "input_audio_seconds",
    "output_citation_tokens",
    "web_searches",
)
"""The names of the parts with prices of their own; all but the last three are tokens of the counts."""

_MOST_TOKENS = 10**12


# -- counts ---------------------------------------------------------------------------------------


class Counts:
    """Token counts of a dict or object by name; nested ones by a dotted path. A missing count is 0."""

    def __init__(self, usage: object) -> None:
        self._given = self._usage = usage
        self._containers: dict[str, Any] = {}
        if isinstance(usage, Mapping):
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
_GOOGLE = {
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
    "toolUsePromptTokensDetails": "tool_use_prompt_tokens_details",
}
_TELEMETRY = "gen_ai.usage."


def _common_name(name: Any) -> Any:
    if isinstance(name, str) and name.startswith(_TELEMETRY):
        return name.removeprefix(_TELEMETRY).replace(".", "_")
    return _GOOGLE.get(name, name)


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
    details: Mapping[str, int] | None = None,
) -> ReportedUsage:
    """Combine counts; if there is a total, it tells which counts include which."""
    outside_input = 0 if cached_is_inside else cached + written
    outside_output = 0 if thought_is_inside else thought
    if total and total != sent + answered + outside_input + outside_output:
        for more_in, more_out in ((0, 0), (0, thought), (cached + written, 0), (cached + written, thought)):
            if total == sent + answered + more_in + more_out:
                outside_input, outside_output = more_in, more_out
                break
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


# -- the shapes -----------------------------------------------------------------------------------


_PLAIN_CHAT = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def _openai_chat(counts: Counts) -> ReportedUsage:
    """OpenAI's chat completions, and all providers with its format.

    LiteLLM repeats the cached tokens under Anthropic's names; DeepSeek, Moonshot, Mistral and xAI's SDK have
    other names for them.
    """
    sent, answered = counts.first("prompt_tokens"), counts.first("completion_tokens")
    if counts.are_only(_PLAIN_CHAT):
        return put_together(sent=sent, answered=answered, total=counts.first("total_tokens"))
    cached = counts.first(
        "prompt_tokens_details.cached_tokens",
        "prompt_token_details.cached_tokens",
        "cache_read_input_tokens",
        "prompt_cache_hit_tokens",
        "cached_prompt_text_tokens",
        "num_cached_tokens",
        "cached_tokens",
    )
    if counts.has("citation_tokens", "num_search_queries", "search_context_size"):
        return _perplexity(counts, sent, answered, cached)
    return put_together(
        sent=sent,
        answered=answered,
        cached=cached,
        written=counts.first(
            "prompt_tokens_details.cache_write_tokens",
            "prompt_tokens_details.cache_creation_tokens",
            "prompt_tokens_details.cache_creation_input_tokens",
            "cache_creation_input_tokens",
        ),
        thought=counts.first("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
        total=counts.first("total_tokens"),
        details={
            "cache_write_1h_tokens": counts.first(
                "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens"
            ),
            "cache_write_12h_tokens": counts.first(
                "prompt_tokens_details.cache_creation_token_details.ephemeral_12h_input_tokens",
                "prompt_tokens_details.cache_write_tokens_details.ttl_12h_tokens",
            ),
            "input_audio_tokens": counts.first("prompt_tokens_details.audio_tokens"),
            "output_audio_tokens": counts.first("completion_tokens_details.audio_tokens"),
            "input_image_tokens": counts.first("prompt_tokens_details.image_tokens"),
            "output_image_tokens": counts.first("completion_tokens_details.image_tokens"),
            "input_video_tokens": counts.first("prompt_tokens_details.video_tokens"),
            "input_audio_seconds": counts.first("prompt_audio_seconds"),
            "web_searches": counts.first(
                "server_tool_use.web_search_requests",
                "prompt_tokens_details.web_search_requests",
                "server_tool_use_details.web_search_requests",
            ),
        },
    )


def _perplexity(counts: Counts, sent: int, answered: int, cached: int) -> ReportedUsage:
    """Perplexity bills citations and reasoning besides its completion tokens, outside its own total."""
    thought, cited = counts.first("reasoning_tokens"), counts.first("citation_tokens")
    return put_together(
        sent=sent,
        answered=answered + thought + cited,
        cached=cached,
        thought=thought,
        details={
            "output_citation_tokens": cited,
            "web_searches": counts.first("num_search_queries"),
        },
    )


def anthropic(counts: Counts) -> ReportedUsage:
    """Anthropic's messages: input without cached tokens, writes split by how long they are kept."""
    short = counts.first("cache_creation.ephemeral_5m_input_tokens")
    long = counts.first("cache_creation.ephemeral_1h_input_tokens")
    written = counts.first("cache_creation_input_tokens") or short + long
    if short + long != written:
        # A stream's start splits what was written by then; its end has the total. If everything was written
        # for the same time, so was the rest; otherwise, the rest is priced as a write of five minutes.
        long = written if long and not short else min(long, written)
    return put_together(
        sent=counts.first("input_tokens"),
        answered=counts.first("output_tokens"),
        cached=counts.first("cache_read_input_tokens"),
        written=written,
        thought=counts.first("output_tokens_details.thinking_tokens"),
        cached_is_inside=False,
        details={
            "cache_write_1h_tokens": long,
            "web_searches": counts.first("server_tool_use.web_search_requests"),
        },
    )


def _bedrock(counts: Counts) -> ReportedUsage:
    """Amazon's Converse, whose input excludes cached tokens; Vercel's AI SDK, whose input includes them."""
    is_converse = not counts.has("cachedInputTokens", "inputTokenDetails")
    return put_together(
        sent=counts.first("inputTokens"),
        answered=counts.first("outputTokens"),
        cached=counts.first("cacheReadInputTokens", "cachedInputTokens", "inputTokenDetails.cacheReadTokens"),
        written=counts.first("cacheWriteInputTokens", "inputTokenDetails.cacheWriteTokens"),
        thought=counts.first("reasoningTokens", "outputTokenDetails.reasoningTokens"),
        total=counts.first("totalTokens"),
        cached_is_inside=not is_converse,
        details={
            "cache_write_1h_tokens": counts.sum_where("cacheDetails", "ttl", "1h", "inputTokens"),
        },
    )


def _google(counts: Counts) -> ReportedUsage:
    """Gemini: input without what its tools read, output without its thoughts."""
    sent, used = counts.first("prompt_token_count"), counts.first("tool_use_prompt_token_count")
    answered, thought = counts.first("candidates_token_count"), counts.first("thoughts_token_count")
    total = counts.first("total_token_count")
    if used and total == sent + answered + thought:  # another library's usage, which has added them already
        used = 0
    return put_together(
        sent=sent + used,
        answered=answered,
        cached=counts.first("cached_content_token_count"),
        thought=thought,
        total=total,
        thought_is_inside=False,
        details={
            **_modalities(
                counts.by_kind("prompt_tokens_details", "tool_use_prompt_tokens_details"),
                counts.by_kind("cache_tokens_details"),
                counts.by_kind("candidates_tokens_details"),
            ),
        },
    )


def _interaction(counts: Counts) -> ReportedUsage:
    """Google's Interactions."""
    return put_together(
        sent=counts.first("total_input_tokens") + counts.first("total_tool_use_tokens"),
        answered=counts.first("total_output_tokens"),
        cached=counts.first("total_cached_tokens"),
        thought=counts.first("total_thought_tokens"),
        total=counts.first("total_tokens"),
        thought_is_inside=False,
        details={
            **_modalities(
                counts.by_kind("input_tokens_by_modality", "tool_use_tokens_by_modality"),
                counts.by_kind("cached_tokens_by_modality"),
                counts.by_kind("output_tokens_by_modality"),
            ),
            "web_searches": counts.sum_where("grounding_tool_count", "type", "google_search", "count"),
        },
    )


def _modalities(sent: dict[str, int], cached: dict[str, int], answered: dict[str, int]) -> dict[str, int]:
    found = {}
    for kind in ("audio", "image", "video"):
        also = "document" if kind == "image" else kind  # pages are read as images
        for name, by_kind in (
            (f"input_{kind}_tokens", sent),
            (f"cache_{kind}_read_tokens", cached),
            (f"output_{kind}_tokens", answered),
        ):
            found[name] = sum(by_kind.get(each, 0) for each in {kind, also})
    return found


def _ollama(counts: Counts) -> ReportedUsage:
    return put_together(sent=counts.first("prompt_eval_count"), answered=counts.first("eval_count"))


def _cohere(counts: Counts) -> ReportedUsage:
    """Cohere bills other counts than those that it reports as used."""
    return put_together(
        sent=counts.first("billed_units.input_tokens", "tokens.input_tokens"),
        answered=counts.first("billed_units.output_tokens", "tokens.output_tokens"),
    )


def _input_output(counts: Counts) -> ReportedUsage:
    """OpenAI's Responses, LangChain, OpenTelemetry, and this library's own names."""
    written = counts.first(
        "cache_write_tokens",
        "input_tokens_details.cache_write_tokens",
        "input_token_details.cache_creation",
        "input_token_details.flex_cache_creation",
        "input_token_details.priority_cache_creation",
        "cache_creation_input_tokens",
    )
    short = counts.first("input_token_details.ephemeral_5m_input_tokens")
    long = counts.first("input_token_details.ephemeral_1h_input_tokens", "cache_write_1h_tokens")
    details = {name: counts.first(f"details.{name}") for name in DETAILS}
    details["cache_write_1h_tokens"] = details["cache_write_1h_tokens"] or long
    details["cache_write_12h_tokens"] = details["cache_write_12h_tokens"] or counts.first(
        "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens"
    )
    for kind in ("audio", "image"):
        for name, paths in (
            (f"input_{kind}_tokens", ("input_token_details.{}", "input_tokens_details.{}_tokens")),
            (f"output_{kind}_tokens", ("output_token_details.{}", "output_tokens_details.{}_tokens")),
            (f"cache_{kind}_read_tokens", ("input_token_details.cached_tokens_details.{}_tokens",)),
        ):
            said = [path.format(kind) for path in (*paths, paths[0] + "_tokens")]
            details[name] = details[name] or counts.first(name, *said)
    return put_together(
        sent=counts.first("input_tokens"),
        answered=counts.first("output_tokens"),
        cached=counts.first(
            "cache_read_tokens",
            "input_tokens_details.cached_tokens",
            "input_tokens_details.cache_read_input_tokens",
            "input_token_details.cache_read",
            "input_token_details.flex_cache_read",
            "input_token_details.priority_cache_read",
            "input_token_details.cached_tokens",
            "cache_read_input_tokens",
        ),
        written=written or short + long,
        thought=counts.first(
            "reasoning_tokens",
            "output_tokens_details.reasoning_tokens",
            "output_token_details.reasoning",
            "output_token_details.flex_reasoning",
            "output_token_details.priority_reasoning",
            "output_token_details.reasoning_tokens",
            "output_tokens_details.thinking_tokens",
            "reasoning_output_tokens",
        ),
        total=counts.first("total_tokens"),
        details=details,
    )


def _telemetry(counts: Counts) -> ReportedUsage:
    """OpenTelemetry's attributes: the input includes cached tokens, although the names suggest otherwise."""
    return put_together(
        sent=counts.first("input_tokens"),
        answered=counts.first("output_tokens"),
        cached=counts.first("cache_read_input_tokens"),
        written=counts.first("cache_creation_input_tokens", "cache_write_input_tokens"),
        thought=counts.first("reasoning_output_tokens"),
    )


# The first function whose names are found is used; shapes whose names others repeat come last.
_SHAPES = (
    (("prompt_token_count", "candidates_token_count"), _google),
    (("total_input_tokens", "total_output_tokens"), _interaction),
    (("prompt_tokens", "completion_tokens"), _openai_chat),
    (("inputTokens", "outputTokens"), _bedrock),
    (("billed_units",), _cohere),
    (
        ("cache_read_tokens", "cache_write_tokens", "input_token_details", "input_tokens_details"),
        _input_output,
    ),
    (
        ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use"),
        anthropic,
    ),
    (("input_tokens", "output_tokens"), _input_output),
    (("prompt_eval_count", "eval_count"), _ollama),
)


def read_shape(counts: Counts) -> ReportedUsage | None:
    """A usage by the names in it; `None` if none is known."""
    if counts.is_telemetry:
        return _telemetry(counts)
    for names, read in _SHAPES:
        if counts.has(*names):
            return read(counts)
    return None
