"""Conversations that go on in new segments: nothing lost, the context bounded, at the same cost for ever."""

from __future__ import annotations

import asyncio
import gc
import json
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
from places import SPAWN, Place, everywhere, in_another_process, in_memory_too, on_each, run
from servers import PATIENCE, wait_until

from chuk_ai_session_manager import (
    InfiniteConversationManager,
    Session,
    SessionEvent,
    SessionManager,
    TokenUsage,
    get_conversation_history,
    get_session_stats,
    track_infinite_conversation,
)
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.messages import text_of
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.models.session import next_segment_id
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
    assert [row["content"] for row in await sm.get_conversation()] == [
        "" if content is None else content for content in said
    ]
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


async def test_the_thousandth_segment_asks_no_more_of_the_store_than_the_second() -> None:
    store = CountingStore()
    options: dict[str, Any] = {"store": store, "infinite_context": True, "max_turns_per_segment": 2}

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
        rows = await SessionManager("root", store=store, infinite_context=True).get_messages_for_llm()
        assert {"role": "user", "content": "Do it all."} in rows
        # Opened by the root's id, which leads to the live segment by the ids alone.
        costs.append(store.asked - before - 2 * len(await sm.get_session_chain()))
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
        objects = gc.get_objects()
        events = [one for one in objects if isinstance(one, SessionEvent)]
        assert len(events) <= 30
        assert sum(isinstance(one, Session) for one in objects) <= 4


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
        rows = await sm.get_messages_for_llm()
        assert rows[0]["content"] == "Previous conversation context: summary 4"
        assert len(rows) == 3

    @pytest.mark.parametrize("kind", ["async", "sync"])
    async def test_one_that_hangs_holds_nobody_up(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chuk_ai_session_manager.session_manager.PATIENCE", 0.05)

        async def callback(messages: list[dict[str, Any]]) -> str:
            await asyncio.sleep(3_600)
            return "late"

        sm = manager(callback if kind == "async" else lambda messages: time.sleep(3_600))
        async with asyncio.timeout(10):
            for number in range(12):
                await sm.user_says(f"What is the number {number} good for?")
                assert (await sm.get_messages_for_llm())[-1]["content"].startswith(
                    f"What is the number {number}"
                )
        assert "number 3" in (await sm.get_messages_for_llm())[0]["content"]

    async def test_after_one_timeout_those_that_waited_for_it_do_without(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chuk_ai_session_manager.session_manager.PATIENCE", 0.01)
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
        monkeypatch.setattr("chuk_ai_session_manager.session_manager.PATIENCE", 0.0)
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
        context = (await sm.get_messages_for_llm())[0]["content"]
        assert context == "Previous conversation context: " + "+".join(f"m{number}" for number in range(8))

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
        assert (await sm.get_messages_for_llm())[0]["content"].endswith("made")

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
        assert (await sm.get_messages_for_llm())[0]["content"].endswith("word word the end")

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


# -- what is told to the model --------------------------------------------------------------------


async def test_a_thousand_segments_have_the_context_of_a_few() -> None:
    sm = manager(store=MemoryStore(), summary_max_tokens=200)
    await sm.user_says("My name is Ada Lovelace and my customer number is 4711.")
    for number in range(1_000):
        await sm.user_says(f"Could you tell me more about topic {number}, please?")
        await sm.ai_responds(f"We decided on plan {number}.")
    rows = await sm.get_messages_for_llm()
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
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["content"] for row in rows[1:]] == ["Now be brief.", "three"]


async def test_a_result_in_the_next_segment_brings_its_call() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    sm = manager()
    await sm.add_messages(
        [
            {"role": "user", "content": "What time is it?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
    )
    # Somebody else's message opens the next segment before the result is there.
    await sm.ai_responds("Just a moment.")
    await sm.add_messages([{"role": "tool", "tool_call_id": "c1", "content": "noon"}])
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert is_valid(rows)
    assert "What time is it?" in json.dumps(rows)
    assert any(row.get("content") == "noon" for row in rows)


async def test_a_parent_of_the_application_s_is_another_conversation() -> None:
    store = MemoryStore()
    await SessionManager("parent", store=store).user_says("What is the secret of the parent?")
    sm = SessionManager("child", parent_id="parent", store=store, infinite_context=True)
    await sm.user_says("Hello")
    assert await sm.get_messages_for_llm() == [{"role": "user", "content": "Hello"}]


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
    assert (await sm.get_messages_for_llm())[0]["content"].endswith("context: Summary 0. Summary 1.")
    await sm.user_says("message 3")
    assert [row["content"] for row in await sm.get_conversation()] == [f"message {at}" for at in range(4)]
    assert (await sm.get_messages_for_llm())[0]["content"].startswith(
        "Previous conversation context: Summary 0. Summary 1."
    )
    assert await sm.get_session_chain() == ["old-0", "old-1", "old-2", next_segment_id("old-2")]
    context = await InfiniteConversationManager().build_context_for_llm("old-2")
    assert context[0]["content"] == "Previous conversation context: Summary 0. Summary 1."
