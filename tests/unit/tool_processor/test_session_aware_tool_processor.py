"""Tool calls through the real chuk-tool-processor, and through the stand-ins that applications use."""

from __future__ import annotations

from typing import Any

import pytest
from chuk_tool_processor import ExecutionContext, execution_scope, get_current_context, register_tool
from tools import Stage, asking, call, tool_events

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.models import EventSource, EventType, Session
from chuk_ai_session_manager.providers.messages import full_messages
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.stores import MemoryStore

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


async def test_a_processor_records_in_the_live_segment(store: MemoryStore) -> None:
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


async def test_a_tool_that_changes_its_arguments_changes_no_record(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "sap_meddling", "input": {"items": [1]}}
    (result,) = await processor.process_llm_message({"role": "assistant", "content": [block]})
    assert result.attempts == 3
    assert session.events[0].message["content"][0]["input"] == {"items": [1]}
    assert session.events[1].message["arguments"] == {"items": [1]}


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
