"""Tests of reading: events that other writers stored, and the end of a long log."""

from __future__ import annotations

from contextlib import suppress

import pytest

from ..exceptions import EventConflict, InvalidInput
from ..models import Session
from .base import Contract, Stores, in_a_loop
from .checks import check_totals
from .readings import log_pages, messages_in, read_head, read_latest, read_newest, read_session
from .samples import content_tokens, sample_bill, sample_events, user_message, write_conversation


class Reading(Contract):
    """Tests of reading: events that other writers stored, and the end of a long log."""

    @in_a_loop
    async def test_the_latest_has_what_others_wrote(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", store=store)
        await mine.add_event_and_save(user_message("mine"))
        theirs = await read_session(other, "s")
        await theirs.metadata.set_property("topic", "stores")
        await theirs.add_event_and_save(user_message("theirs"))
        await Session.create(session_id="child", parent_id="s", store=other)
        await mine.set_state("unsaved", value=True)
        latest = await read_latest(store, mine)
        assert messages_in(latest) == ["mine", "theirs"]
        assert (latest.metadata.properties, latest.child_ids) == ({"topic": "stores"}, ["child"])
        check_totals(latest)
        assert mine.state == {"unsaved": True}, "what the application changed stays in its object"
        await store.save(mine)
        read = await read_session(other, "s")
        assert (read.state, read.metadata.properties) == ({"unsaved": True}, {"topic": "stores"})
        assert (messages_in(read), read.child_ids) == (["mine", "theirs"], ["child"])

    @in_a_loop
    async def test_the_latest_of_what_was_deleted_is_none(self, stores: Stores) -> None:
        store = stores.open()
        session = await Session.create(session_id="s", store=store)
        await stores.open().delete("s")
        assert await store.latest(session) is None
        assert await store.latest(session, with_events=False) is None

    @in_a_loop
    async def test_a_head_is_enough_to_write_to(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", state={"phase": 1}, store=store)
        for number in range(3):
            await session.add_event_and_save(user_message(str(number), usage=sample_bill()))
        head = await read_head(other, "s")
        assert (head.totals, head.total_tokens) == (session.totals, session.total_tokens)
        assert (head.last_update_time, head.state) == (session.last_update_time, {"phase": 1})
        await other.append(head, [user_message("3", usage=sample_bill())])
        assert (messages_in(head)[-1], head.totals.events) == ("3", 4)
        await session.add_event_and_save(user_message("4", usage=sample_bill()))
        counted = await other.latest(head, with_events=False)
        assert counted is not None
        assert (counted.totals.events, counted.totals.llm_calls) == (5, 5)
        whole = await read_latest(other, head)
        assert messages_in(whole) == list("01234")
        check_totals(whole)

    @in_a_loop
    async def test_totals_are_those_of_the_events_whoever_wrote_them(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", store=store)
        for number, event in enumerate(sample_events()):
            theirs = await read_head(other, "s")
            await store.append(mine, [event.model_copy(update={"id": f"mine {number}"})])
            await other.append(theirs, [event.model_copy(update={"id": f"theirs {number}"})])
            await other.append(theirs, [event.model_copy(update={"id": f"mine {number}"})])
            with suppress(EventConflict):
                await other.append(theirs, [user_message("conflict", id="mine 0", usage=sample_bill())])
        for session in (
            await read_latest(store, mine),
            await read_session(other, "s"),
            await read_session(stores.open(), "s"),
        ):
            assert session.totals.events == 2 * len(sample_events())
            check_totals(session)
        head = await read_head(stores.open(), "s")
        assert head.totals == (await read_session(store, "s")).totals
        assert head.total_cost == pytest.approx((await read_session(store, "s")).total_cost)

    @in_a_loop
    async def test_the_newest_events_are_read_by_number_page_by_page(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[user_message(n) for n in range(10)], store=store)
        head = await read_head(other, "s")
        assert await log_pages(other, head, limit=4) == [(6, [6, 7, 8, 9]), (2, [2, 3, 4, 5]), (0, [0, 1])]
        assert await log_pages(other, head, limit=10) == [(0, list(range(10)))]
        assert (
            await log_pages(other, head, limit=99) == await log_pages(other, head) == [(0, list(range(10)))]
        )
        for before, numbers in ((0, []), (1, [0]), (3, [1, 2]), (10, [8, 9]), (99, [8, 9])):
            page = await read_newest(other, head, before=before, limit=2)
            assert ([event.message for event in page.events], page.has_more) == (numbers, before > 2)

    @in_a_loop
    async def test_the_newest_events_are_read_by_content_tokens(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        lengths = [500, 1, 0, 7, 3, 0, 10]
        events = [user_message(at, token_usage=content_tokens(length)) for at, length in enumerate(lengths)]
        await Session.create(session_id="s", events=events, store=store)
        head = await read_head(other, "s")
        for tokens, first in ((0, 6), (1, 6), (10, 6), (11, 4), (13, 4), (14, 3), (21, 1), (22, 0), (999, 0)):
            page = await read_newest(other, head, tokens=tokens)
            assert (page.first, page.tokens) == (first, sum(lengths[first:])), tokens
            assert [event.message for event in page.events] == list(range(first, 7))
        assert (await read_newest(other, head, tokens=20, limit=2)).first == 5
        assert (await read_newest(other, head, tokens=3, limit=3)).first == 6
        assert (await read_newest(other, head, tokens=3, limit=3, before=6)).first == 4

    @in_a_loop
    async def test_the_newest_events_of_a_log_of_many_lengths(self, stores: Stores) -> None:
        store = stores.open()
        lengths = [900] * 300 + [1] * 700  # the average length says little about the end
        events = [user_message(at, token_usage=content_tokens(length)) for at, length in enumerate(lengths)]
        session = await Session.create(session_id="s", store=store)
        await store.append(session, events)
        page = await read_newest(stores.open(), await read_head(stores.open(), "s"), tokens=1_000)
        assert [event.message for event in page.events] == list(range(299, 1_000))
        assert page.tokens == 1_600
        assert session.total_tokens - page.tokens == 299 * 900

    @in_a_loop
    async def test_reading_the_newest_events_leaves_the_session_as_it_is(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[user_message(n) for n in range(5)], store=store)
        head = await read_head(other, "s")
        held, totals = list(head.events), head.totals.as_dict()
        assert (await read_newest(other, head, limit=2)).first == 3
        assert (head.events, head.totals.as_dict()) == (held, totals)
        await other.append(head, [user_message(5)])
        assert [event.message for event in (await read_newest(store, head, limit=2)).events] == [4, 5]
        assert messages_in(await read_session(stores.open(), "s")) == list(range(6))

    @in_a_loop
    async def test_of_a_deleted_session_there_are_no_newest_events(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[user_message("here")], store=store)
        head = await read_head(other, "s")
        await store.delete("s")
        assert await other.newest_events(head, limit=1) is None

    @in_a_loop
    async def test_events_are_found_by_id_in_whichever_segment_they_are(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        ids = await write_conversation(store, "s")
        events = [(await read_session(store, each)).events[0] for each in ids]
        await Session.create(session_id="other", events=[user_message("elsewhere", id="x")], store=store)
        for session_id in ids:
            assert await other.events_by_id(session_id, [events[0].id]) == events[:1]
            found = await other.events_by_id(session_id, [each.id for each in events] + ["x", "not there"])
            assert {each.id: each for each in found} == {each.id: each for each in events}
        assert await other.events_by_id("other", ["x", events[0].id]) == [
            (await read_session(other, "other")).events[0]
        ]
        assert await other.events_by_id("not there", ["x"]) == await other.events_by_id("", ["x"]) == []
        await other.delete(ids[1])
        found = await other.events_by_id(ids[0], [each.id for each in events])
        assert events[1].id not in {each.id for each in found}

    @in_a_loop
    async def test_a_page_of_no_events_is_refused(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        for limit in (0, -1):
            with pytest.raises(InvalidInput):
                await stores.open().newest_events(session, limit=limit)
        assert (await read_newest(stores.open(), session, limit=1)).events == []
