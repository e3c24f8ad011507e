"""Model calls tracked through the real SDKs, against a server that speaks their wire formats."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import genai_prices
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI, OpenAI
from places import Place, in_memory_too

from chuk_ai_session_manager import (
    SessionManager,
    StorageError,
    stream_llm_call,
    track_client,
    track_llm_call,
)
from chuk_ai_session_manager.exceptions import InvalidInput, TokenLimitExceeded
from chuk_ai_session_manager.models import EventType, SessionEvent
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic
from chuk_ai_session_manager.providers.messages import INTERRUPTED
from chuk_ai_session_manager.providers.requests import asked_rows
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import MemoryStore

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import local_llm

GPT = "gpt-4o-2024-08-06"
CLAUDE = "claude-sonnet-4-6"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with local_llm.running() as address:
        yield address


@pytest.fixture
async def gpt(address: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(address: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=address, api_key="none", max_retries=0) as client:
        yield client


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def events_of(sm: SessionManager) -> list[SessionEvent[Any]]:
    session = await get_backend().get(sm.session_id)
    assert session is not None
    return session.events


async def rows_of(sm: SessionManager) -> list[Any]:
    return [row["content"] for row in await sm.get_conversation()]


def price(model: str, provider: str, **tokens: int) -> float:
    usage = genai_prices.Usage(**tokens)
    return float(genai_prices.calc_price(usage, model_ref=model, provider_id=provider).total_price)


# -- whole answers ----------------------------------------------------------------------------------


async def test_a_chat_completion_of_openai_s_sdk(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    text, session_id = await track_llm_call(
        "hello",
        lambda prompt: gpt.chat.completions.create(model=GPT, messages=said(prompt)),
        session_manager=sm,
    )
    assert (text, session_id) == ("You said: hello", sm.session_id)
    question, answer = await events_of(sm)
    assert answer.message == text
    assert answer.parent_event_id == question.id
    assert answer.metadata | {"timestamp": ""} == {
        "model": GPT, "provider": "openai", "finish_reason": "stop", "timestamp": "",
    }  # fmt: skip
    stats = await sm.get_stats()
    assert (stats["input_tokens"], stats["cache_read_tokens"], stats["output_tokens"]) == (1000, 400, 3)
    cost = price(GPT, "openai", input_tokens=1000, cache_read_tokens=400, output_tokens=3)
    assert stats["estimated_cost"] == pytest.approx(cost, abs=1e-9)


async def test_a_response_of_openai_s_sdk(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    await track_llm_call(
        "hello", lambda prompt: gpt.responses.create(model=GPT, input=prompt), session_manager=sm
    )
    assert await rows_of(sm) == ["hello", "You said: hello"]
    assert (await sm.get_stats())["usage_source"] == "reported"


async def test_a_message_of_anthropic_s_sdk(claude: AsyncAnthropic) -> None:
    sm = SessionManager()

    async def ask(prompt: str) -> Any:
        return await claude.messages.create(model=CLAUDE, max_tokens=10, messages=said(prompt))

    await track_llm_call("hello", ask, session_manager=sm)
    assert await rows_of(sm) == ["hello", "You said: hello"]
    stats = await sm.get_stats()
    assert (stats["input_tokens"], stats["cache_read_tokens"], stats["cache_write_tokens"]) == (
        1000,
        600,
        300,
    )
    cost = price(
        CLAUDE, "anthropic", input_tokens=1000, cache_read_tokens=600, cache_write_tokens=300, output_tokens=3
    )
    assert stats["estimated_cost"] == pytest.approx(cost, abs=1e-9)


def test_a_cached_prompt_costs_what_the_price_list_says() -> None:
    """1,000 tokens in, 400 of them cached, 100 out: each token is billed once, cached ones at their price."""
    whole = price(GPT, "openai", input_tokens=1000, output_tokens=100)
    cached = price(GPT, "openai", input_tokens=1000, cache_read_tokens=400, output_tokens=100)
    assert cached < whole

    async def bill() -> float:
        sm = SessionManager()
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400},
        }
        await track_llm_call(
            "q",
            lambda _: {"model": GPT, "choices": [{"message": {"content": "a"}}], "usage": usage},
            session_manager=sm,
        )
        return float((await sm.get_stats())["estimated_cost"])

    assert asyncio.run(bill()) == pytest.approx(cached, abs=1e-9)


async def test_a_client_that_blocks_is_called_off_the_event_loop(address: str) -> None:
    with OpenAI(base_url=f"{address}/v1", api_key="none") as client:

        class Model:
            def ask(self, temperature: float, prompt: str) -> Any:
                return client.chat.completions.create(
                    model=GPT, messages=said(prompt), temperature=temperature
                )

        sm = SessionManager()
        assert (await track_llm_call("hello", partial(Model().ask, 0.5), session_manager=sm))[
            0
        ] == "You said: hello"


async def test_the_model_s_own_error_arrives_and_is_recorded(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    with pytest.raises(openai.InternalServerError, match="the model is down"):
        await track_llm_call(
            "fail",
            lambda prompt: gpt.chat.completions.create(model=GPT, messages=said(prompt)),
            session_manager=sm,
        )
    question, failure = await events_of(sm)
    assert (question.message, failure.type) == ("fail", EventType.REFERENCE)
    assert (failure.message, failure.parent_event_id) == ({"error": "InternalServerError"}, question.id)
    assert await rows_of(sm) == ["fail"]
    assert [row["content"] for row in await sm.get_messages_for_llm(include_tools=True)] == ["fail"]


async def test_a_cancelled_call_is_recorded_too() -> None:
    sm = SessionManager()
    task = asyncio.create_task(
        track_llm_call("hello", lambda _: asyncio.sleep(60, "late"), session_manager=sm)
    )
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event.message for event in await events_of(sm)] == ["hello", {"error": "CancelledError"}]


async def test_what_is_not_understood_is_an_error_after_the_question() -> None:
    sm = SessionManager()

    class Odd:
        pass

    with pytest.raises(InvalidInput, match="Odd is no known response"):
        await track_llm_call("hello", lambda _: Odd(), session_manager=sm)
    assert await rows_of(sm) == ["hello"]


async def test_tool_calls_are_kept() -> None:
    sm = SessionManager()
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    response = {"choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}}]}
    text, _ = await track_llm_call("hello", lambda _: response, model=GPT, session_manager=sm)
    assert text == ""
    await sm.tool_used("look_up", {}, "found", tool_call_id="c1")
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert rows[1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ]


@in_memory_too
async def test_forty_calls_at_once_on_ten_sessions(place: Place, gpt: AsyncOpenAI) -> None:
    async with place.store() as store:
        managers = [SessionManager(f"s{number}", store=store) for number in range(10)]

        async def ask(prompt: str) -> Any:
            return await gpt.chat.completions.create(model=GPT, messages=said(prompt))

        works = [
            track_llm_call(f"{sm.session_id}-{number}", ask, session_manager=sm)
            for number in range(4)
            for sm in managers
        ]
        await asyncio.gather(*works)
        for sm in managers:
            session = await store.get(sm.session_id)
            assert session is not None
            by_id = {event.id: at for at, event in enumerate(session.events)}
            answers = [event for event in session.events if event.parent_event_id]
            assert len(session.events) == 8
            assert len(answers) == 4
            for answer in answers:
                asked = by_id[answer.parent_event_id or ""]
                assert asked < by_id[answer.id]
                assert answer.message == f"You said: {session.events[asked].message}"
            questions = [event.message for event in session.events if not event.parent_event_id]
            assert questions == [f"{sm.session_id}-{number}" for number in range(4)]


async def test_a_response_may_be_given_to_the_manager_itself(claude: AsyncAnthropic) -> None:
    sm = SessionManager()
    await sm.user_says("hello")
    await sm.ai_responds(await claude.messages.create(model=CLAUDE, max_tokens=10, messages=said("hello")))
    row = (await sm.get_stats())["output_tokens"], (await events_of(sm))[1].metadata["model"]
    assert row == (3, CLAUDE)


# -- streams ----------------------------------------------------------------------------------------


async def plain(prompt: str) -> AsyncIterator[str]:
    for piece in local_llm.answer_to({"input": prompt}):
        yield piece


def give(response: object, _: str) -> object:
    return response


def streaming(client: Any, prompt: str) -> Any:
    """What OpenAI's client gives, async or not, for an answer that streams, usage included."""
    options = {"include_usage": True}
    return client.chat.completions.create(
        model=GPT, messages=said(prompt), stream=True, stream_options=options
    )


class TestStreams:
    async def check(self, sm: SessionManager, usage_source: str = "reported") -> None:
        question, answer = await events_of(sm)
        assert answer.message == "You said: hello"
        assert answer.parent_event_id == question.id
        assert "interrupted" not in answer.metadata
        stats = await sm.get_stats()
        assert stats["usage_source"] == usage_source
        if usage_source == "reported":
            assert stats["input_tokens"] == 1000

    async def test_openai_s_chunks(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()

        stream = stream_llm_call("hello", partial(streaming, gpt), session_manager=sm)
        pieces = [piece.choices[0].delta.content async for piece in stream if piece.choices]
        assert pieces == ["You", " said:", " hello", None]
        assert (stream.text, stream.session_id) == ("You said: hello", sm.session_id)
        await self.check(sm)
        assert (await events_of(sm))[1].metadata["finish_reason"] == "stop"

    async def test_openai_s_response_events(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        ask = partial(gpt.responses.create, model=GPT, stream=True)
        kinds = [
            event.type async for event in stream_llm_call("hello", lambda p: ask(input=p), session_manager=sm)
        ]
        assert kinds[-1] == "response.completed"
        await self.check(sm)

    async def test_anthropic_s_events(self, claude: AsyncAnthropic) -> None:
        sm = SessionManager()

        async def ask(prompt: str) -> Any:
            return await claude.messages.create(
                model=CLAUDE, max_tokens=10, messages=said(prompt), stream=True
            )

        async for _ in stream_llm_call("hello", ask, session_manager=sm):
            pass
        await self.check(sm)
        assert (await sm.get_stats())["cache_write_tokens"] == 300

    async def test_anthropic_s_stream_manager(self, claude: AsyncAnthropic) -> None:
        sm = SessionManager()

        def ask(prompt: str) -> Any:
            return claude.messages.stream(model=CLAUDE, max_tokens=10, messages=said(prompt))

        async for _ in stream_llm_call("hello", ask, session_manager=sm):
            pass
        await self.check(sm)

    @pytest.mark.parametrize("kind", ["async", "sync", "list", "whole"])
    async def test_plain_texts(self, kind: str) -> None:
        sm = SessionManager()
        pieces = local_llm.answer_to({"input": "hello"})
        functions: dict[str, Any] = {
            "async": plain,
            "sync": lambda prompt: iter(pieces),
            "list": lambda prompt: pieces,
            "whole": lambda prompt: "You said: hello",
        }
        got = [piece async for piece in stream_llm_call("hello", functions[kind], GPT, session_manager=sm)]
        assert "".join(got) == "You said: hello"
        await self.check(sm, "estimated")

    async def test_a_client_that_blocks(self, address: str) -> None:
        with OpenAI(base_url=f"{address}/v1", api_key="none") as client:
            sm = SessionManager()
            async for _ in stream_llm_call("hello", partial(streaming, client), session_manager=sm):
                pass
            await self.check(sm)


class TestInterrupted:
    """The text so far is kept, and said to be no more than that."""

    async def check(self, sm: SessionManager, text: str, *failure: str) -> None:
        events = await events_of(sm)
        assert events[1].message == text
        assert events[1].metadata["interrupted"] is True
        assert events[1].parent_event_id == events[0].id
        assert [event.message for event in events[2:]] == [{"error": name} for name in failure]

    async def test_the_stream_breaks(self) -> None:
        sm = SessionManager()

        async def ask(prompt: str) -> AsyncIterator[str]:
            yield "Once upon"
            yield " a time"
            raise ConnectionError("cut")

        with pytest.raises(ConnectionError, match="cut"):
            async for _ in stream_llm_call("hello", ask, GPT, session_manager=sm):
                pass
        await self.check(sm, "Once upon a time", "ConnectionError")

    async def test_the_connection_is_closed_as_if_that_were_the_end(
        self, gpt: AsyncOpenAI, claude: AsyncAnthropic
    ) -> None:
        for ask in (
            lambda prompt: gpt.chat.completions.create(model=GPT, messages=said(prompt), stream=True),
            lambda prompt: claude.messages.create(
                model=CLAUDE, max_tokens=9, messages=said(prompt), stream=True
            ),
        ):
            sm = SessionManager()
            async for _ in stream_llm_call("cut", ask, session_manager=sm):
                pass
            await self.check(sm, "You said: cut", "ConnectionResetError")
            assert (await sm.get_stats())["usage_source"] == "estimated"

    async def test_the_reader_goes_away(self) -> None:
        sm = SessionManager()
        async for _ in stream_llm_call("hello there", plain, GPT, session_manager=sm):
            break
        gc.collect()
        for _ in range(100):
            if len(await events_of(sm)) > 1:
                break
            await asyncio.sleep(0.01)
        await self.check(sm, "You")

    async def test_the_reader_closes_it(self) -> None:
        sm = SessionManager()
        stream = stream_llm_call("hello there", plain, GPT, session_manager=sm)
        async with aclosing(stream):
            async for _ in stream:
                break
        await self.check(sm, "You")

    async def test_the_reader_is_cancelled(self) -> None:
        sm = SessionManager()

        async def hang(prompt: str) -> AsyncIterator[str]:
            yield "Once"
            await asyncio.sleep(60)
            yield " more"

        async def read() -> None:
            async for _ in stream_llm_call("hello", hang, GPT, session_manager=sm):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.check(sm, "Once", "CancelledError")

    async def test_who_leaves_after_the_end_was_said_interrupts_nothing(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()

        async def ask(prompt: str) -> Any:
            return await gpt.chat.completions.create(model=GPT, messages=said(prompt), stream=True)

        stream = stream_llm_call("hello", ask, session_manager=sm)
        async with aclosing(stream):
            async for piece in stream:
                if piece.choices[0].finish_reason:
                    break
        assert "interrupted" not in (await events_of(sm))[1].metadata

    async def test_a_stream_of_what_is_not_understood(self) -> None:
        sm = SessionManager()
        with pytest.raises(InvalidInput, match="object is no known response"):
            async for _ in stream_llm_call("hello", lambda p: [object()], session_manager=sm):
                pass
        assert await rows_of(sm) == ["hello"]


class SlowStore(MemoryStore):
    """Takes its time to append, and fails when told to."""

    fails = False

    def __init__(self) -> None:
        super().__init__()
        self.is_appending = asyncio.Event()
        self.has_appended = asyncio.Event()

    async def append(self, session: Any, events: Any, *, only_if_current: bool = False) -> bool:
        self.has_appended.clear()
        self.is_appending.set()
        await asyncio.sleep(0.05)
        self.is_appending.clear()
        if self.fails:
            raise StorageError("down")
        was_stored = await super().append(session, events, only_if_current=only_if_current)
        self.has_appended.set()
        return was_stored


class TestRecording:
    """What becomes of a call is recorded, or else the caller still has the model's own outcome."""

    async def test_an_answer_that_is_being_stored_is_stored_also_where_its_reader_is_cancelled(self) -> None:
        store = SlowStore()
        sm = SessionManager(store=store)
        answered = asyncio.Event()

        async def ask(prompt: str) -> str:
            answered.set()
            return "paid for"

        task = asyncio.create_task(track_llm_call("hello", ask, session_manager=sm))
        await answered.wait()
        await store.is_appending.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.is_appending.is_set()  # the answer is still on its way
        await store.has_appended.wait()
        assert [row["content"] for row in await sm.get_conversation()] == ["hello", "paid for"]

    @pytest.mark.parametrize("streams", [False, True])
    async def test_the_model_s_error_arrives_also_where_it_cannot_be_recorded(
        self, streams: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = SlowStore()
        sm = SessionManager(store=store)

        async def ask(prompt: str) -> str:
            store.fails = True
            raise ConnectionError("model down")

        async def stream(prompt: str) -> AsyncIterator[str]:
            yield "secret"
            store.fails = True
            raise ConnectionError("model down")

        async def read() -> None:
            async for _ in stream_llm_call("hello", stream, session_manager=sm):
                pass

        with pytest.raises(ConnectionError, match="model down"):
            await (read() if streams else track_llm_call("hello", ask, session_manager=sm))
        assert "was not stored: StorageError" in caplog.text
        assert "secret" not in caplog.text

    async def test_a_question_is_over_however_its_call_ends(self, gpt: AsyncOpenAI) -> None:
        """Else a later request that says it again would not find it said."""
        sm = SessionManager()
        client = track_client(gpt, sm)
        with pytest.raises(InvalidInput):
            await track_llm_call("one", lambda _: object(), session_manager=sm)
        for odd in (object(), [object()]):
            with pytest.raises(InvalidInput):
                async for _ in stream_llm_call("two", partial(give, odd), session_manager=sm):
                    pass
        with pytest.raises(TypeError):
            await client.chat.completions.create(messages=said("three"))  # type: ignore[call-overload]
        sm.writer.limits = replace(sm.writer.limits, tokens=1)
        with pytest.raises(TokenLimitExceeded):
            await track_llm_call("four or more", lambda _: "x", session_manager=sm)
        sm.writer.limits = replace(sm.writer.limits, tokens=None)
        assert sm.writer.is_asked == set()
        failures = [event.message for event in await events_of(sm) if event.type == EventType.REFERENCE]
        assert failures == [{"error": "InvalidInput"}] * 3 + [{"error": "TypeError"}]
        await client.chat.completions.create(model=GPT, messages=said("three"))
        assert (await rows_of(sm)).count("three") == 1

    async def test_a_half_character_of_a_model_s_loses_no_answer(self) -> None:
        sm = SessionManager()
        await track_llm_call("hello", lambda _: "half \ud83d", session_manager=sm)
        assert (await rows_of(sm))[1] == r"half \ud83d"


class Blocking:
    """A stream that blocks, and notes whether it was closed."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = iter(pieces)
        self.is_closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        time.sleep(0.2)
        return next(self._pieces)

    def close(self) -> None:
        self.is_closed = True


async def test_a_stream_that_blocks_does_not_block_the_event_loop_and_is_closed() -> None:
    source = Blocking(["a", "b"])
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    stream = stream_llm_call("hello", lambda _: source, session_manager=SessionManager())
    async with aclosing(stream):
        async for _ in stream:
            break
    ticking.cancel()
    assert ticks >= 5
    assert source.is_closed


async def test_an_async_stream_is_closed_when_its_reader_goes() -> None:
    closed = asyncio.Event()

    async def source(prompt: str) -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.set()

    stream = stream_llm_call("hello", source, session_manager=SessionManager())
    async with aclosing(stream):
        async for _ in stream:
            break
    assert closed.is_set()


async def test_a_whole_response_where_a_stream_was_meant_keeps_its_bill(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()

    async def ask(prompt: str) -> Any:
        return await gpt.chat.completions.create(model=GPT, messages=said(prompt))

    assert [piece async for piece in stream_llm_call("hello", ask, session_manager=sm)] == ["You said: hello"]
    assert (await sm.get_stats())["input_tokens"] == 1000


# -- clients ----------------------------------------------------------------------------------------


class TestClient:
    async def test_a_chat_whose_application_keeps_the_messages(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        client = track_client(gpt, sm)
        messages: list[Any] = [{"role": "system", "content": "Be brief."}]
        for text in ("one", "two", "two"):
            messages.append({"role": "user", "content": text})
            completion = await client.chat.completions.create(model=GPT, messages=messages)
            messages.append(completion.choices[0].message)
        assert await rows_of(sm) == ["one", "You said: one", "two", "You said: two", "two", "You said: two"]
        assert sm.system_prompt == "Be brief."
        events = await events_of(sm)
        assert [event.parent_event_id for event in events[1::2]] == [event.id for event in events[::2]]
        assert (await sm.get_stats())["input_tokens"] == 3000

    async def test_what_was_recorded_before_the_call_is_not_recorded_again(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager(system_prompt="Be brief.")
        client = track_client(gpt, sm)
        for text in ("one", "two"):
            await sm.user_says(text)
            rows: Any = await sm.get_messages_for_llm()
            await client.chat.completions.create(model=GPT, messages=rows)
        assert await rows_of(sm) == ["one", "You said: one", "two", "You said: two"]
        events = await events_of(sm)
        assert events[3].parent_event_id == events[2].id

    async def test_streaming(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        client = track_client(gpt, sm)
        stream = await client.chat.completions.create(model=GPT, messages=said("hello"), stream=True)
        assert stream.response.status_code == 200
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(pieces) == "You said: hello"
        assert await rows_of(sm) == ["hello", "You said: hello"]
        async with await client.chat.completions.create(
            model=GPT, messages=said("again"), stream=True
        ) as stream:
            async for _ in stream:
                break
        events = await events_of(sm)
        assert events[-1].message == "You"
        assert events[-1].metadata["interrupted"] is True

    async def test_responses(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        client = track_client(gpt, sm)
        await client.responses.create(model=GPT, input="one", instructions="Be brief.")
        items: list[Any] = [
            {"role": "user", "content": "one"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "two"}]},
        ]
        async for _ in await client.responses.create(model=GPT, input=items, stream=True):
            pass
        assert await rows_of(sm) == ["one", "You said: one", "two", "You said: two"]
        assert sm.system_prompt == "Be brief."

    async def test_anthropic_with_a_tool_s_result(self, claude: AsyncAnthropic) -> None:
        sm = SessionManager()
        client = track_client(claude, sm)
        block = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"q": "a"}}
        await sm.user_says("look it up")
        function = {"name": "look_up", "arguments": '{"q": "a"}'}
        call = {"id": "toolu_1", "type": "function", "function": function}
        await sm.add_messages([{"role": "assistant", "content": None, "tool_calls": [call]}])
        messages: list[Any] = [
            {"role": "user", "content": "look it up"},
            {"role": "assistant", "content": [block]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "found"}],
            },
        ]
        await client.messages.create(model=CLAUDE, max_tokens=10, messages=messages)
        rows = await sm.get_messages_for_llm(include_tools=True)
        assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
        assert (await events_of(sm))[2].message["arguments"] == {"q": "a"}

    async def test_an_error_is_recorded_and_the_client_given_is_as_it_was(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        with pytest.raises(openai.InternalServerError):
            await track_client(gpt, sm).chat.completions.create(model=GPT, messages=said("fail"))
        await gpt.chat.completions.create(model=GPT, messages=said("untracked"))
        assert [event.message for event in await events_of(sm)] == ["fail", {"error": "InternalServerError"}]

    async def test_a_copy_with_options_is_tracked_too(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        client = track_client(gpt, sm).with_options(timeout=5)
        await client.chat.completions.create(model=GPT, messages=said("hello"))
        assert await rows_of(sm) == ["hello", "You said: hello"]
        assert client.base_url == gpt.base_url
        assert "hello" not in repr(client)

    async def test_the_same_question_twice_at_once_is_asked_twice(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        client = track_client(gpt, sm)
        ask = partial(client.chat.completions.create, model=GPT, messages=said("same"))
        await asyncio.gather(ask(), ask())
        events = await events_of(sm)
        assert sorted(event.message for event in events) == ["You said: same"] * 2 + ["same"] * 2
        assert len({event.parent_event_id for event in events if event.parent_event_id}) == 2

    async def test_a_question_is_not_recorded_again_when_a_failed_call_is_made_again(
        self, gpt: AsyncOpenAI
    ) -> None:
        sm = SessionManager()
        client = track_client(gpt, sm)
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model=GPT, messages=said("fail"))
        assert await rows_of(sm) == ["fail"]
        question, *failures = await events_of(sm)
        assert [event.parent_event_id for event in failures] == [question.id] * 2

    async def test_over_several_segments(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=2)
        client = track_client(gpt, sm)
        messages: list[Any] = []
        for text in ("one", "two", "three"):
            messages.append({"role": "user", "content": text})
            completion = await client.chat.completions.create(model=GPT, messages=messages)
            messages.append({"role": "assistant", "content": completion.choices[0].message.content})
        assert await rows_of(sm) == [
            "one",
            "You said: one",
            "two",
            "You said: two",
            "three",
            "You said: three",
        ]

    async def test_the_beginning_of_the_answer_is_no_question(self, claude: AsyncAnthropic) -> None:
        sm = SessionManager()
        messages: Any = iter([*said("hi"), {"role": "assistant", "content": "{"}])
        await track_client(claude, sm).messages.create(model=CLAUDE, max_tokens=10, messages=messages)
        assert (await rows_of(sm))[0] == "hi"

    @pytest.mark.parametrize(
        "block",
        [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        ],
    )
    def test_images_are_recorded_as_a_chat_has_them(self, block: dict[str, Any]) -> None:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        text = {"type": "text", "text": "see"}
        rows = asked_rows({"messages": [{"role": "user", "content": [text, block]}]})
        assert rows == [{"role": "user", "content": [text, picture]}]

    async def test_turns_that_for_anthropic_made_one_are_known(self, claude: AsyncAnthropic) -> None:
        sm = SessionManager()
        for text in ("a", "b"):
            await sm.user_says(text)
        request = for_anthropic(await sm.get_messages_for_llm())
        await track_client(claude, sm).messages.create(model=CLAUDE, max_tokens=9, **request)
        assert (await rows_of(sm))[:-1] == ["a", "b"]

    async def test_a_tool_s_result_is_known_by_its_call(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        client = track_client(gpt, sm)
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        await sm.add_messages([*said("go"), {"role": "assistant", "content": None, "tool_calls": [call]}])
        await sm.user_says("never mind")
        rows: Any = await sm.get_messages_for_llm(include_tools=True)
        assert rows[2]["content"] == INTERRUPTED
        await client.chat.completions.create(model=GPT, messages=rows)
        assert (await sm.get_stats())["tool_calls"] == 0  # the placeholder is no result
        await sm.tool_used("f", {}, {"a": 1}, tool_call_id="c1")
        messages: Any = [*rows[:2], {"role": "tool", "tool_call_id": "c1", "content": '{"a":1}'}]
        await client.chat.completions.create(model=GPT, messages=messages)
        assert (await sm.get_stats())["tool_calls"] == 1

    @pytest.mark.parametrize("part", ["chat.completions", "responses", "messages"])
    def test_the_sdks_own_helpers_are_refused_not_missed(
        self, part: str, gpt: AsyncOpenAI, claude: AsyncAnthropic
    ) -> None:
        client: Any = track_client(claude if part == "messages" else gpt, SessionManager())
        for name in part.split("."):
            client = getattr(client, name)
        with pytest.raises(InvalidInput, match=r"stream\(\) is not tracked: use .*create\(stream=True\)"):
            client.stream  # noqa: B018  (it is the looking up that raises)

    def test_a_client_that_blocks_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="no async client"):
            track_client(OpenAI(base_url="http://127.0.0.1:1", api_key="none"), SessionManager())
