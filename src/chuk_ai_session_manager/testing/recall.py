"""Tests of recall on a store: turns of every writer are found; turns that were taken back are not."""

from __future__ import annotations

from functools import partial

import pytest

from ..api.recall import recall_user
from ..exceptions import SessionNotFound
from ..session_manager import SessionManager
from ..stores.base import EventStore
from .base import Contract, Stores, in_a_loop


def _manager(store: EventStore, session_id: str = "talk") -> SessionManager:
    return SessionManager(session_id, store=store, infinite_context=True, max_turns_per_segment=4)


async def _say(sm: SessionManager, *texts: str) -> None:
    for text in texts:
        await sm.user_says(text)
        await sm.ai_responds("I see.", model="gpt-4o")
    await sm.wait_for_summaries()


async def _found(store: EventStore, question: str, session_id: str = "talk") -> list[str]:
    """The three turns that answer a question best."""
    return [turn.text for turn in await _manager(store, session_id).recall(question, limit=3)]


async def _found_elsewhere(store: EventStore, question: str) -> list[str]:
    return await _found(store, question)


async def _said_elsewhere(store: EventStore, text: str) -> None:
    await _say(_manager(store), text)


class Recall(Contract):
    """Tests of recall on a store."""

    @in_a_loop
    async def test_recall_finds_what_any_writer_said_in_any_segment(self, stores: Stores) -> None:
        store = stores.open()
        sm = _manager(store)
        await _say(sm, "My dog is called Rex.", *(f"Filler number {n}." for n in range(6)))
        assert len(await sm.get_session_chain()) > 2
        assert (await _found(store, "What is the dog called?"))[0] == "My dog is called Rex."
        assert await _found(store, "Which parrot?") == []
        await _say(_manager(stores.open()), "The parrot bit the postman.")
        for each in (store, stores.open()):
            assert (await _found(each, "Which parrot?"))[0] == "The parrot bit the postman."

    @in_a_loop
    async def test_recall_finds_what_other_processes_said(self, stores: Stores) -> None:
        if not self.survives_the_process:
            pytest.skip("the store lives in one process")
        store = stores.open()
        await _say(_manager(store), "My dog is called Rex.")
        assert await _found(store, "Which parrot?") == []
        await stores.elsewhere(partial(_said_elsewhere, text="The parrot bit the postman."))
        assert (await _found(store, "Which parrot?"))[0] == "The parrot bit the postman."
        [found] = await stores.elsewhere(partial(_found_elsewhere, question="What is the dog called?"))
        assert found[0] == "My dog is called Rex."

    @in_a_loop
    async def test_what_was_taken_back_is_not_recalled_and_lends_nothing(self, stores: Stores) -> None:
        store = stores.open()
        asked = "Where is the zeppelin?"
        sm = _manager(store)
        await _say(sm, "My dog is called Rex.", "The zeppelin is in Ulm.")
        assert (await _found(store, asked))[0] == "The zeppelin is in Ulm."
        rows = await sm.get_conversation(include_all_segments=True, with_ids=True)
        await sm.retract(next(row["event_id"] for row in rows if "zeppelin" in row["content"]))
        await _say(_manager(stores.open()), "The weather is fine.")
        for each in (store, stores.open()):
            assert await _found(each, asked) == []
        await sm.undo()
        assert await _found(store, "How is the weather?") == []
        assert (await _found(store, "What is the dog called?"))[0] == "My dog is called Rex."

    @in_a_loop
    async def test_what_was_deleted_is_not_recalled(self, stores: Stores) -> None:
        store = stores.open()
        sm = _manager(store)
        await _say(sm, "My dog is called Rex.", "One.", "Two.", "Three.")
        assert await _found(store, "Which dog?") != []
        await store.delete_conversation("talk")
        with pytest.raises(SessionNotFound):
            await sm.recall("Which dog?")
        await _say(_manager(store), "My cat is called Tom.")
        assert await _found(store, "Which dog?") == []
        assert (await _found(store, "Which cat?"))[0] == "My cat is called Tom."

    @in_a_loop
    async def test_recall_of_a_user_is_over_that_users_conversations_in_that_sandbox(
        self, stores: Stores
    ) -> None:
        store = stores.open()
        for user, session_id in (("ann", "a1"), ("ann", "a2"), ("bob", "b1")):
            sm = SessionManager(session_id, store=store, user_id=user, infinite_context=True)
            await _say(sm, f"The zeppelin {session_id} is in Ulm.", "Thanks.")
        for each in (store, stores.open()):
            found = await recall_user("ann", "Where is the zeppelin?", store=each)
            texts = {turn.session_id: turn.text for turn in found if "zeppelin" in turn.text}
            assert texts == {name: f"The zeppelin {name} is in Ulm." for name in ("a1", "a2")}
        await store.delete_conversation("a1")
        found = await recall_user("ann", "Where is the zeppelin?", store=stores.open())
        assert {turn.session_id for turn in found} == {"a2"}
        if self.has_sandboxes:
            assert not await recall_user("ann", "zeppelin", store=stores.open("another sandbox"))

    @in_a_loop
    async def test_what_was_redacted_is_not_recalled_and_not_shown_any_more(self, stores: Stores) -> None:
        store = stores.open()
        sm = SessionManager("talk", store=store, infinite_context=True, max_turns_per_segment=4)
        await _say(sm, "The zeppelin is in Ulm.", *(f"Filler number {n}." for n in range(6)))
        await sm.user_says("Where is the zeppelin?")
        assert "Ulm" in repr(await sm.get_messages_for_llm(recall=True))
        await sm.ai_responds("I see.", model="gpt-4o")
        other = _manager(stores.open())
        assert "Ulm" in (await other.recall("zeppelin")).text
        rows = await sm.get_conversation(include_all_segments=True, with_ids=True)
        await sm.redact(rows[0]["event_id"])
        for each in (sm, other, _manager(stores.open())):
            assert "Ulm" not in (await each.recall("Where is the zeppelin in Ulm?", max_tokens=8_000)).text
            assert "Ulm" not in repr(await each.get_messages_for_llm())
            call = {"name": "read_history", "arguments": {"event_id": rows[0]["event_id"]}}
            assert "Ulm" not in await each.run_tool(call)

    @in_a_loop
    async def test_an_event_that_was_edited_or_removed_is_not_recalled(self, stores: Stores) -> None:
        store = stores.open()
        if type(store).log_states is EventStore.log_states:
            pytest.skip("the store does not say where events were edited")
        await _say(_manager(store), "My dog is called Rex.", "The parrot is green.", "One.", "Two.")
        assert await _found(store, "Which parrot?") != []
        session = await stores.open().get("talk")
        assert session is not None
        session.events[0].message = "My cat is called Tom."
        session.events = [event for event in session.events if "parrot" not in str(event.message)]
        await stores.open().save(session)
        assert await _found(store, "Which dog? Which parrot?") == []
        assert (await _found(store, "Which cat?"))[0] == "My cat is called Tom."

    @in_a_loop
    async def test_the_states_of_logs_tell_how_far_they_have_come(self, stores: Stores) -> None:
        store = stores.open()
        assert await store.log_states("talk") == []
        sm = _manager(store)
        await _say(sm, *"abcdef")
        chain = await sm.get_session_chain()
        before = await store.log_states(chain[-1])
        assert [state.session_id for state in before] == chain
        for state in before:
            session = await store.get(state.session_id)
            assert session is not None
            assert state.length == len(session.events)
        await _say(_manager(stores.open()), "g")
        after = {state.session_id: state for state in await store.log_states(chain[0])}
        assert [after[state.session_id].version for state in before] == [state.version for state in before]
        assert sum(state.length for state in after.values()) > sum(state.length for state in before)
        assert await stores.open("another sandbox").log_states("talk") == [] or not self.has_sandboxes
