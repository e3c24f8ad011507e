"""Tool calls run at most once, in any process; failures are failures; what tools declare holds."""

from __future__ import annotations

import asyncio
from copy import copy
from functools import partial
from typing import Any

import pytest
from places import Place, in_another_process, in_memory_too
from recorded_tools import CALLS, GATE, RESULT, asking, call, claude, processed, types_in

from chuk_ai_session_manager import SessionAwareToolProcessor, SessionManager
from chuk_ai_session_manager.conversation.tool_calls import UNAPPROVED, UNDECIDED
from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.providers.messages import INTERRUPTED
from chuk_ai_session_manager.stores import MemoryStore


@pytest.fixture(autouse=True)
def _clear() -> None:
    CALLS.clear()
    RESULT[0] = lambda: None
    GATE.update(begun=asyncio.Event(), open=asyncio.Event())


def completion(*calls: dict[str, Any], response_id: str = "chatcmpl-1") -> dict[str, Any]:
    """A whole response of OpenAI's."""
    choice = {"index": 0, "message": asking(*calls), "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {
        "id": response_id,
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [choice],
        "usage": usage,
    }


async def process_in(place: Place, message: dict[str, Any]) -> list[tuple[Any, str | None]]:
    async with place.store() as store:
        return [(result.result, result.error) for result in await processed(store, message)]


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await Session.create("s", store=store)
    return store


# -- once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [completion(call("call_0", "tc_pay")), asking(call("call_0", "tc_pay"))])
async def test_a_message_that_is_processed_again_gives_the_recorded_results(
    message: dict[str, Any], store: MemoryStore
) -> None:
    (first,) = await processed(store, message)
    (again,) = await processed(store, message)
    assert first.result == again.result == {"paid": "pay 1", "amount": 0}
    assert (again.error, again.cached, again.call_id) == (None, True, "call_0")
    assert types_in(await store.get("s")) == ["message", "tool_call"]


@in_memory_too
async def test_a_message_that_another_process_has_done_is_not_done_again(place: Place) -> None:
    message = completion(call("call_0", "tc_pay", '{"amount": 5}'), call("call_1", "tc_give"))
    async with place.store() as store:
        await Session.create("s", store=store)
        first = await process_in(place, message)
    if "memory" not in type(store).__name__.lower():
        assert in_another_process(process_in, place, message) == first
    else:
        assert await process_in(place, message) == first
    assert CALLS == ["pay", "give"]
    async with place.store() as store:
        assert types_in(await store.get("s")) == ["message", "tool_call", "tool_call"]


async def test_results_come_back_as_what_they_were(store: MemoryStore) -> None:
    values: list[Any] = [None, "text", '{"a": 1}', {"a": [1, 2.5, None]}, 7, True, []]
    for at, value in enumerate(values):
        RESULT[0] = partial(copy, value)
        message = completion(call("call_0", "tc_give"), response_id=f"chatcmpl-{at}")
        (first,) = await processed(store, message, enable_caching=False)
        (again,) = await processed(store, message, enable_caching=False)
        assert first.result == again.result == value
        assert type(again.result) is type(value)


async def test_a_failure_is_given_again_too(store: MemoryStore) -> None:
    message = completion(call("call_0", "tc_lost"))
    for _ in range(2):
        (result,) = await processed(store, message)
        assert (result.error, result.result) == ("connection reset", None)
    assert CALLS == ["lost"]


async def test_ids_that_count_from_0_in_every_turn_are_other_calls(store: MemoryStore) -> None:
    for at in range(3):
        await processed(store, completion(call("call_0", "tc_pay"), response_id=f"chatcmpl-{at}"))
    assert CALLS == ["pay"] * 3
    for _ in range(2):  # without a response's id: by its place
        await SessionManager("s", store=store).user_says("Once more.")
        await processed(store, asking(call("call_0", "tc_pay")))
    assert CALLS == ["pay"] * 5


async def test_a_server_that_gives_every_response_one_id_asks_again(store: MemoryStore) -> None:
    sm = SessionManager("s", store=store)
    for turn in range(3):
        await sm.user_says("Pay.")
        message = completion(call("call_0", "tc_pay"))
        message["usage"] = {"prompt_tokens": 100 * (turn + 1), "completion_tokens": 10}
        await sm.ai_responds(message)
        for _ in range(2):  # and is processed again
            await processed(store, message)
    assert CALLS == ["pay"] * 3
    assert (await sm.get_stats())["llm_calls"] == 3


async def test_a_message_without_a_response_s_id_after_its_own_results_is_a_new_one_to_who_did_it(
    store: MemoryStore,
) -> None:
    processor = SessionAwareToolProcessor("s", store=store, enable_caching=False)
    for _ in range(2):
        await processor.process_llm_message(asking(call("call_0", "tc_pay")))
    assert CALLS == ["pay"] * 2


@pytest.mark.parametrize(
    "message", [completion(call("call_0", "tc_waits")), asking(call("call_0", "tc_waits"))]
)
async def test_a_call_that_was_begun_is_reported_as_undecided(
    message: dict[str, Any], store: MemoryStore
) -> None:
    processor = SessionAwareToolProcessor("s", store=store)
    task = asyncio.create_task(processor.process_llm_message(message))
    await GATE["begun"].wait()
    task.cancel()  # the worker ends
    with pytest.raises(asyncio.CancelledError):
        await task
    for worker in (processor, SessionAwareToolProcessor("s", store=store)):
        (result,) = await worker.process_llm_message(message)
        assert (result.error, result.result, result.call_id, result.retryable) == (
            UNDECIDED,
            None,
            "call_0",
            False,
        )
    assert CALLS == ["waits"]
    rows = await SessionManager("s", store=store).get_messages_for_llm(include_tools=True)
    assert [row["content"] for row in rows] == [None, INTERRUPTED]


async def test_two_workers_at_the_same_time_make_a_call_once(store: MemoryStore) -> None:
    message = completion(call("call_0", "tc_waits"))
    first = asyncio.create_task(processed(store, message))
    await GATE["begun"].wait()
    (undecided,) = await processed(store, message)
    GATE["open"].set()
    (result,) = await first
    assert (result.result, undecided.error) == ("waited", UNDECIDED)
    assert (await processed(store, message))[0].result == "waited"
    assert CALLS == ["waits"]


@in_memory_too
async def test_many_workers_at_the_same_time_make_a_call_once(place: Place) -> None:
    for message in (completion(call("call_0", "tc_pay")), asking(call("call_0", "tc_pay"))):
        CALLS.clear()
        place = place.fresh()
        async with place.store() as store:
            await Session.create("s", store=store)
            results = await asyncio.gather(*(processed(store, message) for _ in range(10)))
            assert CALLS == ["pay"]
            assert {result.error for (result,) in results} <= {None, UNDECIDED}
            assert types_in(await store.get("s")) == ["message", "tool_call"]


async def test_an_idempotent_tool_s_call_is_made_again(store: MemoryStore) -> None:
    message = completion(call("call_0", "tc_again"), call("call_1", "tc_waits"))
    task = asyncio.create_task(processed(store, message))
    await GATE["begun"].wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    events = (await store.get("s")).events  # type: ignore[union-attr]
    del events[1:]  # as if the worker had been killed before its result was recorded
    first, second = await processed(store, message)
    assert (first.error, first.result, second.error) == (None, "again 2", UNDECIDED)
    assert CALLS.count("again") == 2
    assert CALLS.count("waits") == 1


# -- recorded by others first --------------------------------------------------------------------


RESPONSES = [completion(call("call_0", "tc_pay")), claude(("toolu_1", "tc_pay", {}))]


@pytest.mark.parametrize("response", RESPONSES)
async def test_what_ai_responds_recorded_is_not_recorded_again(
    response: dict[str, Any], store: MemoryStore
) -> None:
    sm = SessionManager("s", store=store)
    await sm.user_says("Pay.")
    await sm.ai_responds(response)
    (result,) = await processed(store, response)
    (again,) = await processed(store, response)
    await sm.ai_responds(response)
    assert result.result == again.result == {"paid": "pay 1", "amount": 0}
    assert CALLS == ["pay"]
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool"]
    assert "pay 1" in rows[-1]["content"]
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["tool_calls"], stats["input_tokens"]) == (1, 1, 100)


@pytest.mark.parametrize("response", RESPONSES)
async def test_what_was_processed_is_not_recorded_again_by_ai_responds(
    response: dict[str, Any], store: MemoryStore
) -> None:
    sm = SessionManager("s", store=store)
    await processed(store, response)
    await sm.ai_responds(response)
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["tool_calls"], stats["ai_messages"]) == (1, 1, 1)


async def test_a_message_without_its_response_is_the_one_that_was_just_recorded(
    store: MemoryStore,
) -> None:
    sm = SessionManager("s", store=store)
    response = completion(call("call_0", "tc_pay"))
    processor = SessionAwareToolProcessor("s", store=store, enable_caching=False)
    for at in range(2):  # the second time, it says the same as before
        await sm.ai_responds(response | {"id": f"chatcmpl-{at}"})
        await processor.process_llm_message(response["choices"][0]["message"])
    assert CALLS == ["pay"] * 2
    assert (await sm.get_stats())["llm_calls"] == 2


async def test_results_that_the_application_recorded_count(store: MemoryStore) -> None:
    sm = SessionManager("s", store=store)
    response = completion(call("call_0", "tc_pay"), call("call_1", "tc_give"))
    await sm.ai_responds(response)
    await sm.tool_used("tc_pay", {}, {"paid": "elsewhere"}, tool_call_id="call_0")
    first, second = await processed(store, response)
    assert (first.result, second.error) == ({"paid": "elsewhere"}, None)
    assert CALLS == ["give"]


async def test_an_answer_without_calls_is_recorded_once(store: MemoryStore) -> None:
    sm = SessionManager("s", store=store)
    response = completion()
    response["choices"][0]["message"] = {"role": "assistant", "content": "Well."}
    await sm.ai_responds(response)
    assert await processed(store, response) == []
    assert types_in(await store.get("s")) == ["message"]


async def test_it_is_known_in_the_segment_before(store: MemoryStore) -> None:
    sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2)
    await sm.user_says("Pay.")
    response = completion(call("call_0", "tc_pay"))
    for _ in range(2):
        processor = SessionAwareToolProcessor("root", store=store)
        (result,) = await processor.process_llm_message(response)
        assert result.result == {"paid": "pay 1", "amount": 0}
        await sm.user_says("And now?")
    assert CALLS == ["pay"]
    assert len(await sm.get_session_chain()) > 1


async def test_the_calls_of_other_providers_responses_are_run(store: MemoryStore) -> None:
    output = [
        {"type": "function_call", "call_id": "call_7", "name": "tc_pay", "arguments": "{}", "id": "fc_1"}
    ]
    response = {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5",
        "output": output,
        "status": "completed",
    }
    for _ in range(2):
        (result,) = await processed(store, response)
        assert (result.call_id, result.result) == ("call_7", {"paid": "pay 1", "amount": 0})


async def test_a_request_for_approval_runs_no_tool_and_waits(store: MemoryStore) -> None:
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "tc_pay", "server_label": "bank"}
    response = {
        "id": "resp_1", "object": "response", "model": "gpt-4o", "status": "completed",
        "output": [
            asked | {"arguments": "{}"},
            {"type": "function_call", "call_id": "call_0", "name": "tc_pay", "arguments": "{}"},
        ],
    }  # fmt: skip
    for _ in range(2):
        waiting, paid = await processed(store, response)
        assert (waiting.call_id, waiting.error, waiting.result) == ("mcpr_1", UNAPPROVED, None)
        assert (paid.call_id, paid.error) == ("call_0", None)
    assert CALLS == ["pay"]
    sm = SessionManager("s", store=store)
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    await sm.tool_used("tc_pay", {}, answer, tool_call_id="mcpr_1")
    rows: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert answer in rows
