"""Anything that JSON can hold or that may lie in a store, and any session id: exact, or refused in words."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import redis
from hostile_ids import PIECES, check_keys, hostile_ids
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place, in_memory_too

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, SessionMetadata, StorageError
from chuk_ai_session_manager.exceptions import EventConflict, InvalidInput
from chuk_ai_session_manager.models import (
    CallUsage,
    EventSource,
    EventType,
    SessionRun,
    TokenSummary,
    TokenUsage,
)
from chuk_ai_session_manager.models.record import Record
from chuk_ai_session_manager.stores.codec import (
    decode_session,
    encode_events,
    encode_header,
    join_header,
    split_header,
)
from chuk_ai_session_manager.stores.counting import counters_after, counters_of, dump_counters, totals_of
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.stored_data import CHUNK, StoredSession

RANDOM = Random()  # noqa: S311  (ids, not secrets)
MOST_TOKENS = 10**11

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["<|endoftext|>", "\0", "\u2028", "%7B", '"}],', "{}", "a" * 300]
)
MODELS = TEXTS | st.sampled_from(["gpt-4o", "a:usages", "newest", "messages", ":", "#1", "%s", "m:cost_usd"])
NUMBERS = st.integers() | st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
TOKENS = st.integers(0, 1_000) | st.integers(0, MOST_TOKENS)
COSTS = st.none() | st.floats(0, 1_000_000)
TIMES = st.datetimes(timezones=st.just(UTC))
LENGTHS = st.builds(
    TokenUsage,
    prompt_tokens=TOKENS,
    completion_tokens=TOKENS,
    total_tokens=TOKENS,
    model=MODELS,
    estimated_cost_usd=COSTS,
    estimated=st.booleans(),
)
CALLS = st.builds(
    CallUsage,
    model=MODELS,
    provider=TEXTS,
    input_tokens=TOKENS,
    output_tokens=TOKENS,
    cache_read_tokens=TOKENS,
    cache_write_tokens=TOKENS,
    reasoning_tokens=TOKENS,
    cost_usd=COSTS,
    estimated=st.booleans(),
)
EVENTS: st.SearchStrategy[SessionEvent[Any]] = st.builds(
    SessionEvent,
    message=VALUES,
    metadata=OBJECTS,
    timestamp=TIMES,
    source=st.sampled_from(EventSource),
    type=st.sampled_from(EventType),
    parent_event_id=st.none() | TEXTS,
    task_id=st.none() | TEXTS,
    token_usage=st.none() | LENGTHS,
    usage=st.none() | CALLS,
)
SESSIONS: st.SearchStrategy[Session[Any]] = st.builds(
    Session,
    id=st.just("s"),
    metadata=st.builds(SessionMetadata, properties=OBJECTS),
    parent_id=st.none() | TEXTS,
    child_ids=st.lists(TEXTS, max_size=3),
    task_ids=st.lists(TEXTS, max_size=3),
    runs=st.lists(
        st.builds(SessionRun, metadata=OBJECTS, tool_calls=st.lists(TEXTS, max_size=3)), max_size=2
    ),
    state=OBJECTS,
)


def written(session: Session[Any], batches: list[list[SessionEvent[Any]]]) -> StoredSession:
    """A session as a store has it after appending batch by batch."""
    counters: dict[str, float] = {}
    bodies: list[str] = []
    for batch in batches:
        encoded = encode_events(batch)
        counters = counters_after(counters, encoded)
        bodies += [event.body for event in encoded]
    chunks = [",".join(bodies[at : at + CHUNK]) for at in range(0, len(bodies), CHUNK)]
    fields = split_header(join_header(encode_header(session)).encode())
    numbers = json.loads(dump_counters(counters))
    return StoredSession(session.id, "born", fields, numbers, count=len(bodies), bodies=chunks)


@settings(deadline=None, max_examples=60)
@given(SESSIONS, st.lists(st.lists(EVENTS, max_size=4), max_size=4), st.randoms())
async def test_any_session_comes_back_exactly(
    session: Session[Any], batches: list[list[SessionEvent[Any]]], random: Random
) -> None:
    random.shuffle(batches)
    events = [event for batch in batches for event in batch]
    read = await decode_session(written(session, batches))
    assert read.events == events
    # By what Python writes of it, which tells 1, 1.0 and True from each other.
    assert repr([plain(event) for event in read.events]) == repr([plain(event) for event in events])
    assert repr(plain(read)) == repr(plain(session))


def plain(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude={"events", "token_summary"})


@settings(deadline=None, max_examples=60)
@given(st.lists(EVENTS, max_size=12), st.randoms())
async def test_what_is_counted_is_what_the_events_come_to(
    events: list[SessionEvent[Any]], random: Random
) -> None:
    """Appended one by one in any order, or stored with a session as a whole."""
    random.shuffle(events)
    session: Session[Any] = Session(id="s", events=events)
    for event in events:
        if event.token_usage:
            session.token_summary.add(event.token_usage)
    totals, newest = totals_of(events)
    appended = written(session, [[event] for event in events])
    whole = replace(appended, counters=counters_of(totals, session.token_summary, newest))
    for stored in (appended, whole):
        read = await decode_session(stored)
        assert (read.totals, read.newest_event_time) == (totals, newest)
        same_summary(read.token_summary, session.token_summary)


def same_summary(read: TokenSummary, written: TokenSummary) -> None:
    """Sums of tokens are exact; those of USD as good as floats are."""
    assert tokens_in(read) == tokens_in(written)
    assert read.total_estimated_cost_usd == pytest.approx(written.total_estimated_cost_usd, abs=1e-6)
    for model, usage in written.usage_by_model.items():
        cost = read.usage_by_model[model].estimated_cost_usd
        assert cost == pytest.approx(usage.estimated_cost_usd, abs=1e-6)


def tokens_in(summary: TokenSummary) -> dict[str, Any]:
    return summary.model_dump(
        exclude={"total_estimated_cost_usd": True, "usage_by_model": {"__all__": {"estimated_cost_usd"}}}
    )


@pytest.mark.parametrize(
    "counted",
    [
        {"token_usage": TokenUsage(prompt_tokens=10**13)},
        {"token_usage": TokenUsage(model="m", estimated_cost_usd=1e300)},
        {"usage": CallUsage(model="m", output_tokens=10**20)},
    ],
)
def test_numbers_whose_sums_would_not_be_exact_are_refused(counted: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="1,000,000,000,000"):
        encode_events([SessionEvent(message="hello", **counted)])


# -- what may lie in a store --------------------------------------------------------------------


def said(number: int) -> SessionEvent[Any]:
    """The same one for the same number."""
    time = datetime(2026, 1, 1, tzinfo=UTC)
    usage = TokenUsage(prompt_tokens=1, model="m", estimated_cost_usd=0.5)
    call = CallUsage(model="m", input_tokens=1)
    return SessionEvent(id=f"e{number}", message="hello", timestamp=time, token_usage=usage, usage=call)


DEEP = 100_000
NESTED = st.sampled_from(["[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP])
ODD_NUMBERS = st.sampled_from(["1e999", "-1e999", "NaN", "-Infinity", "-1", "1" * 5_000, "1.5", "1e400000"])
JSON = VALUES.map(json.dumps) | OBJECTS.map(json.dumps) | NESTED | ODD_NUMBERS


@st.composite
def altered(draw: st.DrawFn, text: str) -> str:
    """A JSON object with one of its values replaced, or one more, wherever in it."""
    value = json.loads(text)
    inner = value
    while isinstance(inner, dict) and inner:
        name = draw(st.sampled_from([*inner, "odd"]))
        if name not in inner or not isinstance(inner[name], dict) or draw(st.booleans()):
            inner[name] = "<here>"
            break
        inner = inner[name]
    return json.dumps(value).replace('"<here>"', draw(JSON))


@st.composite
def cut(draw: st.DrawFn, text: str) -> str:
    start, end = sorted(draw(st.integers(0, len(text))) for _ in range(2))
    return text[:start] + text[end:]


def damaged(text: str) -> st.SearchStrategy[bytes]:
    """What may lie where this JSON was."""
    encoded = (TEXTS | JSON | altered(text) | cut(text) | st.sampled_from(["", " ", f"{text},{text}"])).map(
        str.encode
    )
    return (
        st.binary(max_size=40)
        | encoded
        | st.just(text.encode("utf-16"))
        | st.just(text[:9].encode() + b"\xff")
    )


EVENT = encode_events([said(1)])[0].body
HEADER = encode_header(
    Session(id="s", runs=[SessionRun()], metadata=SessionMetadata(properties={"user_id": "u"}))
)
COUNTERS = dump_counters(written(Session(id="s"), [[said(1)]]).counters)


class Damaged:
    """A store, and the way past it to what lies in it."""

    def __init__(self, place: Place) -> None:
        self.store = place.store()
        self.place = place

    def put(self, session_id: str, part: str, value: bytes) -> None:
        if isinstance(self.store, RedisStore):
            with redis.Redis.from_url(self.place.url) as client:
                client.hset(self.store._keys.of(session_id), f"0:{part}", value)
            return
        change = "UPDATE sessions SET counters = CAST(? AS TEXT) WHERE id = ?"
        if part.isdecimal():
            change = (
                f"UPDATE events SET body = CAST(? AS TEXT) WHERE number = {part}"  # noqa: S608  (a number)
                " AND session = (SELECT key FROM sessions WHERE id = ?)"
            )
        elif part != "counters":
            change = change.replace("counters", "header")
            value = join_header({**HEADER, part: "<here>"}).encode().replace(b"<here>", value)
        with closing(sqlite3.connect(self.place.url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(change, (value, session_id))


@pytest.mark.parametrize("place", ["sqlite", "redis"], indirect=True)
@pytest.mark.parametrize("part", ["event", "counters", *HEADER])
def test_whatever_lies_in_a_store_is_read_whole_or_told_of(place: Place, part: str) -> None:
    text = {"event": EVENT, "counters": COUNTERS, **HEADER}[part]

    @settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
    @given(value=damaged(text), number=st.integers(0, 2))
    def check(value: bytes, number: int) -> None:
        asyncio.run(read_damaged(Damaged(place), str(number) if part == "event" else part, value))

    check()


async def read_damaged(there: Damaged, part: str, value: bytes) -> None:
    session_id = uuid4().hex
    async with there.store, there.place.store() as other:
        await there.store.create(Session(id=session_id, events=[said(number) for number in range(3)]))
        known = await there.store.get(session_id)
        assert known is not None
        there.put(session_id, part, value)
        session = await whole_or_told(session_id, partial(other.get, session_id))
        if session is not None:
            assert len(session.events) == 3
        await whole_or_told(session_id, partial(other.head, session_id))
        manager = SessionManager(session_id, store=other, infinite_context=True)
        for use in (manager.get_stats, manager.get_messages_for_llm, manager.get_conversation):
            await whole_or_told(session_id, use)
        for event in map(said, range(4)):  # the first three are retries of what is stored
            with suppress(EventConflict):
                await whole_or_told(session_id, partial(there.store.append, known, [event]))
        assert session_id in await other.list_sessions(session_id)
        await other.delete(session_id)


async def whole_or_told(session_id: str, use: Callable[[], Awaitable[Any]]) -> Any:
    """What a use gives; or nothing, where it is an error that names the session."""
    try:
        return await use()
    except EventConflict:
        raise
    except StorageError as problem:
        assert session_id in str(problem)  # noqa: PT017  (where there is one)
        return None


# -- session ids --------------------------------------------------------------------------------


def test_of_many_ids_no_two_have_one_key() -> None:
    check_keys(50_000)


@in_memory_too
async def test_thousands_of_ids_are_stored_read_and_listed_each_for_itself(place: Place) -> None:
    known = list(islice(hostile_ids(RANDOM), 2_000))
    async with place.store() as store, place.store() as other:
        for at in range(0, len(known), 50):
            made = (Session(id=each, state={"id": each}) for each in known[at : at + 50])
            await asyncio.gather(*map(store.create, made))
        for each in known:
            session = await other.get(each)
            assert session is not None
            assert session.state == {"id": each}
        for beginning in ("", *PIECES, "%7", "..", known[-1][:100]):
            listed = await other.list_sessions(beginning)
            assert sorted(listed) == sorted(each for each in known if each.startswith(beginning))


@in_memory_too
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(session_id=st.text(min_size=1, max_size=300))
def test_any_text_is_an_id_or_refused_before_anything_is_written(place: Place, session_id: str) -> None:
    asyncio.run(stored_or_refused(place.fresh(), session_id))


async def stored_or_refused(place: Place, session_id: str) -> None:
    async with place.store() as store:
        try:
            await SessionManager(session_id, store=store).user_says("hello")
        except InvalidInput:
            assert await store.list_sessions() == []
        else:
            assert await store.list_sessions() == [session_id]
