"""What a model call costs, in USD.

Prices are those of the `genai-prices` package, which carries them with it (no network), and the
application's own, set by `set_price`, which win. A model that neither knows has no price: `None`,
never a guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from ..exceptions.validation import check_at_least, check_name

if TYPE_CHECKING:
    from genai_prices import Usage
    from genai_prices.types import PriceCalculation

_PER_TOKEN = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
# Prices of things that no usage handed over from here ever holds, so that they never add to a bill.
_NOT_USED = ("cache_write_1h_mtok", "web_searches_kcount", "storage_searches_kcount")
_NOT_USED_SUFFIXES = ("_audio_mtok", "_image_mtok", "_video_mtok")


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """A model's prices in USD per million tokens; a cached token without its own price costs as input."""

    input: float
    """USD per million tokens of input."""
    output: float
    """USD per million tokens of output."""
    cache_read: float | None = None
    """USD per million tokens read from the provider's cache; `None`: as `input`."""
    cache_write: float | None = None
    """USD per million tokens written to it; `None`: as `input`."""

    def __call__(self, input_tokens: int, output_tokens: int, cache_read: int, cache_write: int) -> float:
        """Price one call; `input_tokens` include the cached ones."""
        read_price = self.input if self.cache_read is None else self.cache_read
        write_price = self.input if self.cache_write is None else self.cache_write
        fresh = input_tokens - cache_read - cache_write
        dollars = (
            fresh * self.input
            + cache_read * read_price
            + cache_write * write_price
            + output_tokens * self.output
        )
        return dollars / 1_000_000


_Pricer = Callable[[int, int, int, int], float]
_own_prices: dict[str, TokenPrice] = {}


def set_price(
    model: str,
    *,
    input: float,  # noqa: A002  (the term of every price list)
    output: float,
    cache_read: float | None = None,
    cache_write: float | None = None,
) -> None:
    """Price a model yourself, in USD per million tokens, for the whole process from now on.

    For models of your own, negotiated rates, and names that no price list knows. Names are compared
    without regard to case. Calls that are recorded already keep their cost.

    Raises:
        InvalidInput: an empty model name or a negative price.
    """
    check_name(model, "model", "set_price")
    prices = {"input": input, "output": output, "cache_read": cache_read, "cache_write": cache_write}
    for name, price in prices.items():
        if price is not None:
            check_at_least(price, 0, name, "set_price")
    _own_prices[model.lower()] = TokenPrice(input, output, cache_read, cache_write)


def remove_price(model: str) -> None:
    """Take back what `set_price` said of a model, if it said anything."""
    _own_prices.pop(model.lower(), None)


def call_cost(
    model: str,
    provider: str | None = None,
    *,
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
) -> float | None:
    """Price one model call in USD, or `None` if nobody knows the model's price.

    `input_tokens` is all the input, the part read from or written to a cache included. A provider
    that the price list does not know, or that does not list the model, counts for nothing: the
    model's name decides.
    """
    pricer: _Pricer | None = _own_prices.get(model.lower()) or _listed_price(model, provider)
    if pricer is None:
        return None
    return pricer(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens)


async def load_prices() -> None:
    """Have the price list at hand; it takes a good 100 ms the first time, off the event loop."""
    if _price_list is None:
        await asyncio.to_thread(_load)


_price_list: tuple[Callable[..., PriceCalculation], type[Usage]] | None = None


def _load() -> tuple[Callable[..., PriceCalculation], type[Usage]]:
    from genai_prices import Usage, calc_price  # noqa: PLC0415  (0.1 s that only priced calls should pay)

    global _price_list  # noqa: PLW0603  (loaded once a process)
    _price_list = calc_price, Usage
    return _price_list


# The lookup takes 0.3 ms, its result a microsecond; bounded, because names come from callers.
@lru_cache(maxsize=512)
def _listed_price(model: str, provider: str | None) -> _Pricer | None:
    calc_price, usage_type = _load()
    for name, provider_id in _readings(model, provider):
        try:
            found = calc_price(usage_type(input_tokens=1, output_tokens=1), name, provider_id=provider_id)
        except LookupError:
            continue
        return _per_token(found) or _computed(name, provider_id)
    return None


def _readings(model: str, provider: str | None) -> list[tuple[str, str | None]]:
    """What a model name may mean, best first: of that provider, of any, or "provider/model"."""
    readings: list[tuple[str, str | None]] = [(model, None)] if model else []
    if model and provider and provider != "unknown":
        readings.insert(0, (model, provider))
    prefix, slash, rest = model.partition("/")
    if slash and rest:
        readings += [(rest, prefix), (rest, None)]
    return readings


def _per_token(found: PriceCalculation) -> TokenPrice | None:
    """The model's prices as four plain numbers, unless they have tiers, hours or fees a call."""
    if isinstance(found.model.prices, list):  # prices that depend on the date or the hour
        return None
    rates = vars(found.model_price)
    billed = {name: rate for name, rate in rates.items() if not _is_never_billed(name)}
    if not billed.keys() <= set(_PER_TOKEN) or not all(isinstance(rate, Decimal) for rate in billed.values()):
        return None
    read, write = rates.get("cache_read_mtok"), rates.get("cache_write_mtok")
    return TokenPrice(
        float(rates.get("input_mtok", 0)),
        float(rates.get("output_mtok", 0)),
        None if read is None else float(read),
        None if write is None else float(write),
    )


def _is_never_billed(name: str) -> bool:
    return name in _NOT_USED or name.endswith(_NOT_USED_SUFFIXES)


def _computed(model: str, provider_id: str | None) -> _Pricer:
    calc_price, usage_type = _load()

    def price(input_tokens: int, output_tokens: int, cache_read: int, cache_write: int) -> float:
        usage = usage_type(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cache_read,
            cache_write_tokens=cache_write,
        )
        return float(calc_price(usage, model, provider_id=provider_id).total_price)

    return price
