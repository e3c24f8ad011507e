"""A chat through Anthropic's SDK: one call tracked by hand, and one whose answer streams.

Runs offline against `local_llm.py`. With the real API, leave out `base_url` and `api_key`.

    pip install anthropic
    python examples/07_anthropic_chat.py
"""

from __future__ import annotations

import asyncio
from typing import Any

import local_llm
from anthropic import AsyncAnthropic

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_llm_call
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic

MODEL = "claude-sonnet-4-6"


async def main(address: str) -> None:
    sm = SessionManager(system_prompt="Be brief.")
    async with AsyncAnthropic(base_url=address, api_key="none") as anthropic:

        async def ask(_: str, **options: Any) -> Any:
            request = for_anthropic(await sm.get_messages_for_llm())  # the question is in it already
            return await anthropic.messages.create(model=MODEL, max_tokens=200, **request, **options)

        async def ask_streaming(question: str) -> Any:
            return await ask(question, stream=True)

        text, _ = await track_llm_call("What is a session?", ask, session_manager=sm)
        print(text)

        async for event in stream_llm_call("And what is a segment?", ask_streaming, session_manager=sm):
            if event.type == "content_block_delta":
                print(event.delta.text, end="", flush=True)
        print("\n")

    for row in await sm.get_messages_for_llm():
        print(f"{row['role']:>10}  {row['content']}")
    stats = await sm.get_stats()
    cached = f"{stats['cache_read_tokens']} from the cache, {stats['cache_write_tokens']} to it"
    tokens = f"{stats['input_tokens']} tokens in ({cached}), {stats['output_tokens']} out"
    print(f"\n{stats['llm_calls']} calls, {tokens}, ${stats['estimated_cost']:.6f}")


if __name__ == "__main__":
    with local_llm.running() as address:
        asyncio.run(main(address))
