"""What the stores cost: against the bare databases, with a session's length, for reopening and listing.

    python benchmarks/stores.py [--redis redis://localhost:6379/15] [--rounds 9]

Every figure is a ratio, or stands beside one, of rounds that took turns in this one run; medians, with
the spread. "store" is `append` of a ready-made event, "facade" is `user_says` and `ai_responds`
alternately (170 and 300 characters, every text different), tokens counted with tiktoken where its
vocabulary is at hand. The Redis database that is named is written to: give it an empty one.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.models import EventSource, Session, SessionEvent, TokenUsage
from chuk_ai_session_manager.stores import EventStore, MemoryStore, SqliteStore, open_store

PER_ROUND = 200
SESSIONS_AT_ONCE = 64
SHORT, LONG = 100, 100_000
REOPENED = LISTED = 10_000
WORDS = "lorem ipsum dolor sit amet "

Work = Callable[[], Awaitable[object]]
_numbers = count()


def text(length: int) -> str:
    """A text that no other is equal to."""
    return (f"{next(_numbers)} " + WORDS * (length // len(WORDS) + 1))[:length]


def event() -> SessionEvent[Any]:
    usage = TokenUsage(prompt_tokens=40, model="gpt-4o-mini")
    return SessionEvent(message=text(170), source=EventSource.USER, token_usage=usage)


async def seconds(work: Work) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start


async def interleaved(rounds: int, works: dict[str, Work]) -> dict[str, list[float]]:
    """The seconds that each work took in each round, in turn; a first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = await seconds(work)
            if number:
                taken[name].append(spent)
    return taken


def show(what: str, taken: dict[str, list[float]], events: dict[str, int], against: str) -> None:
    """A line for each work: events a second, and how they compare with one of them in the same rounds."""
    for name, spent in taken.items():
        rates = [events[name] / each for each in spent]
        ratios = [rate * other / events[against] for rate, other in zip(rates, taken[against], strict=True)]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        figures = f"{statistics.median(rates):>10,.0f}/s   {statistics.median(ratios):5.2f} ({spread})"
        say(what, f"{name:24} {figures}")


def say(what: str, figures: str) -> None:
    print(f"{what:28} {figures}", flush=True)


async def opened(store: EventStore) -> Session[Any]:
    return await Session.create(store=store)


def talking(sm: SessionManager) -> Work:
    async def talk() -> None:
        for _ in range(PER_ROUND // 2):
            await sm.user_says(text(170))
            await sm.ai_responds(text(300), model="gpt-4o-mini", provider="openai")

    return talk


def appending(store: EventStore, session: Session[Any], events: int = PER_ROUND) -> Work:
    async def append() -> None:
        for _ in range(events):
            await store.append(session, [event()])

    return append


def at_once(works: list[Work]) -> Work:
    async def together() -> None:
        await asyncio.gather(*(work() for work in works))

    return together


async def throughput(name: str, store: EventStore, bare: dict[str, Work], rounds: int) -> None:
    """One writer, and many sessions at once, against the bare database."""
    one = {
        **{kind: work for kind, work in bare.items() if kind != "bare, pipelined"},
        "store": appending(store, await opened(store)),
        "facade": talking(SessionManager(store=store)),
    }
    show(
        f"{name}, one writer", await interleaved(rounds, one), dict.fromkeys(one, PER_ROUND), next(iter(one))
    )
    sessions = [await opened(store) for _ in range(SESSIONS_AT_ONCE)]
    managers = [SessionManager(store=store) for _ in range(SESSIONS_AT_ONCE)]
    many = {
        **bare,
        "store": at_once([appending(store, session, PER_ROUND // 10) for session in sessions]),
        "facade": at_once([talking(sm) for sm in managers]),
    }
    events = dict.fromkeys(bare, PER_ROUND) | {
        "store": SESSIONS_AT_ONCE * PER_ROUND // 10,
        "facade": SESSIONS_AT_ONCE * PER_ROUND,
    }
    against = list(bare)[-1]
    show(
        f"{name}, {SESSIONS_AT_ONCE} sessions", await interleaved(max(3, rounds // 3), many), events, against
    )


async def growth(name: str, store: EventStore, rounds: int) -> None:
    """What an event costs in a long session, compared with a short one."""
    short, long = await opened(store), await opened(store)
    await store.append(short, [event() for _ in range(SHORT)])
    for _ in range(LONG // 1_000):
        await store.append(long, [event() for _ in range(1_000)])
    few = PER_ROUND // 10
    works = {
        f"event {SHORT:,}": appending(store, short, few),
        f"event {LONG:,}": appending(store, long, few),
    }
    taken = await interleaved(rounds * 3, works)
    ratios = [b / a for a, b in zip(*taken.values(), strict=True)]
    say(name + ", growth", f"event {LONG:,} costs {statistics.median(ratios):.2f} times event {SHORT:,}")


async def reopening(name: str, store: EventStore, rounds: int) -> None:
    session = await opened(store)
    for _ in range(REOPENED // 1_000):
        await store.append(session, [event() for _ in range(1_000)])

    async def reopen() -> None:
        found = await store.get(session.id)
        assert found is not None
        assert len(found.events) == REOPENED

    async def head() -> None:
        assert await store.head(session.id) is not None

    taken = await interleaved(rounds, {"whole": reopen, "for writing": head})
    whole, for_writing = (statistics.median(spent) * 1_000 for spent in taken.values())
    say(name + ", reopen", f"{REOPENED:,} events in {whole:.0f} ms; for writing in {for_writing:.1f} ms")


async def listing(name: str, store: EventStore, rounds: int) -> None:
    for _ in range(LISTED // 100):
        await asyncio.gather(*(store.create(Session(id=str(uuid4()))) for _ in range(100)))

    async def list_page() -> None:
        assert len(await store.list_sessions(limit=50)) == 50

    taken = await interleaved(rounds, {"page": list_page})
    say(name + ", list", f"50 of {LISTED:,} sessions in {statistics.median(taken['page']) * 1_000:.1f} ms")


def bare_sqlite(path: Path) -> Work:
    """One INSERT a commit, as durable as ours, without a thread in between."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, body TEXT)")

    async def insert() -> None:
        for _ in range(PER_ROUND):
            connection.execute("INSERT INTO log (body) VALUES (?)", (event().model_dump_json(),))

    return insert


def bare_redis(url: str) -> tuple[Any, dict[str, Work]]:
    """RPUSH of the same JSON by the same client: one by one, and in pipelines."""
    from redis.asyncio import Redis  # noqa: PLC0415  (an extra)

    client = Redis.from_url(url)
    key = f"bare:{uuid4()}"

    async def push() -> None:
        for _ in range(PER_ROUND):
            await client.rpush(key, event().model_dump_json())

    async def push_together() -> None:
        for start in range(0, PER_ROUND, SESSIONS_AT_ONCE):
            pipeline = client.pipeline(transaction=False)
            for _ in range(min(SESSIONS_AT_ONCE, PER_ROUND - start)):
                pipeline.rpush(key, event().model_dump_json())
            await pipeline.execute()

    return client, {"bare": push, "bare, pipelined": push_together}


async def all_of(name: str, store: EventStore, bare: dict[str, Work], rounds: int) -> None:
    async with store:
        if bare:
            await throughput(name, store, bare, rounds)
        await growth(name, store, rounds)
        await reopening(name, store, rounds)
        await listing(name, store, rounds)


async def main(redis_url: str | None, rounds: int) -> None:
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}")
    await all_of("memory", MemoryStore(max_sessions=None), {}, rounds)
    with tempfile.TemporaryDirectory() as folder:
        bare = {"bare": bare_sqlite(Path(folder) / "bare.db")}
        await all_of("SQLite", SqliteStore(Path(folder) / "sessions.db"), bare, rounds)
    if redis_url:
        client, pushing = bare_redis(redis_url)
        await all_of("Redis", open_store(redis_url, sandbox_id=str(uuid4())), pushing, rounds)
        await client.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--redis", metavar="URL", help="a Redis with an empty database; without it, none is measured"
    )
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.redis, arguments.rounds))
