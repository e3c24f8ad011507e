"""A conversation without end: full segments are summarised, and what goes to the model stays small.

python examples/11_infinite_context.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from chuk_ai_session_manager import SessionManager

TOPICS = ["the abacus", "Babbage's engines", "Turing's paper", "the transistor", "the web", "qubits"]


async def talk(sm: SessionManager) -> None:
    for topic in TOPICS:
        await sm.user_says(f"My name is Ada. Tell me about {topic}, please?")
        await sm.ai_responds(f"There is much to say about {topic}.", model="gpt-4o-mini")
    await sm.user_says("And what comes next?")


async def show(sm: SessionManager) -> None:
    chain = await sm.get_session_chain()
    messages = await sm.get_messages_for_llm()
    said = len(await sm.get_conversation())
    print(f"{said} messages in {len(chain)} segments; to the model go {len(messages)}:")
    for row in messages:
        print(f"{row['role']:>10}  {row['content']}")
    print()


async def main() -> None:
    print("-- The built-in summary, made without a model")
    sm = SessionManager(infinite_context=True, max_turns_per_segment=4)
    await talk(sm)
    await show(sm)

    # Any segment's id opens the whole conversation, in any process; this is the first one's.
    first = (await sm.get_session_chain())[0]
    found = SessionManager(first, infinite_context=True)
    print(f"-- Found by its first id: {len(await found.get_conversation())} messages, all that were said\n")

    async def summarise(told: list[dict[str, Any]]) -> str:
        """Make one summary of that so far, a system row, and what was said since; yours asks a model."""
        so_far = [row["content"].partition(": ")[2] for row in told if row["role"] == "system"]
        asked = [row["content"].partition("about ")[2] for row in told if row["role"] == "user"]
        return " ".join([*so_far, *asked])

    print("-- A summary of your own")
    own = SessionManager(infinite_context=True, max_turns_per_segment=4, summary_callback=summarise)
    await talk(own)
    await own.wait_for_summaries()
    await show(own)


if __name__ == "__main__":
    asyncio.run(main())
