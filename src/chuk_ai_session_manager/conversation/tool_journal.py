"""Which tool calls of a conversation were begun, and their results: no call is begun twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from ..exceptions import EventConflict
from ..models import EventType, SessionEvent
from ..models.home import HomeStore
from ..providers.answers import Answer
from ..providers.messages import calls_of
from ..stores.base import AnyEvent, AnySession
from .log_end import LogEnd, PathEnd
from .replays import Circumstances, event_id_of, is_of_response
from .segments import append, append_unfilled, is_of_segments, latest, live_segment, segments_before
from .tool_calls import (
    Call,
    Recorded,
    begun_event,
    is_claimed,
    is_same_message,
    parsed_call,
    recorded_results,
    with_call_ids,
)

MakeEvent = Callable[[str | None], Awaitable[SessionEvent[Any]]]
"""Makes a message's event, with a certain id if one is given."""

# How many events at the end of a log are searched: messages are processed again soon, if at all.
_EVENTS_SEARCHED = 1_000


@dataclass(slots=True)
class Begun:
    """A model's message in its conversation, and the state of its tool calls."""

    session: Any
    """The segment that the results go to."""
    event_id: str
    """The message's event."""
    calls: list[Call]
    is_ours: bool
    """Whether the calls without a result are begun now; otherwise, somebody else began them."""
    results: Mapping[int, Recorded] = field(default_factory=dict)
    """The recorded results, by the calls' places in the message."""


async def begin(
    session: AnySession,
    home: HomeStore,
    message: dict[str, Any],
    answer: Answer | None,
    make_event: MakeEvent,
    finished: Collection[str],
) -> Begun:
    """Record a message, unless the conversation has it already, and begin its calls, unless they are begun.

    The message is recognised by its response's id. Without an id, it is recognised by its place and content:
    it is the newest message of its conversation, and only results came after it.

    Args:
        session: any segment of the conversation.
        home: the store.
        message: the message.
        answer: the response that contains it, as far as it can be read.
        make_event: makes the message's event.
        finished: events of messages that were processed completely here: an equal message is a new one.

    Raises:
        SessionNotFound, StorageError: as for `append`.
    """
    event_id = None
    if answer is not None and (key := answer.key) is not None:
        event_id = await event_id_of(session, home, key, Circumstances.of(answer.usage, answer.native))
    event: SessionEvent[Any] | None = None
    while True:
        session = await live_segment(session, home)
        found = await _found_at_end(session, home, message, event_id, finished)
        if found is None and event_id is not None:
            found = await _found_in_segment_before(session, home, event_id)
        if found is not None:
            return await _joined(session, home, *found)
        event = event or await make_event(event_id)
        try:
            # Only if it was searched for: two processes may have got the same message.
            was_stored, session = await append(session, [event], home, only_if_current=True)
        except EventConflict:
            if event_id is None or (found := await _found_by_id(session, home, event_id)) is None:
                raise
            return await _joined(session, home, *found)
        if was_stored:
            return Begun(session, event.id, _calls_in(event), is_ours=True)


async def record(session: AnySession, home: HomeStore, event: SessionEvent[Any]) -> AnyEvent:
    """Store a result in the live segment; return the stored result, which may be another writer's."""
    try:
        await append_unfilled(session, [event], home)
    except EventConflict:
        found = await _found_by_id(session, home, event.id)
        if found is None:
            raise
        return found[0]
    return event


async def _joined(
    session: AnySession, home: HomeStore, message: AnyEvent, later: Sequence[AnyEvent]
) -> Begun:
    """A message that is stored already, with the recorded results of its calls."""
    calls = _calls_in(message)
    results = recorded_results(message.id, calls, later)
    is_ours = False
    if len(results) < len(calls) and not is_claimed(message):
        try:
            session = await append_unfilled(session, [begun_event(message.id)], home)
            is_ours = True
        except EventConflict:
            pass  # another process began them
    return Begun(session, message.id, calls, is_ours=is_ours, results=results)


def _calls_in(event: AnyEvent) -> list[Call]:
    recorded = event.message if isinstance(event.message, dict) else {}
    return [parsed_call(call) for call in calls_of(with_call_ids(dict(recorded), event.id))]


async def _found_at_end(
    session: AnySession,
    home: HomeStore,
    message: dict[str, Any],
    event_id: str | None,
    finished: Collection[str],
) -> tuple[AnyEvent, list[AnyEvent]] | None:
    """The newest message of a segment, with the events after it, if it is the given message."""
    later: list[AnyEvent] = []
    async with aclosing(PathEnd(session, home).newest_first()) as events:
        async for event in events:
            if event.type == EventType.MESSAGE:
                if event_id is not None and event.id != event_id and is_of_response(event):
                    return None
                is_it = event.id == event_id or (event.id not in finished and is_same_message(event, message))
                return (event, later[::-1]) if is_it else None
            later.append(event)
            if len(later) >= _EVENTS_SEARCHED:
                break
    return None


async def _found_by_id(
    session: AnySession, home: HomeStore, event_id: str
) -> tuple[AnyEvent, list[AnyEvent]] | None:
    """An event of the live segment, with the events after it."""
    live = await latest(await live_segment(session, home), home)
    event = live.event(event_id)
    return None if event is None else (event, LogEnd(live, home).since(event)[1:])


async def _found_in_segment_before(
    session: AnySession, home: HomeStore, event_id: str
) -> tuple[AnyEvent, list[AnyEvent]] | None:
    """An event of the segment before the live one, with the events after it in both segments.

    A store has an id only once in a segment, so that only this segment needs no search.
    """
    if not is_of_segments(session):
        return None
    async for before in segments_before(session, home):
        event = await _newest_of(before, event_id)
        if event is None:
            return None
        here = LogEnd(session, home)
        await here.read_back_to(lambda _: False)
        return event, [*before.since(event)[1:], *here.events]
    return None


async def _newest_of(log: LogEnd, event_id: str) -> AnyEvent | None:
    """The event with an id, if it is among the newest of a log."""
    async with aclosing(log.newest_first()) as events:
        searched = 0
        async for event in events:
            searched += 1
            if event.id == event_id:
                return event
            if searched >= _EVENTS_SEARCHED:
                break
    return None
