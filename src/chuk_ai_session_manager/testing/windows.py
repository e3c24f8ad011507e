"""Tests of contexts of a limited length on a store: every process makes the same contexts of a log's end."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ..conversation.usage_report import usage_report
from ..models import TokenUsage
from ..session_manager import SessionManager
from ..stores.base import EventStore
from .base import Contract, Stores, in_a_loop

_LIMIT = 400


def _manager(store: EventStore, *, infinite: bool = False) -> SessionManager:
    limits: dict[str, Any] = {"token_threshold": 10**9, "max_turns_per_segment": 10**9} if infinite else {}
    return SessionManager("talk", "Be brief.", store=store, infinite_context=infinite, **limits)


async def _exchange(manager: SessionManager, number: int) -> None:
    await manager.user_says(f"question-{number}? " + "word " * (number % 7 * 3))
    await manager.ai_responds(f"answer-{number}. " + "word " * 20, model="gpt-4o")


async def _window(manager: SessionManager) -> list[dict[str, Any]]:
    return await manager.get_messages_for_llm(max_tokens=_LIMIT, model="gpt-4o")


async def _start(manager: SessionManager) -> str:
    """The first word of the window's first message."""
    return str((await _window(manager))[1]["content"].split()[0])


class Windows(Contract):
    """Tests of contexts of a limited length on a store."""

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_a_window_begins_where_every_manager_begins_it(
        self, stores: Stores, *, infinite: bool
    ) -> None:
        manager = _manager(stores.open(), infinite=infinite)
        starts: list[str] = []
        for number in range(40):
            await _exchange(manager, number)
            window = await _window(manager)
            starts.append(window[1]["content"].split()[0])
            if number % 5 == 0:
                assert await _window(_manager(stores.open())) == window
        moves = sum(one != other for one, other in pairwise(starts))
        assert 3 <= moves <= 12
        newest = await manager.get_messages_for_llm(max_tokens=_LIMIT, model="gpt-4o", steady=False)
        assert len(newest) >= len(await _window(manager))
        assert newest[-1] == (await _window(manager))[-1]

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_a_retraction_before_a_windows_start_does_not_move_it(
        self, stores: Stores, *, infinite: bool
    ) -> None:
        manager = _manager(stores.open(), infinite=infinite)
        for number in range(30):
            await _exchange(manager, number)
        rows = await manager.get_conversation(with_ids=True)
        start = await _start(manager)
        begins = next(at for at, row in enumerate(rows) if row["content"].startswith(start))
        window = await _window(manager)
        for at in range(begins - 1, max(-1, begins - 15), -1):
            await manager.retract(rows[at]["event_id"])
            assert await _window(manager) == window
            assert await _window(_manager(stores.open())) == window
        for number in range(30, 34):
            await _exchange(manager, number)
            assert await _window(_manager(stores.open())) == await _window(manager)

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_a_fork_begins_its_window_where_the_conversation_did(
        self, stores: Stores, *, infinite: bool
    ) -> None:
        manager = _manager(stores.open(), infinite=infinite)
        for number in range(30):
            await _exchange(manager, number)
        fork = await manager.fork()
        assert await _window(fork) == await _window(manager)
        for number in range(30, 36):
            for each in (manager, fork):
                await _exchange(each, number)
            assert await _window(fork) == await _window(manager)

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_what_the_providers_cache_saved_is_summed(self, stores: Stores, *, infinite: bool) -> None:
        manager = SessionManager(
            "talk", store=stores.open(), infinite_context=infinite, max_turns_per_segment=4
        )
        for number in range(6):
            await manager.user_says(f"question-{number}?")
            await manager.ai_responds(_cached_answer(number))
        await manager.wait_for_summaries()
        for reader in (manager, SessionManager("talk", store=stores.open())):
            stats = await reader.get_stats(include_all_segments=True)
            assert stats["cached_share"] == pytest.approx(0.8)
            # 800 of 1,000 tokens at $0.30 instead of $3 a million, six times.
            assert stats["cache_saved_usd"] == pytest.approx(6 * 800 * 2.7e-6)
            assert stats["cache_misses"] == {"tools_changed": 2, "messages_changed": 2}
        rows = await usage_report(stores.open(), ["model"])
        assert [row.cached_share for row in rows] == [pytest.approx(0.8)]
        assert float(rows[0].cache_saved_usd) == pytest.approx(6 * 800 * 2.7e-6)

    @in_a_loop
    async def test_old_results_are_cleared_for_every_manager_alike(self, stores: Stores) -> None:
        manager = _manager(stores.open())
        for number in range(20):
            await _exchange(manager, number)
            await manager.tool_used("look", {}, f"found-{number} " + "word " * 60)
            for most in (_LIMIT, None):
                options: dict[str, Any] = {"include_tools": True, "keep_tool_results": 2, "max_tokens": most}
                rows = await manager.get_messages_for_llm(**options)
                assert await _manager(stores.open()).get_messages_for_llm(**options) == rows
                assert f"found-{number} word" in str(rows)
        assert "the result of look, " in str(rows)

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_counts_learn_from_what_providers_report(self, stores: Stores, *, infinite: bool) -> None:
        manager = SessionManager(
            "talk", store=stores.open(), infinite_context=infinite, max_turns_per_segment=6, model="my-model"
        )
        counted = 0
        for number in range(7):
            await manager.user_says(f"question-{number}? " + "word " * 60)
            rows = await manager.get_messages_for_llm(format="openai", max_tokens=2_000)
            counted = sum(
                [await TokenUsage.count_tokens(str(row["content"]), "my-model") + 4 for row in rows]
            )
            ratio = 100 if number == 3 else 1.3  # a single absurd report
            usage = {"prompt_tokens": round((counted + 3) * ratio), "completion_tokens": 1}
            await manager.ai_responds("Yes.", model="my-model-2026-01-01", usage=usage)
        await manager.wait_for_summaries()
        other = SessionManager("talk", store=stores.open(), model="my-model", infinite_context=infinite)
        for reader in (manager, other):
            found = (await reader.get_stats())["count_correction"]
            assert found == {"my-model": pytest.approx(1.3, abs=0.01)}
        plain = SessionManager(
            "talk",
            store=stores.open(),
            model="my-model",
            correct_counts=False,
            infinite_context=infinite,
            max_turns_per_segment=6,
        )
        assert await manager.get_messages_for_llm(format="openai", max_tokens=500) == (
            await plain.get_messages_for_llm(format="openai", max_tokens=int(500 / 1.3))
        )
        await manager.user_says("And then?")
        bill = (await manager.get_stats())["input_tokens"]
        await manager.ai_responds("Nothing.", model="my-model")  # estimated
        corrected = (await manager.get_stats())["input_tokens"] - bill
        await plain.user_says("And then?")
        bill = (await plain.get_stats())["input_tokens"]
        await plain.ai_responds("Nothing.", model="my-model")
        assert corrected > 1.2 * ((await plain.get_stats())["input_tokens"] - bill)


def _cached_answer(number: int) -> dict[str, Any]:
    """An answer of Anthropic's; two of three say why the cache missed."""
    reasons = [None, {"type": "tools_changed"}, {"type": "messages_changed"}]
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": f"answer-{number}."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 200, "cache_read_input_tokens": 800, "output_tokens": 10},
        "diagnostics": {"cache_miss_reason": reasons[number % 3]},
    }
