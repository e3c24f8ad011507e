"""The OpenAI Agents SDK's sessions: an item for each message. Where they are: `memory`, `sqlite`, `redis`."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from agents import SQLiteSession
from driver import Append, serve
from sharing import SharingDriver
from workload import Message, messages

_numbers = count()


def opener() -> Callable[[str], Any]:
    """What makes a session, given its id."""
    match os.environ["SESSION_PROVIDER"]:
        case "memory":
            return lambda session_id: SQLiteSession(session_id, ":memory:")
        case "sqlite":
            path = os.environ["SESSION_SQLITE_PATH"]
            return lambda session_id: SQLiteSession(session_id, path)
    from agents.extensions.memory import RedisSession  # noqa: PLC0415  (an extra of theirs)
    from redis.asyncio import Redis  # noqa: PLC0415

    # Without more connections, 200 sessions at once fail.
    client = Redis.from_url(os.environ["SESSION_REDIS_URL"], max_connections=5_000)
    return lambda session_id: RedisSession(session_id, redis_client=client)


class AgentsDriver(SharingDriver):
    """A session object for each session; those in Redis share a client."""

    def __init__(self) -> None:
        super().__init__()
        self.new = opener()

    def ready(self, message: Message) -> list[dict[str, Any]]:
        if message.tool:
            return [{"type": "function_call_output", "call_id": message.tool, "output": message.text}]
        return [{"role": message.role, "content": message.text}]

    async def open(self, length: int = 0) -> Append:
        return await self.join(await self.make(length))

    async def join(self, session_id: str) -> Append:
        session = self.new(session_id)

        def append(items: list[dict[str, Any]]) -> Awaitable[None]:
            added: Awaitable[None] = session.add_items(items)
            return added

        return append

    async def make(self, length: int) -> str:
        """The id of a new session with so many messages."""
        session_id = f"session-{os.getpid()}-{next(_numbers)}"
        session = self.new(session_id)
        for start in range(0, length, 1_000):
            await session.add_items(
                [item for each in messages(min(1_000, length - start)) for item in self.ready(each)]
            )
        return session_id

    async def texts(self, session_id: str) -> list[str]:
        return [item["content"] for item in await self.new(session_id).get_items()]

    async def read(self, session_id: str, length: int) -> float:
        """Milliseconds of CPU to read all of a session's messages."""
        session = self.new(session_id)
        started = time.process_time()
        items = await session.get_items()
        taken = time.process_time() - started
        assert len(items) == length, len(items)
        return taken * 1e3


if __name__ == "__main__":
    serve(AgentsDriver)
