"""What calls were billed, over all sessions of a store; and bills that were put right afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager, track_client, usage_report
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.models import CallUsage, EventSource, EventType, Session, SessionEvent
from chuk_ai_session_manager.stores import EventStore, MemoryStore

DAY = datetime(2026, 11, 1, 12, tzinfo=UTC)


def answer(cost: float | None, when: datetime = DAY, **usage: Any) -> SessionEvent[str]:
    bill = CallUsage(**{"model": "m", "provider": "p", "input_tokens": 10, "output_tokens": 1} | usage)
    return SessionEvent(
        message="ok",
        source=EventSource.LLM,
        timestamp=when,
        usage=bill.model_copy(update={"cost_usd": cost}),
    )


async def session_of(store: EventStore, user: str, *events: SessionEvent[str]) -> None:
    session: Session[Any] = Session()
    session.metadata.properties["user_id"] = user
    await store.create(session)
    if events:
        await store.append(session, events)


@in_memory_too
async def test_by_user_and_day(place: Place) -> None:
    async with place.store() as store:
        await session_of(store, "ann", answer(0.1), answer(0.2), answer(0.4, DAY + timedelta(days=1)))
        await session_of(store, "ann", answer(0.3, cache_read_tokens=4, details={"web_searches": 2}))
        await session_of(store, "bob", answer(None, estimated=True), answer(1.0))
        await session_of(store, "cal")
        rows = await usage_report(store, ("user", "day"))
        assert [(row.key["user"], row.key["day"], row.calls, float(row.cost_usd)) for row in rows] == [
            ("ann", "2026-11-01", 3, 0.6),
            ("ann", "2026-11-02", 1, 0.4),
            ("bob", "2026-11-01", 2, 1.0),
        ]
        assert (rows[0].cache_read_tokens, rows[0].details) == (4, {"web_searches": 2})
        assert (rows[2].unpriced_calls, rows[2].estimated_calls) == (1, 1)
        until = DAY + timedelta(hours=1)
        [of_bob] = await usage_report(store, ("user",), since=DAY, until=until, user_id="bob")
        assert of_bob.calls == 2
        [late] = await usage_report(store, "model", since=DAY + timedelta(hours=1))
        assert late.cost_usd == pytest.approx(0.4)


async def test_calls_of_a_provider_s_own_count_for_their_model() -> None:
    advisor = CallUsage(model="advisor", provider="p", input_tokens=4, cost_usd=0.5)
    store = MemoryStore()
    await session_of(store, "ann", answer(0.75, iterations=[advisor]))
    rows = await usage_report(store, ("model",))
    assert [(row.key["model"], row.calls, row.input_tokens, float(row.cost_usd)) for row in rows] == [
        ("advisor", 0, 4, 0.5),
        ("m", 1, 6, 0.25),
    ]
    [alone] = await usage_report(store, ("user",))
    assert (alone.calls, alone.input_tokens, float(alone.cost_usd)) == (1, 10, 0.75)


async def test_a_session_that_is_written_to_meanwhile_counts_once() -> None:
    store = MemoryStore()
    for _ in range(1_200):
        await session_of(store, "ann", answer(0.001))
    oldest = (await store.list_sessions())[-1]

    class Busy(MemoryStore):
        async def list_sessions(self, *args: Any, **options: Any) -> Any:
            page = await store.list_sessions(*args, **options)
            session = await store.get(oldest)  # goes to the front of the list
            assert session is not None
            await store.append(session, [SessionEvent(message="meanwhile")])
            return page

        async def head(self, session_id: str) -> Any:
            return await store.head(session_id)

        async def newest_events(self, session: Any, **options: Any) -> Any:
            return await store.newest_events(session, **options)

    progress: list[int] = []
    [row] = await usage_report(Busy(), ("user",), on_progress=progress.append)
    assert (row.calls, progress[-1]) == (1_200, 1_200)
    assert float(row.cost_usd) == 1.2


async def test_what_usage_cannot_be_grouped_by() -> None:
    with pytest.raises(InvalidInput, match="grouped by 'colour'"):
        await usage_report(MemoryStore(), ("colour",))


class TestCorrections:
    @in_memory_too
    async def test_totals_and_reports_follow(self, place: Place) -> None:
        async with place.store() as store, place.store() as elsewhere:
            sm = SessionManager(store=store, user_id="ann")
            await sm.user_says("hello")
            session_id = await sm.ai_responds("estimated", model="gpt-4o", provider="openai")
            session = await store.get(session_id)
            assert session is not None
            called = session.events[-1]
            assert called.usage is not None
            await sm.correct_usage(called.id, {"prompt_tokens": 100_000, "completion_tokens": 1_000})
            late = {"prompt_tokens": 100_000, "completion_tokens": 2_000}
            other = SessionManager(session_id, store=elsewhere)
            await other.correct_usage(called.id, late)  # the newest one holds
            expected = 100_000 * 2.5e-6 + 2_000 * 10e-6
            for manager in (sm, other):
                stats = await manager.get_stats()
                assert stats["estimated_cost"] == pytest.approx(expected)
                assert (stats["llm_calls"], stats["usage_source"]) == (1, "reported")
                assert (stats["input_tokens"], stats["output_tokens"]) == (100_000, 2_000)
                assert stats["total_messages"] == 2
            [row] = await usage_report(elsewhere, ("user", "model"))
            assert (row.calls, row.estimated_calls, row.input_tokens) == (1, 0, 100_000)
            assert row.cost_usd == pytest.approx(expected)
            again = await elsewhere.get(session_id)
            assert again is not None
            assert again.events[1].usage == called.usage  # what was recorded stays
            messages = await other.get_messages_for_llm(include_tools=True)
            assert [each["role"] for each in messages] == ["user", "assistant"]

    async def test_a_call_of_a_closed_segment(self) -> None:
        sm = SessionManager(store=MemoryStore(), infinite_context=True, max_turns_per_segment=2)
        await sm.user_says("one")
        usage = {"prompt_tokens": 10, "completion_tokens": 1, "cost": 0.5}
        await sm.ai_responds("first", model="m", usage=usage)
        first = (await sm.get_conversation(with_ids=True))[-1]["event_id"]
        await sm.user_says("two")
        await sm.correct_usage(first, usage | {"cost": 0.25})
        assert (await sm.get_stats())["estimated_cost"] == pytest.approx(0.25)

    async def test_a_call_without_a_price_gets_one(self) -> None:
        sm = SessionManager(store=MemoryStore())
        await sm.user_says("hello")
        usage = {"prompt_tokens": 10, "completion_tokens": 1}
        await sm.ai_responds("ok", model="nobody-knows-it", usage=usage)
        called = (await sm.get_conversation(with_ids=True))[-1]["event_id"]
        assert (await sm.get_stats())["unpriced_calls"] == 1
        await sm.correct_usage(called, usage | {"cost": 0.125})
        stats = await sm.get_stats()
        assert (stats["unpriced_calls"], stats["estimated_cost"]) == (0, 0.125)

    async def test_what_is_no_call_cannot_be_corrected(self) -> None:
        sm = SessionManager(store=MemoryStore())
        await sm.user_says("hello")
        question = (await sm.get_conversation(with_ids=True))[-1]["event_id"]
        for event_id in (question, "no such event"):
            with pytest.raises(InvalidInput, match="no model call"):
                await sm.correct_usage(event_id, {"prompt_tokens": 1})
        with pytest.raises(InvalidInput, match="read usage"):
            await sm.correct_usage(question, {})

    def test_an_event_of_an_application_s_own_is_no_correction(self) -> None:
        session: Session[Any] = Session()
        session.events.append(
            SessionEvent(message={"usage_correction": {"event_id": "e"}}, type=EventType.REFERENCE)
        )
        assert session.totals.llm_calls == 0


class TestEstimates:
    """A call whose provider reports nothing is billed for what would really be sent."""

    async def test_tool_definitions_of_a_tracked_request_are_sent_too(self) -> None:
        class Completions:
            async def create(self, **_: Any) -> dict[str, Any]:
                message = {"role": "assistant", "content": "ok"}
                return {"object": "chat.completion", "model": "gpt-4o", "choices": [{"message": message}]}

        class Chat:
            completions = Completions()

        class Client:
            chat = Chat()

            async def __aenter__(self) -> Client:
                return self

        sent = []
        for tools in (None, [{"type": "function", "function": {"name": f"tool_{at}"}} for at in range(50)]):
            sm = SessionManager(store=MemoryStore())
            request = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "tools": tools}
            await track_client(Client(), sm).chat.completions.create(**request)
            stats = await sm.get_stats()
            assert stats["usage_source"] == "estimated"
            sent.append(stats["input_tokens"])
        assert sent[1] > sent[0] + 50 * 5

    async def test_what_goes_around_each_message_is_sent_too(self) -> None:
        sm = SessionManager(store=MemoryStore())
        rows = [{"role": role, "content": "hi"} for role in ("user", "assistant")] * 10
        await sm.add_messages(rows, model="gpt-4o")
        session = await sm._conversation.current()
        bills = [event.usage for event in session[1].events if event.usage]
        longer = [later.input_tokens - bill.input_tokens for bill, later in pairwise(bills)]
        content = session[1].total_tokens // 20
        assert set(longer) == {2 * (content + 3)}
