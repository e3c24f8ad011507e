"""Tool processors that an application brings along, stubs, and what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from chuk_tool_processor import ExecutionContext, ToolCall, ToolProcessor, ToolResult, create_registry
from tools import LONG, Dummy, Executor, Failing, Stage, asking, call, ready_made, tool_events

from chuk_ai_session_manager import session_aware_tool_processor as module
from chuk_ai_session_manager.exceptions import InvalidInput, SessionNotFound
from chuk_ai_session_manager.models import EventType, Session, SessionEvent
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.stores import MemoryStore


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
    assert "returned no result" in str(result.error)


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
