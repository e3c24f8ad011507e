"""Rows of the fault matrix: one manager in several threads, and in event loops one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from journal import Journal
from places import InMemory, Place
from rig import CheckFailed, OnRedis, Trial, row
from servers import RedisServer

from chuk_ai_session_manager import SessionManager

THREADS, EACH = 4, 10
# Seconds that all of a thread may take: where turns hang, they do so for ever.
IN_TIME = 10.0


class LocksOfOneLoop:
    """Known to be bad: asyncio's own lock, which tasks of one event loop only may wait for."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    def turn(self) -> asyncio.Lock:
        """The lock itself."""
        return self._lock


def manager_of(place: Place, session_id: str, *, is_bad: bool, **options: Any) -> SessionManager:
    manager = SessionManager(session_id, store=place.store(), **options)
    if is_bad:
        manager.writer._writing = LocksOfOneLoop()  # type: ignore[assignment]
    return manager


@asynccontextmanager
async def places_of(trial: Trial) -> AsyncIterator[list[Place]]:
    if trial.is_control:  # where writing takes time, so that others have to wait
        yield [trial.on_sqlite()]
        return
    with RedisServer() as server:
        yield [InMemory(), trial.on_sqlite(), OnRedis(server.url, timeout=5.0)]


def write(
    manager: SessionManager, journal: Journal, session_id: str, names: list[str], deadline: float
) -> str:
    """Write in an event loop of this thread's own; what was wrong, if something was."""

    async def write_all() -> None:
        async with asyncio.timeout(deadline):
            for name in names:
                with journal.writing(session_id, name):
                    await manager.user_says(name)

    try:
        asyncio.run(write_all())
    except TimeoutError:
        return "it hung"
    except RuntimeError as problem:
        return str(problem)
    return ""


def judge(outcomes: list[str]) -> None:
    wrong = set(outcomes) - {""}
    if wrong:
        raise CheckFailed(", ".join(sorted(wrong)))


@row("one manager, several threads", control="asyncio's lock, of one event loop")
async def one_manager_in_threads(trial: Trial) -> None:
    async with places_of(trial) as places:
        for at, place in enumerate(places):
            for options in ({}, {"infinite_context": True, "max_turns_per_segment": 6}):
                await in_threads(trial, place.fresh(), f"{at}-{len(options)}", options)


async def in_threads(trial: Trial, place: Place, session_id: str, options: dict[str, Any]) -> None:
    await trial.begin(place, session_id)
    each = trial.size(EACH, 10 * EACH)
    manager = manager_of(place, session_id, is_bad=trial.is_control, **options)
    deadline = 2.0 if trial.is_control else IN_TIME
    names = [[f"{session_id}-{thread}/{number}" for number in range(each)] for thread in range(THREADS)]
    work = (asyncio.to_thread(write, manager, trial.journal, session_id, own, deadline) for own in names)
    judge(await asyncio.gather(*work))
    assert len(trial.journal.read().acknowledged[session_id]) == THREADS * each
    await trial.check(place)


class CutOffError(Exception):
    """What ends a loop while something is being written."""


def cut_off(write_one: Callable[[], Any]) -> None:
    """Run a loop that an exception ends while something is being written."""

    async def leave() -> None:
        raise CutOffError

    async def main() -> None:
        await asyncio.gather(write_one(), leave(), write_one())

    with suppress(CutOffError):
        asyncio.run(main())


def close_in_the_middle(write_one: Callable[[], Any]) -> object:
    """Close a loop while something is being written; its task, which never goes on."""
    loop = asyncio.new_event_loop()
    task: Any = loop.create_task(write_one())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    task._log_destroy_pending = False  # asyncio would tell of what is meant here
    return task


@row("one manager, loops one after the other", control="asyncio's lock, of one event loop")
async def one_manager_in_loops(trial: Trial) -> None:
    async with places_of(trial) as places:
        for at, place in enumerate(places):
            await one_loop_after_the_other(trial, place, f"loops-{at}")


async def one_loop_after_the_other(trial: Trial, place: Place, session_id: str) -> None:
    await trial.begin(place, session_id)
    manager = manager_of(place, session_id, is_bad=trial.is_control)
    numbers, left = count(), []

    async def write_one() -> None:
        name = f"cut-{next(numbers)}/0"
        with trial.journal.writing(session_id, name):
            await manager.user_says(name)

    deadline = 2.0 if trial.is_control else IN_TIME
    for number in range(trial.size(4, 40)):
        await asyncio.to_thread(cut_off, write_one)
        if not isinstance(place, OnRedis):  # a socket that nobody closes is a warning
            left.append(await asyncio.to_thread(close_in_the_middle, write_one))
        names = [f"whole/{number}-{part}" for part in range(3)]
        judge([await asyncio.to_thread(write, manager, trial.journal, session_id, names, deadline)])
    left.clear()
    await trial.check(place)
