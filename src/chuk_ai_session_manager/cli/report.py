"""A conversation as an HTML page of its own: without network, scripts and fonts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jinja2

from ..api.installed import get_version
from ..conversation.path import is_question
from ..conversation.pins import pinned_ids
from ..conversation.sums import Sums
from ..models.record import utc_now
from ..stores.base import AnyEvent, AnySession
from . import charts
from .charts import chart_of, short, spans_of
from .contents import ToolUse, calls_in, kind_of, outcome_in, text_in
from .figures import Tally, Turn, amount_text, billed_text, cost_text, counted, dollars, turns_of
from .safe_text import shown
from .transcript import moment

# The most characters of one text, and of all texts together: a browser has to load the page.
_MOST_OF_A_TEXT, _LEAST_OF_A_TEXT, _MOST_OF_ALL = 20_000, 600, 4_000_000
# How many events are open at first; if there are more, only the last part is open.
_MOST_OPEN = 300


@dataclass(slots=True)
class Item:
    """An event on the page."""

    event: AnyEvent
    turn: Turn
    begins_turn: bool
    kind: str
    text: str
    calls: list[ToolUse]
    outcome: ToolUse | None
    is_off_path: bool


@dataclass(slots=True)
class Section:
    """A part of the timeline: a segment, or some turns of a long segment."""

    segment: AnySession
    number: int
    goes_on: bool
    """Whether it is a later part of its segment."""
    items: list[Item] = field(default_factory=list)

    @property
    def turns(self) -> str:
        """The numbers of its turns, in words."""
        first, last = self.items[0].turn.number, self.items[-1].turn.number
        return f"turn {first}" if first == last else f"turns {first} to {last}"


def report_of(segments: Sequence[AnySession], left_out: int = 0, off_path: Collection[str] = ()) -> str:
    """The page of a conversation.

    Args:
        segments: the conversation's segments, in order.
        left_out: how many earlier events there are; the page says so.
        off_path: the ids of events that are not on the path; they are marked.
    """
    turns, tally = turns_of(segments), Tally()
    for turn in turns:
        for event in turn.events:
            tally.count(event)
    events = sum(len(segment.events) for segment in segments)
    room = max(_LEAST_OF_A_TEXT, min(_MOST_OF_A_TEXT, _MOST_OF_ALL // max(events, 1)))
    spans = spans_of(turns)
    return _template().render(
        charts=charts,
        clip=lambda text: _clipped(text, room),
        first=segments[0],
        left_out=left_out,
        pinned=pinned_ids(segments[-1].metadata.properties),
        user=segments[-1].user_id,
        system_prompt=segments[-1].metadata.properties.get("system_prompt"),
        segments=segments,
        sections=list(_sections(segments, turns, off_path)),
        is_long=events > _MOST_OPEN,
        last_update=max(segment.last_update_time for segment in segments),
        turns=turns,
        spans=spans,
        tally=tally,
        token_chart=chart_of(spans, _token_parts, _billed_tooltip, short),
        cost_chart=chart_of(spans, lambda of: [("cost", of.cost)], cost_text, lambda cost: f"${cost:.4g}"),
        made_at=utc_now(),
        version=get_version(),
    )


def _sections(
    segments: Sequence[AnySession], turns: Sequence[Turn], off_path: Collection[str]
) -> Iterator[Section]:
    turn_of = {event.id: turn for turn in turns for event in turn.events}
    asked: set[str | None] = set()
    for number, segment in enumerate(segments, 1):
        section = Section(segment, number, goes_on=False)
        for event in segment.events:
            if len(section.items) >= _MOST_OPEN and is_question(event):
                yield section
                section = Section(segment, number, goes_on=True)
            item = _item(event, turn_of[event.id], asked, is_off_path=event.id in off_path)
            asked |= {call.call_id for call in item.calls}
            section.items.append(item)
        if section.items:
            yield section


def _item(event: AnyEvent, turn: Turn, asked: Collection[str | None], *, is_off_path: bool) -> Item:
    is_first, outcome = event is turn.events[0], outcome_in(event, asked)
    return Item(event, turn, is_first, kind_of(event), text_in(event), calls_in(event), outcome, is_off_path)


def _token_parts(sums: Sums) -> list[tuple[str, float]]:
    totals = sums.totals
    return [
        ("output", totals.output_tokens),
        ("input", totals.input_tokens - totals.cache_read_tokens),
        ("cached", totals.cache_read_tokens),
    ]


def _billed_tooltip(sums: Sums) -> str:
    return billed_text(sums.totals)


def _clipped(text: str | None, room: int) -> str:
    text = text or ""
    if len(text) <= room:
        return text
    return f"{text[:room]}\n[… {len(text) - room:,} characters more]"


def _harmless(value: Any) -> Any:
    """Show characters that reverse or hide text, instead of letting them act; the page's markup stays."""
    return shown(value) if type(value) is str else value


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"moment": moment, "counted": counted}
    filters |= {"amount": amount_text, "dollars": dollars, "billed": billed_text, "cost": cost_text}
    environment.filters |= filters
    return environment.get_template("report.html")
