"""The order in which a conversation is shown, which may differ from the order in which it was stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ..models import EventSource, EventType
from ..models.home import HomeStore
from ..providers.messages import call_id_of, calls_of
from ..stores.base import AnyEvent
from .log_end import LogEnd
from .path import is_question, on_path, replaced_by

QUESTION_IN = "question_in"
"""Metadata of a late answer: the segment of its question, if that is another one."""


def as_told(events: Sequence[AnyEvent]) -> list[AnyEvent]:
    """Events in the order in which they are shown: each answer stands with the question that it answers.

    A log only grows, and an answer may arrive when the user has gone on already: its stream was read late,
    or several questions were asked at once. Such an answer goes to the end of its own question's exchange
    (`parent_event_id` names the question). An answer that was stored in part, and then whole, is shown once:
    whole, at the place of the part. All other events stay where they were stored. Messages off the path
    (see `path`) are left out.

    Args:
        events: in the order in which they were stored.
    """
    events = on_path(events)
    newest = {old: event for event in events if (old := replaced_by(event)) is not None}
    known = {event.id for event in events} if newest else set()
    told: list[list[AnyEvent]] = []
    for event, exchange in _exchanges(events):
        while exchange >= len(told):
            told.append([])
        if replaced_by(event) not in known:
            told[exchange].append(event)
    return [_newest(event, newest) for exchange in told for event in exchange]


def late_answers(events: Sequence[AnyEvent]) -> list[tuple[int | None, int]]:
    """The position of each late answer's question, and of the answer.

    `None` stands for a question that is neither among these events nor in an earlier segment.
    """
    at = {event.id: position for position, event in enumerate(events)}
    found: list[tuple[int | None, int]] = []
    begun = 0
    for position, event in enumerate(events):
        if is_question(event):
            begun = position
        elif is_linked_answer(event):
            question = at.get(event.parent_event_id or "")
            is_elsewhere = question is None and QUESTION_IN in event.metadata
            if not is_elsewhere and (question is None or question < begun):
                found.append((question, position))
    return found


async def late_questions(events: Sequence[AnyEvent], home: HomeStore) -> list[AnyEvent]:
    """The questions in earlier segments that answers among these events belong to, oldest first."""
    known = {event.id for event in events}
    found: list[tuple[str, int, AnyEvent]] = []
    for event in events:
        segment_id, question_id = event.metadata.get(QUESTION_IN), event.parent_event_id
        if not isinstance(segment_id, str) or question_id is None or question_id in known:
            continue
        segment = await home.head(segment_id)
        if segment is None:
            continue
        log = LogEnd(segment, home, may_lack=True)
        question = await log.read_back_to(partial(_is_called, question_id))
        if question is not None:
            known.add(question_id)
            ids = [each.id for each in log.events]
            found.append((segment_id, log.first + ids.index(question_id), question))
    if len(found) > 1:
        chain = await home.segment_ids(found[0][0])
        found.sort(key=lambda each: (chain.index(each[0]) if each[0] in chain else -1, each[1]))
    return [question for _, _, question in found]


def _is_called(event_id: str, event: AnyEvent) -> bool:
    return event.id == event_id


def _exchanges(events: Sequence[AnyEvent]) -> Iterator[tuple[AnyEvent, int]]:
    """Each event with the number of its exchange."""
    exchange_of: dict[str, int] = {}
    asked: dict[str, list[int]] = {}
    last = 0
    for event in events:
        exchange = last
        if is_question(event):
            last += 1
            exchange = last
        elif is_linked_answer(event):
            exchange = exchange_of.get(event.parent_event_id or "", last)
        exchange_of[event.id] = exchange
        if event.type == EventType.TOOL_CALL:
            # A result stays where it is, but the answer to the result belongs to the call's exchange.
            waiting = asked.get(call_id_of(event) or "")
            if waiting:
                exchange_of[event.id] = waiting.pop()
        elif event.source == EventSource.LLM:
            for call in calls_of(event.message):
                asked.setdefault(str(call.get("id")), []).append(exchange)
        yield event, exchange


def _newest(event: AnyEvent, newest: dict[str, AnyEvent]) -> AnyEvent:
    """The last event that replaced an event."""
    seen = {event.id}
    while (later := newest.get(event.id)) is not None and later.id not in seen:
        event = later
        seen.add(event.id)
    return event


def is_linked_answer(event: AnyEvent) -> bool:
    """Whether an event is an answer that names the question that it answers."""
    is_answer = event.type == EventType.MESSAGE and event.source == EventSource.LLM
    return is_answer and event.parent_event_id is not None
