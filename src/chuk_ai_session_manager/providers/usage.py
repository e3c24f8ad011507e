"""Reads any provider's usage into one set of counts, with the parts that have prices of their own.

The table in docs/costs.md says where each field goes, and its source. The package of the price list has
readers too (`genai_prices.extract_usage`, 0.2.3). They are not used, because they must be told
the provider and the API (if told wrongly, they silently leave xAI's reasoning out of the bill), accept only
dicts, and do not read LangChain's, LiteLLM's and Ollama's usage, iterations, twelve-hour cache writes,
the tools of a Response, DeepSeek's and Moonshot's cached tokens, and a gateway's reported charge. A
test compares the two for usages that both can read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from ..exceptions import InvalidInput
from .common import field_of, list_of, name_in
from .usage_counts import Counts, ReportedUsage, put_together
from .usage_shapes import anthropic, read_shape

__all__ = ["ReportedUsage", "image_model_of", "read_usage", "usage_of"]


_REASON = re.compile(r"[a-z_]{1,40}")
_TICKS_PER_USD = 10**10  # xAI's cost_in_usd_ticks
_MODEL_OF_IMAGES = "gpt-image-2.6-sunburst"
"""The model of OpenAI's image tool if a request names none (openai 3.57, `types/responses/tool.py`)."""


def read_usage(usage: object, *, beside: ReportedUsage | None = None) -> ReportedUsage:
    """Read a provider's usage into `input_tokens` (including cached ones), `output_tokens` and their parts.

    The names of OpenAI (chat, Responses, realtime), Anthropic, Google (Gemini and Interactions), Amazon
    Bedrock, Cohere, Ollama, xAI, LiteLLM, LangChain, Vercel's AI SDK, OpenTelemetry and this library are
    known, in a dict or an object. Anthropic and Bedrock report the input without cached tokens, Google the
    output without thoughts, and xAI without reasoning; the result always includes them.

    Args:
        usage: the usage alone, not the response that contains it.
        beside: the usage in the response itself; terms of the call that `usage` does not name are taken from
            it.

    Raises:
        InvalidInput: there are no known names, a count is not a whole number of at least 0, or there are more
            cached tokens than input tokens.
    """
    counts = Counts(usage)
    read = read_shape(counts)
    if read is None:
        raise InvalidInput(
            "read usage",
            "none of the known names is there: prompt_tokens and completion_tokens, "
            "input_tokens and output_tokens, or prompt_token_count and candidates_token_count",
        )
    if read["cache_read_tokens"] + read["cache_write_tokens"] > read["input_tokens"]:
        raise InvalidInput("read usage", "there are more cached tokens than input tokens")
    if not (read["input_tokens"] and read["output_tokens"]):
        _mark_unreported(read, counts)
    if type(usage) is not dict or not _BESIDE_COUNTS.isdisjoint(usage):
        _add_terms(read, usage)
        _add_iterations(read, usage)
    if beside is not None and "service_tier" in beside:
        read.setdefault("service_tier", beside["service_tier"])
    return read


# The names of a call's lengths. Google leaves out counts that are 0, Cohere has its names in containers.
_INPUT_NAMES = ("prompt_tokens", "input_tokens", "inputTokens", "prompt_eval_count", "prompt_n")
_OUTPUT_NAMES = ("completion_tokens", "output_tokens", "outputTokens", "eval_count", "predicted_n")


def _mark_unreported(read: ReportedUsage, counts: Counts) -> None:
    """Mark the input or the output as unreported, if the usage has only the other one.

    Ollama left out the input of a cached prompt (https://github.com/ollama/ollama/issues/2068), and gateways
    leave out the output.
    """
    if read["input_tokens"] and counts.has(*_INPUT_NAMES) and not counts.has(*_OUTPUT_NAMES):
        read["unreported"] = "output_tokens"
    elif read["output_tokens"] and counts.has(*_OUTPUT_NAMES) and not counts.has(*_INPUT_NAMES):
        read["unreported"] = "input_tokens"


def usage_of(response: object) -> ReportedUsage | None:
    """The usage in a provider's response, with its tier, tools and cost.

    `None` if there is no readable usage, or if all counts are 0: some libraries report 0 for "not reported"
    (openai-agents, for a stream without `include_usage`).
    """
    try:
        read = next((read_usage(found) for found in _usages_in(response)), None)
    except InvalidInput:  # an unreadable bill must not lose the answer
        return None
    if read is None or not (read["input_tokens"] or read["output_tokens"] or "cost_usd" in read):
        return None
    _add_tools(read, response)
    hidden = field_of(field_of(response, "_hidden_params"), "response_cost")
    charged = _usd(hidden) or _usd(field_of(response, "reported_cost_usd"))
    if "cost_usd" not in read and charged:  # LiteLLM writes 0.0 if it does not know
        read["cost_usd"] = charged
    tier = field_of(response, "service_tier") or field_of(response, "serviceTier")
    tier = tier or field_of(field_of(response, "response_metadata"), "service_tier")
    tier = name_in(field_of(tier, "type")) or name_in(tier)  # Bedrock: {"type": "flex"}
    if tier:
        read.setdefault("service_tier", tier)
    if (reason := cache_miss_in(response)) is not None:
        read["cache_miss_reason"] = reason
    return read


# Reasons are counted by their names; what is no such name is counted as this.
_OTHER_REASON = "other"


def cache_miss_in(response: object) -> str | None:
    """Why the cache missed, as a response says it; `None` where it says nothing, or that there was a hit.

    Anthropic's `diagnostics.cache_miss_reason` (anthropic 2.14), OpenAI's `prompt_cache_diagnostics`
    (openai 3.57): both where the request asks for a comparison with the response before.
    """
    reason = field_of(response, "cache_miss_reason")
    if reason is None:
        reason = field_of(field_of(response, "diagnostics"), "cache_miss_reason")
    if reason is None:
        reason = field_of(response, "prompt_cache_diagnostics")
    if reason is None or field_of(reason, "type") == "cache_hit":
        return None
    name = name_in(reason) or name_in(field_of(reason, "reason")) or name_in(field_of(reason, "type"))
    if name is None:
        return None
    return name if _REASON.fullmatch(name) else _OTHER_REASON


def _usages_in(response: object) -> Iterator[object]:
    """The places of usage in responses, the most exact first."""
    for name in ("usage", "usage_metadata", "usageMetadata", "token_usage"):
        if (found := field_of(response, name)) is not None:
            yield found
    if (found := field_of(field_of(response, "x_groq"), "usage")) is not None:
        yield found
    if field_of(response, "eval_count") is not None or field_of(response, "prompt_eval_count") is not None:
        yield response


# -- terms and charges ----------------------------------------------------------------------------

# The names that this section looks for: a plain dict without any of them is read faster.
_BESIDE_COUNTS = frozenset(
    {
        "cost", "cost_details", "cost_in_usd_ticks", "cost_usd", "cost_usd_total", "estimated_cost",
        "inference_geo", "input_token_details", "is_byok", "iterations", "service_tier", "speed",
        "trafficType", "traffic_type",
    }
)  # fmt: skip


def _add_terms(read: ReportedUsage, usage: object) -> None:
    """Add the terms of the call, and the charge."""
    tier = name_in(field_of(usage, "service_tier"))
    traffic = field_of(usage, "traffic_type") or field_of(usage, "trafficType")
    tier = tier or name_in(getattr(traffic, "value", traffic)) or _langchain_tier(usage)
    if tier:
        read["service_tier"] = tier
    if speed := name_in(field_of(usage, "speed")):
        read["speed"] = speed
    if geo := name_in(field_of(usage, "inference_geo")):
        read["inference_geo"] = geo
    cost = _cost_in(usage)
    if cost is not None:
        read["cost_usd"] = cost


def _langchain_tier(usage: object) -> str | None:
    """LangChain writes the tier into the names of the details: "flex_cache_read" beside "flex"."""
    details = field_of(usage, "input_token_details")
    tiers = ("flex", "priority")
    return next((tier for tier in tiers if field_of(details, tier) is not None), None)


def _cost_in(usage: object) -> float | None:
    """The charge that a usage reports, in USD."""
    ticks = _usd(field_of(usage, "cost_in_usd_ticks"))
    if ticks:
        return ticks / _TICKS_PER_USD
    # LLM Gateway's name is `cost_usd_total` (https://docs.llmgateway.io/features/cost-breakdown).
    cost = field_of(usage, "cost_usd", "cost_usd_total", "cost")
    cost = field_of(cost, "total_cost") if isinstance(cost, Mapping) or hasattr(cost, "total_cost") else cost
    charged = _usd(cost)
    if charged is None:
        return _usd(field_of(usage, "estimated_cost"))  # DeepInfra's name for its charge
    if field_of(usage, "is_byok") is True:
        # With your own key, OpenRouter charges a fee, and the provider charges the rest.
        upstream = _usd(field_of(field_of(usage, "cost_details"), "upstream_inference_cost"))
        charged += upstream or 0.0
    return charged


def _usd(amount: object) -> float | None:
    """An amount of money as a gateway writes it; `None` for any other value."""
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        return None
    try:
        value = float(amount)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _add_iterations(read: ReportedUsage, usage: object) -> None:
    """Add the calls that Anthropic made by itself (its beta `iterations`).

    Iterations of compaction and of an advisor are not in the main counts. The others are, if the main counts
    are their sum; they are separate calls all the same, whose prices depend on their own lengths.
    """
    outside: list[ReportedUsage] = []
    inside: list[ReportedUsage] = []
    for each in list_of(field_of(usage, "iterations")):
        call = anthropic(Counts(each))
        if model := name_in(field_of(each, "model")):
            call["model"] = model
        kind = field_of(each, "type")
        (inside if kind in {"message", "fallback_message", None} else outside).append(call)
    is_sum = all(sum(call[name] for call in inside) == read[name] for name in _LENGTHS)
    if len(inside) == 1 and is_sum:
        inside = []
    if inside and not is_sum:  # the last one gave the answer, and is what the main counts contain
        outside += [call for call in inside[:-1] if "model" in call]
        inside = []
    for call in outside:
        _add(read, call)
    if outside or inside:
        read["iterations"] = outside + inside


_LENGTHS: tuple[Literal["input_tokens", "output_tokens"], ...] = ("input_tokens", "output_tokens")


def _add(read: ReportedUsage, call: ReportedUsage) -> None:
    """Add a call to counts that do not include it."""
    for name in _COUNTED:
        read[name] += call[name]  # type: ignore[literal-required]
    for name, count in call.get("details", {}).items():
        details = read.setdefault("details", {})
        details[name] = details.get(name, 0) + count


_COUNTED = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


def _add_tools(read: ReportedUsage, response: object) -> None:
    """Add what the provider's tools did for the answer, which its main usage does not include."""
    searches = field_of(response, "searches") or searches_in(response)
    if searches:
        read.setdefault("details", {}).update(searches)
    images = Counts(field_of(field_of(response, "tool_usage"), "image_gen"))
    sent, answered = images.first("input_tokens"), images.first("output_tokens")
    if not (sent or answered):
        return
    pictures = images.first("output_tokens_details.image_tokens")
    if not images.has("output_tokens_details"):
        pictures = answered
    call = put_together(
        sent=sent,
        answered=answered,
        cached=images.first("cached_tokens"),
        details={
            "input_image_tokens": images.first("input_tokens_details.image_tokens"),
            "output_image_tokens": pictures,
            "cache_image_read_tokens": images.first("cached_tokens_details.cached_image_tokens"),
        },
    )
    call["model"] = name_in(field_of(response, "image_model")) or image_model_of(response)
    call["service_tier"] = "default"  # the tier is that of the model that answered
    _add(read, call)
    read.setdefault("iterations", []).append(call)


def searches_in(response: object) -> dict[str, int]:
    """The searches that are billed, as a response of OpenAI or Google shows them; empty without any.

    A Response counts its web searches in `tool_usage`; servers that leave that out show the calls, of which
    those that search are billed, not those that open a page
    (https://developers.openai.com/api/docs/guides/tools-web-search). Calls of file search are not in
    `tool_usage`. Google bills the queries of Gemini 3 and later, and one search a prompt for earlier models
    (https://ai.google.dev/gemini-api/docs/pricing).
    """
    items = list_of(field_of(response, "output"))
    said = field_of(field_of(response, "tool_usage"), "web_search")
    on_the_web = Counts(said).first("num_requests") if said is not None else _web_searches(items)
    in_files = sum(field_of(item, "type") == "file_search_call" for item in items)
    if grounded := _grounding_queries(response):
        model = name_in(field_of(response, "modelVersion", "model_version")) or ""
        on_the_web = 1 if model.rpartition("/")[2].startswith(_BILLED_BY_PROMPT) else grounded
    found = {"web_searches": on_the_web, "storage_searches": in_files}
    return {name: count for name, count in found.items() if count}


_BILLED_BY_PROMPT = ("gemini-1", "gemini-2")


def _web_searches(items: Iterable[object]) -> int:
    calls = [item for item in items if field_of(item, "type") == "web_search_call"]
    actions = [field_of(field_of(call, "action"), "type") for call in calls]
    return sum(action in {"search", None} for action in actions)


def _grounding_queries(response: object) -> int:
    queries = 0
    for candidate in list_of(field_of(response, "candidates")):
        grounding = field_of(candidate, "groundingMetadata", "grounding_metadata")
        queries += len(list_of(field_of(grounding, "webSearchQueries", "web_search_queries")))
    return queries


def image_model_of(response: object) -> str:
    """The model that made a Response's images, from its calls or its request."""
    said = [
        name
        for items, kind in (("output", "image_generation_call"), ("tools", "image_generation"))
        for each in list_of(field_of(response, items))
        if field_of(each, "type") == kind and (name := name_in(field_of(each, "model")))
    ]
    return said[0] if said else _MODEL_OF_IMAGES
