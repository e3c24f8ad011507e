"""Tests of creating sessions: taken ids, parents, and which ids are refused."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from ..exceptions import InvalidInput, SessionAlreadyExists
from ..models import Session, SessionMetadata
from .base import Contract, Stores, in_a_loop
from .checks import check_is_unknown
from .hostile import HOSTILE_IDS, INVALID_IDS
from .readings import contents_of, messages_in, read_latest, read_session
from .samples import user_message, write_everything


class Creating(Contract):
    """Tests of creating sessions: taken ids, parents, and which ids are refused."""

    @in_a_loop
    async def test_a_taken_id_is_refused_and_what_is_there_stays(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        written = await write_everything(store)
        await Session.create(session_id="parent", store=store)
        for parent_id in (None, "parent"):
            with pytest.raises(SessionAlreadyExists):
                await other.create(
                    Session(id="everything", parent_id=parent_id, events=[user_message("mine")])
                )
        assert await contents_of("everything", stores.open()) == written
        assert (await read_session(other, "parent")).child_ids == []

    @in_a_loop
    async def test_of_many_who_create_one_id_at_once_one_does(self, stores: Stores) -> None:
        opened = [stores.open() for _ in range(4)]

        async def create(number: int) -> int | None:
            try:
                await opened[number % 4].create(Session(id="s", state={"made by": number}))
            except SessionAlreadyExists:
                return None
            return number

        done = await asyncio.gather(*(create(number) for number in range(8)))
        (winner,) = (number for number in done if number is not None)
        assert (await read_session(opened[0], "s")).state == {"made by": winner}

    @in_a_loop
    async def test_a_new_session_is_entered_with_its_parent(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        parent = await Session.create(session_id="parent", store=store)
        await Session.create(session_id="child", parent_id="parent", store=other)
        orphan = await Session.create(session_id="orphan", parent_id="nobody", store=other)
        assert orphan.parent_id == "nobody"
        assert (await read_latest(store, parent)).child_ids == ["child"]
        assert await store.get("nobody") is None

    @in_a_loop
    async def test_children_that_are_entered_at_once_are_all_there(self, stores: Stores) -> None:
        opened = [stores.open() for _ in range(4)]
        await Session.create(session_id="parent", store=opened[0])
        parents = [await read_session(store, "parent") for store in opened]
        await asyncio.gather(
            *(
                Session.create(session_id=f"child {at} {number}", parent_id="parent", store=store)
                for at, store in enumerate(opened)
                for number in range(4)
            ),
            *(parent.add_child(f"child {at} added") for at, parent in enumerate(parents)),
            *(parent.add_child("child of all") for parent in parents),
        )
        names = {f"child {at} {name}" for at in range(4) for name in (0, 1, 2, 3, "added")}
        children = (await read_session(opened[0], "parent")).child_ids
        assert Counter(children) == Counter(names | {"child of all"})

    @in_a_loop
    async def test_ids_that_are_none_are_refused_and_never_found(self, stores: Stores) -> None:
        store = stores.open()
        for invalid in INVALID_IDS:
            with pytest.raises(InvalidInput):
                await store.create(Session(id=invalid))
            with pytest.raises(InvalidInput):
                await store.save(Session(id=invalid))
            await check_is_unknown(store, invalid)
            found = await store.list_sessions(prefix=invalid)
            assert [found, await store.list_sessions(parent_id=invalid)] == [[], []]
            assert await store.list_sessions(user_id=invalid) == []

    @in_a_loop
    async def test_any_other_id_is_told_from_all_others(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        for each in HOSTILE_IDS:
            properties = SessionMetadata(properties={"user_id": each})
            session = await Session.create(session_id=each, metadata=properties, parent_id=each, store=store)
            await session.add_event_and_save(user_message(each))
        assert Counter(await other.list_sessions()) == Counter(HOSTILE_IDS)
        for each in HOSTILE_IDS:
            assert messages_in(await read_session(other, each)) == [each]
            assert await other.list_sessions(user_id=each) == [each]
            assert await other.list_sessions(parent_id=each) == [each]
            beginning = {one for one in HOSTILE_IDS if one.startswith(each)}
            assert set(await other.list_sessions(each)) == beginning
        for each in HOSTILE_IDS[::2]:
            await other.delete(each)
        assert Counter(await store.list_sessions()) == Counter(HOSTILE_IDS[1::2])
        for each in HOSTILE_IDS[::2]:
            assert await store.get(each) is None
