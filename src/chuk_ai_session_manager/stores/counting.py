"""The totals of a session's events, as numbers by name to which a store can add.

The names: the totals, "newest" (the latest time, in microseconds since 1970), and for each model
"<model>:<name>"; usage without a model's name is under "". Numbers that follow from others are left out, and
so are zeros, because all of this is written with every event.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import compress
from operator import attrgetter
from typing import Any

from pydantic_core import from_json, to_json

from ..accounts.money import Usd, units_of
from ..exceptions import InvalidInput
from ..models import TokenUsage
from ..models.amounts import counted_in
from ..models.session_totals import COUNTS, EventIndex, SessionTotals
from ..models.token_usage import Counted, TokenSummary, counted_of, usd
from .base import AnyEvent
from .recency import microseconds_of
from .stored_data import EncodedEvent, damaged_header

# The most tokens or USD in one event: far more than there ever are; sums of thousands are exact in every
# store.
_MOST = 10**12

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Without the number of events, which the store counts itself.
_COUNTED = tuple(name for name in COUNTS if name != "events")
_counts_of = attrgetter(*_COUNTED)
# What the names of `SessionTotals.cache_misses` begin with.
_MISS = "cache_miss:"

# "more" is the difference between an application's own total and the sum of the two.
_USAGE_COUNTED = (
    "prompt_tokens",
    "completion_tokens",
    "more_tokens",
    "cost_usd",
    "usages",
    "priced",
    "estimated",
    "cost_rest",
)

# "cost_usd" is a sum of floats, whose error exceeds a millionth of a dollar after a million calls.
# "cost_rest" is the sum of what each cost has below a tenth of a cent, in millionths of a millionth of a
# dollar: a whole number, which every store adds exactly. The two together give the exact sum. (A release
# that knows only the first, such as 1.0.0.dev0, still works; the costs that it adds have no rest, and then
# the first number alone counts.)
_REST_UNITS = 10**9


def totals_of(events: Iterable[AnyEvent]) -> tuple[SessionTotals, datetime | None]:
    """The totals of events, and the newest one's time."""
    index = EventIndex().catch_up(list(events))
    return index.totals, index.newest


def counters_of(totals: SessionTotals, summary: TokenSummary, newest: datetime | None) -> dict[str, float]:
    """Totals and token summary as numbers to which a store can add."""
    found = _counted(totals, newest)
    of_none = TokenUsage(
        prompt_tokens=summary.total_prompt_tokens,
        completion_tokens=summary.total_completion_tokens,
        total_tokens=summary.total_tokens,
        estimated_cost_usd=summary.total_estimated_cost_usd,
    )
    for model, usage in summary.usage_by_model.items():
        found |= _counters_of_usage(model, counted_of(usage))
        of_none.prompt_tokens -= usage.prompt_tokens
        of_none.completion_tokens -= usage.completion_tokens
        of_none.total_tokens -= usage.total_tokens
        of_none.estimated_cost_usd = Usd(of_none.estimated_cost_usd or 0) - (usage.estimated_cost_usd or 0)
    return found | _counters_of_usage("", counted_of(of_none))


def counters_of_event(event: AnyEvent) -> dict[str, float]:
    """The numbers that one event adds.

    Raises:
        InvalidInput: a number is so large that sums would not be exact.
    """
    totals = SessionTotals()
    totals.count(event)
    names, numbers, counted = _COUNTED, _counts_of(totals), counted_in(event)
    if counted is not None:
        names, numbers = _names_with(counted[3]), numbers + _numbers_of(counted, counted[3])
    found = _without_zeros(names, numbers)
    if found and (max(found.values()) > _MOST or min(found.values()) < -_MOST):
        raise InvalidInput("store an event", f"tokens and USD are at most {_MOST:,} each")
    if totals.cache_misses:
        found.update(_counters_of_misses(totals))
    found["newest"] = microseconds_of(event.timestamp)
    return found


def usage_only(event: AnyEvent) -> EncodedEvent:
    """The numbers that an event adds to the token summary, without those that it adds to totals."""
    counted = counted_in(event)
    return EncodedEvent(event.id, "", {} if counted is None else _counters_of_usage(counted[3], counted))


def _counted(totals: SessionTotals, newest: datetime | None) -> dict[str, float]:
    found = _without_zeros(_COUNTED, _counts_of(totals)) | _counters_of_misses(totals)
    if newest is not None:
        found["newest"] = microseconds_of(newest)
    return found


def _counters_of_misses(totals: SessionTotals) -> dict[str, float]:
    return {_MISS + reason: count for reason, count in totals.cache_misses.items()}


def _counters_of_usage(model: str, usage: Counted) -> dict[str, float]:
    return _without_zeros(_usage_names(model), _numbers_of(usage, model))


def _numbers_of(usage: Counted, model: str) -> tuple[float, ...]:
    """The numbers of `_usage_names`."""
    prompt, completion, total, _, cost, is_estimated = usage
    if cost is not None and not math.isfinite(cost):
        raise InvalidInput("store a session", "a cost must be a finite number of USD")
    return (
        prompt,
        completion,
        total - prompt - completion,
        cost or 0.0,
        int(model != ""),
        int(cost is not None),
        int(is_estimated),
        units_of(cost) % _REST_UNITS if cost else 0,
    )


def _without_zeros(names: Sequence[str], numbers: Sequence[float]) -> dict[str, float]:
    return dict(compress(zip(names, numbers, strict=True), numbers))


@lru_cache(maxsize=1_000)
def _usage_names(model: str) -> tuple[str, ...]:
    return tuple(f"{model}:{what}" for what in _USAGE_COUNTED)


@lru_cache(maxsize=1_000)
def _names_with(model: str) -> tuple[str, ...]:
    """The names of an event's totals and usage: all in one dict takes less time than two that are joined."""
    return _COUNTED + _usage_names(model)


def counters_after(counters: Mapping[str, float], events: Iterable[EncodedEvent]) -> dict[str, float]:
    """The counters after some more events: "newest" is the latest time, all others are sums."""
    after = dict(counters)
    for event in events:
        for name, value in event.counters.items():
            before = after.get(name, 0)
            after[name] = max(before, value) if name == "newest" else before + value
    return after


def dump_counters(counters: Mapping[str, float]) -> str:
    """Counters as a JSON object, by pydantic's writer, which is the fastest one here."""
    return to_json(counters).decode()


def load_counters(session_id: str, text: str | bytes) -> dict[str, float]:
    """Counters from a JSON object. Numbers may be written as text there; whole ones are returned as integers.

    Raises:
        StorageError: the text is not such an object.
    """
    try:
        return {
            name: value if type(value) is int else _number(value) for name, value in from_json(text).items()
        }
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise damaged_header(session_id) from None


def _number(value: float | str) -> float:
    number = float(value)
    return int(number) if number.is_integer() else number


def totals_in(counters: Mapping[str, float], events: int) -> SessionTotals:
    """The totals in these counters, for so many events."""
    misses = {
        name.removeprefix(_MISS): int(count)
        for name, count in counters.items()
        if name.startswith(_MISS) and count
    }
    numbers: dict[str, Any] = {name: int(counters.get(name, 0)) for name in _COUNTED}
    return SessionTotals(events, **numbers, cache_misses=misses)


def summary_in(counters: Mapping[str, float]) -> TokenSummary:
    """The token summary in these counters."""
    models = [name.removesuffix(":usages") for name in counters if name.endswith(":usages")]
    summary = TokenSummary()
    summary.add(_usage_in(counters, ""))
    for model in models:
        summary.add(_usage_in(counters, model))
    return summary


def _exact_sum(drifted: float, rest: float) -> Usd:
    """The exact sum of costs, from the sum of floats and the sum of what each has below a tenth of a cent."""
    apart = units_of(drifted) - int(rest)
    exact = (apart + _REST_UNITS // 2) // _REST_UNITS * _REST_UNITS + int(rest)
    # The difference is more than a float's error, so some costs were added without a rest.
    is_whole = abs(exact - units_of(drifted)) <= 2_000_000 + abs(units_of(drifted)) // 10**10
    return Usd.of_units(exact) if is_whole else Usd(usd(drifted))


def _usage_in(counters: Mapping[str, float], model: str) -> TokenUsage:
    def counted(name: str) -> float:
        return counters.get(f"{model}:{name}", 0)

    prompt, completion = int(counted("prompt_tokens")), int(counted("completion_tokens"))
    cost = _exact_sum(counted("cost_usd"), counted("cost_rest"))
    return TokenUsage.model_construct(  # without checks: a difference may be negative
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion + int(counted("more_tokens")),
        model=model,
        estimated_cost_usd=cost if counted("priced") else None,
        estimated=bool(counted("estimated")),
    )


def newest_in(counters: Mapping[str, float]) -> datetime | None:
    """The newest event's time; `None` if no event was counted."""
    newest = counters.get("newest")
    return None if newest is None else _EPOCH + timedelta(microseconds=int(newest))
