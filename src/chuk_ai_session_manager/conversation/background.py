"""What a segment continues: what is known of the conversation before it, and the exchange that it is in."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..models import EventSource, EventType, SessionEvent
from ..models.family import ancestors_of
from ..models.home import HomeStore
from ..providers.context_rows import told_messages
from ..providers.messages import calls_of
from ..stores.base import AnyEvent, AnySession
from .absent import fill
from .log_end import LogEnd, PathEnd
from .looking_back import LookingBack
from .notes import NO_NOTES, Notes
from .order import as_told
from .path import EarlierNeededError, Paths, is_question, is_said
from .segments import Placed, segments_before
from .summaries import closing_summary, covers_all, noted, notes_of, notes_with, shown_in
from .sums import Sums

# A session's id, and an event's in it.
_Place: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Background:
    """What a segment continues: for a model, it stands before the segment's own messages."""

    notes: Notes = NO_NOTES
    """What is known of the conversation before it."""
    start: Sequence[AnyEvent] = ()
    """The start of the segment's first exchange, if the segment begins with an answer or a tool's result: the
    user's message, and the calls of the results. Messages in between are not included: in an agent's long
    run, they may fill any number of segments, which are summarised."""
    sums: Sums = field(default_factory=Sums)
    """The sums of all earlier segments."""
    question: _Place | None = None
    """The place of the user's last message before the segment."""
    summary: AnyEvent | None = None
    """The summary at the end of the segment before, once it is stored: from then on, this is final."""
    shown: Notes | None = None
    """What models were told of the earlier conversation until that summary was stored, if they were told."""
    held: Sequence[AnyEvent] | None = None
    """The messages after the notes, if second thoughts changed them: the events on the path, of the segment
    itself and of an earlier one whose middle it continues. `None` means the segment's own events."""
    segment_id: str | None = None
    """Of that earlier segment, the segment that `notes` come before, as they did when that was the live one;
    `None` if the notes were made anew."""
    passed: Sequence[AnyEvent] | None = None
    """`held`, including messages that were retracted."""

    @property
    def told(self) -> Notes:
        """What a model is told of the earlier conversation. What was told once does not change."""
        return self.notes if self.shown is None else self.shown


NO_BACKGROUND = Background()
"""Of a segment without earlier segments."""


async def background_of(session: AnySession, home: HomeStore) -> Background:
    """What a segment continues; reads the end of the segment before it, and seldom more.

    An `AbsentText` may stand in its events for bytes: `fill` reads them.
    """
    if session.totals.choices and session.parent_id:
        return await _after_second_thoughts(session, home)
    return await _before(session, home)


async def background_at(
    segment: AnySession, home: HomeStore, choice: AnyEvent
) -> tuple[Notes, list[AnyEvent]]:
    """What is known before a place in a segment, and all messages from there to the place.

    Args:
        segment: the segment of the place.
        home: the store.
        choice: the event that would choose the place, as the last one of the segment.
    """
    background = await _after_second_thoughts(segment, home, choice)
    held = [event for event in background.held or () if is_said(event)]
    known = {event.id for event in held}
    events = [*(event for event in background.start if event.id not in known), *held]
    await fill(events, home)
    return background.told, events


async def _before(session: AnySession, home: HomeStore) -> Background:
    """What the whole segment continues, whatever was chosen in it."""
    earlier: list[LogEnd] = []  # the nearest first
    async for log in segments_before(session, home, on_path=True, may_lack=True):
        earlier.append(log)
        if covers_all(await closing_summary(log)):
            break
    if not earlier:
        return NO_BACKGROUND
    notes, sums = NO_NOTES, _covered(await closing_summary(earlier[-1]))
    for log in reversed(earlier):
        if log.session.totals.choices and await closing_summary(log) is None:
            notes = await _notes_after(log.session, home)
        else:
            notes = await notes_with(notes, log)
        sums += Sums.of(log.session)
    question = await _question_in(earlier)
    start = await _start_of_exchange(PathEnd(session, home, may_lack=True), earlier, question, home)
    summary = await closing_summary(earlier[0])
    return Background(notes, start, sums, question, summary, None if summary is None else shown_in(summary))


async def _notes_after(segment: AnySession, home: HomeStore) -> Notes:
    """What is known after a segment that contains choices, and that has no summary."""
    background = await background_of(segment, home)
    held = background.held
    if held is None:
        log = PathEnd(segment, home, may_lack=True)
        while not log.is_whole:
            await log.read_back(limit=log.first)
        held = log.events
    return await noted(background.notes, told_messages(as_told(held)))


async def _after_second_thoughts(
    session: AnySession, home: HomeStore, choice: AnyEvent | None = None
) -> Background:
    """The same for a segment that contains choices, which may choose places in earlier segments.

    If messages of a segment are no longer on the path, the segment's summary is not used: the messages on the
    path are summarised anew. But if the path leaves the last such segment in the middle, its messages stand
    word for word, as they did when it was the live one.
    """
    back = LookingBack(session, home, may_lack=True)
    while True:
        await back.read_segment()
        paths = Paths([*back.events, *([] if choice is None else [choice])], is_whole=back.is_whole)
        try:
            held = paths.chosen()
            break
        except EarlierNeededError:
            await back.read_back()
    before = await _before(session, home)
    base = NO_BACKGROUND
    if paths.root is not None:
        base = before if back.first_segment.id == session.id else await _before(back.first_segment, home)
    pieces = _pieces(back.placed, {event.id for event in held})
    earlier, live = pieces[:-1], pieces[-1].events
    verbatim = [earlier.pop()] if earlier and not paths.passes(earlier[-1].end) else []
    notes, told = base.notes, [event for piece in earlier for event in piece.events]
    if told:
        notes = await noted(notes, told_messages(as_told(told)))
    stands = [*(event for piece in verbatim for event in piece.events), *live]
    asked = [(piece.session_id, event.id) for piece in pieces for event in piece.events if is_question(event)]
    question = asked[-1] if asked else base.question
    standing = {piece.session_id for piece in (*verbatim, pieces[-1])}
    on_path = {event.id for event in paths.passed() if is_said(event)}
    passed = [each for segment, each in back.placed if segment.id in standing and each.id in on_path]
    start = _start_in(told, stands, base.start) if told else base.start
    return Background(
        notes,
        start,
        before.sums,
        question,
        base.summary,
        None if told else base.shown,
        stands,
        None if told or paths.root is None else back.first_segment.id,
        passed,
    )


@dataclass(slots=True)
class _Piece:
    """The part of one segment that is on the path."""

    session_id: str
    events: list[AnyEvent] = field(default_factory=list)
    end: str | None = None
    """The end of the path when the segment ended."""


def _pieces(placed: Sequence[Placed], held: Container[str]) -> list[_Piece]:
    """The part of each segment that is on the path; the last segment is included in any case."""
    pieces: list[_Piece] = []
    paths = Paths()
    for segment, event in placed:
        if not pieces or pieces[-1].session_id != segment.id:
            pieces.append(_Piece(segment.id))
        paths.take(event)
        pieces[-1].end = paths.end
        if event.id in held:
            pieces[-1].events.append(event)
    for piece in pieces[:-1]:
        piece.events = [event for event in piece.events if is_said(event)]
    return [*(piece for piece in pieces[:-1] if piece.events), *pieces[-1:]]


def _start_in(
    told: Sequence[AnyEvent], stands: Sequence[AnyEvent], before: Sequence[AnyEvent]
) -> list[AnyEvent]:
    """The start of the exchange that these events continue, found in the events before them.

    Without such events, the exchange is the last one before, if it waits for an answer: second thoughts took
    back the answer with which the segment began.

    Args:
        told: the events before.
        stands: the events.
        before: the start of the exchange with which the events before begin.
    """
    first = next((event for event in stands if not _is_said_by_nobody(event)), None)
    asked = _last_question(told)
    if first is not None and is_question(first):
        return []
    has_calls = _is_of_tools(told[-1]) if first is None else first.type == EventType.TOOL_CALL
    if first is None and told[-1] is not asked and not has_calls:
        return []
    calls: Sequence[AnyEvent] = ()
    if has_calls:
        calling = [at for at, event in enumerate(told) if calls_of(event.message)]
        calls = told[calling[-1] :] if calling else ()
    start = before if asked is None else [asked]
    return [*start, *(event for event in calls if event is not asked)]


async def told_by_ancestors(session: AnySession, home: HomeStore) -> str:
    """The latest summary of each ancestor, whatever kind of parent it is, oldest first, as one text."""
    told: list[str] = []
    async for ancestor in ancestors_of(session, home, with_events=False):
        summary = await LogEnd(ancestor, home, may_lack=True).read_back_to(
            lambda event: event.type == EventType.SUMMARY
        )
        if summary is not None:
            told.append(str(notes_of(summary)))
        if covers_all(summary):
            break
    return " ".join(reversed(told))


def carry_over(background: Background, events: Sequence[AnyEvent], summary: SessionEvent[Any]) -> None:
    """Write into a segment's summary what the next segments need to know of all earlier ones."""
    summary.metadata["covered"] = background.sums.as_json()
    is_elsewhere = background.held is not None or _last_question(as_told(events)) is None
    if background.question is not None and is_elsewhere:
        summary.metadata["question"] = list(background.question)


def _covered(summary: AnyEvent | None) -> Sums:
    """The sums of the segments before the one that a summary ends."""
    covered = summary.metadata.get("covered") if summary is not None and covers_all(summary) else None
    return Sums.from_json(covered) if isinstance(covered, dict) else Sums()


async def _question_in(earlier: Sequence[LogEnd]) -> _Place | None:
    """The place of the user's last message, in these segments or, as a summary says, before them."""
    for log in earlier:
        summary = await closing_summary(log)
        elsewhere = summary.metadata.get("question") if summary else None
        # Among the events read so far, the summary last. After choices, the summary knows better.
        is_told = elsewhere is not None and log.session.totals.choices
        question = None if is_told else _last_question(log.events)
        if question is None and elsewhere is None:
            question = await log.read_back_to(is_question)
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
    if first is None:  # second thoughts took it back: the last exchange before may wait for another answer
        last = await earlier[0].read_back_to(lambda event: not _is_said_by_nobody(event))
        if last is None or is_question(last):
            return [] if last is None else [last]
        goes_on_with_calls = _is_of_tools(last)
        if not goes_on_with_calls:
            return []
    elif is_question(first):
        return []
    else:
        goes_on_with_calls = first.type == EventType.TOOL_CALL
    asked: AnyEvent | None = None
    calls: list[AnyEvent] = []
    if goes_on_with_calls:
        asked, calls = await _around_calls(earlier)
    if asked is None and question is not None:
        asked = await _event_at(question, earlier, home)
    return calls if asked is None or asked in calls else [asked, *calls]


def _is_of_tools(event: AnyEvent) -> bool:
    """Whether an event is a tool's result, or an answer that calls tools."""
    return event.type == EventType.TOOL_CALL or bool(calls_of(event.message))


async def _around_calls(earlier: Sequence[LogEnd]) -> tuple[AnyEvent | None, list[AnyEvent]]:
    """Of the nearest segment with tool calls: the question of its last calls; the calls, and what follows."""
    for log in earlier:
        calling = await log.read_back_to(lambda event: bool(calls_of(event.message)))
        if calling is not None:
            asked = await log.read_back_to(is_question, before=calling)
            return asked, [event for event in log.since(calling) if event.type != EventType.SUMMARY]
    return None, []


async def _event_at(place: _Place, earlier: Sequence[LogEnd], home: HomeStore) -> AnyEvent | None:
    session_id, event_id = place
    log = next((each for each in earlier if each.session.id == session_id), None)
    if log is None:
        session = await home.head(session_id)
        log = None if session is None else LogEnd(session, home, may_lack=True)
    return None if log is None else await log.read_back_to(lambda event: event.id == event_id)


def _last_question(events: Sequence[AnyEvent]) -> AnyEvent | None:
    return next((event for event in reversed(events) if is_question(event)), None)


def _is_said_by_nobody(event: AnyEvent) -> bool:
    """Whether an event is not part of an exchange: a summary, an instruction, a note on another event."""
    is_instruction = event.type == EventType.MESSAGE and event.source == EventSource.SYSTEM
    return is_instruction or event.type in {EventType.SUMMARY, EventType.REFERENCE}
