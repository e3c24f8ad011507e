"""The first calls of a process, of a conversation with one question and one answer.

    python fresh_process.py SessionManager      # or: sessions, for the OpenAI Agents SDK's

Prints JSON: milliseconds of each, and of the longest stall of the event loop.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Iterator

from driver import Taken, stalled
from workload import ASSISTANT_LENGTH, MODEL, PROVIDER, USER_LENGTH, text


def of_a_manager() -> Iterator[Awaitable[object]]:
    """The question, the answer, and the context of the next call; before that, the import."""
    from chuk_ai_session_manager import SessionManager  # noqa: PLC0415  (timed)

    yield asyncio.sleep(0)
    manager = SessionManager()
    yield manager.user_says(text(USER_LENGTH))
    yield manager.ai_responds(text(ASSISTANT_LENGTH), model=MODEL, provider=PROVIDER)
    yield manager.get_messages_for_llm()


def of_the_agents_sdk() -> Iterator[Awaitable[object]]:
    """The same with a session of the OpenAI Agents SDK."""
    from agents_sdk import opener  # noqa: PLC0415  (timed)

    new = opener()
    yield asyncio.sleep(0)
    session = new("first")
    yield session.add_items([{"role": "user", "content": text(USER_LENGTH)}])
    yield session.add_items([{"role": "assistant", "content": text(ASSISTANT_LENGTH)}])
    yield session.get_items()


async def main() -> None:
    """Do what the first argument says."""
    started = time.perf_counter()
    calls = of_a_manager() if sys.argv[1] == "SessionManager" else of_the_agents_sdk()
    await next(calls)
    imported = time.perf_counter() - started
    took: list[Taken] = [await stalled(call) for call in calls]
    question, answer, context = (each.time for each in took)
    times = {"import": imported, "question": question, "answer": answer, "context": context}
    times |= {"stall": max(each.stall for each in took), "stall_cpu": max(each.stall_cpu for each in took)}
    print(json.dumps({name: seconds * 1e3 for name, seconds in times.items()}))


if __name__ == "__main__":
    asyncio.run(main())
