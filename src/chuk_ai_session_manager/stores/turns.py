"""Taking turns over threads and event loops: a lock of asyncio's belongs to one loop."""

from __future__ import annotations

import asyncio
import os
import time
from asyncio import AbstractEventLoop, get_running_loop
from collections import deque
from collections.abc import Awaitable, Generator
from contextlib import suppress
from typing import Any, cast

# Seconds after which somebody who waits looks whether the one in front will go on at all.
_LOOK_EVERY = 0.1

SILENCE = 5.0
"""Seconds that an event loop may be blocked before those of other loops go on without its turn.

Stores answer within that time. Without an end, an application that blocks its loop until another thread
has written would wait for ever.
"""

# Another object in each process: what a fork copied waits for nobody there.
_process = object()


def _after_fork() -> None:
    global _process  # noqa: PLW0603  (one a process)
    _process = object()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_after_fork)


class Pulse:
    """Whether an event loop goes on, as asked from other threads."""

    __slots__ = ("_asked", "_loop", "_process")

    def __init__(self, loop: asyncio.AbstractEventLoop, process: object) -> None:
        self._loop = loop
        self._process = process
        self._asked: float | None = None
        """Since when the loop has owed an answer."""

    def is_felt(self) -> bool:
        """Not where the loop has ended, was stopped, or has done nothing for `SILENCE` seconds.

        Each call asks the loop for the answer that the next ones look for.
        """
        if self._process is not _process or not self._loop.is_running():
            return False
        if self._asked is not None:
            return time.monotonic() - self._asked < SILENCE
        self._asked = time.monotonic()
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # closed meanwhile
            return False
        return True

    def _answer(self) -> None:
        self._asked = None


def pulse_of(loop: asyncio.AbstractEventLoop) -> Pulse:
    """The pulse of an event loop of this process."""
    return Pulse(loop, _process)


class _Now:
    """What there is nothing to wait for in."""

    def __await__(self) -> Generator[Any, Any, None]:
        return _NOTHING


# A generator would be made anew for each.
_NOTHING = cast("Generator[Any, Any, None]", iter(()))
_NOW = _Now()


class Turns:
    """A fair lock: whoever asks first is first, in any thread and any event loop.

    Use it as `async with turns.turn():`. A turn whose event loop ended, was stopped, or is blocked for
    `SILENCE` seconds is passed over, so that nobody waits for ever. If its code goes on after all, it does
    so beside the others; so what turns keep in order must stay whole without them, as what several
    processes write to.
    """

    __slots__ = ("_line",)

    def __init__(self) -> None:
        # Whose turn it is stands first. Only single steps of the deque change it, each of which is atomic;
        # a lock of `threading` would not do, because code that is thrown away leaves at any moment.
        self._line: deque[_Turn] = deque()

    def turn(self) -> _Turn:
        """A turn to take, once, by `async with`."""
        return _Turn(self._line)


class _Turn:
    """One turn of a task's; in the line from `async with` to the end of the block.

    Its methods are no coroutines: where nobody is in front, there is nothing to wait for.
    """

    _woken: asyncio.Future[None] | None = None
    _is_passed_over = False
    _pulse: Pulse | None = None

    def __init__(self, line: deque[_Turn]) -> None:
        self._line = line
        self.loop: AbstractEventLoop = get_running_loop()
        self._process = _process

    def __aenter__(self) -> Awaitable[None]:
        line = self._line
        line.append(self)
        return _NOW if line[0] is self else self._wait()

    def __aexit__(self, *exception: object) -> Awaitable[None]:
        line = self._line
        try:
            line.remove(self)
        except ValueError:  # passed over
            return _NOW
        if line:
            _wake_first(line)
        return _NOW

    async def _wait(self) -> None:
        try:
            while not self._is_passed_over:
                # Before looking who is first: who leaves after that sees it, and wakes this one.
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
        # In this loop, which runs, all goes on.
        if first is not None and first.loop is not self.loop and not first.goes_on():
            first.pass_over()
            _wake_first(self._line)

    def pass_over(self) -> None:
        """Take it out of the line, for others; it does not wait any more if it goes on after all."""
        self._is_passed_over = True
        with suppress(ValueError):  # somebody else did it
            self._line.remove(self)

    def wake(self) -> bool:
        """Have its task look at the line; `False` where that will never do so."""
        if self._process is not _process or not self.loop.is_running():
            return False
        woken = self._woken
        if woken is None:  # it does not wait, or will look before it does
            return True
        try:
            if get_running_loop() is self.loop:
                _settle(woken)
                return True
        except RuntimeError:  # thrown away where no loop runs
            pass
        try:
            self.loop.call_soon_threadsafe(_settle, woken)
        except RuntimeError:  # closed meanwhile
            return False
        return True

    def goes_on(self) -> bool:
        """Whether its event loop does."""
        if self._pulse is None:
            self._pulse = Pulse(self.loop, self._process)
        return self._pulse.is_felt()


def _first(line: deque[_Turn]) -> _Turn | None:
    try:
        return line[0]
    except IndexError:  # all left since
        return None


def _wake_first(line: deque[_Turn]) -> None:
    while (first := _first(line)) is not None and not first.wake():
        first.pass_over()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
