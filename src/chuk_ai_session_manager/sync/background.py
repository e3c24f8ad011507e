"""The event loop behind the blocking API: each process has one, in a thread of its own."""

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
    """Register a generator that is read in the background loop, so that it is closed when the loop ends."""
    _background().generators.add(generator)


def run(work: Coroutine[Any, Any, T], context: Context | None = None) -> T:
    """Run a coroutine in the background event loop, and wait for its result.

    It works in any thread, also in one whose own event loop is running, such as a notebook's; that loop waits
    meanwhile. If the wait is interrupted (`KeyboardInterrupt`), the coroutine is cancelled first; a write
    that has begun is completed.

    Args:
        work: a coroutine, such as `session.add_event_and_save(event)`.
        context: the context variables that the coroutine sees and changes; by default a copy of the caller's.

    Returns:
        The coroutine's result.

    Raises:
        InvalidSessionOperation: the caller runs in the background loop, which would wait for itself for ever:
            an async function that was passed in, a `redact` hook, a stemmer, or the function of
            `update_state`.
        BaseException: an exception of the coroutine is raised unchanged.
    """
    background = _background()
    if background.thread is current_thread():
        work.close()
        reason = (
            "the call was made in the background event loop, which cannot wait for itself. In an async "
            "function: make it a plain function, or await the async API. In a redact hook, a stemmer or the "
            "function of update_state: make the call before, and pass its result in"
        )
        raise InvalidSessionOperation("wait for the result", reason)
    return background.run(work, context)


class _Background:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.generators: WeakSet[AsyncGenerator[Any, None]] = WeakSet()
        """The async generators that other threads read."""
        self._is_up = Event()
        # A daemon thread, so that a program that has finished ends the loop (`_end`) and does not wait for
        # it.
        self.thread = Thread(target=self._serve, name="chuk-sync", daemon=True)
        self.thread.start()
        self._is_up.wait()

    def _serve(self) -> None:
        with asyncio.Runner() as runner:  # when it ends, it cancels everything that still runs
            runner.run(self._until_ended())

    async def _until_ended(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._is_up.set()
        await self._ended.wait()
        # The outer generators first: asyncio would close nested generators at the same time, which fails.
        for generator in list(self.generators):
            with suppress(Exception):  # an application's code in it may raise anything; close the others too
                await generator.aclose()

    def run(self, work: Coroutine[Any, Any, T], context: Context | None) -> T:
        """Run a coroutine in the loop's thread, and wait here for its result."""
        job = _Job(work, context)
        self._loop.call_soon_threadsafe(job.start, context=context)
        try:
            return job.outcome.result()
        except BaseException:
            if not job.outcome.done():  # the wait was interrupted; the coroutine still runs
                self._loop.call_soon_threadsafe(job.cancel)
                job.outcome.exception()
            raise
        finally:
            del job  # it holds an exception that holds this frame

    def end(self) -> None:
        """Cancel everything that runs, and end the thread."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self.thread.join(_PATIENCE)


class _Job(Generic[T]):
    """A coroutine that runs in the loop, and the outcome for which another thread waits."""

    def __init__(self, work: Coroutine[Any, Any, T], context: Context | None) -> None:
        self._work = work
        self._context = context
        self.outcome: Future[T] = Future()

    def start(self) -> None:
        """Start the coroutine; called in the loop."""
        self._task = asyncio.get_running_loop().create_task(self._do(), context=self._context)
        self._task.add_done_callback(self._done)

    async def _do(self) -> None:
        try:
            result = await self._work
        # The waiting thread gets every exception: KeyboardInterrupt or SystemExit would end the loop here.
        except BaseException as problem:  # noqa: BLE001
            self.outcome.set_exception(problem)
        else:
            self.outcome.set_result(result)

    def _done(self, _: asyncio.Task[None]) -> None:
        if not self.outcome.done():  # cancelled before the coroutine began
            self._work.close()
            self.outcome.set_exception(asyncio.CancelledError())

    def cancel(self) -> None:
        """Cancel the coroutine; called in the loop."""
        self._task.cancel()


# How many seconds a program that ends waits for writes that have begun.
_PATIENCE = 10.0

_lock = Lock()
_current: _Background | None = None
_is_ended_at_exit = False
# Loops of a parent process. To close one in the child would disturb the parent, which shares the loop's
# files.
_of_parents: list[_Background] = []


def _background() -> _Background:
    """The background loop of this process; it is started if it does not run."""
    global _current, _is_ended_at_exit  # noqa: PLW0603  (one for each process)
    background = _current
    if background is not None and background.thread.is_alive():
        if not _is_ended_at_exit:
            # Registered only at the second call: by then the store is open and has registered its own exit
            # functions. Python calls the function that was registered last first.
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
