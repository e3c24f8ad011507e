"""A thread with a SQLite connection, which commits all waiting work together."""

from __future__ import annotations

import asyncio
import atexit
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar, cast
from weakref import WeakSet, finalize

from ...exceptions import SessionManagerError, StorageError, UnreadableData
from ...models.guard import guard
from ..changes import Outcome
from .known_logs import Connection

T = TypeVar("T")
Work = Callable[[Connection], Any]
_Outcome = tuple["_Job", Any, BaseException | None]

# The most jobs in one transaction: beyond some hundred, sharing a commit saves little more.
_MOST_AT_ONCE = 500


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    writes: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


_Queue = SimpleQueue["_Job | None"]


class Worker:
    """Runs work in order on a connection, which it opens with the first job."""

    def __init__(self, connect: Callable[[], Connection], name: str) -> None:
        self._connect = connect
        self._name = name
        self._jobs: _Queue | None = None
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
        with guard:  # otherwise, another thread could close the queue in between, and nobody would do the job
            jobs = self._jobs
            if jobs is None or self._process is not _process:  # a fork copies the object, but not the thread
                jobs = self._start()
            jobs.put(_Job(work, writes, loop, future))
        return future

    def _start(self) -> _Queue:
        jobs: _Queue = SimpleQueue()
        self._jobs, self._process = jobs, _process
        self._thread = Thread(
            target=_serve, args=(jobs, self._connect, self._name), name="chuk-sqlite", daemon=True
        )
        self._thread.start()
        _threads.add(self._thread)
        finalize(self, jobs.put, None)
        _close_at_exit_of_child()
        return jobs

    async def close(self) -> None:
        """Finish waiting work, and close the connection."""
        thread = self._stop()
        if thread is not None:
            await asyncio.to_thread(thread.join)

    def _stop(self) -> Thread | None:
        """Tell the thread to end after the waiting work; the next use starts another one."""
        with guard:
            jobs, thread = self._jobs, self._thread
            self._jobs = self._thread = None
            if jobs is None or thread is None or self._process is not _process:
                return None
            jobs.put(None)
            return thread

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


def _serve(jobs: _Queue, connect: Callable[[], Connection], name: str) -> None:
    """Work until the queue gives `None`, without a reference to the worker, which could not be freed then."""
    connection: Connection | None = None
    is_open = True
    while is_open:
        batch, is_open = _waiting(jobs)
        try:
            connection = connection or connect()
            outcomes = _run(connection, batch)
        except Exception as problem:  # noqa: BLE001  (whatever it is, the waiting tasks get it)
            outcomes = [(job, None, problem) for job in batch]
        _hand_over(outcomes, name)
        if connection is not None and any(problem and _spoils(problem) for _, _, problem in outcomes):
            connection.close()
            connection = None  # it would keep failing after the cause is gone
        del batch, outcomes
    if connection is not None:
        _close(connection)


def _close(connection: Connection) -> None:
    """Close a connection; then the file contains everything, unless another process is reading it."""
    with suppress(sqlite3.Error):  # data that is not moved into the file stays beside it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _waiting(jobs: _Queue) -> tuple[list[_Job], bool]:
    """All waiting jobs, at least one, and whether there will be more."""
    batch = []
    try:
        job = jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) >= _MOST_AT_ONCE:
                return batch, True
            job = jobs.get_nowait()
    except Empty:
        return batch, True
    return batch, False


def _run(connection: Connection, batch: list[_Job]) -> list[_Outcome]:
    """Run the reading jobs, which wait for nobody, and then all writing jobs in one transaction."""
    writes = [job for job in batch if job.writes]
    if len(writes) == len(batch):  # as almost always
        return _together(connection, writes)
    reads = [job for job in batch if not job.writes]
    return [*_together(connection, reads), *_together(connection, writes)]


def _together(connection: Connection, batch: list[_Job]) -> list[_Outcome]:
    """Run jobs in one transaction; if one of them makes it fail, run each in a transaction of its own."""
    if not batch:
        return []
    try:
        connection.begin(to_write=batch[0].writes)
    except sqlite3.Error as problem:
        connection.rollback()
        return [(job, None, problem) for job in batch]
    try:
        outcomes = [_outcome(connection, job) for job in batch]
        connection.execute("COMMIT")
    except Exception as problem:  # noqa: BLE001  (the waiting tasks get it; the connection must be clean)
        connection.rollback()
        if len(batch) == 1:
            return [(batch[0], None, problem)]
        return [outcome for job in batch for outcome in _together(connection, [job])]
    return outcomes


def _outcome(connection: Connection, job: _Job) -> _Outcome:
    try:
        return job, job.work(connection), None
    except SessionManagerError as refusal:  # work raises these before it writes
        return job, None, refusal


def _hand_over(outcomes: Iterable[_Outcome], name: str) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].loop, []).append(outcome)
    for loop, its_own in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, its_own, name)
        except RuntimeError:  # the loop was closed: nobody waits any more
            continue


def _settle(outcomes: Iterable[_Outcome], name: str) -> None:
    for job, result, problem in outcomes:
        if job.future.done():
            continue
        if problem is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(_explained(problem, name))


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
