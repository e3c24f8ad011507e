"""What a segment goes on from: what is told of the conversation before it, and the exchange it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from ..accounts.money import NOTHING, Usd
from ..models import EventSource, EventType, SessionEvent
from ..models.session import HomeStore, ancestors_of
from ..models.session_totals import SessionTotals
from ..providers.messages import calls_of
from ..stores.base import AnyEvent, AnySession
from .log_end import LogEnd
from .notes import NO_NOTES, Notes
from .segments import segments_before
from .summaries import closing_summary, covers_all, notes_of, notes_with, shown_in

# A session's id, and an event's in it.
_Place: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sums:
    """What segments come to, together."""

    tokens: int = 0
    """Content tokens."""
    cost: float = NOTHING
    """USD."""
    totals: SessionTotals = field(default_factory=SessionTotals)
    created_at: datetime | None = None
    last_update: datetime | None = None

    def __add__(self, other: Sums) -> Sums:
        """With what comes later."""
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
        """What one segment comes to."""
        # A first event may be a moment older than its session.
        last_update = max(segment.last_update_time, segment.metadata.created_at)
        return cls(
            segment.total_tokens,
            Usd(segment.total_cost),
            segment.totals,
            segment.metadata.created_at,
            last_update,
        )

    def as_json(self) -> dict[str, Any]:
        """The sums as JSON."""
        dates = {"created_at": self.created_at, "last_update": self.last_update}
        return {
            "tokens": self.tokens,
            "cost": self.cost,
            "totals": self.totals.as_dict(),
            **{name: date.isoformat() for name, date in dates.items() if date is not None},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sums:
        """Sums as `as_json` gave them."""
        dates = [datetime.fromisoformat(value[name]) if name in value else None for name in _DATES]
        return cls(value["tokens"], Usd(value["cost"]), SessionTotals(**value["totals"]), *dates)


_DATES = ("created_at", "last_update")


@dataclass(frozen=True, slots=True)
class Background:
    """What a segment goes on from: for a model, it stands before the segment's own messages."""

    notes: Notes = NO_NOTES
    """What is known of the conversation before it."""
    start: Sequence[AnyEvent] = ()
    """The start of its first exchange, where it begins with an answer or a tool's result: the user's
    message, and the calls whose results they are. Not what lies between: in an agent's long run that may
    be any number of segments, which are summarised."""
    sums: Sums = field(default_factory=Sums)
    """What all segments before it come to."""
    question: _Place | None = None
    """Where the user's last message before it is."""
    summary: AnyEvent | None = None
    """What the segment before it ends in, once it does: from then on, this is final."""
    shown: Notes | None = None
    """What models were told of the conversation before it until that was there, if they were told so."""

    @property
    def told(self) -> Notes:
        """What a model is told of the conversation before it: what was told once stays."""
        return self.notes if self.shown is None else self.shown


NO_BACKGROUND = Background()
"""Of a segment that nothing is before."""


async def background_of(session: AnySession, home: HomeStore) -> Background:
    """What a segment goes on from; reads the end of the one before it, and seldom more."""
    earlier: list[LogEnd] = []  # the nearest first
    async for log in segments_before(session, home):
        earlier.append(log)
        if covers_all(await closing_summary(log)):
            break
    if not earlier:
        return NO_BACKGROUND
    notes, sums = NO_NOTES, _covered(await closing_summary(earlier[-1]))
    for log in reversed(earlier):
        notes = await notes_with(notes, log)
        sums += Sums.of(log.session)
    question = await _question_in(earlier)
    start = await _start_of_exchange(LogEnd(session, home), earlier, question, home)
    summary = await closing_summary(earlier[0])
    return Background(notes, start, sums, question, summary, None if summary is None else shown_in(summary))


async def told_by_ancestors(session: AnySession, home: HomeStore) -> str:
    """The latest summary of each ancestor, whatever kind of parent it is, oldest first, as one text."""
    told: list[str] = []
    async for ancestor in ancestors_of(session, home, with_events=False):
        summary = await LogEnd(ancestor, home).read_back_to(lambda event: event.type == EventType.SUMMARY)
        if summary is not None:
            told.append(str(notes_of(summary)))
        if covers_all(summary):
            break
    return " ".join(reversed(told))


def carry_over(background: Background, segment: AnySession, summary: SessionEvent[Any]) -> None:
    """Write into the summary that a segment ends in what the next ones need to know of all before it."""
    summary.metadata["covered"] = background.sums.as_json()
    if background.question is not None and _last_question(segment.events) is None:
        summary.metadata["question"] = list(background.question)


def _covered(summary: AnyEvent | None) -> Sums:
    """What the segments come to that are before the one that a summary ends."""
    covered = summary.metadata.get("covered") if summary is not None and covers_all(summary) else None
    return Sums.from_json(covered) if isinstance(covered, dict) else Sums()


async def _question_in(earlier: Sequence[LogEnd]) -> _Place | None:
    """Where the user's last message is, in these segments or before them, as a summary says."""
    for log in earlier:
        summary = await closing_summary(log)
        question = _last_question(log.events)  # of those that were read so far: the summary is the last one
        elsewhere = summary.metadata.get("question") if summary else None
        if question is None and elsewhere is None:
            question = await log.read_back_to(_is_question)
        if question is not None:
            return log.session.id, question.id
        match elsewhere:
            case [str(session_id), str(event_id)]:
                return session_id, event_id
    return None


async def _start_of_exchange(
    log: LogEnd, earlier: Sequence[LogEnd], question: _Place | None, home: HomeStore
) -> list[AnyEvent]:
    oldest = await log.first_events(lambda events: not all(map(_is_said_by_nobody, events)))
    first = next((event for event in oldest if not _is_said_by_nobody(event)), None)
    if first is None or _is_question(first):
        return []
    asked: AnyEvent | None = None
    calls: list[AnyEvent] = []
    if first.type == EventType.TOOL_CALL:
        asked, calls = await _around_calls(earlier)
    if asked is None and question is not None:
        asked = await _event_at(question, earlier, home)
    return calls if asked is None or asked in calls else [asked, *calls]


async def _around_calls(earlier: Sequence[LogEnd]) -> tuple[AnyEvent | None, list[AnyEvent]]:
    """Of the nearest segment that calls tools: the question of its last calls; these, and what follows."""
    for log in earlier:
        calling = await log.read_back_to(lambda event: bool(calls_of(event.message)))
        if calling is not None:
            asked = await log.read_back_to(_is_question, before=calling)
            return asked, [event for event in log.since(calling) if event.type != EventType.SUMMARY]
    return None, []


async def _event_at(place: _Place, earlier: Sequence[LogEnd], home: HomeStore) -> AnyEvent | None:
    session_id, event_id = place
    log = next((each for each in earlier if each.session.id == session_id), None)
    if log is None:
        session = await home.head(session_id)
        log = None if session is None else LogEnd(session, home)
    return None if log is None else await log.read_back_to(lambda event: event.id == event_id)


def _last_question(events: Sequence[AnyEvent]) -> AnyEvent | None:
    return next((event for event in reversed(events) if _is_question(event)), None)


def _is_question(event: AnyEvent) -> bool:
    return event.type == EventType.MESSAGE and event.source == EventSource.USER


def _is_said_by_nobody(event: AnyEvent) -> bool:
    """Whether an event is no part of an exchange: a summary, an instruction, a note on another event."""
    is_instruction = event.type == EventType.MESSAGE and event.source == EventSource.SYSTEM
    return is_instruction or event.type in {EventType.SUMMARY, EventType.REFERENCE}
