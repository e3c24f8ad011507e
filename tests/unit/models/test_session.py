"""Sessions as records: events, state, parents and children."""

from __future__ import annotations

import asyncio
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from events import event
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.exceptions import EventConflict, SessionAlreadyExists
from chuk_ai_session_manager.models import CallUsage, EventSource, EventType, Session, SessionRun, TokenUsage
from chuk_ai_session_manager.session_storage import ChukSessionsStore, get_backend


class TestSession:
    async def test_totals_follow_the_events(self) -> None:
        session = Session()
        await session.add_event(event(source=EventSource.USER, token_usage=TokenUsage(prompt_tokens=3)))
        await session.add_event(event(source=EventSource.LLM))
        await session.add_event(event(type=EventType.TOOL_CALL))
        assert (session.totals.user_messages, session.totals.ai_messages) == (1, 1)
        assert (session.totals.tool_calls, session.totals.events, session.total_tokens) == (1, 3, 3)

    async def test_totals_follow_what_applications_do_to_the_list(self) -> None:
        session = Session(events=[event(source=EventSource.USER) for _ in range(5)])
        assert session.totals.user_messages == 5
        session.events = session.events[:2]
        assert session.totals.user_messages == 2
        session.events.append(event(source=EventSource.USER))
        assert session.totals.user_messages == 3
        session.events = [event(source=EventSource.LLM) for _ in range(3)]
        assert (session.totals.user_messages, session.totals.ai_messages) == (0, 3)
        session.events = None  # type: ignore[assignment]
        assert session.totals.events == 0

    @given(
        st.lists(st.sampled_from(["user", "llm", "system", "tool", "call", "unpriced", "cut"]), max_size=40)
    )
    def test_totals_equal_a_new_count(self, steps: list[str]) -> None:
        session: Session[Any] = Session()
        for step in steps:
            match step:
                case "cut":
                    session.events = session.events[: len(session.events) // 2]
                case "tool":
                    session.events.append(event(type=EventType.TOOL_CALL))
                case "call" | "unpriced":
                    cost = 0.5 if step == "call" else None
                    usage = CallUsage(model="m", input_tokens=3, cost_usd=cost, estimated=step == "call")
                    session.record(event(source=EventSource.LLM, usage=usage))
                case source:
                    session.record(event(source=EventSource(source)))
            assert session.totals == Session(events=session.events).totals

    def test_totals_know_where_the_usage_is_from(self) -> None:
        reported = event(usage=CallUsage(model="m"))
        estimated = event(usage=CallUsage(model="m", estimated=True))
        assert Session().totals.usage_source == "none"
        assert Session(events=[reported]).totals.usage_source == "reported"
        assert Session(events=[estimated]).totals.usage_source == "estimated"
        assert Session(events=[reported, estimated]).totals.usage_source == "mixed"

    async def test_the_summary_is_live(self) -> None:
        session = Session()
        session.token_summary.total_tokens = 150
        session.token_summary.total_estimated_cost_usd = 0.5
        assert (session.total_tokens, session.total_cost) == (150, 0.5)

    def test_the_same_event_again_changes_nothing(self) -> None:
        session, one = Session(), event(token_usage=TokenUsage(prompt_tokens=3))
        assert session.record(one)
        assert not session.record(one)
        assert not session.record(one.model_copy(deep=True))
        assert (len(session.events), session.total_tokens) == (1, 3)
        with pytest.raises(EventConflict, match=one.id):
            session.record(event("other", id=one.id))

    def test_last_update_time(self) -> None:
        session = Session()
        assert session.last_update_time == session.metadata.created_at
        later = datetime.now(UTC) + timedelta(days=1)
        session.events += [event(timestamp=later), event(timestamp=later - timedelta(hours=1))]
        assert session.last_update_time == later

    async def test_active_run(self) -> None:
        first, second = SessionRun(), SessionRun()
        session = Session(runs=[first, second])
        assert session.active_run is None
        await first.mark_running()
        await second.mark_running()
        assert session.active_run is second

    async def test_usage_by_source_and_run(self) -> None:
        session = Session()
        usage = TokenUsage(prompt_tokens=2, model="gpt-4")
        await session.add_event(event(source=EventSource.USER, task_id="run-1", token_usage=usage))
        by_source = await session.get_token_usage_by_source()
        by_run = await session.get_token_usage_by_run()
        assert set(by_source) == {"user"}
        assert by_source["user"].total_tokens == 2
        assert set(by_run) == {"no_run", "run-1"}
        assert by_run["no_run"].total_tokens == 0
        assert by_run["run-1"].usage_by_model["gpt-4"].prompt_tokens == 2

    async def test_counting_messages(self) -> None:
        session = Session()
        assert await session.count_message_tokens("hello") >= 1
        assert await session.count_message_tokens({"content": "hello"}) == await session.count_message_tokens(
            "hello"
        )
        assert await session.count_message_tokens({"content": None}) == 0
        assert await session.count_message_tokens(12345) >= 1

    async def test_state(self) -> None:
        session = Session()
        await session.set_state("a", None)
        assert await session.has_state("a")
        assert await session.get_state("b", 5) == 5
        await session.remove_state("a")
        await session.remove_state("a")
        assert not await session.has_state("a")

    def test_json_round_trip(self) -> None:
        session = Session(
            events=[event({"tool": "x"}, token_usage=TokenUsage(prompt_tokens=1, model="gpt-4"))]
        )
        session.events[0].usage = CallUsage(model="gpt-4", cost_usd=None)
        again = Session.model_validate_json(session.model_dump_json())
        assert again == session

    async def test_copies_leave_the_store_behind(self) -> None:
        session = await Session.create()
        await session.add_event(event("a"))
        deep, pickled = session.model_copy(deep=True), pickle.loads(pickle.dumps(session))  # noqa: S301
        assert deep == pickled == session
        await deep.add_event(event("b"))
        assert (len(deep.events), deep.totals.events, len(session.events)) == (2, 2, 1)
        assert (deep.is_bound, pickled.is_bound) == (True, False)
        assert session != "something else"
        stored = await get_backend().get(session.id)
        assert stored is session


class TestFamily:
    async def test_create_enters_with_the_parent(self) -> None:
        parent = await Session.create(session_id="parent")
        child = await Session.create(parent_id="parent")
        assert parent.child_ids == [child.id]
        assert await child.ancestors() == [parent]
        await child.async_init()
        assert parent.child_ids == [child.id]

    async def test_an_unknown_parent_is_kept(self) -> None:
        orphan = await Session.create(parent_id="nowhere")
        assert orphan.parent_id == "nowhere"
        assert await orphan.ancestors() == []

    async def test_a_taken_id_is_no_way_to_lose_a_session(self) -> None:
        session = await Session.create(session_id="s")
        await session.add_event_and_save(event())
        with pytest.raises(SessionAlreadyExists, match="s"):
            await Session.create(session_id="s")
        stored = await get_backend().get("s")
        assert stored is not None
        assert len(stored.events) == 1

    async def test_descendants_go_deep_first_the_last_child_first(self) -> None:
        a = await Session.create(session_id="A")
        await Session.create(session_id="B", parent_id="A")
        await Session.create(session_id="C", parent_id="B")
        await Session.create(session_id="D", parent_id="A")
        assert [session.id for session in await a.descendants()] == ["D", "B", "C"]
        c = await get_backend().get("C")
        assert c is not None
        assert [session.id for session in await c.ancestors()] == ["B", "A"]

    async def test_cycles_end(self) -> None:
        a = await Session.create(session_id="A")
        b = await Session.create(session_id="B", parent_id="A")
        await b.add_child("A")
        a.parent_id = "B"
        assert [session.id for session in await a.ancestors()] == ["B"]
        assert [session.id for session in await a.descendants()] == ["B"]

    async def test_children_come_and_go(self) -> None:
        parent = await Session.create()
        await parent.add_child("x")
        await parent.add_child("x")
        assert parent.child_ids == ["x"]
        await parent.remove_child("x")
        await parent.remove_child("x")
        assert parent.child_ids == []

    async def test_a_session_made_by_hand_goes_to_the_default_store(self) -> None:
        session = Session()
        await ChukSessionsStore().save(session)
        await session.add_event_and_save(event())
        assert (await ChukSessionsStore().get(session.id)) is session
        assert len(session.events) == 1


async def test_parallel_appends_to_one_session_keep_all() -> None:
    session = await Session.create()
    await asyncio.gather(*(session.add_event_and_save(event(f"m{i}")) for i in range(50)))
    assert [one.message for one in session.events] == [f"m{i}" for i in range(50)]
