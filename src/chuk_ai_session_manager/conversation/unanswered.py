"""Messages without an answer: a request repeats them, but they must be stored only once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..exceptions import SessionNotFound
from ..models import EventSource, EventType, SessionEvent
from ..providers.messages import SYSTEM_ROLES, ChatMessage, full_messages
from .absent import fill
from .context.beginning import Beginning
from .drafts import what_is_said
from .log_end import KnownEnd, PathEnd
from .opening import Conversation
from .order import as_told
from .segments import has_begun


async def unanswered(
    conversation: Conversation, beginning: Beginning
) -> tuple[list[SessionEvent[Any]], bool]:
    """The messages since the model's last answer, and whether there is any message at all."""
    if not conversation.is_begun:
        return [], False
    try:
        home, session = await conversation.current(with_events=False)
    except SessionNotFound:
        return [], False
    background = await beginning.background_of(home, session)
    held = background.held
    log = PathEnd(session, home) if held is None else KnownEnd(session, home, held)
    answer = await log.read_back_to(lambda event: event.source == EventSource.LLM)
    # A late answer is older than questions that were asked meanwhile.
    asked = next((each for each in log.events if answer and each.id == answer.parent_event_id), None)
    first = asked or answer
    events = as_told([*background.start, *log.events] if first is None else log.since(first))
    answered = [at for at, event in enumerate(events) if event.source == EventSource.LLM]
    waiting = events[answered[-1] + 1 if answered else 0 :]
    said = [event for event in waiting if event.type in {EventType.MESSAGE, EventType.TOOL_CALL}]
    await fill(said, home)
    return said, has_begun(session)


def not_said(
    rows: Sequence[ChatMessage], waiting: Sequence[SessionEvent[Any]], *, has_begun: bool
) -> list[ChatMessage]:
    """The messages of a request that are new; a system message is new only at the very beginning."""
    known = [what_is_said(row) for row in full_messages(waiting)]
    new = []
    for row in rows:
        said = what_is_said(row)
        if said in known:
            known.remove(said)
        elif not (has_begun and row["role"] in SYSTEM_ROLES):
            new.append(row)
    return new
