"""Tools that the tests of the tool processor call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chuk_tool_processor import ExecutionContext, ToolCall, ToolResult, get_current_context, register_tool

from chuk_ai_session_manager.models import EventType, Session, SessionEvent
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


def call(call_id: str, tool: str, arguments: Any = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}


def asking(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def tool_events(session: Session[Any]) -> list[SessionEvent[Any]]:
    return [event for event in session.events if event.type is EventType.TOOL_CALL]


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
