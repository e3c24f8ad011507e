"""chuk-ai-session-manager by its API since 0.7.1: one program for the project and the originals.

Where the sessions are is said in the environment: SESSION_PROVIDER and its kind.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from weakref import WeakKeyDictionary

from driver import Append, peak_megabytes, serve, stalled
from sharing import SharingDriver
from workload import MODEL, PROVIDER, Message, messages, text

from chuk_ai_session_manager import EventSource, Session, SessionEvent, SessionManager, TokenUsage
from chuk_ai_session_manager.session_storage import ChukSessionsStore, get_backend

SOURCES = {"user": EventSource.USER, "assistant": EventSource.LLM}


def appending(sm: SessionManager) -> Append:
    def append(message: Message) -> Awaitable[str]:
        if message.role == "user":
            return sm.user_says(message.text)
        if message.role == "assistant":
            return sm.ai_responds(message.text, model=MODEL, provider=PROVIDER)
        return sm.tool_used(message.tool, message.arguments, message.text)

    return append


class SessionManagerDriver(SharingDriver):
    """A `SessionManager` for each session."""

    def __init__(self) -> None:
        super().__init__()
        self.managers: WeakKeyDictionary[Append, SessionManager] = WeakKeyDictionary()

    async def open(self, length: int = 0) -> Append:
        manager = SessionManager(await self.make(length) if length else None)
        append = appending(manager)
        self.managers[append] = manager
        return append

    async def join(self, session_id: str) -> Append:
        return appending(SessionManager(session_id))

    async def texts(self, session_id: str) -> list[str]:
        session = await get_backend().get(session_id)
        assert session is not None
        return [event.message for event in session.events]

    async def close_all(self) -> float:
        """Seconds to leave the blocks of all sessions that are held."""
        started = time.perf_counter()
        for append in self.held:
            await self.managers[append].__aexit__(None, None, None)
        return time.perf_counter() - started

    async def make(self, length: int) -> str:
        """The id of a new session with so many messages, saved after each ten thousand."""
        session = await Session.create()
        for start in range(0, length, 10_000):
            for message in messages(min(10_000, length - start)):
                usage = TokenUsage(prompt_tokens=len(message.text) // 4, model=MODEL)
                await session.add_event(
                    SessionEvent(message=message.text, source=SOURCES[message.role], token_usage=usage)
                )
            await ChukSessionsStore(get_backend()).save(session)
        return session.id

    async def counts_exactly(self) -> bool:
        """Whether tokens are counted with the model's vocabulary; else they are estimates."""
        import tiktoken  # noqa: PLC0415  (of all that count only one needs it)

        try:
            encoding = tiktoken.encoding_for_model(MODEL)
        except Exception:  # noqa: BLE001  (no network, no cache: tiktoken raises what it meets)
            return False
        sample = text(300)
        return await TokenUsage.count_tokens(sample, MODEL) == len(encoding.encode(sample))

    async def reopen(self, session_id: str, length: int) -> float:
        """Milliseconds of CPU to have a session's messages for the model."""
        started = time.process_time()
        rows = await SessionManager(session_id).get_messages_for_llm()
        taken = time.process_time() - started
        assert len(rows) == length
        return taken * 1e3

    async def context(self, session_id: str, max_tokens: int) -> float:
        """Milliseconds of CPU to have the messages for the model that are so many tokens at most."""
        started = time.process_time()
        rows = await SessionManager(session_id).get_messages_for_llm(max_tokens=max_tokens, model=MODEL)
        taken = time.process_time() - started
        assert 0 < len(rows) < 200, len(rows)  # of the shortest session too, not everything
        return taken * 1e3

    async def read(self, session_id: str, length: int) -> float:
        """Milliseconds of CPU to read a session with all its events from the store."""
        started = time.process_time()
        session = await get_backend().get(session_id)
        taken = time.process_time() - started
        assert session is not None
        assert len(session.events) == length, len(session.events)
        return taken * 1e3

    async def stall(self, megabytes: float) -> dict[str, float]:
        """Milliseconds of CPU in the longest stall of the event loop by a long message, and that all took."""
        sm = SessionManager()
        await sm.user_says(text(170))
        taken = await stalled(sm.user_says(text(int(megabytes * 1e6))))
        return {"stall": taken.stall_cpu * 1e3, "took": taken.time * 1e3}

    async def infinite(self, events: int, parts: int = 10) -> list[float]:
        """The process's peak memory in MB after each part of a conversation that goes on for ever."""
        append = appending(SessionManager(infinite_context=True))
        peaks = []
        for _ in range(parts):
            for message in messages(events // parts):
                await append(message)
            await asyncio.sleep(0)
            peaks.append(peak_megabytes())
        return peaks


if __name__ == "__main__":
    serve(SessionManagerDriver)
