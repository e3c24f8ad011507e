"""Tests of the records: ids, token usages and their sums, metadata, events, runs."""

from __future__ import annotations

import inspect
import pickle
import sys
from typing import Any
from uuid import RFC_4122, UUID

import pytest
from events import event

from chuk_ai_session_manager.accounts import tokens
from chuk_ai_session_manager.exceptions import InvalidInput, InvalidSessionOperation, SessionManagerError
from chuk_ai_session_manager.exceptions.validation import MAX_LENGTH
from chuk_ai_session_manager.models import (
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
from chuk_ai_session_manager.models.session_event import check_event_length, new_event

PARAGRAPH = (
    "The history of computing is longer than that of the computer: for centuries people wrote down "
    "tables, built clocks that showed the heavens, and argued about what could be worked out by rule. "
    "When machines came at last that could follow any rule, most of the questions had been asked already, "
    "and some of them had been shown to have no answer."
)


class TestEnums:
    @pytest.mark.parametrize(
        ("member", "text"),
        [(EventSource.USER, "user"), (EventType.TOOL_CALL, "tool_call"), (RunStatus.CANCELLED, "cancelled")],
    )
    def test_enums_equal_their_strings(self, member: str, text: str) -> None:
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

    async def test_a_summary_keeps_no_reference_to_added_usage(self) -> None:
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

    def test_the_repr_of_an_event_hides_its_message(self) -> None:
        made = event("my password is hunter2", metadata={"k": "hunter2"})
        session = Session(events=[made], state={"k": "hunter2"})
        session.metadata.properties["system_prompt"] = "hunter2"
        assert "hunter2" not in repr(made) + str(made) + repr(session) + str(session) + repr(session.metadata)


class TestRecordsOfValidValues:
    def test_hold_what_the_constructor_would_make(self) -> None:
        made = TokenUsage.of_valid({"prompt_tokens": 3, "total_tokens": 3, "model": "m"})
        assert made == TokenUsage(prompt_tokens=3, model="m", estimated_cost_usd=None)
        assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301  (made here)

    def test_share_the_names_of_their_fields_but_no_values(self) -> None:
        one, other = (new_event("Hello!", EventSource.USER, EventType.MESSAGE, {}) for _ in range(2))
        before = other.model_dump()
        one.task_id = "run"
        one.metadata["mood"] = "good"
        del one.native
        assert other.model_dump() == before
        assert sys.getsizeof(vars(other)) < sys.getsizeof(dict(vars(other))) / 2


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


def test_an_event_may_be_exactly_as_long_as_the_limit_says() -> None:
    event: SessionEvent[Any] = SessionEvent(message="x" * MAX_LENGTH)
    check_event_length(event)
    event.metadata["more"] = "x"
    with pytest.raises(InvalidInput, match="may have 50,000,000 characters"):
        check_event_length(event)
