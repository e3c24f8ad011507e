"""Answers and results that come when the message that they belong to was taken back meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from places import Place, in_memory_too
from running import PATIENCE

from chuk_ai_session_manager import Session, SessionManager, TokenUsage, stream_llm_call, track_llm_call
from chuk_ai_session_manager.stores import EventStore

CALL: list[dict[str, Any]] = [
    {"role": "user", "content": "What time is it?"},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
    },
]


def manager(store: EventStore, *, infinite: bool) -> SessionManager:
    return SessionManager("s", store=store, infinite_context=infinite, max_turns_per_segment=4)


async def said(sm: SessionManager) -> list[Any]:
    return [row["content"] for row in await sm.get_conversation()]


async def check_totals(store: EventStore, held: list[str]) -> None:
    """What every reader sees: the rows that hold, and totals of these alone."""
    for session_id in await store.segment_ids("s"):
        sm = SessionManager(session_id, store=store)
        assert await said(sm) == held
        context = [row["content"] for row in await sm.get_messages_for_llm()]
        assert context[-1].endswith(held[-1])
        assert not any("late" in row for row in context)
        stats = await sm.get_stats()
        assert stats["total_messages"] == len(held)
        assert stats["total_tokens"] == sum([await TokenUsage.count_tokens(text, sm.model) for text in held])


@in_memory_too
@pytest.mark.parametrize("infinite", [False, True])
class TestLate:
    @pytest.mark.parametrize("streams", [False, True])
    @pytest.mark.parametrize("before", [0, 1, 4])
    async def test_an_answer(self, place: Place, *, infinite: bool, streams: bool, before: int) -> None:
        async with place.store() as store:
            sm = manager(store, infinite=infinite)
            for number in range(before):
                await sm.user_says(f"{number}?")
            asked, go = asyncio.Event(), asyncio.Event()

            async def model(question: str) -> str:
                asked.set()
                await go.wait()
                return "a late answer"

            async def stream(question: str) -> AsyncIterator[str]:
                asked.set()
                await go.wait()
                yield "a late "
                yield "answer"

            async def call() -> None:
                if streams:
                    async for _ in stream_llm_call("question", stream, session_manager=sm):
                        pass
                else:
                    await track_llm_call("question", model, session_manager=sm)

            calling = asyncio.create_task(call())
            await asked.wait()
            question = (await sm.get_conversation(with_ids=True))[-1]["event_id"]
            other = SessionManager("s", store=store)
            await other.undo()
            await other.user_says("another")
            go.set()
            await calling
            held = [*(f"{number}?" for number in range(before)), "another"]
            await check_totals(store, held)
            stats = await sm.get_stats()
            assert stats["llm_calls"] == 1  # the bill has it
            await sm.user_says("and on")
            await check_totals(store, [*held, "and on"])
            await other.choose(question)
            assert (await said(sm))[before:] == ["question", "a late answer"]
            assert (await sm.get_stats())["total_messages"] == before + 2

    async def test_a_tool_s_result(self, place: Place, *, infinite: bool) -> None:
        async with place.store() as store:
            sm = manager(store, infinite=infinite)
            await sm.user_says("before")
            await sm.add_messages(CALL)
            question = (await sm.get_conversation(with_ids=True))[1]["event_id"]
            await sm.undo()
            await sm.tool_used("clock", {}, "late: 12:30", tool_call_id="c1")
            await sm.user_says("after")
            await check_totals(store, ["before", "after"])
            assert (await sm.get_stats())["tool_calls"] == 0
            await sm.choose(question)
            rows = await sm.get_conversation(include_tools=True)
            assert [row["role"] for row in rows] == ["user", "user", "assistant", "tool"]
            assert (await sm.get_stats())["tool_calls"] == 1

    async def test_what_is_on_time_is_on_the_path(self, place: Place, *, infinite: bool) -> None:
        async with place.store() as store:
            sm = manager(store, infinite=infinite)
            await sm.user_says("taken back")
            await sm.undo()
            for number in range(3):
                await track_llm_call(f"{number}?", lambda question: f"{question}!", session_manager=sm)
                await sm.add_messages(CALL)
                await sm.tool_used("clock", {}, "12:30", tool_call_id="c1")
            rows = await sm.get_conversation(include_tools=True)
            assert len(rows) == 15
            stats = await sm.get_stats()
            assert (stats["total_messages"], stats["tool_calls"]) == (12, 3)


class TwoMethods:
    """A store of an application: each reader has an object of its own, as in another process."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def get(self, session_id: str) -> Session[Any] | None:
        text = self.kept.get(session_id)
        return None if text is None else Session.model_validate_json(text)

    async def save(self, session: Session[Any]) -> None:
        self.kept[session.id] = session.model_dump_json()


@pytest.mark.parametrize("before", [0, 1, 2, 3])
async def test_what_others_chose_meanwhile_is_seen(before: int) -> None:
    store = TwoMethods()
    sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=2)
    for number in range(before):
        await sm.user_says(str(number))
    asked, go = asyncio.Event(), asyncio.Event()

    async def model(question: str) -> str:
        asked.set()
        await go.wait()
        return "late"

    calling = asyncio.create_task(track_llm_call("question", model, session_manager=sm))
    await asyncio.wait_for(asked.wait(), PATIENCE)
    await SessionManager("s", store=store).undo()
    go.set()
    await calling
    held = [str(number) for number in range(before)]
    for manager in (sm, SessionManager("s", store=store)):
        assert await said(manager) == held
        assert (await manager.get_stats())["total_messages"] == before
        assert len(await manager.get_session_chain()) == max(1, (before + 2) // 2)
