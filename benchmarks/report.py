"""What was measured, as tables for people and JSON for machines."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Series:
    """What one of those compared measured, round by round."""

    name: str
    unit: str
    values: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """Median and spread."""
        return f"{number(self.median)} {self.unit} ({spread(self.values)})"


@dataclass(frozen=True)
class Target:
    """What the figure, or its ratio to another one, is to be: at least so much, or at most."""

    bound: float
    of: str = "ratio"  # or "figure"
    at_most: bool = False

    def __str__(self) -> str:
        """As the table says it."""
        return f"{'≤' if self.at_most else '≥'} {number(self.bound)}{' x' if self.of == 'ratio' else ''}"


@dataclass(frozen=True)
class Figure:
    """One figure that has a target."""

    name: str
    measured: Series
    against: Series | None
    target: Target

    @cached_property
    def ratios(self) -> list[float]:
        """Of each round, to what was measured beside it."""
        if self.against is None:
            return []
        return [a / b for a, b in zip(self.measured.values, self.against.values, strict=True)]

    @property
    def is_reached(self) -> bool:
        """Whether the median is what the target wants."""
        value = statistics.median(self.ratios if self.target.of == "ratio" else self.measured.values)
        return value <= self.target.bound if self.target.at_most else value >= self.target.bound

    def row(self) -> tuple[str, ...]:
        """Its cells in the table."""
        ratio = f"{number(statistics.median(self.ratios))} ({spread(self.ratios)})" if self.ratios else ""
        against = f"{self.against.name}: {self.against}" if self.against else ""
        unit = f" {self.measured.unit}" if self.target.of == "figure" else ""
        reached = "yes" if self.is_reached else "**no**"
        return self.name, f"{self.target}{unit}", str(self.measured), against, ratio, reached


@dataclass
class Report:
    """All that a run measured, and where."""

    facts: dict[str, str] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    side_by_side: dict[str, list[Series]] = field(default_factory=dict)
    costs: dict[str, dict[str, dict[int, list[float]]]] = field(default_factory=dict)
    """Microseconds of CPU for an event, by place, peer and session length, for the chart."""
    grids: dict[str, dict[str, list[Series]]] = field(default_factory=dict)
    """Tables with several columns: rows by name, each with the same series."""
    notes: list[str] = field(default_factory=list)

    def figure(self, name: str, measured: Series, target: Target, against: Series | None = None) -> None:
        """Add a figure that has a target."""
        self.figures.append(Figure(name, measured, against, target))

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "facts": self.facts,
            "figures": [
                {
                    "figure": each.name,
                    "target": str(each.target),
                    "measured": _series(each.measured),
                    "against": each.against and _series(each.against),
                    "ratio": statistics.median(each.ratios) if each.ratios else None,
                    "reached": each.is_reached,
                }
                for each in self.figures
            ],
            "side_by_side": {name: [*map(_series, group)] for name, group in self.side_by_side.items()},
            "grids": {
                name: {row: [*map(_series, cells)] for row, cells in rows.items()}
                for name, rows in self.grids.items()
            },
            "microseconds_of_an_event": self.costs,
            "notes": self.notes,
        }

    def as_markdown(self) -> str:
        """For people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from (f"- {name}: {fact}" for name, fact in self.facts.items())
        yield from (f"- {note}" for note in self.notes)
        yield ""
        header = ("figure", "to reach", "measured: median (spread)", "against", "ratio (spread)", "reached")
        yield from table(header, [each.row() for each in self.figures])
        for name, group in self.side_by_side.items():
            yield from ("", f"**{name}**", "")
            yield from table(("", "median (spread)"), [(each.name, str(each)) for each in group])
        for name, rows in self.grids.items():
            yield from ("", f"**{name}**", "")
            columns = [f"{each.name}, {each.unit}".removesuffix(", ") for each in next(iter(rows.values()))]
            medians = [(row, *(number(each.median) for each in cells)) for row, cells in rows.items()]
            yield from table(("median", *columns), medians)
        for place, by_peer in self.costs.items():
            lengths = sorted({length for costs in by_peer.values() for length in costs})
            yield from ("", f"**{place}: microseconds of CPU for an event, by the session's length**", "")
            costs_of = [
                (peer, *(number(statistics.median(costs[at])) if at in costs else "" for at in lengths))
                for peer, costs in by_peer.items()
            ]
            yield from table(("", *(f"{length:,}" for length in lengths)), costs_of)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    """The lines of a table in Markdown."""
    for cells in (header, ("---",) * len(header), *rows):
        yield f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """A figure with no more digits than it is good for."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: list[float]) -> str:
    """The smallest and the largest of some."""
    return f"{number(min(values))}-{number(max(values))}"


def _series(series: Series) -> dict[str, Any]:
    figures = {"median": series.median, "values": series.values}
    return {"name": series.name, "unit": series.unit, **figures}
