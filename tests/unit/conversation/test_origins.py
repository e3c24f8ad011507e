"""A fork of a conversation of many segments, shown with what was said before it."""

from __future__ import annotations

from typing import Any

import pytest
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import EventStore


async def talk(store: EventStore, **settings: Any) -> SessionManager:
    sm = SessionManager(
        "talk", store=store, infinite_context=True, max_turns_per_segment=4, user_id="ada", **settings
    )
    for number in range(7):
        await sm.user_says(f"{number}?")
        await sm.ai_responds(f"{number}.", model="gpt-4o")
    return sm


async def told(sm: SessionManager, **options: Any) -> list[Any]:
    return [row["content"] for row in await sm.get_conversation(include_origin=True, **options)]


ALL = [f"{number}{mark}" for number in range(7) for mark in "?."]


@in_memory_too
class TestForks:
    async def test_a_fork_begins_with_what_was_said_before_it(self, place: Place) -> None:
        async with place.store() as store:
            sm = await talk(store)
            rows = await sm.get_conversation(with_ids=True)
            fork = await sm.fork(at=rows[9]["event_id"], session_id="fork")
            await fork.user_says("mine")
            await sm.user_says("gone on")
        async with place.store() as store:
            fork = SessionManager("fork", store=store, user_id="ada")
            own = [row["content"] for row in await fork.get_conversation()]
            assert own == ["4?", "4.", "mine"]
            assert await told(fork) == [*ALL[:10], "mine"]
            for limit in (1, 3, 4, 11, 50):
                assert await told(fork, limit=limit) == [*ALL[:10], "mine"][-limit:]
            rows = await fork.get_conversation(include_origin=True)
            assert rows[0]["session_id"] == "talk"
            assert (await fork.get_stats())["total_messages"] == 3
            assert await told(SessionManager("talk", store=store)) == [*ALL, "gone on"]
            branch = await fork.fork(session_id="branch")
            for number in range(5):
                await branch.user_says(f"own {number}")
            assert await told(branch) == [*ALL[:10], "mine", *(f"own {number}" for number in range(5))]

    async def test_what_was_taken_back_before_is_not_in_it(self, place: Place) -> None:
        async with place.store() as store:
            sm = await talk(store)
            rows = await sm.get_conversation(with_ids=True)
            await sm.retract(rows[2]["event_id"])
            await sm.edit(rows[4]["event_id"], "another")
            fork = await sm.fork(session_id="fork")
            assert await told(fork) == ["0?", "0.", "1.", "another"]
            await sm.choose(rows[4]["event_id"])
            await sm.undo()
            assert await told(fork) == ["0?", "0.", "1.", "another"]
            await fork.clear()
            await fork.user_says("anew")
            assert await told(fork) == ["anew"]

    async def test_an_original_that_is_gone_or_somebody_else_s(self, place: Place) -> None:
        async with place.store() as store:
            sm = await talk(store)
            fork = await sm.fork(session_id="fork")
            own = [row["content"] for row in await fork.get_conversation()]
            assert len(await told(fork)) == 14
            await store.delete_conversation("talk")
            assert await told(fork) == own
            other = SessionManager("talk", store=store, user_id="bob", infinite_context=True)
            await other.user_says("secret")
            assert await told(fork) == own


@pytest.mark.parametrize("infinite", [False, True])
async def test_what_is_no_fork_is_as_ever(*, infinite: bool) -> None:
    sm = SessionManager(infinite_context=infinite, max_turns_per_segment=2)
    for number in range(5):
        await sm.user_says(str(number))
    assert await told(sm) == [str(number) for number in range(5)]
