"""The event loop behind the blocking API: one for each process, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import AsyncGenerator, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from threading import Event, Lock, Thread, current_thread
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from ..exceptions import InvalidSessionOperation

T = TypeVar("T")


def is_read(generator: AsyncGenerator[Any, None]) -> None:
    """Know that a generator is read in the background loop, at whose end it is to be closed."""
    _background().generators.add(generator)


def run(work: Coroutine[Any, Any, T], context: Context | None = None) -> T:
    """Run a coroutine in the background event loop, and wait for its result.

    Works in any thread, also in one whose own event loop is running, such as a notebook's. That loop
    does nothing else meanwhile. Where the wait is interrupted (`KeyboardInterrupt`), the coroutine is
    cancelled first: a write that has begun comes to its end.

    Args:
        work: such as `session.add_event_and_save(event)`.
        context: the context variables it sees and changes; by default a copy of the caller's.

    Returns:
        What the coroutine returns.

    Raises:
        InvalidSessionOperation: this is the background loop itself, which would wait for itself for ever.
        BaseException: what the coroutine raises, as it is.
    """
    background = _background()
    if background.thread is current_thread():
        work.close()
        reason = (
            "an async function that was handed to the blocking API runs in its event loop, and cannot "
            "wait for that: make it a plain function, or let it await the async API"
        )
        raise InvalidSessionOperation("wait for the result", reason)
    return background.run(work, context)


class _Background:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.generators: WeakSet[AsyncGenerator[Any, None]] = WeakSet()
        """Those that are read from outside."""
        self._is_up = Event()
        # A daemon: a program that is over does not wait for it, but ends it (`_end`).
        self.thread = Thread(target=self._serve, name="chuk-sync", daemon=True)
        self.thread.start()
        self._is_up.wait()

    def _serve(self) -> None:
        with asyncio.Runner() as runner:  # which at its end cancels what is still running
            runner.run(self._until_ended())

    async def _until_ended(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._is_up.set()
        await self._ended.wait()
        # From outside in: asyncio would close generators within generators at the same time, which fails.
        for generator in list(self.generators):
            with suppress(Exception):
                await generator.aclose()

    def run(self, work: Coroutine[Any, Any, T], context: Context | None) -> T:
        """Run a coroutine there, and wait for it here."""
        job = _Job(work, context)
        self._loop.call_soon_threadsafe(job.start, context=context)
        try:
            return job.outcome.result()
        except BaseException:
            if not job.outcome.done():  # the wait was interrupted, not the work
                self._loop.call_soon_threadsafe(job.cancel)
                job.outcome.exception()
            raise
        finally:
            del job  # which holds an exception that holds this frame

    def end(self) -> None:
        """Cancel what is running, and end the thread."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self.thread.join(_PATIENCE)


class _Job(Generic[T]):
    """A coroutine that runs in the loop, and an outcome that another thread waits for."""

    def __init__(self, work: Coroutine[Any, Any, T], context: Context | None) -> None:
        self._work = work
        self._context = context
        self.outcome: Future[T] = Future()

    def start(self) -> None:
        """Begin, in the loop."""
        self._task = asyncio.get_running_loop().create_task(self._do(), context=self._context)
        self._task.add_done_callback(self._done)

    async def _do(self) -> None:
        try:
            result = await self._work
        # All of it is for who waits: KeyboardInterrupt or SystemExit in here would end the loop.
        except BaseException as problem:  # noqa: BLE001
            self.outcome.set_exception(problem)
        else:
            self.outcome.set_result(result)

    def _done(self, _: asyncio.Task[None]) -> None:
        if not self.outcome.done():  # cancelled before it began
            self._work.close()
            self.outcome.set_exception(asyncio.CancelledError())

    def cancel(self) -> None:
        """Have it end early, in the loop."""
        self._task.cancel()


# Seconds that the end of a program waits for writes that have begun.
_PATIENCE = 10.0

_lock = Lock()
_current: _Background | None = None
_is_ended_at_exit = False
# Loops of a parent process: closing one here would disturb the parent, which shares its files.
_of_parents: list[_Background] = []


def _background() -> _Background:
    """The one of this process, started where there is none."""
    global _current, _is_ended_at_exit  # noqa: PLW0603  (one for each process)
    background = _current
    if background is not None and background.thread.is_alive():
        if not _is_ended_at_exit:
            # Not before the second call: by then the store is open, and whatever it does at the exit was
            # registered before. What was registered last is called first.
            _is_ended_at_exit = True
            atexit.register(_end)
        return background
    with _lock:
        if _current is None or not _current.thread.is_alive():
            _current = _Background()
        return _current


def _end() -> None:
    global _current
    background, _current = _current, None
    if background is not None and background.thread.is_alive():
        background.end()


def _after_fork() -> None:
    global _current, _lock
    if _current is not None:
        _of_parents.append(_current)
    _current, _lock = None, Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)
