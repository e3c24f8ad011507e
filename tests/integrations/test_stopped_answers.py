"""An answer that was stopped is a call, is billed, and stands with its question, however it was left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from places import Place, in_memory_too

from chuk_ai_session_manager import (
    PromptStrategy,
    SessionManager,
    StorageError,
    build_prompt_from_session,
    stream_llm_call,
    track_client,
)
from chuk_ai_session_manager.api.transfer import export_chat
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.models import EventSource, EventType, SessionEvent, TokenUsage
from chuk_ai_session_manager.providers.requests import request_text
from chuk_ai_session_manager.stores import MemoryStore

GPT = "gpt-4o-2024-08-06"
CLAUDE = "claude-sonnet-4-6"


@pytest.fixture
async def clients(address: str) -> AsyncIterator[tuple[AsyncOpenAI, AsyncAnthropic]]:
    openai = AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    anthropic = AsyncAnthropic(base_url=address, api_key="none", max_retries=0)
    async with openai, anthropic:
        yield openai, anthropic


async def opened(api: str, tracked: bool, clients: Any, sm: SessionManager, text: str) -> Any:
    """A stream of one of the APIs, by a tracked client or by `stream_llm_call`."""
    openai, anthropic = (track_client(each, sm) if tracked else each for each in clients)
    messages: Any = [{"role": "user", "content": text}]

    async def ask(_: str = "") -> Any:
        match api:
            case "chat":
                return await openai.chat.completions.create(model=GPT, messages=messages, stream=True)
            case "responses":
                return await openai.responses.create(model=GPT, input=text, stream=True)
            case _:
                return await anthropic.messages.create(
                    model=CLAUDE, max_tokens=9, messages=messages, stream=True
                )

    return await ask() if tracked else stream_llm_call(text, ask, session_manager=sm)


async def read_until(stream: Any, is_enough: Callable[[Any], bool]) -> None:
    async for piece in stream:
        if is_enough(piece):
            break


def says(word: str) -> Callable[[Any], bool]:
    return lambda piece: word in piece.model_dump_json()


async def events_of(sm: SessionManager, store: Any) -> list[SessionEvent[Any]]:
    session = await store.get(sm.session_id)
    return session.events if session is not None else []


# What the user says, the word at which the reader stops, and what came by then beside the text.
STOPS = [
    ("think", "Let me", "", "Let me"),
    ("think", " think", "", "Let me think"),
    ("think hard", "said:", "You said:", "Let me think about that."),
    ("weather", "Lis", "You said: weather", '{"city": "Lis'),
]


@pytest.mark.parametrize("tracked", [False, True], ids=["function", "client"])
@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
@pytest.mark.parametrize(("text", "word", "said", "beside"), STOPS)
async def test_a_stopped_answer_is_one_call_with_its_input_and_output(
    api: str, tracked: bool, text: str, word: str, said: str, beside: str, clients: Any
) -> None:
    store = MemoryStore()
    sm = SessionManager(store=store, model=CLAUDE if api == "messages" else GPT)
    stream = await opened(api, tracked, clients, sm, text)
    await read_until(stream, says(word.strip('"')))
    await (stream.close() if tracked else stream.aclose())
    question, answer = await events_of(sm, store)
    assert answer.parent_event_id == question.id
    assert answer.metadata["interrupted"] is True
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["usage_source"]) == (1, "estimated")
    around = 3 + 3  # what goes around the message, and the beginning of the answer
    sent = 1000 if api == "messages" else await TokenUsage.count_tokens(text, GPT) + around
    assert stats["input_tokens"] == sent
    assert stats["cache_read_tokens"] == (600 if api == "messages" else 0)
    least = await TokenUsage.count_tokens(said + beside, GPT)
    assert least <= stats["output_tokens"] <= 3 * least + 10
    assert stats["estimated_cost"] > 0


@pytest.mark.parametrize("tracked", [False, True], ids=["function", "client"])
@pytest.mark.parametrize("api", ["chat", "responses", "messages"])
async def test_an_answer_that_was_stopped_before_its_first_word(
    api: str, tracked: bool, clients: Any
) -> None:
    store = MemoryStore()
    sm = SessionManager(store=store)
    stream = await opened(api, tracked, clients, sm, "think")
    await read_until(stream, lambda _: True)
    await (stream.close() if tracked else stream.aclose())
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["output_tokens"]) == (1, 1 if api == "messages" else 0)
    assert stats["input_tokens"] >= 1
    assert await sm.get_messages_for_llm() == [{"role": "user", "content": "think"}]


async def test_a_stream_that_nobody_began_to_read_was_a_call(clients: Any) -> None:
    for closes in (True, False):
        sm = SessionManager()
        stream = await opened("chat", True, clients, sm, "hello")
        if closes:
            await stream.close()
        else:
            await sm.user_says("never mind")
        stats = await sm.get_stats()
        assert (stats["llm_calls"], stats["ai_messages"]) == (1, 1)


async def test_a_call_that_failed_before_anything_came_is_not_billed() -> None:
    async def ask(prompt: str) -> AsyncIterator[str]:
        raise ConnectionRefusedError
        yield ""

    sm = SessionManager()
    with pytest.raises(ConnectionRefusedError):
        await read_until(stream_llm_call("hello", ask, session_manager=sm), lambda _: True)
    assert (await sm.get_stats())["llm_calls"] == 0


async def test_an_answer_that_was_cancelled_before_any_output(clients: Any) -> None:
    asked = asyncio.Event()

    async def ask(prompt: str) -> AsyncIterator[str]:
        asked.set()
        await asyncio.sleep(60)
        yield ""

    sm = SessionManager(model=GPT)
    stream = stream_llm_call("hello", ask, session_manager=sm)
    task = asyncio.create_task(read_until(stream, lambda _: True))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["input_tokens"], stats["output_tokens"]) == (1, 1 + 6, 0)


async def test_a_connection_that_breaks_leaves_a_call(clients: Any) -> None:
    """The server hangs up as if that were the end: with what the provider had said of the input."""
    sm = SessionManager()
    stream = await opened("messages", True, clients, sm, "cut")
    await read_until(stream, lambda _: False)
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["input_tokens"], stats["cache_write_tokens"]) == (1, 1000, 300)
    assert stats["output_tokens"] >= 3


async def test_the_input_is_all_of_the_request_not_the_question_alone(clients: Any) -> None:
    store = MemoryStore()
    sm = SessionManager(store=store)
    client = track_client(clients[0], sm)
    request: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "Be brief. " * 20},
            {"role": "user", "content": "an earlier question " * 30},
            {"role": "assistant", "content": "an earlier answer " * 30},
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    }
    stream: Any = await client.chat.completions.create(model=GPT, stream=True, **request)
    await read_until(stream, lambda _: True)
    await stream.close()
    # Of OpenAI's cookbook: three tokens around each message, and three with which the answer begins.
    expected = await TokenUsage.count_tokens(request_text(request), GPT) + 4 * 3 + 3
    assert (await sm.get_stats())["input_tokens"] == expected > 200

    told = SessionManager(system_prompt="Be brief. " * 20, model=GPT)
    await told.user_says("an earlier question " * 30)
    await told.ai_responds("an earlier answer " * 30, usage={"input_tokens": 0, "output_tokens": 0})
    stream = await opened("chat", False, clients, told, "hello")
    await read_until(stream, lambda _: True)
    await stream.aclose()
    assert (await told.get_stats())["input_tokens"] > 200


async def test_ten_stopped_calls_reach_the_limit(clients: Any) -> None:
    sm = SessionManager(cost_limit=0.003)
    held: list[Any] = []
    with suppress(TokenLimitExceeded):
        for number in range(10):
            stream = await opened("messages", number % 2 == 0, clients, sm, "think")
            await read_until(stream, says("Let me"))
            held.append(stream)
    assert 1 <= len(held) < 10
    assert (await sm.get_stats())["llm_calls"] == len(held)


# -- where it stands ------------------------------------------------------------------------------


async def story(prompt: str) -> AsyncIterator[str]:
    for piece in ("Once", " upon", " a", " time"):
        yield piece


Leave = Callable[[Any], Awaitable[object]]


async def breaks(stream: Any) -> None:
    await read_until(stream, lambda _: True)


async def closes(stream: Any) -> None:
    await breaks(stream)
    await stream.aclose()


async def raises(stream: Any) -> None:
    with suppress(ZeroDivisionError):
        async for _ in stream:
            raise ZeroDivisionError


async def is_cancelled(stream: Any) -> asyncio.Task[None]:
    """Its reader is cancelled, and nobody waits for that."""
    came = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            came.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(read())
    await came.wait()
    task.cancel()
    return task


LEAVING: list[Leave] = [breaks, closes, raises, is_cancelled]


@in_memory_too
@pytest.mark.parametrize("held", [False, True], ids=["dropped", "held"])
@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize("infinite", [False, True])
async def test_a_stopped_answer_follows_its_question_in_every_view(
    place: Place, held: bool, infinite: bool
) -> None:
    async with place.store() as store, place.store() as other:
        for leave in LEAVING:
            # With infinite context, the second question opens a new segment.
            sm = SessionManager(store=store, infinite_context=infinite, max_turns_per_segment=3, model=GPT)
            await sm.user_says("Who are you?")
            await sm.ai_responds("A teller of tales.")
            first_id = sm.session_id
            stream = stream_llm_call("Tell one.", story, GPT, session_manager=sm)
            left = await leave(stream)
            if not held:
                del stream, left
                gc.collect()
            assert [row["content"] for row in await sm.get_messages_for_llm()][-1] == "Once"
            await sm.user_says("And then?")
            await sm.ai_responds("They lived.")
            expected = ["Who are you?", "A teller of tales.", "Tell one.", "Once", "And then?", "They lived."]
            for reader in (sm, SessionManager(first_id, store=other)):
                said = await reader.get_conversation()
                assert [row["content"] for row in said] == expected, leave
                context = [row["content"] for row in await reader.get_messages_for_llm()]
                assert context[-2:] == expected[-2:]
                assert infinite or context == expected
            chat = (await export_chat(first_id, other))["messages"]
            assert [row["content"] for row in chat] == expected
            assert (await sm.get_stats())["llm_calls"] == 3


@in_memory_too
@pytest.mark.parametrize("infinite", [False, True])
async def test_what_is_read_later_is_told_whole_in_its_place_and_billed_once(
    place: Place, infinite: bool
) -> None:
    heard: list[list[str]] = []

    def summary(rows: list[dict[str, Any]]) -> str:
        heard.append([row["content"] for row in rows])
        return "Tales."

    async with place.store() as store, place.store() as other:
        sm = SessionManager(
            store=store,
            infinite_context=infinite,
            max_turns_per_segment=2,
            model=GPT,
            summary_callback=summary,
        )
        stream = stream_llm_call("Tell one.", story, GPT, session_manager=sm)
        await breaks(stream)
        await sm.user_says("Another question.")
        assert "Once" in [row["content"] for row in await sm.get_conversation()]
        await read_until(stream, lambda _: False)
        whole, expected = "Once upon a time", ["Tell one.", "Once upon a time", "Another question."]
        for reader in (sm, SessionManager(sm.session_id, store=other)):
            assert [row["content"] for row in await reader.get_conversation()] == expected
            context = [row["content"] for row in await reader.get_messages_for_llm()]
            assert [context[-3].rpartition("\n")[2], *context[-2:]] == expected
            assert [r["content"] for r in await reader.get_messages_for_llm(include_tools=True)] == context
            fitting = await reader.get_messages_for_llm(max_tokens=1000, model=GPT)
            assert [row["content"] for row in fitting] == context
        stats = await sm.get_stats()
        assert (stats["llm_calls"], stats["ai_messages"], stats["total_messages"]) == (1, 1, 3)
        lengths = [await TokenUsage.count_tokens(text, GPT) for text in expected]
        assert stats["total_tokens"] == sum(lengths)
        assert stats["output_tokens"] == await TokenUsage.count_tokens(whole, GPT)
        if infinite:
            await sm.ai_responds("An answer.")
            await sm.user_says("opens the next segment")
            await sm.wait_for_summaries()
            assert heard[0] == ["Tell one.", "Once"]
            assert heard[1][1:] == [*expected, "An answer."]
        else:
            session = await other.get(sm.session_id)
            assert session is not None
            prompt = await build_prompt_from_session(session, PromptStrategy.CHAT)
            assert [row["content"] for row in prompt] == expected


async def test_the_whole_answer_s_own_bill_replaces_the_estimate(clients: Any) -> None:
    store = MemoryStore()
    sm = SessionManager(store=store)
    stream = await opened("messages", True, clients, sm, "hello")
    await read_until(stream, says("said:"))
    await sm.user_says("and")
    before = await sm.get_stats()
    assert (before["llm_calls"], before["usage_source"]) == (1, "estimated")
    await read_until(stream, lambda _: False)
    after = await sm.get_stats()
    assert (after["llm_calls"], after["input_tokens"], after["output_tokens"]) == (1, 1000, 3)
    assert (after["usage_source"], after["cache_read_tokens"]) == ("reported", 600)
    fresh = SessionManager()
    await track_client(clients[1], fresh).messages.create(
        model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": "hello"}]
    )
    assert after["estimated_cost"] == pytest.approx((await fresh.get_stats())["estimated_cost"])


async def test_answers_of_questions_that_were_asked_at_once_stand_with_them() -> None:
    sm = SessionManager()
    asked = asyncio.Barrier(3)

    async def slow(prompt: str) -> AsyncIterator[str]:
        await asked.wait()
        await asyncio.sleep(0.01 * (3 - int(prompt)))
        yield f"answer {prompt}"

    reading = (stream_llm_call(str(n), slow, GPT, session_manager=sm) for n in range(3))
    await asyncio.gather(*(read_until(each, lambda _: False) for each in reading))
    said = [row["content"] for row in await sm.get_conversation()]
    assert said == ["0", "answer 0", "1", "answer 1", "2", "answer 2"]
    assert [row["content"] for row in await sm.get_messages_for_llm()] == said


async def test_reading_while_somebody_reads_the_stream_stores_nothing() -> None:
    store = MemoryStore()
    sm = SessionManager(store=store)
    goes_on = asyncio.Event()

    async def slow(prompt: str) -> AsyncIterator[str]:
        yield "Once"
        await goes_on.wait()
        yield " more"

    stream = stream_llm_call("q", slow, GPT, session_manager=sm)
    came = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            came.set()

    reading = asyncio.create_task(read())
    await came.wait()
    await asyncio.sleep(0)
    for _ in range(3):
        await sm.get_conversation()
        await sm.get_stats()
    assert len(await events_of(sm, store)) == 1
    goes_on.set()
    await reading
    assert [event.message for event in await events_of(sm, store)] == ["q", "Once more"]
    assert sm.writer.unfinished == []


class Failing(MemoryStore):
    fails = False

    async def append(self, session: Any, events: Any, *, only_if_current: bool = False) -> bool:
        if self.fails:
            raise StorageError("down")
        return await super().append(session, events, only_if_current=only_if_current)


async def test_a_part_that_could_not_be_stored_is_lost_to_nothing() -> None:
    store = Failing()
    sm = SessionManager(store=store, model=GPT)
    stream = stream_llm_call("q", story, GPT, session_manager=sm)
    await breaks(stream)
    store.fails = True
    with pytest.raises(StorageError):
        await sm.user_says("next")
    store.fails = False
    await sm.user_says("next")
    await read_until(stream, lambda _: False)
    assert [row["content"] for row in await sm.get_conversation()] == ["q", "Once upon a time", "next"]
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["ai_messages"]) == (1, 1)


class Slow(MemoryStore):
    """A store whose appends wait while it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self.is_asked = asyncio.Event()

    async def append(self, session: Any, events: Any, *, only_if_current: bool = False) -> bool:
        self.is_asked.set()
        await self.may_go_on.wait()
        return await super().append(session, events, only_if_current=only_if_current)


async def test_an_answer_that_ends_while_a_question_stores_other_parts_is_stored_once() -> None:
    store = Slow()
    sm = SessionManager(store=store, model=GPT)
    left = stream_llm_call("q1", story, GPT, session_manager=sm)
    ends = stream_llm_call("q2", story, GPT, session_manager=sm)
    for stream in (left, ends, left):
        await breaks(stream)
    store.may_go_on.clear()
    store.is_asked.clear()
    asking = asyncio.create_task(sm.user_says("q3"))
    await store.is_asked.wait()  # with a part of the first answer
    reading = asyncio.create_task(read_until(ends, lambda _: False))
    for _ in range(20):  # until the answer waits for its turn
        await asyncio.sleep(0)
    assert len(sm.writer.unfinished) == 1
    store.may_go_on.set()
    await asyncio.gather(asking, reading)
    answers = [event for event in await events_of(sm, store) if event.source == EventSource.LLM]
    assert [event.message for event in answers].count("Once upon a time") == 1
    assert (await sm.get_stats())["llm_calls"] == 2


async def test_a_cut_call_is_closed_in_contexts_also_where_its_result_came(clients: Any) -> None:
    sm = SessionManager()
    stream = await opened("messages", True, clients, sm, "weather")
    await read_until(stream, says("Lis"))
    await sm.user_says("go on")
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "user"]
    assert rows[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": "{}"}
    session = sm._session
    assert session is not None
    answer = next(event for event in session.events if event.source == EventSource.LLM)
    assert answer.type == EventType.MESSAGE
    assert answer.message["tool_calls"][0]["function"]["arguments"] == '{"city": "Lis'
