"""Work in the background, for which no caller waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ...exceptions import StorageError
from ...models.turns import Turns

logger: logging.Logger = logging.getLogger(__name__)


class Chores:
    """Background work. If it fails, it is done again when it is next due."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = Turns()

    def do(self, work: Coroutine[Any, Any, None], failure: str) -> None:
        """Do work in a task of this event loop; `failure` is logged if the server refuses."""
        task = asyncio.create_task(_done(work, failure))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def do_in_turn(self, work: Callable[[], Awaitable[None]], failure: str) -> None:
        """The same, but such work is done one after the other.

        Otherwise, a thousand new sessions at once would need thirty connections for their sweeps.
        """
        self.do(self._in_turn(work), failure)

    async def _in_turn(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self._turns.turn():
            await work()

    async def finish(self) -> None:
        """Wait until the background work of this event loop is done."""
        loop = asyncio.get_running_loop()
        pending = [task for task in self._tasks if task.get_loop() is loop]
        if pending:
            await asyncio.wait(pending)


async def _done(work: Coroutine[Any, Any, None], failure: str) -> None:
    try:
        await work
    except StorageError as problem:
        logger.warning("Redis: %s (%s)", failure, problem)
