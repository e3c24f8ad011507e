"""The limit to the time of blocks ends them as `asyncio.timeout_at` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest
from running import PATIENCE

from chuk_ai_session_manager.stores.redis.limit import Limit

Limiting: TypeAlias = Callable[[float], AbstractAsyncContextManager[Any]]
NEVER = PATIENCE * 10


@pytest.fixture(params=[Limit, lambda: asyncio.timeout_at], ids=["Limit", "asyncio"])
def limit(request: pytest.FixtureRequest) -> Limiting:
    made: Limiting = request.param()
    return made


def later(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.mark.parametrize("seconds", [-1, 0, 0.01])
async def test_a_block_ends_at_its_deadline(limit: Limiting, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with limit(later(seconds)):
            await asyncio.sleep(NEVER)
    await asyncio.sleep(0)  # the task is not cancelled any more
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_each_block_has_its_own_deadline(limit: Limiting) -> None:
    async with limit(later(0.01)):
        pass
    async with limit(later(NEVER)):
        await asyncio.sleep(0.03)  # beyond the deadline of the first block
    for seconds in (0.02, 0.01):
        async with limit(later(NEVER)):
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):  # earlier than the deadline of the block before
            async with limit(later(seconds)):
                await asyncio.sleep(NEVER)


async def test_blocks_of_several_tasks_follow_each_other(limit: Limiting) -> None:
    async def wait(seconds: float) -> str:
        try:
            async with limit(later(seconds)):
                await asyncio.sleep(0.03)
        except TimeoutError:
            return "over"
        return "in time"

    assert [await asyncio.create_task(wait(each)) for each in (NEVER, 0.01, NEVER)] == [
        "in time",
        "over",
        "in time",
    ]


async def test_a_cancelled_task_stays_cancelled(limit: Limiting) -> None:
    async def wait() -> None:
        async with limit(later(NEVER)):
            await asyncio.sleep(NEVER)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_task_that_is_cancelled_at_its_deadline_is_cancelled(limit: Limiting) -> None:
    async def wait() -> None:
        async with limit(later(0)):
            await asyncio.sleep(NEVER)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(task.cancel)  # after the timer has cancelled the task too
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_in_a_block_is_raised(limit: Limiting) -> None:
    with pytest.raises(ValueError, match="theirs"):
        async with limit(later(NEVER)):
            raise ValueError("theirs")
