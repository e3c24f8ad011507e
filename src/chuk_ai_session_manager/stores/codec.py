"""Sessions as strict JSON, in the same form for every durable store."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from ..exceptions import EventConflict, InvalidInput, InvalidSessionOperation
from ..exceptions.validation import MAX_LENGTH, check_length, json_misfit, total_length
from ..models import Session, SessionEvent, SessionMetadata, SessionRun
from ..models.amounts import altered, costs_in
from ..models.record import Record
from ..models.session_event import check_event_length
from ..models.session_metadata import origins_of
from ..models.session_totals import SessionTotals
from .base import AnyEvent, AnySession
from .bodies import NOTHING_TAKEN, PutBack, has_marks, take_out, without_measures
from .counting import counters_of_event, newest_in, summary_in, totals_in
from .event_json import brief_json
from .folding import folded, unfolded
from .stored_data import HEADER_FIELDS, EncodedEvent, StoredSession, damaged_event, damaged_header, dump, load

# The most characters of JSON in one step: up to 4 bytes each, of which Redis accepts 1 GB in one command.
_MOST_AT_ONCE = 200_000_000
# Decoding more characters than this takes some milliseconds, so it does not happen in the event loop.
_MOST_DECODED_AT_ONCE = 100_000
# Encoding them takes a tenth of that, and so does encoding some hundred events.
_LONG_MESSAGE = 1_000_000
_MANY_EVENTS = 500
# So many native forms are put together outside the event loop too.
_MANY_NATIVES = 100


# -- the header ---------------------------------------------------------------------------------


def encode_header(session: AnySession) -> dict[str, str]:
    """The header's fields, each as JSON.

    Raises:
        InvalidInput: a field contains a value that is not JSON.
    """
    metadata = session.metadata
    values = {
        "metadata": None if metadata is None else _plain_metadata(metadata),
        "parent_id": session.parent_id,
        "child_ids": session.child_ids,
        "task_ids": session.task_ids,
        "runs": [_plain(run, "metadata") for run in session.runs],
        "state": session.state,
    }
    return {name: _encode(value, f"the session's {name}") for name, value in values.items()}


def _plain_metadata(metadata: SessionMetadata) -> dict[str, Any]:
    plain = _plain(metadata, "properties")
    if metadata.conversation is None:  # true for most sessions: nothing is written
        del plain["conversation"]
    if not metadata.rewritten:
        del plain["rewritten"]
    return plain


def _plain(record: Record, own: str) -> dict[str, Any]:
    """A record as JSON values; the application's part of it (`own`) is taken as it is, to be checked."""
    return {**record.model_dump(mode="json", exclude={own}, warnings=False), own: getattr(record, own)}


def _encode(value: Any, name: str) -> str:
    misfit = json_misfit(value)
    if misfit:
        raise InvalidInput("store a session", f"{name} must be JSON: {misfit}")
    check_length(name, "store a session", value)
    return dump(value)


def join_header(fields: Mapping[str, str]) -> str:
    """The header's fields as one JSON object."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"


def split_header(text: bytes) -> dict[str, str]:
    """The header's fields, each as JSON, from one JSON object."""
    values = load(text)
    return {name: dump(values[name]) for name in HEADER_FIELDS}


def user_id_in(metadata: str) -> str | None:
    """The session's user, from its metadata as JSON: see `Session.user_id`."""
    try:
        user_id = load(metadata)["properties"]["user_id"]
    except (ValueError, TypeError, KeyError):
        return None
    return user_id if isinstance(user_id, str) else None


def origins_in(metadata: str | None) -> list[str]:
    """The conversations that one was forked from, from its metadata as JSON."""
    try:
        return origins_of(load(metadata or "")["properties"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def is_child_of(parent_id: str, field: str) -> bool:
    """Whether a session is a child of this one, by its `parent_id` as JSON."""
    try:
        return bool(load(field) == parent_id)
    except ValueError:
        return False


def header_value(name: str, text: str) -> Any:
    """One header field's value, from its JSON."""
    value = load(text)
    if name == "metadata" and value is not None:
        return SessionMetadata.model_validate(value)
    return [SessionRun.model_validate(run) for run in value] if name == "runs" else value


# -- events -------------------------------------------------------------------------------------


async def encoded(events: Sequence[AnyEvent], *, with_bodies: bool = False) -> list[EncodedEvent]:
    """Encode events, each once; long events, and many, are encoded outside the event loop.

    Args:
        events: the events.
        with_bodies: whether bodies are taken out of the JSON, for a store that keeps them apart.

    Raises:
        InvalidInput: as for `encode_events`.
    """
    if len(events) > _MANY_EVENTS or any(map(_is_long, events)):
        return await asyncio.to_thread(encode_events, events, with_bodies=with_bodies)
    return encode_events(events, with_bodies=with_bodies)


def _is_long(event: AnyEvent) -> bool:
    """Whether an event's message is or contains a long text, as tool results and answers do."""
    message = event.message
    if event.native is not None:
        return total_length(message, event.native) > _LONG_MESSAGE
    if isinstance(message, str):
        return len(message) > _LONG_MESSAGE
    texts = message.values() if isinstance(message, dict) else (message,)
    return any(
        len(text) > _LONG_MESSAGE if isinstance(text, str) else total_length(text) > _LONG_MESSAGE
        for text in texts
        if isinstance(text, str | list | dict)
    )


def encode_events(
    events: Iterable[AnyEvent], *, complete: bool = False, with_bodies: bool = False
) -> list[EncodedEvent]:
    """Encode events, each once.

    Args:
        events: the events.
        complete: whether to write all of them: fields with their default values, and the texts of the native
            form that the message has too.
        with_bodies: whether to take bodies out of the JSON.

    Raises:
        InvalidInput: an event contains a value that is not JSON, or they are too long; nothing was written.
    """
    by_id = {event.id: event for event in events}
    encoded, length = [], 0
    for event_id, each in by_id.items():
        body, bodies = _encoded_event(each, complete=complete, with_bodies=with_bodies)
        encoded.append(EncodedEvent(event_id, body, counters_of_event(each), bodies))
        length += len(body) + _size_of(bodies)
    if length > _MOST_AT_ONCE:
        reason = f"one step may store {_MOST_AT_ONCE:,} characters of JSON, not {length:,}"
        raise InvalidInput("store events", reason)
    return encoded


def encode_event(event: AnyEvent, *, complete: bool = False) -> str:
    """One event as JSON, whole: see `encode_events`.

    Raises:
        InvalidInput: the event contains a value that is not JSON, or is too long.
    """
    return _encoded_event(event, complete=complete, with_bodies=False)[0]


def _encoded_event(event: AnyEvent, *, complete: bool, with_bodies: bool) -> tuple[str, Mapping[str, bytes]]:
    """One event as JSON, and the bodies that were taken out.

    Raises:
        InvalidInput: the event contains a value that is not JSON, or is too long.
    """
    metadata, native = event.metadata, event.native
    misfit = json_misfit(event.message) or (json_misfit(metadata) if metadata else None)
    misfit = misfit or json_misfit(costs_in(event))
    if misfit:
        raise InvalidInput("store an event", f"message, metadata and cost must be JSON: {misfit}")
    if native is not None and (misfit := json_misfit(native)):
        raise InvalidInput("store an event", f"its native form must be JSON: {misfit}")
    whole, bodies = event, NOTHING_TAKEN.bodies
    if native is not None and not complete:
        event = altered(event, {"native": folded(event.message, native)})
    if with_bodies:
        fields, bodies = take_out(event)
        event = altered(event, fields) if fields else event
    try:
        body = event.model_dump_json(warnings=False) if complete else brief_json(event)
    except PydanticSerializationError:
        # The error's text could quote the event.
        raise InvalidInput("store an event", "one of its fields cannot be written as JSON") from None
    # Base64 has a third more characters than bytes.
    if len(body) + 2 * _size_of(bodies) > MAX_LENGTH:  # else no text is too long
        check_event_length(whole)
    return body, bodies


def _size_of(bodies: Mapping[str, bytes]) -> int:
    return sum(map(len, bodies.values())) if bodies else 0


@cache
def _list_of_events() -> TypeAdapter[list[AnyEvent]]:
    return TypeAdapter(list[SessionEvent[Any]], config=ConfigDict(hide_input_in_errors=True))


async def decode_events(stored: StoredSession) -> list[AnyEvent]:
    """Decode the events that were read of a session; many are decoded outside the event loop.

    Raises:
        UnreadableData: an event is damaged; the error names session and event.
    """
    return await _by_length(_decoded, stored)


async def decode_rows(stored: StoredSession) -> list[AnyEvent]:
    """The same without their bodies: `with_bodies` makes whole events of them.

    Raises:
        UnreadableData: as for `decode_events`.
    """
    return await _by_length(_rows, stored)


async def with_bodies(
    session_id: str, events: Sequence[AnyEvent], found: Mapping[str, bytes] | None, *, may_lack: bool
) -> None:
    """Put bodies into events that `decode_rows` returned.

    Args:
        session_id: the session, for the error.
        events: the events, which are changed.
        found: the bodies, by hash; `None` if the events have none.
        may_lack: whether an `AbsentText` may stand for a body that is not among these.

    Raises:
        UnreadableData: as for `decode_events`.
    """
    natives = sum(event.native is not None for event in events)
    if natives > _MANY_NATIVES or sum(map(len, (found or {}).values())) > _MOST_DECODED_AT_ONCE:
        await asyncio.to_thread(_put_bodies, session_id, events, found, may_lack)
    else:
        _put_bodies(session_id, events, found, may_lack)


async def _by_length(
    decode: Callable[[StoredSession], list[AnyEvent]], stored: StoredSession
) -> list[AnyEvent]:
    length = sum(map(len, stored.bodies)) + sum(map(len, (stored.found or {}).values()))
    if length > _MOST_DECODED_AT_ONCE:
        return await asyncio.to_thread(_without_collections, decode, stored)
    return decode(stored)


def _without_collections(
    decode: Callable[[StoredSession], list[AnyEvent]], stored: StoredSession
) -> list[AnyEvent]:
    """Decode many events without garbage collections: none of the new objects is garbage.

    With them, half of the time would go to looking through the objects that are there already. Even the
    first collection afterwards would look through all the new ones, so they are made old at once.
    """
    if not gc.isenabled():  # by the application, or by another thread that is decoding
        return decode(stored)
    pause = object()
    _pauses.add(pause)
    gc.collect(1)  # because everything young is made old below, garbage too
    gc.disable()
    try:
        return decode(stored)
    finally:
        if not gc.get_freeze_count():  # else the application froze objects, which would be thawed
            gc.freeze()
            gc.unfreeze()  # into the oldest generation; neither call looks at the objects
        gc.enable()
        _pauses.discard(pause)


# Of the threads that have switched garbage collections off for the whole process.
_pauses: set[object] = set()


def _end_pauses() -> None:
    """Switch garbage collections on again in a forked process, which has none of these threads."""
    if _pauses:
        _pauses.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_end_pauses)


def _decoded(stored: StoredSession) -> list[AnyEvent]:
    events = _rows(stored)
    has_bodies = stored.found is not None and any(map(has_marks, stored.bodies))
    _put_bodies(stored.id, events, stored.found if has_bodies else None, may_lack=False)
    return events


def _rows(stored: StoredSession) -> list[AnyEvent]:
    decode = _list_of_events().validate_json
    events: list[AnyEvent] = []
    try:
        for body in stored.bodies:
            events += decode(f"[{body}]")
    except ValidationError as problem:
        at = problem.errors(include_input=False, include_url=False)[0]["loc"][:1]
        near = stored.start + len(events) + (int(at[0]) if at else 0)
        raise damaged_event(stored.id, near) from problem
    except (InvalidSessionOperation, ValueError, TypeError) as problem:  # a negative count of tokens
        raise damaged_event(stored.id, f"{stored.start + len(events)} or one after it") from problem
    return events


def _put_bodies(
    session_id: str, events: Sequence[AnyEvent], found: Mapping[str, bytes] | None, may_lack: bool
) -> None:
    """Put bodies and the texts of native forms back where they were taken out."""
    put_back = None if found is None else PutBack(found, may_lack=may_lack)
    for event in events:
        try:
            if put_back is not None:
                put_back.into(event)
            if event.native is not None:
                event.native = unfolded(event.message, event.native)
        except (ValueError, TypeError, LookupError) as problem:
            # A body that is missing; or a native form of another message.
            raise damaged_event(session_id, event.id) from problem


def check_same(session_id: str, event: EncodedEvent, stored: str | bytes) -> None:
    """Raise if a stored event differs from this one with the same id, however both are written.

    Raises:
        EventConflict: the events differ.
        StorageError: the stored event is not JSON.
    """
    try:
        text = stored if isinstance(stored, str) else stored.decode()
        is_same = text == event.body or load(text) == load(event.body) or _means_same(text, event.body)
    except ValueError:  # without the cause, which contains the stored event
        raise damaged_event(session_id, event.id) from None
    if not is_same:
        raise EventConflict(f"Event {event.id} is in session {session_id} already, with other content")


def _means_same(stored: str, body: str) -> bool:
    """Whether two texts are the same event: an earlier release may have stored it with its defaults."""
    one, other = _list_of_events().validate_json(f"[{stored},{body}]")
    if has_marks(stored):
        for event in (one, other):
            event.message, event.native = without_measures(event.message), without_measures(event.native)
            event.metadata = without_measures(event.metadata)
    return one == other


# -- whole sessions -----------------------------------------------------------------------------


async def decode_session(stored: StoredSession) -> AnySession:
    """The stored session, with the events from `start` on.

    Raises:
        UnreadableData: the stored data is damaged.
    """
    events = await decode_events(stored)
    if stored.start + len(events) != stored.count:
        raise damaged_event(stored.id, f"{stored.start} or one after it")
    try:
        header = {name: header_value(name, text) for name, text in stored.fields.items()}
        session: AnySession = Session(id=stored.id, token_summary=summary_in(stored.counters), **header)
        session.events = events  # not an argument, which would be validated again
        before = _before(stored, events) if stored.start else None
    except (ValueError, TypeError, OverflowError) as problem:
        raise damaged_header(stored.id) from problem
    if before is not None:
        session.go_on_from(*before)
    return session


def _before(stored: StoredSession, events: Sequence[AnyEvent]) -> tuple[SessionTotals, datetime | None]:
    """The totals and newest time of the stored events that are not among these."""
    held = SessionTotals()
    for event in events:
        held.count(event)
    return totals_in(stored.counters, stored.count) - held, newest_in(stored.counters)
