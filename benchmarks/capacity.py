"""What a conversation takes in Redis and in SQLite: bytes, and CPU of the server and of the application.

    python benchmarks/capacity.py

docs/capacity.md computes from these figures what a number of conversations a day needs.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis
from environments import ROOT

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import EventStore, SqliteStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

sys.path.insert(0, str(Path(__file__).parent / "drivers"))
sys.path.insert(0, str(ROOT / "tests" / "support"))
from servers import RedisServer
from workload import MODEL, PROVIDER, messages

LENGTHS = {2: 200, 20: 200, 1_000: 4}
"""Events of a conversation, and how many such conversations are written."""
AT_ONCE = 8


async def main() -> None:
    """Measure both, and print a row for each length."""
    with RedisServer() as server, tempfile.TemporaryDirectory() as folder:
        for events, number in LENGTHS.items():
            async with RedisStore(server.url, sandbox_id=f"of-{events}") as store:
                await write(store, 1, 2)  # connections and scripts are there from now on
                with redis.Redis.from_url(server.url) as client:
                    before = used_by(client)
                    own = await write(store, number, events)
                    after = used_by(client)
            size, cpu = ((late - early) / number for early, late in zip(before, after, strict=True))
            print(
                f"Redis, {events:,} events: {size:,.0f} bytes a conversation, {size / events:,.0f} an event; "
                f"CPU an event: server {cpu / events * 1e6:.0f} µs, application {own:.0f} µs"
            )
        for events, number in LENGTHS.items():
            path = Path(folder) / f"{events}.db"
            async with SqliteStore(path) as store:
                own = await write(store, number, events)
            size = path.stat().st_size / number  # closing the store has moved everything into the file
            bytes_each = f"{size:,.0f} bytes a conversation, {size / events:,.0f} an event"
            print(f"SQLite, {events:,} events: {bytes_each}; CPU an event: {own:.0f} µs")


async def write(store: EventStore, number: int, events: int) -> float:
    """Write conversations, some at once; the microseconds of this process's CPU for an event."""
    started = time.process_time()
    for start in range(0, number, AT_ONCE):
        await asyncio.gather(*(talk(store, events) for _ in range(min(AT_ONCE, number - start))))
    return (time.process_time() - started) / number / events * 1e6


async def talk(store: EventStore, events: int) -> None:
    sm = SessionManager(store=store)
    for message in messages(events):
        if message.role == "user":
            await sm.user_says(message.text)
        else:
            await sm.ai_responds(message.text, model=MODEL, provider=PROVIDER)


def used_by(client: redis.Redis) -> tuple[float, float]:
    """A server's memory in bytes, and its CPU in seconds."""
    memory: Any = client.info("memory")
    cpu: Any = client.info("cpu")
    return float(memory["used_memory"]), float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


if __name__ == "__main__":
    asyncio.run(main())
