"""Conversations longer than any context window: a chain of segments, each the parent of the next."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .exceptions import SessionAlreadyExists, session_not_found
from .models import EventSource, EventType, Session, SessionEvent, SessionMetadata
from .models.session import HomeStore
from .summaries import Summarizer, summary_of

AnySession = Session[Any]
AnyEvent = SessionEvent[Any]


def next_segment_id(session_id: str) -> str:
    """The id of the segment that follows one.

    It is made from the id before it, so that writers who reach the end of a segment together open
    the same next one.
    """
    return str(uuid5(NAMESPACE_URL, f"chuk-ai-session-manager:segment-after:{session_id}"))


def is_full(session: AnySession, token_threshold: int, max_turns: int) -> bool:
    """Whether the next message opens a new segment: so many content tokens, or messages, are there."""
    return session.total_tokens >= token_threshold or session.totals.messages >= max_turns


async def open_next_segment(session: AnySession, home: HomeStore) -> AnySession:
    """The segment after a full one, made now unless another writer made it.

    Its properties (system prompt, user, the application's own) are those of the segment before.
    """
    child_id = next_segment_id(session.id)
    properties = dict(session.metadata.properties)
    try:
        child: AnySession = await Session.create(
            session_id=child_id,
            parent_id=session.id,
            metadata=SessionMetadata(properties=properties),
            store=home,
        )
    except SessionAlreadyExists:
        made_by_another = await home.get(child_id)
        if made_by_another is None:
            raise session_not_found(child_id) from None
        return made_by_another
    if not child.is_bound:  # an application's own `Session.create` may not have stored it
        await home.save(child)
    return child


async def live_segment(session: AnySession, home: HomeStore) -> AnySession:
    """The last segment of a session's conversation: the one that is written to."""
    while (following := await home.get(next_segment_id(session.id))) is not None:
        session = following
    return session


async def segments_up_to(session: AnySession, home: HomeStore) -> list[AnySession]:
    """A session and the segments before it, the first one first."""
    chain, seen = [session], {session.id}
    while (parent_id := chain[-1].parent_id) and parent_id not in seen:
        parent = await home.get(parent_id)
        if parent is None:
            break
        seen.add(parent_id)
        chain.append(parent)
    return chain[::-1]


async def background_of(
    session: AnySession, home: HomeStore, summarizer: Summarizer
) -> tuple[str | None, list[AnyEvent]]:
    """What a segment goes on from: the summary of all before it, and the start of its first exchange.

    The start is there when the segment begins with an answer or a tool's result: the events from
    the user's message on, so that nothing is answered that was not asked.
    """
    before = await _segment_before(session, home)
    if before is None:
        return None, []
    summary = summary_of(before)
    if summary is None:
        earlier, _ = await background_of(before, home, summarizer)
        summary = await summarizer.without_callback(before, earlier)
    return summary, await _start_of_exchange(session, before, home)


async def _segment_before(session: AnySession, home: HomeStore) -> AnySession | None:
    """The segment that a session continues; a parent of another kind is none."""
    parent = await home.get(session.parent_id) if session.parent_id else None
    if parent is None or (session.id != next_segment_id(parent.id) and summary_of(parent) is None):
        return None
    return parent


async def _start_of_exchange(
    session: AnySession, before: AnySession | None, home: HomeStore
) -> list[AnyEvent]:
    start: list[AnyEvent] = []
    first = next((event for event in session.events if event.type is not EventType.SUMMARY), None)
    while first is not None and not _is_question(first) and before is not None:
        spoken = [event for event in before.events if event.type is not EventType.SUMMARY]
        asked = max((at for at, event in enumerate(spoken) if _is_question(event)), default=0)
        start = spoken[asked:] + start
        first = start[0] if start else None
        before = await _segment_before(before, home)
    return start


def _is_question(event: AnyEvent) -> bool:
    return event.type is EventType.MESSAGE and event.source is EventSource.USER
