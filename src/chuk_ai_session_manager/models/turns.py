"""Turns across threads and event loops: one of asyncio's locks belongs to one loop."""

from __future__ import annotations

import asyncio
import os
import time
from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Awaitable, Generator
from contextlib import suppress
from threading import get_ident
from typing import Any, cast

# Seconds after which a waiting task checks whether the first one in line will go on at all.
_LOOK_EVERY = 0.1

SILENCE = 5.0
"""Seconds that an event loop may be blocked before tasks of other loops go on without its turn.

Stores answer within that time. Without this limit, an application that blocks its loop until another thread
has written would wait for ever.
"""

# A different object in each process: turns that a fork copied wait for nobody in the child.
_process = object()


def _after_fork() -> None:
    global _process  # noqa: PLW0603  (one for each process)
    _process = object()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


class Pulse:
    """Whether an event loop is running, as seen from other threads."""

    __slots__ = ("_asked", "_loop", "_process")

    def __init__(self, loop: asyncio.AbstractEventLoop, process: object) -> None:
        self._loop = loop
        self._process = process
        self._asked: float | None = None
        """The time since when the loop has owed an answer."""

    def is_felt(self) -> bool:
        """Whether the loop runs: not if it has ended, was stopped, or did nothing for `SILENCE` seconds.

        Each call asks the loop for the answer that later calls look for.
        """
        if self._process is not _process or not self._loop.is_running():
            return False
        if self._asked is not None:
            return time.monotonic() - self._asked < SILENCE
        self._asked = time.monotonic()
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # the loop was closed meanwhile
            return False
        return True

    def _answer(self) -> None:
        self._asked = None


def pulse_of(loop: asyncio.AbstractEventLoop) -> Pulse:
    """The pulse of an event loop of this process."""
    return Pulse(loop, _process)


class _Now:
    """An awaitable that does not wait."""

    def __await__(self) -> Generator[Any, Any, None]:
        return _NOTHING


# One object for all: a generator would be created for each use.
_NOTHING = cast("Generator[Any, Any, None]", iter(()))
_NOW = _Now()


class Turns:
    """A fair lock: the tasks of all threads and event loops go in the order in which they asked.

    Use it as `async with turns.turn():`. A turn is passed over if its event loop has ended, was stopped, or
    is blocked for `SILENCE` seconds, so that nobody waits for ever. If the code of such a turn goes on after
    all, it runs beside the others. So what the turns keep in order must stay consistent without them, as
    data that several processes write.
    """

    __slots__ = ("__weakref__", "_line", "_spare")

    def __init__(self) -> None:
        # The first one in line has the turn. Only single operations of the list change it; each is atomic.
        # A lock of `threading` would not do, because a garbage-collected coroutine may leave at any moment.
        # A deque takes 760 bytes when it is empty, and each manager has three of these lines.
        self._line: list[_Turn] = []
        # A turn that is over. The next one in the same event loop uses its object.
        self._spare: list[_Turn] = []

    def turn(self) -> _Turn:
        """A turn, to be used once, with `async with`."""
        try:
            turn = self._spare.pop()
        except IndexError:
            return _Turn(self._line, self._spare)
        # `get_running_loop` would say the same, but asks the operating system for the process id each time.
        is_of_here = turn.thread == get_ident() and turn.loop.is_running() and turn.process is _process
        return turn if is_of_here else _Turn(self._line, self._spare)


class _Turn:
    """A turn of one task, which is in line from `async with` to the end of the block.

    Its methods are not coroutines: if the line is empty, there is nothing to wait for.
    """

    _woken: asyncio.Future[None] | None = None
    _is_passed_over = False
    _pulse: Pulse | None = None

    def __init__(self, line: list[_Turn], spare: list[_Turn]) -> None:
        self._line = line
        self._spare = spare
        self.loop: AbstractEventLoop = get_running_loop()
        self.thread: int = get_ident()
        self.process: object = _process

    def __aenter__(self) -> Awaitable[None]:
        line = self._line
        line.append(self)
        return _NOW if line[0] is self else self._wait()

    def __aexit__(self, *exception: object) -> Awaitable[None]:
        line = self._line
        try:
            line.remove(self)
        except ValueError:  # it was passed over
            return _NOW
        if line:
            _wake_first(line)
        elif not self._spare:
            self._pulse = None
            self._spare.append(self)
        return _NOW

    async def _wait(self) -> None:
        self.loop = get_running_loop()
        try:
            while not self._is_passed_over:
                # Before looking for the first one: a turn that leaves after that sees this and wakes it.
                self._woken = self.loop.create_future()
                if _first(self._line) is self:
                    return
                look_again = self.loop.call_later(_LOOK_EVERY, _settle, self._woken)
                try:
                    await self._woken
                finally:
                    look_again.cancel()
                self._look_at_first()
        except BaseException:  # cancelled
            self.__aexit__()
            raise
        finally:
            self._woken = None

    def _look_at_first(self) -> None:
        first = _first(self._line)
        # Everything in this loop goes on, because the loop is running.
        if first is not None and first.loop is not self.loop and not first.goes_on():
            first.pass_over()
            _wake_first(self._line)

    def pass_over(self) -> None:
        """Remove this turn from the line. If its task goes on after all, it does not wait any more."""
        self._is_passed_over = True
        with suppress(ValueError):  # another task did it
            self._line.remove(self)

    def wake(self) -> bool:
        """Let its task look at the line; `False` if the task will never do so."""
        if self.process is not _process or not self.loop.is_running():
            return False
        woken = self._woken
        if woken is None:  # the task does not wait, or will look before it waits
            return True
        try:
            if get_running_loop() is self.loop:
                _settle(woken)
                return True
        except RuntimeError:  # it was garbage-collected where no loop runs
            pass
        try:
            self.loop.call_soon_threadsafe(_settle, woken)
        except RuntimeError:  # the loop was closed meanwhile
            return False
        return True

    def goes_on(self) -> bool:
        """Whether its event loop runs."""
        if self._pulse is None:
            self._pulse = Pulse(self.loop, self.process)
        return self._pulse.is_felt()


def _first(line: list[_Turn]) -> _Turn | None:
    try:
        return line[0]
    except IndexError:  # all have left
        return None


def _wake_first(line: list[_Turn]) -> None:
    while (first := _first(line)) is not None and not first.wake():
        first.pass_over()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
