"""Tests of erasing: every copy is erased, nothing else is, and the receipt says so."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from ..exceptions import InvalidInput, SessionNotFound
from ..models import Session, SessionMetadata
from ..models.record import utc_now
from ..session_manager import SessionManager
from ..stores.base import EventStore
from .base import Contract, Stores, in_a_loop
from .readings import messages_in, read_head, read_session
from .samples import user_message, write_conversation

MARKER = "marker-7f3a"


def _manager(store: EventStore, session_id: str, user_id: str = "ann") -> SessionManager:
    return SessionManager(
        session_id, store=store, user_id=user_id, infinite_context=True, max_turns_per_segment=4
    )


async def _talk(store: EventStore, session_id: str = "talk", exchanges: int = 5) -> SessionManager:
    manager = _manager(store, session_id)
    for number in range(exchanges):
        await manager.user_says(f"My name is {MARKER} {number}.")
        await manager.ai_responds(f"Hello, {MARKER} {number}.", model="gpt-4o")
    await manager.update_state(lambda state: state.update(name=MARKER))
    await manager.wait_for_summaries()
    return manager


async def _all_that_is_told(store: EventStore, session_id: str, *managers: SessionManager) -> str:
    """The contents of all segments of a conversation, and of its contexts, as one text."""
    ids = await store.segment_ids(session_id)
    told: list[Any] = [(await read_session(store, each)).model_dump(mode="json") for each in ids]
    for manager in (*managers, _manager(store, session_id)):
        told += [await manager.get_messages_for_llm(), await manager.get_conversation()]
    return json.dumps(told)


class Erasing(Contract):
    """Tests of erasing: every copy is erased, nothing else is, and the receipt says so."""

    @pytest.mark.parametrize("segment", [0, 1, 2])
    @in_a_loop
    async def test_a_conversation_is_erased_by_any_of_its_segments(
        self, stores: Stores, segment: int
    ) -> None:
        store = stores.open()
        await Session.create(session_id="parent", store=store)
        segments = await write_conversation(store, "first", parent_id="parent")
        others = [*await write_conversation(store, "other"), "parent"]
        began = utc_now()
        receipt = await stores.open().erase_conversation(segments[segment])
        assert (receipt.conversations, receipt.sessions) == (("first",), tuple(segments))
        assert (receipt.events, receipt.copies, receipt.user_id) == (3, 0, None)
        assert began <= receipt.started_at <= receipt.finished_at <= utc_now()
        assert receipt.unreached
        assert set(await store.list_sessions()) == set(others)
        assert (await read_head(store, "parent")).child_ids == []
        for each in segments:
            assert await store.get(each) is None
        again = await store.erase_conversation(segments[segment])  # no error; nothing is left to erase
        assert (again.conversations, again.sessions, again.events) == ((), (), 0)

    @in_a_loop
    async def test_who_still_writes_to_an_erased_conversation_is_told_and_a_new_one_begins_anew(
        self, stores: Stores
    ) -> None:
        store = stores.open()
        manager = await _talk(store)
        await stores.open().erase_conversation("talk")
        with pytest.raises(SessionNotFound):
            await manager.user_says("late")
        with pytest.raises(SessionNotFound):
            await manager.get_messages_for_llm()
        assert await store.list_sessions() == []
        anew = _manager(store, "talk")
        await anew.user_says("Hello?")
        assert MARKER not in await _all_that_is_told(store, "talk", anew)
        assert (await anew.get_stats(include_all_segments=True))["total_messages"] == 1

    @in_a_loop
    async def test_copies_in_forks_are_erased_and_the_forks_go_on(self, stores: Stores) -> None:
        store = stores.open()
        manager = await _talk(store)
        fork = await manager.fork(session_id="fork")
        for number in range(4):  # over some segments: summaries of the fork tell of what it began with
            await fork.user_says(f"Own question {number}.")
            await fork.ai_responds(f"Own answer {number}.", model="gpt-4o")
        await fork.update_state(lambda state: state.update(own="mine"))
        await fork.wait_for_summaries()
        branch = await fork.fork(session_id="branch")
        await branch.user_says("A branch's words.")
        for each in (fork, branch):
            assert MARKER in json.dumps(await each.get_messages_for_llm())
        cost = (await fork.get_stats(include_all_segments=True))["estimated_cost"]

        receipt = await stores.open().erase_conversation("talk")
        assert receipt.copies > 0
        assert receipt.conversations == ("talk",)
        told = await _all_that_is_told(stores.open(), "fork", fork)
        assert MARKER not in told
        assert all(
            f"Own question {number}." in told and f"Own answer {number}." in told for number in range(4)
        )
        assert "mine" in told
        told = await _all_that_is_told(stores.open(), "branch", branch)
        assert MARKER not in told
        assert "A branch's words." in told
        assert (await fork.get_stats(include_all_segments=True))["estimated_cost"] == cost
        await fork.user_says("It goes on.")
        assert "It goes on." in json.dumps(await fork.get_messages_for_llm())
        held = [event async for event in _events(store, "fork")]
        assert (await _manager(store, "fork").get_stats(include_all_segments=True))["total_events"] == len(
            held
        )

    @in_a_loop
    async def test_a_fork_of_a_fork_keeps_what_the_erased_one_did_not_say(self, stores: Stores) -> None:
        store = stores.open()
        first = SessionManager("first", store=store)
        await first.user_says("from the first")
        second = await first.fork(session_id="second")
        await second.user_says("from the second")
        third = await second.fork(session_id="third")
        await third.user_says("from the third")
        assert (await store.erase_conversation("first")).copies == 2
        assert messages_in(await read_session(store, "second")) == ["from the second"]
        assert messages_in(await read_session(store, "third")) == ["from the second", "from the third"]
        assert (await store.erase_conversation("second")).copies == 1
        assert messages_in(await read_session(store, "third")) == ["from the third"]

    @in_a_loop
    async def test_copies_of_a_conversation_that_was_deleted_before_are_erased(self, stores: Stores) -> None:
        store = stores.open()
        first = SessionManager("first", store=store)
        await first.user_says("from the first")
        await first.fork(session_id="second")
        await store.delete_conversation("first")
        assert messages_in(await read_session(store, "second")) == ["from the first"]
        assert (await stores.open().erase_conversation("first")).copies == 1
        assert messages_in(await read_session(store, "second")) == []

    @in_a_loop
    async def test_all_conversations_of_a_user_are_erased_and_nobody_else_s(self, stores: Stores) -> None:
        store = stores.open()
        ids = [f"talk-{number}" for number in range(3)]
        for each in ids:
            await _talk(store, each, exchanges=3)
        await (await _talk(store, "other-talk", exchanges=1)).fork(session_id="a fork")
        bob = _manager(store, "bob's", "bob")
        await bob.user_says("Bob's words.")
        receipt = await stores.open().erase_user("ann")
        assert set(receipt.conversations) == {*ids, "other-talk", "a fork"}
        assert receipt.user_id == "ann"
        assert await store.list_sessions() == ["bob's"]
        assert await store.list_sessions(user_id="ann") == []
        assert messages_in(await read_session(store, "bob's")) == ["Bob's words."]
        again = await store.erase_user("ann")
        assert (again.conversations, again.sessions, again.accounts) == ((), (), 0)

    @in_a_loop
    async def test_writers_that_go_on_leave_nothing_of_an_erased_user(self, stores: Stores) -> None:
        store, stop = stores.open(), asyncio.Event()

        async def write(session_id: str) -> int:
            manager, written = _manager(stores.open(), session_id), 0
            while not stop.is_set():
                try:
                    await manager.user_says(MARKER)
                    written += 1
                except SessionNotFound:
                    return written
                await asyncio.sleep(0)
            return written

        ids = [f"talk-{number}" for number in range(4)]
        writers = [asyncio.create_task(write(each)) for each in ids]
        # Until the end of a segment has passed in each conversation.
        while min([len(await store.segment_ids(each)) for each in ids]) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        receipt = await stores.open().erase_user("ann")
        try:
            async with asyncio.timeout(20):
                assert all(await asyncio.gather(*writers))
        finally:
            stop.set()
        assert len(receipt.conversations) == 4
        assert await store.list_sessions() == []

    @in_a_loop
    async def test_old_conversations_are_pruned_with_their_new_segments_or_not_at_all(
        self, stores: Stores
    ) -> None:
        store = stores.open()
        now = utc_now()
        for name, days, user in (("old", 100, "ann"), ("older", 200, "bob"), ("new", 1, "ann")):
            await Session.create(
                session_id=name,
                store=store,
                metadata=SessionMetadata(created_at=now - timedelta(days=days), properties={"user_id": user}),
                events=[user_message(name, timestamp=now - timedelta(days=days))],
            )
        dry = await store.prune("90d", dry_run=True)
        assert (set(dry.conversations), dry.events, dry.is_dry_run) == ({"old", "older"}, 2, True)
        assert len(await store.list_sessions()) == 3
        assert (await store.prune(timedelta(days=150), user_id="ann")).conversations == ()
        assert (await store.prune("90d", user_id="ann")).conversations == ("old",)
        await store.append(await read_head(store, "older"), [user_message("said just now")])
        assert (await stores.open().prune("90d")).conversations == ()
        assert set(await store.list_sessions()) == {"older", "new"}

    @in_a_loop
    async def test_old_messages_that_were_recorded_just_now_are_pruned_as_old(self, stores: Stores) -> None:
        store = stores.open()
        past = utc_now() - timedelta(days=100)
        for name, is_infinite in (("whole", False), ("segments", True)):
            sm = SessionManager(name, store=store, infinite_context=is_infinite, max_turns_per_segment=2)
            for number in range(5):
                await sm.user_says(f"said long ago: {number}", timestamp=past)
            await sm.wait_for_summaries()
        dry = await store.prune("90d", dry_run=True)
        pruned = await store.prune("90d")
        assert set(dry.conversations) == set(pruned.conversations) == {"whole", "segments"}
        assert dry.sessions == pruned.sessions
        assert await store.list_sessions() == []

    @pytest.mark.parametrize("newest", [0, 1, 4])
    @in_a_loop
    async def test_a_new_message_keeps_a_conversation_whichever_segment_it_is_in(
        self, stores: Stores, newest: int
    ) -> None:
        store = stores.open()
        now = utc_now()
        for name, is_infinite in (("whole", False), ("segments", True)):
            sm = SessionManager(name, store=store, infinite_context=is_infinite, max_turns_per_segment=2)
            for number in range(5):
                days = 1 if number == newest else 100
                await sm.user_says(f"message {number}", timestamp=now - timedelta(days=days))
            await sm.wait_for_summaries()
        assert len(await store.segment_ids("segments")) > 1
        before = await store.list_sessions()
        for dry_run in (True, False):
            assert (await store.prune("90d", dry_run=dry_run)).conversations == ()
        assert await store.list_sessions() == before

    @in_a_loop
    async def test_a_pruned_conversation_s_fork_keeps_what_it_began_with(self, stores: Stores) -> None:
        store = stores.open()
        past = utc_now() - timedelta(days=100)
        await Session.create(session_id="old", store=store, events=[user_message("long ago", timestamp=past)])
        fork = await SessionManager("old", store=store).fork(session_id="fork")
        await fork.user_says("today")
        assert (await store.prune("90d")).conversations == ("old",)
        assert messages_in(await read_session(store, "fork")) == ["long ago", "today"]

    @pytest.mark.parametrize(
        "age", ["", "90", "d", "-1d", "0d", "1y", "1.5d", "999999w", timedelta(0), 90, None]
    )
    @in_a_loop
    async def test_durations_that_cannot_be_right_are_refused(self, stores: Stores, age: Any) -> None:
        store = stores.open()
        await Session.create(session_id="s", store=store)
        with pytest.raises(InvalidInput):
            await store.prune(age)
        assert await store.list_sessions() == ["s"]

    @in_a_loop
    async def test_users_and_ids_that_cannot_be_right_are_refused(self, stores: Stores) -> None:
        store = stores.open()
        nonsense: list[Any] = ["", None, 3]
        for value in nonsense:
            for erase in (store.erase_user, store.erase_conversation):
                with pytest.raises(InvalidInput):
                    await erase(value)
        assert (await store.erase_user("nobody")).sessions == ()
        assert (await store.erase_conversation("nobody")).sessions == ()


async def _events(store: EventStore, session_id: str) -> Any:
    for each in await store.segment_ids(session_id):
        for event in (await read_session(store, each)).events:
            yield event
