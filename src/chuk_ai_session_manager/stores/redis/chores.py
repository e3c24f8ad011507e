"""Work beside what callers wait for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ...exceptions import StorageError

logger: logging.Logger = logging.getLogger(__name__)


class Chores:
    """Work that nobody waits for. When it fails, it is done again the next time that it is due."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def do(self, work: Coroutine[Any, Any, None], failure: str) -> None:
        """Do it in a task of this event loop; `failure` is logged where the server refuses."""
        task = asyncio.create_task(_done(work, failure))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until the work in this event loop is done."""
        loop = asyncio.get_running_loop()
        pending = [task for task in self._tasks if task.get_loop() is loop]
        if pending:
            await asyncio.wait(pending)


async def _done(work: Coroutine[Any, Any, None], failure: str) -> None:
    try:
        await work
    except StorageError as problem:
        logger.warning("Redis: %s (%s)", failure, problem)
