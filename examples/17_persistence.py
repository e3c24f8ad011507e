"""Sessions that outlive the program: run it twice, with the same URL.

python examples/17_persistence.py sqlite:///chats.db
python examples/17_persistence.py redis://localhost:6379/0
"""

from __future__ import annotations

import asyncio
import math
import sys

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import open_store


async def main(url: str) -> None:
    async with open_store(url) as store:
        sm = SessionManager("diary", user_id="ada", store=store)
        await sm.user_says("Dear diary, here I am again.")
        await sm.ai_responds("Welcome.", model="gpt-4o-mini")
        stats = await sm.get_stats()
        print(f"{stats['total_messages']} messages since {stats['created_at']:.19}")

        # Any number of processes may do this at once: nothing is lost, doubled or out of order.
        await asyncio.gather(*(sm.user_says(f"Thought {number}") for number in range(3)))
        for row in (await sm.get_conversation())[-5:]:
            print(f"{row['role']:>10}  {row['content']}")

        seconds = await store.time_to_live("diary")
        print("It lives for ever." if seconds == math.inf else f"It lives for {seconds} more seconds.")
        report = await store.durability_report()
        print(f"May be lost of it: {report.loss_window}")
        for warning in report.warnings:
            print(f"Mind: {warning}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///chats.db"))
