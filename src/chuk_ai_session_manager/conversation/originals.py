"""The conversation that a fork was made from, if the fork has only a summary of its beginning."""

from __future__ import annotations

from typing import NamedTuple

from ..models import EventType
from ..models.home import HomeStore
from ..models.session_metadata import FORKED_FROM
from ..stores.base import AnyEvent, AnySession


class Original(NamedTuple):
    """The place from which a fork went its own way."""

    segment: AnySession
    """The segment of the original from which the fork's copies come, without its events."""
    event_id: str
    """The last message that the fork and its original have in common."""


def is_of_fork(event: AnyEvent) -> bool:
    """Whether a summary tells of the conversation that a fork began with."""
    return event.type == EventType.SUMMARY and event.metadata.get("made_by") == "fork"


async def original_of(root: AnySession, home: HomeStore) -> Original | None:
    """The original of which a fork lacks messages.

    `None` if the conversation is no fork, or has copies of all messages, or if its original is gone or
    belongs to another user.

    Args:
        root: the conversation's first segment, with its events.
        home: the store of both.

    Raises:
        StorageError: the store failed.
    """
    origin = root.metadata.properties.get(FORKED_FROM)
    if not isinstance(origin, dict) or not any(map(is_of_fork, root.events)):
        return None
    segment_id, event_id = origin.get("session_id"), origin.get("event_id")
    if not isinstance(segment_id, str) or not isinstance(event_id, str):
        return None
    segment = await home.head(segment_id)
    return Original(segment, event_id) if segment is not None and segment.user_id == root.user_id else None
