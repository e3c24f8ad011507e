"""The newest events of a conversation, read from the end of its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..conversation.background import background_of
from ..conversation.following import live_segment_of
from ..conversation.looking_back import newest_held
from ..conversation.path import is_said
from ..conversation.segments import Placed, newest_in, whole_chain_of
from ..conversation.sums import Sums
from ..exceptions import session_not_found
from ..models import Session
from ..stores import EventStore
from ..stores.base import AnyEvent, AnySession

_ADDED_SINCE = 50


@dataclass(slots=True)
class Newest:
    """The end of a conversation."""

    root: AnySession
    """The conversation's first segment, without its events."""
    chain: list[str]
    """The ids of all segments."""
    segments: list[tuple[AnySession, list[AnyEvent]]]
    """The segments of the newest events, with only these events."""
    left_out: int
    """How many earlier events there are."""

    def as_sessions(self) -> list[AnySession]:
        """Return the segments as sessions that contain only the newest events."""
        return [
            Session(
                id=segment.id,
                metadata=segment.metadata,
                parent_id=segment.parent_id,
                child_ids=segment.child_ids,
                events=events,
            )
            for segment, events in self.segments
        ]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the segments as JSON: the header, and the newest events of the log."""
        return [
            segment.model_dump(mode="json", warnings=False, exclude={"events"})
            | {"events": [event.model_dump(mode="json", warnings=False) for event in events]}
            for segment, events in self.segments
        ]


async def newest_of(session_id: str, store: EventStore, count: int, *, everything: bool) -> Newest:
    """The newest events of a conversation: of all, or only of those on the path.

    Raises:
        SessionNotFound: the session does not exist.
        UnreadableData: a part that was read is damaged.
        StorageError: the store failed.
    """
    live = await live_segment_of(session_id, store)
    chain = await whole_chain_of(live, store)
    root = await store.head(chain[0])
    if root is None:
        raise session_not_found(chain[0])
    segments: list[tuple[AnySession, list[AnyEvent]]] = []
    newest = newest_in if everything else newest_held
    for segment, event in await newest(live, store, count):
        if not segments or segments[-1][0] is not segment:
            segments.append((segment, []))
        segments[-1][1].append(event)
    sums = (await background_of(live, store)).sums + Sums.of(live)
    shown = sum(len(events) for _, events in segments)
    return Newest(root, chain, segments or [(live, [])], max(0, sums.totals.events - shown))


async def off_path_among(placed: Sequence[Placed], session_id: str, store: EventStore) -> set[str]:
    """The ids of those newest events of a conversation that are not on the path.

    Raises:
        SessionNotFound: the session does not exist.
        UnreadableData: a part that was read is damaged.
        StorageError: the store failed.
    """
    said = {event.id for _, event in placed if is_said(event)}
    if not said:
        return said
    # Others may have been added since these were read.
    held = await newest_held(await live_segment_of(session_id, store), store, len(placed) + _ADDED_SINCE)
    return said - {event.id for _, event in held}
