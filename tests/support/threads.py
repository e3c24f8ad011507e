"""Work in several threads, each with an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from places import Place
from running import PATIENCE

from chuk_ai_session_manager import SessionManager

THREADS = 4


EACH = 10


in_all_stores = pytest.mark.parametrize("place", ["memory", "sqlite", "redis", "cluster"], indirect=True)


def at_once(work: Callable[[int], Coroutine[Any, Any, None]], threads: int = THREADS) -> None:
    """Do it in threads, each with an event loop of its own; it ends in all of them."""
    failures: list[BaseException] = []
    start = threading.Barrier(threads)

    def run(number: int) -> None:
        start.wait(PATIENCE)
        try:
            asyncio.run(asyncio.wait_for(work(number), PATIENCE))
        except BaseException as problem:  # noqa: BLE001  (told below)
            failures.append(problem)

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(2 * PATIENCE)
    assert failures == []
    assert not any(thread.is_alive() for thread in running), "a thread hangs"


def alone(work: Awaitable[Any]) -> Any:
    async def in_time() -> Any:
        return await asyncio.wait_for(work, PATIENCE)

    return asyncio.run(in_time())


def check_texts(texts: list[str], threads: int = THREADS, each: int = EACH) -> None:
    """Each thread's messages are there, once and in their order."""
    assert len(texts) == threads * each
    for thread in range(threads):
        own = [text for text in texts if text.startswith(f"{thread}/")]
        assert own == [f"{thread}/{number}" for number in range(each)]


async def texts_in(manager: SessionManager) -> list[str]:
    return [row["content"] for row in await manager.get_conversation()]


def read_elsewhere(place: Place, session_id: str, **options: Any) -> list[str]:
    """The messages, by a manager and a store that were opened for this."""

    async def read() -> list[str]:
        async with place.store() as store:
            return await texts_in(SessionManager(session_id, store=store, **options))

    texts: list[str] = alone(read())
    return texts
