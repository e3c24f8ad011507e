"""What a durable store writes down of a session: strict JSON, the same for every store."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from ..accounts.money import Usd, units_of
from ..exceptions import EventConflict, InvalidInput, InvalidSessionOperation, UnreadableData
from ..exceptions.validation import MAX_LENGTH, check_length, json_misfit, total_length
from ..models import Session, SessionEvent, SessionMetadata, SessionRun, TokenUsage
from ..models.record import Record
from ..models.session_event import check_event_length
from ..models.session_totals import EventIndex, SessionTotals
from ..models.token_usage import TokenSummary, usd
from .base import AnyEvent, AnySession
from .folding import folded, unfolded
from .recency import microseconds_of

SCHEMA = 1
"""The version of all that is written here; a store refuses to read a newer one."""

HEADER_FIELDS = ("metadata", "parent_id", "child_ids", "task_ids", "runs", "state")
"""What a session is besides its id, its events and what these add up to."""

CHUNK = 200
"""Events that are read and decoded in one go."""

# Of tokens or USD in one event: far more than there ever are, and sums of thousands are exact in every store.
_MOST = 10**12
# In one step, characters of JSON: up to 4 bytes each, of which Redis takes 1 GB in one command.
_MOST_AT_ONCE = 200_000_000
# More characters than this take some milliseconds to decode: not in the event loop.
_MOST_DECODED_AT_ONCE = 100_000
# To encode them takes a tenth of that; so do some hundred events.
_LONG_MESSAGE = 1_000_000
_MANY_EVENTS = 500

# Made once: `json.dumps` makes one for every call.
_write_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Not the events, which the store counts itself.
_COUNTED = tuple(each.name for each in fields(SessionTotals) if each.name != "events")


# "more" is what applications give as a total of their own, beside the two.
_USAGE_COUNTED = (
    "prompt_tokens",
    "completion_tokens",
    "more_tokens",
    "cost_usd",
    "usages",
    "priced",
    "estimated",
    "cost_rest",
)
# "cost_usd" is a sum of floats, which drifts: by more than a millionth of a dollar in a million calls.
# "cost_rest" is the sum of what each cost has below a tenth of a cent, in millionths of a millionth of a
# dollar: a whole number, which every store adds exactly. The two together give the exact sum. (A reader
# that knows only the first, as of 1.0.0.dev0, goes on; what it adds has no rest, and then the first alone
# counts.)
_REST_UNITS = 10**9


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


# -- the header ---------------------------------------------------------------------------------


def encode_header(session: AnySession) -> dict[str, str]:
    """The header's fields, each as JSON.

    Raises:
        InvalidInput: a field holds what JSON cannot.
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
    if metadata.conversation is None:  # most sessions: nothing is written for them
        del plain["conversation"]
    return plain


def _plain(record: Record, own: str) -> dict[str, Any]:
    """A record as JSON values; what the application put there (`own`) as it is, to be checked."""
    return {**record.model_dump(mode="json", exclude={own}, warnings=False), own: getattr(record, own)}


def _encode(value: Any, name: str) -> str:
    misfit = json_misfit(value)
    if misfit:
        raise InvalidInput("store a session", f"{name} must be JSON: {misfit}")
    check_length(name, "store a session", value)
    return dump(value)


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


def join_header(fields: Mapping[str, str]) -> str:
    """The header's fields as one JSON object."""
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"


def split_header(text: bytes) -> dict[str, str]:
    """The header's fields, each as JSON, from one JSON object."""
    values = load(text)
    return {name: dump(values[name]) for name in HEADER_FIELDS}


def user_id_in(metadata: str) -> str | None:
    """Whose session it is, from its metadata as JSON: as `Session.user_id` says."""
    try:
        user_id = load(metadata)["properties"]["user_id"]
    except (ValueError, TypeError, KeyError):
        return None
    return user_id if isinstance(user_id, str) else None


def is_child_of(parent_id: str, field: str) -> bool:
    """Whether a session is this one's child, by its `parent_id` as JSON."""
    try:
        return bool(load(field) == parent_id)
    except ValueError:
        return False


def damaged_header(session_id: str) -> UnreadableData:
    """What is said of a header that is none."""
    return UnreadableData(f"Session {session_id} is damaged: its header is no valid record")


def header_value(name: str, text: str) -> Any:
    """One header field's value, from its JSON."""
    value = load(text)
    if name == "metadata" and value is not None:
        return SessionMetadata.model_validate(value)
    return [SessionRun.model_validate(run) for run in value] if name == "runs" else value


# -- counters -----------------------------------------------------------------------------------
#
# What events add up to, by name: the totals, "newest" (the latest time, in microseconds since 1970), and
# for each model "<model>:<what>"; usage without a model's name is under "". What can be worked out from
# others is left out, as is what is 0: all of it is written with every event.


def totals_of(events: Iterable[AnyEvent]) -> tuple[SessionTotals, datetime | None]:
    """What events come to, and the newest one's time."""
    index = EventIndex().catch_up(list(events))
    return index.totals, index.newest


def counters_of(totals: SessionTotals, summary: TokenSummary, newest: datetime | None) -> dict[str, float]:
    """Totals and token summary as numbers that a store can add to."""
    found = _counted(totals, newest)
    of_none = TokenUsage(
        prompt_tokens=summary.total_prompt_tokens,
        completion_tokens=summary.total_completion_tokens,
        total_tokens=summary.total_tokens,
        estimated_cost_usd=summary.total_estimated_cost_usd,
    )
    for model, usage in summary.usage_by_model.items():
        found |= _counters_of_usage(model, usage)
        of_none.prompt_tokens -= usage.prompt_tokens
        of_none.completion_tokens -= usage.completion_tokens
        of_none.total_tokens -= usage.total_tokens
        of_none.estimated_cost_usd = Usd(of_none.estimated_cost_usd or 0) - (usage.estimated_cost_usd or 0)
    return found | _counters_of_usage("", of_none)


def counters_of_event(event: AnyEvent) -> dict[str, float]:
    """What one event adds.

    Raises:
        InvalidInput: it is so much that sums of it would not be exact.
    """
    totals = SessionTotals()
    totals.count(event)
    found = _counted(totals, None)
    if event.token_usage:
        found |= _counters_of_usage(event.token_usage.model, event.token_usage)
    if any(abs(value) > _MOST for value in found.values()):
        raise InvalidInput("store an event", f"tokens and USD are at most {_MOST:,} each")
    return found | {"newest": microseconds_of(event.timestamp)}


def _counted(totals: SessionTotals, newest: datetime | None) -> dict[str, float]:
    found: dict[str, float] = {name: value for name in _COUNTED if (value := getattr(totals, name))}
    if newest is not None:
        found["newest"] = microseconds_of(newest)
    return found


def _counters_of_usage(model: str, usage: TokenUsage) -> dict[str, float]:
    cost = usage.estimated_cost_usd
    if cost is not None and not math.isfinite(cost):
        raise InvalidInput("store a session", "a cost must be a finite number of USD")
    counted = (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens - usage.prompt_tokens - usage.completion_tokens,
        cost or 0.0,
        int(model != ""),
        int(cost is not None),
        int(usage.estimated),
        units_of(cost) % _REST_UNITS if cost else 0,
    )
    return {name: value for name, value in zip(_usage_names(model), counted, strict=True) if value}


@lru_cache(maxsize=1_000)
def _usage_names(model: str) -> tuple[str, ...]:
    return tuple(f"{model}:{what}" for what in _USAGE_COUNTED)


def counters_after(counters: Mapping[str, float], events: Iterable[EncodedEvent]) -> dict[str, float]:
    """What counters come to with some events more: "newest" is the latest, all others are sums."""
    after = dict(counters)
    for event in events:
        for name, value in event.counters.items():
            before = after.get(name, 0)
            after[name] = max(before, value) if name == "newest" else before + value
    return after


def dump_counters(counters: Mapping[str, float]) -> str:
    """Counters as a JSON object; without a JSON encoder's start-up, which costs more than this."""
    return "{" + ",".join(f"{_json_name(name)}:{value!r}" for name, value in counters.items()) + "}"


def load_counters(session_id: str, text: str | bytes) -> dict[str, float]:
    """Counters from a JSON object; numbers may be written as text there, and whole ones come as such.

    Raises:
        StorageError: it is none.
    """
    try:
        numbers = {name: float(value) for name, value in load(text).items()}
        return {name: int(value) if value.is_integer() else value for name, value in numbers.items()}
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise damaged_header(session_id) from None


@lru_cache(maxsize=1_000)
def _json_name(name: str) -> str:
    return dump(name)


def totals_in(counters: Mapping[str, float], events: int) -> SessionTotals:
    """The totals that are counted there, of so many events."""
    return SessionTotals(events, *(int(counters.get(name, 0)) for name in _COUNTED))


def summary_in(counters: Mapping[str, float]) -> TokenSummary:
    """The token summary that is counted there."""
    models = [name.removesuffix(":usages") for name in counters if name.endswith(":usages")]
    summary = TokenSummary()
    summary.add(_usage_in(counters, ""))
    for model in models:
        summary.add(_usage_in(counters, model))
    return summary


def _exact_sum(drifted: float, rest: float) -> Usd:
    """The sum of costs: one of floats, put right by the sum of what each has below a tenth of a cent."""
    apart = units_of(drifted) - int(rest)
    exact = (apart + _REST_UNITS // 2) // _REST_UNITS * _REST_UNITS + int(rest)
    # Further apart than floats drift, some costs were added without a rest.
    is_whole = abs(exact - units_of(drifted)) <= 2_000_000 + abs(units_of(drifted)) // 10**10
    return Usd.of_units(exact) if is_whole else Usd(usd(drifted))


def _usage_in(counters: Mapping[str, float], model: str) -> TokenUsage:
    def counted(name: str) -> float:
        return counters.get(f"{model}:{name}", 0)

    prompt, completion = int(counted("prompt_tokens")), int(counted("completion_tokens"))
    cost = _exact_sum(counted("cost_usd"), counted("cost_rest"))
    return TokenUsage.model_construct(  # unchecked: a difference may be negative
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion + int(counted("more_tokens")),
        model=model,
        estimated_cost_usd=cost if counted("priced") else None,
        estimated=bool(counted("estimated")),
    )


def newest_in(counters: Mapping[str, float]) -> datetime | None:
    """The newest event's time, if any event was counted."""
    newest = counters.get("newest")
    return None if newest is None else _EPOCH + timedelta(microseconds=int(newest))


# -- events -------------------------------------------------------------------------------------


async def encoded(events: Sequence[AnyEvent]) -> list[EncodedEvent]:
    """Events as they are written, each once; long ones, and many, are encoded off the event loop.

    Raises:
        InvalidInput: as for `encode_events`.
    """
    if len(events) > _MANY_EVENTS or any(map(_is_long, events)):
        return await asyncio.to_thread(encode_events, events)
    return encode_events(events)


def _is_long(event: AnyEvent) -> bool:
    """Whether an event's message is a long text, or holds one, as rows, tools' results and answers do."""
    message = event.message
    if event.native is not None:
        return total_length(message, event.native) > _LONG_MESSAGE
    texts = message.values() if isinstance(message, dict) else (message,)
    return any(isinstance(text, str) and len(text) > _LONG_MESSAGE for text in texts)


def encode_events(events: Iterable[AnyEvent], *, folds: bool = True) -> list[EncodedEvent]:
    """Events as they are written, each once.

    Args:
        events: the events.
        folds: whether texts of a native form that the message has too are left out of the former.

    Raises:
        InvalidInput: an event holds what JSON cannot, or they are too long; nothing was written.
    """
    by_id = {event.id: event for event in events}
    encoded = [
        EncodedEvent(each.id, encode_event(each, folds=folds), counters_of_event(each))
        for each in by_id.values()
    ]
    length = sum(len(each.body) for each in encoded)
    if length > _MOST_AT_ONCE:
        reason = f"what is stored in one step may have {_MOST_AT_ONCE:,} characters of JSON, not {length:,}"
        raise InvalidInput("store events", reason)
    return encoded


def encode_event(event: AnyEvent, *, folds: bool = True) -> str:
    """One event as JSON.

    Raises:
        InvalidInput: it holds what JSON cannot, or is too long.
    """
    misfit = json_misfit(event.message) or (json_misfit(event.metadata) if event.metadata else None)
    if event.usage is not None and misfit is None:
        misfit = json_misfit(event.usage.cost_usd)
    if misfit:
        raise InvalidInput("store an event", f"message, metadata and cost must be JSON: {misfit}")
    if event.native is not None and (misfit := json_misfit(event.native)):
        raise InvalidInput("store an event", f"its native form must be JSON: {misfit}")
    if event.native is not None and folds:
        event = event.model_copy(update={"native": folded(event.message, event.native)})
    try:
        body = event.model_dump_json(warnings=False)
    except PydanticSerializationError:
        # Its text could quote what is in the event.
        raise InvalidInput("store an event", "one of its fields cannot be written as JSON") from None
    if len(body) > MAX_LENGTH:  # else its texts have no more characters either
        check_event_length(event)
    return body


@cache
def _list_of_events() -> TypeAdapter[list[AnyEvent]]:
    return TypeAdapter(list[SessionEvent[Any]], config=ConfigDict(hide_input_in_errors=True))


async def decode_events(stored: StoredSession) -> list[AnyEvent]:
    """The events that were read of a session, from their JSON; many of them off the event loop.

    Raises:
        UnreadableData: what is stored is no such JSON; it says of which session and event.
    """
    if sum(map(len, stored.bodies)) > _MOST_DECODED_AT_ONCE:
        return await asyncio.to_thread(_decoded, stored)
    return _decoded(stored)


def _decoded(stored: StoredSession) -> list[AnyEvent]:
    decode = _list_of_events().validate_json
    events: list[AnyEvent] = []
    try:
        for body in stored.bodies:
            events += decode(f"[{body}]")
        for event in events:
            if event.native is not None:
                event.native = unfolded(event.message, event.native)
    except ValidationError as problem:
        at = problem.errors(include_input=False, include_url=False)[0]["loc"][:1]
        near = stored.start + len(events) + (int(at[0]) if at else 0)
        raise damaged_event(stored.id, near) from problem
    except (InvalidSessionOperation, ValueError, TypeError, LookupError) as problem:
        # A count of tokens that is none; a native form that is not of this message.
        raise damaged_event(stored.id, f"{stored.start + len(events)} or one after it") from problem
    return events


def damaged_event(session_id: str, event: object) -> UnreadableData:
    """What is said of an event that is none."""
    return UnreadableData(f"Session {session_id} is damaged: its event {event} is no valid record")


def check_same(session_id: str, event: EncodedEvent, stored: str | bytes) -> None:
    """Refuse an event that is stored already with other content, however that is written.

    Raises:
        EventConflict: it is.
        StorageError: what is stored is no JSON.
    """
    try:
        text = stored if isinstance(stored, str) else stored.decode()
        is_same = text == event.body or load(text) == load(event.body)
    except ValueError:  # without it, which holds what is stored
        raise damaged_event(session_id, event.id) from None
    if not is_same:
        raise EventConflict(f"Event {event.id} is in session {session_id} already, with other content")


# -- whole sessions -----------------------------------------------------------------------------


async def decode_session(stored: StoredSession) -> AnySession:
    """The session that is written there, holding the events from `start` on.

    Raises:
        UnreadableData: what is stored is no such JSON.
    """
    events = await decode_events(stored)
    if stored.start + len(events) != stored.count:
        raise damaged_event(stored.id, f"{stored.start} or one after it")
    try:
        header = {name: header_value(name, text) for name, text in stored.fields.items()}
        session: AnySession = Session(
            id=stored.id, events=events, token_summary=summary_in(stored.counters), **header
        )
        before = _before(stored, events) if stored.start else None
    except (ValueError, TypeError, OverflowError) as problem:
        raise damaged_header(stored.id) from problem
    if before is not None:
        session.go_on_from(*before)
    return session


def _before(stored: StoredSession, events: Sequence[AnyEvent]) -> tuple[SessionTotals, datetime | None]:
    """What the stored events come to that are not among these."""
    held = SessionTotals()
    for event in events:
        held.count(event)
    return totals_in(stored.counters, stored.count) - held, newest_in(stored.counters)
