"""New conversations that begin with the messages of another one, and then do not depend on it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from ..exceptions import StorageError, session_not_found
from ..exceptions.validation import copied
from ..models import EventSource, EventType, Session, SessionEvent, SessionMetadata
from ..models.home import HomeStore
from ..models.record import new_id
from ..models.session import next_segment_id
from ..models.session_event import COPY_OF, REPLACES, origin_of
from ..models.session_metadata import FORKED_FROM, origins_of
from ..stores import EventStore
from ..stores.base import AnyEvent, AnySession
from .background import background_at
from .looking_back import LookingBack
from .notes import Notes
from .opening import Conversation
from .order import QUESTION_IN
from .pinned_turns import PinnedTurn, PinnedTurns
from .pins import Pin, pins_in, set_pins
from .recall.shown import shown_in
from .summaries import Summarizer

# Copying so many events takes longer than an event loop should be blocked.
_MANY = 500


async def fork(conversation: Conversation, at: str | None, session_id: str, summarizer: Summarizer) -> None:
    """Store a new conversation that begins with the path of another one, up to an event.

    The messages of the event's segment are copied. Everything before is represented by a summary, in a first
    segment that contains nothing else: so a fork costs a segment, however long the conversation is. A
    conversation with only one segment is copied whole. Copies are not billed again.

    Args:
        conversation: the original.
        at: the event; by default the last one on the path.
        session_id: the id of the new conversation's first segment.
        summarizer: knows how long a summary may be.

    Raises:
        InvalidInput: the conversation has no such event, or the event is not on the path.
        SessionAlreadyExists: the id is taken.
        SessionNotFound, StorageError: as for `SessionManager.user_says`.
    """
    home, live = await conversation.current(with_events=False)
    back = LookingBack(live, home, earlier_segments=conversation.is_infinite)
    event, choice = await back.asked(lambda paths: paths.fork(at))
    segment = next(segment for segment, each in back.placed if each.id == event.id)
    notes, said = await background_at(segment, home, choice.as_event())
    said = _with_shown(said, segment)
    earlier = origins_of(live.metadata.properties)
    origin: dict[str, Any] = {
        "conversation_id": conversation.id,
        "session_id": segment.id,
        "event_id": event.id,
        # So that who erases one of these finds what was copied from there.
        **({"earlier_conversations": earlier} if earlier else {}),
    }
    settings = conversation.thresholds.settings(session_id) if conversation.is_infinite else None
    first: AnySession = Session(
        id=session_id,
        metadata=SessionMetadata(
            properties=copied(live.metadata.properties) | {FORKED_FROM: origin}, conversation=settings
        ),
        state=copied(live.state),
    )
    make = partial(_copies, said, conversation.id)
    copies = make() if len(said) < _MANY else await asyncio.to_thread(make)
    earlier_turns = await _pinned_before(live, home, segment) if notes else []
    pinned = [event for turn in earlier_turns for event in turn.events]
    pinned_copies = _copies(pinned, conversation.id)
    set_pins(
        first,
        [
            *_moved(live, pinned, pinned_copies, first.id),
            *_moved(live, said, copies, next_segment_id(first.id) if notes else first.id),
        ],
    )
    summary = [summary_of_fork(await summarizer.within(notes))] if notes else []
    first.record(*((*pinned_copies, *summary) if notes else copies))
    await home.create(first)
    try:
        if notes:
            await _go_on(first, copies, home)
        await _check_there(segment, home)
    except BaseException:
        if isinstance(home, EventStore):
            with suppress(StorageError):  # else half of a conversation stays
                await home.delete_conversation(first.id)
        raise


async def _pinned_before(live: AnySession, home: HomeStore, segment: AnySession) -> list[PinnedTurn]:
    """What is pinned in the segments before one: a summary would not keep it word for word."""
    turns = await PinnedTurns().turns(live, home, has_choices=True)
    chain = await home.segment_ids(live.id)
    earlier = set(chain[: chain.index(segment.id)] if segment.id in chain else ())
    places = {pin.event_id: pin.segment for pin in pins_in(live.metadata.properties)}
    return [turn for turn in turns if places[turn.event.id] in earlier]


def _moved(
    live: AnySession, events: Sequence[AnyEvent], copies: Sequence[AnyEvent], segment_id: str
) -> list[Pin]:
    """The pins of events, as those of their copies."""
    pins = {pin.event_id: pin for pin in pins_in(live.metadata.properties) if pin.until is None}
    return [
        replace(pins[event.id], event_id=copy.id, segment=segment_id, number=at)
        for at, (event, copy) in enumerate(zip(events, copies, strict=True))
        if event.id in pins
    ]


async def _check_there(segment: AnySession, home: HomeStore) -> None:
    """Refuse copies of a segment that was deleted or erased meanwhile: nobody would find them any more."""
    if await home.head(segment.id) is None:
        raise session_not_found(segment.id)


async def _go_on(first: AnySession, copies: Sequence[AnyEvent], home: HomeStore) -> None:
    """Store the segment after the one that only has the summary."""
    while True:
        metadata = SessionMetadata(
            properties=copied(first.metadata.properties), conversation=first.metadata.conversation
        )
        segment: AnySession = Session(id=next_segment_id(first.id), parent_id=first.id, metadata=metadata)
        segment.record(*copies)
        if await home.create_next(segment, first):
            return
        first = await home.head(first.id) or first


def summary_of_fork(notes: Notes) -> AnyEvent:
    """The summary of everything before the copies, as the end of a segment."""
    return SessionEvent(
        message=str(notes),
        source=EventSource.SYSTEM,
        type=EventType.SUMMARY,
        metadata={"rolling": True, "made_by": "fork", "notes": notes.as_json()},
    )


def _with_shown(said: Sequence[AnyEvent], segment: AnySession) -> list[AnyEvent]:
    """Messages, and at their places the notes on excerpts that were recalled and shown beside them."""
    ids = {event.id: event.id for event in said}
    found: dict[str | None, list[AnyEvent]] = {}
    last: str | None = None
    for event in segment.events:
        last = event.id if event.id in ids else last
        if (shown := shown_in(event)) is not None and shown.of_copies(ids) is not None:
            found.setdefault(last, []).append(event)
    return [each for event in said for each in (event, *found.get(event.id, ()))]


def _copies(events: Sequence[AnyEvent], conversation_id: str) -> list[AnyEvent]:
    """Copies of events for another conversation: with new ids, and without bills."""
    ids = {event.id: new_id() for event in events}
    return [_copy(event, ids, conversation_id) for event in events]


def _copy(event: AnyEvent, ids: Mapping[str, str], conversation_id: str) -> AnyEvent:
    metadata: dict[str, Any] = copied(event.metadata)
    origin = origin_of(event)
    conversations = [*origin.conversations, conversation_id]
    metadata[COPY_OF] = {"event_id": origin.event_id, "conversations": conversations}
    metadata.pop(QUESTION_IN, None)
    for name in (REPLACES, "parent_event_id"):
        if metadata.get(name) in ids:
            metadata[name] = ids[metadata[name]]
    length = event.token_usage
    shown = shown_in(event)
    moved = None if shown is None else shown.of_copies(ids)
    own = {
        "id": ids[event.id],
        "message": copied(event.message if moved is None else moved.as_event().message),
        "native": copied(event.native),
        "metadata": metadata,
        "parent_event_id": ids.get(event.parent_event_id or ""),
        "token_usage": None if length is None else length.model_copy(update={"estimated_cost_usd": None}),
        "usage": None,
        "task_id": None,
    }
    return event.model_copy(update=own)
