"""Recall in forks: what their paths contain, also the messages of which they have only a summary."""

from __future__ import annotations

from typing import Any

import pytest
from places import Place

from chuk_ai_session_manager import SessionManager, recall_user
from chuk_ai_session_manager.conversation.recall.excerpts import Recalled
from chuk_ai_session_manager.stores import MemoryStore

TOWNS = ["Aden", "Bonn", "Cork", "Delhi", "Essen", "Faro", "Ghent", "Hull", "Ivry", "Jena"]
each_store = pytest.mark.parametrize("place", ["memory", "sqlite", "redis"], indirect=True)


def manager(store: Any, session_id: str = "talk", **options: Any) -> SessionManager:
    settings: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 6, "user_id": "ann"}
    return SessionManager(session_id, store=store, model="gpt-4o", **(settings | options))


async def told(sm: SessionManager, exchanges: int = 10) -> None:
    await sm.user_says("My dog Rex loves carrots.")
    await sm.ai_responds("Good to know!", model="gpt-4o", provider="openai")
    for town in TOWNS[:exchanges]:
        await sm.user_says(f"How is the weather in {town}?")
        await sm.ai_responds(f"It rains in {town}.", model="gpt-4o", provider="openai")
    await sm.wait_for_summaries()


def texts(found: Recalled) -> list[str]:
    return sorted(turn.text for turn in found)


@each_store
@pytest.mark.parametrize("times", [1, 3])
async def test_a_fork_finds_what_was_said_before_it_and_nothing_twice(place: Place, times: int) -> None:
    sm = manager(place.store())
    await told(sm)
    asked = ["Who loves carrots?", "Where does it rain, in Aden, Faro or Jena?"]
    before = [texts(await sm.recall(question)) for question in asked]
    assert "My dog Rex loves carrots." in before[0]
    fork = sm
    for number in range(times):
        fork = await fork.fork(session_id=f"fork {number}")
    assert [texts(await fork.recall(question)) for question in asked] == before
    await sm.user_says("The zeppelin is in Ulm.")
    await fork.user_says("The submarine is in Kiel.")
    assert not texts(await fork.recall("zeppelin")), "said in the original after the fork"
    assert "The submarine is in Kiel." in texts(await fork.recall("submarine"))
    elsewhere = manager(place.store(), f"fork {times - 1}", create=False)
    assert texts(await elsewhere.recall("Who loves carrots?")) == texts(
        await fork.recall("Who loves carrots?")
    )
    found = await elsewhere.run_tool({"name": "search_history", "arguments": {"query": "carrots"}})
    event_id = next(turn.event_id for turn in await elsewhere.recall("carrots") if "carrots" in turn.text)
    assert event_id in found
    read = await elsewhere.run_tool({"name": "read_history", "arguments": {"event_id": event_id}})
    assert read.endswith("My dog Rex loves carrots.")


@each_store
async def test_a_fork_does_not_find_what_was_taken_back_before_or_in_it(place: Place) -> None:
    sm = manager(place.store())
    await told(sm)
    await sm.user_says("The zeppelin is in Ulm.")
    rows = await sm.get_conversation(with_ids=True)
    await sm.retract(rows[0]["event_id"])
    fork = await sm.fork()
    assert not texts(await fork.recall("carrots"))
    copied = next(turn.event_id for turn in await fork.recall("zeppelin") if "zeppelin" in turn.text)
    await fork.retract(copied)
    assert not texts(await fork.recall("zeppelin"))
    again = await fork.fork()
    assert not texts(await again.recall("zeppelin")), "the original still has it, but not on this path"
    assert texts(await sm.recall("zeppelin"))


@each_store
async def test_a_fork_finds_what_is_redacted_as_little_and_lives_on_without_its_original(
    place: Place,
) -> None:
    store = place.store()
    sm = manager(store)
    await told(sm)
    fork = await sm.fork()
    assert texts(await fork.recall("carrots"))
    await sm.redact((await sm.get_conversation(with_ids=True))[0]["event_id"])
    assert not texts(await fork.recall("carrots"))
    assert "It rains in Aden." in texts(await fork.recall("Aden"))
    await store.delete_conversation("talk")
    assert not texts(await fork.recall("Aden"))
    assert "It rains in Jena." in texts(await fork.recall("Jena")), "of this the fork has copies"


async def test_a_conversation_of_another_user_with_the_id_of_the_original_is_not_searched() -> None:
    store = MemoryStore()
    sm = manager(store)
    await told(sm)
    fork = await sm.fork(session_id="fork")
    assert texts(await fork.recall("carrots"))
    await store.delete_conversation("talk")
    await told(manager(store, user_id="bob"))
    assert not texts(await fork.recall("carrots"))


async def test_over_all_conversations_of_a_user_copies_are_not_found_beside_their_originals() -> None:
    store = MemoryStore()
    sm = manager(store, infinite_context=False)
    await told(sm, 2)
    fork = await sm.fork()
    await fork.user_says("Rex is a poodle.")
    found = await recall_user("ann", "Who is Rex, and what does Rex love?", store=store)
    assert [turn.text for turn in found].count("My dog Rex loves carrots.") == 1
    assert "Rex is a poodle." in texts(found)
    await store.delete_conversation("talk")
    found = await recall_user("ann", "Who is Rex, and what does Rex love?", store=store)
    assert [turn.text for turn in found].count("My dog Rex loves carrots.") == 1


async def test_a_fork_with_pinned_messages_finds_the_others_too() -> None:
    sm = manager(MemoryStore())
    await told(sm)
    await sm.pin((await sm.get_conversation(with_ids=True))[2]["event_id"])
    fork = await sm.fork()
    assert "My dog Rex loves carrots." in texts(await fork.recall("carrots"))
    assert "How is the weather in Aden?" in texts(await fork.recall("Aden"))
    rows = await fork.get_conversation(include_origin=True)
    assert len(rows) == len(await sm.get_conversation())
