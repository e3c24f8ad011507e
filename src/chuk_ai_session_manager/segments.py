"""Conversations longer than any context window: a chain of segments, each the parent of the next."""

from __future__ import annotations

from typing import Any

from .exceptions import SessionAlreadyExists, session_not_found
from .messages import ChatMessage, calls_of, plain_messages
from .models import EventSource, EventType, Session, SessionMetadata
from .models.session import HomeStore, ancestors_of, next_segment_id
from .stores.base import AnyEvent, AnySession
from .summaries import Summarizer, built_in_summary, newest_summary, summary_text
from .validation import copied


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
        return made_by_another, False
    return child, True


async def live_segment(session: AnySession, home: HomeStore) -> AnySession:
    """The last segment of a session's conversation, the one written to, as far as the session knows."""
    while (following_id := next_segment_id(session.id)) in session.child_ids:
        following = await home.head(following_id)
        if following is None or following.id != following_id:  # deleted; a stand-in may answer anything
            return session
        session = following
    return session


async def segments_up_to(
    session: AnySession, home: HomeStore, *, with_events: bool = True
) -> list[AnySession]:
    """A session and the segments before it, the first one first."""
    earlier = [segment async for segment in ancestors_of(session, home, with_events=with_events)]
    return [*reversed(earlier), session]


async def background_of(
    session: AnySession, home: HomeStore, summarizer: Summarizer
) -> tuple[str | None, list[AnyEvent]]:
    """What a segment goes on from: the summary of all before it, and the start of its first exchange.

    The start is there when the segment begins with an answer or a tool's result: the events from
    the user's message on, so that nothing is answered that was not asked.
    """
    return await summary_before(session, home, summarizer), await _start_of_exchange(session, home)


def context_row(summary: str) -> ChatMessage:
    """The message that tells a model what went before."""
    return {"role": "system", "content": f"Previous conversation context: {summary}"}


async def summary_before(session: AnySession, home: HomeStore, summarizer: Summarizer) -> str | None:
    """One summary of all segments before a session; `None` before the first."""
    summaries = []
    async for earlier in ancestors_of(session, home):
        summary, covers_all = _own_summary(earlier)
        summaries.append(summary)
        if covers_all:
            break
    return await summarizer.join(summaries[::-1]) if summaries else None


def _own_summary(segment: AnySession) -> tuple[str, bool]:
    """What a closed segment ends in, and whether it covers all before it too."""
    event = newest_summary(segment)
    if event is None:  # its writer was cut off, or is still at it
        return built_in_summary(plain_messages(segment.events)), False
    return summary_text(event.message), bool(event.metadata.get("rolling"))


async def _start_of_exchange(session: AnySession, home: HomeStore) -> list[AnyEvent]:
    """The question that a segment's first events answer, and the calls whose results they are.

    Not what lies between: in an agent's long run that may be any number of segments, which are summarised.
    """
    first = session.events[0] if session.events else None
    if first is None or first.type == EventType.SUMMARY or _is_question(first):
        return []
    calls: list[AnyEvent] = []
    async for before in ancestors_of(session, home):
        events = before.events
        if first.type == EventType.TOOL_CALL and not calls:
            calling = [at for at, event in enumerate(events) if calls_of(event.message)]
            if calling:
                calls = [event for event in events[calling[-1] :] if event.type != EventType.SUMMARY]
                events = events[: calling[-1]]
        question = next((event for event in reversed(events) if _is_question(event)), None)
        if question is not None:
            return [question, *calls]
    return calls


def _is_question(event: AnyEvent) -> bool:
    return event.type == EventType.MESSAGE and event.source == EventSource.USER
