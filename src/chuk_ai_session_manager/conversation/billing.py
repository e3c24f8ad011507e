"""Counting and billing events that are about to be stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..accounts.money import NOTHING
from ..accounts.price_list import STANDARD_TERMS, CallTerms
from ..accounts.pricing import cost_of_counts, has_prices, load_prices, own_price
from ..models import CallUsage, SessionEvent, TokenUsage
from ..models.amounts import Billed, bill_of, billed_of, put_billed, put_counted
from ..models.session_event import REPLACES
from ..models.token_usage import usd
from ..providers.parts import media_length
from ..providers.usage import ReportedUsage
from .drafts import Draft

# The system prompts and summaries of a manager, each for one or two models.
_PREFACES_KEPT = 16


async def count(drafts: Sequence[Draft]) -> None:
    """Put content tokens on each draft's event, and the bill on each call whose provider reported it."""
    for draft in drafts:
        if draft.text is None:
            continue
        model, is_call = draft.model, draft.is_call
        tokens = await TokenUsage.count_tokens(draft.text, model)
        if draft.media:
            tokens += await media_length(draft.media, draft.reader)
        draft.whole_tokens = tokens
        if (part := draft.replaces) is not None and part.is_stored:
            draft.event.metadata[REPLACES] = part.event.id
            tokens = max(0, tokens - part.whole_tokens)
            draft.whole_tokens = tokens + part.whole_tokens
        asked, answered = (0, tokens) if is_call else (tokens, 0)
        is_estimated = bool(draft.media) or TokenUsage.is_estimated(model)
        put_counted(draft.event, (asked, answered, tokens, model, None, is_estimated))
        if draft.reported is not None:
            if not has_prices():
                await load_prices()
            _bill(draft, draft.reported)


# A chat model gets some more tokens for each message, and for the beginning of its answer:
# https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken
TOKENS_A_MESSAGE, TOKENS_OF_A_BEGINNING = 3, 3


async def bill_estimated(
    drafts: Sequence[Draft],
    length: int,
    around: int,
    preface_length: Callable[[str], Awaitable[int]] | None,
    correction: Callable[[str], float],
) -> None:
    """Put an estimated bill on each call whose provider reported none.

    The estimate is made from the request, if it is known; otherwise from all messages before the answer, with
    the tokens for each message.

    Args:
        drafts: the events, in order, counted.
        length: content tokens of the session before them.
        around: the additional tokens for the session's messages.
        preface_length: returns all tokens, in a model's count, that are sent before the session's messages;
            `None` if there are none.
        correction: returns how many tokens a model's provider counts for each that we count.
    """
    if not has_prices():
        await load_prices()
    for draft in drafts:
        if draft.is_call and draft.reported is None:
            if preface_length is None and draft.is_whole:  # no wait is needed
                usage = estimated_usage(length + around + TOKENS_OF_A_BEGINNING, draft.whole_tokens)
            else:
                usage = await _estimate(draft, length, around, preface_length)
            factor = correction(draft.model)
            is_reported = draft.partly is not None and draft.partly["input_tokens"]
            if factor != 1 and not is_reported:
                usage["input_tokens"] = round(usage["input_tokens"] * factor)
            _bill(draft, usage)
        length += draft.tokens
        around += 0 if draft.text is None else TOKENS_A_MESSAGE


async def _estimate(
    draft: Draft, length: int, around: int, preface_length: Callable[[str], Awaitable[int]] | None
) -> ReportedUsage:
    """The usage of a call, as far as its provider did not report it."""
    output = draft.whole_tokens
    if draft.written is not None:
        output = max(output, await TokenUsage.count_tokens(draft.written, draft.model))
    if draft.partly is not None and draft.partly["input_tokens"]:
        usage: ReportedUsage = {**draft.partly}
        usage["output_tokens"] = max(output, usage["output_tokens"])
        return usage
    part = draft.replaces
    if part is not None and part.is_stored and (billed := part.whole_bill) is not None:
        sent = billed.input_tokens  # the same request, whose estimate was more exact then
    elif draft.request is not None:
        sent = await TokenUsage.count_tokens(await asyncio.to_thread(draft.request), draft.model)
        sent += draft.messages * TOKENS_A_MESSAGE + TOKENS_OF_A_BEGINNING
    else:
        sent = (length if draft.length is None else draft.length) + around + TOKENS_OF_A_BEGINNING
        if preface_length is not None:
            sent += await preface_length(draft.model)
    if draft.partly is not None:
        answered = draft.partly["output_tokens"] or output
        return {**draft.partly, "input_tokens": sent, "output_tokens": answered}
    return estimated_usage(sent, output)


def estimated_usage(sent: int, answered: int) -> ReportedUsage:
    """The usage of a call of which only the lengths are known."""
    return {
        "input_tokens": sent,
        "output_tokens": answered,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
    }


def _bill(draft: Draft, usage: ReportedUsage) -> None:
    if draft.service_tier is not None:
        usage = {**usage, "service_tier": draft.service_tier}
    if draft.counted is not None and draft.reported is not None and "iterations" not in usage:
        usage = {**usage, "counted_tokens": draft.counted}
    event = draft.event
    when = event.timestamp if draft.is_dated else None
    is_estimated = draft.reported is None
    billed, record = _billed(draft.model, draft.provider, usage, estimated=is_estimated, when=when)
    part = draft.replaces
    if part is not None and part.is_stored and (before := part.whole_bill) is not None:
        draft.whole_usage = record or bill_of(billed)
        record = _rest_of(draft.whole_usage, before)
        billed = billed_of(record)
    put_billed(event, billed, record)


def _difference(whole: float | None, part: float | None) -> float | None:
    return whole if whole is None or part is None else usd(whole - part)


def _rest_of(whole: CallUsage, part: CallUsage) -> CallUsage:
    """The bill of a call without the part of it that was billed before, so that the two add up to the call's.

    If the earlier estimate was more than the provider's final count, the cost is corrected, and may be below
    0; counts of tokens cannot be below 0.
    """
    counts = {name: max(0, getattr(whole, name) - getattr(part, name)) for name in _COUNTS}
    cost = whole.cost_usd
    if cost is not None and part.cost_usd is not None:
        cost -= part.cost_usd
    details = {name: count - part.details.get(name, 0) for name, count in whole.details.items()}
    return whole.model_copy(
        update=counts
        | {
            "cost_usd": cost,
            "details": {name: count for name, count in details.items() if count > 0},
            "cache_saved_usd": _difference(whole.cache_saved_usd, part.cache_saved_usd),
            "cache_miss_reason": None if part.cache_miss_reason else whole.cache_miss_reason,
            "continues": True,
        }
    )


async def bill(
    event: SessionEvent[Any],
    model: str,
    provider: str,
    usage: ReportedUsage,
    *,
    estimated: bool = False,
    when: datetime | None = None,
) -> None:
    """Put the bill of a model call on the event of its answer."""
    await load_prices()
    put_billed(event, *_billed(model, provider, usage, estimated=estimated, when=when))


def call_usage(
    model: str, provider: str, usage: ReportedUsage, *, estimated: bool = False, when: datetime | None = None
) -> CallUsage:
    """The bill of a model call, from the most trusted source that knows the cost.

    The sources are the charge that the provider or a gateway reports, the application's own price, and the
    price list. A call without any of these is unpriced.

    Args:
        model: the model, as its provider names it.
        provider: the provider that ran the model.
        usage: the usage.
        estimated: whether the usage was estimated here.
        when: the time of the call; now by default.
    """
    billed, record = _billed(model, provider, usage, estimated=estimated, when=when)
    return record or bill_of(billed)


def _billed(
    model: str, provider: str, usage: ReportedUsage, *, estimated: bool, when: datetime | None
) -> tuple[Billed, CallUsage | None]:
    """The same: the fields that most bills have, and the record of a bill that has more."""
    terms: dict[str, Any] = {}
    calls: list[CallUsage] = []
    if len(usage) > len(_COUNTS):  # more than its counts, as few calls have
        terms = _terms_of(usage)
        calls = [
            _call(each.get("model", model), provider, each, {**terms, **_terms_of(each)}, [])
            for each in usage.get("iterations", ())
        ]
    cost, source = usage.get("cost_usd"), "reported"
    if cost is None:
        if calls:
            cost, calls = _cost_with_calls(model, provider, usage, terms, calls, when)
        elif terms or "details" in usage or when is not None:
            cost = _cost(model, provider, usage, terms, when)
        else:
            cost = cost_of_counts(model, provider, usage)
        is_own = cost is not None and own_price(model, provider) is not None
        source = "unpriced" if cost is None else "application" if is_own else "priced"
    saved: float | None = None
    if usage["cache_read_tokens"] or usage["cache_write_tokens"]:
        saved, calls = _saved_by_cache(model, provider, usage, terms, calls, when)
    if terms or calls or usage.get("details"):
        record = _call(model, provider, usage, terms, calls, cost, source, saved, estimated=estimated)
        return billed_of(record), record
    billed: Billed = (
        model,
        provider,
        usage["input_tokens"],
        usage["output_tokens"],
        usage["cache_read_tokens"],
        usage["cache_write_tokens"],
        usage["reasoning_tokens"],
        cost,
        estimated,
        source,
        saved,
        usage.get("cache_miss_reason"),
        usage.get("counted_tokens"),
        False,
    )
    return billed, None


def _call(
    model: str,
    provider: str,
    usage: ReportedUsage,
    terms: dict[str, Any],
    calls: list[CallUsage],
    cost: float | None = None,
    source: str | None = None,
    saved: float | None = None,
    *,
    estimated: bool = False,
) -> CallUsage:
    """A bill from counts that were checked when they were read."""
    return CallUsage.of_valid(
        {
            "model": model,
            "provider": provider,
            "input_tokens": usage["input_tokens"],
            "output_tokens": usage["output_tokens"],
            "cache_read_tokens": usage["cache_read_tokens"],
            "cache_write_tokens": usage["cache_write_tokens"],
            "reasoning_tokens": usage["reasoning_tokens"],
            "cost_usd": cost,
            "estimated": estimated,
            "details": usage.get("details") or {},
            "cost_source": source,
            "iterations": calls,
            "cache_saved_usd": saved,
            "cache_miss_reason": usage.get("cache_miss_reason"),
            "counted_tokens": usage.get("counted_tokens"),
            **terms,
        }
    )


def _saved_by_cache(
    model: str,
    provider: str,
    usage: ReportedUsage,
    terms: dict[str, Any],
    calls: Sequence[CallUsage],
    when: datetime | None,
) -> tuple[float | None, list[CallUsage]]:
    """What more a call would have cost without a prompt cache; and the calls in it, each with the same."""

    def saved(model: str, counts: Mapping[str, Any], terms: Mapping[str, Any]) -> float | None:
        if not (counts["cache_read_tokens"] or counts["cache_write_tokens"]):
            return None
        details = counts.get("details") or {}
        plain = {
            **{name: counts[name] for name in _COUNTS},
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "details": {name: count for name, count in details.items() if not name.startswith("cache_")},
        }
        paid = _cost(model, provider, counts, terms, when)
        without = _cost(model, provider, plain, terms, when)
        return None if paid is None or without is None else usd(without - paid)

    if not calls:
        return saved(model, usage, terms), []
    each = [saved(call.model, vars(call), vars(call)) for call in calls]
    known = [amount for amount in (*each, saved(model, _without(usage, calls), terms)) if amount is not None]
    told = [call.model_copy(update={"cache_saved_usd": n}) for call, n in zip(calls, each, strict=True)]
    return (usd(sum(known)) if known else None), told


def _cost_with_calls(
    model: str,
    provider: str,
    usage: ReportedUsage,
    terms: dict[str, Any],
    calls: Sequence[CallUsage],
    when: datetime | None,
) -> tuple[float | None, list[CallUsage]]:
    """The cost of a call and of the calls that its provider made in it, each at its own model's price."""
    rest = _without(usage, calls)
    costs = [_cost(call.model, provider, vars(call), vars(call), when) for call in calls]
    priced = [call.model_copy(update={"cost_usd": paid}) for call, paid in zip(calls, costs, strict=True)]
    if any(rest.values()):
        costs.append(_cost(model, provider, rest, terms, when))
    known = [paid for paid in costs if paid is not None]
    return float(sum(known, NOTHING)) if len(known) == len(costs) else None, priced


_COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_TERMS = ("service_tier", "speed", "inference_geo")


def _terms_of(usage: ReportedUsage) -> dict[str, Any]:
    return {name: usage[name] for name in _TERMS if name in usage}  # type: ignore[literal-required]


def _without(usage: ReportedUsage, calls: Sequence[CallUsage]) -> dict[str, Any]:
    """Counts without those of the calls that they include."""
    rest: dict[str, Any] = {
        name: usage[name] - sum(getattr(call, name) for call in calls)  # type: ignore[literal-required]
        for name in _COUNTS
    }
    details = {
        name: count - sum(call.details.get(name, 0) for call in calls)
        for name, count in usage.get("details", {}).items()
    }
    return rest | {"details": {name: count for name, count in details.items() if count > 0}}


def _cost(
    model: str, provider: str, counts: Mapping[str, Any], terms: Mapping[str, Any], when: datetime | None
) -> float | None:
    called = CallTerms(*map(terms.get, _TERMS)) if terms else STANDARD_TERMS
    return cost_of_counts(model, provider, counts, counts.get("details"), called, when)


@dataclass(slots=True)
class LengthCache:
    """Lengths in tokens of the few texts that are sent before the messages in every call."""

    _lengths: dict[tuple[str, str], int] = field(default_factory=dict)

    async def length(self, text: str, model: str) -> int:
        """Return the length of a text for a model, which is counted once."""
        key = (text, model)
        if key not in self._lengths:
            if len(self._lengths) >= _PREFACES_KEPT:
                self._lengths.clear()
            self._lengths[key] = await TokenUsage.count_tokens(text, model)
        return self._lengths[key]
