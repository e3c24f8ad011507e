"""The sessions and events that the tests of the contract write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

from ..models import (
    CallUsage,
    EventSource,
    EventType,
    Session,
    SessionEvent,
    SessionMetadata,
    SessionRun,
    TokenUsage,
)
from ..models.session import next_segment_id
from ..stores.base import AnyEvent, AnySession, EventStore
from .checks import check_totals
from .readings import messages_in, plain_contents, read_head, read_latest

WRITES: dict[str, Callable[[EventStore, AnySession], Awaitable[object]]] = {
    "append": lambda store, session: store.append(session, [user_message("late")]),
    "add_event_and_save": lambda _, session: session.add_event_and_save(user_message("late")),
    "save": lambda store, session: store.save(session),
    "update": lambda store, session: store.update(session, lambda stored: stored.task_ids.append("late")),
    "add_child": lambda _, session: session.add_child("late"),
}


def user_message(message: Any, **fields: Any) -> AnyEvent:
    return SessionEvent(message=message, source=EventSource.USER, **fields)


def content_tokens(count: int) -> TokenUsage | None:
    """The usage of an event with so many content tokens; `None` for an event without tokens."""
    return TokenUsage(total_tokens=count, model="m", estimated_cost_usd=None) if count else None


def sample_bill() -> CallUsage:
    return CallUsage(model="m", provider="p", input_tokens=7, output_tokens=3, cost_usd=0.5)


def sample_events() -> list[AnyEvent]:
    """Events of every type and source, with every field that an event can have."""
    zone = timezone(timedelta(hours=5.5))
    lengths = [
        TokenUsage(prompt_tokens=3, completion_tokens=4, model="m", estimated_cost_usd=0.25),
        TokenUsage(prompt_tokens=5, total_tokens=9, model="m", estimated=True, estimated_cost_usd=None),
        TokenUsage(completion_tokens=6),
        None,
        TokenUsage(prompt_tokens=1, model="n", estimated_cost_usd=1.5),
    ]
    calls = [
        sample_bill(),
        CallUsage(model="m", input_tokens=9, cache_read_tokens=8, cache_write_tokens=1, reasoning_tokens=2),
        CallUsage(model="n", output_tokens=1, cost_usd=0.0, estimated=True),
        None,
    ]
    return [
        SessionEvent(
            id=f"{kind.value} {source.value}",
            message=[f"said {number}", {"role": "user", "content": [number, None, 0.1, True]}][number % 2],
            timestamp=datetime(2030, 1, 2, 3, 4, number, 678901, zone),
            type=kind,
            source=source,
            metadata={"number": number, "nested": {"empty": [], "none": None}} if number % 3 else {},
            parent_event_id="message user" if number % 4 else None,
            task_id=f"task {number}" if number % 5 else None,
            token_usage=lengths[number % len(lengths)],
            usage=calls[number % len(calls)],
        )
        for number, (kind, source) in enumerate(product(EventType, EventSource))
    ]


async def write_everything(store: EventStore) -> dict[str, Any]:
    """Write a session with everything that a session can have; return its contents."""
    run = SessionRun(metadata={"step": [1, 2.5, None]}, tool_calls=["message user"])
    await run.mark_failed("no answer")
    session = await Session.create(
        session_id="everything",
        parent_id="not there",
        store=store,
        metadata=SessionMetadata(properties={"user_id": "ann", "nested": {"a": [1, 2.5, None, True, "é"]}}),
        task_ids=["task 1", "task 2"],
        runs=[run, SessionRun()],
        state={"phase": 2, "big": 2**60, "none": None, "": {"deep": [[]]}},
    )
    await Session.create(session_id="child", parent_id="everything", store=store)
    first, second, *rest = sample_events()
    await session.add_event_and_save(first)
    await session.set_state("phase", 3)
    await session.add_event_and_save(second)
    await store.append(session, rest)
    session = await read_latest(store, session)
    assert session.child_ids == ["child"]
    assert (session.totals.events, session.total_cost) == (len(sample_events()), 5.25)
    check_totals(session)
    return plain_contents(session)


async def write_conversation(store: EventStore, first: str, parent_id: str | None = None) -> list[str]:
    """Write a conversation of three segments; return their ids."""
    ids: list[str] = []
    for session_id in (first, next_segment_id(first), next_segment_id(next_segment_id(first))):
        before = ids[-1] if ids else parent_id
        await Session.create(
            session_id=session_id, parent_id=before, events=[user_message(session_id)], store=store
        )
        ids.append(session_id)
    return ids


async def write_numbered(store: EventStore, count: int) -> list[str]:
    """Write so many sessions, every second one of Ann's; return their ids, the oldest first."""
    names = [f"s{number}" for number in range(count)]
    for number, name in enumerate(names):
        user = SessionMetadata(properties={"user_id": "bob" if number % 2 else "ann"})
        await Session.create(session_id=name, metadata=user, store=store)
    return names


async def write_beside(names: Sequence[str], name: str, count: int, store: EventStore) -> list[str]:
    """Append so many events while other processes append theirs; return the messages seen at the end."""
    session = await read_head(store, "s")
    await store.append(session, [user_message(f"{name} 0", usage=sample_bill())])
    beginnings = {f"{each} 0" for each in names}
    while not beginnings <= set(messages_in(await read_latest(store, session))):  # noqa: ASYNC110  (no event is shared)
        await asyncio.sleep(0.01)
    for number in range(1, count + 1):
        await store.append(session, [user_message(f"{name} {number}", usage=sample_bill())])
    return messages_in(await read_latest(store, session))
