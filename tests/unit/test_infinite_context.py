"""Conversations that go on in new segments: nothing lost, the context bounded, at the same cost for ever."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import Any

import pytest
from chat_rules import is_valid
from contexts import apart
from places import SPAWN, Place, everywhere, in_another_process, in_memory_too, on_each, run
from servers import PATIENCE, wait_until

from chuk_ai_session_manager import (
    InfiniteConversationManager,
    Session,
    SessionEvent,
    SessionManager,
    SessionNotFound,
    StorageError,
    TokenUsage,
    get_conversation_history,
    get_session_stats,
    track_infinite_conversation,
)
from chuk_ai_session_manager.conversation.segments import Thresholds, open_next_segment
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.providers.messages import text_of
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import EventStore, MemoryStore

RANDOM = Random()  # noqa: S311  (moments, not secrets)


async def tokens_of(rows: Sequence[dict[str, Any]]) -> int:
    return sum([await TokenUsage.count_tokens(text_of(row), "gpt-4o-mini") for row in rows])


async def segments_of(store: EventStore, sm: SessionManager) -> list[Session[Any]]:
    found = [await store.get(each) for each in await sm.get_session_chain()]
    return [segment for segment in found if segment is not None]


def summaries_in(segment: Session[Any]) -> list[SessionEvent[Any]]:
    return [event for event in segment.events if event.type == EventType.SUMMARY]


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


# -- resuming -------------------------------------------------------------------------------------


async def resumed(place: Place, session_id: str) -> dict[str, Any]:
    """What a process sees of a conversation that it opens by the id of any segment."""
    async with place.store() as store:
        return await seen(SessionManager(session_id, store=store, infinite_context=True, create=False))


async def seen(sm: SessionManager) -> dict[str, Any]:
    return {
        "prompt": sm.system_prompt,
        "chain": await sm.get_session_chain(),
        "conversation": await sm.get_conversation(),
        "stats": await sm.get_stats(include_all_segments=True),
        "messages": await sm.get_messages_for_llm(),
        "with tools": await sm.get_messages_for_llm(include_tools=True),
    }


async def one_more(place: Place, session_id: str) -> str:
    async with place.store() as store:
        return await SessionManager(session_id, store=store, infinite_context=True).user_says(
            "One more thing"
        )


@on_each
async def test_any_segment_opens_the_whole_in_another_process(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager(
            "root",
            store=store,
            infinite_context=True,
            max_turns_per_segment=4,
            system_prompt="Be brief",
            user_id="ada",
            metadata={"plan": "free"},
        )
        for number in range(9):
            await sm.user_says(f"What is the number {number} good for?", channel="web")
            await sm.tool_used("look_up", {"number": number}, {"found": number})
            await sm.ai_responds(f"Number {number} is good.", model="gpt-4o", provider="openai")
        written = await seen(sm)
        live = await store.get(sm.session_id)
        assert live is not None
        assert live.metadata.properties == {"plan": "free", "user_id": "ada", "system_prompt": "Be brief"}
    chain = written["chain"]
    assert len(chain) == 5
    assert written["stats"]["tool_calls"] == 9
    assert written["stats"]["estimated_cost"] > 0
    assert written["conversation"][1]["model"] == "gpt-4o"
    for session_id in (chain[0], chain[2], chain[-1]):
        read = await asyncio.to_thread(in_another_process, resumed, place, session_id)
        assert read == written | {"prompt": None}  # of a manager that was only just made
    assert await asyncio.to_thread(in_another_process, one_more, place, chain[1]) == chain[-1]
    rows = (await resumed(place, chain[0]))["conversation"]
    assert [row["content"] for row in rows[-2:]] == ["Number 8 is good.", "One more thing"]


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


# -- many writers, and writers that are killed ----------------------------------------------------


_barrier: Barrier


def _meet(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603  (how a process pool hands it over)
    _barrier = barrier


async def write_together(place: Place, process: int) -> list[str]:
    said = []
    async with place.store() as store:
        managers = [
            SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=3)
            for _ in range(4)
        ]
        for number in range(12):
            await asyncio.to_thread(_barrier.wait, PATIENCE)
            texts = [f"{process}-{writer}-{number}" for writer in range(len(managers))]
            await asyncio.gather(*(sm.user_says(text) for sm, text in zip(managers, texts, strict=True)))
            said += texts
        for sm in managers:
            await sm.wait_for_summaries()
    return said


def write_in_pool(place: Place, process: int) -> list[str]:
    return asyncio.run(write_together(place, process))


@everywhere
async def test_one_next_segment_however_many_processes_cross_together(place: Place) -> None:
    async with place.store() as store:
        await SessionManager("root", store=store, infinite_context=True).user_says("first")
    with ProcessPoolExecutor(3, SPAWN, _meet, (SPAWN.Barrier(3),)) as pool:
        loop = asyncio.get_running_loop()
        works = [loop.run_in_executor(pool, write_in_pool, place, process) for process in range(3)]
        written = [text for said in await asyncio.gather(*works) for text in said]
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True)
        said = [row["content"] for row in await sm.get_conversation()]
        assert Counter(said) == Counter(["first", *written])
        segments = await segments_of(store, sm)
        assert set(await store.list_sessions()) == {segment.id for segment in segments}
        assert [segment.totals.messages for segment in segments] == [3] * 48 + [1]
        for segment in segments[:-1]:
            assert segment.child_ids == [next_segment_id(segment.id)]
            assert len(summaries_in(segment)) == 1


async def write_until_killed(place: Place, journal: Path) -> None:
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=1)
        with journal.open("a") as file:
            for number in range(100_000):
                text = f"{journal.stem}-{number}"
                await sm.user_says(text)
                file.write(f"{text}\n")
                file.flush()


def write_in_process(place: Place, journal: Path) -> None:
    run(write_until_killed, place, journal)


def has_lines(journal: Path) -> bool:
    return len(journal.read_text().splitlines()) > 5


@on_each
def test_a_writer_killed_in_mid_roll_over_leaves_a_conversation_that_goes_on(
    place: Place, tmp_path: Path
) -> None:
    written: list[str] = []
    for life in range(6):
        journal = tmp_path / f"life{life}"
        journal.touch()
        process = SPAWN.Process(target=write_in_process, args=(place, journal))
        process.start()
        wait_until(partial(has_lines, journal), "the writer writes")
        time.sleep(RANDOM.uniform(0, 0.05))
        process.kill()
        process.join(PATIENCE)
        written += journal.read_text().splitlines()
        run(check_conversation, place, written)


async def check_conversation(place: Place, written: list[str]) -> None:
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=1)
        said = Counter([row["content"] for row in await sm.get_conversation()])
        assert not Counter(written) - said  # what was acknowledged is there
        assert max(said.values()) == 1
        segments = await segments_of(store, sm)
        assert set(await store.list_sessions()) == {segment.id for segment in segments}
        assert len(await sm.get_messages_for_llm()) <= 3
        await sm.user_says("and on" + str(len(written)))
        assert (await sm.get_stats())["total_messages"] == sum(said.values()) + 1
        # One more, or the one that a killed writer opened and wrote nothing to.
        assert len(await sm.get_session_chain()) - len(segments) in {0, 1}


# -- the cost of going on for ever ----------------------------------------------------------------


class CountingStore(MemoryStore):
    """Counts what is asked of it; a read counts as the events that it hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def get(self, session_id: str) -> Session[Any] | None:
        found = await super().get(session_id)
        self.asked += 1 + (len(found.events) if found else 0)
        return found

    async def head(self, session_id: str) -> Session[Any] | None:
        self.asked += 1
        return await super().get(session_id)

    async def latest(self, session: Session[Any], *, with_events: bool = True) -> Session[Any] | None:
        return await (self.get if with_events else self.head)(session.id)

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        self.asked += 1
        return await super().append(session, events, only_if_current=only_if_current)


@pytest.mark.parametrize("limits", [{}, {"token_limit": 10**9, "cost_limit": 10**9}])
async def test_the_thousandth_segment_asks_no_more_of_the_store_than_the_second(
    limits: dict[str, Any],
) -> None:
    store = CountingStore()
    options: dict[str, Any] = {"store": store, "infinite_context": True, "max_turns_per_segment": 2, **limits}

    async def asked_by_one_exchange(session_id: str) -> int:
        before = store.asked
        sm = SessionManager(session_id, **options)
        await sm.user_says("What is next?")
        await sm.ai_responds("Another one.", model="gpt-4o")
        await sm.get_messages_for_llm()
        assert sm.session_id != session_id
        return store.asked - before

    session_id, costs = "root", []
    await SessionManager(session_id, **options).add_messages([{"role": "user", "content": "a"}] * 2)
    for _ in range(1_000):
        costs.append(await asked_by_one_exchange(session_id))
        session_id = next_segment_id(session_id)
    assert len(set(costs[1:])) == 1
    assert len(await store.segment_ids("root")) == 1_001


async def test_a_run_without_questions_or_known_calls_costs_no_more_either() -> None:
    store = CountingStore()
    sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2)
    await sm.user_says("Do it all.")
    costs = []
    for number in range(60):
        before = store.asked
        await sm.ai_responds(f"step {number}", model="gpt-4o")
        await sm.add_messages([{"role": "tool", "tool_call_id": "unknown", "content": "done"}])
        rows = apart(await SessionManager("root", store=store).get_messages_for_llm())
        assert {"role": "user", "content": "Do it all."} in rows
        costs.append(store.asked - before)
    assert max(costs[40:]) <= max(costs[8:20])


@on_each
async def test_a_process_holds_the_live_segment_and_not_the_conversation(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager(store=store, infinite_context=True, max_turns_per_segment=10)
        for number in range(300):
            await sm.user_says(f"What about {number}?")
            await sm.ai_responds("Well.", model="gpt-4o")
            await sm.get_messages_for_llm()
        gc.collect()
        held = [
            one for one in gc.get_objects() if isinstance(one, Session) and one.mark_of(store) is not None
        ]
        assert 1 <= len(held) <= 3
        assert sum(len(session.events) for session in held) <= 30


# -- the callback ---------------------------------------------------------------------------------


def manager(callback: Any = None, **options: Any) -> SessionManager:
    options = {"max_turns_per_segment": 2, "summary_callback": callback} | options
    return SessionManager("root", infinite_context=True, **options)


class TestCallback:
    async def test_it_goes_on_from_the_summary_before(self) -> None:
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
    async def test_one_that_hangs_holds_nobody_up(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
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

    async def test_after_one_timeout_those_that_waited_for_it_do_without(
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

    async def test_one_that_is_slow_lands_in_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
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

    async def test_it_is_made_also_where_its_writer_is_cancelled(self) -> None:
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

    async def test_one_that_talks_itself_ends(self) -> None:
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
    async def test_its_own_usage_is_billed_to_the_conversation(self, form: str) -> None:
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

    async def test_its_cost_counts_for_the_limit(self) -> None:
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
    async def test_those_that_raise_what_ends_programs(self, kind: str, problem: BaseException) -> None:
        async def asynchronous(messages: list[dict[str, Any]]) -> str:
            raise problem

        def synchronous(messages: list[dict[str, Any]]) -> str:
            raise problem

        failure = await self.failure_of(asynchronous if kind == "async" else synchronous)
        assert failure in {type(problem).__name__, "RuntimeError"}  # in a coroutine, StopIteration is that

    async def test_one_whose_model_call_was_cancelled_by_somebody(self) -> None:
        async def callback(messages: list[dict[str, Any]]) -> str:
            task = asyncio.create_task(asyncio.sleep(10))
            task.cancel()
            await task
            return "never"

        assert await self.failure_of(callback) == "CancelledError"

    async def test_one_that_cancels_itself(self) -> None:
        async def callback(messages: list[dict[str, Any]]) -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(10)
            return "never"

        assert await self.failure_of(callback) == "CancelledError"

    async def test_one_that_does_not_let_itself_be_cancelled(self) -> None:
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

    async def test_its_own_timeout_is_no_reason_not_to_ask_again(self) -> None:
        calls = 0

        async def callback(messages: list[dict[str, Any]]) -> str:
            nonlocal calls
            calls += 1
            raise TimeoutError

        sm = manager(callback)
        for number in range(9):
            await sm.user_says(f"m{number}")
        assert calls == 4

    async def test_one_that_changes_what_it_got(self) -> None:
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

    async def test_one_that_waits_for_the_summaries(self) -> None:
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

    async def test_it_may_talk_in_another_conversation_that_has_its_own(self) -> None:
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


# -- what is told to the model --------------------------------------------------------------------


async def test_a_thousand_segments_have_the_context_of_a_few() -> None:
    sm = manager(store=MemoryStore(), summary_max_tokens=200)
    await sm.user_says("My name is Ada Lovelace and my customer number is 4711.")
    for number in range(1_000):
        await sm.user_says(f"Could you tell me more about topic {number}, please?")
        await sm.ai_responds(f"We decided on plan {number}.")
    rows = apart(await sm.get_messages_for_llm())
    assert await TokenUsage.count_tokens(rows[0]["content"], "gpt-4o-mini") <= 210
    assert "other topics" in rows[0]["content"]
    assert [row["content"] for row in rows[1:]] == [
        "Could you tell me more about topic 999, please?",
        "We decided on plan 999.",
    ]


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
