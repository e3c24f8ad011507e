"""A thread with a SQLite connection, which commits all waiting work together."""

from __future__ import annotations

import asyncio
import atexit
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary, WeakSet, finalize

from ...exceptions import SessionManagerError, StorageError, UnreadableData
from ...models.guard import guard
from ..changes import Outcome
from .known_logs import Connection

T = TypeVar("T")
Work = Callable[[Connection], Any]

# The most jobs of an event loop in one transaction: beyond some hundred, sharing a commit saves little more.
_MOST_AT_ONCE = 500


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    writes: bool
    future: asyncio.Future[Any]
    result: Any = None
    problem: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Turn:
    """The jobs of an event loop that wait until the thread has done those that it has."""

    waiting: list[_Job] = field(default_factory=list)
    is_under_way: bool = False
    """Whether the thread has jobs of this loop."""


# Jobs of one event loop that are handed to the thread together.
_Batch = tuple["Worker", _Turn, list[_Job]]
_Queue = SimpleQueue[_Batch | None]


class Worker:
    """Runs work in order on a connection, which it opens with the first job."""

    def __init__(self, connect: Callable[[], Connection], name: str) -> None:
        self._connect = connect
        self._name = name
        self._queue: _Queue | None = None
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turn] = WeakKeyDictionary()
        self._process: object = None
        self._thread: Thread | None = None
        if name != ":memory:":  # a fork does not share it, and closing would lose it
            _workers.add(self)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work`, which only reads."""
        return cast("T", await self._submit(work, writes=False))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work` once it is committed. Cancellation waits until the write is decided."""
        return cast("T", await self._submit(work, writes=True))

    def _submit(self, work: Work, *, writes: bool) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = Outcome(loop=loop) if writes else loop.create_future()
        job = _Job(work, writes, future)
        with guard:  # other threads may use the store, or close it
            turn = self._turns.get(loop)
            if turn is None:
                turn = self._turns[loop] = _Turn()
            if turn.is_under_way:
                turn.waiting.append(job)
            else:
                self._hand_over(turn, [job])
        return future

    def _hand_over(self, turn: _Turn, jobs: list[_Job]) -> None:
        """Give jobs to the thread. The guard must be held: nobody would do them if the thread ended now.

        While the thread has jobs of an event loop, further ones wait, so that they share a commit. If each
        were given to the thread at once, the two threads would take turns for every job.
        """
        queue = self._queue
        if queue is None or self._process is not _process:  # a fork copies the object, but not the thread
            queue = self._start()
        turn.is_under_way = True
        queue.put((self, turn, jobs))

    def hand_over_waiting(self, turn: _Turn) -> None:
        """Give the thread the next jobs of an event loop, if there are any."""
        with guard:
            turn.is_under_way = False
            jobs, turn.waiting = turn.waiting[:_MOST_AT_ONCE], turn.waiting[_MOST_AT_ONCE:]
            if jobs:
                self._hand_over(turn, jobs)

    def _start(self) -> _Queue:
        queue: _Queue = SimpleQueue()
        self._queue, self._process = queue, _process
        self._thread = Thread(
            target=_serve, args=(queue, self._connect, self._name), name="chuk-sqlite", daemon=True
        )
        self._thread.start()
        _threads.add(self._thread)
        finalize(self, queue.put, None)
        _close_at_exit_of_child()
        return queue

    async def close(self) -> None:
        """Finish waiting work, and close the connection."""
        thread = self._stop()
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _stop(self) -> Thread | None:
        """Tell the thread to end after the waiting work; the next use starts another one."""
        with guard:
            queue, thread, is_ours = self._queue, self._thread, self._process is _process
            if queue is not None and is_ours:
                for turn in list(self._turns.values()):
                    while turn.waiting:
                        self.hand_over_waiting(turn)
                queue.put(None)
            self._queue = self._thread = None
            return thread if is_ours else None

    def close_before_fork(self) -> None:
        """Wait until the connection is closed, because a fork must not inherit it."""
        thread = self._stop()
        if thread is not None:
            thread.join()


# A child that inherits an open SQLite file believes that it holds its parent's locks, and takes none of its
# own.
_workers: WeakSet[Worker] = WeakSet()
_threads: WeakSet[Thread] = WeakSet()
# Seconds that the end of a program waits for its last writes.
_PATIENCE = 10.0


def _close_all() -> None:
    for worker in list(_workers):
        worker.close_before_fork()


def _close_at_exit() -> None:
    """Move all written data into the files themselves, because somebody may copy the files."""
    _close_all()
    for thread in list(_threads):  # including those of stores that nobody refers to any more
        thread.join(_PATIENCE)


def _close_at_exit_of_child() -> None:
    """The same at the end of a process of `multiprocessing`, which does not run `atexit` functions."""
    global _registered_in  # noqa: PLW0603  (once for each process)
    utilities = sys.modules.get("multiprocessing.util")
    if utilities is not None and _parent_process() is not None and _registered_in != os.getpid():
        _registered_in = os.getpid()
        utilities.Finalize(None, _close_at_exit, exitpriority=0)


_registered_in: int | None = None


def _parent_process() -> object:
    """The process that started this one with `multiprocessing`, if there is one."""
    process = sys.modules.get("multiprocessing.process")
    return None if process is None else process.parent_process()


# Another object in each process; to ask the system for the process's id takes longer, with every job.
_process = object()


def _after_fork() -> None:
    global _process  # noqa: PLW0603  (one a process)
    _process = object()


atexit.register(_close_at_exit)
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_close_all, after_in_child=_after_fork)


# -- in the thread ------------------------------------------------------------------------------


def _serve(queue: _Queue, connect: Callable[[], Connection], name: str) -> None:
    """Work until the queue gives `None`, without a reference to the worker, which could not be freed then."""
    connection: Connection | None = None
    is_open = True
    while is_open:
        batches, is_open = _waiting(queue)
        jobs = [job for _, _, its_jobs in batches for job in its_jobs]
        try:
            connection = connection or connect()
            _run(connection, jobs)
        except Exception as problem:  # noqa: BLE001  (whatever it is, the waiting tasks get it)
            _fail(jobs, problem)
        is_spoiled = any(job.problem and _spoils(job.problem) for job in jobs)
        _hand_back(batches, name)
        if connection is not None and is_spoiled:
            connection.close()
            connection = None  # it would keep failing after the cause is gone
        del batches, jobs
    if connection is not None:
        _close(connection)


def _close(connection: Connection) -> None:
    """Close a connection; then the file contains everything, unless another process is reading it."""
    with suppress(sqlite3.Error):  # data that is not moved into the file stays beside it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _waiting(queue: _Queue) -> tuple[list[_Batch], bool]:
    """All waiting jobs, and whether there will be more."""
    batches = []
    try:
        batch = queue.get()
        while batch is not None:
            batches.append(batch)
            batch = queue.get_nowait()
    except Empty:
        return batches, True
    return batches, False


def _run(connection: Connection, jobs: list[_Job]) -> None:
    """Run the reading jobs, which wait for nobody, and then all writing jobs in one transaction."""
    writes = [job for job in jobs if job.writes]
    if len(writes) < len(jobs):
        _together(connection, [job for job in jobs if not job.writes])
    if writes:
        _together(connection, writes)


def _together(connection: Connection, jobs: list[_Job]) -> None:
    """Run jobs in one transaction; if one of them makes it fail, run each in a transaction of its own."""
    try:
        connection.begin(to_write=jobs[0].writes)
    except sqlite3.Error as problem:
        connection.rollback()
        _fail(jobs, problem)
        return
    try:
        for job in jobs:
            _do(connection, job)
        connection.execute("COMMIT")
    except Exception as problem:  # noqa: BLE001  (the waiting tasks get it; the connection must be clean)
        connection.rollback()
        if len(jobs) == 1:
            _fail(jobs, problem)
            return
        for job in jobs:
            _together(connection, [job])


def _do(connection: Connection, job: _Job) -> None:
    job.problem = None
    try:
        job.result = job.work(connection)
    except SessionManagerError as refusal:  # work raises these before it writes
        job.problem = refusal


def _fail(jobs: Iterable[_Job], problem: BaseException) -> None:
    for job in jobs:
        job.problem = problem


def _hand_back(batches: Iterable[_Batch], name: str) -> None:
    for batch in batches:
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            _loop_of(batch).call_soon_threadsafe(_settle, batch, name)


def _loop_of(batch: _Batch) -> asyncio.AbstractEventLoop:
    _, _, jobs = batch
    return jobs[0].future.get_loop()


# -- in the event loop again --------------------------------------------------------------------


def _settle(batch: _Batch, name: str) -> None:
    """Give the waiting tasks their results, and then the next jobs to the thread."""
    worker, turn, jobs = batch
    for job in jobs:
        if job.future.done():
            continue
        if job.problem is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(_explained(job.problem, name))
    if len(jobs) > 1 or turn.waiting:
        # After these tasks have gone on, so that their next jobs share a commit.
        _loop_of(batch).call_soon(worker.hand_over_waiting, turn)
    else:
        turn.is_under_way = False


def _explained(problem: BaseException, name: str) -> BaseException:
    """An error as one of ours, saying what to do."""
    if isinstance(problem, SessionManagerError):
        return problem
    # An OSError comes from creating the file.
    code = sqlite3.SQLITE_CANTOPEN if isinstance(problem, OSError) else _code_of(problem)
    # Without the error's own text, which may quote stored data.
    advice = _ADVICE.get(code, getattr(problem, "sqlite_errorname", type(problem).__name__))
    is_spoiled = code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    error = (UnreadableData if is_spoiled else StorageError)(f"SQLite could not use {name}: {advice}")
    if not isinstance(problem, UnicodeError):  # which quotes stored data too
        error.__cause__ = problem
    return error


def _code_of(problem: BaseException | None) -> int:
    return int(getattr(problem, "sqlite_errorcode", 0)) & 0xFF


def _spoils(problem: BaseException) -> bool:
    """Whether a connection is unusable after this error."""
    # Text that is not UTF-8 ends a reading in mid-statement, which keeps its old snapshot open.
    return isinstance(problem, UnicodeError) or _code_of(problem) in {
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }


_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk, or the file's quota, is full. Nothing was written; free some space",
    sqlite3.SQLITE_READONLY: "the file is read-only. Nothing was written; allow writing to it and its folder",
    sqlite3.SQLITE_BUSY: "other processes kept it locked for longer than busy_timeout. Nothing was written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Does its folder exist, and may this process write there?",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database. It was not changed",
    sqlite3.SQLITE_CORRUPT: "the file is damaged. It was not changed; restore it from a backup",
}
