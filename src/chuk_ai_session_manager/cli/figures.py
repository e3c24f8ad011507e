"""Statistics of conversations: by turn, by model, and in total."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..accounts.money import NOTHING
from ..models import EventSource, EventType
from ..models.session_totals import SessionTotals
from ..models.token_usage import usd
from ..stores.base import AnyEvent, AnySession


@dataclass(slots=True)
class Figures:
    """The statistics of some events."""

    totals: SessionTotals = field(default_factory=SessionTotals)
    tokens: int = 0
    """Content tokens."""
    cost: float = NOTHING
    """USD."""

    def count(self, event: AnyEvent) -> None:
        """Add one event."""
        off_path = self.totals.tokens_off_path
        self.totals.count(event)
        self.tokens += off_path - self.totals.tokens_off_path
        if event.token_usage is not None:
            self.tokens += event.token_usage.total_tokens
            self.cost += event.token_usage.estimated_cost_usd or 0.0

    def add(self, other: Figures) -> None:
        """Add the statistics of other events."""
        self.totals += other.totals
        self.tokens += other.tokens
        self.cost += other.cost

    @property
    def billed(self) -> int:
        """All billed tokens of the model calls."""
        return self.totals.input_tokens + self.totals.output_tokens

    def as_json(self) -> dict[str, Any]:
        """Return the statistics by name."""
        return {
            "content_tokens": self.tokens,
            "cost_usd": usd(self.cost),
            "usage_source": self.totals.usage_source,
            **{name: n for name, n in self.totals.as_dict().items() if name != "tokens_off_path"},
        }


@dataclass(slots=True)
class Turn:
    """A message of the user, and everything that follows it."""

    number: int
    segment: int
    """The number of the segment in which the turn begins; the first is 1."""
    events: list[AnyEvent] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)


def begins_turn(event: AnyEvent) -> bool:
    """Whether an event is a message of the user."""
    return event.type == EventType.MESSAGE and event.source == EventSource.USER


def turns_of(segments: Iterable[AnySession]) -> list[Turn]:
    """A conversation's turns. Events before the user's first message belong to the first turn."""
    turns: list[Turn] = []
    for number, segment in enumerate(segments, 1):
        for event in segment.events:
            if not turns or (begins_turn(event) and any(map(begins_turn, turns[-1].events))):
                turns.append(Turn(len(turns) + 1, number))
            turns[-1].events.append(event)
            turns[-1].figures.count(event)
    return turns


@dataclass(slots=True)
class Tally:
    """A conversation's statistics, in total and by model."""

    all: Figures = field(default_factory=Figures)
    by_model: dict[str, Figures] = field(default_factory=dict)

    def count(self, event: AnyEvent) -> None:
        """Add one event; also to its model's statistics, if a model call made it or it has a price."""
        self.all.count(event)
        billed = event.usage or event.token_usage
        if event.usage is not None or (event.token_usage and event.token_usage.estimated_cost_usd):
            self.by_model.setdefault(billed.model if billed else "", Figures()).count(event)

    def models(self) -> list[tuple[str, Figures]]:
        """The models, the most expensive first."""
        rows = self.by_model.items()
        return sorted(rows, key=lambda row: (-row[1].cost, -row[1].billed, row[0]))


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


def amount_text(figures: Figures) -> str:
    """The known cost, in words."""
    cost = known_cost(figures.totals, figures.cost)
    return NO_PRICE if cost is None else dollars(cost)


def cost_text(figures: Figures) -> str:
    """The cost in words, and how many calls have no known price."""
    unpriced = figures.totals.unpriced_calls
    if not unpriced:
        return dollars(figures.cost)
    if known_cost(figures.totals, figures.cost) is None:
        return "no known price"
    return f"{dollars(figures.cost)} and {counted(unpriced, 'call')} without a known price"
