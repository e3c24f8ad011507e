"""Second thoughts: edit a question, ask for another answer, and go back to the other one: "2 of 3".

python examples/20_edit_and_regenerate.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import SessionManager

ANSWERS = iter(["Try a walk by the sea.", "Try a museum.", "Try the opera.", "Pack a raincoat, then."])


async def ask(sm: SessionManager) -> str:
    """Stand in for a model: send `messages` to yours."""
    messages = await sm.get_messages_for_llm()
    answer = next(ANSWERS)
    await sm.ai_responds(answer, model="gpt-4o-mini")
    print(f"   (the model was sent {len(messages)} messages)")
    rows = await sm.get_conversation(with_ids=True)
    return str(rows[-1]["event_id"])


async def show(sm: SessionManager) -> None:
    """Print the conversation as a chat window shows it, with "2 of 3" where there are variants."""
    for row in await sm.get_conversation(with_ids=True):
        variants = await sm.variants(row["event_id"])
        number = next(at for at, each in enumerate(variants, 1) if each["is_chosen"])
        page = f"   < {number} of {len(variants)} >" if len(variants) > 1 else ""
        print(f"{row['role']:>10}  {row['content']}{page}")
    print()


async def main() -> None:
    sm = SessionManager()
    await sm.user_says("What shall I do on Sunday?")
    first = await ask(sm)
    await show(sm)

    print("-- Another answer, and one more")
    for _ in range(2):
        await sm.regenerate(first)
        await ask(sm)
    await show(sm)

    print("-- Back to the one before")
    second = (await sm.variants(first))[1]["event_id"]
    await sm.choose(second)
    await show(sm)

    print("-- The question in other words: the old one stays, with its answers, and can be chosen again")
    question = (await sm.get_conversation(with_ids=True))[0]["event_id"]
    await sm.edit(question, "What shall I do on Sunday, if it rains?")
    await ask(sm)
    await show(sm)
    await sm.choose(question)
    await show(sm)

    print("-- A new conversation that continues from here")
    fork = await sm.fork(at=second)
    await fork.user_says("Which museum?")
    await show(fork)

    print("-- Taken back")
    await sm.undo()
    stats = await sm.get_stats()
    print(f"{stats['total_messages']} messages are on the path; {stats['llm_calls']} calls stay on the bill")


if __name__ == "__main__":
    asyncio.run(main())
