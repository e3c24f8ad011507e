"""One manager, with calls tracked in several threads: each has an event loop and clients of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from places import Place, in_memory_too
from threads import THREADS, at_once

from chuk_ai_session_manager import SessionManager, track_client

# The clients leave the generators of stopped streams to garbage collections, which may run in another thread.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <async_generator object:pytest.PytestUnraisableExceptionWarning"
)

CLAUDE = "claude-sonnet-4-6"
EACH = 4


@asynccontextmanager
async def tracked_clients(manager: SessionManager, address: str) -> AsyncIterator[tuple[Any, Any]]:
    """OpenAI's and Anthropic's clients for one event loop, tracked by a manager that all loops share."""
    async with (
        AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as openai,
        AsyncAnthropic(base_url=address, api_key="none", max_retries=0) as anthropic,
    ):
        yield track_client(openai, manager), track_client(anthropic, manager)


async def ask(openai: Any, anthropic: Any, thread: int, text: str, *, stops: bool = False) -> None:
    """One call, by the API of the thread's number; every second thread streams."""
    messages = [{"role": "user", "content": text}]
    streams = stops or bool(thread % 2)
    if thread < 2:
        response = await openai.chat.completions.create(model="gpt-4o", messages=messages, stream=streams)
    else:
        response = await anthropic.messages.create(
            model=CLAUDE, max_tokens=99, messages=messages, stream=streams
        )
    if not streams:
        return
    async for _ in response:
        if stops:
            break
    await response.close()


@in_memory_too
@pytest.mark.parametrize("options", [{}, {"infinite_context": True, "max_turns_per_segment": 5}])
def test_each_call_is_recorded_once_with_its_own_answer(
    place: Place, options: dict[str, Any], address: str
) -> None:
    store = place.store()
    manager = SessionManager("shared", store=store, **options)

    async def use(thread: int) -> None:
        async with tracked_clients(manager, address) as clients:
            for number in range(EACH):
                await ask(*clients, thread, f"{thread}/{number}")
        await manager.wait_for_summaries()

    at_once(use)

    async def check() -> None:
        async with place.store() as fresh:
            reader = SessionManager("shared", store=fresh)
            rows = await reader.get_conversation(include_all_segments=True)
            questions = [row["content"] for row in rows if row["role"] == "user"]
            asked = [f"{thread}/{number}" for thread in range(THREADS) for number in range(EACH)]
            assert Counter(questions) == Counter(asked)
            answers = [row["content"] for row in rows if row["role"] == "assistant"]
            assert Counter(answers) == Counter(f"You said: {text}" for text in asked)
            stats = await reader.get_stats(include_all_segments=True)
            assert stats["llm_calls"] == THREADS * EACH

    asyncio.run(check())


@in_memory_too
def test_stopped_streams_are_calls_in_every_thread(place: Place, address: str) -> None:
    manager = SessionManager("shared", store=place.store())

    async def use(thread: int) -> None:
        async with tracked_clients(manager, address) as clients:
            for number in range(EACH):
                await ask(*clients, thread, f"{thread}/{number} and so on", stops=True)

    at_once(use)

    async def check() -> None:
        async with place.store() as fresh:
            reader = SessionManager("shared", store=fresh)
            stats = await reader.get_stats()
            assert stats["llm_calls"] == THREADS * EACH
            rows = await reader.get_conversation()
            questions = [row["content"] for row in rows if row["role"] == "user"]
            assert len(questions) == len(set(questions)) == THREADS * EACH

    asyncio.run(check())
