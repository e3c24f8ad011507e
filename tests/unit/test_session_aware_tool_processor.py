"""Tool calls through the real chuk-tool-processor, and through the stand-ins that applications use."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from chuk_tool_processor import (
    ExecutionContext,
    ToolCall,
    ToolProcessor,
    ToolResult,
    create_registry,
    execution_scope,
    get_current_context,
    register_tool,
)

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager import session_aware_tool_processor as module
from chuk_ai_session_manager.exceptions import InvalidInput, SessionNotFound, StorageError
from chuk_ai_session_manager.models import EventSource, EventType, Session, SessionEvent
from chuk_ai_session_manager.providers.messages import INTERRUPTED, full_messages
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.stores import MemoryStore

LONG = 30.0
"""Seconds that nothing here takes unless it hangs."""


class Stage:
    """What the tools below share with the test that runs: how often each ran, and where they meet."""

    calls: dict[str, int]
    meeting: asyncio.Barrier
    started: asyncio.Event
    stopped: asyncio.Event
    context: ExecutionContext | None

    @classmethod
    def clear(cls) -> None:
        cls.calls = {}
        cls.meeting = asyncio.Barrier(2)
        cls.started, cls.stopped = asyncio.Event(), asyncio.Event()
        cls.context = None

    @classmethod
    def enter(cls, tool: str) -> int:
        cls.calls[tool] = cls.calls.get(tool, 0) + 1
        return cls.calls[tool]


@register_tool(name="sap_slow")
class Slow:
    """Takes 0.2 s, once two of its kind run at the same time: in turn, they would wait for ever."""

    async def execute(self, n: int) -> dict[str, int]:
        Stage.enter("slow")
        async with Stage.meeting:
            await asyncio.sleep(0.2 / n)
        return {"n": n}


@register_tool(name="sap_flaky")
class Flaky:
    async def execute(self) -> str:
        if Stage.enter("flaky") == 1:
            raise ConnectionError("connection reset")
        return "in the end"


@register_tool(name="sap_echo")
class Echo:
    async def execute(self, value: Any = None) -> Any:
        Stage.enter("echo")
        Stage.context = get_current_context()
        return value


@register_tool(name="sap_failing")
class Failing:
    async def execute(self) -> None:
        Stage.enter("failing")
        raise RuntimeError("out of order")


@register_tool(name="sap_meddling")
class Meddling:
    async def execute(self, items: list[int]) -> None:
        if Stage.enter("meddling") < 3:
            items.append(0)
            raise RuntimeError("again")


@register_tool(name="sap_endless")
class Endless:
    async def execute(self) -> None:
        Stage.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            Stage.stopped.set()


@pytest.fixture(autouse=True)
def _stage() -> None:
    Stage.clear()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def session(store: MemoryStore) -> Session[Any]:
    return await Session.create("s", store=store)


@pytest.fixture
def processor(store: MemoryStore, session: Session[Any]) -> SessionAwareToolProcessor:
    return SessionAwareToolProcessor("s", store=store, retry_delay=0)


def call(call_id: str, tool: str, arguments: Any = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}


def asking(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def tool_events(session: Session[Any]) -> list[SessionEvent[Any]]:
    return [event for event in session.events if event.type is EventType.TOOL_CALL]


# -- real tools ----------------------------------------------------------------------------------


async def test_a_batch_runs_at_once_and_is_recorded_in_the_order_of_its_calls(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    message = asking(
        call("call_1", "sap_slow", '{"n": 1}'),
        call("call_2", "sap_slow", '{"n": 2}'),
        call("call_3", "sap_flaky"),
        call("call_4", "sap_unknown_timeout"),
        call("call_5", "sap_echo", '{"value": '),
    )
    results = await processor.process_llm_message(message)

    ids = [f"call_{number}" for number in range(1, 6)]
    assert [result.call_id for result in results] == ids
    assert [result.result for result in results] == [{"n": 1}, {"n": 2}, "in the end", None, None]
    assert [result.attempts for result in results] == [1, 1, 2, 1, 1]
    assert [result.error is None for result in results] == [True, True, True, False, False]
    assert "not found" in str(results[3].error)
    assert results[4].error == "The arguments are not valid JSON"
    assert not results[4].retryable
    assert "echo" not in Stage.calls

    parent, *events = session.events
    assert (parent.type, parent.source) == (EventType.MESSAGE, EventSource.LLM)
    assert parent.message == message
    assert parent.token_usage
    assert parent.token_usage.model == "gpt-4o-mini"
    assert parent.token_usage.completion_tokens > 0 == parent.token_usage.prompt_tokens
    assert [event.type for event in events] == [EventType.TOOL_CALL] * 5
    assert {event.source for event in events} == {EventSource.SYSTEM}
    assert [event.metadata["call_id"] for event in events] == ids
    assert [event.metadata["tool_call_id"] for event in events] == ids
    assert [event.metadata["attempt"] for event in events] == [1, 1, 2, 1, 1]
    assert [event.metadata.get("failed", False) for event in events] == [False] * 3 + [True] * 2
    assert {event.metadata["parent_event_id"] for event in events} == {parent.id}
    assert all(event.is_child_of(parent.id) for event in events)
    assert [event.message["tool"] for event in events] == [
        "sap_slow",
        "sap_slow",
        "sap_flaky",
        "sap_unknown_timeout",
        "sap_echo",
    ]
    assert [event.message["arguments"] for event in events] == [{"n": 1}, {"n": 2}, {}, {}, '{"value": ']
    assert [event.message["result"] for event in events] == [
        '{"n": 1}',
        '{"n": 2}',
        "in the end",
        "null",
        "null",
    ]
    assert [event.message["error"] for event in events] == [result.error for result in results]
    assert [event.message["cached"] for event in events] == [False] * 5
    assert events[0].metadata["duration"] >= 0.1
    assert all(event.token_usage and event.token_usage.model == "tool-execution" for event in events)
    assert all(event.token_usage and event.token_usage.total_tokens for event in events)


async def test_what_is_recorded_is_accepted_by_a_provider(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    message = asking(call("call_1", "sap_echo", '{"value": "hi"}'), call("call_2", "sap_unknown"))
    await processor.process_llm_message(message)

    asked, first, second = full_messages(session.events)
    assert asked == message
    assert first == {"role": "tool", "tool_call_id": "call_1", "content": "hi"}
    assert (second["role"], second["tool_call_id"]) == ("tool", "call_2")
    assert "not found" in second["content"]


async def test_a_call_without_an_id_gets_one_that_its_message_has_too(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    function = {"name": "sap_echo", "arguments": '{"value": 1}'}
    await processor.process_llm_message(
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
    )
    asked, result = full_messages(session.events)
    assert asked["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) <= 40  # more than that, OpenAI does not take


async def test_a_whole_completion_may_be_given(
    processor: SessionAwareToolProcessor, session: Session[Any], store: MemoryStore
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "sap_echo", "arguments": '{"value": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    completion = {
        "object": "chat.completion",
        "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }
    (result,) = await processor.process_llm_message(completion)
    assert result.result == 1
    assert session.events[0].message == message
    stats = await SessionManager(session.id, store=store).get_stats()
    assert (stats["llm_calls"], stats["input_tokens"]) == (1, 100)


async def test_it_records_where_the_conversation_is_by_now(store: MemoryStore) -> None:
    sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=1)
    await sm.user_says("one")
    processor = await SessionAwareToolProcessor.create("root", store=store)
    await sm.user_says("two")
    await processor.process_llm_message({"role": "assistant", "content": "Well."})
    rows = await sm.get_conversation()
    assert (rows[-1]["content"], rows[-1]["session_id"]) == ("Well.", sm.session_id)


async def test_the_model_s_call_is_billed(
    processor: SessionAwareToolProcessor, session: Session[Any], store: MemoryStore
) -> None:
    usage = {
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    asked = {"role": "assistant", "content": "Well.", "tool_calls": None}
    await processor.process_llm_message(asked, model="gpt-4o", provider="openai", usage=usage)
    sm = SessionManager(session.id, store=store)
    stats = await sm.get_stats()
    # gpt-4o: $2.50 a million, cached $1.25, answers $10
    assert stats["estimated_cost"] == pytest.approx((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)
    assert (stats["llm_calls"], stats["cache_read_tokens"]) == (1, 400)
    assert session.events[-1].metadata == {"model": "gpt-4o", "provider": "openai"}
    with pytest.raises(InvalidInput):
        await processor.process_llm_message(asked, usage={"nonsense": 1})
    assert len(session.events) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": "Hello", "tool_calls": None},
        {"role": "assistant", "content": "Hello", "tool_calls": []},
    ],
)
async def test_a_message_without_calls_is_one_event(
    message: dict[str, Any], processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    assert await processor.process_llm_message(message, None) == []
    assert [event.message for event in session.events] == [message]


async def test_the_anthropic_form(processor: SessionAwareToolProcessor, session: Session[Any]) -> None:
    content = [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "toolu_1", "name": "sap_echo", "input": {"value": 7}},
        {"type": "tool_use", "id": "toolu_2", "name": "sap_echo", "input": {"value": 8}},
    ]
    results = await processor.process_llm_message({"role": "assistant", "content": content})
    assert [(result.call_id, result.result) for result in results] == [("toolu_1", 7), ("toolu_2", 8)]
    assert [event.message["arguments"] for event in tool_events(session)] == [{"value": 7}, {"value": 8}]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("not json", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("0", "not a JSON object"),
        ('{"value": NaN}', "no number for"),
        ({"value": {1, 2}}, "holds something of type set"),
        (7, "not a JSON object"),
    ],
)
async def test_arguments_that_are_no_json_object_are_an_error_not_a_call(
    arguments: Any, problem: str, processor: SessionAwareToolProcessor
) -> None:
    (result,) = await processor._exec_calls([call("call_1", "sap_echo", arguments)])
    assert problem in str(result.error)
    assert Stage.calls == {}


@pytest.mark.parametrize("arguments", ["", None, {}, "{}"])
async def test_no_arguments_are_none(arguments: Any, processor: SessionAwareToolProcessor) -> None:
    (result,) = await processor._exec_calls([call("call_1", "sap_echo", arguments)])
    assert (result.error, result.result, Stage.calls) == (None, None, {"echo": 1})


async def test_a_call_that_names_no_tool_is_an_error(processor: SessionAwareToolProcessor) -> None:
    results = await processor.process_llm_message(asking({"id": "call_1"}, call("call_2", "")))
    assert [result.error for result in results] == ["The call does not name a tool"] * 2


async def test_a_call_without_an_id_gets_one(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    (result,) = await processor.process_llm_message(asking({"function": {"name": "sap_echo"}}))
    assert result.call_id
    assert tool_events(session)[0].metadata["call_id"] == result.call_id


@pytest.mark.parametrize("arguments", ['{"wrong": 1}', '{"value": 1, "wrong": 2}'])
async def test_arguments_that_do_not_fit_are_not_tried_again(
    arguments: str, processor: SessionAwareToolProcessor
) -> None:
    (result,) = await processor.process_llm_message(asking(call("call_1", "sap_echo", arguments)))
    assert "unexpected keyword argument" in str(result.error)
    assert result.attempts == 1


async def test_missing_arguments_are_not_tried_again(processor: SessionAwareToolProcessor) -> None:
    (result,) = await processor.process_llm_message(asking(call("call_1", "sap_slow")))
    assert "missing 1 required" in str(result.error)
    assert result.attempts == 1


@pytest.mark.parametrize("max_retries", [0, 1, 2])
async def test_a_tool_that_keeps_failing_is_tried_max_retries_times_again(
    max_retries: int, processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    processor.max_retries = max_retries
    (result,) = await processor.process_llm_message(asking(call("call_1", "sap_failing")))
    assert (result.error, result.attempts) == ("out of order", max_retries + 1)
    assert Stage.calls == {"failing": max_retries + 1}
    assert tool_events(session)[0].metadata["attempt"] == max_retries + 1


async def test_retry_delay_is_waited_between_two_tries(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    processor.retry_delay = 0.1
    await processor.process_llm_message(asking(call("call_1", "sap_failing")))
    assert tool_events(session)[0].metadata["duration"] >= 0.19


async def test_a_tool_that_changes_its_arguments_changes_no_record(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "sap_meddling", "input": {"items": [1]}}
    (result,) = await processor.process_llm_message({"role": "assistant", "content": [block]})
    assert result.attempts == 3
    assert session.events[0].message["content"][0]["input"] == {"items": [1]}
    assert session.events[1].message["arguments"] == {"items": [1]}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (None, "null"),
        ("plain", "plain"),
        ({"ö": [1, 2.5, True]}, '{"ö": [1, 2.5, true]}'),
        ({(1, 2): {3}}, '{"1,2": [3]}'),
        (b"\xff", '"_w=="'),
        (ExecutionContext, str(ExecutionContext)),
    ],
)
async def test_a_result_is_recorded_as_text(
    result: object, text: str, store: MemoryStore, session: Session[Any]
) -> None:
    executor = Executor(lambda call: ToolResult(tool=call.tool, result=result))
    await ready_made(store, executor).process_llm_message(asking(call("call_1", "any")))
    recorded = tool_events(session)[0].message["result"]
    assert recorded == text or json.loads(recorded) == text


async def test_a_result_that_contains_itself_is_recorded_as_text(
    store: MemoryStore, session: Session[Any]
) -> None:
    circle: list[Any] = []
    circle.append(circle)
    executor = Executor(lambda call: ToolResult.model_construct(tool=call.tool, result=circle, error=None))
    await ready_made(store, executor).process_llm_message(asking(call("call_1", "any")))
    assert tool_events(session)[0].message["result"] == '"[[...]]"'


async def test_tools_see_the_session_in_their_context(processor: SessionAwareToolProcessor) -> None:
    async with execution_scope(ExecutionContext(user_id="ann", metadata={"kept": 1})):
        await processor.process_llm_message(asking(call("call_1", "sap_echo")))
    assert Stage.context
    assert Stage.context.user_id == "ann"
    assert Stage.context.metadata == {"kept": 1, "session_id": "s"}
    assert get_current_context() is None


async def test_a_tool_registered_later_is_found(processor: SessionAwareToolProcessor) -> None:
    await processor._exec_calls([call("call_1", "sap_echo")])

    @register_tool(name="sap_late")
    class Late:
        async def execute(self) -> str:
            return "here"

    (result,) = await processor._exec_calls([call("call_2", "sap_late")])
    assert result.result == "here"


# -- the cache -----------------------------------------------------------------------------------


async def test_a_success_is_not_run_again(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    assert processor.cache == {}
    await processor.process_llm_message(asking(call("call_1", "sap_echo", '{"value": 1}')))
    (result,) = await processor.process_llm_message(asking(call("call_2", "sap_echo", {"value": 1})))
    assert (result.result, result.cached, result.call_id) == (1, True, "call_2")
    assert Stage.calls == {"echo": 1}
    assert [event.message["cached"] for event in tool_events(session)] == [False, True]
    assert [event.metadata["call_id"] for event in tool_events(session)] == ["call_1", "call_2"]

    await processor.process_llm_message(asking(call("call_3", "sap_echo", '{"value": "1"}')))
    assert Stage.calls == {"echo": 2}


async def test_the_same_call_twice_in_one_message(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    twice = [call(call_id, "sap_echo", '{"value": 1}') for call_id in ("call_1", "call_2")]
    results = await processor.process_llm_message(asking(*twice))
    assert [(result.call_id, result.result) for result in results] == [("call_1", 1), ("call_2", 1)]
    assert [event.metadata["call_id"] for event in tool_events(session)] == ["call_1", "call_2"]


async def test_a_failure_is_not_cached(processor: SessionAwareToolProcessor) -> None:
    processor.max_retries = 0
    for expected in ("connection reset", None):
        (result,) = await processor.process_llm_message(asking(call("call_1", "sap_flaky")))
        assert (result.error, result.cached) == (expected, False)


async def test_without_caching_each_call_runs(store: MemoryStore, session: Session[Any]) -> None:
    processor = SessionAwareToolProcessor("s", store=store, enable_caching=False)
    for _ in range(2):
        await processor.process_llm_message(asking(call("call_1", "sap_echo")))
    assert Stage.calls == {"echo": 2}
    assert processor.cache == {}


async def test_each_processor_has_its_own_cache(store: MemoryStore, session: Session[Any]) -> None:
    for call_id in ("call_1", "call_2"):
        processor = SessionAwareToolProcessor("s", store=store)
        await processor.process_llm_message(asking(call(call_id, "sap_echo")))
    assert Stage.calls == {"echo": 2}


# -- timeouts and cancellation -------------------------------------------------------------------


async def test_a_call_that_takes_too_long_is_an_error_and_its_tool_is_stopped(
    store: MemoryStore, session: Session[Any]
) -> None:
    processor = SessionAwareToolProcessor("s", store=store, timeout=0.5)
    first, second = await asyncio.wait_for(
        processor.process_llm_message(asking(call("call_1", "sap_endless"), call("call_2", "sap_echo"))), LONG
    )
    assert (first.call_id, first.result, first.attempts) == ("call_1", None, 1)
    assert "timed out after 0.5s" in str(first.error)
    assert second.error is None
    assert tool_events(session)[0].metadata["failed"] is True
    await asyncio.wait_for(Stage.stopped.wait(), LONG)


async def test_the_timeout_counts_all_tries(store: MemoryStore, session: Session[Any]) -> None:
    processor = SessionAwareToolProcessor("s", store=store, timeout=0.5, retry_delay=LONG)
    (result,) = await asyncio.wait_for(
        processor.process_llm_message(asking(call("call_1", "sap_failing"))), LONG / 2
    )
    assert "timed out" in str(result.error)
    assert Stage.calls == {"failing": 1}


async def one_success(processor: SessionAwareToolProcessor) -> None:
    """Wait until a call has succeeded: it is in the cache then."""
    async with asyncio.timeout(LONG):
        while not processor.cache:  # noqa: ASYNC110  (no event says so)
            await asyncio.sleep(0)


async def test_cancelled_it_records_what_has_finished(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    message = asking(call("call_1", "sap_endless"), call("call_2", "sap_echo", '{"value": "done"}'))
    task = asyncio.create_task(processor.process_llm_message(message))
    await asyncio.wait_for(Stage.started.wait(), LONG)
    await one_success(processor)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [event.metadata["call_id"] for event in tool_events(session)] == ["call_2"]
    contents = {row["tool_call_id"]: row["content"] for row in full_messages(session.events)[1:]}
    assert contents == {"call_1": INTERRUPTED, "call_2": "done"}


class RefusingStore(MemoryStore):
    """Takes the message, and refuses what comes after it."""

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        if session.events:
            raise StorageError("full")
        return await super().append(session, events, only_if_current=only_if_current)


async def test_a_store_that_fails_is_an_error_and_ends_what_runs() -> None:
    store = RefusingStore()
    await Session.create("s", store=store)
    executor = Executor(lambda call: ToolResult(tool=call.tool))
    processor = ready_made(store, executor)
    with pytest.raises(StorageError, match="full"):
        await processor.process_llm_message(asking(call("call_1", "any"), call("call_2", "any")))
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_results_lost_in_a_cancellation_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    store = RefusingStore()
    await Session.create("s", store=store)
    message = asking(call("call_1", "sap_endless"), call("call_2", "sap_echo", '{"value": "secret"}'))
    processor = SessionAwareToolProcessor("s", store=store)
    task = asyncio.create_task(processor.process_llm_message(message))
    await asyncio.wait_for(Stage.started.wait(), LONG)
    await one_success(processor)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (record,) = [record for record in caplog.records if record.name == module.__name__]
    assert "of session s could not be recorded: StorageError" in record.getMessage()
    assert "secret" not in caplog.text


# -- ready-made processors and stand-ins ---------------------------------------------------------


class Executor:
    """An executor as applications write it: one positional list of one call, no keywords."""

    def __init__(self, answer: Callable[[ToolCall], Any]) -> None:
        self.answer = answer
        self.received: list[list[ToolCall]] = []

    async def execute(self, calls: list[ToolCall], /) -> list[ToolResult]:
        self.received.append(calls)
        answer = self.answer(calls[0])
        return [answer] if isinstance(answer, ToolResult) else answer


class Dummy:
    """A processor as applications write it."""

    def __init__(self, executor: Any = None) -> None:
        self.executor = executor or Executor(lambda call: ToolResult(tool=call.tool, result="faked"))


def ready_made(store: MemoryStore, executor: Any) -> SessionAwareToolProcessor:
    dummy: Any = Dummy(executor)
    return SessionAwareToolProcessor("s", store=store, processor=dummy, retry_delay=0)


async def test_the_processor_is_made_by_the_name_in_the_module(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, session: Session[Any]
) -> None:
    monkeypatch.setattr(module, "ToolProcessor", Dummy)
    processor = SessionAwareToolProcessor("s", store=store)
    calls = asking(call("call_1", "a", '{"x": 1}'), call("call_2", "b"))
    results = await processor.process_llm_message(calls, None)
    assert [(result.tool, result.result, result.call_id) for result in results] == [
        ("a", "faked", "call_1"),
        ("b", "faked", "call_2"),
    ]
    received = processor._tp.executor.received
    assert [len(batch) for batch in received] == [1, 1]
    assert [(batch[0].id, batch[0].tool, batch[0].arguments) for batch in received] == [
        ("call_1", "a", {"x": 1}),
        ("call_2", "b", {}),
    ]


async def test_a_processor_without_an_executor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        pass

    monkeypatch.setattr(module, "ToolProcessor", Bare)
    with pytest.raises(AttributeError, match=r"missing `\.executor`"):
        SessionAwareToolProcessor("s")


async def test_an_executor_that_raises_is_tried_again_to_the_end(
    store: MemoryStore, session: Session[Any]
) -> None:
    def fail(call: ToolCall) -> None:
        raise RuntimeError("Persistent error")

    executor = Executor(fail)
    (result,) = await ready_made(store, executor).process_llm_message(asking(call("call_1", "any")))
    assert (result.error, result.result, result.attempts) == ("Persistent error", None, 3)
    assert len(executor.received) == 3
    event = tool_events(session)[0]
    assert (event.metadata["attempt"], event.metadata["failed"]) == (3, True)


async def test_an_error_without_words_is_named(store: MemoryStore, session: Session[Any]) -> None:
    def fail(call: ToolCall) -> None:
        raise KeyError

    (result,) = await ready_made(store, Executor(fail)).process_llm_message(asking(call("call_1", "any")))
    assert result.error == "KeyError"


async def test_an_executor_that_gives_no_result(store: MemoryStore, session: Session[Any]) -> None:
    processor = ready_made(store, Executor(lambda call: []))
    (result,) = await processor.process_llm_message(asking(call("call_1", "any")))
    assert "gave no result" in str(result.error)


async def test_an_executor_need_not_be_async(store: MemoryStore, session: Session[Any]) -> None:
    class Plain:
        def execute(self, calls: list[ToolCall]) -> list[ToolResult]:
            return [ToolResult(tool=calls[0].tool, result=1)]

    (result,) = await ready_made(store, Plain()).process_llm_message(asking(call("call_1", "any")))
    assert result.result == 1


async def test_one_result_object_for_all_calls_is_not_changed(
    store: MemoryStore, session: Session[Any]
) -> None:
    shared = ToolResult(tool="any")
    processor = ready_made(store, Executor(lambda call: shared))
    results = await processor.process_llm_message(asking(call("call_1", "a"), call("call_2", "b")))
    assert [result.call_id for result in results] == ["call_1", "call_2"]
    assert shared.call_id is None


async def test_a_ready_made_processors_own_rules_hold(store: MemoryStore, session: Session[Any]) -> None:
    registry = create_registry()
    await registry.register_tool(Failing, name="failing")
    theirs = ToolProcessor(registry=registry, enable_retries=False, enable_caching=False)
    processor = SessionAwareToolProcessor("s", store=store, processor=theirs, retry_delay=LONG)
    (result,) = await asyncio.wait_for(
        processor.process_llm_message(asking(call("call_1", "failing"))), LONG / 2
    )
    assert (result.error, result.attempts, Stage.calls) == ("out of order", 1, {"failing": 1})


async def test_attempts_of_a_ready_made_processor_are_recorded(
    store: MemoryStore, session: Session[Any]
) -> None:
    executor = Executor(lambda call: ToolResult(tool=call.tool, error="still down", attempts=4))
    (result,) = await ready_made(store, executor).process_llm_message(asking(call("call_1", "any")))
    assert (result.attempts, len(executor.received)) == (4, 1)
    assert tool_events(session)[0].metadata["attempt"] == 4


async def test_exec_calls_records_nothing(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    calls = [call("call_1", "sap_echo", '{"value": 1}'), call("call_2", "sap_echo", '{"value": 2}')]
    assert [result.result for result in await processor._exec_calls(calls)] == [1, 2]
    assert session.events == []


async def test_maybe_await(processor: SessionAwareToolProcessor) -> None:
    assert await processor._maybe_await(5) == 5
    assert await processor._maybe_await(asyncio.sleep(0, result=6)) == 6


# -- sessions and stores -------------------------------------------------------------------------


class StubSession:
    """The least that a session may be."""

    def __init__(self) -> None:
        self.id = "stub"
        self.events: list[SessionEvent[Any]] = []

    async def add_event_and_save(self, event: SessionEvent[Any]) -> None:
        self.events.append(event)


class StubStore:
    """The least that a store may be, counting its reads."""

    session: StubSession | None = StubSession()
    reads: list[str]

    def __init__(self, backend: Any = None) -> None:
        StubStore.reads = []

    async def get(self, session_id: str) -> Any:
        self.reads.append(session_id)
        return self.session


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubSession:
    stub = StubSession()
    monkeypatch.setattr(StubStore, "session", stub)
    monkeypatch.setattr(module, "ChukSessionsStore", StubStore)
    monkeypatch.setattr(module, "get_backend", object)
    return stub


async def test_the_default_store_is_found_by_name_and_sessions_may_be_stubs(stub: StubSession) -> None:
    processor = await SessionAwareToolProcessor.create("stub", max_retries=1)
    assert (processor.session_id, processor.max_retries) == ("stub", 1)
    assert StubStore.reads == ["stub"]
    await processor.process_llm_message(asking(call("call_1", "sap_echo")))
    assert [event.type for event in stub.events] == [EventType.MESSAGE, EventType.TOOL_CALL]


async def test_a_default_backend_put_in_by_name_is_used(
    monkeypatch: pytest.MonkeyPatch, store: MemoryStore, session: Session[Any]
) -> None:
    monkeypatch.setattr(module, "get_backend", lambda: store)
    await SessionAwareToolProcessor("s").process_llm_message({"role": "assistant", "content": "hi"})
    assert len(session.events) == 1


async def test_a_store_with_only_get_and_save_gets_every_event() -> None:
    class Serialising:
        def __init__(self) -> None:
            self.kept: dict[str, str] = {}

        async def get(self, session_id: str) -> Session[Any] | None:
            kept = self.kept.get(session_id)
            return Session.model_validate_json(kept) if kept else None

        async def save(self, session: Session[Any]) -> None:
            self.kept[session.id] = session.model_dump_json()

    store = Serialising()
    await store.save(Session(id="s"))
    processor = await SessionAwareToolProcessor.create("s", store=store)
    await processor.process_llm_message(asking(call("call_1", "sap_echo")))
    reopened = await store.get("s")
    assert reopened
    assert [event.type for event in reopened.events] == [EventType.MESSAGE, EventType.TOOL_CALL]


async def test_a_missing_session_is_an_error(store: MemoryStore) -> None:
    with pytest.raises(SessionNotFound, match="Session gone not found"):
        await SessionAwareToolProcessor.create("gone", store=store)
    with pytest.raises(ValueError, match="Session gone not found"):
        await SessionAwareToolProcessor("gone", store=store).process_llm_message(
            asking(call("call_1", "sap_echo"))
        )
    assert Stage.calls == {}


@pytest.mark.parametrize("message", [None, "text", {"content": object()}])
async def test_what_is_no_message_is_refused(
    message: Any, processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    with pytest.raises(InvalidInput):
        await processor.process_llm_message(message)
    assert session.events == []


@pytest.mark.parametrize(
    "refused",
    [
        {"max_retries": -1},
        {"retry_delay": -0.1},
        {"retry_delay": float("nan")},
        {"timeout": 0},
    ],
)
async def test_numbers_that_make_no_sense_are_refused(refused: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(refused))):
        SessionAwareToolProcessor("s", **refused)


# -- importing -----------------------------------------------------------------------------------


def test_the_import_leaves_the_process_as_it_was() -> None:
    check = """
import logging, warnings
before = list(warnings.filters)
import chuk_ai_session_manager.session_aware_tool_processor
import chuk_ai_session_manager.sample_tools
assert warnings.filters == before, warnings.filters
assert not logging.getLogger().filters
tools = logging.getLogger("chuk_tool_processor")
assert tools.level == logging.NOTSET
assert [type(handler) for handler in tools.handlers] == [logging.NullHandler], tools.handlers
"""
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_logging_that_the_application_chose_stays() -> None:
    tools = logging.getLogger("chuk_tool_processor")
    handlers = list(tools.handlers)
    with module.leaving_no_trace():
        import chuk_tool_processor  # noqa: F401  (imported already: does nothing)
    assert tools.handlers == handlers
