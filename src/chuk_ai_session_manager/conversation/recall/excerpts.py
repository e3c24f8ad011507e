"""What is shown of earlier turns: as much as fits, dated, in the order in which it was said."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from ...models import TokenUsage
from .index import Index

# Not `strftime`, whose names are those of the process's language: what was shown keeps its bytes.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Where a passage has more before it, or behind it.
_MORE = "…"
# A line with the day, in tokens; and the fewest that an excerpt may be.
_DAY_COST, _LEAST = 9, 10
# So many excerpts in a row that do not fit any more: the others are not looked at.
_MOST_PASSED_OVER = 100
# So many are looked at before others in the event loop have their turn.
_TOGETHER = 50


@dataclass(frozen=True, slots=True)
class RecalledTurn:
    """An earlier turn that may answer a question."""

    event_id: str
    session_id: str
    """The segment that it is in."""
    time: datetime
    speaker: str
    """Who said it: "user", "assistant", "system", or a user's name; of a tool's result, the call."""
    text: str = field(repr=False)
    """What was said; of a long turn, the passages that matter, with "…" for what lies between."""
    score: float
    """How well it answers, among the turns of one recall: no more than an order."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """Earlier turns that may answer a question; to go through it is to go through its turns."""

    turns: Sequence[RecalledTurn] = field(default=(), repr=False)
    """The best one first."""
    text: str = field(default="", repr=False)
    """The same as dated excerpts, in the order in which they were said: for a prompt."""
    tokens: int = 0
    """How many tokens `text` is."""

    def __len__(self) -> int:
        return len(self.turns)

    def __iter__(self) -> Iterator[RecalledTurn]:
        return iter(self.turns)


@dataclass(slots=True)
class Excerpt:
    """What is shown of a turn."""

    turn: int
    """Its number in the index."""
    spans: list[tuple[int, int]]
    """Where what is shown begins and ends in the turn's text."""
    score: float = 0.0


async def chosen(
    index: Index,
    candidates: Iterable[tuple[float, int]],
    max_tokens: int,
    *,
    model: str,
    limit: int | None = None,
    without: Collection[int] = (),
    around_turn: int = 0,
) -> list[Excerpt]:
    """As many of the best passages as fit; one that does not fit is passed over.

    Args:
        index: the conversation's.
        candidates: its passages, each with its score, the best first.
        max_tokens: what all of it may come to, with days and speakers.
        model: whose tokens those are.
        limit: at most so many turns.
        without: turns that are not wanted.
        around_turn: tokens that each turn takes besides.
    """
    found: dict[int, Excerpt] = {}
    days: set[object] = set()
    room, passed_over = max_tokens, 0
    for number, (score, passage) in enumerate(candidates):
        if number % _TOGETHER == _TOGETHER - 1:
            await asyncio.sleep(0)  # counting is fast, but not of hundreds
        turn = index.turns_of_passages[passage]
        if turn in without or (turn in found and turn in index.results):
            continue
        if limit is not None and len(found) >= limit and turn not in found:
            continue
        day, span = index.turn(turn).time.date(), index.span(passage)
        cost = (0 if day in days else _DAY_COST) + (0 if turn in found else around_turn)
        is_too_long = index.least_cost(passage) > room
        cost += 0 if is_too_long else await TokenUsage.count_tokens(line_of(index, turn, [span]), model)
        if is_too_long or cost > room:
            passed_over += 1
            if passed_over > _MOST_PASSED_OVER or room < _LEAST:
                break
            continue
        room -= cost
        passed_over = 0
        days.add(day)
        found.setdefault(turn, Excerpt(turn, [], score)).spans.append(span)
    return list(found.values())


async def fitting(index: Index, excerpts: list[Excerpt], max_tokens: int, model: str) -> Recalled:
    """Excerpts as what they come to: texts together may be some tokens more than each by itself."""
    while excerpts:
        text = told(index, excerpts)
        tokens = await TokenUsage.count_tokens(text, model)
        if tokens <= max_tokens:
            return Recalled([_recalled(index, each) for each in excerpts], text, tokens)
        excerpts = excerpts[:-1]
    return Recalled()


def told(index: Index, excerpts: Sequence[Excerpt]) -> str:
    """Excerpts as one text, in the order in which they were said, with a line for each day."""
    return "\n".join(_lines(index, excerpts))


def in_order(index: Index, excerpts: Sequence[Excerpt]) -> list[Excerpt]:
    """Excerpts in the order in which they were said."""
    return sorted(excerpts, key=lambda each: (index.times[each.turn], each.turn))


def day_line(day: date) -> str:
    """The line that goes before what was said on a day."""
    return f"[{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}]"


def _lines(index: Index, excerpts: Sequence[Excerpt]) -> Iterator[str]:
    day = None
    for excerpt in in_order(index, excerpts):
        time = index.turn(excerpt.turn).time
        if time.date() != day:
            day = time.date()
            yield day_line(day)
        yield line_of(index, excerpt.turn, excerpt.spans)


def line_of(index: Index, turn: int, spans: Sequence[tuple[int, int]]) -> str:
    """Who said a turn, and what is shown of it."""
    return f"{index.speaker_of(turn)}: {shown(index, turn, spans)}"


def shown(index: Index, turn: int, spans: Sequence[tuple[int, int]]) -> str:
    """The passages of a turn, with marks where there is more of it."""
    text = index.turn(turn).said.text
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    pieces = [text[start:end].strip() for start, end in joined]
    if joined[0][0] > 0:
        pieces.insert(0, "")
    if joined[-1][1] < len(text) or turn in index.cut:
        pieces.append("")
    return f" {_MORE} ".join(pieces).strip()


def _recalled(index: Index, excerpt: Excerpt) -> RecalledTurn:
    turn = index.turn(excerpt.turn)
    return RecalledTurn(
        turn.event_id,
        turn.session_id,
        turn.time,
        turn.said.speaker,
        shown(index, excerpt.turn, excerpt.spans),
        excerpt.score,
    )
