"""Sums: the totals, content tokens and cost of any events, turns or segments together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..accounts.money import NOTHING, Usd
from ..models.amounts import counted_in
from ..models.session_totals import SessionTotals
from ..stores.base import AnyEvent, AnySession

_LATER = ("choices", "tokens_off_path", "cache_saved_nano_usd", "cache_misses")
_DATES = ("created_at", "last_update")


@dataclass(slots=True)
class Sums:
    """The sums of some events, or of some segments."""

    tokens: int = 0
    """Content tokens."""
    cost: float = NOTHING
    """USD."""
    totals: SessionTotals = field(default_factory=SessionTotals)
    created_at: datetime | None = None
    """When the first segment was created; `None` for the sums of events."""
    last_update: datetime | None = None
    """The time of the newest event; `None` for the sums of events."""

    def count(self, event: AnyEvent) -> None:
        """Add one event."""
        off_path = self.totals.tokens_off_path
        self.totals.count(event)
        self.tokens += off_path - self.totals.tokens_off_path
        if (counted := counted_in(event)) is not None:
            _, _, tokens, _, cost, _ = counted
            self.tokens += tokens
            self.cost += cost or 0.0

    def __add__(self, other: Sums) -> Sums:
        """The sums of these events and of later ones."""
        updates = [each.last_update for each in (self, other) if each.last_update is not None]
        return Sums(
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.totals + other.totals,
            self.created_at or other.created_at,
            max(updates, default=None),
        )

    @classmethod
    def of(cls, segment: AnySession) -> Sums:
        """The sums of one segment, which the segment keeps: its events are not read."""
        # A first event may be a moment older than its session.
        last_update = max(segment.last_update_time, segment.metadata.created_at)
        return cls(
            segment.added_tokens,
            Usd(segment.total_cost),
            replace(segment.totals),
            segment.metadata.created_at,
            last_update,
        )

    def as_json(self) -> dict[str, Any]:
        """The sums as JSON, as a summary stores them."""
        dates = {"created_at": self.created_at, "last_update": self.last_update}
        totals = self.totals.as_dict()
        # Release 1.0.0.dev0 reads "totals", and knows none of these.
        of_path = {name: count for name in _LATER if (count := totals.pop(name))}
        return {
            "tokens": self.tokens,
            "cost": self.cost,
            "totals": totals,
            **({"path": of_path} if of_path else {}),
            **{name: date.isoformat() for name, date in dates.items() if date is not None},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sums:
        """The sums that `as_json` returned."""
        dates = [datetime.fromisoformat(value[name]) if name in value else None for name in _DATES]
        totals = SessionTotals(**value["totals"], **value.get("path", {}))
        return cls(value["tokens"], Usd(value["cost"]), totals, *dates)
