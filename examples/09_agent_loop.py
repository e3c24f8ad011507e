"""An agent: a model that calls tools until it has the answer, all of it recorded in one session.

The model here is scripted, so that this runs offline; the tools and the session are real. With a model
of your own, `ask_model` would be `client.chat.completions.create(model=..., messages=..., tools=...)`.

    python examples/09_agent_loop.py
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

# Importing sample_tools registers "calculator" and "weather".
from chuk_ai_session_manager import SessionAwareToolProcessor, SessionManager, sample_tools  # noqa: F401

MODEL = "gpt-4o-mini"
QUESTION = "What do 3 nights at $129.50 cost, and do I need an umbrella in Oslo?"


def call(call_id: str, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}


SCRIPT: list[dict[str, Any]] = [
    {
        "role": "assistant",
        "content": "I calculate, and look at the weather.",
        "tool_calls": [
            call("call_1", "calculator", operation="multiply", a=129.5, b=3),
            call("call_2", "weather", location="Oslo"),
            call("call_3", "umbrella_shop", city="Oslo"),  # which there is not: the model is told so
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [call("call_4", "calculator", operation="add", a=388.5, b=20)],
    },
    {"role": "assistant", "content": "388.50 USD, or 408.50 USD with an umbrella. Take one: it is Oslo."},
]


async def ask_model(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the next message of the script, and what a provider would say of the tokens."""
    answers = sum(row["role"] == "assistant" for row in messages)
    usage = {"prompt_tokens": 120 + 90 * answers, "completion_tokens": 40}
    return {"message": SCRIPT[answers], "usage": usage}


async def answer(sm: SessionManager, question: str) -> str:
    """Ask the model, run the tools that it asks for, and again, until it answers in words."""
    await sm.user_says(question)
    tools = await SessionAwareToolProcessor.create(sm.session_id)
    while True:
        response = await ask_model(await sm.get_messages_for_llm(include_tools=True))
        message = response["message"]
        if not message.get("tool_calls"):
            await sm.ai_responds(message["content"], MODEL, "openai", usage=response["usage"])
            return str(message["content"])
        await tools.process_llm_message(message, model=MODEL, provider="openai", usage=response["usage"])


async def main() -> None:
    sm = SessionManager(system_prompt="You are a travel agent.")
    await answer(sm, QUESTION)
    for row in await sm.get_messages_for_llm(include_tools=True):
        if row["content"]:
            print(f"{row['role']:>10}  {row['content']}")
        for each in row.get("tool_calls", []):
            print(f"{'calls':>10}  {each['function']['name']}({each['function']['arguments']})")
    stats = await sm.get_stats()
    print(
        f"\n{stats['llm_calls']} model calls, {stats['tool_calls']} tool calls, "
        f"{stats['input_tokens']} tokens in, {stats['output_tokens']} out, ${stats['estimated_cost']:.6f}"
    )


if __name__ == "__main__":
    asyncio.run(main())
