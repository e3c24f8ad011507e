"""Event ids that an application gives, so that its own retries never double a message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..exceptions import EventConflict
from ..models import EventType, SessionEvent
from ..models.session_event import REPLACES
from .drafts import Draft, without_prompt
from .order import QUESTION_IN

# What the library adds to an event's metadata, or changes with the time and place of writing.
_ADDED = ("timestamp", REPLACES, QUESTION_IN)


def not_stored(drafts: Sequence[Draft], known: Mapping[str, SessionEvent[Any]]) -> Sequence[Draft]:
    """The drafts of one call that are not among the events that were stored under their ids.

    Raises:
        EventConflict: one of those events has other content, or is one of a shorter list of messages.
    """
    if not any(draft.has_own_id and draft.event.id in known for draft in drafts):
        return drafts
    # A system message that began the conversation is its prompt, and no event.
    rest = without_prompt(drafts)[0]
    drafts = rest if drafts[0].event.id not in known else drafts
    for draft in drafts:
        if draft.has_own_id and draft.event.id in known and not _says_the_same(draft, known[draft.event.id]):
            raise conflict_of(draft)
    stored = [draft.event.id in known for draft in drafts if draft.has_own_id]
    if stored != sorted(stored, reverse=True):  # they are stored in their order
        raise conflict_of(next(draft for draft in drafts if draft.event.id not in known))
    return [draft for draft in drafts if not draft.has_own_id or draft.event.id not in known]


def conflict_of(draft: Draft) -> EventConflict:
    """The error for an id under which something else is stored."""
    return EventConflict(
        f"Event {draft.event.id} is stored already, with other content: a new message needs an id of its own"
    )


def _says_the_same(draft: Draft, known: SessionEvent[Any]) -> bool:
    """Whether a draft is the event that is stored under its id.

    Its time, its count and its bill may differ: a retry is made later, and may estimate otherwise.
    """
    event = draft.event
    kinds = (event.type, event.source) == (known.type, known.source)
    return kinds and _content_of(event, event) == _content_of(known, event)


def _content_of(event: SessionEvent[Any], as_given: SessionEvent[Any]) -> str:
    """What an event says, as text to compare.

    Args:
        event: the event.
        as_given: the event as the application gave it. The arguments of a tool's result that came without
            them are those of its call, which were looked up when it was stored.
    """
    message = event.message
    given = as_given.message
    if event.type == EventType.TOOL_CALL and isinstance(given, dict) and given.get("arguments") is None:
        message = {name: value for name, value in message.items() if name not in {"tool", "arguments"}}
    metadata = {name: value for name, value in event.metadata.items() if name not in _ADDED}
    return json.dumps([message, metadata, event.native], sort_keys=True, default=str)
