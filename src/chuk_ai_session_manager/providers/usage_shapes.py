"""How each provider writes its usage: one function for each shape, recognised by its names.

The table in docs/costs.md says where each field goes, and its source.
"""

from __future__ import annotations

from .usage_counts import DETAILS, Counts, ReportedUsage, put_together

_PLAIN_CHAT = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def _openai_chat(counts: Counts) -> ReportedUsage:
    """OpenAI's chat completions, and all providers with its format.

    LiteLLM repeats the cached tokens under Anthropic's names; DeepSeek, Moonshot, Mistral and xAI's SDK have
    other names for them. Gemini's models through gateways have their thoughts in the total only
    (https://github.com/mozilla-ai/any-llm/issues/1290).
    """
    sent, answered = counts.first("prompt_tokens"), counts.first("completion_tokens")
    total = counts.first("total_tokens")
    if not (sent or answered) and counts.first("input_tokens", "output_tokens"):
        return _input_output(counts)  # proxies that write both kinds of names, one of them with zeros
    if not answered and not counts.has("completion_tokens"):
        answered = max(0, total - sent)
    if counts.are_only(_PLAIN_CHAT):
        return put_together(sent=sent, answered=answered, total=total, rest_is_thought=True)
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
        total=total,
        rest_is_thought=True,
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
    return put_together(
        sent=counts.first("prompt_eval_count"),
        answered=counts.first("eval_count"),
        cached=counts.first("prompt_eval_cached_count"),
    )


def _llama_cpp(counts: Counts) -> ReportedUsage:
    """The `timings` of llama.cpp's server (https://github.com/ggml-org/llama.cpp/pull/15827).

    `prompt_n` are the tokens that were processed, without those from the cache.
    """
    return put_together(
        sent=counts.first("prompt_n"),
        answered=counts.first("predicted_n"),
        cached=counts.first("cache_n"),
        cached_is_inside=False,
    )


def _cohere(counts: Counts) -> ReportedUsage:
    """Cohere bills other counts than those that it reports as used."""
    return put_together(
        sent=counts.first("billed_units.input_tokens", "tokens.input_tokens"),
        answered=counts.first("billed_units.output_tokens", "tokens.output_tokens"),
    )


def _input_output(counts: Counts) -> ReportedUsage:
    """OpenAI's and Perplexity's Responses, LangChain, pydantic-ai, DashScope, and our own names."""
    written = counts.first(
        "cache_write_tokens",
        "input_tokens_details.cache_write_tokens",
        "input_tokens_details.cache_creation_input_tokens",
        "prompt_tokens_details.cache_creation_input_tokens",
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
    details["web_searches"] = details["web_searches"] or counts.first(
        "server_tool_use.web_search_requests", "tool_calls_details.search_web.invocation"
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
            "prompt_tokens_details.cached_tokens",
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
            "completion_tokens_details.reasoning_tokens",
            "reasoning_output_tokens",
            "output_reasoning_tokens",
            "details.reasoning_tokens",
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
    (("prompt_n", "predicted_n"), _llama_cpp),
)


def read_shape(counts: Counts) -> ReportedUsage | None:
    """A usage by the names in it; `None` if none is known."""
    if counts.is_telemetry:
        return _telemetry(counts)
    for names, read in _SHAPES:
        if counts.has(*names):
            return read(counts)
    return None
