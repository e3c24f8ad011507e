"""One call keeps a question and its answer; the id that it gives continues the conversation.

python examples/01_track_conversation.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import get_conversation_history, get_session_stats, track_conversation


async def main() -> None:
    session_id = await track_conversation(
        "What's the weather like?", "I can't look outside.", model="gpt-4o-mini"
    )
    await track_conversation(
        "Then tell me about clouds.",
        "They are water in the air: droplets, or ice.",
        model="gpt-4o-mini",
        session_id=session_id,
    )

    for row in await get_conversation_history(session_id):
        print(f"{row['role']:>10}  {row['content']}")
    stats = await get_session_stats(session_id)
    counted = f"{stats['total_messages']} messages, {stats['total_tokens']} tokens"
    print(f"\n{counted}, ${stats['estimated_cost']:.6f}")


if __name__ == "__main__":
    asyncio.run(main())
