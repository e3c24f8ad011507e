"""State and properties are the conversation's: by any segment's id, over roll-overs, merged by key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import Place, in_another_process, in_memory_too, on_each

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput, SessionNotFound
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.merging import merged
from chuk_ai_session_manager.stores.stored_data import dump, load

KEYS = st.sampled_from("abc")
VALUES = st.dictionaries(KEYS, st.none() | st.integers(0, 3) | st.lists(st.integers(0, 1), max_size=1))


def talking(store: EventStore, session_id: str = "root", **settings: Any) -> SessionManager:
    return SessionManager(session_id, store=store, infinite_context=True, max_turns_per_segment=2, **settings)


async def got(store: EventStore, session_id: str) -> Session[Any]:
    session = await store.get(session_id)
    assert session is not None
    return session


async def count_up(place: Place, session_id: str, times: int) -> None:
    """Raise a counter; every now and then say something, which opens new segments."""

    def raised(state: dict[str, Any]) -> None:
        state["n"] = state.get("n", 0) + 1

    async with place.store() as store:
        sm = SessionManager(session_id, store=store)
        for number in range(times):
            await sm.update_state(raised)
            if number % 5 == 0:
                await sm.user_says(f"{number}?")


async def set_key(place: Place, key: str, value: Any) -> None:
    async with place.store() as store:
        session = await got(store, "root")
        session.state[key] = value
        session.metadata.properties[f"p-{key}"] = value
        await store.save(session)


@given(before=VALUES, mine=VALUES, theirs=VALUES)
def test_the_writer_that_changed_a_key_wins_for_this_key(
    before: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    together = load(merged("state", dump(before), dump(mine), dump(theirs)))
    gone = object()
    for key in "abc":
        was, wanted, there = (each.get(key, gone) for each in (before, mine, theirs))
        assert together.get(key, gone) == (there if wanted == was else wanted)
    metadata = [dump({"properties": each, "updated_at": "x"}) for each in (before, mine, theirs)]
    before_text, mine_text, theirs_text = metadata
    assert load(merged("metadata", before_text, mine_text, theirs_text))["properties"] == together


class TestOverRollOvers:
    @in_memory_too
    async def test_state_goes_along_and_is_the_same_by_any_id(self, place: Place) -> None:
        async with place.store() as store:
            sm = talking(store, metadata={"ticket": 1})
            await sm.user_says("one")
            session = await got(store, "root")
            session.state["cart"] = [{"item": 1}]
            await store.save(session)
            for number in range(5):
                await sm.user_says(f"more {number}")
            chain = await sm.get_session_chain()
            assert len(chain) == 3
        for number, session_id in enumerate(chain):
            async with place.store() as store:
                there = await got(store, session_id)
                assert there.state["cart"] == [{"item": 1}]
                there.state["cart"].append({"item": number})
                there.state[session_id] = True
                there.metadata.properties["seen"] = number
                await store.save(there)
            async with place.store() as store:
                expected = {"cart": [{"item": 1}, {"item": number}]} | dict.fromkeys(
                    chain[: number + 1], True
                )
                for each in chain:
                    assert (await got(store, each)).state == expected
                    assert (await got(store, each)).metadata.properties == {"ticket": 1, "seen": number}
                    head = await store.head(each)
                    assert head is not None
                    assert head.state == expected
                    sm = SessionManager(each, store=store)
                    assert await sm.get_state() == expected
                    assert (await got(store, each)).events  # what was said stays where it is
                await SessionManager(chain[0], store=store).update_state(lambda state: state["cart"].pop())
                assert (await got(store, chain[0])).state["cart"] == [{"item": 1}]

    @on_each
    def test_a_counter_that_processes_raise_while_segments_are_opened_counts_all(self, place: Place) -> None:
        async def begin() -> None:
            async with place.store() as store:
                await talking(store).user_says("hello")

        async def counted() -> tuple[int, int]:
            async with place.store() as store:
                sm = SessionManager("root", store=store)
                return (await sm.get_state())["n"], len(await sm.get_session_chain())

        async def all_at_once() -> None:
            await asyncio.gather(*(count_up(place, "root", 10) for _ in range(5)))

        asyncio.run(begin())
        in_another_process(count_up, place, "root", 10)
        asyncio.run(all_at_once())
        assert asyncio.run(counted()) == (60, 7)


class TestTwoWriters:
    @in_memory_too
    async def test_different_keys_are_both_kept(self, place: Place) -> None:
        async with place.store() as here, place.store() as there:
            await here.create(Session(id="s", state={"a": 1, "old": 1}))
            mine, theirs = await got(here, "s"), await got(there, "s")
            mine.state["b"] = 2
            mine.metadata.properties["x"] = 1
            theirs.state["c"] = 3
            theirs.metadata.properties["y"] = 2
            theirs.state.pop("old")
            await here.save(mine)
            await there.save(theirs)
        async with place.store() as store:
            session = await got(store, "s")
            assert session.state == {"a": 1, "b": 2, "c": 3}
            assert session.metadata.properties == {"x": 1, "y": 2}

    @on_each
    def test_in_processes_of_their_own_too(self, place: Place) -> None:
        async def begin() -> None:
            async with place.store() as store:
                sm = talking(store)
                for text in ("one", "two", "three"):
                    await sm.user_says(text)

        asyncio.run(begin())
        for key in "ab":
            in_another_process(set_key, place, key, 1)

        async def found() -> tuple[dict[str, Any], dict[str, Any]]:
            async with place.store() as store:
                session = await got(store, "root")
                return session.state, session.metadata.properties

        assert asyncio.run(found()) == ({"a": 1, "b": 1}, {"p-a": 1, "p-b": 1})


class TestUpdating:
    @in_memory_too
    async def test_what_fails_or_is_no_json_changes_nothing(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store)
            assert await sm.update_state(lambda state: state.update(a=1)) == {"a": 1}

            def fail(state: dict[str, Any]) -> None:
                state["b"] = 2
                raise KeyError("c")

            async def wait(state: dict[str, Any]) -> None:
                state["b"] = 2

            with pytest.raises(KeyError):
                await sm.update_state(fail)
            with pytest.raises(InvalidInput, match="must not be async"):
                await sm.update_state(wait)
            with pytest.raises(InvalidInput, match="the state"):
                await sm.update_state(lambda state: state.update(b={1}))
        async with place.store() as store:
            state = await SessionManager("s", store=store).get_state()
            assert state == {"a": 1}
            state["a"] = 2  # a copy
            assert await SessionManager("s", store=store).get_state() == {"a": 1}
            stranger = SessionManager("s", store=store, user_id="ada")
            for use in (stranger.get_state(), stranger.update_state(lambda state: state.clear())):
                with pytest.raises(SessionNotFound):
                    await use
