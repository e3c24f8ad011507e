"""A tool that fails at first: tried again, recorded with its attempts, and told to the model.

python examples/10_retry_prompt.py
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from chuk_tool_processor import register_tool

from chuk_ai_session_manager import (
    PromptStrategy,
    SessionAwareToolProcessor,
    SessionManager,
    build_prompt_from_session,
)
from chuk_ai_session_manager.session_storage import get_backend

tries: list[str] = []


@register_tool(name="stock_price", namespace="default", description="The price of a share")
class StockPrice:
    """Answers the third time that it is asked; and not at all of an unknown company."""

    async def execute(self, symbol: str) -> dict[str, Any]:
        tries.append(symbol)
        if symbol == "NONE":
            raise ValueError("no such company")
        if tries.count(symbol) < 3:
            raise ConnectionError("the exchange does not answer")
        return {"symbol": symbol, "price": 12.5}


def call(call_id: str, symbol: str) -> dict[str, Any]:
    asked = {"name": "stock_price", "arguments": json.dumps({"symbol": symbol})}
    return {"id": call_id, "type": "function", "function": asked}


async def main() -> None:
    logging.getLogger("chuk_tool_processor").setLevel(
        logging.CRITICAL
    )  # it prints what each failed try raised
    sm = SessionManager()
    await sm.user_says("What do ABC and NONE cost?")
    processor = await SessionAwareToolProcessor.create(sm.session_id, max_retries=3, retry_delay=0.01)
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [call("call_1", "ABC"), call("call_2", "NONE")],
    }
    await processor.process_llm_message(message, model="gpt-4o-mini")

    session = await get_backend().get(sm.session_id)
    assert session is not None
    for event in session.events:
        if isinstance(event.message, dict) and "tool" in event.message:
            asked, outcome = event.message["arguments"], event.message["error"] or event.message["result"]
            print(f"{asked}  after {event.metadata['attempt']} tries: {outcome}")

    print("\nThe prompt for the model to try again by:")
    for row in await build_prompt_from_session(session, PromptStrategy.TOOL_FOCUSED):
        print(f"   {json.dumps(row)}")
    print("\nThe same as messages that a provider accepts:")
    for row in await build_prompt_from_session(session, PromptStrategy.CHAT):
        print(f"   {json.dumps(row)}")


if __name__ == "__main__":
    asyncio.run(main())
