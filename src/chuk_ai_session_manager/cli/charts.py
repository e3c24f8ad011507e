"""Bar charts of a conversation's turns, as numbers for an SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..conversation.sums import Sums
from .figures import Turn

# In the SVG's own units. The margins are for the labels of the axes.
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 190, 58, 10, 24
# More bars would be too thin to point at, so several turns share a bar.
_MOST_BARS = 90
# More lines would say nothing.
_MOST_MARKS = 25


@dataclass(frozen=True, slots=True)
class Span:
    """The turns that share a bar."""

    first: int
    last: int
    sums: Sums
    begins_segment: bool

    @property
    def label(self) -> str:
        """The numbers of the turns, in words."""
        return f"Turn {self.first}" if self.first == self.last else f"Turns {self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Part:
    """A coloured part of a bar."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its place and its tooltip."""

    span: Span
    parts: list[Part]
    x: float
    width: float
    tooltip: str


@dataclass(frozen=True, slots=True)
class Chart:
    """The bars, the lines behind them, and the places where segments begin."""

    bars: list[Bar]
    grid: list[tuple[float, str]]
    """Heights of the lines, and their labels."""
    marks: list[float]
    """The places where segments begin, from the second on; empty if there are too many to show."""


def spans_of(turns: Sequence[Turn]) -> list[Span]:
    """The turns in at most so many spans."""
    size = math.ceil(len(turns) / _MOST_BARS)
    spans = []
    for start in range(0, len(turns), size or 1):
        group = turns[start : start + size]
        sums = Sums()
        for turn in group:
            sums += turn.sums
        before = turns[start - 1].segment if start else group[0].segment
        spans.append(Span(group[0].number, group[-1].number, sums, group[-1].segment != before))
    return spans


def chart_of(
    spans: Sequence[Span],
    values: Callable[[Sums], Sequence[tuple[str, float]]],
    tooltip: Callable[[Sums], str],
    label: Callable[[float], str],
) -> Chart | None:
    """The bars of the spans' values; `None` if all values are 0.

    Args:
        spans: the turns.
        values: the parts of a bar from the bottom up, each with its kind.
        tooltip: the tooltip of a bar.
        label: a value as an axis shows it.
    """
    top = _round_above(max((sum(value for _, value in values(span.sums)) for span in spans), default=0))
    if not top:
        return None
    step, height = (WIDTH - LEFT) / len(spans), HEIGHT - TOP - BOTTOM
    # At most so wide, so that three turns are bars, not blocks.
    width = min(step * 0.8, 36)
    bars, marks = [], []
    for at, span in enumerate(spans):
        x, ground, parts = LEFT + at * step + (step - width) / 2, float(HEIGHT - BOTTOM), []
        for kind, value in values(span.sums):
            tall = value / top * height
            ground -= tall
            if value > 0:
                parts.append(Part(kind, x, ground, width, max(tall, 0.5)))
        bars.append(Bar(span, parts, LEFT + at * step, step, f"{span.label}: {tooltip(span.sums)}"))
        if span.begins_segment:
            marks.append(LEFT + at * step)
    grid = [(HEIGHT - BOTTOM - share * height, label(share * top)) for share in (0, 0.5, 1)]
    return Chart(bars, grid, marks if len(marks) <= _MOST_MARKS else [])


def _round_above(value: float) -> float:
    """The next number above with one or two digits that halves well."""
    if value <= 0:
        return 0
    unit: float = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 4, 6, 8, 10) if step * unit >= value * 0.999_999)


def short(count: float) -> str:
    """A number of tokens as an axis shows it: 950, 1.5k, 20M."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.4g}{unit}"
    return f"{count:.4g}"
