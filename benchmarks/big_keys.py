"""What a conversation of 100,000 events does to other clients of a Redis server, beside one of 200.

    python benchmarks/big_keys.py [--events 100000]

A conversation is one hash. While something is done with one, another process asks for a small key again and
again; its longest wait is how long the server did nothing else. REDIS_SERVER names another server to measure.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import redis
from environments import ROOT

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.models import Session, SessionEvent, TokenUsage
from chuk_ai_session_manager.stores.redis.store import RedisStore

sys.path.insert(0, str(Path(__file__).parent / "drivers"))
sys.path.insert(0, str(ROOT / "tests" / "support"))
from servers import RedisServer
from store_append import SOURCES
from workload import MODEL, Message, messages

SMALL = 200
ROUNDS = 5
COPY = "copy"


def main() -> None:
    """Print the longest waits for each kind of work, with a small conversation in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    asyncio.run(measure(parser.parse_args().events))


async def measure(events: int) -> None:
    """Measure each kind of work."""
    with RedisServer() as server, RedisServer() as other, redis.Redis.from_url(server.url) as client:
        info: Any = client.info("server")
        print(f"Redis {info['redis_version']}")
        for length in (SMALL, events):
            key = await write(server, length)
            size: Any = client.memory_usage(key, samples=0)
            print(f"{length:,} events: {size / 1e6:.2f} MB")
        for name, work in works(server, other, client).items():
            waits: dict[int, list[float]] = {SMALL: [], events: []}
            for _ in range(ROUNDS):
                for length, longest in waits.items():
                    client.execute_command("COPY", key_of(length), COPY, "REPLACE")
                    longest.append(await longest_wait(server.url, partial(work, str(length))))
            small, big = (median(each) for each in waits.values())
            print(
                f"{name}: {big:.1f} ms ({max(waits[events]):.1f} at most); {small:.1f} ms with {SMALL} events"
            )


def works(
    server: RedisServer, other: RedisServer, client: redis.Redis
) -> dict[str, Callable[[str], Awaitable[object]]]:
    """What is done with a conversation, or with a copy of its key."""

    def command(*words: Any) -> Callable[[str], Awaitable[object]]:
        return lambda _: asyncio.to_thread(client.execute_command, *words)

    async def expire(_: str, *, lazily: str) -> None:
        client.config_set("lazyfree-lazy-expire", lazily)
        client.pexpire(COPY, 1)
        await asyncio.sleep(0.3)

    async def read(session_id: str) -> None:
        async with RedisStore(server.url, timeout=60) as store:
            await store.get(session_id)

    async def context(session_id: str) -> None:
        async with RedisStore(server.url, timeout=60) as store:
            await SessionManager(session_id, store=store).get_messages_for_llm(max_tokens=4_000)

    async def delete(_: str) -> None:
        await asyncio.to_thread(client.delete, COPY)

    async def migrate(_: str) -> None:
        other.command("DEL", COPY)
        words = ("MIGRATE", "127.0.0.1", other.port, COPY, 0, 60_000)
        await asyncio.to_thread(client.execute_command, *words)

    def attach() -> None:
        with redis.Redis.from_url(other.url) as replica:
            replica.replicaof("127.0.0.1", server.port)
            while replica.info("replication")["master_link_status"] != "up":
                time.sleep(0.02)
            replica.replicaof("NO", "ONE")

    return {
        "nothing": command("PING"),
        "the whole conversation is read": read,
        "a context of 4,000 tokens is read": context,
        "UNLINK": command("UNLINK", COPY),
        "DEL": delete,
        "expiry": partial(expire, lazily="no"),
        "expiry with lazyfree-lazy-expire": partial(expire, lazily="yes"),
        "MIGRATE": migrate,
        "a replica is attached": lambda _: asyncio.to_thread(attach),
    }


def key_of(length: int) -> str:
    return f"casm:{{chuk-ai-session-manager:{length}}}"


async def write(server: RedisServer, events: int) -> str:
    """Store a conversation, named for its length; return its key."""
    async with RedisStore(server.url, ttl_hours=None, timeout=60) as store:
        session: Session[Any] = Session(id=str(events))
        await store.create(session)
        for start in range(0, events, 1_000):
            said = messages(min(1_000, events - start))
            await store.append(session, [event_of(each) for each in said])
    return key_of(events)


def event_of(message: Message) -> SessionEvent[Any]:
    usage = TokenUsage(prompt_tokens=len(message.text) // 4, model=MODEL)
    return SessionEvent(message=message.text, source=SOURCES[message.role], token_usage=usage)


async def longest_wait(url: str, work: Callable[[], Awaitable[object]]) -> float:
    """The milliseconds that another process waited for an answer at most, while work went on."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=ask, args=(url, there))
    process.start()
    await asyncio.to_thread(here.recv)
    await work()
    here.send("enough")
    longest: float = await asyncio.to_thread(here.recv)
    process.join()
    return longest


def ask(url: str, other_side: Connection) -> None:
    """Ask for a key until the other side has enough."""
    with redis.Redis.from_url(url) as client:
        client.get("small")
        other_side.send("ready")
        longest = 0.0
        while not other_side.poll():
            started = time.perf_counter()
            client.get("small")
            longest = max(longest, time.perf_counter() - started)
            time.sleep(0.0005)
    other_side.send(longest * 1e3)


if __name__ == "__main__":
    main()
