"""Event ids that an application chooses, so that its retries never double a message."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..exceptions import EventConflict
from ..models import EventType, SessionEvent
from ..models.session_event import REDACTED, REPLACES, content_of
from .drafts import Draft, without_prompt
from .order import QUESTION_IN

# Metadata that the library adds, or that depends on the time and place of writing.
_ADDED = ("timestamp", REPLACES, QUESTION_IN)


def not_stored(drafts: Sequence[Draft], known: Mapping[str, SessionEvent[Any]]) -> Sequence[Draft]:
    """The drafts of one call that are not among the events that were stored under their ids.

    Raises:
        EventConflict: one of those events has other content, or is one of a shorter list of messages.
    """
    if not any(draft.has_own_id and draft.event.id in known for draft in drafts):
        return drafts
    # A system message at the beginning of the conversation is its prompt, and not an event.
    rest = without_prompt(drafts)[0]
    drafts = rest if drafts[0].event.id not in known else drafts
    for draft in drafts:
        if draft.has_own_id and draft.event.id in known and not _says_the_same(draft, known[draft.event.id]):
            raise conflict_of(draft)
    stored = [draft.event.id in known for draft in drafts if draft.has_own_id]
    if stored != sorted(stored, reverse=True):  # events are stored in their order
        raise conflict_of(next(draft for draft in drafts if draft.event.id not in known))
    return [draft for draft in drafts if not draft.has_own_id or draft.event.id not in known]


def conflict_of(draft: Draft) -> EventConflict:
    """The error for an id with which something else is stored."""
    return EventConflict(
        f"Event {draft.event.id} is stored already, with other content: a new message needs an id of its own"
    )


def _says_the_same(draft: Draft, known: SessionEvent[Any]) -> bool:
    """Whether a draft is the event that is stored with its id.

    Time, count and bill may differ: a retry is made later, and may be estimated differently. So may words
    that were redacted since.
    """
    event = draft.event
    if (event.type, event.source) != (known.type, known.source):
        return False
    return _has_no_words(known) or _content_of(event, event) == _content_of(known, event)


def _has_no_words(known: SessionEvent[Any]) -> bool:
    """Whether an event's words were replaced for good, so that they cannot be compared any more."""
    said = known.message
    if known.type == EventType.TOOL_CALL and isinstance(said, dict):
        return said.get("result") == REDACTED
    return bool(content_of(said) == REDACTED)


def _content_of(event: SessionEvent[Any], as_given: SessionEvent[Any]) -> str:
    """The content of an event, as text for comparison.

    Args:
        event: the event.
        as_given: the event as the application gave it. A tool's result without its call's arguments got
            them when it was stored.
    """
    message = event.message
    given = as_given.message
    if event.type == EventType.TOOL_CALL and isinstance(given, dict) and given.get("arguments") is None:
        message = {name: value for name, value in message.items() if name not in {"tool", "arguments"}}
    metadata = {name: value for name, value in event.metadata.items() if name not in _ADDED}
    return json.dumps([message, metadata, event.native], sort_keys=True, default=str)
