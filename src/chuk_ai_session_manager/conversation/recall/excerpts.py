"""Excerpts of earlier turns: as many as fit, with dates, in the order of the conversation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from ...models import TokenUsage
from .index import Index

# Not `strftime`, whose names depend on the process's language: shown excerpts must keep their bytes.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The mark for text that is left out before or after a passage.
_MORE = "…"
# All characters that `str.splitlines` takes for the end of a line.
_LINE_ENDS = r"[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+"
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
    """The turn's segment."""
    time: datetime
    speaker: str
    """The speaker: "user", "assistant", "system", or a user's name; for a tool's result, the call."""
    text: str = field(repr=False)
    """The text; of a long turn, the passages that matter, with "…" for the parts between them."""
    score: float
    """How well the turn answers. Scores only order the turns of one recall."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """Earlier turns that may answer a question; iterating over this object gives the turns."""

    turns: Sequence[RecalledTurn] = field(default=(), repr=False)
    """The turns, the best one first."""
    text: str = field(default="", repr=False)
    """The turns as dated excerpts for a prompt, in the order of the conversation."""
    tokens: int = 0
    """How many tokens `text` has."""

    def __len__(self) -> int:
        return len(self.turns)

    def __iter__(self) -> Iterator[RecalledTurn]:
        return iter(self.turns)


@dataclass(slots=True)
class Excerpt:
    """The parts of a turn that are shown."""

    turn: int
    """The turn's number in the index."""
    spans: list[tuple[int, int]]
    """Where the shown parts begin and end in the turn's text."""
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
    """As many of the best passages as fit; a passage that does not fit is skipped.

    Args:
        index: the index of the conversation.
        candidates: passages with their scores, the best first.
        max_tokens: the most tokens of all excerpts, with days and speakers.
        model: the model whose tokens are counted.
        limit: the most turns.
        without: turns to leave out.
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
        day, span = index.day_of(turn), index.span(passage)
        cost = (0 if day in days else _DAY_COST) + (0 if turn in found else around_turn)
        is_too_long = index.least_cost(passage) > room
        # With the line's end: after a letter, it is a token of its own.
        line = "" if is_too_long else f"{line_of(index, turn, [span])}\n"
        cost += await TokenUsage.count_tokens(line, model)
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


def told(index: Index, excerpts: Sequence[Excerpt], *, with_ids: bool = False) -> str:
    """Excerpts as one text, in the order of the conversation, with a line for each day.

    Args:
        index: the index of the conversation.
        excerpts: what is shown of each turn.
        with_ids: whether each line begins with the turn's event id.
    """
    lines: list[str] = []
    day: date | None = None
    for excerpt in sorted(excerpts, key=lambda each: (index.times[each.turn], each.turn)):
        if (new := index.day_of(excerpt.turn)) != day:
            day = new
            lines.append(day_line(day))
        line = line_of(index, excerpt.turn, excerpt.spans)
        lines.append(f"({index.ids[excerpt.turn]}) {line}" if with_ids else line)
    return "\n".join(lines)


def day_line(day: date) -> str:
    """The line before the excerpts of a day."""
    return f"[{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}]"


def line_of(index: Index, turn: int, spans: Sequence[tuple[int, int]]) -> str:
    """A turn's speaker, and the parts of it that are shown."""
    return f"{index.speaker_of(turn)}: {indented(shown(index, turn, spans))}"


def indented(text: str) -> str:
    """A text in which all lines but the first begin with spaces, beside lines of other turns.

    Otherwise a user could write a line that looks like one of another speaker, or like that of a day.
    """
    return re.sub(_LINE_ENDS, r"\g<0>  ", text)


def shown(index: Index, turn: int, spans: Sequence[tuple[int, int]]) -> str:
    """The passages of a turn, with marks where parts are left out."""
    text = index.text_of(turn)
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
