"""Infinite context: what a new segment begins with."""

from __future__ import annotations

from typing import Any

import pytest
from chat_rules import is_valid
from places import Place, in_memory_too
from segments import manager
from told_apart import apart

from chuk_ai_session_manager import (
    InfiniteConversationManager,
    Session,
    SessionEvent,
    SessionManager,
    SessionNotFound,
)
from chuk_ai_session_manager.conversation.segments import Thresholds, open_next_segment
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import MemoryStore


async def test_an_instruction_at_a_segment_s_beginning_brings_no_answered_question() -> None:
    sm = manager()
    await sm.add_messages(
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "system", "content": "Now be brief."},
            {"role": "user", "content": "three"},
        ]
    )
    rows = apart(await sm.get_messages_for_llm(include_tools=True))
    assert [row["role"] for row in rows] == ["system", "earlier", "user"]
    assert [rows[0]["content"], rows[2]["content"]] == ["Now be brief.", "three"]


CALL = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}


async def test_a_result_that_begins_a_segment_brings_its_call_and_the_question_before_that() -> None:
    store = MemoryStore()
    sm = manager(store=store, max_turns_per_segment=3)
    await sm.user_says("What time is it?")
    await sm.add_messages([{"role": "assistant", "content": None, "tool_calls": [CALL]}])
    await sm.user_says("Hurry!")
    # As where somebody else's message opens the next segment, and the result comes before it is there.
    root = await store.get("root")
    assert root is not None
    await Session.create(session_id=next_segment_id("root"), parent_id="root", store=store)
    await sm.add_messages([{"role": "tool", "tool_call_id": "c1", "content": "noon"}])
    rows = apart(await sm.get_messages_for_llm(include_tools=True))
    assert is_valid(rows)
    assert rows[1:] == [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "user", "content": "Hurry!"},
    ]


async def test_a_result_after_an_answer_is_valid_too() -> None:
    sm = manager()
    await sm.add_messages(
        [
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
        ]
    )
    # Somebody else's message opens the next segment before the result is there.
    await sm.ai_responds("Just a moment.")
    await sm.add_messages([{"role": "tool", "tool_call_id": "c1", "content": "noon"}])
    rows = apart(await sm.get_messages_for_llm(include_tools=True))
    assert is_valid(rows)
    assert [row["content"] for row in rows[1:]] == ["What time is it?", "Just a moment.", None, "noon"]


async def test_a_parent_of_the_application_s_is_another_conversation() -> None:
    store = MemoryStore()
    parent = manager(store=store)
    for number in range(3):
        await parent.user_says(f"What is the secret {number} of the parent?")
    for parent_id in ("root", parent.session_id):
        sm = SessionManager(f"child of {parent_id}", parent_id=parent_id, store=store, infinite_context=True)
        await sm.user_says("Hello")
        assert await sm.get_messages_for_llm() == [{"role": "user", "content": "Hello"}]
        assert await sm.get_session_chain() == [sm.session_id]
        assert len(await sm.get_conversation()) == 1
        assert (await sm.get_stats())["total_messages"] == 1


async def test_an_instruction_of_before_is_told() -> None:
    sm = manager()
    await sm.user_says("one")
    await sm.add_messages([{"role": "system", "content": "Answer in French only."}])
    await sm.user_says("two")
    assert "Instructions: Answer in French only." in (await sm.get_messages_for_llm())[0]["content"]


async def test_an_instruction_after_an_empty_segment_is_no_prompt() -> None:
    store = MemoryStore()
    sm = manager(store=store, system_prompt="Be brief")
    await sm.user_says("one")
    await sm.user_says("two")
    root = await store.get("root")
    assert root is not None
    # As a writer leaves it that is killed before it wrote.
    await open_next_segment(root, store, Thresholds(10, 2))
    await sm.add_messages(
        [{"role": "system", "content": "The user is angry."}, {"role": "user", "content": "!"}]
    )
    assert sm.system_prompt == "Be brief"
    assert "The user is angry." in [
        row["content"] for row in await sm.get_messages_for_llm(include_tools=True)
    ]


@in_memory_too
async def test_after_a_segment_in_the_middle_was_deleted(place: Place) -> None:
    async with place.store() as store:
        sm = manager(store=store)
        for number in range(10):
            await sm.user_says(f"m{number}")
        chain = await sm.get_session_chain()
        await store.delete(chain[2])
        for session_id in (chain[0], chain[1], chain[3]):
            assert (await store.segment_ids(session_id))[:4] == [chain[0], chain[1], chain[3], chain[4]]
            again = SessionManager(session_id, store=store, infinite_context=True, max_turns_per_segment=2)
            await again.user_says(f"from {session_id}")
            assert apart(await again.get_messages_for_llm())[-1]["content"] == f"from {session_id}"
        said = [row["content"] for row in await again.get_conversation()]
        assert said[-3:] == [f"from {session_id}" for session_id in (chain[0], chain[1], chain[3])]
        await store.delete_conversation(chain[0])
        assert await store.list_sessions() == []


async def test_segments_of_the_original_are_told_and_counted() -> None:
    """Its segments have ids of their own, and summaries that cover only themselves."""
    store = get_backend()
    for at in range(3):
        parent_id = f"old-{at - 1}" if at else None
        session = await Session.create(session_id=f"old-{at}", parent_id=parent_id)
        await SessionManager(f"old-{at}", store=store).user_says(f"message {at}")
        if at < 2:
            summary = SessionEvent(
                message=f"Summary {at}.", source=EventSource.SYSTEM, type=EventType.SUMMARY
            )
            await session.add_event_and_save(summary)
    sm = SessionManager("old-2", store=store, infinite_context=True, max_turns_per_segment=1)
    assert apart(await sm.get_messages_for_llm())[0]["content"].endswith("Summary 0. Summary 1.")
    await sm.user_says("message 3")
    assert [row["content"] for row in await sm.get_conversation()] == [f"message {at}" for at in range(4)]
    assert apart(await sm.get_messages_for_llm())[0]["content"].startswith("Summary 0. Summary 1.")
    assert await sm.get_session_chain() == ["old-0", "old-1", "old-2", next_segment_id("old-2")]
    context = await InfiniteConversationManager().build_context_for_llm("old-2")
    assert context[0]["content"] == "Previous conversation context: Summary 0. Summary 1."


# -- a conversation that goes away while it is read ----------------------------------------------


@in_memory_too
@pytest.mark.parametrize("all_of_it", [True, False], ids=["the whole", "a segment"])
async def test_half_of_a_conversation_is_never_read_as_all_of_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, all_of_it: bool
) -> None:
    async with place.store() as store, place.store() as other:
        sm = SessionManager("talk", store=store, infinite_context=True, max_turns_per_segment=2)
        for number in range(6):
            await sm.user_says(f"{number}")
        chain = await sm.get_session_chain()
        get = store.get

        async def get_late(session_id: str) -> Session[Any] | None:
            if session_id == chain[1]:
                await (other.delete_conversation if all_of_it else other.delete)(chain[1])
            return await get(session_id)

        monkeypatch.setattr(store, "get", get_late)
        reader = SessionManager("talk", store=store, infinite_context=True, create=False)
        if all_of_it:
            with pytest.raises(SessionNotFound):
                await reader.get_conversation()
        else:
            said = [row["content"] for row in await reader.get_conversation()]
            assert said == ["0", "1", "4", "5"]
