"""Tool calls run at most once, in any process; failures are failures; what tools declare holds."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from chuk_tool_processor import ToolProcessor, ToolResult, create_registry, register_fn_tool, register_tool
from chuk_tool_processor.execution.wrappers import cacheable, retryable
from chuk_tool_processor.mcp.mcp_tool import MCPTool, RecoveryConfig
from chuk_tool_processor.models import Determinism, SideEffectClass, contract, get_contract
from places import Place, in_another_process, in_memory_too

from chuk_ai_session_manager import SessionAwareToolProcessor, SessionManager
from chuk_ai_session_manager.conversation.tool_calls import UNDECIDED
from chuk_ai_session_manager.conversation.tool_declarations import Declaration, declaration_of
from chuk_ai_session_manager.models import EventType, Session
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic
from chuk_ai_session_manager.providers.failures import UNNAMED, failure_in
from chuk_ai_session_manager.providers.messages import INTERRUPTED
from chuk_ai_session_manager.session_prompt_builder import PromptStrategy, build_prompt_from_session
from chuk_ai_session_manager.stores import MemoryStore

CALLS: list[str] = []
"""Which tools ran."""
RESULT: list[Callable[[], Any]] = [lambda: None]
"""What `tc_give` gives."""
GATE: dict[str, asyncio.Event] = {}


def ran(name: str, problem: Exception | None = None) -> str:
    CALLS.append(name)
    if problem is not None:
        raise problem
    return f"{name} {CALLS.count(name)}"


@register_tool(name="tc_pay")
class Pay:
    """Says nothing of itself."""

    async def execute(self, amount: int = 0) -> dict[str, Any]:
        return {"paid": ran("pay"), "amount": amount}


@register_tool(name="tc_lost")
@contract(idempotent=False)
class Lost:
    """A payment that is made, and whose answer is lost."""

    async def execute(self, amount: int = 0) -> str:
        return ran("lost", ConnectionResetError("connection reset"))


@register_tool(name="tc_never_again")
@retryable(max_retries=0)
class NeverAgain:
    async def execute(self, amount: int = 0) -> str:
        return ran("never again", ConnectionResetError("connection reset") if amount < 0 else None)


@register_tool(name="tc_again")
@contract(idempotent=True, side_effects=SideEffectClass.REMOTE)
class Again:
    async def execute(self, amount: int = 0) -> str:
        return ran("again", ConnectionResetError("connection reset") if amount < 0 else None)


@register_tool(name="tc_order")
@contract(determinism=Determinism.IMPURE)
class Order:
    async def execute(self, item: str = "") -> str:
        return ran("order")


@register_tool(name="tc_square")
@contract(determinism=Determinism.PURE)
class Square:
    async def execute(self, n: int = 0) -> int:
        ran("square")
        return n * n


@register_tool(name="tc_give")
class Give:
    async def execute(self) -> Any:
        ran("give")
        return RESULT[0]()


@register_tool(name="tc_waits")
class Waits:
    async def execute(self) -> str:
        ran("waits")
        GATE["begun"].set()
        await GATE["open"].wait()
        return "waited"


@pytest.fixture(autouse=True)
def _clear() -> None:
    CALLS.clear()
    RESULT[0] = lambda: None
    GATE.update(begun=asyncio.Event(), open=asyncio.Event())


def call(call_id: str, tool: str, arguments: Any = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}


def asking(*calls: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "tool_calls": list(calls)}


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


def claude(*calls: tuple[str, str, Any], response_id: str = "msg_1") -> dict[str, Any]:
    """A whole response of Anthropic's."""
    blocks = [{"type": "tool_use", "id": id_, "name": tool, "input": given} for id_, tool, given in calls]
    return {
        "id": response_id,
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Let me see."}, *blocks],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 100, "output_tokens": 10},
    }


async def processed(store: Any, message: dict[str, Any], **settings: Any) -> list[ToolResult]:
    """Process a message as a worker does that was just started."""
    processor = await SessionAwareToolProcessor.create("s", store=store, retry_delay=0, **settings)
    return await processor.process_llm_message(message)


async def process_in(place: Place, message: dict[str, Any]) -> list[tuple[Any, str | None]]:
    async with place.store() as store:
        return [(result.result, result.error) for result in await processed(store, message)]


def types_in(session: Session[Any] | None) -> list[str]:
    assert session is not None
    return [event.type.value for event in session.events]


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


# -- failures ------------------------------------------------------------------------------------


class Server:
    """What MCPTool talks to: it drops the connection once."""

    def __init__(self) -> None:
        self.asked = 0

    async def call_tool(self, **_: Any) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionResetError("connection reset by peer")
        return {"isError": False, "content": "sunny"}


async def test_a_server_of_mcp_that_is_away_is_a_failure_and_is_asked_again(store: MemoryStore) -> None:
    server: Any = Server()
    registry = create_registry()
    tool = MCPTool("weather", server, recovery_config=RecoveryConfig(max_retries=0), enable_resilience=True)
    tool._is_stream_manager_healthy = lambda: asyncio.sleep(0, result=True)  # type: ignore[method-assign]
    await registry.register_tool(tool, name="weather")
    theirs = ToolProcessor(registry=registry)
    processor = SessionAwareToolProcessor("s", store=store, processor=theirs)
    (first,) = await processor.process_llm_message(asking(call("call_1", "weather")))
    assert "connection reset by peer" in str(first.error)
    assert not first.is_success
    (second,) = await processor.process_llm_message(asking(call("call_2", "weather")))
    assert (second.result, second.error, second.cached) == ("sunny", None, False)
    assert server.asked == 2
    events = [event for event in (await store.get("s")).events if event.type == EventType.TOOL_CALL]  # type: ignore[union-attr]
    assert [event.message["success"] for event in events] == [False, True]
    assert events[0].metadata["failed"] is True
    rows = await SessionManager("s", store=store).get_messages_for_llm(include_tools=True)
    assert [block.get("is_error", False) for block in results_for_anthropic(rows)] == [True, False]


def results_for_anthropic(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    contents = [row["content"] for row in for_anthropic(rows)["messages"]]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return [block for block in blocks if block["type"] == "tool_result"]


FAILURES = [
    ({"isError": True, "content": [{"type": "text", "text": "no such city"}]}, "no such city"),
    ({"isError": True, "error": "no such city"}, "no such city"),
    ({"is_error": True, "content": "no such city"}, "no such city"),
    ({"isError": True}, UNNAMED),
    ({"isError": True, "error": {"code": -32000}}, '{"code": -32000}'),
    ({"error": "away", "available": False, "reason": "unhealthy"}, "away"),
    (SimpleNamespace(isError=True, content=[SimpleNamespace(type="text", text="no")]), "no"),
    (SimpleNamespace(type="tool", status="error", content="no"), "no"),
]


@pytest.mark.parametrize(("result", "error"), FAILURES)
async def test_a_result_that_says_that_it_failed_is_a_failure(
    result: Any, error: str, store: MemoryStore
) -> None:
    assert failure_in(result) == error
    RESULT[0] = lambda: result
    processor = SessionAwareToolProcessor("s", store=store)
    for at in range(2):
        (told,) = await processor.process_llm_message(asking(call(f"call_{at}", "tc_give")))
        assert (told.error, told.cached, told.is_success) == (error, False, False)
    assert CALLS == ["give"] * 2
    sm = SessionManager("s", store=store)
    await sm.tool_used("other", {}, result, tool_call_id="call_2")
    events = (await store.get("s")).events  # type: ignore[union-attr]
    assert [event.message["success"] for event in events if event.type == EventType.TOOL_CALL] == [False] * 3
    results = results_for_anthropic(await sm.get_messages_for_llm(include_tools=True))
    assert [block["is_error"] for block in results] == [True] * 3
    assert json.loads(results[0]["content"]) == {"error": error} or not isinstance(result, dict)


@pytest.mark.parametrize(
    "result",
    [
        {"isError": False, "content": []},
        {"error": None, "available": False},
        {"error": "", "available": False},
        {"available": False},
        {"error": "disk full"},
        {"status": "error"},
        "isError",
        None,
        [{"isError": True}],
    ],
)
def test_what_only_looks_like_a_failure_is_none(result: Any) -> None:
    assert failure_in(result) is None


async def test_a_result_with_an_error_in_it_is_not_given_again(store: MemoryStore) -> None:
    RESULT[0] = lambda: {"error": "disk full"}
    processor = SessionAwareToolProcessor("s", store=store)
    for at in range(2):
        (result,) = await processor.process_llm_message(asking(call(f"call_{at}", "tc_give")))
        assert (result.error, result.cached) == (None, False)
    assert CALLS == ["give"] * 2


def raise_(problem: BaseException) -> None:
    raise problem


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (ValueError(), "ValueError"),
        (AssertionError(), "AssertionError"),
        (KeyError("x"), "'x'"),
        (TimeoutError("upstream said no"), "TimeoutError: upstream said no"),
        (TimeoutError(), "TimeoutError"),
    ],
)
async def test_an_exception_is_told_by_its_kind_at_least(
    problem: Exception, error: str, store: MemoryStore
) -> None:
    RESULT[0] = lambda: raise_(problem)
    (result,) = await processed(store, asking(call("call_1", "tc_give")), max_retries=0)
    assert result.error == error
    session = await store.get("s")
    assert session
    prompt = await build_prompt_from_session(session, PromptStrategy.TOOL_FOCUSED)
    assert [error in row["content"] for row in prompt if row["role"] == "tool"] == [True]


async def test_a_failure_without_words_of_a_processor_of_the_application_s_own(store: MemoryStore) -> None:
    RESULT[0] = lambda: raise_(ValueError())
    theirs = ToolProcessor(enable_retries=False, enable_caching=False)
    (result,) = await processed(store, asking(call("call_1", "tc_give")), processor=theirs)
    assert result.error == UNNAMED


# -- declarations --------------------------------------------------------------------------------


@pytest.mark.parametrize(("tool", "name"), [("tc_lost", "lost"), ("tc_never_again", "never again")])
async def test_a_tool_that_says_so_is_not_tried_again(tool: str, name: str, store: MemoryStore) -> None:
    (result,) = await processed(store, asking(call("call_1", tool, '{"amount": -5}')))
    assert (result.error, result.attempts) == ("connection reset", 1)
    assert [name] == CALLS


async def test_an_idempotent_tool_is_tried_again(store: MemoryStore) -> None:
    (result,) = await processed(store, asking(call("call_1", "tc_again", '{"amount": -5}')))
    assert result.attempts == 3
    assert CALLS == ["again"] * 3


@pytest.mark.parametrize("tool", ["tc_order", "tc_never_again", "tc_again"])
async def test_the_same_order_in_two_turns_is_made_twice(tool: str, store: MemoryStore) -> None:
    processor = SessionAwareToolProcessor("s", store=store)
    for at in range(2):
        results = await processor.process_llm_message(
            asking(call(f"call_{at}", tool), call(f"call_{at}b", tool))
        )
        assert [(result.error, result.cached) for result in results] == [(None, False)] * 2
    assert len(CALLS) == 4


async def test_equal_calls_of_one_message_run_once(store: MemoryStore) -> None:
    processor = SessionAwareToolProcessor("s", store=store)
    calls = [call(f"call_{at}", "tc_square", '{"n": 3}') for at in range(3)]
    results = await processor.process_llm_message(asking(*calls))
    assert [(result.result, result.cached) for result in results] == [(9, False), (9, True), (9, True)]
    assert [result.call_id for result in results] == ["call_0", "call_1", "call_2"]
    assert CALLS == ["square"]


async def test_an_equal_call_runs_where_the_first_failed(store: MemoryStore) -> None:
    outcomes = iter([ValueError("first"), None])

    def give() -> str:
        problem = next(outcomes)
        if problem:
            raise problem
        return "second"

    RESULT[0] = give
    calls = asking(call("call_1", "tc_give"), call("call_2", "tc_give"))
    first, second = await processed(store, calls, max_retries=0)
    assert (first.error, second.result, second.cached) == ("first", "second", False)


def test_what_tools_declare() -> None:
    def of(*decorators: Callable[[Any], Any]) -> Declaration:
        tool: Any = type("Tool", (), {})
        for decorate in decorators:
            tool = decorate(tool)
        assert declaration_of(tool) == declaration_of(tool())
        return declaration_of(tool)

    assert of() == Declaration(is_idempotent=False, most_retries=None, is_cacheable=True)
    assert of(contract()) == Declaration(is_idempotent=False, most_retries=0, is_cacheable=False)
    assert of(contract(idempotent=True)) == Declaration(is_idempotent=True, is_cacheable=False)
    assert of(contract(determinism=Determinism.PURE)) == Declaration(is_idempotent=True)
    destructive = contract(determinism=Determinism.PURE, side_effects=SideEffectClass.DESTRUCTIVE)
    assert of(destructive) == Declaration(most_retries=0, is_cacheable=False)
    assert of(retryable(max_retries=1)) == Declaration(most_retries=1)
    assert of(retryable(max_retries=0)) == Declaration(most_retries=0, is_cacheable=False)
    assert of(contract(), retryable(max_retries=5)).most_retries == 0
    assert of(contract(), cacheable()).is_cacheable
    assert declaration_of(None) == Declaration()


def test_what_is_assumed_of_contracts() -> None:
    """Of chuk-tool-processor: that a contract is not idempotent, but "safe to retry", unless it says more."""
    tool: Any = contract()(type("Tool", (), {}))
    known = get_contract(tool)
    assert known is not None
    assert (known.idempotent, known.is_safe_to_retry, known.determinism) == (False, True, Determinism.IMPURE)


async def test_a_function_s_declaration_is_read(store: MemoryStore) -> None:
    @contract(idempotent=False)
    async def transfer() -> str:
        return ran("transfer", ConnectionResetError("connection reset"))

    await register_fn_tool(transfer, name="tc_transfer")
    await processed(store, asking(call("call_1", "tc_transfer")))
    assert CALLS == ["transfer"]


# -- arguments -----------------------------------------------------------------------------------


NOTHING: list[Any] = [" ", "\n", "", "[]", " [] ", "null", '""', [], None, {}, "{}"]


@pytest.mark.parametrize("arguments", [*NOTHING, ...])
async def test_no_arguments_are_none_in_whichever_form(arguments: Any, store: MemoryStore) -> None:
    asked = call("call_1", "tc_pay", arguments)
    if arguments is ...:
        del asked["function"]["arguments"]
    (result,) = await processed(store, asking(asked))
    assert (result.error, CALLS) == (None, ["pay"])
    rows = await SessionManager("s", store=store).get_messages_for_llm(include_tools=True)
    assert rows[0]["tool_calls"][0]["function"]["arguments"].strip() == "{}"
    assert for_anthropic(rows)["messages"][-2]["content"][-1]["input"] == {}


@pytest.mark.parametrize("arguments", NOTHING)
async def test_no_input_is_none_in_whichever_form(arguments: Any, store: MemoryStore) -> None:
    (result,) = await processed(store, claude(("toolu_1", "tc_pay", arguments)))
    assert (result.error, CALLS) == (None, ["pay"])
    rows = await SessionManager("s", store=store).get_messages_for_llm(include_tools=True)
    assert rows[0]["tool_calls"][0]["function"]["arguments"].strip() == "{}"


# -- results that cannot be copied ---------------------------------------------------------------


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    "make",
    [
        {"a": 1}.keys,
        lambda: (each for each in [1, 2]),
        lambda: memoryview(b"abc"),
        lambda: sqlite3.connect(":memory:").cursor(),
        Locked,
        lambda: iter([1, 2]),
    ],
)
async def test_results_that_cannot_be_copied_are_results(make: Callable[[], Any], store: MemoryStore) -> None:
    made = make()
    RESULT[0] = lambda: made
    processor = SessionAwareToolProcessor("s", store=store)
    for at in range(2):
        message = asking(call(f"call_{at}", "tc_give"), call(f"call_{at}b", "tc_square"))
        given, squared = await processor.process_llm_message(message)
        assert (given.error, squared.error) == (None, None)
        assert given.result is made or make().__class__.__name__ == "list_iterator"
    assert CALLS.count("square") == 1
    assert types_in(await store.get("s")) == ["message", "tool_call", "tool_call"] * 2
    if hasattr(made, "__next__") and not isinstance(made, sqlite3.Cursor):
        assert list(made) == [1, 2]  # nobody read it
