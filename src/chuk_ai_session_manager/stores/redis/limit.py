"""A limit to the time of blocks that run one after the other, with one timer for many of them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class Limit:
    """Ends a block at a deadline, as `asyncio.timeout_at` does; the next block begins after its end.

    The timer goes on between blocks, and looks at the present block's deadline when it is over. To start and
    cancel a timer for each block takes 4 µs.
    """

    def __init__(self) -> None:
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None
        """The task that is in a block."""
        self._cancelled_before = 0
        self._is_over = False

    def __call__(self, deadline: float) -> Self:
        """Begin a block with this deadline, in the event loop's time."""
        self._deadline = deadline
        return self

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101  (a coroutine of asyncio has one; tells mypy)
        self._cancelled_before, self._is_over = self._task.cancelling(), False
        if self._timer is None or self._timer.when() > self._deadline:
            self._start()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, _: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._is_over and task is not None:
            is_ours = task.uncancel() <= self._cancelled_before
            if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from problem

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next block starts it again
        if asyncio.get_running_loop().time() < self._deadline:
            self._start()
        else:
            self._is_over = True
            self._task.cancel()
