"""Conversations longer than any context window: a chain of segments, each the parent of the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .exceptions import SessionAlreadyExists, SessionManagerError, session_not_found
from .messages import calls_of
from .models import EventSource, EventType, Session, SessionMetadata
from .models.session import HomeStore, ancestors_of, enter_with_parent, next_segment_id
from .notes import Notes
from .stores.base import AnyEvent, AnySession, is_segment_after
from .summaries import Summarizer, covers_all, in_callback, newest_summary, notes_with
from .validation import copied

logger = logging.getLogger(__name__)

# Segments that are read together: one after the other, most of the time would be waiting.
_READ_TOGETHER = 50

# Seconds that a message which opens a new segment waits for the summary of the one before. A model has
# mostly answered by then; one that takes longer goes on beside the conversation.
_PATIENCE = 2.0

# A session's id, and an event's in it.
_Place: TypeAlias = tuple[str, str]


def is_full(session: AnySession, token_threshold: int, max_turns: int) -> bool:
    """Whether the next message opens a new segment: so many content tokens, or messages, are there."""
    return session.total_tokens >= token_threshold or session.totals.messages >= max_turns


async def create_session(home: HomeStore, **fields: Any) -> AnySession:
    """Make a session through `Session.create`, looked up now: an application may have replaced it."""
    session: AnySession = await Session.create(store=home, **fields)
    if not session.is_bound:  # a replacement may not have stored it
        await home.save(session)
    return session


async def open_next_segment(session: AnySession, home: HomeStore) -> tuple[AnySession, bool]:
    """The segment after a full one, and whether it was made here, not by another writer meanwhile.

    Its properties (system prompt, user, the application's own) are those of the segment before.

    Raises:
        SessionNotFound: the full one expired or was deleted.
    """
    if await home.latest(session, with_events=False) is None:
        raise session_not_found(session.id)  # expired or deleted: nothing goes on from it
    child_id = next_segment_id(session.id)
    metadata = SessionMetadata(properties=copied(session.metadata.properties))
    try:
        child = await create_session(home, session_id=child_id, parent_id=session.id, metadata=metadata)
    except SessionAlreadyExists:
        made_by_another = await home.head(child_id)
        if made_by_another is None:
            raise session_not_found(child_id) from None
        await enter_with_parent(made_by_another, home)  # whoever made it may have been cut off before that
        return made_by_another, False
    return child, True


async def live_segment(session: AnySession, home: HomeStore) -> AnySession:
    """The last segment of a session's conversation, the one written to, as far as the session knows."""
    following = await _following(session, home)
    if following is not None and await _following(following, home) is not None:
        following = await home.head((await home.segment_ids(following.id))[-1])
    return following or session


async def _following(session: AnySession, home: HomeStore) -> AnySession | None:
    following_id = next_segment_id(session.id)
    following = await home.head(following_id) if following_id in session.child_ids else None
    # Deleted; or a stand-in for a store answers anything.
    return following if following is not None and following.id == following_id else None


async def chain_of(session: AnySession, home: HomeStore) -> list[str]:
    """The ids of the segments up to a session, the first one first; its other parents before them."""
    ids = await home.segment_ids(session.id)
    ids = ids[: ids.index(session.id) + 1] if session.id in ids else [session.id]
    first = session if ids[0] == session.id else await home.head(ids[0])
    earlier = (
        [] if first is None else [each.id async for each in ancestors_of(first, home, with_events=False)]
    )
    return [*reversed(earlier), *ids]


async def read_all(
    ids: Sequence[str], read: Callable[[str], Awaitable[AnySession | None]]
) -> AsyncIterator[AnySession]:
    """Sessions, in order, those that are there; some at a time, however many there are."""
    for start in range(0, len(ids), _READ_TOGETHER):
        for session in await asyncio.gather(*map(read, ids[start : start + _READ_TOGETHER])):
            if session is not None:
                yield session


# -- what a segment goes on from ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Background:
    """What a segment goes on from: for a model, it stands before the segment's own messages."""

    notes: Notes = field(default_factory=Notes)
    """What is known of the conversation before it."""
    start: Sequence[AnyEvent] = ()
    """The start of its first exchange, where it begins with an answer or a tool's result: the user's
    message, and the calls whose results they are. Not what lies between: in an agent's long run that may
    be any number of segments, which are summarised."""
    question: _Place | None = None
    """Where the user's last message before it is."""
    is_final: bool = True
    """Whether the segment before it has its summary, which stays as it is."""


async def background_of(session: AnySession, home: HomeStore) -> Background:
    """What a segment, read with its events, goes on from; reads the one before it, and seldom more."""
    earlier = await _told_before(session, home)
    if not earlier:
        return Background()
    notes = Notes()
    for segment in reversed(earlier):
        notes = await notes_with(notes, segment)
    question = _question_in(earlier)
    start = await _start_of_exchange(session, earlier, question, home)
    return Background(notes, start, question, covers_all(newest_summary(earlier[0])))


async def _told_before(session: AnySession, home: HomeStore) -> list[AnySession]:
    """The segments before a session, nearest first, back to one whose summary covers all before it too."""
    told: list[AnySession] = []
    following = session
    async for segment in ancestors_of(session, home):
        summary = newest_summary(segment)
        # A parent that is no segment, and has no summary, is another conversation.
        if summary is not None or is_segment_after(following, segment.id):
            told.append(segment)
        if covers_all(summary):
            break
        following = segment
    return told


class Closing:
    """Has segments that were closed summarised, beside the conversation."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self, segments: Sequence[AnySession], home: HomeStore, summarizer: Summarizer) -> None:
        """Let segments end in their summaries, and wait for that only so long.

        In a task of its own: a slow summary holds nobody up, and it is made also where who closed the
        segment is cancelled. Its callback may use the manager that it belongs to.
        """
        task = asyncio.create_task(_close_all(segments, home, summarizer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if not in_callback():
            await asyncio.wait([task], timeout=_PATIENCE)

    async def finish(self) -> None:
        """Wait for all of them."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _close_all(segments: Sequence[AnySession], home: HomeStore, summarizer: Summarizer) -> None:
    for segment in segments:
        try:
            await close_segment(segment, home, summarizer)
        except SessionManagerError as problem:  # the message is stored: to raise now would say it is not
            logger.warning("The summary of session %s was not stored: %s", segment.id, type(problem).__name__)


async def close_segment(segment: AnySession, home: HomeStore, summarizer: Summarizer) -> None:
    """Let a segment that another one follows end in a summary of it, and of all before it.

    Raises:
        SessionNotFound: it expired or was deleted.
        StorageError: the store could not do it; until the next summary, readers do without this one.
    """
    asked_at = asyncio.get_running_loop().time()
    async with summarizer.turn:
        stored = await home.latest(segment)
        if stored is None:
            raise session_not_found(segment.id)
        background = await background_of(stored, home)
        summary = await summarizer.summarise(background.notes, stored, asked_at)
        if background.question is not None and _question_in([stored]) is None:
            summary.metadata["question"] = list(background.question)
        await home.append(stored, [summary])


def _question_in(earlier: Sequence[AnySession]) -> _Place | None:
    """Where the user's last message is, in these segments or before them, as a summary says."""
    for segment in earlier:
        question = next((event for event in reversed(segment.events) if _is_question(event)), None)
        if question is not None:
            return segment.id, question.id
        summary = newest_summary(segment)
        match summary.metadata.get("question") if summary else None:
            case [str(session_id), str(event_id)]:
                return session_id, event_id
    return None


async def _start_of_exchange(
    session: AnySession, earlier: Sequence[AnySession], question: _Place | None, home: HomeStore
) -> list[AnyEvent]:
    first = next((event for event in session.events if not _is_said_by_nobody(event)), None)
    if first is None or _is_question(first):
        return []
    calls = _newest_calls(earlier) if first.type == EventType.TOOL_CALL else []
    asked = None if question is None else await _event_at(question, earlier, home)
    return calls if asked is None or asked in calls else [asked, *calls]


def _newest_calls(earlier: Sequence[AnySession]) -> list[AnyEvent]:
    """The last message that calls tools, and what came after it in its segment."""
    for segment in earlier:
        calling = [at for at, event in enumerate(segment.events) if calls_of(event.message)]
        if calling:
            return [event for event in segment.events[calling[-1] :] if event.type != EventType.SUMMARY]
    return []


async def _event_at(place: _Place, earlier: Sequence[AnySession], home: HomeStore) -> AnyEvent | None:
    session_id, event_id = place
    known = next((segment for segment in earlier if segment.id == session_id), None)
    segment = known or await home.get(session_id)
    events = segment.events if segment is not None else []
    return next((event for event in events if event.id == event_id), None)


def _is_question(event: AnyEvent) -> bool:
    return event.type == EventType.MESSAGE and event.source == EventSource.USER


def _is_said_by_nobody(event: AnyEvent) -> bool:
    """Whether an event is no part of an exchange: a summary, an instruction."""
    is_instruction = event.type == EventType.MESSAGE and event.source == EventSource.SYSTEM
    return is_instruction or event.type == EventType.SUMMARY
