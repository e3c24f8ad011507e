"""What a model call costs, in USD.

The application's own prices, set by `set_price` or `load_price_file`, win. All others are those of the
`genai-prices` package, which carries them with it (no network). What runs on a server of one's own costs
nothing unless a price is set for it. A call whose model, tier or part nobody has a price for costs `None`:
never a guess, and never another model's price.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from ..exceptions import InvalidInput
from ..exceptions.validation import check_at_least, check_count, check_name
from .model_names import costs_nothing
from .price_list import (
    STANDARD_TERMS,
    CallTerms,
    Rates,
    context_window_of,
    listed_rates,
    load_prices,
)

if TYPE_CHECKING:
    from genai_prices import UpdatePrices
    from genai_prices.types import TieredPrices

__all__ = [
    "call_cost",
    "context_window",
    "keep_prices_updated",
    "load_price_file",
    "load_prices",
    "remove_price",
    "set_price",
]

# The parts of a price by their names here, and by those of the price list's units.
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
    "request": "requests_kcount",
}
_KINDS = ("audio", "image", "video")
_EACH = {"web_search", "request"}
"""Parts that are priced by the piece, not by the million; the list's unit is a thousand."""


@dataclass(frozen=True, slots=True)
class _OwnPrice:
    """What an application says that a model costs."""

    prices: Mapping[str, float]
    tiers: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    service_tiers: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    context_window: int | None = None

    def rates(self, terms: CallTerms) -> Rates | None:
        """The price under some terms; `None` for a tier that it does not name."""
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
    """Prices, with those that the price list's arithmetic asks for where parts overlap.

    Whatever is more special needs what it is part of, and cached audio the price of both: that of audio, as
    long as nobody says that it is cheaper.
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
    """Price a model yourself, in USD per million tokens, for the whole process from now on.

    For models of your own, negotiated rates, and names that no price list knows. Names are compared
    without regard to case; "provider/model" prices a model of that provider alone. Calls that are
    recorded already keep their cost.

    Args:
        model: the model's name, as responses say it.
        input: USD per million tokens of input.
        output: USD per million tokens of output.
        cache_read: USD per million tokens read from the provider's cache; as `input` by default.
        cache_write: USD per million tokens written to it; as `input` by default.
        tiers: prices of calls with more than so many input tokens, such as
            `{200_000: {"input": 6, "output": 22.5}}`; they hold for the whole call.
        service_tiers: the price under a service tier: a factor, such as `{"batch": 0.5}`, or prices. A tier
            that is not here makes a call of this model unpriced.
        context_window: the most input tokens that the model takes.
        **parts: prices of other parts: `cache_write_1h`, `input_audio`, `output_audio`, `cache_read_audio`,
            `input_image`, `output_image`, `cache_read_image`, `input_video`, `output_video`, `reasoning`
            (a part without a price costs what it is part of); and, in USD each, `web_search` and `request`.

    Raises:
        InvalidInput: an empty model name, a negative price, or a part that there is not.
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
    """Take back what `set_price` said of a model, if it said anything."""
    _own_prices.pop(model.lower(), None)


def load_price_file(path: str | Path) -> int:
    """Read prices from a JSON or TOML file, as `set_price` takes them: an object by model.

    For instance `{"my-model": {"input": 0.2, "output": 0.6, "service_tiers": {"batch": 0.5}}}`. Either all
    of the file's prices hold from now on or, on an error, none.

    Returns:
        How many models it prices.

    Raises:
        InvalidInput: the file is neither, or a price in it is none; the text names the model.
        OSError: the file cannot be read.
    """
    operation = "load a price file"
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    import tomllib  # noqa: PLC0415  (1 ms that only those who load a file should pay)

    try:
        said = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as problem:
        raise InvalidInput(operation, f"{path.name} is no JSON or TOML: {problem}") from problem
    if not isinstance(said, Mapping):
        raise InvalidInput(operation, f"{path.name} is no object of prices by model")
    before = dict(_own_prices)
    try:
        for model, price in said.items():
            tiers = {int(start): higher for start, higher in price.get("tiers", {}).items()}
            set_price(model, **{**price, "tiers": tiers})
    except (InvalidInput, TypeError, ValueError, AttributeError) as problem:
        _own_prices.clear()
        _own_prices.update(before)
        raise InvalidInput(operation, f"the price of {model!r} is none: {problem}") from problem
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
    """Price one model call in USD, or `None` if nobody knows its price.

    A provider that the price list does not know, or that does not list the model, counts for nothing: the
    model's name decides. A provider that runs on one's own machines (Ollama, LM Studio, vLLM, llama.cpp) and
    a `:free` variant cost nothing.

    Args:
        model: the model, as its provider, a gateway or a price list names it.
        provider: who ran it.
        input_tokens: all the input, the part read from or written to a cache included.
        output_tokens: all the output, reasoning included.
        cache_read_tokens: the input that was read from the cache.
        cache_write_tokens: the input that was written to it.
        reasoning_tokens: the output that was reasoning.
        details: parts of these that have prices of their own, as `CallUsage.details` names them.
        service_tier: the tier that served the call: "flex", "batch", "priority" and so on.
        speed: Anthropic's: "fast" or "standard".
        inference_geo: Anthropic's: "us" or "global".
        when: when the call was made; now by default. Prices change.
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
    own = own_price(model, provider)
    if own is None and costs_nothing(model, provider):
        return 0.0
    rates = own.rates(terms) if own is not None else listed_rates(model, provider, terms, when)
    cost = None if rates is None else rates.cost_of(counts, details or {})
    return None if cost is None else float(cost)


def own_price(model: str, provider: str | None) -> _OwnPrice | None:
    """What the application says that a model costs, if it says anything."""
    if not _own_prices:
        return None
    return _own_prices.get(f"{provider}/{model}".lower()) or _own_prices.get(model.lower())


def context_window(model: str, provider: str | None = None) -> int | None:
    """The most input tokens that a model takes: as `set_price` said, or the price list; `None` if neither."""
    own = own_price(model, provider)
    said = own.context_window if own is not None else None
    return said or context_window_of(model, provider)


def keep_prices_updated(every: float = 3600.0, *, url: str | None = None) -> UpdatePrices:
    """Let `genai-prices` fetch its newest price list now and then, in a thread of its own; off by default.

    New prices hold from the next call on. A list that is empty or broken, and a server that does not answer,
    change nothing. Call `stop()` of what this returns to end it; the prices that came stay.

    Args:
        every: seconds between two looks.
        url: where the list is; by default where the package's makers publish it.

    Raises:
        InvalidInput: `every` is not a positive number of seconds.
    """
    check_at_least(every, 1, "every", "keep prices updated")
    from genai_prices import UpdatePrices  # noqa: PLC0415  (0.1 s, and an HTTP client)

    updates = UpdatePrices(float(every)) if url is None else UpdatePrices(float(every), url)
    updates.start()
    return updates
