"""The system prompt: kept with the session, changed in mid-conversation, found again by the next process.

python examples/03_system_prompt.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import SessionManager


async def main() -> None:
    sm = SessionManager("trip-7", system_prompt="You are a travel agent.")
    await sm.user_says("Where should I go in May?")
    await sm.ai_responds("To Bergen, before the rain.", model="gpt-4o-mini")
    print("At first:     ", (await sm.get_messages_for_llm())[0])

    await sm.update_system_prompt("You are a travel agent, and brief.")
    print("Updated:      ", (await sm.get_messages_for_llm())[0])

    found = SessionManager("trip-7")  # no prompt given: the stored one holds
    print("Found again:  ", (await found.get_messages_for_llm())[0])

    ours = SessionManager(
        "trip-7", system_prompt="You are a critic."
    )  # for this manager only, unless it is saved
    print("Another view: ", (await ours.get_messages_for_llm())[0])
    print("Without it:   ", [row["role"] for row in await found.get_messages_for_llm(include_system=False)])


if __name__ == "__main__":
    asyncio.run(main())
