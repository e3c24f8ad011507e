"""Infinite context: summaries that a callback makes, and callbacks that fail."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from segments import manager, segments_of, summaries_in
from told_apart import apart

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, StorageError, TokenUsage
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import MemoryStore


class TestCallback:
    async def test_a_summary_continues_the_summary_before_it(self) -> None:
        asked: list[list[dict[str, Any]]] = []

        async def callback(messages: list[dict[str, Any]]) -> str:
            asked.append(messages)
            return f"summary {len(asked)}"

        sm = manager(callback)
        for number in range(5):
            await sm.user_says(f"question {number}")
            await sm.ai_responds(f"answer {number}")
        assert asked[0] == [
            {"role": "user", "content": "question 0"},
            {"role": "assistant", "content": "answer 0"},
        ]
        assert asked[3] == [
            {"role": "system", "content": "Previous conversation context: summary 3"},
            {"role": "user", "content": "question 3"},
            {"role": "assistant", "content": "answer 3"},
        ]
        rows = apart(await sm.get_messages_for_llm())
        assert rows[0]["content"] == "summary 4"
        assert len(rows) == 3

    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_a_callback_that_hangs_delays_no_writer(
        self, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chuk_ai_session_manager.conversation.writing.PATIENCE", 0.05)

        async def callback(messages: list[dict[str, Any]]) -> str:
            await asyncio.sleep(3_600)
            return "late"

        sm = manager(callback if kind == "async" else lambda messages: time.sleep(3_600))
        async with asyncio.timeout(10):
            for number in range(12):
                await sm.user_says(f"What is the number {number} good for?")
                assert apart(await sm.get_messages_for_llm())[-1]["content"].startswith(
                    f"What is the number {number}"
                )
        assert "number 3" in apart(await sm.get_messages_for_llm())[0]["content"]

    async def test_after_a_timeout_the_waiting_summaries_skip_the_callback(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chuk_ai_session_manager.conversation.writing.PATIENCE", 0.01)
        calls = 0

        async def callback(messages: list[dict[str, Any]]) -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(3_600)
            return "never"

        store = MemoryStore()
        sm = manager(callback, store=store, summary_timeout=0.5)
        for number in range(9):
            await sm.user_says(f"What is the number {number} good for?")
        await sm.wait_for_summaries()
        segments = await segments_of(store, sm)
        assert calls == 1
        for segment in segments[:-1]:
            (summary,) = summaries_in(segment)
            assert summary.metadata["callback_failure"] == "TimeoutError"
            assert summary.metadata["made_by"] == "built-in"

    async def test_summaries_of_a_slow_callback_are_stored_in_order(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chuk_ai_session_manager.conversation.writing.PATIENCE", 0.0)
        running = 0

        async def callback(messages: list[dict[str, Any]]) -> str:
            nonlocal running
            running += 1
            assert running == 1
            await asyncio.sleep(0.02)
            running -= 1
            return "+".join(
                row["content"].removeprefix("Previous conversation context: ") for row in messages
            )

        sm = manager(callback)
        for number in range(9):
            await sm.user_says(f"m{number}")
        await sm.wait_for_summaries()
        context = apart(await sm.get_messages_for_llm())[0]["content"]
        assert context == "+".join(f"m{number}" for number in range(8))

    async def test_a_summary_is_made_even_if_its_writer_is_cancelled(self) -> None:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def callback(messages: list[dict[str, Any]]) -> str:
            began.set()
            await go_on.wait()
            return "made"

        sm = manager(callback)
        await sm.user_says("one")
        await sm.user_says("two")
        writer = asyncio.create_task(sm.user_says("three"))
        await began.wait()
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        go_on.set()
        await sm.wait_for_summaries()
        assert apart(await sm.get_messages_for_llm())[0]["content"].endswith("made")

    async def test_a_callback_that_records_messages_ends(self) -> None:
        """Each of its messages closes a segment: it is not called again for those."""
        store = MemoryStore()
        sm = manager(store=store, max_turns_per_segment=1)
        calls = 0

        async def callback(messages: list[dict[str, Any]]) -> str:
            nonlocal calls
            calls += 1
            await sm.user_says("I am summarising")
            await sm.ai_responds("Indeed", model="gpt-4o")
            return "done"

        sm.set_summary_callback(callback)
        async with asyncio.timeout(20):
            await sm.user_says("one")
            await sm.user_says("two")
            await sm.wait_for_summaries()
        assert calls == 1
        assert [row["content"] for row in await sm.get_conversation()] == [
            "one", "two", "I am summarising", "Indeed",
        ]  # fmt: skip
        for segment in (await segments_of(store, sm))[:-1]:
            assert len(summaries_in(segment)) == 1

    async def test_of_a_hundred_megabytes_only_the_end_is_looked_at(self) -> None:
        text = "word " * 20_000_000 + "the end"
        sm = manager(lambda messages: text, summary_max_tokens=50)
        async with asyncio.timeout(20):
            for number in range(3):
                await sm.user_says(f"m{number}")
        assert apart(await sm.get_messages_for_llm())[0]["content"].endswith("word word the end")

    @pytest.mark.parametrize("form", ["object", "dict", "blank"])
    async def test_a_callback_s_usage_is_billed_to_the_conversation(self, form: str) -> None:
        class Answer:
            content = "" if form == "blank" else "About a parcel."
            model = "gpt-4o-mini"
            usage = {"prompt_tokens": 10_000, "completion_tokens": 1_000}  # noqa: RUF012

        as_dict = {"text": Answer.content, "model": Answer.model, "usage": Answer.usage}
        store = MemoryStore()
        sm = manager(lambda messages: as_dict if form == "dict" else Answer(), store=store)
        for text in ("Where is my very lost parcel?", "Well?", "So?"):
            await sm.user_says(text)
        stats = await sm.get_stats()
        # gpt-4o-mini: $0.15 and $0.60 a million
        assert stats["estimated_cost"] == pytest.approx(0.0021)
        assert (stats["llm_calls"], stats["input_tokens"], stats["output_tokens"]) == (1, 10_000, 1_000)
        assert stats["usage_source"] == "reported"
        first = (await segments_of(store, sm))[0]
        assert first.total_cost == pytest.approx(0.0021)
        assert summaries_in(first)[0].metadata["made_by"] == ("built-in" if form == "blank" else "callback")
        assert stats["total_tokens"] == sum(
            [
                await TokenUsage.count_tokens(row["content"], "gpt-4o-mini")
                for row in await sm.get_conversation()
            ]
        )

    async def test_a_callback_s_cost_counts_for_the_limit(self) -> None:
        bill = {
            "text": "s",
            "model": "gpt-4o-mini",
            "usage": {"prompt_tokens": 10_000, "completion_tokens": 0},
        }
        sm = manager(lambda messages: bill, cost_limit=0.001)
        for number in range(3):
            await sm.user_says(f"m{number}")
        with pytest.raises(TokenLimitExceeded):
            await sm.user_says("m3")


async def test_of_a_callback_that_failed_nothing_of_the_summary_before_is_lost() -> None:
    fails = False

    async def callback(messages: list[dict[str, Any]]) -> str:
        if fails:
            raise ConnectionError
        return "The user is called Ada."

    sm = manager(callback)
    for number in range(5):
        fails = number > 2
        await sm.user_says(f"What is the number {number} good for?")
    context = (await sm.get_messages_for_llm())[0]["content"]
    assert "The user is called Ada." in context
    assert "What is the number 2 good for" in context


class TestOddCallbacks:
    """None of them ends, hangs or doubles anything; each failure is recorded."""

    @staticmethod
    async def failure_of(callback: Any, **options: Any) -> str:
        store = MemoryStore()
        sm = manager(callback, store=store, **options)
        async with asyncio.timeout(10):
            for number in range(3):
                await sm.user_says(f"m{number}")
            await sm.wait_for_summaries()
        assert len(await sm.get_conversation()) == 3
        (summary,) = summaries_in((await segments_of(store, sm))[0])
        assert summary.metadata["made_by"] == "built-in"
        return str(summary.metadata["callback_failure"])

    @pytest.mark.parametrize("kind", ["async", "sync"])
    @pytest.mark.parametrize(
        "problem", [SystemExit(3), GeneratorExit(), StopIteration(), BaseExceptionGroup("g", [SystemExit()])]
    )
    async def test_callbacks_that_raise_exceptions_which_end_programs(
        self, kind: str, problem: BaseException
    ) -> None:
        async def asynchronous(messages: list[dict[str, Any]]) -> str:
            raise problem

        def synchronous(messages: list[dict[str, Any]]) -> str:
            raise problem

        failure = await self.failure_of(asynchronous if kind == "async" else synchronous)
        assert failure in {type(problem).__name__, "RuntimeError"}  # in a coroutine, StopIteration is that

    async def test_a_callback_whose_model_call_was_cancelled(self) -> None:
        async def callback(messages: list[dict[str, Any]]) -> str:
            task = asyncio.create_task(asyncio.sleep(10))
            task.cancel()
            await task
            return "never"

        assert await self.failure_of(callback) == "CancelledError"

    async def test_a_callback_that_cancels_itself(self) -> None:
        async def callback(messages: list[dict[str, Any]]) -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(10)
            return "never"

        assert await self.failure_of(callback) == "CancelledError"

    async def test_a_callback_that_ignores_cancellation(self) -> None:
        ended = asyncio.Event()

        async def callback(messages: list[dict[str, Any]]) -> str:
            while not ended.is_set():
                try:
                    await asyncio.sleep(0.2)
                except asyncio.CancelledError:
                    continue
            return "late"

        assert await self.failure_of(callback, summary_timeout=0.05) == "TimeoutError"
        ended.set()

    async def test_a_callback_with_a_timeout_of_its_own_is_called_again(self) -> None:
        calls = 0

        async def callback(messages: list[dict[str, Any]]) -> str:
            nonlocal calls
            calls += 1
            raise TimeoutError

        sm = manager(callback)
        for number in range(9):
            await sm.user_says(f"m{number}")
        assert calls == 4

    async def test_a_callback_that_changes_its_argument(self) -> None:
        def callback(messages: list[dict[str, Any]]) -> str:
            messages[0]["content"] = "Who changed this text of mine?"
            messages.append({"role": "user", "content": "Could you summarise all of the above?"})
            raise ConnectionError

        sm = manager(callback)
        for text in ("What is the number one good for?", "two", "three"):
            await sm.user_says(text)
        context = (await sm.get_messages_for_llm())[0]["content"]
        assert "What is the number one good for" in context
        assert "summarise" not in context
        assert "changed" not in context

    async def test_a_callback_that_waits_for_the_summaries(self) -> None:
        sm = manager()

        async def callback(messages: list[dict[str, Any]]) -> str:
            await sm.wait_for_summaries()
            return "did not wait for itself"

        sm.set_summary_callback(callback)
        async with asyncio.timeout(1.5):
            for number in range(3):
                await sm.user_says(f"m{number}")
        assert apart(await sm.get_messages_for_llm())[0]["content"].endswith("did not wait for itself")

    async def test_a_sync_one_may_talk_too(self) -> None:
        sm = manager()
        loop = asyncio.get_running_loop()

        def callback(messages: list[dict[str, Any]]) -> str:
            asyncio.run_coroutine_threadsafe(sm.tool_used("t", {}, 1), loop).result(5)
            return "done"

        sm.set_summary_callback(callback)
        for number in range(3):
            await sm.user_says(f"m{number}")
        assert apart(await sm.get_messages_for_llm())[0]["content"].endswith("done")

    async def test_a_callback_may_record_in_a_conversation_with_a_callback(self) -> None:
        other = SessionManager(
            "other",
            infinite_context=True,
            max_turns_per_segment=1,
            summary_callback=lambda messages: "other's",
        )
        worker: list[asyncio.Task[str]] = []

        async def later() -> str:
            await asyncio.sleep(0.05)
            for text in ("d", "e"):
                await sm.user_says(text)
            return "done"

        async def callback(messages: list[dict[str, Any]]) -> str:
            for text in ("a", "b"):
                await other.user_says(text)
            if not worker:  # which goes on when this is over, and is nothing that the callback does
                worker.append(asyncio.create_task(later()))
            return "its own"

        sm = manager(callback)
        for number in range(3):
            await sm.user_says(f"m{number}")
        assert apart(await other.get_messages_for_llm())[0]["content"].endswith("other's")
        await worker[0]
        segments = await segments_of(get_backend().store, sm)
        assert [summaries_in(segment)[0].message for segment in segments[:-1]] == ["its own", "its own"]

    def test_one_pending_in_a_loop_that_ended_holds_up_no_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chuk_ai_session_manager.conversation.writing.PATIENCE", 0.01)
        slow = True

        async def callback(messages: list[dict[str, Any]]) -> str:
            if slow:
                await asyncio.sleep(3_600)
            return "made"

        sm = manager(callback)

        async def talk(*texts: str) -> None:
            for text in texts:
                await sm.user_says(text)

        asyncio.run(talk("1", "2", "3"))
        slow = False

        async def go_on() -> list[dict[str, Any]]:
            await talk("4", "5")
            await sm.wait_for_summaries()
            return apart(await sm.get_messages_for_llm())

        rows = asyncio.run(asyncio.wait_for(go_on(), 5))
        assert rows[0]["content"].endswith("made")


async def test_what_a_summary_costs_counts_also_when_it_comes_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chuk_ai_session_manager.conversation.writing.PATIENCE", 0.01)

    async def callback(messages: list[dict[str, Any]]) -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return {
            "text": "s",
            "model": "gpt-4o",
            "usage": {"prompt_tokens": 10_000_000, "completion_tokens": 0},
        }

    sm = manager(callback, cost_limit=1.0)
    for number in range(3):
        await sm.user_says(f"m{number}")
    await sm.ai_responds("caches what was before", model="gpt-4o")
    await sm.wait_for_summaries()
    assert (await sm.get_stats())["estimated_cost"] > 20
    with pytest.raises(TokenLimitExceeded):
        await sm.user_says("more")


class FailingOnce(MemoryStore):
    """Its next append to an empty session fails."""

    fails = False

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        if self.fails and not session.events:
            self.fails = False
            raise StorageError("down")
        return await super().append(session, events, only_if_current=only_if_current)


async def test_a_write_that_fails_after_it_closed_a_segment_leaves_its_summary() -> None:
    store = FailingOnce()
    sm = manager(store=store)
    await sm.user_says("one")
    await sm.user_says("two")
    store.fails = True
    with pytest.raises(StorageError):
        await sm.user_says("three")
    await sm.user_says("three")
    await sm.wait_for_summaries()
    segments = await segments_of(store, sm)
    assert [len(segment.events) for segment in segments] == [3, 1]
    assert len(summaries_in(segments[0])) == 1
