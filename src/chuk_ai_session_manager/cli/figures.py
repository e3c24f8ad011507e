"""Statistics of conversations: by turn, by model, and in total."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..conversation.path import is_question
from ..conversation.sums import Sums
from ..models.session_totals import SessionTotals
from ..models.token_usage import usd
from ..stores.base import AnyEvent, AnySession

_INNER = {"tokens_off_path", "cache_saved_nano_usd"}


def sums_as_json(sums: Sums) -> dict[str, Any]:
    """Sums by name; the cost is `None` if no call has a known price."""
    cost = known_cost(sums.totals, sums.cost)
    return {
        "content_tokens": sums.tokens,
        "cost_usd": None if cost is None else usd(cost),
        "usage_source": sums.totals.usage_source,
        **{name: n for name, n in sums.totals.as_dict().items() if name not in _INNER},
        "cached_share": sums.totals.cached_share,
        "cache_saved_usd": sums.totals.cache_saved_usd,
    }


@dataclass(slots=True)
class Turn:
    """A message of the user, and everything that follows it."""

    number: int
    segment: int
    """The number of the segment in which the turn begins; the first is 1."""
    events: list[AnyEvent] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)


def turns_of(segments: Iterable[AnySession]) -> list[Turn]:
    """A conversation's turns. Events before the user's first message belong to the first turn."""
    turns: list[Turn] = []
    for number, segment in enumerate(segments, 1):
        for event in segment.events:
            if not turns or (is_question(event) and any(map(is_question, turns[-1].events))):
                turns.append(Turn(len(turns) + 1, number))
            turns[-1].events.append(event)
            turns[-1].sums.count(event)
    return turns


@dataclass(slots=True)
class Tally:
    """A conversation's statistics, in total and by model."""

    all: Sums = field(default_factory=Sums)
    by_model: dict[str, Sums] = field(default_factory=dict)

    def count(self, event: AnyEvent) -> None:
        """Add one event; also to its model's statistics, if a model call made it or it has a price."""
        self.all.count(event)
        billed = event.usage or event.token_usage
        if event.usage is not None or (event.token_usage and event.token_usage.estimated_cost_usd):
            self.by_model.setdefault(billed.model if billed else "", Sums()).count(event)

    def models(self) -> list[tuple[str, Sums]]:
        """The models, the most expensive first."""
        rows = self.by_model.items()
        return sorted(rows, key=lambda row: (-row[1].cost, -row[1].totals.billed_tokens, row[0]))


def counted(count: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


# USD.
_SMALL, _BIG = 0.001, 100


def dollars(amount: float) -> str:
    """Money for people: a small amount with more digits than a large one, and 0 as 0."""
    digits = _digits_of(amount) if 0 < amount < _SMALL else 4 if amount < _BIG else 2
    return f"${amount:,.{digits}f}"


def plain_dollars(amount: float) -> str:
    """Money for programs: a decimal number, without an exponent."""
    return f"{amount:.{_digits_of(amount)}f}"


def _digits_of(amount: float) -> int:
    """How many decimals show two significant digits; at least six."""
    return max(6, 1 - math.floor(math.log10(amount))) if amount > 0 else 6


NO_PRICE = "unknown"
"""Stands for a cost if no call has a known price."""


def known_cost(totals: SessionTotals, cost: float) -> float | None:
    """The cost of calls, in USD; `None` if none of them has a known price."""
    return None if totals.unpriced_calls and totals.unpriced_calls == totals.llm_calls and not cost else cost


def billed_text(totals: SessionTotals) -> str:
    """The billed tokens of model calls, in words."""
    cached = f" ({totals.cache_read_tokens:,} cached)" if totals.cache_read_tokens else ""
    return f"{totals.input_tokens:,} in{cached}, {totals.output_tokens:,} out"


def amount_text(sums: Sums) -> str:
    """The known cost, in words."""
    cost = known_cost(sums.totals, sums.cost)
    return NO_PRICE if cost is None else dollars(cost)


def cost_text(sums: Sums) -> str:
    """The cost in words, and how many calls have no known price."""
    unpriced = sums.totals.unpriced_calls
    if not unpriced:
        return dollars(sums.cost)
    if known_cost(sums.totals, sums.cost) is None:
        return "no known price"
    return f"{dollars(sums.cost)} and {counted(unpriced, 'call')} without a known price"
