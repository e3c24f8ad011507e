"""Reading sessions from Redis: the header, and the log in replies of a megabyte."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ...exceptions import UnreadableData
from ..counting import load_counters
from ..merging import SHARED, is_closed, with_shared
from ..stored_data import CHUNK, HEADER_FIELDS, SCHEMA, StoredSession, damaged_header, newer_schema
from .places import Places
from .replies import text_of
from .scripts import Command, Script

_READ, _FIND = Script("read"), Script("find")

# The size of one reply: small enough that the server is soon free for others.
_BYTES_AT_ONCE = 1_000_000


async def read_session(
    places: Places, session_id: str, start: int | None, end: int | None
) -> StoredSession | None:
    """Read a session with some of its events; `None` if the session does not exist.

    Args:
        places: where conversations live.
        session_id: the session's id.
        start: the number of the first event to read; below 0, how many to read up to `end`. `None` means
            no events.
        end: the number after that of the last event to read; `None` means the log's end.

    Raises:
        UnreadableData: a part of the session is missing or damaged, or a later release wrote it.
        StorageError: the server does not answer.
    """
    bodies: list[str] = []
    at, first = start, 0
    version: tuple[str, int] | None = None
    while True:
        answer = await places.ask(session_id, partial(_read_command, session_id, at, end))
        if answer is None:
            return None
        if text_of(answer[0]) == "damaged":
            raise UnreadableData(f"Session {session_id} is damaged: its event {int(answer[1])} is missing")
        stored = _stored(session_id, answer[1])
        if answer[6] and is_closed(session_id, stored.fields):
            stored.fields = with_shared(stored.fields, _shared(answer[6]))
        if version not in {None, (stored.born, stored.rewrites)}:  # it was rewritten between two replies
            bodies, at, version = [], start, None
            continue
        if version is None:
            version, first = (stored.born, stored.rewrites), int(answer[4])
        try:
            bodies += [text_of(chunk) for chunk in answer[2]]
        except UnicodeDecodeError:
            damage = f"Session {session_id} is damaged: one of its events is not text"
            raise UnreadableData(damage) from None  # the cause quotes the event
        at = int(answer[3])
        if at >= int(answer[5]):
            stored.start, stored.bodies = first, bodies
            return stored


async def find_events(places: Places, session_id: str, event_ids: Sequence[str]) -> list[str]:
    """Return the JSON of events of a session's conversation, in any segment; skip unknown ids.

    Raises:
        UnreadableData: one of them is not text.
        StorageError: the server does not answer.
    """
    answer = await places.ask(session_id, lambda key: _FIND([key], session_id, *event_ids))
    try:
        return [] if answer is None else [text_of(body) for body in answer[1:] if body is not None]
    except UnicodeDecodeError:
        damage = f"Session {session_id} is damaged: one of its events is not text"
        raise UnreadableData(damage) from None  # the cause quotes the event


def _read_command(session_id: str, start: int | None, end: int | None, key: str) -> Command:
    span = ["" if number is None else number for number in (start, end)]
    return _READ([key], session_id, *span, CHUNK, _BYTES_AT_ONCE)


def _shared(values: Sequence[Any]) -> dict[str, str] | None:
    """The shared fields of a conversation's last segment; `None` if one is missing or not text."""
    try:
        return None if None in values else dict(zip(SHARED, map(text_of, values), strict=True))
    except ValueError:
        return None


def _stored(session_id: str, header: Sequence[Any]) -> StoredSession:
    """A session's header as the read script returns it."""
    try:
        born = text_of(header[11])
        schema, count, revision, rewrites = (int(text_of(value)) for value in header[:4])
        fields = {
            name: text_of(value)
            for name, value in zip(HEADER_FIELDS, header[5:11], strict=True)
            if value is not None
        }
    except ValueError:
        raise damaged_header(session_id) from None  # the cause may quote the header
    if schema > SCHEMA:
        raise newer_schema(f"Session {session_id}", schema)
    if len(fields) < len(HEADER_FIELDS):
        raise damaged_header(session_id)
    counters = load_counters(session_id, header[4])
    return StoredSession(session_id, born, fields, counters, revision, rewrites, count, found={})
