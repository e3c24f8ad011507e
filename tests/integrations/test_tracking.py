"""Model calls tracked through the real SDKs, against a server that speaks their wire formats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import genai_prices
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI, OpenAI
from places import Place, in_memory_too
from running import in_time
from tracked import CLAUDE, GPT, events_of, rows_of, said

from chuk_ai_session_manager import (
    SessionManager,
    StorageError,
    stream_llm_call,
    track_client,
    track_llm_call,
)
from chuk_ai_session_manager.exceptions import InvalidInput, TokenLimitExceeded
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.stores import MemoryStore


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
    has_begun = asyncio.Event()

    async def hang(prompt: str) -> str:
        has_begun.set()
        await asyncio.sleep(3_600)
        return "late"

    task = asyncio.create_task(track_llm_call("hello", hang, session_manager=sm))
    await in_time(has_begun.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event.message for event in await events_of(sm)] == ["hello", {"error": "CancelledError"}]


async def test_what_is_not_understood_is_an_error_after_the_question() -> None:
    sm = SessionManager()

    class Odd:
        pass

    with pytest.raises(InvalidInput, match="Odd is not a known response"):
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


def give(response: object, _: str) -> object:
    return response


class WaitingStore(MemoryStore):
    """Appends when it may, and fails when told to."""

    fails = False

    def __init__(self) -> None:
        super().__init__()
        self.may_append = asyncio.Event()
        self.may_append.set()
        self.is_appending = asyncio.Event()
        self.has_appended = asyncio.Event()

    async def append(self, session: Any, events: Any, *, only_if_current: bool = False) -> bool:
        self.has_appended.clear()
        self.is_appending.set()
        await self.may_append.wait()
        self.is_appending.clear()
        if self.fails:
            raise StorageError("down")
        was_stored = await super().append(session, events, only_if_current=only_if_current)
        self.has_appended.set()
        return was_stored


class TestRecording:
    """What becomes of a call is recorded, or else the caller still has the model's own outcome."""

    async def test_an_answer_that_is_being_stored_is_stored_also_where_its_reader_is_cancelled(self) -> None:
        store = WaitingStore()
        sm = SessionManager(store=store)
        answered = asyncio.Event()

        async def ask(prompt: str) -> str:
            answered.set()
            store.may_append.clear()
            return "paid for"

        task = asyncio.create_task(track_llm_call("hello", ask, session_manager=sm))
        await answered.wait()
        await store.is_appending.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.is_appending.is_set()  # the answer is still on its way
        store.may_append.set()
        await in_time(store.has_appended.wait())
        assert [row["content"] for row in await sm.get_conversation()] == ["hello", "paid for"]

    @pytest.mark.parametrize("streams", [False, True])
    async def test_the_model_s_error_arrives_also_where_it_cannot_be_recorded(
        self, streams: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = WaitingStore()
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
        sm.writer.allowance.limits = replace(sm.writer.allowance.limits, tokens=1)
        with pytest.raises(TokenLimitExceeded):
            await track_llm_call("four or more", lambda _: "x", session_manager=sm)
        sm.writer.allowance.limits = replace(sm.writer.allowance.limits, tokens=None)
        assert sm.writer.is_asked == set()
        failures = [event.message for event in await events_of(sm) if event.type == EventType.REFERENCE]
        assert failures == [{"error": "InvalidInput"}] * 3 + [{"error": "TypeError"}]
        await client.chat.completions.create(model=GPT, messages=said("three"))
        assert (await rows_of(sm)).count("three") == 1

    async def test_a_half_character_of_a_model_s_loses_no_answer(self) -> None:
        sm = SessionManager()
        await track_llm_call("hello", lambda _: "half \ud83d", session_manager=sm)
        assert (await rows_of(sm))[1] == r"half \ud83d"
