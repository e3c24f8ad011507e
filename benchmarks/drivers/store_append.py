"""The project's stores without the manager: `append` of events that are made already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from driver import Append, Driver, serve
from workload import MODEL, Message, messages

from chuk_ai_session_manager.models import EventSource, EventType, Session, SessionEvent, TokenUsage
from chuk_ai_session_manager.session_storage import get_backend

SOURCES = {"user": EventSource.USER, "assistant": EventSource.LLM, "tool": EventSource.SYSTEM}


class StoreDriver(Driver):
    """One call of `append` for each event."""

    def __init__(self) -> None:
        super().__init__()
        self.store = get_backend().store

    def ready(self, message: Message) -> SessionEvent[Any]:
        return SessionEvent(
            message=message.text,
            source=SOURCES[message.role],
            type=EventType.TOOL_CALL if message.tool else EventType.MESSAGE,
            token_usage=TokenUsage(prompt_tokens=len(message.text) // 4, model=MODEL),
        )

    async def open(self, length: int = 0) -> Append:
        session: Session[Any] = Session()
        await self.store.create(session)
        for start in range(0, length, 1_000):
            events = map(self.ready, messages(min(1_000, length - start)))
            await self.store.append(session, list(events))

        def append(event: SessionEvent[Any]) -> Awaitable[bool]:
            return self.store.append(session, [event])

        return append

    async def make_sessions(self, number: int) -> None:
        """Make so many sessions, with nothing in them."""
        for _ in range(0, number, 100):
            await asyncio.gather(*(self.store.create(Session()) for _ in range(100)))

    async def page(self, size: int) -> float:
        """Milliseconds to list so many sessions, the newest."""
        started = time.perf_counter()
        page = await self.store.list_sessions(limit=size)
        taken = time.perf_counter() - started
        assert len(page) == size
        return taken * 1e3


if __name__ == "__main__":
    serve(StoreDriver)
