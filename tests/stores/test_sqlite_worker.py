"""The thread of a SQLite store: which jobs share a commit, and what becomes of those that wait for it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from weakref import ref

import pytest
from running import PATIENCE

from chuk_ai_session_manager.stores.sqlite.file import connect
from chuk_ai_session_manager.stores.sqlite.known_logs import Connection
from chuk_ai_session_manager.stores.sqlite.worker import Worker


@pytest.fixture
def make(path: Path) -> Callable[[], Worker]:
    return lambda: Worker(partial(connect, str(path), 1.0), str(path))


@pytest.fixture
async def worker(make: Callable[[], Worker]) -> AsyncIterator[Worker]:
    worker = make()
    yield worker
    await worker.close()


class Held:
    """Work that holds the thread until it is told to go on, and notes the commits from then on."""

    def __init__(self) -> None:
        self._is_free = threading.Event()
        self.statements: list[str] = []

    def __call__(self, connection: Connection) -> None:
        assert self._is_free.wait(PATIENCE)
        connection.set_trace_callback(self.statements.append)

    async def end(self) -> None:
        await asyncio.sleep(0)  # what was submitted meanwhile is waiting
        self._is_free.set()

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")


def number(value: int, _: Connection) -> int:
    return value


async def test_what_comes_during_a_commit_shares_the_next_one(worker: Worker) -> None:
    held = Held()
    first = asyncio.create_task(worker.write(held))
    await asyncio.sleep(0)
    others = [asyncio.create_task(worker.write(partial(number, at))) for at in range(20)]
    await held.end()
    assert await asyncio.gather(first, *others) == [None, *range(20)]
    assert held.commits == 2


async def test_writers_that_go_on_together_go_on_sharing(worker: Worker) -> None:
    async def write(times: int) -> None:
        for at in range(times):
            assert await worker.write(partial(number, at)) == at

    held = Held()
    first = asyncio.create_task(worker.write(held))
    await asyncio.sleep(0)
    writers = [asyncio.create_task(write(10)) for _ in range(20)]
    await held.end()
    await asyncio.gather(first, *writers)
    assert held.commits == 1 + 10


async def test_what_waits_when_the_store_is_closed_is_done(worker: Worker) -> None:
    held = Held()
    tasks = [asyncio.create_task(worker.write(work)) for work in (held, partial(number, 1))]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(worker.close()))
    tasks.append(asyncio.create_task(worker.read(partial(number, 2))))  # opens the file again
    await held.end()
    assert await asyncio.gather(*tasks) == [None, 1, None, 2]


async def test_an_event_loop_that_ended_holds_up_no_other(worker: Worker) -> None:
    held = Held()

    def begin_and_leave() -> None:
        async def begin() -> None:
            worker._submit(held, writes=True)
            worker._submit(partial(number, 1), writes=True)

        asyncio.run(begin())

    await asyncio.to_thread(begin_and_leave)
    answer = asyncio.create_task(worker.write(partial(number, 2)))
    await held.end()
    assert await answer == 2


async def test_jobs_of_several_event_loops_are_all_done(worker: Worker) -> None:
    async def write_some() -> list[int]:
        return await asyncio.gather(*(worker.write(partial(number, at)) for at in range(50)))

    threads = [asyncio.to_thread(asyncio.run, write_some()) for _ in range(4)]
    assert await asyncio.gather(write_some(), *threads) == [list(range(50))] * 5


async def test_a_worker_that_nobody_refers_to_is_freed_with_its_thread(make: Callable[[], Worker]) -> None:
    worker = make()
    await asyncio.gather(*(worker.write(partial(number, at)) for at in range(5)))
    thread, freed = worker._thread, ref(worker)
    assert thread is not None
    del worker
    await asyncio.sleep(0)
    gc.collect()
    await asyncio.to_thread(thread.join, PATIENCE)
    assert freed() is None
    assert not thread.is_alive()
