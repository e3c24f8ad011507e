"""Running tools: arguments that do not fit, retries, caching, timeouts and cancellation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from chuk_tool_processor import ToolResult
from tools import LONG, Executor, Stage, asking, call, ready_made, tool_events

from chuk_ai_session_manager import session_aware_tool_processor as module
from chuk_ai_session_manager.exceptions import StorageError
from chuk_ai_session_manager.models import Session, SessionEvent
from chuk_ai_session_manager.providers.messages import INTERRUPTED, full_messages
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.stores import MemoryStore


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("not json", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("0", "not a JSON object"),
        ('{"value": NaN}', "for which JSON has no number"),
        ({"value": {1, 2}}, "contains an object of type set"),
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


async def test_arguments_that_were_encoded_twice_are_read(processor: SessionAwareToolProcessor) -> None:
    """As by vLLM's parsers (https://github.com/vllm-project/vllm/pull/54964)."""
    (result,) = await processor._exec_calls([call("call_1", "sap_echo", json.dumps('{"value": 3}'))])
    assert (result.error, result.result) == (None, 3)


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


async def cancelled_after_one_success(processor: SessionAwareToolProcessor, message: dict[str, Any]) -> None:
    """Process a message, and cancel the task when one call hangs and another has succeeded."""
    task = asyncio.create_task(processor.process_llm_message(message))
    await asyncio.wait_for(Stage.started.wait(), LONG)
    async with asyncio.timeout(LONG):
        while not processor.cache:  # noqa: ASYNC110  (no event says that a call has succeeded)
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_it_records_what_has_finished(
    processor: SessionAwareToolProcessor, session: Session[Any]
) -> None:
    message = asking(call("call_1", "sap_endless"), call("call_2", "sap_echo", '{"value": "done"}'))
    await cancelled_after_one_success(processor, message)

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
    await cancelled_after_one_success(processor, message)
    (record,) = [record for record in caplog.records if record.name == module.__name__]
    assert "of session s could not be recorded: StorageError" in record.getMessage()
    assert "secret" not in caplog.text
