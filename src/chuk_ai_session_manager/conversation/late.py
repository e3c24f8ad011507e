"""Answers and results that arrive when the message that they belong to is off the path.

They stay with that message, off the path too (`conversation.path`). A note that is stored with them takes
them out of the path's totals again, and tells readers to look where the path leads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

from ..models import EventSource, EventType, Session
from ..models.choice import Choice
from ..models.home import HomeStore
from ..providers.messages import call_id_of, calls_of
from ..stores.base import AnyEvent
from .drafts import Draft
from .log_end import LogEnd
from .path import Paths, sums_of
from .segments import segments_before

# How far back the call of a tool's result is looked for: not every result has one.
_FARTHEST_CALL = 500


async def late_notes(drafts: Sequence[Draft], live: Session[Any], home: HomeStore) -> list[AnyEvent]:
    """The note to store with drafts, if some of them belong to messages that are off the path.

    Args:
        drafts: the events to be stored together.
        live: the live segment.
        home: the store.

    Raises:
        SessionNotFound: the conversation expired or was deleted.
        StorageError: the store failed.
    """
    late = [draft.event for draft in drafts if await _is_late(draft, drafts, live, home)]
    if not late:
        return []
    adds = {name: -count for name, count in sums_of(late).items() if count}
    return [Choice(adds=adds).as_event()]


async def _is_late(draft: Draft, beside: Sequence[Draft], live: Session[Any], home: HomeStore) -> bool:
    event = draft.event
    call_id = call_id_of(event) if event.type == EventType.TOOL_CALL else None
    if call_id is not None:
        since = await _since(lambda each: _calls(each, call_id), live, home, most=_FARTHEST_CALL)
    elif event.source == EventSource.LLM and event.parent_event_id is not None:
        question_in = draft.question_in or live.id
        since = await _since(lambda each: each.id == event.parent_event_id, live, home, question_in)
    else:
        return False
    if since is None or any(_calls(each.event, call_id) for each in beside):
        return False
    paths = Paths(since, is_whole=False)
    paths.take(event)
    return not paths.holds(event.id)


def _calls(event: AnyEvent, call_id: str | None) -> bool:
    """Whether a message makes a tool call."""
    return event.source == EventSource.LLM and any(
        call.get("id") == call_id for call in calls_of(event.message)
    )


async def _since(
    is_wanted: Callable[[AnyEvent], bool],
    live: Session[Any],
    home: HomeStore,
    segment_id: str | None = None,
    most: int | None = None,
) -> list[AnyEvent] | None:
    """The events since the one that is wanted; `None` if no choice was made, or there is no such event.

    Args:
        is_wanted: whether it is the event.
        live: the live segment.
        home: the store.
        segment_id: the segment that the event is in, if not the live one.
        most: how many events to look at.
    """
    logs = [LogEnd(live, home, may_lack=True)]
    if segment_id not in {None, live.id}:
        async for log in segments_before(live, home, may_lack=True):
            logs.append(log)
            if log.session.id == segment_id:
                break
    if not any(log.session.totals.choices for log in logs):
        return None
    since: list[AnyEvent] = []
    for log in logs:
        async with aclosing(log.newest_first()) as events:
            async for event in events:
                since.append(event)
                if is_wanted(event):
                    return since[::-1]
                if len(since) == most:
                    return None
    return None
