"""A manager: say what was said as it is said, and get the messages for the model's next call back.

python examples/02_session_manager.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import SessionManager

TURNS = [
    ("Why is the sky blue?", "Air scatters blue light more than red."),
    ("And sunsets?", "The light comes a longer way, and the blue is scattered out of it."),
    ("And on Mars?", "There it is the other way round: the dust makes sunsets blue."),
]


async def main() -> None:
    sm = SessionManager(system_prompt="You are a patient teacher.", user_id="ada", model="gpt-4o-mini")
    for question, answer in TURNS:
        await sm.user_says(question, channel="web")  # metadata of your own
        await sm.ai_responds(answer, provider="openai")
    await sm.user_says("Which of the two is prettier?")

    print("For the next call, all of it:")
    for row in await sm.get_messages_for_llm():
        print(f"{row['role']:>10}  {row['content']}")
    print("\nFor the next call, in 40 tokens:")
    for row in await sm.get_messages_for_llm(max_tokens=40):
        print(f"{row['role']:>10}  {row['content']}")

    stats = await sm.get_stats()
    counted = f"{stats['user_messages']} questions, {stats['ai_messages']} answers"
    print(f"\n{sm}\n{counted}, {stats['total_tokens']} tokens, ${stats['estimated_cost']:.6f}")


if __name__ == "__main__":
    asyncio.run(main())
