"""Tests of listing sessions, page by page."""

from __future__ import annotations

from contextlib import suppress

import pytest

from ..exceptions import InvalidInput
from ..models import Session, SessionMetadata
from ..stores.base import SessionPage
from .base import Contract, Stores, in_a_loop
from .readings import listed_pages, read_head, read_session
from .samples import user_message, write_numbered


class Listing(Contract):
    """Tests of listing sessions, page by page."""

    @in_a_loop
    async def test_the_session_written_to_last_is_listed_first(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        for name in ("user-1", "user-2", "admin-1", "user-3"):
            await Session.create(session_id=name, store=store)
        await (await read_head(other, "user-2")).add_event_and_save(user_message("hello"))
        await (await read_head(store, "user-1")).add_event_and_save(user_message("hello"))
        assert await store.list_sessions() == ["user-1", "user-2", "user-3", "admin-1"]
        assert await other.list_sessions("user-") == ["user-1", "user-2", "user-3"]
        assert await other.list_sessions("nobody") == []
        await other.delete("user-2")
        assert await store.list_sessions("user-") == ["user-1", "user-3"]

    @in_a_loop
    async def test_sessions_are_listed_by_parent_and_by_user(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        for number in range(6):
            user = SessionMetadata(properties={"user_id": "ann" if number % 2 else "bob"})
            await Session.create(
                session_id=f"s{number}", parent_id="p" if number < 4 else "q", metadata=user, store=store
            )
        assert await other.list_sessions(parent_id="p") == ["s3", "s2", "s1", "s0"]
        assert await other.list_sessions(user_id="ann") == ["s5", "s3", "s1"]
        assert await other.list_sessions("s", user_id="ann", parent_id="p") == ["s3", "s1"]
        assert await other.list_sessions("s1", user_id="ann") == ["s1"]
        assert await other.list_sessions(user_id="an") == []
        assert await other.list_sessions(parent_id="s0") == []
        assert await other.list_sessions(user_id="ann", parent_id="nobody") == []
        moved = await read_session(store, "s1")
        moved.metadata.properties["user_id"] = "bob"
        await store.save(moved)
        assert set(await other.list_sessions(user_id="bob")) == {"s0", "s1", "s2", "s4"}
        assert await other.list_sessions(user_id="ann") == ["s5", "s3"]

    @in_a_loop
    async def test_pages_have_no_gap_and_no_repeat(self, stores: Stores) -> None:
        store = stores.open()
        names = await write_numbered(store, 25)
        for limit in (1, 5, 10, 24, 25, 26):
            assert await listed_pages(store, limit) == names[::-1]
        for limit in (5, 10):
            assert await listed_pages(store, limit, user_id="ann") == names[::-2]
            beginning = [name for name in names[::-1] if name.startswith("s1")]
            assert await listed_pages(store, limit, prefix="s1") == beginning

    @in_a_loop
    async def test_pages_go_on_where_they_were_while_others_write(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        names = await write_numbered(store, 25)

        async def write(page: SessionPage) -> None:
            for name in (page[0], page[-1]):  # a write moves a listed session to the front
                await (await read_head(other, name)).add_event_and_save(user_message("hello"))
            await Session.create(session_id=f"new since {page[-1]}", store=other)

        assert await listed_pages(store, 10, between=write) == names[::-1]

    @in_a_loop
    async def test_pages_are_whole_though_the_next_session_is_written_to(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        names = await write_numbered(store, 25)
        first = await store.list_sessions(limit=10)
        written, deleted = names[3], names[5]
        await (await read_head(other, written)).add_event_and_save(user_message("hello"))
        await other.delete(deleted)
        listed = [*first, *await listed_pages(store, 10, cursor=first.next_cursor)]
        # The session that was written to is the newest now: it is listed here, or has moved to the front.
        others = [name for name in names[::-1] if name not in {written, deleted}]
        assert [name for name in listed if name != written] == others
        assert listed.count(written) <= 1

    @in_a_loop
    async def test_limits_below_1_and_cursors_that_no_page_gave_are_refused(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="s", store=store)
        for limit in (0, -1, True, 1.5):
            with pytest.raises(InvalidInput):
                await store.list_sessions(limit=limit)  # type: ignore[arg-type]
        for cursor in ("nonsense", "", ":", "x:y", "-1:s", "1.5:s", "1e3:s", " 1:s"):
            with pytest.raises(InvalidInput):
                await store.list_sessions(cursor=cursor)

    @in_a_loop
    async def test_a_cursor_beyond_all_sessions_is_refused_or_a_page(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="s", store=store)
        for digits in (1, 18, 19, 20, 400, 5000):
            with suppress(InvalidInput):
                assert await store.list_sessions(cursor=f"{'9' * digits}:s") in ([], ["s"])
