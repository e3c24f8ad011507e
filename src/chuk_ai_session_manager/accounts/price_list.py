"""Prices from the `genai-prices` package, without billing a call at another model's price.

The package knows what each unit costs, from which length of input and from which day on. This module handles
the cases in which the package (0.2.3) silently gives the standard price, or another model's:

* a model's name that only begins like a listed one (`gpt-5-nano-foo`, `deepseek-r1:8b`);
* a service tier, or a context such as `speed`, that the model's entry does not have;
* a part of the usage for which the model's entry has no price (tokens of a model that is priced by the hour);
* an update with an empty or broken list: the earlier list stays.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from .model_names import is_fine_tuned, names_of, readings_of
from .money import DECIMALS, UNITS

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, Provider

PLAIN_KEYS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
_MILLION = Decimal(1_000_000)
_THOUSAND = Decimal(1_000)

# Discounts that a provider states for all its models, used for models whose entries do not have them.
_FLAT_DISCOUNTS = {
    # "50% discount": https://platform.openai.com/docs/guides/batch
    ("openai", "batch"): Decimal("0.5"),
    # "priced at Batch API rates": https://platform.openai.com/docs/guides/flex-processing
    ("openai", "flex"): Decimal("0.5"),
    # "50% of the standard API prices": https://platform.claude.com/docs/en/build-with-claude/batch-processing
    ("anthropic", "batch"): Decimal("0.5"),
    # "50% of the standard cost": https://ai.google.dev/gemini-api/docs/batch-api
    ("google", "batch"): Decimal("0.5"),
}
# "1.1x on all token pricing categories" for inference in the US only:
# https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing
_GEO_FACTORS = {("anthropic", "us"): Decimal("1.1")}
_ANYWHERE = {"", "global", "default", "not_available", "unspecified", "none"}

# Providers' names for the tier with the standard price. ("auto" asks for the account's default.)
_STANDARD = {
    "", "default", "standard", "standard_only", "auto", "on_demand", "none", "unspecified",
    "traffic_type_unspecified",
}  # fmt: skip
_TIER_NAMES = {"on_demand_flex": "flex", "on_demand_priority": "priority"}  # Google's traffic_type

# What may follow a listed name without changing the model: a date, a numbered version, or "latest".
_SAME_MODEL = re.compile(
    r"(?:[-@:._]?(?:latest|preview|exp|default|20\d{2}-?[01]\d-?[0-3]\d|\d{2}-\d{2}|\d{2}-20\d{2}|\d{3,4}"
    r"|v\d(?:[.:]\d)*)|:\d)*[-@]?"
)
_COMPACT_DATE = re.compile(r"-(20\d{2})([01]\d)([0-3]\d)(?=$|[-:])")
_IN_FRONT = re.compile(r"(?:[\w-]+[./])*")


class CallTerms(NamedTuple):
    """The terms of a call: everything besides model and tokens that its price depends on."""

    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None

    @property
    def tier(self) -> str | None:
        """The tier's common name; `None` for the standard one."""
        name = _common(self.service_tier)
        name = _TIER_NAMES.get(name, name)
        return None if name in _STANDARD else name

    @property
    def context(self) -> dict[str, str]:
        """The price list's names for these terms. To the list, batch is a kind of processing, not a tier."""
        speed = _common(self.speed)
        found = {} if speed in _STANDARD else {"speed": speed}
        if self.tier is not None:
            found["processing" if self.tier == "batch" else "service_tier"] = self.tier
        return found


def _common(name: str | None) -> str:
    return (name or "").strip().lower().removeprefix("service_tier_").replace("-", "_")


STANDARD_TERMS = CallTerms()


@dataclass(frozen=True, slots=True)
class Rates:
    """The prices of a model's parts under certain terms: an entry of the list, and a factor."""

    prices: ModelPrice
    factor: Decimal = Decimal(1)
    plain: tuple[int, int, int, int] | None = None
    """The price of a token of input, output, cache reads and writes, in units of `accounts.money`, if nothing
    else decides and all four are whole numbers."""

    @classmethod
    def of(cls, prices: ModelPrice, factor: Decimal = Decimal(1)) -> Rates:
        """From an entry, with its plain prices taken out if it has such."""
        rates = {name: price for name, price in vars(prices).items() if price is not None}
        plain = None
        has_fees = any(name.endswith("_kcount") and "searches" not in name for name in rates)
        if not has_fees and {"input_mtok", "output_mtok"} <= rates.keys():
            paid = [rates.get(name, rates["input_mtok"]) for name in PLAIN_KEYS]
            if all(isinstance(price, Decimal) for price in paid) and "output_reasoning_mtok" not in rates:
                units = [price * factor * UNITS / _MILLION for price in paid]
                if all(each == int(each) for each in units):
                    plain = (int(units[0]), int(units[1]), int(units[2]), int(units[3]))
        return cls(prices, factor, plain)

    def cost_of(self, counts: Mapping[str, Any], details: Mapping[str, int]) -> float | None:
        """What a call's parts cost in USD, rounded to a unit of money; `None` if a part has no price."""
        if self.plain is not None and not details:
            read, written = counts["cache_read_tokens"], counts["cache_write_tokens"]
            fresh = counts["input_tokens"] - read - written
            price_in, price_out, price_read, price_write = self.plain
            paid: int = fresh * price_in + counts["output_tokens"] * price_out + read * price_read
            return int(paid + written * price_write) / UNITS
        cost = self._cost_by_parts(counts, details)
        return None if cost is None else round(float(cost), DECIMALS)

    def _cost_by_parts(self, counts: Mapping[str, int], details: Mapping[str, int]) -> Decimal | None:
        usage = usage_units(counts, details)
        if not _covers(self.prices, usage):
            return None
        from genai_prices import Usage  # noqa: PLC0415  (0.1 s that only priced calls should pay)

        searches = {name: usage.pop(name, 0) for name in _SEARCHES}
        try:
            cost = self.prices.calc_price(Usage(**usage))["total_price"]
        except ValueError:  # contradictory parts, or the list is faulty: no price rather than a wrong one
            return None
        # OpenAI charges twice the price of a write for a cache of twelve hours:
        # https://platform.openai.com/docs/guides/prompt-caching
        long_kept = details.get("cache_write_12h_tokens", 0)
        if long_kept:
            price = _tiered(self.prices.cache_write_mtok or self.prices.input_mtok, counts["input_tokens"])
            cost += long_kept * price / _MILLION
        fees = sum(
            count * _tiered(getattr(self.prices, _price_key(name)), 0) for name, count in searches.items()
        )
        return cost * self.factor + fees / _THOUSAND


_SEARCHES = ("web_searches", "storage_searches")
"""Parts that cost the same in every tier."""


def usage_units(counts: Mapping[str, int], details: Mapping[str, int]) -> dict[str, int]:
    """A call's counts under the names of the price list's units.

    The list needs to know how parts overlap, for instance how much audio was cached. If the provider does
    not report that, the smallest overlap that agrees with the sums is assumed.
    """
    units = {name: details[name] for name in details if name != "cache_write_12h_tokens"}
    for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"):
        units[name] = counts[name]
    if counts.get("reasoning_tokens"):
        units["output_reasoning_tokens"] = counts["reasoning_tokens"]
    if "input_audio_seconds" in units:
        units.setdefault("audio_seconds", units["input_audio_seconds"])
    for kind in ("audio", "image", "video"):
        _add_overlaps(units, kind)
    return units


def _add_overlaps(units: dict[str, int], kind: str) -> None:
    taken, made = units.get(f"input_{kind}_tokens", 0), units.get(f"output_{kind}_tokens", 0)
    for way in ("read", "write") if taken else ():
        if cached := units[f"cache_{way}_tokens"]:
            units.setdefault(f"cache_{kind}_{way}_tokens", max(0, cached + taken - units["input_tokens"]))
    if taken and units.get("cache_write_1h_tokens"):
        units.setdefault(f"cache_{kind}_write_1h_tokens", 0)
    thought = units.get("output_reasoning_tokens", 0)
    if made and thought:
        units[f"output_{kind}_reasoning_tokens"] = max(0, made + thought - units["output_tokens"])


def _covers(prices: ModelPrice, usage: Mapping[str, int]) -> bool:
    """Whether each part of a usage has a price: its own, or that of the part that it belongs to."""
    rates = {name for name, price in vars(prices).items() if price is not None}

    def rest(whole: str, *parts: str) -> int:
        return usage[whole] - sum(usage.get(part, 0) for part in parts if _price_key(part) in rates)

    kinds = ("audio", "image", "video")
    if "input_mtok" not in rates and rest("input_tokens", *(f"input_{kind}_tokens" for kind in kinds)) > 0:
        return False
    if "output_mtok" not in rates and rest("output_tokens", *(f"output_{kind}_tokens" for kind in kinds)) > 0:
        return False
    for part in ("web_searches", "social_searches", "storage_searches", "input_audio_seconds"):
        # A fee for each request includes the request's searches (Perplexity's).
        has_fee = part == "web_searches" and "requests_kcount" in rates
        if usage.get(part) and _price_key(part) not in rates and not has_fee:
            return False
    return True


def _price_key(unit: str) -> str:
    if unit.endswith("_searches"):
        return f"{unit}_kcount"
    if unit.endswith("_seconds"):
        return f"{unit.removesuffix('_seconds')}_hours"
    return f"{unit.removesuffix('_tokens')}_mtok"


def _tiered(price: Any, input_tokens: int) -> Decimal:
    """A price at a length of input: the whole call has the price that its last token reaches."""
    if price is None or isinstance(price, Decimal):
        return price or Decimal(0)
    reached: list[Decimal] = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return reached[-1] if reached else Decimal(price.base)


# -- finding a model's entry ----------------------------------------------------------------------


def has_prices() -> bool:
    """Whether the price list is loaded."""
    return _Current.snapshot is not None


async def load_prices() -> None:
    """Load the price list, outside the event loop: that takes over 100 ms the first time."""
    if not has_prices():
        await asyncio.to_thread(_snapshot)


class _Current:
    """The list that is in use."""

    seen: DataSnapshot | None = None
    """The package's list when it was last checked."""
    snapshot: DataSnapshot | None = None
    """The last valid list."""
    entries: dict[tuple[str, str | None], tuple[Provider, ModelInfo] | None] = {}  # noqa: RUF012
    rates: dict[tuple[str, str | None, CallTerms], Rates | None] = {}  # noqa: RUF012


_MOST_KEPT = 1_000


@cache
def _updates() -> ModuleType:
    """The module that knows the newest list; an `import` for each price takes as long as the price."""
    from genai_prices import data_snapshot  # noqa: PLC0415  (as above)

    return data_snapshot


def _snapshot() -> DataSnapshot:
    data_snapshot = _updates()
    newest: DataSnapshot = data_snapshot.get_snapshot()
    if newest is not _Current.seen:
        if _is_sound(newest):
            _Current.snapshot = newest
        elif _Current.snapshot is None:
            from genai_prices.data import providers  # noqa: PLC0415

            _Current.snapshot = data_snapshot.DataSnapshot(providers, from_auto_update=False)
        _Current.entries, _Current.rates = {}, {}
        _Current.seen = newest
    assert _Current.snapshot is not None  # noqa: S101  (set above; tells mypy)
    return _Current.snapshot


def _is_sound(snapshot: DataSnapshot) -> bool:
    """Whether a list has models, and valid prices."""
    checked = 0
    for provider in snapshot.providers:
        for model in provider.models:
            for prices in _prices_in(model):
                if not all(_is_price(price) for price in vars(prices).values() if price is not None):
                    return False
                checked += 1
    return checked > 0


def _prices_in(model: ModelInfo) -> Iterator[ModelPrice]:
    if isinstance(model.prices, list):
        yield from (conditional.prices for conditional in model.prices)
    else:
        yield model.prices
    yield from (variant.prices for variant in model.price_variants or ())


def _is_price(price: Any) -> bool:
    amounts = [price] if isinstance(price, Decimal) else [price.base, *(tier.price for tier in price.tiers)]
    return all(isinstance(amount, Decimal) and amount.is_finite() and amount >= 0 for amount in amounts)


def known_rates(model: str, provider: str | None, terms: CallTerms) -> Rates | None:
    """What `listed_rates` returned before, if that holds at any time and the list is the same."""
    if _updates().get_snapshot() is not _Current.seen:
        return None
    return _Current.rates.get((model, provider, terms))


def listed_rates(
    model: str, provider: str | None, terms: CallTerms = STANDARD_TERMS, when: datetime | None = None
) -> Rates | None:
    """What a model costs by the list; `None` if the list has no price for these terms."""
    snapshot = _snapshot()
    key = (model, provider, terms)
    if when is None and key in _Current.rates:
        return _Current.rates[key]
    entry = _entry(snapshot, model, provider)
    if entry is None:
        return None
    rates = _rates_under(*entry, terms, when or datetime.now(UTC))
    if when is None and not isinstance(entry[1].prices, list) and not _is_dated(entry[1], terms):
        if len(_Current.rates) >= _MOST_KEPT:
            _Current.rates.clear()
        _Current.rates[key] = rates
    return rates


def context_window_of(model: str, provider: str | None) -> int | None:
    """The most input tokens that a model accepts, by the list."""
    entry = _entry(_snapshot(), model, provider)
    return None if entry is None else entry[1].context_window


def _is_dated(model: ModelInfo, terms: CallTerms) -> bool:
    """Whether the price under such terms depends on the hour."""
    return bool(terms.context) and any(variant.constraint for variant in model.price_variants or ())


def _entry(snapshot: DataSnapshot, model: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
    key = (model, provider)
    if key not in _Current.entries:
        if len(_Current.entries) >= _MOST_KEPT:
            _Current.entries.clear()
        entries = (_find(snapshot, name, provider) for name in names_of(model))
        _Current.entries[key] = next((entry for entry in entries if entry), None)
    return _Current.entries[key]


def _find(snapshot: DataSnapshot, model: str, provider: str | None) -> tuple[Provider, ModelInfo] | None:
    for name, provider_id in readings_of(model, provider):
        try:
            found = snapshot.find_provider_model(name, None, provider_id, None)
        except LookupError:
            continue
        if is_fine_tuned(name):
            return found if is_fine_tuned(found[1].id) else None
        spellings = {name, _COMPACT_DATE.sub(r"-\1-\2-\3", name)}  # the list tries both as well
        return (
            found if any(_names_it(found[1].match, each, found[1].id.lower()) for each in spellings) else None
        )
    return None


def _names_it(clause: Any, name: str, model_id: str) -> bool:
    """Whether a name that the list matched is the model's, not one that only begins like it."""
    if name == model_id or getattr(clause, "equals", "").lower() == name:
        return True
    if clauses := getattr(clause, "or_", None) or getattr(clause, "and_", None):
        return any(each.is_match(name) and _names_it(each, name, model_id) for each in clauses)
    if word := getattr(clause, "starts_with", None) or getattr(clause, "contains", None):
        before, _, after = name.partition(word.lower())
        return bool(_IN_FRONT.fullmatch(before) and _SAME_MODEL.fullmatch(after))
    if word := getattr(clause, "ends_with", None):
        return _IN_FRONT.fullmatch(name.removesuffix(word.lower())) is not None
    pattern: str = getattr(clause, "regex", "")
    return pattern.endswith("$") and re.search(pattern, name) is not None


# -- tiers ------------------------------------------------------------------------------------------


def _rates_under(provider: Provider, model: ModelInfo, terms: CallTerms, when: datetime) -> Rates | None:
    geo = _common(terms.inference_geo)
    factor = Decimal(1) if geo in _ANYWHERE else _GEO_FACTORS.get((provider.id, geo))
    if factor is None:
        return None
    context = terms.context
    standard = model.get_prices(when)
    if not context:
        return Rates.of(standard, factor)
    is_own = any(model is each for each in provider.models)  # the list ignores contexts of a borrowed model
    if is_own and any(_holds(variant, context, when) for variant in model.price_variants or ()):
        return Rates.of(model.get_prices(when, context), factor)
    discount = _FLAT_DISCOUNTS.get((provider.id, terms.tier or "")) if len(context) == 1 else None
    return None if discount is None or not is_own else Rates.of(standard, factor * discount)


def _holds(variant: PriceVariant, context: Mapping[str, str], when: datetime) -> bool:
    """Whether a variant applies to exactly these terms, at this time."""
    is_active = variant.constraint is None or variant.constraint.active(when)
    return is_active and variant.when == context
