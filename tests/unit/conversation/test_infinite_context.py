"""Conversations that go on in new segments: nothing lost, the context bounded, at the same cost for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from chat_rules import is_valid
from places import Place, in_memory_too
from segments import segments_of, summaries_in
from told_apart import apart

from chuk_ai_session_manager import (
    InfiniteConversationManager,
    Session,
    SessionManager,
    TokenUsage,
    get_conversation_history,
    get_session_stats,
    track_infinite_conversation,
)
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.providers.messages import text_of
from chuk_ai_session_manager.stores import EventStore, MemoryStore


async def tokens_of(rows: Sequence[dict[str, Any]]) -> int:
    return sum([await TokenUsage.count_tokens(text_of(row), "gpt-4o-mini") for row in rows])


# -- real conversations ---------------------------------------------------------------------------


@in_memory_too
async def test_real_conversations_one_after_the_other(place: Place, chats: list[dict[str, Any]]) -> None:
    """All of them in one conversation: nothing lost or doubled, and each step's context as it should be."""
    rows = [row for chat in chats for row in chat["messages"]]
    bound = 2_000 + 500 + 20
    async with place.store() as store:
        sm = SessionManager("all", store=store, infinite_context=True, token_threshold=2_000)
        prompt = 0
        for at, row in enumerate(rows):
            await sm.add_messages([row], model="gpt-4o")
            prompt = prompt or await tokens_of([row])
            context = await sm.get_messages_for_llm(include_tools=True)
            assert is_valid(context)
            # The last message may go beyond the threshold, and an exchange's start comes along.
            exchange = _exchange_at(rows, at)
            assert await tokens_of(context) <= prompt + bound + await tokens_of(exchange)
        await check_nothing_is_lost(sm, store, rows)
    again = place.store()
    async with again:
        await check_nothing_is_lost(SessionManager("all", store=again, infinite_context=True), again, rows)


def _exchange_at(rows: list[dict[str, Any]], at: int) -> list[dict[str, Any]]:
    """From the user's message before a row up to it, and the longest of all rows."""
    start = next((back for back in range(at, -1, -1) if rows[back]["role"] == "user"), 0)
    return [*rows[start : at + 1], max(rows, key=lambda row: len(text_of(row)))]


async def check_nothing_is_lost(sm: SessionManager, store: EventStore, rows: list[dict[str, Any]]) -> None:
    segments = await segments_of(store, sm)
    events = [event for one in segments for event in one.events if event.type != EventType.SUMMARY]
    assert len({event.id for event in events}) == len(events) == len(rows) - 1  # the first is the prompt
    said = [row["content"] for row in rows[1:] if row["role"] != "tool"]
    assert [row["content"] for row in await sm.get_conversation()] == [text for text in said if text]
    everything = await sm.get_conversation(include_tools=True)
    assert [row["role"] for row in everything] == [row["role"] for row in rows[1:]]
    stats = await sm.get_stats()
    assert stats["tool_calls"] == sum(row["role"] == "tool" for row in rows)
    assert stats["session_segments"] == len(segments) > 20
    assert all(len(segment.child_ids) == 1 for segment in segments[:-1])
    for segment in segments[:-1]:
        (summary,) = summaries_in(segment)
        assert await TokenUsage.count_tokens(summary.message, "gpt-4o-mini") <= 500
    context = (await sm.get_messages_for_llm())[1]["content"]
    assert "User discussed: " in context


@in_memory_too
async def test_the_one_liners_over_a_hundred_calls(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chuk_ai_session_manager.session_storage._backend", None)
    async with place.store() as store:
        monkeypatch.setattr("chuk_ai_session_manager.session_manager.get_backend", lambda: store)
        session_id = root = await track_infinite_conversation("Question 0?", "Answer 0", max_turns=5)
        for number in range(1, 100):
            session_id = await track_infinite_conversation(
                f"Question {number}?", f"Answer {number}", "gpt-4o", session_id=session_id, max_turns=5
            )
        history = await get_conversation_history(root, include_all_segments=True)
        assert [row["content"] for row in history] == [
            text for number in range(100) for text in (f"Question {number}?", f"Answer {number}")
        ]
        stats = await get_session_stats(session_id, include_all_segments=True)
        assert (stats["total_messages"], stats["session_segments"]) == (200, 40)
        assert stats == await get_session_stats(root, include_all_segments=True)
        assert (await get_session_stats(root))["total_messages"] == 5


async def test_limits_hold_for_the_whole_conversation_in_each_new_manager() -> None:
    store = MemoryStore()
    options: dict[str, Any] = {"store": store, "infinite_context": True, "max_turns_per_segment": 2}
    for _ in range(10):
        await SessionManager("root", **options).user_says("one two three four")
    tokens = (await SessionManager("root", **options).get_stats())["total_tokens"]
    with pytest.raises(TokenLimitExceeded):
        await SessionManager("root", token_limit=tokens + 1, **options).user_says("five six")


# -- InfiniteConversationManager ------------------------------------------------------------------


@in_memory_too
async def test_the_other_manager_keeps_its_threshold_among_many_writers(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def callback(messages: list[dict[str, Any]]) -> str:
        await asyncio.sleep(0.002)
        return "s"

    async with place.store() as store, place.store() as other:
        await Session.create(session_id="root", store=store)
        stores = [store, other]

        class Manager(InfiniteConversationManager):
            def __init__(self, home: EventStore) -> None:
                super().__init__(max_turns_per_segment=3)
                self._home = home

            async def _load(self, session_id: str) -> Any:
                session = await self._home.get(session_id)
                assert session is not None
                return self._home, session

        async def write(number: int) -> None:
            await asyncio.sleep(number % 5 / 1_000)
            talk = Manager(stores[number % 2])
            await talk.process_message("root", f"m{number}", EventSource.USER, callback)

        await asyncio.gather(*(write(number) for number in range(31)))
        sm = SessionManager("root", store=store, infinite_context=True)
        segments = await segments_of(store, sm)
        said = [row["content"] for row in await sm.get_conversation()]
        assert Counter(said) == Counter(f"m{number}" for number in range(31))
        assert [segment.totals.messages for segment in segments] == [3] * 10 + [1]
        for segment in segments[:-1]:
            assert segment.events[-1].type == EventType.SUMMARY  # nothing comes after it
            assert len(summaries_in(segment)) == 1


async def test_the_other_manager_tells_the_question_of_an_answer() -> None:
    session = await Session.create()
    talk = InfiniteConversationManager(max_turns_per_segment=1)

    async def callback(messages: list[dict[str, Any]]) -> str:
        return "s"

    last = await talk.process_message(session.id, "Why?", EventSource.USER, callback)
    # The next segment is empty: what it begins with is not known yet.
    sm = SessionManager(last, infinite_context=True, max_turns_per_segment=5)
    assert len(await sm.get_messages_for_llm()) == 1
    await sm.ai_responds("Because.", model="gpt-4o")
    rows = await InfiniteConversationManager().build_context_for_llm(last)
    assert [row["content"] for row in rows[1:]] == ["Why?", "Because."]
    assert [row["content"] for row in apart(await sm.get_messages_for_llm())[1:]] == ["Why?", "Because."]


async def test_the_other_manager_waits_for_a_slow_summary_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chuk_ai_session_manager.conversation.writing.PATIENCE", 0.0)
    session = await Session.create()

    async def callback(messages: list[dict[str, Any]]) -> str:
        await asyncio.sleep(0.1)
        return "slow"

    talk = InfiniteConversationManager(max_turns_per_segment=1)
    await talk.process_message(session.id, "Why?", EventSource.USER, callback)
    assert session.events[-1].message == "slow"
