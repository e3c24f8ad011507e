"""Tests of deleting: deleted sessions do not come back, and no other session is deleted."""

from __future__ import annotations

from contextlib import suppress

import pytest

from ..exceptions import SessionNotFound
from ..models import Session
from ..models.session import next_segment_id
from .base import Contract, Stores, in_a_loop
from .readings import messages_in, read_head, read_session
from .samples import WRITES, user_message, write_conversation


class Deleting(Contract):
    """Tests of deleting: deleted sessions do not come back, and no other session is deleted."""

    @pytest.mark.parametrize("write", ["append", "add_event_and_save", "save", "update", "add_child"])
    @in_a_loop
    async def test_nothing_comes_back_from_the_dead(self, stores: Stores, write: str) -> None:
        store, other = stores.open(), stores.open()
        made = await Session.create(session_id="s", events=[user_message("first")], store=store)
        read, head = await read_session(store, "s"), await read_head(store, "s")
        await other.delete("s")
        for session in (made, read, head):
            session.state["changed"] = write
            with pytest.raises(SessionNotFound):
                await WRITES[write](store, session)
            assert await store.get("s") is None
            assert await other.list_sessions() == []

    @in_a_loop
    async def test_an_id_can_be_used_again_and_what_was_deleted_stays_away(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        old = await Session.create(
            session_id="s", events=[user_message("deleted")], state={"a": 1}, store=store
        )
        await other.delete("s")
        await Session.create(session_id="s", events=[user_message("new")], store=other)
        old.state["a"] = 2
        with pytest.raises(SessionNotFound):  # the session was deleted after the store had returned it
            await store.save(old)
        read = await read_session(other, "s")
        assert (messages_in(read), read.state) == (["new"], {})

    @in_a_loop
    async def test_an_object_of_a_deleted_session_never_shows_it_under_a_new_one_s_id(
        self, stores: Stores
    ) -> None:
        store, other = stores.open(), stores.open()
        old = await Session.create(session_id="s", events=[user_message("deleted")], store=store)
        await other.delete("s")
        await Session.create(session_id="s", events=[user_message("new")], store=other)
        with suppress(SessionNotFound):  # or the write reaches the new session
            await store.append(old, [user_message("late")])
        stored = messages_in(await read_session(other, "s"))
        assert stored in (["new"], ["new", "late"])
        latest = await store.latest(old)
        assert latest is None or messages_in(latest) == stored

    @in_a_loop
    async def test_parents_and_children_of_a_deleted_session_stay(self, stores: Stores) -> None:
        store = stores.open()
        ids = ["first", next_segment_id("first"), next_segment_id(next_segment_id("first")), "child"]
        for session_id, parent_id in zip(ids, [None, *ids], strict=False):
            await Session.create(
                session_id=session_id, parent_id=parent_id, events=[user_message(session_id)], store=store
            )
        for deleted in (ids[1], ids[0]):
            await stores.open().delete(deleted)
            await store.delete(deleted)  # to delete a session that does not exist is no error
            assert await store.get(deleted) is None
            ids.remove(deleted)
            for kept in ids:
                assert messages_in(await read_session(store, kept)) == [kept]
        assert set(await store.list_sessions()) == set(ids)

    @pytest.mark.parametrize("segment", [0, 1, 2])
    @in_a_loop
    async def test_a_conversation_is_deleted_whole_and_nothing_else(
        self, stores: Stores, segment: int
    ) -> None:
        store = stores.open()
        await Session.create(session_id="parent", store=store)
        segments = await write_conversation(store, "first", parent_id="parent")
        await Session.create(session_id="child", parent_id=segments[1], store=store)
        others = [*await write_conversation(store, "other"), "parent", "child"]
        assert await stores.open().delete_conversation(segments[segment]) == 3
        assert set(await store.list_sessions()) == set(others)
        for deleted in segments:
            assert await store.get(deleted) is None
        assert await store.delete_conversation(segments[segment]) == 0
        for kept in others:
            await store.append(await read_head(store, kept), [user_message("goes on")])

    @in_a_loop
    async def test_the_segments_of_a_conversation_in_their_order(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="parent", store=store)
        segments = await write_conversation(store, "first", parent_id="parent")
        await Session.create(session_id="child", parent_id=segments[1], store=store)
        other = await write_conversation(store, "other")
        await store.append(await read_head(store, segments[0]), [user_message("written to last")])
        for segment in segments:
            assert await stores.open().segment_ids(segment) == segments
        assert await store.segment_ids(other[-1]) == other
        assert await store.segment_ids("child") == ["child"]
        assert await store.segment_ids("nobody") == []
        await store.delete(segments[-1])
        assert await stores.open().segment_ids(segments[0]) == segments[:-1]
