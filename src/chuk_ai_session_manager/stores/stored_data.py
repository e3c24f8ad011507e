"""The data that a durable store reads and writes: sessions and events as JSON texts, and numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..exceptions import UnreadableData

SCHEMA = 2
"""The newest version of the stored data that is read; a store refuses to read a newer one."""

PLAIN_SCHEMA, BODIES_SCHEMA = 1, 2
"""The version without bodies, which earlier releases read too, and with bodies, which they refuse."""

HEADER_FIELDS = ("metadata", "parent_id", "child_ids", "task_ids", "runs", "state")
"""A session's fields other than its id, its events and their totals."""

CHUNK = 100
"""How many events are read and decoded at once."""

# Created once: `json.dumps` creates an encoder for every call.
_write_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class EncodedEvent(NamedTuple):
    """An event as JSON, and the numbers that it adds to the session's counters."""

    id: str
    body: str
    counters: dict[str, float]
    bodies: Mapping[str, bytes] = {}
    """What was taken out of the JSON, by hash (`bodies.py`)."""


@dataclass(slots=True)
class StoredSession:
    """A stored session: header fields as JSON, counters, and the events from `start` on."""

    id: str
    born: str
    """Distinguishes the session from an earlier one with the same id."""
    fields: dict[str, str]
    counters: dict[str, float]
    revision: int = 0
    """Changes with every write."""
    rewrites: int = 0
    """Changes when stored events are edited or removed."""
    count: int = 0
    """How many events are stored."""
    start: int = 0
    bodies: list[str] = field(default_factory=list)
    """The events' JSON; each entry contains up to `CHUNK` events, separated by commas."""
    found: Mapping[str, bytes] | None = None
    """What was taken out of the events' JSON, by hash; `None` of a store that takes nothing out."""


def span_of(start: int | None, end: int | None, count: int) -> tuple[int, int]:
    """Which stored events to read: the number of the first one, and the number after the last one.

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
    """A value as JSON; equal values always give equal texts."""
    return _write_json(value)


def load(text: str | bytes) -> Any:
    """The value of a JSON text, which is in UTF-8 if it is given as bytes.

    Raises:
        ValueError: the text is not JSON, or is nested deeper than Python can read.
    """
    try:
        return json.loads(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise ValueError("nested too deep") from None


def damaged_header(session_id: str) -> UnreadableData:
    """The error for a damaged header."""
    return UnreadableData(f"Session {session_id} is damaged: its header is not a valid record")


def damaged_event(session_id: str, event: object) -> UnreadableData:
    """The error for a damaged event."""
    return UnreadableData(f"Session {session_id} is damaged: its event {event} is not a valid record")


def newer_schema(where: str, version: int) -> UnreadableData:
    """The error for data that a later release wrote."""
    return UnreadableData(
        f"{where} was written by a newer release (schema {version}, this one reads up to {SCHEMA}): upgrade"
    )


def account_in(body: str) -> dict[str, Any]:
    """The account of what a user spent, from its JSON.

    Raises:
        UnreadableData: the text is not a JSON object.
    """
    try:
        account = load(body)
    except ValueError:
        account = None
    if not isinstance(account, dict):
        raise UnreadableData("An account of what a user spent is damaged: it is not a JSON object")
    return account
