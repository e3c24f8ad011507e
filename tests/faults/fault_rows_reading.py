"""Rows about how much is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import redis
from places import Place
from rig import Trial, judging, row
from servers import RedisServer

from chuk_ai_session_manager import EventSource, Session, SessionEvent, SessionManager, TokenUsage
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.durable import DurableStore

SHORT = 200


@row("a long log, a short context", control="reads the whole log")
async def a_log_is_long(trial: Trial) -> None:
    lengths = (SHORT, trial.size(4_000, 100_000))
    notes = []
    with ExitStack() as stack:
        if trial.is_control:
            stack.enter_context(patch.object(DurableStore, "newest_events", EventStore.newest_events))
            stack.enter_context(patch.object(DurableStore, "newest_outlines", EventStore.newest_outlines))
        server = stack.enter_context(RedisServer())
        client = stack.enter_context(redis.Redis.from_url(server.url))
        steps = stack.enter_context(steps_of_sqlite())
        costs: dict[str, tuple[Place, Callable[[], int]]] = {
            "bytes from Redis": (Place(server.url), lambda: client.info("stats")["total_net_output_bytes"]),
            "steps of SQLite": (trial.on_sqlite(), lambda: steps[0]),
        }
        for what, (place, cost) in costs.items():
            read = {}
            for length in lengths:
                await make(place, f"of {length}", length)
                before = cost()
                with trial.succeeds():
                    await make_context(place, f"of {length}")
                read[length] = cost() - before
            notes.append(f"{read[lengths[1]]:,} {what}, of {SHORT} events {read[SHORT]:,}")
            with judging():
                assert read[lengths[1]] <= 1.5 * read[SHORT], notes[-1]
    trial.outcome.note = "; ".join(notes)


async def make(place: Place, session_id: str, length: int) -> None:
    """A session of so many messages, each of 40 tokens."""
    async with place.store() as store:
        session = await Session.create(session_id=session_id, store=store)
        usage = TokenUsage(total_tokens=40, model="gpt-4o-mini", estimated_cost_usd=None)
        for start in range(0, length, 5_000):
            await store.append(
                session,
                [
                    SessionEvent(
                        message=f"{number} " + "word " * 38,
                        source=(EventSource.USER, EventSource.LLM)[number % 2],
                        token_usage=usage,
                    )
                    for number in range(start, min(length, start + 5_000))
                ],
            )


async def make_context(place: Place, session_id: str) -> None:
    """What the next call is sent, by a store that read nothing before."""
    async with place.store() as store:
        rows = await SessionManager(session_id, store=store).get_messages_for_llm(max_tokens=4_000)
    # A hundred messages fit. A window's start moves by 0.4 of the limit at a time (`STEP`), so that a context
    # has 60 to 100 messages. For each of the lengths here, it has 80.
    assert len(rows) == 80


@contextmanager
def steps_of_sqlite() -> Iterator[list[int]]:
    """How many steps SQLite's machine made, in all connections that are opened meanwhile; in tens."""
    steps, connect = [0], sqlite3.connect

    def counted() -> int:
        steps[0] += 1
        return 0

    def counting(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)
        connection.set_progress_handler(counted, 10)
        return connection

    with patch.object(sqlite3, "connect", counting):
        yield steps
