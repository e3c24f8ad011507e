"""Stored events do not contain their default values; they read as they were, also beside complete ones."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from servers import RedisServer

from chuk_ai_session_manager.exceptions import EventConflict
from chuk_ai_session_manager.models import (
    CallUsage,
    EventSource,
    EventType,
    Session,
    SessionEvent,
    TokenUsage,
)
from chuk_ai_session_manager.models.session_event import new_event
from chuk_ai_session_manager.stores import EventStore, SqliteStore
from chuk_ai_session_manager.stores.codec import decode_events, encode_event
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.stored_data import StoredSession

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
counts = st.integers(0, 5)
costs = st.none() | st.floats(0, 9, allow_nan=False)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
lengths = st.builds(
    TokenUsage,
    prompt_tokens=counts,
    completion_tokens=counts,
    total_tokens=counts,
    model=texts,
    estimated_cost_usd=costs,
    estimated=st.booleans(),
)
calls = st.builds(
    CallUsage,
    model=texts,
    provider=texts | st.just("unknown"),
    input_tokens=counts,
    reasoning_tokens=counts,
    cost_usd=costs,
    estimated=st.booleans(),
    details=st.dictionaries(st.sampled_from(["web_searches"]), counts),
    service_tier=st.none() | texts,
    cost_source=st.none() | st.just("priced"),
    cache_saved_usd=costs,
    cache_miss_reason=st.none() | texts,
    iterations=st.just([]) | st.just([CallUsage(model="m", cost_usd=0.0)]),
    continues=st.booleans(),
)
events = st.builds(
    SessionEvent[Any],
    message=values,
    timestamp=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=zones),
    source=st.sampled_from(EventSource),
    type=st.sampled_from(EventType),
    metadata=objects,
    parent_event_id=st.none() | texts,
    task_id=st.none() | texts,
    token_usage=st.none() | lengths,
    usage=st.none() | calls,
    native=st.none() | objects,
    context=st.none() | texts,
).map(lambda event: SessionEvent.model_validate(event.model_dump()))


@given(event=events)
async def test_an_event_reads_as_it_was(event: SessionEvent[Any]) -> None:
    body = encode_event(event)
    assert await decode_events(StoredSession("s", "", {}, {}, bodies=[body])) == [event]
    assert await decode_events(
        StoredSession("s", "", {}, {}, bodies=[encode_event(event, complete=True)])
    ) == [event]


def test_a_message_takes_little_room() -> None:
    event = new_event("Hello!", EventSource.USER, EventType.MESSAGE, {})
    event.token_usage = TokenUsage(prompt_tokens=2, model="gpt-4o-mini", estimated_cost_usd=None)
    body = encode_event(event)
    assert json.loads(body).keys() == {"id", "message", "timestamp", "source", "token_usage"}
    assert len(body) < len(encode_event(event, complete=True)) * 0.6


def test_records_that_are_made_of_valid_values_have_all_fields_in_order() -> None:
    made = new_event("Hello!", EventSource.USER, EventType.MESSAGE, {})
    assert list(vars(made)) == list(SessionEvent.model_fields) == list(vars(SessionEvent(message="x")))
    assert SessionEvent.model_validate(made.model_dump()) == made
    assert made.model_copy() == made


# -- beside events of earlier releases, which wrote all fields ------------------------------------


async def is_the_same_to(store: EventStore, session: Session[Any], event: SessionEvent[Any]) -> None:
    """An event that is stored with its defaults may be sent again; another one with its id may not."""
    assert await store.append(session, [event.model_copy()])
    other = event.model_copy(update={"task_id": "another"})
    with pytest.raises(EventConflict):
        await store.append(await fresh_object(store), [other])
    found = await store.get("s")
    assert found is not None
    assert found.events == [event]


async def fresh_object(store: EventStore) -> Session[Any]:
    """The session without its events."""
    found = await store.head("s")
    assert found is not None
    return found


async def stored_by(store: EventStore) -> SessionEvent[Any]:
    event: SessionEvent[Any] = SessionEvent(
        message={"a": 1}, token_usage=TokenUsage(prompt_tokens=3, model="m")
    )
    session = await Session.create("s", store=store)
    await store.append(session, [event])
    return event


async def test_a_retry_after_an_upgrade_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqliteStore(path) as store:
        event = await stored_by(store)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE events SET body = ?", (encode_event(event, complete=True),))
        connection.commit()
    async with SqliteStore(path) as store:
        await is_the_same_to(store, await fresh_object(store), event)


async def test_a_retry_after_an_upgrade_in_redis(redis_server: RedisServer) -> None:
    async with RedisStore(redis_server.url, sandbox_id="brief") as store:
        event = await stored_by(store)
        with redis.Redis.from_url(redis_server.url) as client:
            keys = [key for key in client.keys("*brief*") if client.type(key) == b"hash"]
            [key] = [key for key in keys if client.hexists(key, "0:0")]
            assert client.hset(key, "0:0", encode_event(event, complete=True)) == 0
    async with RedisStore(redis_server.url, sandbox_id="brief") as store:
        await is_the_same_to(store, await fresh_object(store), event)
