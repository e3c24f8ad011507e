"""The side of a benchmark that runs in an environment of its own: does jobs that it reads, times them.

Nothing but the standard library is needed here: each environment has only what it is to measure.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from workload import Message, conversations, messages

Append: TypeAlias = Callable[[Any], Awaitable[object]]
"""Writes one message, as `Driver.ready` made it, to the end of one session."""

PRAGMAS = ("journal_mode", "synchronous")
_WARMING_UP = 2  # messages; what only a session's first ones cost is not of its length


class Driver(ABC):
    """One way to store conversations. Its public methods are the jobs that it does."""

    def __init__(self) -> None:
        self._long: dict[int, Append] = {}
        self._grown: dict[int, int] = {}

    @abstractmethod
    async def open(self, length: int = 0) -> Append:
        """The way to write to a new session that has so many messages."""

    def ready(self, message: Message) -> Any:
        """What `Append` is given; making it is not timed."""
        return message

    async def write(self, appends: Sequence[Append], items: Sequence[Sequence[Any]]) -> None:
        """Write to several sessions at once, to each of them one by one."""

        async def write_one(append: Append, its_items: Sequence[Any]) -> None:
            for item in its_items:
                await append(item)

        if len(appends) == 1:
            await write_one(appends[0], items[0])
        else:
            await asyncio.gather(*map(write_one, appends, items))

    async def versions(self, packages: list[str]) -> dict[str, str]:
        """The versions of those packages that are here."""
        found = {}
        for name in packages:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
        return found

    async def sqlite_settings(self) -> dict[str, str]:
        """How the connection to SQLite is set that a write goes through."""
        connections: list[sqlite3.Connection] = []

        def note(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "sqlite3.connect/handle":
                connections.append(arguments[0])

        sys.addaudithook(note)
        await self._opened()
        for connection in connections:
            try:
                return {name: str(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in PRAGMAS}
            except sqlite3.ProgrammingError:  # closed, or another thread's
                continue
        return {}

    async def build(self, events: int, sessions: int = 1, at_least: float = 0.2) -> float:
        """Events a second, writing whole sessions, for some seconds at least."""
        taken, written = 0.0, 0
        while taken < at_least:
            appends = [await self._opened() for _ in range(sessions)]
            taken += await self._timed(appends, events)
            written += events * sessions
        return written / taken

    async def extend(self, length: int, events: int, at_most: float = 0.2) -> float:
        """Seconds an event, at the end of a session that has about so many; some seconds at most."""
        taken, written = 0.0, 0
        while written < events and taken < at_most:
            append = await self._of_length(length)
            taken += await self._timed([append], 2)
            written += 2
            self._grown[length] += 2
        return taken / written

    async def replay(self, path: str) -> float:
        """Events a second, writing the conversations of a file, each to a session of its own."""
        chats = conversations(Path(path))
        taken = 0.0
        for chat in chats:
            append = await self._opened()
            items = [[self.ready(message) for message in chat]]
            started = time.perf_counter()
            await self.write([append], items)
            taken += time.perf_counter() - started
        return sum(map(len, chats)) / taken

    async def memory(self, events: int) -> list[float]:
        """The process's peak memory in MB: before a session of so many events, and after it."""
        append = await self._opened()
        before = peak_megabytes()
        for _ in range(0, events, 100):
            await self._timed([append], 100)
        return [before, peak_megabytes()]

    async def _opened(self, length: int = 0) -> Append:
        append = await self.open(length)
        await self._timed([append], _WARMING_UP)
        return append

    async def _of_length(self, length: int) -> Append:
        """A session opened before, as long as it has not grown by half."""
        if self._grown.get(length, length) * 2 >= length:
            self._long[length] = await self._opened(length)
            self._grown[length] = 0
        return self._long[length]

    async def _timed(self, appends: Sequence[Append], events: int) -> float:
        items = [[self.ready(message) for message in messages(events)] for _ in appends]
        started = time.perf_counter()
        await self.write(appends, items)
        return time.perf_counter() - started


def peak_megabytes() -> float:
    """The most memory that this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says there starts with the parent's
        line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Taken(NamedTuple):
    """What some work took, and how long the event loop stood still meanwhile; in seconds."""

    stall: float
    stall_cpu: float
    """The process's CPU time in the stall with the most: it does not depend on what else the machine does."""
    time: float


async def stalled(work: Awaitable[object]) -> Taken:
    """Do some work, and look each millisecond whether the event loop goes on."""
    stalls, cpu_stalls = [0.0], [0.0]

    async def tick() -> None:
        last, last_cpu = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(0.001)
            now, now_cpu = time.perf_counter(), time.process_time()
            stalls.append(now - last)
            cpu_stalls.append(now_cpu - last_cpu)
            last, last_cpu = now, now_cpu

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.05)
    stalls.clear()
    cpu_stalls.clear()
    started = time.perf_counter()
    await work
    took = time.perf_counter() - started
    await asyncio.sleep(0.01)  # so that the last stall is seen
    ticking.cancel()
    return Taken(max(stalls), max(cpu_stalls), took)


def serve(make: Callable[[], Driver]) -> None:
    """Do the jobs that come in, one JSON a line, and answer each with a line; until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer

    async def work() -> None:
        driver = make()
        print(json.dumps({"answer": "ready"}), file=answers)
        while line := await asyncio.to_thread(sys.stdin.readline):
            job = json.loads(line)
            try:
                answer = {"answer": await getattr(driver, job.pop("job"))(**job)}
            except Exception:  # noqa: BLE001  (told to the other side, which stops)
                answer = {"error": traceback.format_exc()}
            print(json.dumps(answer), file=answers)

    asyncio.run(work())
