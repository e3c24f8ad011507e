"""Sums of money are exact in every store, however many amounts are added."""

from __future__ import annotations

from decimal import Decimal

import pytest
from places import Place, in_memory_too

from chuk_ai_session_manager.accounts.money import Usd, units_of
from chuk_ai_session_manager.models import CallUsage, EventSource, Session, SessionEvent, TokenUsage
from chuk_ai_session_manager.models.token_usage import TokenSummary
from chuk_ai_session_manager.stores.codec import encode_events
from chuk_ai_session_manager.stores.counting import counters_after, summary_in

# As floats, a thousand of each sum to something else than the decimal numbers do.
COSTS = ("0.1", "0.0000123", "0.0012345678", "3.3", "0.000000000001")


def answer(cost: str, model: str = "m") -> SessionEvent[str]:
    amount = float(cost)
    return SessionEvent(
        message="ok",
        source=EventSource.LLM,
        token_usage=TokenUsage(model=model, estimated_cost_usd=amount),
        usage=CallUsage(model=model, cost_usd=amount),
    )


@in_memory_too
async def test_what_is_appended_sums_exactly(place: Place) -> None:
    costs = [COSTS[at * 7 % len(COSTS)] for at in range(1_000)]
    expected = sum(map(Decimal, costs))
    async with place.store() as store, place.store() as other:
        await store.create(Session(id="s"))
        session = await store.get("s")
        assert session is not None
        for start in range(0, len(costs), 50):
            await store.append(session, [answer(cost) for cost in costs[start : start + 50]])
        again = await other.head("s")
        assert again is not None
        for one in (session, again):
            assert Decimal(repr(one.total_cost)) == expected
            assert (
                Usd(one.token_summary.usage_by_model["m"].estimated_cost_usd or 0).units == expected * 10**12
            )


def test_a_million_calls() -> None:
    [call] = encode_events([answer("0.1001")])
    counters: dict[str, float] = {"m:usages": 1_000_000, "m:priced": 1_000_000}
    for name in ("m:cost_usd", "m:cost_rest"):  # as stores add them
        more, amount = call.counters[name], 0.0
        for _ in range(1_000_000):
            amount += more
        counters[name] = amount
    assert abs(counters["m:cost_usd"] - 100_100) > 1e-7  # as floats drift
    assert float(summary_in(counters).total_estimated_cost_usd) == 100_100
    total = Usd()
    for _ in range(1_000_000):
        total += 0.1
    assert total.units == 100_000 * 10**12


def test_a_sum_that_an_older_release_added_to_counts_as_it_is() -> None:
    [call] = encode_events([answer("0.1234567")])
    of_old = {name: value for name, value in call.counters.items() if name != "m:cost_rest"}
    counters = counters_after(call.counters, [call])
    for name, value in of_old.items():
        counters[name] = max(counters[name], value) if name == "newest" else counters[name] + value
    assert summary_in(counters).total_estimated_cost_usd == pytest.approx(3 * 0.1234567, abs=1e-9)
    assert summary_in(of_old).total_estimated_cost_usd == pytest.approx(0.1234567, abs=1e-12)


def test_what_is_taken_out_again_leaves_nothing() -> None:
    summary, usage = TokenSummary(), TokenUsage(model="m", estimated_cost_usd=0.1)
    for _ in range(10):
        summary.add(usage)
    for _ in range(10):
        summary.subtract(usage)
    assert summary.total_estimated_cost_usd == 0


@pytest.mark.parametrize("amount", ["0.1", "123456.789012", "4000.000001", "-0.3", "1e-12"])
def test_units(amount: str) -> None:
    assert units_of(float(amount)) == Decimal(amount) * 10**12
