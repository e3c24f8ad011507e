"""Tool calls: record what your own code ran, or have a model's calls run, retried, cached and recorded.

python examples/08_tool_calls.py
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

# Importing sample_tools registers "calculator".
from chuk_ai_session_manager import SessionAwareToolProcessor, SessionManager, sample_tools  # noqa: F401


def call(call_id: str, **arguments: Any) -> dict[str, Any]:
    asked = {"name": "calculator", "arguments": json.dumps(arguments)}
    return {"id": call_id, "type": "function", "function": asked}


async def main() -> None:
    sm = SessionManager()
    await sm.user_says("What is 5 + 3, and what is 12 / 0?")

    # Your own code ran the tool:
    await sm.tool_used("clock", arguments={}, result={"time": "12:30"})

    # The model asks for calls; the tools are those that are registered with chuk-tool-processor.
    processor = await SessionAwareToolProcessor.create(sm.session_id, max_retries=0)
    calls = [
        call("call_1", operation="add", a=5, b=3),
        call("call_2", operation="divide", a=12, b=0),  # its error is a result, which the model is told
        call("call_3", operation="add", a=5, b=3),
    ]
    results = await processor.process_llm_message({"role": "assistant", "content": None, "tool_calls": calls})
    for asked, result in zip(calls, results, strict=True):
        print(f"{asked['id']}  {asked['function']['arguments']}")
        print(f"        {result.error or result.result['result']}")

    print("\nWhat the model is sent next:")
    for row in await sm.get_messages_for_llm(include_tools=True):
        print(f"{row['role']:>10}  {row['content'] or [each['id'] for each in row['tool_calls']]}")
    print(f"\n{(await sm.get_stats())['tool_calls']} tool calls")


if __name__ == "__main__":
    asyncio.run(main())
