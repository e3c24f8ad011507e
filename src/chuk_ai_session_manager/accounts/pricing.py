"""What a model call costs, in USD.

Prices that the application sets with `set_price` or `load_price_file` come first. All other prices are those
of the `genai-prices` package, which contains them (no network). Models on a server of your own cost nothing,
unless a price is set for them. A call whose model, tier or part has no known price costs `None`: never a
guess, and never another model's price.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidInput
from ..exceptions.validation import check_at_least, check_count, check_name
from .model_names import costs_nothing, named_window, names_of
from .price_list import (
    STANDARD_TERMS,
    CallTerms,
    Rates,
    context_window_of,
    has_prices,
    known_rates,
    listed_rates,
    load_prices,
)

if TYPE_CHECKING:
    from genai_prices import UpdatePrices
    from genai_prices.types import TieredPrices

__all__ = [
    "call_cost",
    "context_window",
    "has_prices",
    "keep_prices_updated",
    "load_price_file",
    "load_prices",
    "remove_price",
    "set_price",
]

# The parts with a price, by their names here, and the names of the price list's units.
_PARTS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
    "cache_read_image": "cache_image_read_mtok",
    "input_video": "input_video_mtok",
    "output_video": "output_video_mtok",
    "reasoning": "output_reasoning_mtok",
    "web_search": "web_searches_kcount",
    "file_search": "storage_searches_kcount",
    "request": "requests_kcount",
}
_KINDS = ("audio", "image", "video")
_EACH = {"web_search", "file_search", "request"}
"""Parts with a price for each piece, not for a million; the list's unit is a thousand."""


@dataclass(frozen=True, slots=True)
class _OwnPrice:
    """The price that an application sets for a model."""

    prices: Mapping[str, float]
    tiers: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    service_tiers: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    context_window: int | None = None

    def rates(self, terms: CallTerms) -> Rates | None:
        """The price under certain terms; `None` for a tier that the application did not name."""
        if terms.tier is None:
            return self._rates(self.prices)
        said = self.service_tiers.get(terms.tier)
        if said is None:
            return None
        if isinstance(said, Mapping):
            return self._rates({**self.prices, **said}, with_tiers=False)
        return self._rates(self.prices, Decimal(str(said)))

    def _rates(
        self, prices: Mapping[str, float], factor: Decimal = Decimal(1), *, with_tiers: bool = True
    ) -> Rates:
        from genai_prices.types import ModelPrice, Tier, TieredPrices  # noqa: PLC0415  (0.1 s)

        def of(part: str, price: float) -> Decimal | TieredPrices:
            base = _exact(part, price)
            higher = [
                Tier(start, _exact(part, tier[part]))
                for start, tier in (self.tiers if with_tiers else {}).items()
                if part in tier
            ]
            return TieredPrices(base, higher) if higher else base

        said = {_PARTS[part]: of(part, price) for part, price in prices.items()}
        return Rates.of(ModelPrice(**_with_overlaps(said)), factor)


def _with_overlaps(said: dict[str, Decimal | TieredPrices]) -> dict[str, Decimal | TieredPrices]:
    """Prices, completed by those that the price list's arithmetic needs where parts overlap.

    A special part needs the price of the part that it belongs to; cached audio needs both: it costs as much
    as audio, unless a price says that it is cheaper.
    """
    prices = dict(said)
    for special, general in (
        ("cache_write_1h_mtok", "cache_write_mtok"),
        *((f"cache_{kind}_read_mtok", "cache_read_mtok") for kind in _KINDS),
        *((f"cache_{kind}_read_mtok", f"input_{kind}_mtok") for kind in _KINDS),
    ):
        if special in prices:
            prices.setdefault(general, prices["input_mtok"])
    for kind in _KINDS:
        for way in ("read", "write", "write_1h"):
            if f"input_{kind}_mtok" in prices and f"cache_{way}_mtok" in prices:
                prices.setdefault(f"cache_{kind}_{way}_mtok", prices[f"input_{kind}_mtok"])
        if f"output_{kind}_mtok" in prices and "output_reasoning_mtok" in prices:
            prices.setdefault(f"output_{kind}_reasoning_mtok", prices[f"output_{kind}_mtok"])
    return prices


def _exact(part: str, price: float) -> Decimal:
    return Decimal(str(price)) * (1_000 if part in _EACH else 1)


_own_prices: dict[str, _OwnPrice] = {}


def set_price(
    model: str,
    *,
    input: float,  # noqa: A002  (the term of every price list)
    output: float,
    cache_read: float | None = None,
    cache_write: float | None = None,
    tiers: Mapping[int, Mapping[str, float]] | None = None,
    service_tiers: Mapping[str, float | Mapping[str, float]] | None = None,
    context_window: int | None = None,
    **parts: float,
) -> None:
    """Set the price of a model, in USD per million tokens, for the whole process from now on.

    Use it for your own models, negotiated rates, and names that no price list knows. Names are compared
    without regard to case; "provider/model" sets the price for that provider alone. Recorded calls
    keep their cost.

    Args:
        model: the model's name, as in responses.
        input: USD per million tokens of input.
        output: USD per million tokens of output.
        cache_read: USD per million tokens read from the provider's cache; `input` by default.
        cache_write: USD per million tokens written to the cache; `input` by default.
        tiers: prices of calls with more than so many input tokens, such as
            `{200_000: {"input": 6, "output": 22.5}}`; they apply to the whole call.
        service_tiers: prices under a service tier: a factor, such as `{"batch": 0.5}`, or prices. A call with
            a tier that is not named here is unpriced.
        context_window: the most input tokens that the model accepts.
        **parts: prices of other parts: `cache_write_1h`, `input_audio`, `output_audio`, `cache_read_audio`,
            `input_image`, `output_image`, `cache_read_image`, `input_video`, `output_video`, `reasoning`
            (a part without a price costs as much as the part that it belongs to); and, in USD for each one,
            `web_search` and `request`.

    Raises:
        InvalidInput: the model's name is empty, a price is negative, or a part is unknown.
    """
    check_name(model, "model", "set_price")
    said = {"input": input, "output": output, "cache_read": cache_read, "cache_write": cache_write, **parts}
    prices = {name: price for name, price in said.items() if price is not None}
    _check_prices(prices, "set_price")
    for start, higher in (tiers or {}).items():
        check_count(start, 1, "tiers", "set_price")
        _check_prices(higher, "set_price")
    for tier, price in (service_tiers or {}).items():
        check_name(tier, "service_tiers", "set_price")
        _check_prices(price if isinstance(price, Mapping) else {"input": price}, "set_price")
    if context_window is not None:
        check_count(context_window, 1, "context_window", "set_price")
    _own_prices[model.lower()] = _OwnPrice(
        prices,
        {start: dict(higher) for start, higher in sorted((tiers or {}).items())},
        {CallTerms(tier).tier or "": price for tier, price in (service_tiers or {}).items()},
        context_window,
    )


def _check_prices(prices: Mapping[str, float], operation: str) -> None:
    for name, price in prices.items():
        if name not in _PARTS:
            raise InvalidInput(operation, f"there is no part {name!r}; the parts are {', '.join(_PARTS)}")
        check_at_least(price, 0, name, operation)


def remove_price(model: str) -> None:
    """Remove the price that `set_price` set for a model, if there is one."""
    _own_prices.pop(model.lower(), None)


def load_price_file(path: str | Path) -> int:
    """Set the prices in a JSON or TOML file: an object with the arguments of `set_price` for each model.

    For instance `{"my-model": {"input": 0.2, "output": 0.6, "service_tiers": {"batch": 0.5}}}`. If there is
    an error, none of the file's prices are set.

    Returns:
        The number of models in the file.

    Raises:
        InvalidInput: the file is neither JSON nor TOML, or a price is invalid; the error names the model.
        OSError: the file cannot be read.
    """
    operation = "load a price file"
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    import tomllib  # noqa: PLC0415  (1 ms, only for those who load a file)

    try:
        said = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as problem:
        raise InvalidInput(operation, f"{path.name} is not JSON or TOML: {problem}") from problem
    if not isinstance(said, Mapping):
        raise InvalidInput(operation, f"{path.name} is not an object of prices by model")
    before = dict(_own_prices)
    try:
        for model, price in said.items():
            tiers = {int(start): higher for start, higher in price.get("tiers", {}).items()}
            set_price(model, **{**price, "tiers": tiers})
    except (InvalidInput, TypeError, ValueError, AttributeError) as problem:
        _own_prices.clear()
        _own_prices.update(before)
        raise InvalidInput(operation, f"the price of {model!r} is invalid: {problem}") from problem
    return len(said)


def call_cost(
    model: str,
    provider: str | None = None,
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
    details: Mapping[str, int] | None = None,
    service_tier: str | None = None,
    speed: str | None = None,
    inference_geo: str | None = None,
    when: datetime | None = None,
) -> float | None:
    """Return the price of one model call in USD, or `None` if it is not known.

    A provider that the price list does not know, or that does not list the model, is ignored: the
    model's name decides. Models on your own machines (Ollama, LM Studio, vLLM, llama.cpp) and
    `:free` variants cost nothing.

    Args:
        model: the model, as its provider, a gateway or a price list names it.
        provider: the provider that ran the model.
        input_tokens: the whole input, including tokens read from or written to a cache.
        output_tokens: the whole output, reasoning included.
        cache_read_tokens: the input that was read from the cache.
        cache_write_tokens: the input that was written to the cache.
        reasoning_tokens: the output that was reasoning.
        details: parts of these that have prices of their own, with the names of `CallUsage.details`.
        service_tier: the tier that served the call: "flex", "batch", "priority" and so on.
        speed: Anthropic's: "fast" or "standard".
        inference_geo: Anthropic's: "us" or "global".
        when: the time of the call, because prices change; now by default.
    """
    terms = STANDARD_TERMS
    if service_tier or speed or inference_geo:
        terms = CallTerms(service_tier, speed, inference_geo)
    counts = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cache_read_tokens": cache_read_tokens,
        "cache_write_tokens": cache_write_tokens,
        "reasoning_tokens": reasoning_tokens,
    }
    return cost_of_counts(model, provider, counts, details, terms, when)


def cost_of_counts(
    model: str,
    provider: str | None,
    counts: Mapping[str, Any],
    details: Mapping[str, int] | None = None,
    terms: CallTerms = STANDARD_TERMS,
    when: datetime | None = None,
) -> float | None:
    """The same of counts that lie in a mapping, under the names of `call_cost`'s parameters."""
    rates = known_rates(model, provider, terms) if when is None and not _own_prices else None
    if rates is None:
        own = own_price(model, provider)
        if own is None and costs_nothing(model, provider):
            return 0.0
        rates = own.rates(terms) if own is not None else listed_rates(model, provider, terms, when)
    return None if rates is None else rates.cost_of(counts, details or {})


def own_price(model: str, provider: str | None) -> _OwnPrice | None:
    """The price that the application set for a model, if there is one."""
    if not _own_prices:
        return None
    for name in names_of(model.lower()):
        found = _own_prices.get(f"{provider}/{name}".lower()) or _own_prices.get(name)
        if found is not None:
            return found
    return None


def context_window(model: str, provider: str | None = None) -> int | None:
    """Return the most input tokens that a model accepts, from `set_price` or the price list, or `None`."""
    own = own_price(model, provider)
    said = own.context_window if own is not None else None
    return said or named_window(model) or context_window_of(model, provider)


def keep_prices_updated(every: float = 3600.0, *, url: str | None = None) -> UpdatePrices:
    """Let `genai-prices` fetch its newest price list regularly, in a thread of its own; off by default.

    New prices apply from the next call on. A list that is empty or broken, and a server that does not answer,
    change nothing. To stop, call `stop()` of the result; prices that were fetched stay.

    Args:
        every: seconds between two fetches.
        url: the address of the list; by default, where the package's makers publish it.

    Raises:
        InvalidInput: `every` is not a positive number of seconds.
    """
    check_at_least(every, 1, "every", "keep prices updated")
    from genai_prices import UpdatePrices  # noqa: PLC0415  (0.1 s, and an HTTP client)

    updates = UpdatePrices(float(every)) if url is None else UpdatePrices(float(every), url)
    updates.start()
    return updates
