"""Who looks on sees each event once, in every segment, whoever writes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from places import Place, on_each
from running import PATIENCE

from chuk_ai_session_manager import SessionManager, SessionNotFound, StorageError
from chuk_ai_session_manager.conversation.following import Placed, follow, last_events
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.stores import MemoryStore


async def next_of(placed: AsyncGenerator[Placed, None], count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [(await anext(placed))[1].message for _ in range(count)]


@on_each
async def test_events_of_another_writer_are_seen_through_all_segments(place: Place) -> None:
    async with place.store() as store, place.store() as other:
        sm = SessionManager("s", store=other, infinite_context=True, max_turns_per_segment=2)
        await sm.user_says("message 0")
        async with aclosing(follow("s", store, interval=0.01)) as seen:
            assert await next_of(seen, 1) == ["message 0"]
            for at in range(1, 9):
                await sm.user_says(f"message {at}")
            await sm.wait_for_summaries()
            got = await next_of(seen, 8 + 4)
            assert [each for each in got if each.startswith("message")] == [
                f"message {at}" for at in range(1, 9)
            ]
        chain = await sm.get_session_chain()
        assert len(chain) == 5
        last = await last_events("s", store, 4)
        assert [event.type for _, event in last[:-1]] == [
            EventType.MESSAGE,
            EventType.MESSAGE,
            EventType.SUMMARY,
        ]
        assert [segment.id for segment, _ in last] == [chain[-2]] * 3 + [chain[-1]]
        assert await last_events("s", store, 0) == []
        assert len(await last_events("s", store, 1_000)) == 9 + 4


async def test_an_outage_is_told_of_and_sat_out() -> None:
    class Flaky(MemoryStore):
        down = False

        async def latest(self, *args: Any, **kwargs: Any) -> Any:
            if self.down:
                raise StorageError("away")
            return await super().latest(*args, **kwargs)

    store = Flaky()
    sm = SessionManager("s", store=store)
    await sm.user_says("before")
    told: list[str] = []

    def back_again(problem: StorageError) -> None:
        told.append(str(problem))
        store.down = False

    async with aclosing(follow("s", store, interval=0.01, on_outage=back_again)) as seen:
        assert await next_of(seen, 1) == ["before"]
        await sm.user_says("after")
        store.down = True
        assert await next_of(seen, 1) == ["after"]
    assert told == ["away"]
    store.down = True
    with pytest.raises(StorageError, match="away"):
        await next_of(follow("s", store, interval=0.01), 3)


async def test_what_is_gone_is_not_waited_for() -> None:
    store = MemoryStore()
    with pytest.raises(SessionNotFound):
        await next_of(follow("s", store), 1)
    with pytest.raises(SessionNotFound):
        await last_events("s", store, 1)
    await SessionManager("s", store=store).user_says("Hello?")
    seen = follow("s", store, interval=0.01)
    await next_of(seen, 1)
    await store.delete("s")
    with pytest.raises(SessionNotFound):
        await next_of(seen, 1)
