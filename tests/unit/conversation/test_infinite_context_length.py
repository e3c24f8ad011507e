"""Infinite context: a conversation of a thousand segments costs no more than one of two."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import pytest
from places import Place, on_each
from segments import manager
from told_apart import apart

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, TokenUsage
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores import MemoryStore

# -- the cost of going on for ever ----------------------------------------------------------------


class CountingStore(MemoryStore):
    """Counts what is asked of it; a read counts as the events that it hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def get(self, session_id: str) -> Session[Any] | None:
        found = await super().get(session_id)
        self.asked += 1 + (len(found.events) if found else 0)
        return found

    async def head(self, session_id: str) -> Session[Any] | None:
        self.asked += 1
        return await super().get(session_id)

    async def latest(self, session: Session[Any], *, with_events: bool = True) -> Session[Any] | None:
        return await (self.get if with_events else self.head)(session.id)

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        self.asked += 1
        return await super().append(session, events, only_if_current=only_if_current)


@pytest.mark.parametrize("limits", [{}, {"token_limit": 10**9, "cost_limit": 10**9}])
async def test_the_thousandth_segment_asks_no_more_of_the_store_than_the_second(
    limits: dict[str, Any],
) -> None:
    store = CountingStore()
    options: dict[str, Any] = {"store": store, "infinite_context": True, "max_turns_per_segment": 2, **limits}

    async def asked_by_one_exchange(session_id: str) -> int:
        before = store.asked
        sm = SessionManager(session_id, **options)
        await sm.user_says("What is next?")
        await sm.ai_responds("Another one.", model="gpt-4o")
        await sm.get_messages_for_llm()
        assert sm.session_id != session_id
        return store.asked - before

    session_id, costs = "root", []
    await SessionManager(session_id, **options).add_messages([{"role": "user", "content": "a"}] * 2)
    for _ in range(1_000):
        costs.append(await asked_by_one_exchange(session_id))
        session_id = next_segment_id(session_id)
    assert len(set(costs[1:])) == 1
    assert len(await store.segment_ids("root")) == 1_001


async def test_a_run_without_questions_or_known_calls_costs_no_more_either() -> None:
    store = CountingStore()
    sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2)
    await sm.user_says("Do it all.")
    costs = []
    for number in range(60):
        before = store.asked
        await sm.ai_responds(f"step {number}", model="gpt-4o")
        await sm.add_messages([{"role": "tool", "tool_call_id": "unknown", "content": "done"}])
        rows = apart(await SessionManager("root", store=store).get_messages_for_llm())
        assert {"role": "user", "content": "Do it all."} in rows
        costs.append(store.asked - before)
    assert max(costs[40:]) <= max(costs[8:20])


@on_each
async def test_a_process_holds_the_live_segment_and_not_the_conversation(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager(store=store, infinite_context=True, max_turns_per_segment=10)
        for number in range(300):
            await sm.user_says(f"What about {number}?")
            await sm.ai_responds("Well.", model="gpt-4o")
            await sm.get_messages_for_llm()
        gc.collect()
        held = [
            one for one in gc.get_objects() if isinstance(one, Session) and one.mark_of(store) is not None
        ]
        assert 1 <= len(held) <= 3
        assert sum(len(session.events) for session in held) <= 30


# -- what is told to the model --------------------------------------------------------------------


async def test_a_thousand_segments_have_the_context_of_a_few() -> None:
    sm = manager(store=MemoryStore(), summary_max_tokens=200)
    await sm.user_says("My name is Ada Lovelace and my customer number is 4711.")
    for number in range(1_000):
        await sm.user_says(f"Could you tell me more about topic {number}, please?")
        await sm.ai_responds(f"We decided on plan {number}.")
    rows = apart(await sm.get_messages_for_llm())
    assert await TokenUsage.count_tokens(rows[0]["content"], "gpt-4o-mini") <= 210
    assert "other topics" in rows[0]["content"]
    assert [row["content"] for row in rows[1:]] == [
        "Could you tell me more about topic 999, please?",
        "We decided on plan 999.",
    ]
