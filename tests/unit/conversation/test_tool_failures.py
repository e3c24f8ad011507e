"""Tools that fail, that declare how they may be called, and results that cannot be copied."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from chuk_tool_processor import ToolProcessor, create_registry, register_fn_tool
from chuk_tool_processor.execution.wrappers import cacheable, retryable
from chuk_tool_processor.mcp.mcp_tool import MCPTool, RecoveryConfig
from chuk_tool_processor.models import Determinism, SideEffectClass, contract, get_contract
from recorded_tools import CALLS, GATE, RESULT, asking, call, claude, processed, ran, types_in

from chuk_ai_session_manager import SessionAwareToolProcessor, SessionManager
from chuk_ai_session_manager.conversation.tool_declarations import Declaration, declaration_of
from chuk_ai_session_manager.models import EventType, Session
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic as request_for_anthropic
from chuk_ai_session_manager.providers.failures import UNNAMED, failure_in
from chuk_ai_session_manager.session_prompt_builder import PromptStrategy, build_prompt_from_session
from chuk_ai_session_manager.stores import MemoryStore

# Looked into as JSON, not as what the SDK's types say of it.
for_anthropic: Any = request_for_anthropic


@pytest.fixture(autouse=True)
def _clear() -> None:
    CALLS.clear()
    RESULT[0] = lambda: None
    GATE.update(begun=asyncio.Event(), open=asyncio.Event())


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await Session.create("s", store=store)
    return store


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
        assert given.result is made or type(made).__name__ == "list_iterator"
    assert CALLS.count("square") == 1
    assert types_in(await store.get("s")) == ["message", "tool_call", "tool_call"] * 2
    if isinstance(made, sqlite3.Cursor):
        made.connection.close()
    elif hasattr(made, "__next__"):
        assert list(made) == [1, 2]  # nobody read it
