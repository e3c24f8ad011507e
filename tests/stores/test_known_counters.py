"""Appends to Redis that do not ask for the counters, because the same process wrote them last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from clocks import set_clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import RedisServer

from chuk_ai_session_manager.exceptions import EventConflict, UnreadableData
from chuk_ai_session_manager.models import CallUsage, EventSource, Session, SessionEvent, TokenUsage
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores.counting import totals_of
from chuk_ai_session_manager.stores.redis import known_counters
from chuk_ai_session_manager.stores.redis.store import RedisStore

HOUR = 3_600_000  # milliseconds


def question() -> SessionEvent[Any]:
    return SessionEvent(message="Where?", token_usage=TokenUsage(prompt_tokens=3, model="m"))


def answer() -> SessionEvent[Any]:
    return SessionEvent(
        message="There.",
        source=EventSource.LLM,
        token_usage=TokenUsage(completion_tokens=5, model="m", estimated_cost_usd=0.1),
        usage=CallUsage(model="m", input_tokens=7, output_tokens=5, cost_usd=0.1),
    )


class Rig:
    """A server, and two stores of the same sessions, as two processes have them."""

    def __init__(self, server: RedisServer, **options: Any) -> None:
        self.server = server
        options = {"sandbox_id": uuid4().hex, **options}
        self.stores = [RedisStore(server.url, **options) for _ in range(2)]
        self.reader = RedisStore(server.url, **options)

    async def begin(self) -> Session[Any]:
        session: Session[Any] = Session(id="s")
        await self.stores[0].create(session)
        return session

    async def seen_by(self, store: RedisStore) -> Session[Any]:
        session = await store.head("s")
        assert session is not None
        return session

    async def check(self, events: int, removed: int = 0) -> None:
        """Check the totals against the whole log; the tokens of removed events still count."""
        self.reader._objects.clear()
        session = await self.reader.get("s")
        assert session is not None
        assert len(session.events) == events
        assert session.totals == totals_of(session.events)[0]
        told = sum(event.token_usage.total_tokens for event in session.events if event.token_usage)
        assert session.token_summary.total_tokens == told + removed

    def key(self) -> str:
        return self.stores[0]._keys.of("s")

    def asked(self, command: str) -> int:
        """How often a command ran since the server started."""
        with self.server.client() as client:
            stats: Any = client.info("commandstats")
        return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])

    async def close(self) -> None:
        for store in (*self.stores, self.reader):
            await store.close()


@pytest.fixture
async def rig(redis_server: RedisServer) -> AsyncIterator[Rig]:
    rig = Rig(redis_server)
    yield rig
    await rig.close()


STEPS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["question", "answer", "both", "again", "save", "remove"])),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_totals_are_those_of_the_log_whoever_wrote(redis_server: RedisServer, steps: list[Any]) -> None:
    async def work() -> None:
        rig = Rig(redis_server)
        await rig.begin()
        stored: list[SessionEvent[Any]] = []
        removed = 0
        for writer, step in steps:
            store = rig.stores[writer]
            session = await rig.seen_by(store)
            new = {"question": [question()], "answer": [answer()], "both": [question(), answer()]}.get(
                step, []
            )
            if step == "again":  # some are stored already
                await store.append(session, [*stored[-1:], extra := answer()])
                new = [extra]
            elif step == "save":
                session.state["at"] = len(stored)
                await store.save(session)
            elif step == "remove" and stored:
                whole = await store.get("s")
                assert whole is not None
                whole.events = whole.events[:-1]
                await store.save(whole)
                usage = stored.pop().token_usage
                removed += usage.total_tokens if usage else 0
            elif new:
                await store.append(session, new)
            stored += new
            await rig.check(len(stored), removed)
        await rig.close()

    asyncio.run(work())


async def test_the_last_writer_appends_without_reading_counters_and_expiry(rig: Rig) -> None:
    session = await rig.begin()
    before = rig.asked("pttl")
    for _ in range(5):
        await rig.stores[0].append(session, [question(), answer()])
    assert rig.asked("pttl") == before
    await rig.check(10)


async def test_appends_to_a_later_segment_ask_for_its_place_once(rig: Rig) -> None:
    first = await rig.begin()
    store = rig.stores[0]
    second: Session[Any] = Session(id=next_segment_id("s"), parent_id="s")
    await store.create_next(second, first)
    await store.append(second, [question()])
    before = rig.asked("hmget")
    for _ in range(5):
        await store.append(second, [answer()])
    assert rig.asked("hmget") == before + 5


async def test_a_write_that_a_failover_lost_is_not_counted(rig: Rig) -> None:
    session = await rig.begin()
    await rig.stores[0].append(session, [question()])
    with rig.server.client() as client:
        client.execute_command("COPY", rig.key(), "kept")
        await rig.stores[0].append(session, [answer()])
        client.execute_command("COPY", "kept", rig.key(), "REPLACE")  # as a replica had it
        client.delete("kept")
    await rig.stores[1].append(await rig.seen_by(rig.stores[1]), [question()])  # at the same revision
    await rig.stores[0].append(session, [answer()])
    await rig.check(3)


async def test_an_event_that_is_stored_with_other_content_is_a_conflict(rig: Rig) -> None:
    session = await rig.begin()
    event = question()
    await rig.stores[0].append(session, [event])
    other = event.model_copy(update={"message": "Who?"})
    with pytest.raises(EventConflict):
        await rig.stores[0].append(session, [other])
    await rig.stores[0].append(session, [answer()])
    await rig.check(2)


async def test_the_counters_of_some_sessions_are_remembered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_counters, "_MOST", 2)
    sessions = [await rig.begin(), *(Session(id=f"other-{number}") for number in range(3))]
    for session in sessions[1:]:
        await rig.stores[0].create(session)
    for _ in range(3):
        for session in sessions:
            await rig.stores[0].append(session, [answer()])
    assert len(rig.stores[0]._appender._known._known) == 2
    await rig.check(3)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_expiry_is_renewed_whatever_the_clock_of_the_writer_says(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    rig = Rig(redis_server, ttl_hours=1)
    session = await rig.begin()
    with redis_server.client() as client:
        client.pexpire(rig.key(), HOUR // 2)
        await rig.stores[0].append(session, [question()])  # just after the creation, which set the expiry
        assert client.pttl(rig.key()) <= HOUR // 2
        set_clock(timedelta(hours=hours), monkeypatch)
        await rig.stores[0].append(session, [question()])
        assert client.pttl(rig.key()) > HOUR * 0.9
    await rig.check(2)
    await rig.close()


@pytest.mark.parametrize("text", ['{"messages": null}', '{"newest": []}', '{"unknown": "many"}'])
async def test_counters_that_are_no_numbers_are_told_of_and_left_as_they_are(rig: Rig, text: str) -> None:
    session = await rig.begin()
    rig.server.command("HSET", rig.key(), "0:counters", text)
    with pytest.raises(UnreadableData, match="damaged"):
        await rig.stores[0].append(session, [question()])
    assert rig.server.command("HGET", rig.key(), "0:counters") == text
    assert rig.server.command("HGET", rig.key(), "0:count") == "0"
