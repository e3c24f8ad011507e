"""Tests that a store reads what was written: in another process, after closing, and unchanged."""

from __future__ import annotations

from functools import partial

import pytest

from ..models import Session
from .base import Contract, Stores, in_a_loop
from .checks import check_is_unknown
from .readings import contents_of, read_session
from .samples import user_message, write_everything


class Reopening(Contract):
    """Tests that a store reads what was written: in another process, after closing, and unchanged."""

    @in_a_loop
    async def test_what_is_written_is_read_in_another_process(self, stores: Stores) -> None:
        if not self.survives_the_process:
            pytest.skip("declared: sessions do not survive the process")
        written = await write_everything(stores.open())
        await stores.close()
        assert await stores.elsewhere(partial(contents_of, "everything")) == [written]

    @in_a_loop
    async def test_what_is_written_is_read_after_closing(self, stores: Stores) -> None:
        store = stores.open()
        written = await write_everything(store)
        await store.close()
        await store.close()
        assert await contents_of("everything", store) == written
        assert await contents_of("everything", stores.open()) == written

    @in_a_loop
    async def test_what_is_read_carries_its_store(self, stores: Stores) -> None:
        store = stores.open()
        await store.save(Session(id="s"))
        for read in (await store.get("s"), await store.head("s")):
            assert read is not None
            assert read.is_bound
            await read.add_event_and_save(user_message("from an object that knows where it lives"))
        assert (await read_session(store, "s")).totals.events == 2

    @in_a_loop
    async def test_a_session_that_is_not_there_is_none(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="somebody", store=store)
        for unknown in ("nobody", "some", "somebody ", "not-found"):
            await check_is_unknown(store, unknown)
        assert await store.list_sessions() == ["somebody"]
