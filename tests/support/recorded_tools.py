"""Tools that write down their calls, and answers that ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from chuk_tool_processor import ToolResult, register_tool
from chuk_tool_processor.execution.wrappers import retryable
from chuk_tool_processor.models import Determinism, SideEffectClass, contract

from chuk_ai_session_manager import SessionAwareToolProcessor
from chuk_ai_session_manager.models import Session

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


def call(call_id: str, tool: str, arguments: Any = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": tool, "arguments": arguments}}


def asking(*calls: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": text, "tool_calls": list(calls)}


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


def types_in(session: Session[Any] | None) -> list[str]:
    assert session is not None
    return [event.type.value for event in session.events]
