"""Tests of the time to live of conversations."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress

import pytest

from ..exceptions import InvalidInput, SessionNotFound, StorageError
from ..models import Session
from ..models.session import next_segment_id
from .base import Contract, Stores, in_a_loop
from .checks import check_is_unknown
from .readings import hours_left, read_head, read_session
from .samples import WRITES, user_message, write_conversation


class Lifetimes(Contract):
    """Tests of the time to live of conversations."""

    @in_a_loop
    async def test_a_conversation_lives_as_long_as_it_is_written_to(self, stores: Stores) -> None:
        if not self.expires:
            pytest.skip("declared: sessions never expire")
        lifetime = 0.6
        store = stores.open(ttl_hours=lifetime / 3600)
        segments = await write_conversation(store, "first")
        last = await read_head(store, segments[-1])
        for _ in range(3):  # together longer than a lifetime
            written = time.monotonic()
            await store.append(last, [user_message("still here")])
            await asyncio.sleep(0.5 * lifetime)
            there = [await store.get(each) is not None for each in segments]
            if time.monotonic() - written < lifetime:  # otherwise the machine was too slow for the test
                assert all(there)
        await asyncio.sleep(0.5 * lifetime + 0.2)
        for expired in segments:
            await check_is_unknown(store, expired)
        assert await store.list_sessions() == []
        with pytest.raises(SessionNotFound):
            await store.append(last, [user_message("too late")])
        with pytest.raises(SessionNotFound):
            await store.save(last)
        assert await store.list_sessions() == []

    @in_a_loop
    async def test_no_write_makes_a_life_shorter(self, stores: Stores) -> None:
        if not self.expires:
            pytest.skip("declared: sessions never expire")
        store = stores.open(ttl_hours=1)
        segments = await write_conversation(store, "first")
        assert await hours_left(store, segments) == pytest.approx([1, 1, 1], abs=0.02)
        assert await store.extend_session_ttl(segments[1], 2)
        assert await hours_left(store, segments) == pytest.approx([3, 3, 3], abs=0.02)
        session = await read_session(stores.open(ttl_hours=1), segments[2])
        for write in WRITES.values():
            session.state["changed"] = session.state.get("changed", 0) + 1
            await write(store, session)
        await Session.create(session_id="child", parent_id=segments[0], store=store)
        await store.delete(segments[2])
        assert await hours_left(store, segments[:2]) == pytest.approx([3, 3], abs=0.02)
        assert await hours_left(store, ["child"]) == pytest.approx([1], abs=0.02)

    @in_a_loop
    async def test_any_write_lets_a_conversation_live_as_long_as_its_writer_s_do(
        self, stores: Stores
    ) -> None:
        if not (self.expires and self.survives_the_process):
            pytest.skip("declared: sessions never expire, or there is only one store")
        short = stores.open(ttl_hours=1)
        segments = await write_conversation(short, "first")
        for hours, write in enumerate(WRITES.values(), start=2):
            longer = stores.open(ttl_hours=hours)
            session = await read_head(longer, segments[2])
            session.state["changed"] = hours
            await write(longer, session)
            assert await hours_left(short, segments) == pytest.approx([hours] * 3, abs=0.02)
        following = next_segment_id(segments[2])
        await Session.create(
            session_id=following, parent_id=segments[2], store=stores.open(ttl_hours=hours + 1)
        )
        assert await hours_left(short, [*segments, following]) == pytest.approx([hours + 1] * 4, abs=0.02)
        await short.append(await read_head(short, segments[0]), [user_message("makes it no shorter")])
        assert await hours_left(short, segments) == pytest.approx([hours + 1] * 3, abs=0.02)

    @in_a_loop
    async def test_a_life_is_extended_by_any_hours_but_negative_ones(self, stores: Stores) -> None:
        store = stores.open(ttl_hours=1) if self.expires else stores.open()
        await Session.create(session_id="s", store=store)
        before = await store.time_to_live("s")
        assert before is not None
        assert await store.extend_session_ttl("s", 0)
        for hours in (-1, -0.001, -math.inf, math.nan):
            with pytest.raises(InvalidInput):
                await store.extend_session_ttl("s", hours)
        assert await store.time_to_live("s") == pytest.approx(before, abs=60)
        for hours in (1e6, 1e100, math.inf):  # up to the store's largest number
            with suppress(InvalidInput, StorageError):
                assert await store.extend_session_ttl("s", hours)
            left = await store.time_to_live("s")
            assert left is not None
            assert left >= before - 60

    @in_a_loop
    async def test_what_never_expires_says_so(self, stores: Stores) -> None:
        if self.expires:
            pytest.skip("declared: sessions expire")
        store = stores.open()
        await Session.create(session_id="s", store=store)
        assert await store.time_to_live("s") == math.inf
