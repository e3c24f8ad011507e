"""What a conversation costs that goes on for ever: the same calls at its second and its thousandth segment.

    python benchmarks/endless.py [--segments 2 1000 3000]

Prints medians in milliseconds. Only statistics of the whole conversation may grow with it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from harness import Scale, bench_of

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import EventStore, open_store

ROUNDS = 15


class Timings:
    """How long each kind of call took, in seconds."""

    def __init__(self) -> None:
        self.by_kind: dict[str, list[float]] = {}

    async def of(self, kind: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Do some work, and note how long it took."""
        started = time.perf_counter()
        await work()
        self.by_kind.setdefault(kind, []).append(time.perf_counter() - started)

    def __str__(self) -> str:
        """Medians, in milliseconds."""
        medians = {kind: statistics.median(times) * 1000 for kind, times in self.by_kind.items()}
        return "  ".join(f"{kind} {median:7.2f}" for kind, median in medians.items())


async def measure(store: EventStore, segments: list[int]) -> None:
    options: dict[str, Any] = {"store": store, "infinite_context": True, "max_turns_per_segment": 2}
    sm = SessionManager("root", **options)

    async def exchange() -> None:  # which opens a segment each time
        await sm.user_says("What is next, please?")
        await sm.ai_responds("Another one.", model="gpt-4o")

    async def open_by(session_id: str) -> None:
        await SessionManager(session_id, **options).get_messages_for_llm()

    made = 0
    for wanted in segments:
        while made < wanted:
            await exchange()
            made += 1
        timings = Timings()
        for _ in range(ROUNDS):
            await timings.of("open by last id", lambda: open_by(sm.session_id))
            await timings.of("open by first id", lambda: open_by("root"))
            await timings.of("exchange", exchange)
            await timings.of("context", sm.get_messages_for_llm)
        made += ROUNDS
        await timings.of("statistics of all", sm.get_stats)
        print(f"{type(store).__name__:12} {wanted:6} segments  {timings}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, nargs="+", default=[2, 1000, 3000])
    arguments = parser.parse_args()
    with bench_of(Scale()) as bench:
        for url in ("memory://", f"sqlite:///{bench.folder}/sessions.db", bench.redis.url):
            async with open_store(url) as store:
                await measure(store, arguments.segments)


if __name__ == "__main__":
    asyncio.run(main())
