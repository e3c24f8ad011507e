"""What a durable store moves: sessions and events as JSON texts, and numbers beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..exceptions import UnreadableData

SCHEMA = 1
"""The version of all that is written here; a store refuses to read a newer one."""

HEADER_FIELDS = ("metadata", "parent_id", "child_ids", "task_ids", "runs", "state")
"""What a session is besides its id, its events and what these add up to."""

CHUNK = 200
"""Events that are read and decoded in one go."""

# Made once: `json.dumps` makes one for every call.
_write_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class EncodedEvent(NamedTuple):
    """An event as it is written, and what it adds to the session's counters."""

    id: str
    body: str
    counters: dict[str, float]


@dataclass(slots=True)
class StoredSession:
    """A session as it is written: header fields as JSON, counters, and the events from `start` on."""

    id: str
    born: str
    """Tells it from another session that had its id before."""
    fields: dict[str, str]
    counters: dict[str, float]
    revision: int = 0
    """Moves with every change."""
    rewrites: int = 0
    """Moves when events that were stored before change or go."""
    count: int = 0
    """How many events are stored."""
    start: int = 0
    bodies: list[str] = field(default_factory=list)
    """Their JSON; each entry is up to `CHUNK` events with commas between."""


def span_of(start: int | None, end: int | None, count: int) -> tuple[int, int]:
    """Which of so many stored events to read: the number of the first one, and the number after the last.

    Args:
        start: the first one's number; below 0, how many to read up to `end`; `None` for none.
        end: the number after the last one's; `None` for all that follow.
        count: how many events are stored.
    """
    end = count if end is None else min(max(0, end), count)
    if start is None:
        return end, end
    return (max(0, end + start) if start < 0 else min(start, end)), end


def dump(value: Any) -> str:
    """A value as JSON: the same text for the same value, always."""
    return _write_json(value)


def load(text: str | bytes) -> Any:
    """What a JSON text says, in UTF-8 where it comes as bytes.

    Raises:
        ValueError: it is none, or nested deeper than Python reads.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("nested too deep") from None


def damaged_header(session_id: str) -> UnreadableData:
    """What is said of a header that is none."""
    return UnreadableData(f"Session {session_id} is damaged: its header is no valid record")


def damaged_event(session_id: str, event: object) -> UnreadableData:
    """What is said of an event that is none."""
    return UnreadableData(f"Session {session_id} is damaged: its event {event} is no valid record")


def newer_schema(where: str, version: int) -> UnreadableData:
    """What a store says of data that a later release wrote."""
    return UnreadableData(
        f"{where} was written by a newer release (schema {version}, this one reads up to {SCHEMA}): upgrade"
    )
