"""Prompts of a session, by strategy, and cut to a number of tokens.

python examples/16_prompt_builder.py
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

# Importing sample_tools registers "calculator".
from chuk_ai_session_manager import (
    PromptStrategy,
    SessionAwareToolProcessor,
    SessionManager,
    build_prompt_from_session,
    sample_tools,  # noqa: F401
    truncate_prompt_to_token_limit,
)
from chuk_ai_session_manager.session_storage import get_backend

ASKED = {"name": "calculator", "arguments": '{"operation": "divide", "a": 90, "b": 0}'}
CALLING = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": ASKED}],
}


def show(title: str, prompt: list[dict[str, Any]]) -> None:
    print(f"-- {title}")
    for row in prompt:
        print(f"   {json.dumps(row)}")


async def main() -> None:
    sm = SessionManager(system_prompt="You can calculate.")
    await sm.user_says("Good morning.")
    await sm.ai_responds("Good morning! What is to be done?", model="gpt-4o-mini")
    await sm.user_says("What is 90 divided by nothing?")
    processor = await SessionAwareToolProcessor.create(sm.session_id, max_retries=0)
    await processor.process_llm_message(CALLING)

    session = await get_backend().get(sm.session_id)
    assert session is not None
    for strategy in PromptStrategy:  # the first five are for reading; "chat" is what providers accept
        show(strategy.value, await build_prompt_from_session(session, strategy))

    query = "And by three?"
    show("with what you ask now", await build_prompt_from_session(session, "task", current_query=query))
    show("in 48 tokens", await build_prompt_from_session(session, "chat", max_tokens=48))

    messages = await sm.get_messages_for_llm()
    show("any list of messages, in 15 tokens", await truncate_prompt_to_token_limit(messages, 15))


if __name__ == "__main__":
    asyncio.run(main())
