"""The side of a benchmark that runs in an environment of its own: does jobs that it reads, times them.

Nothing but the standard library is needed here: each environment has only what it is to measure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sqlite3
import sys
import threading
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
        self.held: list[Append] = []
        """Sessions that the application keeps."""

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

    async def build(self, events: int, sessions: int = 1, at_least: float = 0.2) -> list[float]:
        """Events a second, and a second of CPU, writing whole sessions, for some seconds at least."""
        taken, spent, written = 0.0, 0.0, 0
        while taken < at_least:
            appends = [await self._opened() for _ in range(sessions)]
            seconds, cpu = await self._timed(appends, events)
            taken, spent = taken + seconds, spent + cpu
            written += events * sessions
        return [written / taken, written / spent]

    async def extend(self, length: int, events: int, at_most: float = 0.2) -> float:
        """Seconds of CPU an event, at the end of a session that has about so many; some seconds at most."""
        taken, spent, written = 0.0, 0.0, 0
        while written < events and taken < at_most:
            append = await self._of_length(length)
            seconds, cpu = await self._timed([append], 2)
            taken, spent = taken + seconds, spent + cpu
            written += 2
            self._grown[length] += 2
        return spent / written

    async def replay(self, path: str) -> list[float]:
        """The same, writing the conversations of a file to sessions of their own."""
        chats = conversations(Path(path))
        taken, spent = 0.0, 0.0
        for chat in chats:
            append = await self._opened()
            items = [[self.ready(message) for message in chat]]
            started, before = time.perf_counter(), time.process_time()
            await self.write([append], items)
            taken += time.perf_counter() - started
            spent += time.process_time() - before
        written = sum(map(len, chats))
        return [written / taken, written / spent]

    async def memory(self, events: int) -> list[float]:
        """The process's peak memory in MB: before a session of so many events, and after it."""
        append = await self._opened()
        before = peak_megabytes()
        for _ in range(0, events, 100):
            await self._timed([append], 100)
        return [before, peak_megabytes()]

    async def burst(self, sessions: int) -> dict[str, float]:
        """Seconds, CPU seconds and the slowest of so many new sessions at once, each with two messages."""

        async def one(items: Sequence[Any]) -> float:
            started = time.perf_counter()
            append = await self.open()
            for item in items:
                await append(item)
            return time.perf_counter() - started

        asked = [[self.ready(message) for message in messages(2)] for _ in range(sessions)]
        started, spent = time.perf_counter(), time.process_time()
        each = await asyncio.gather(*map(one, asked))
        took, cpu = time.perf_counter() - started, time.process_time() - spent
        return {"took": took, "cpu": cpu, "slowest": max(each)}

    async def hold(self, sessions: int) -> list[dict[str, float]]:
        """Use so many new sessions once and keep them; what the process has before that and after."""
        at_once = 50
        await self._timed([await self.open() for _ in range(at_once)], 2)
        before = await self._settled()
        while len(self.held) < sessions:
            opened = [await self.open() for _ in range(min(at_once, sessions - len(self.held)))]
            await self._timed(opened, 2)
            self.held += opened
        return [before, await self._settled()]

    async def _settled(self) -> dict[str, float]:
        """What the process has when chores are done."""
        await asyncio.sleep(0.5)
        gc.collect()
        return possessions()

    async def let_go(self) -> float:
        """Forget the sessions that were kept; the process's MB."""
        self.held.clear()
        gc.collect()
        return possessions()["MB"]

    async def touch(self, events: int) -> float:
        """Microseconds of CPU for a message to one of the sessions that are kept, each time another one."""
        spent = 0.0
        for number in range(0, events, 2):
            append = self.held[number * 7919 % len(self.held)]
            items = [[self.ready(message) for message in messages(2)]]
            started = time.process_time()
            await self.write([append], items)
            spent += time.process_time() - started
        return spent / events * 1e6

    async def rest(self, seconds: float) -> dict[str, float]:
        """Milliseconds that the event loop stalls while nothing is done, and that all garbage takes."""
        taken = await stalled(asyncio.sleep(seconds))
        started = time.process_time()
        gc.collect()
        return {"stall": taken.stall_cpu * 1e3, "garbage": (time.process_time() - started) * 1e3}

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

    async def _timed(self, appends: Sequence[Append], events: int) -> tuple[float, float]:
        """Seconds, and seconds of CPU, that writing so many events to each session took."""
        items = [[self.ready(message) for message in messages(events)] for _ in appends]
        started, before = time.perf_counter(), time.process_time()
        await self.write(appends, items)
        return time.perf_counter() - started, time.process_time() - before


def possessions() -> dict[str, float]:
    """What this process has at the moment."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    loop: Any = asyncio.get_running_loop()
    return {
        "MB": pages * resource.getpagesize() / 2**20,
        "tasks": len(asyncio.all_tasks()),
        "timers": sum(not timer.cancelled() for timer in loop._scheduled),  # noqa: SLF001  (told by nothing else)
        "threads": threading.active_count(),
        "open files": len(list(Path("/proc/self/fd").iterdir())),
    }


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
