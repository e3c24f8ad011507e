"""Tests of a store in several threads and event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ..session_manager import SessionManager
from .base import PATIENCE, Contract, Stores, in_a_loop


def say_in_a_loop(manager: SessionManager, texts: Iterable[str]) -> None:
    """Record messages in an event loop of this thread's own."""

    async def say() -> None:
        async with asyncio.timeout(PATIENCE / 2):
            for text in texts:
                await manager.user_says(text)

    asyncio.run(say())


def cut_off_in_the_middle(manager: SessionManager) -> None:
    """End an event loop while a message is being recorded in it."""

    async def end() -> None:
        saying = asyncio.create_task(manager.user_says("cut off"))
        await asyncio.sleep(0)
        saying.get_name()  # the task runs until the end of the loop cancels it

    asyncio.run(end())


class Threads(Contract):
    """Tests of a store in several threads and event loops."""

    @in_a_loop
    async def test_threads_with_event_loops_of_their_own_share_a_store(self, stores: Stores) -> None:
        manager = SessionManager("threads", store=stores.open())
        said = [[f"{thread}/{number}" for number in range(10)] for thread in range(4)]
        await asyncio.gather(*(asyncio.to_thread(say_in_a_loop, manager, texts) for texts in said))
        written = [row["content"] for row in await manager.get_conversation()]
        assert [[text for text in written if text[0] == texts[0][0]] for texts in said] == said
        assert len(written) == 40

    @in_a_loop
    async def test_a_store_is_used_in_one_event_loop_after_the_other(self, stores: Stores) -> None:
        manager = SessionManager("loops", store=stores.open())
        for number in range(3):
            await asyncio.to_thread(cut_off_in_the_middle, manager)
            await asyncio.to_thread(say_in_a_loop, manager, [f"whole {number}"])
        texts = [row["content"] for row in await manager.get_conversation()]
        assert [text for text in texts if text != "cut off"] == ["whole 0", "whole 1", "whole 2"]
