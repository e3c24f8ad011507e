"""Writers of one process that had a collision in a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from running import PATIENCE

from chuk_ai_session_manager import Session, StorageError
from chuk_ai_session_manager.models import collisions
from chuk_ai_session_manager.models.collisions import until_stored
from chuk_ai_session_manager.stores import MemoryStore


class Writer:
    """A writer whose first try is too late. `again` makes its second one."""

    def __init__(self, again: Any) -> None:
        self._again = again
        self._is_first = True

    async def __call__(self, session: Session[Any]) -> tuple[bool, Session[Any]]:
        if self._is_first:
            self._is_first = False
            await asyncio.sleep(0)  # the others make their first tries
            return False, session
        await self._again()
        return True, session


async def test_they_try_one_after_the_other() -> None:
    session, store = Session(id="s"), MemoryStore()
    trying: list[int] = []

    async def again() -> None:
        trying.append(1)
        for _ in range(5):
            assert len(trying) == 1
            await asyncio.sleep(0)
        trying.clear()

    await asyncio.gather(*(until_stored(Writer(again), session, store) for _ in range(10)))
    assert (id(store), "s") not in collisions._lines


async def test_nobody_waits_for_others_at_a_store_that_fails() -> None:
    session, store = Session(id="s"), MemoryStore()
    others = asyncio.Barrier(2)

    async def fail() -> None:
        raise StorageError("no answer")

    async def meet() -> None:
        await others.wait()  # both are here at the same time, or neither goes on

    writers = [Writer(fail), Writer(meet), Writer(meet)]
    async with asyncio.timeout(PATIENCE):
        first, *rest = await asyncio.gather(
            *(until_stored(writer, session, store) for writer in writers), return_exceptions=True
        )
    assert isinstance(first, StorageError)
    assert rest == [session, session]


async def test_a_cancelled_one_leaves_its_place_to_the_next() -> None:
    session, store = Session(id="s"), MemoryStore()
    here = asyncio.Event()

    async def hang() -> None:
        here.set()
        await asyncio.Event().wait()

    async def go_on() -> None:
        return

    first = asyncio.create_task(until_stored(Writer(hang), session, store))
    second = asyncio.create_task(until_stored(Writer(go_on), session, store))
    await here.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    async with asyncio.timeout(PATIENCE):
        assert await second is session
