"""Tests of appending events: their order, retries, conflicts, and many writers at once."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from ..exceptions import EventConflict, SessionNotFound
from ..models import Session, TokenUsage
from ..stores.base import AnySession, EventStore
from .base import Contract, Stores, in_a_loop
from .checks import check_all_in_order, check_totals
from .readings import messages_in, read_by_another, read_head, read_latest, read_session
from .samples import sample_bill, user_message, write_beside


class Appending(Contract):
    """Tests of appending events: their order, retries, conflicts, and many writers at once."""

    @in_a_loop
    async def test_events_are_read_in_the_order_of_their_appending(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        for batch in ("a", "bc", "", "d", "efgh"):
            assert await store.append(session, [user_message(letter) for letter in batch])
        assert messages_in(session) == list("abcdefgh")
        assert messages_in(await read_session(other, "s")) == list("abcdefgh")

    @in_a_loop
    async def test_a_batch_with_a_conflict_is_not_stored_at_all(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        first = user_message("first", token_usage=TokenUsage(prompt_tokens=3))
        unaware = await read_head(other, "s")
        await store.append(session, [first])
        conflicts = (
            [user_message("other", id=first.id)],
            [user_message("one", id="twice"), user_message("two", id="twice")],
        )
        for conflicting in conflicts:
            batch = [user_message("before"), *conflicting, user_message("after")]
            for where, through in ((store, session), (other, unaware)):
                with pytest.raises(EventConflict):
                    await where.append(through, batch)
        assert messages_in(await read_session(other, "s")) == ["first"]
        assert (await read_session(other, "s")).total_tokens == 3
        await other.append(unaware, [user_message("next")])
        assert messages_in(await read_latest(other, unaware)) == ["first", "next"]
        assert messages_in(await read_latest(store, session)) == ["first", "next"]

    @in_a_loop
    async def test_an_event_that_is_stored_already_changes_nothing(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        before = await read_by_another(other, session)
        event = user_message("once", token_usage=TokenUsage(prompt_tokens=5), usage=sample_bill())
        await store.append(session, [event])
        copied = event.model_copy(deep=True)
        head, whole = await read_head(other, "s"), await read_session(stores.open(), "s")
        for where, through in ((store, session), (other, before), (other, head), (store, whole)):
            assert await where.append(through, [event])
            assert await where.append(through, [copied, copied.model_copy(deep=True)])
        await store.append(session, [copied, user_message("new")])
        stored = await read_session(stores.open(), "s")
        assert messages_in(stored) == ["once", "new"]
        check_totals(stored)
        for where, through in ((store, session), (other, before), (other, head), (store, whole)):
            latest = await read_latest(where, through)
            assert messages_in(latest) == ["once", "new"]
            check_totals(latest)

    @in_a_loop
    async def test_an_append_to_a_session_that_was_never_stored_makes_none(self, stores: Stores) -> None:
        store = stores.open()
        with pytest.raises(SessionNotFound):
            await store.append(Session(id="never"), [user_message("lost")])
        assert await store.get("never") is None
        assert await store.list_sessions() == []

    @in_a_loop
    async def test_an_append_only_if_current_is_refused_after_another_s(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        theirs = await Session.create(session_id="s", store=other)
        mine = await read_by_another(store, theirs)
        await other.append(theirs, [user_message("theirs")])
        assert not await store.append(mine, [user_message("mine")], only_if_current=True)
        assert messages_in(await read_session(other, "s")) == ["theirs"]
        mine = await read_latest(store, mine)
        assert await store.append(mine, [user_message("mine")], only_if_current=True)
        assert await store.append(mine, [user_message("mine too")], only_if_current=True)
        assert messages_in(await read_latest(other, theirs)) == ["theirs", "mine", "mine too"]

    @in_a_loop
    async def test_what_an_object_wrote_itself_leaves_it_current(self, stores: Stores) -> None:
        store = stores.open()
        session = await Session.create(session_id="s", store=store)
        session.state["phase"] = 1
        await session.add_event_and_save(user_message("1"))
        assert await store.append(session, [user_message("2")], only_if_current=True)
        session.state["phase"] = 2
        await store.save(session)
        assert await store.append(session, [user_message("3")], only_if_current=True)
        assert messages_in(await read_session(stores.open(), "s")) == list("123")

    @in_a_loop
    async def test_a_retry_of_what_is_stored_says_so_however_old_the_object(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        retrying = await read_by_another(other, session)
        event = user_message("once")
        await store.append(session, [event])
        await store.append(session, [user_message("later")])
        assert await other.append(retrying, [event.model_copy(deep=True)], only_if_current=True)
        assert messages_in(await read_session(store, "s")) == ["once", "later"]

    @in_a_loop
    async def test_adding_an_event_stores_what_was_only_in_memory_too(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        await session.add_event(user_message("in memory"))
        await session.set_state("phase", 2)
        await session.metadata.set_property("topic", "stores")
        await session.add_event_and_save(user_message("stored"))
        read = await read_session(stores.open(), "s")
        assert messages_in(read) == ["in memory", "stored"]
        assert (read.state, read.metadata.properties) == ({"phase": 2}, {"topic": "stores"})

    @in_a_loop
    async def test_many_writers_make_one_order_without_gaps(self, stores: Stores) -> None:
        await Session.create(session_id="s", store=stores.open())
        opened = [stores.open() for _ in range(4)]

        async def write(store: EventStore, name: str) -> AnySession:
            session = await read_head(store, "s")
            for number in range(10):
                await store.append(session, [user_message(f"{name} {number}", usage=sample_bill())])
            return session

        writers = [(store, f"{at} {task}") for at, store in enumerate(opened) for task in range(5)]
        written = await asyncio.gather(*(write(store, name) for store, name in writers))
        stored = await read_session(stores.open(), "s")
        check_all_in_order(stored, [name for _, name in writers], 10)
        for (store, _), session in zip(writers, written, strict=True):
            latest = await read_latest(store, session)
            assert latest.events == stored.events
            assert latest.totals == stored.totals

    @in_a_loop
    async def test_writers_in_other_processes_lose_nothing(self, stores: Stores) -> None:
        if not self.survives_the_process:
            pytest.skip("declared: sessions are in one process only")
        store, names = stores.open(), ["one", "two", "three"]
        session = await Session.create(session_id="s", store=store)
        seen = await stores.elsewhere(*(partial(write_beside, names, name, 30) for name in names))
        session = await read_latest(store, session)
        check_all_in_order(session, names, 31)
        for contents in seen:  # each process saw one beginning of the one order
            assert contents == messages_in(session)[: len(contents)]
