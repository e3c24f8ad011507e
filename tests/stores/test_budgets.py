"""Budgets of users: over all their sessions, in all processes, at most one call over."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import FORKED, Place, everywhere, in_memory_too, run_work

from chuk_ai_session_manager import Budget, SessionManager, TokenLimitExceeded, usage_report
from chuk_ai_session_manager.conversation import budgets
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import EventStore, MemoryStore

COST = 0.01
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "cost": COST}


def manager(store: EventStore, budget: Budget | None, **options: Any) -> SessionManager:
    return SessionManager(store=store, user_id="ann", budget=budget, **options)


async def talk(sm: SessionManager, most: int = 1_000, usage: dict[str, Any] = USAGE) -> int:
    """Ask until the budget stands in the way; how often that went well."""
    for done in range(most):
        try:
            await sm.user_says("Well?")
        except TokenLimitExceeded:
            return done
        await asyncio.sleep(0)  # the model answers
        await sm.ai_responds("Well.", model="m", usage=usage)
    return most


async def spent_in(store: EventStore) -> float:
    return sum(float(row.cost_usd) for row in await usage_report(store, ("user",), user_id="ann"))


async def write(place: Place, writers: int, usd: float) -> int:
    async with place.store() as store:
        return sum(await asyncio.gather(*(talk(manager(store, Budget(usd))) for _ in range(writers))))


@everywhere
def test_twenty_writers_in_three_processes(place: Place) -> None:
    usd = 0.6
    with ProcessPoolExecutor(3, FORKED) as pool:
        parts = [partial(write, place, writers, usd) for writers in (7, 7, 6)]
        answers = sum(pool.map(run_work, parts))

    async def spent() -> float:
        async with place.store() as store:
            return await spent_in(store)

    total = run_work(spent)
    assert total == pytest.approx(answers * COST)
    assert usd - 1e-9 <= total <= usd + COST + 1e-9


async def test_twenty_tasks_in_memory() -> None:
    store = MemoryStore()
    await asyncio.gather(*(talk(manager(store, Budget(0.3, per="day"))) for _ in range(20)))
    assert 0.3 <= await spent_in(store) <= 0.3 + COST


@in_memory_too
async def test_over_all_sessions_of_a_user_and_of_nobody_else(place: Place) -> None:
    async with place.store() as store:
        before = manager(store, None)  # before there was a budget
        await before.user_says("hello")
        await before.ai_responds("ok", model="m", usage=USAGE | {"cost": 0.5})
        budget = Budget(0.75, per="month")
        first, second = manager(store, budget), manager(store, budget)
        await first.user_says("hello")
        await first.ai_responds("ok", model="m", usage=USAGE | {"cost": 0.5})
        with pytest.raises(TokenLimitExceeded, match=r"1\.000000 USD spent of 0\.75 USD a month") as refused:
            await second.user_says("one more?")
        assert (refused.value.limit, refused.value.actual) == (0.75, 1.0)
        bob = SessionManager(store=store, user_id="bob", budget=budget)
        await bob.user_says("hello")
        again = SessionManager(first.session_id, store=store, user_id="ann", budget=Budget(2.0, per="month"))
        await again.user_says("with more of it")


async def test_a_new_day_is_a_new_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    sm = manager(store, Budget(0.005, per="day"))
    assert await talk(sm) == 1
    tomorrow = datetime(2999, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(budgets, "utc_now", lambda: tomorrow)
    await sm.user_says("Good morning!")


async def test_an_answer_is_recorded_and_counted_whatever_it_costs() -> None:
    store = MemoryStore()
    sm = manager(store, Budget(1))
    await sm.user_says("hello")
    await sm.ai_responds("dear", model="m", usage=USAGE | {"cost": 5})
    await sm.ai_responds("and another", model="m", usage=USAGE)
    assert (await sm.get_stats())["estimated_cost"] == pytest.approx(5.01)
    with pytest.raises(TokenLimitExceeded) as refused:
        await sm.user_says("more?")
    assert refused.value.actual == pytest.approx(5.01)


async def test_a_question_without_an_answer_does_not_stand_in_its_manager_s_way() -> None:
    sm = manager(MemoryStore(), Budget(1))
    for _ in range(3):
        await sm.user_says("hello?")


async def test_a_call_under_way_stands_in_the_way_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "_WAITING", 0.1)
    store = MemoryStore()
    budget = Budget(1)
    first, second = manager(store, budget), manager(store, budget)
    await first.user_says("How much will this cost?")
    with pytest.raises(TokenLimitExceeded, match="running calls"):
        await second.user_says("And this?")
    await first.ai_responds("Little.", model="m", usage=USAGE)
    await first.user_says("Again?")
    await second.user_says("And this?")  # by now it is known what a call costs


async def test_a_correction_counts() -> None:
    store = MemoryStore()
    sm = manager(store, Budget(1))
    await sm.user_says("hello")
    await sm.ai_responds("ok", model="m", usage=USAGE | {"cost": 2})
    called = (await sm.get_conversation(with_ids=True))[-1]["event_id"]
    await sm.correct_usage(called, USAGE | {"cost": 0.5})
    await sm.user_says("Some is left.")


async def test_summaries_count() -> None:
    def summary(_: Any) -> dict[str, Any]:
        return {"text": "So far.", "model": "m", "usage": USAGE | {"cost": 2}}

    store = MemoryStore()
    sm = manager(store, Budget(1), infinite_context=True, max_turns_per_segment=2, summary_callback=summary)
    for text in ("one", "two", "three"):
        await sm.user_says(text)
    await sm.wait_for_summaries()
    with pytest.raises(TokenLimitExceeded):
        await sm.user_says("four")


async def test_a_budget_of_nothing() -> None:
    with pytest.raises(TokenLimitExceeded):
        await manager(MemoryStore(), Budget(0)).user_says("hello")


async def test_a_store_that_keeps_no_accounts() -> None:
    class Small:
        def __init__(self) -> None:
            self.sessions: dict[str, Any] = {}

        async def get(self, session_id: str) -> Any:
            return self.sessions.get(session_id)

        async def save(self, session: Any) -> None:
            self.sessions[session.id] = session

    with pytest.raises(InvalidInput, match="keep a budget"):
        await SessionManager(store=Small(), user_id="ann", budget=Budget(1)).user_says("hello")


def test_budgets_that_cannot_be_right() -> None:
    with pytest.raises(InvalidInput):
        Budget(-1)
    with pytest.raises(InvalidInput, match="per must be"):
        Budget(1, per="week")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="user_id"):
        SessionManager(budget=Budget(1))
    assert replace(Budget(1), usd=2) == Budget(2)


@given(costs=st.lists(st.integers(0, 100), max_size=30), writers=st.integers(1, 5), data=st.data())
def test_the_rules_cross_the_budget_by_one_call_at_most(
    costs: list[int], writers: int, data: st.DataObject
) -> None:
    """Any order of questions and answers, whose calls cost no more than the dearest one before."""
    limit, now = 500, 0.0
    account = budgets.begun(None, "total", 0)
    account["most"] = 100
    under_way: dict[str, int] = {}
    for number, cost in enumerate(costs):
        writer = f"w{data.draw(st.integers(0, writers - 1))}"
        if writer in under_way:
            done = budgets.charged(account, writer, under_way.pop(writer), f"call {number}")
            assert done is not None
            assert budgets.charged(done, writer, 1, f"call {number}") is None  # sent again
            account = done
            continue
        held = budgets.set_aside_by_others(account, writer, now)
        if account["spent"] < limit and (not held or account["spent"] + held < limit):
            account = budgets.admitted(account, writer, 0, limit, now)
            under_way[writer] = cost
    assert account["spent"] + sum(under_way.values()) < limit + 100
