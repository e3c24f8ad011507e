"""A chat through OpenAI's SDK, tracked without rewriting its calls.

Runs offline against `local_llm.py`. With the real API, leave out `base_url` and `api_key`.

    pip install openai
    python examples/06_openai_chat.py
"""

from __future__ import annotations

import asyncio
from typing import Any

import local_llm
from openai import AsyncOpenAI

from chuk_ai_session_manager import SessionManager, track_client

MODEL = "gpt-4o-mini"


async def main(address: str) -> None:
    sm = SessionManager(system_prompt="Be brief.")
    async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as openai:
        client = track_client(openai, sm)

        question: dict[str, Any] = {"role": "user", "content": "What is a session?"}
        messages: Any = [*await sm.get_messages_for_llm(), question]
        completion = await client.chat.completions.create(model=MODEL, messages=messages)
        print(completion.choices[0].message.content)

        await sm.user_says("And what is a segment?")
        messages = await sm.get_messages_for_llm()
        stream: Any = await client.chat.completions.create(
            model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            for choice in chunk.choices:
                print(choice.delta.content or "", end="", flush=True)
        print("\n")

    for row in await sm.get_messages_for_llm():
        print(f"{row['role']:>10}  {row['content']}")
    stats = await sm.get_stats()
    tokens = f"{stats['input_tokens']} in ({stats['cache_read_tokens']} cached), {stats['output_tokens']} out"
    print(f"\n{stats['llm_calls']} calls, {tokens}, ${stats['estimated_cost']:.6f}, {stats['usage_source']}")


if __name__ == "__main__":
    with local_llm.running() as address:
        asyncio.run(main(address))
