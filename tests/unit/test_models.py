from __future__ import annotations

import asyncio
import inspect
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.accounts import tokens
from chuk_ai_session_manager.exceptions import (
    EventConflict,
    InvalidSessionOperation,
    SessionAlreadyExists,
    SessionManagerError,
)
from chuk_ai_session_manager.models import (
    CallUsage,
    EventSource,
    EventType,
    RunStatus,
    Session,
    SessionEvent,
    SessionMetadata,
    SessionRun,
    TokenSummary,
    TokenUsage,
    token_usage,
)
from chuk_ai_session_manager.models.record import new_id
from chuk_ai_session_manager.session_storage import ChukSessionsStore, get_backend

PARAGRAPH = (
    "The history of computing is longer than that of the computer: for centuries people wrote down "
    "tables, built clocks that showed the heavens, and argued about what could be worked out by rule. "
    "When machines came at last that could follow any rule, most of the questions had been asked already, "
    "and some of them had been shown to have no answer."
)


def event(message: Any = "hi", **fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=message, **fields)


class TestEnums:
    @pytest.mark.parametrize(
        ("member", "text"),
        [(EventSource.USER, "user"), (EventType.TOOL_CALL, "tool_call"), (RunStatus.CANCELLED, "cancelled")],
    )
    def test_they_equal_their_strings(self, member: str, text: str) -> None:
        assert member == text

    def test_their_str_names_the_member(self) -> None:
        assert str(EventSource.USER) == "EventSource.USER"


def test_ids_are_random_uuids() -> None:
    ids = [UUID(SessionEvent(message="hi").id) for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {(each.version, each.variant) for each in ids} == {(4, RFC_4122)}
    made = new_id()
    assert str(UUID(made)) == made
    assert len({str(each)[19] for each in ids}) == 4


class TestTokenUsage:
    def test_total_and_cost_are_made(self) -> None:
        usage = TokenUsage(prompt_tokens=1000, completion_tokens=500, model="gpt-4")
        assert usage.total_tokens == 1500
        assert usage.estimated_cost_usd == pytest.approx(0.03 + 0.03)

    def test_what_is_given_is_kept(self) -> None:
        usage = TokenUsage(prompt_tokens=1, total_tokens=7, model="gpt-4", estimated_cost_usd=5.0)
        assert (usage.total_tokens, usage.estimated_cost_usd) == (7, 5.0)

    def test_without_a_model_there_is_no_cost(self) -> None:
        assert TokenUsage(prompt_tokens=10).estimated_cost_usd is None

    async def test_unknown_models_cost_nothing_but_format_as_numbers(self) -> None:
        usage = TokenUsage(prompt_tokens=10, model="my-local-model")
        assert usage.estimated_cost_usd == 0.0
        assert await usage.calculate_cost() == 0.0

    async def test_dearer_models_cost_more(self) -> None:
        costs = [
            await TokenUsage(prompt_tokens=1000, completion_tokens=1000, model=model).calculate_cost()
            for model in ("gpt-4o-mini", "gpt-3.5-turbo", "gpt-4o", "gpt-4")
        ]
        assert costs == sorted(costs)
        assert costs[0] > 0

    def test_a_cost_stored_as_none_is_read_as_none(self) -> None:
        stored = TokenUsage(prompt_tokens=10, model="gpt-4", estimated_cost_usd=None).model_dump_json()
        assert TokenUsage.model_validate_json(stored).estimated_cost_usd is None

    async def test_update_adds(self) -> None:
        usage = TokenUsage(prompt_tokens=1000, model="gpt-4")
        await usage.update(prompt_tokens=1000, completion_tokens=1000)
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (2000, 1000, 3000)
        assert usage.estimated_cost_usd == pytest.approx(0.12)

    async def test_negative_counts_are_refused(self) -> None:
        with pytest.raises(InvalidSessionOperation, match="below 0"):
            TokenUsage(prompt_tokens=-1)
        usage = TokenUsage(prompt_tokens=1)
        with pytest.raises(SessionManagerError, match="below 0"):
            await usage.update(completion_tokens=-1)
        assert usage.total_tokens == 1

    def test_sums(self) -> None:
        total = TokenUsage(prompt_tokens=1, model="gpt-4") + TokenUsage(completion_tokens=2, model="gpt-4o")
        assert (total.prompt_tokens, total.completion_tokens, total.total_tokens) == (1, 2, 3)
        assert total.model == "gpt-4"
        assert (TokenUsage(prompt_tokens=1) + TokenUsage(prompt_tokens=1, model="gpt-4o")).model == "gpt-4o"

    async def test_counting(self) -> None:
        assert await TokenUsage.count_tokens(None) == 0
        assert await TokenUsage.count_tokens("") == 0
        assert await TokenUsage.count_tokens("a") >= 1
        assert await TokenUsage.count_tokens({"a": 1}) >= 1
        assert await TokenUsage.count_tokens(0) == 1
        greeting = await TokenUsage.count_tokens("Hello") + await TokenUsage.count_tokens("Hi there!")
        assert 2 <= greeting <= 9
        assert 60 <= await TokenUsage.count_tokens(PARAGRAPH, "gpt-4") <= 99

    async def test_without_tiktoken_the_estimator_counts_and_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(token_usage, "TIKTOKEN_AVAILABLE", False)
        usage = await TokenUsage.from_text(PARAGRAPH, "Hi", "gpt-4")
        assert usage.estimated
        assert usage.prompt_tokens == tokens.estimate_tokens(PARAGRAPH)
        long_text = PARAGRAPH * 1000
        assert await TokenUsage.count_tokens(long_text) == tokens.estimate_tokens(long_text)

    @pytest.mark.usefixtures("exact_counting")
    async def test_with_tiktoken_the_count_is_exact(self) -> None:
        usage = await TokenUsage.from_text("hello world", model="gpt-4")
        assert (usage.prompt_tokens, usage.estimated) == (2, False)
        assert (await TokenUsage.from_text("hello", model="claude-3-opus")).estimated


class TestTokenSummary:
    async def test_sums_by_model(self) -> None:
        summary = TokenSummary()
        await summary.add_usage(TokenUsage(prompt_tokens=1000, model="gpt-4"))
        await summary.add_usage(TokenUsage(completion_tokens=1000, model="gpt-4"))
        await summary.add_usage(TokenUsage(prompt_tokens=5))
        assert (summary.total_prompt_tokens, summary.total_completion_tokens) == (1005, 1000)
        assert summary.total_tokens == 2005
        assert set(summary.usage_by_model) == {"gpt-4"}
        assert summary.usage_by_model["gpt-4"].total_tokens == 2000
        assert summary.total_estimated_cost_usd == pytest.approx(0.09)

    async def test_it_keeps_no_hold_of_what_was_added(self) -> None:
        summary, usage = TokenSummary(), TokenUsage(prompt_tokens=1, model="m")
        await summary.add_usage(usage)
        await summary.add_usage(usage)
        assert usage.prompt_tokens == 1

    def test_subtracting_undoes_adding(self) -> None:
        summary = TokenSummary()
        summary.add(TokenUsage(prompt_tokens=3, model="gpt-4"))
        before = summary.model_copy(deep=True)
        usage = TokenUsage(prompt_tokens=1000, completion_tokens=7, model="gpt-4")
        summary.add(usage)
        summary.subtract(usage)
        assert summary.total_tokens == before.total_tokens
        assert summary.total_estimated_cost_usd == pytest.approx(before.total_estimated_cost_usd)


class TestSessionMetadata:
    async def test_properties(self) -> None:
        given_properties = {"a": 1}
        metadata = await SessionMetadata.create(given_properties)
        before = metadata.updated_at
        await metadata.set_property("b", 2)
        assert await metadata.get_property("b") == 2
        assert await metadata.get_property("c") is None
        assert metadata.updated_at >= before
        assert given_properties == {"a": 1}
        assert metadata.created_at.tzinfo is not None

    def test_unknown_fields_are_ignored(self) -> None:
        assert SessionMetadata.model_validate({"title": "x"}).properties == {}


class TestSessionEvent:
    def test_defaults(self) -> None:
        plain = event()
        assert (plain.source, plain.type) == (EventSource.SYSTEM, EventType.MESSAGE)
        assert len(plain.id) == 36
        assert plain.timestamp.tzinfo is not None

    async def test_create_with_tokens(self) -> None:
        made = await SessionEvent.create_with_tokens(
            message="q", prompt="hello there", completion="hi", model="gpt-4", task_id="t1"
        )
        assert made.token_usage is not None
        assert made.token_usage.prompt_tokens >= 1
        assert made.token_usage.completion_tokens >= 1
        assert made.is_part_of_task("t1")

    async def test_token_usage_is_replaced(self) -> None:
        made = event()
        await made.update_token_usage(prompt_tokens=5, completion_tokens=6, model="gpt-4")
        await made.update_token_usage(prompt_tokens=1, model="gpt-4")
        assert made.token_usage is not None
        assert made.token_usage.total_tokens == 1
        await made.update_token_usage(prompt="some text", prompt_tokens=99)
        assert made.token_usage.total_tokens != 99
        with pytest.raises(SessionManagerError):
            await made.update_token_usage(prompt_tokens=-1)

    async def test_metadata_verbs(self) -> None:
        made = event()
        await made.set_metadata("a", 1)
        await made.update_metadata("b", None)
        await made.merge_metadata({"c": 3})
        assert await made.get_metadata("a") == 1
        assert await made.get_metadata("x", "default") == "default"
        assert await made.has_metadata("b")
        await made.remove_metadata("a")
        await made.remove_metadata("never there")
        assert made.metadata == {"b": None, "c": 3}
        await made.clear_metadata()
        assert made.metadata == {}

    async def test_to_dict(self) -> None:
        bare = await event(source=EventSource.USER).to_dict()
        assert set(bare) == {"id", "message", "timestamp", "source", "type", "metadata"}
        assert (bare["source"], bare["type"]) == ("user", "message")
        full = await event(
            parent_event_id="p", task_id="t", token_usage=TokenUsage(prompt_tokens=1, model="gpt-4")
        ).to_dict()
        assert full["parent_event_id"] == "p"
        assert set(full["token_usage"]) == {
            "prompt_tokens",
            "completion_tokens",
            "total_tokens",
            "model",
            "estimated_cost_usd",
        }

    async def test_calculate_tokens(self) -> None:
        assert await event(token_usage=TokenUsage(prompt_tokens=42)).calculate_tokens() == 42
        assert await event("hello world").calculate_tokens() >= 1

    def test_parents_and_tasks(self) -> None:
        made = event(parent_event_id="p")
        assert made.is_child_of("p")
        assert not made.is_child_of("q")
        assert not made.is_part_of_task("t")

    def test_its_repr_says_nothing_of_what_was_said(self) -> None:
        made = event("my password is hunter2", metadata={"k": "hunter2"})
        session = Session(events=[made], state={"k": "hunter2"})
        session.metadata.properties["system_prompt"] = "hunter2"
        assert "hunter2" not in repr(made) + str(made) + repr(session) + str(session) + repr(session.metadata)


class TestSessionRun:
    async def test_a_life(self) -> None:
        run = await SessionRun.create({"a": 1})
        assert run.status is RunStatus.PENDING
        assert await run.get_duration() is None
        await run.mark_running()
        await run.mark_completed()
        assert (await run.get_duration() or 0) >= 0
        plain = await run.to_dict()
        assert plain["status"] == "completed"
        assert set(plain) == {"id", "status", "started_at", "metadata", "tool_calls", "ended_at", "duration"}

    @pytest.mark.parametrize(
        ("ending", "status", "key"),
        [("mark_failed", "failed", "failure_reason"), ("mark_cancelled", "cancelled", "cancel_reason")],
    )
    async def test_bad_ends_have_reasons(self, ending: str, status: str, key: str) -> None:
        run = SessionRun()
        await getattr(run, ending)("because")
        assert (run.status, run.metadata[key]) == (status, "because")
        silent = SessionRun()
        await getattr(silent, ending)()
        assert key not in silent.metadata

    async def test_metadata_and_tool_calls(self) -> None:
        run, call = SessionRun(), event(type=EventType.TOOL_CALL)
        await run.set_metadata("a", None)
        assert await run.has_metadata("a")
        assert await run.get_metadata("b", 2) == 2
        await run.remove_metadata("a")
        assert not await run.has_metadata("a")
        await run.add_tool_call(call.id)
        await run.add_tool_call(call.id)
        assert run.tool_calls == [call.id]
        assert await run.get_tool_calls(Session(events=[event(), call])) == [call]
        assert set(await run.to_dict()) == {"id", "status", "started_at", "metadata", "tool_calls"}


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
    def test_totals_are_those_of_counting_anew(self, steps: list[str]) -> None:
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


def test_what_was_async_still_is() -> None:
    for owner, names in {
        TokenUsage: ("update", "calculate_cost", "from_text", "count_tokens"),
        SessionEvent: (
            "create_with_tokens",
            "update_token_usage",
            "set_metadata",
            "to_dict",
            "calculate_tokens",
        ),
        Session: (
            "create",
            "add_event",
            "add_event_and_save",
            "add_child",
            "ancestors",
            "descendants",
            "get_state",
        ),
    }.items():
        assert all(inspect.iscoroutinefunction(getattr(owner, name)) for name in names)


async def test_parallel_appends_to_one_session_keep_all() -> None:
    session = await Session.create()
    await asyncio.gather(*(session.add_event_and_save(event(f"m{i}")) for i in range(50)))
    assert [one.message for one in session.events] == [f"m{i}" for i in range(50)]
