"""The totals of a list of events, which are kept up to date without reading the list again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from .amounts import Billed, billed_among, billed_of, fields_of
from .choice import choice_in
from .correction import correction_in
from .event_source import EventSource
from .event_type import EventType
from .guard import guard
from .session_event import REPLACES, SessionEvent
from .token_usage import usd

COUNTED_ON_PATH = ("messages", "user_messages", "ai_messages", "tool_calls")
"""The totals that count only the path; all others count the whole log."""
_NANO = 10**9
# Looked up once, because they are asked for with every event.
_MESSAGE, _USER, _LLM = EventType.MESSAGE, EventSource.USER, EventSource.LLM


@dataclass(slots=True)
class SessionTotals:
    """Counts of events, messages, tool calls and billed tokens."""

    events: int = 0
    messages: int = 0
    user_messages: int = 0
    ai_messages: int = 0
    tool_calls: int = 0
    llm_calls: int = 0
    reported_calls: int = 0
    unpriced_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    choices: int = 0
    """How many choices there are: none in most conversations."""
    tokens_off_path: int = 0
    """Content tokens of messages off the path, in this segment or in earlier ones."""
    cache_saved_nano_usd: int = 0
    """What the calls would have cost more without prompt caches, in nano-dollars."""
    cache_misses: dict[str, int] = field(default_factory=dict)
    """How often providers said why their cache did not have a prompt, by reason."""

    def count(self, event: SessionEvent[Any]) -> None:
        """Add one event. This is the only rule by which events change totals."""
        self.events += 1
        fields = fields_of(event)
        kind, billed = fields["type"], billed_among(fields)
        if kind == _MESSAGE:
            self._count_message(fields)
        elif kind == EventType.TOOL_CALL:
            self.tool_calls += 1
        if billed is not None:
            self._bill(billed)
        elif kind != _MESSAGE and kind == EventType.REFERENCE:
            self._count_note(event)

    def _count_message(self, fields: Mapping[str, Any]) -> None:
        source = fields["source"]
        if source == _LLM:
            if REPLACES in fields["metadata"]:
                return  # the part that this answer replaces was counted
            self.ai_messages += 1
        elif source == _USER:
            self.user_messages += 1
        self.messages += 1

    def _count_note(self, event: SessionEvent[Any]) -> None:
        if correction := correction_in(event):
            self._bill(billed_of(correction.replaces), -1)
            self._bill(billed_of(correction.usage))
        elif choice := choice_in(event):
            self.choices += 1
            self.tokens_off_path -= choice.adds.get("tokens", 0)
            for name in COUNTED_ON_PATH:
                setattr(self, name, getattr(self, name) + choice.adds.get(name, 0))

    def _bill(self, billed: Billed, times: int = 1) -> None:
        _, _, sent, written, read, kept, reasoning, cost, estimated, _, saved, miss, _, continues = billed
        if not continues:
            self.llm_calls += times
            if cost is None:
                self.unpriced_calls += times
        if not estimated:
            self.reported_calls += times
        self.input_tokens += times * sent
        self.output_tokens += times * written
        if read or kept or reasoning:
            self.cache_read_tokens += times * read
            self.cache_write_tokens += times * kept
            self.reasoning_tokens += times * reasoning
        if saved:
            self.cache_saved_nano_usd += times * round(saved * _NANO)
        if miss:
            self.cache_misses = _added(self.cache_misses, {miss: 1}, times)

    @property
    def cached_share(self) -> float:
        """The share of the input tokens that came from providers' caches."""
        return round(self.cache_read_tokens / self.input_tokens, 4) if self.input_tokens else 0.0

    @property
    def cache_saved_usd(self) -> float:
        """What the calls would have cost more without prompt caches, in USD."""
        return usd(self.cache_saved_nano_usd / _NANO)

    @property
    def billed_tokens(self) -> int:
        """All billed tokens of the model calls."""
        return self.input_tokens + self.output_tokens

    @property
    def usage_source(self) -> str:
        """The source of the billed tokens: "reported" by providers, "estimated", "mixed" or "none"."""
        if not self.llm_calls:
            return "none"
        if self.reported_calls >= self.llm_calls:
            return "reported"
        return "mixed" if self.reported_calls else "estimated"

    def __add__(self, other: SessionTotals) -> SessionTotals:
        return self._with(other, 1)

    def __sub__(self, other: SessionTotals) -> SessionTotals:
        return self._with(other, -1)

    def _with(self, other: SessionTotals, times: int) -> SessionTotals:
        added = {name: getattr(self, name) + times * getattr(other, name) for name in COUNTS}
        return SessionTotals(**added, cache_misses=_added(self.cache_misses, other.cache_misses, times))

    def as_dict(self) -> dict[str, Any]:
        """Return the totals by name."""
        # `asdict` takes ten times as long, for each segment that is closed.
        return {name: getattr(self, name) for name in COUNTS} | {"cache_misses": dict(self.cache_misses)}


COUNTS: Sequence[str] = [each.name for each in fields(SessionTotals) if each.name != "cache_misses"]
"""The totals that are one number."""


def _added(counts: dict[str, int], others: dict[str, int], times: int) -> dict[str, int]:
    if not others:
        return counts
    added = {name: counts.get(name, 0) + times * others.get(name, 0) for name in {**counts, **others}}
    return {name: count for name, count in added.items() if count}


class EventIndex:
    """Totals, events by id and newest time of a list of events that others extend, cut or replace.

    Each event is read once. A list that was cut or replaced is read from the beginning.
    """

    def __init__(self) -> None:
        self.go_on_from(SessionTotals(), None)

    def go_on_from(self, totals: SessionTotals, newest: datetime | None) -> None:
        """Begin with these totals: those of stored events that the list does not contain."""
        with guard:
            self._totals_before, self._newest_before = totals, newest
            self._reset()

    def copy_before(self) -> EventIndex:
        """A new index for a list of the same events, which it counts again."""
        index = EventIndex()
        index.go_on_from(self._totals_before, self._newest_before)
        return index

    def _reset(self) -> None:
        self._seen = 0  # first: other threads assume that events up to here are counted
        self._last: SessionEvent[Any] | None = None
        self.totals: SessionTotals = replace(self._totals_before)
        self.by_id: dict[str, SessionEvent[Any]] = {}
        self.newest: datetime | None = self._newest_before

    def catch_up(self, events: Sequence[SessionEvent[Any]]) -> EventIndex:
        """Count the events that were added since the last call. Several threads may call at once."""
        seen = self._seen
        if seen != len(events) or (seen and events[seen - 1] is not self._last):
            with guard:
                self.counted(events)
        return self

    def counted(self, events: Sequence[SessionEvent[Any]]) -> EventIndex:
        """The same, if the guard is held, or no other thread knows the list."""
        seen, there = self._seen, len(events)
        if seen > there or (seen and events[seen - 1] is not self._last):
            self._reset()
            seen = 0
        if seen < there:
            for event in events[seen:]:
                self.add(event)
        return self

    def add(self, event: SessionEvent[Any]) -> None:
        """Count one more event, at the end of a list that is counted up to there. The guard must be held."""
        self.totals.count(event)
        fields = fields_of(event)
        self.by_id[fields["id"]] = event
        said, newest = fields["timestamp"], self.newest
        if newest is None or said > newest:
            self.newest = said
        self._last = event
        self._seen += 1  # last: other threads assume that events up to here are counted
