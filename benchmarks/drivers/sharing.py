"""Jobs for several processes that write at the same time."""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from itertools import count
from typing import Any

from driver import Append, Driver
from workload import ASSISTANT_LENGTH, USER_LENGTH, Message, text


class SharingDriver(Driver):
    """A way to store conversations that several processes can write to."""

    @abstractmethod
    async def make(self, length: int) -> str:
        """The id of a new session with so many messages."""

    @abstractmethod
    async def join(self, session_id: str) -> Append:
        """The way to write to a session that exists already."""

    @abstractmethod
    async def texts(self, session_id: str) -> list[str]:
        """All messages of a session."""

    async def write_for(self, seconds: float, at: float, session_id: str | None = None) -> dict[str, Any]:
        """Write to a session, or to an own one, from a point in time on; with the beginnings of all texts."""
        session_id = session_id or await self.make(2)
        append = await self.join(session_id)
        marks: list[str] = []
        took: list[float] = []
        spent = 0.0
        for number in count():
            mark = f"{os.getpid()}-{time.time_ns()}"
            role, length = ("assistant", ASSISTANT_LENGTH) if number % 2 else ("user", USER_LENGTH)
            item = self.ready(Message(role, f"{mark} {text(length)}"))
            started = time.perf_counter()
            await append(item)
            took.append((time.perf_counter() - started) * 1e3)
            marks.append(mark)
            if number == 1:  # what only the first ones cost is not measured
                took.clear()
                await asyncio.sleep(at - time.time())
                spent = time.process_time()
            elif time.time() >= at + seconds:
                break
        cpu = time.process_time() - spent
        return {"session": session_id, "marks": marks, "took": took, "cpu": cpu}

    async def marks(self, session_id: str) -> list[str]:
        """The beginnings of all messages of a session."""
        return [each.partition(" ")[0] for each in await self.texts(session_id)]
