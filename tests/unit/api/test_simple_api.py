from __future__ import annotations

import functools
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from chuk_ai_session_manager import (
    SessionManager,
    get_conversation_history,
    get_session_stats,
    quick_conversation,
    simple_api,
    stream_llm_call,
    track_conversation,
    track_infinite_conversation,
    track_llm_call,
    track_tool_use,
)
from chuk_ai_session_manager.api import simple_api as real_simple_api
from chuk_ai_session_manager.exceptions import InvalidInput, SessionNotFound
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import MemoryStore


async def test_track_conversation_continues_by_its_id() -> None:
    session_id = await track_conversation("q1", "a1", model="gpt-4", provider="openai")
    assert await track_conversation("q2", "a2", session_id=session_id) == session_id
    assert [row["content"] for row in await get_conversation_history(session_id)] == ["q1", "a1", "q2", "a2"]


async def test_track_conversation_in_segments() -> None:
    session_id: str | None = None
    for number in range(3):
        session_id = await track_conversation(
            f"question {number}", "answer", session_id=session_id, infinite_context=True, token_threshold=3
        )
    assert session_id is not None
    stats = await get_session_stats(session_id, include_all_segments=True)
    assert stats["session_segments"] > 2
    assert stats["total_messages"] == 6


async def test_a_hundred_calls_each_by_the_id_of_the_one_before() -> None:
    session_id = await track_infinite_conversation("q0", "a0", max_turns=4)
    for number in range(1, 100):
        session_id = await track_infinite_conversation(
            f"q{number}", f"a{number}", session_id=session_id, max_turns=4, model="gpt-4o"
        )
    stats = await get_session_stats(session_id, include_all_segments=True)
    assert (stats["total_messages"], stats["session_segments"]) == (200, 50)
    history = await get_conversation_history(session_id, include_all_segments=True)
    assert [row["content"] for row in history] == [f"{who}{n}" for n in range(100) for who in "qa"]
    assert len(await get_conversation_history(session_id)) == 4
    assert (await get_session_stats(session_id))["total_messages"] == 4


async def test_quick_conversation() -> None:
    stats = await quick_conversation("What's up?", "Not much.", model="gpt-4", provider="openai")
    assert (stats["total_messages"], stats["llm_calls"], stats["infinite_context"]) == (2, 1, False)
    assert (await quick_conversation("q", "a", infinite_context=True))["infinite_context"] is True


async def test_track_tool_use() -> None:
    session_id = await track_tool_use("calculator", {"a": 1}, {"sum": 2}, priority="high")
    await track_tool_use("calculator", {"a": 1}, None, session_id=session_id, error="broken")
    session = await get_backend().get(session_id)
    assert session is not None
    assert session.events[0].metadata == {"priority": "high"}
    assert (await get_session_stats(session_id))["tool_calls"] == 2


@pytest.mark.parametrize("read", [get_session_stats, get_conversation_history])
async def test_reading_an_unknown_id_makes_nothing(read: Any) -> None:
    for all_segments in (False, True):
        with pytest.raises(SessionNotFound):
            await read("nobody", include_all_segments=all_segments)
    assert await get_backend().list_sessions() == []


@pytest.mark.parametrize("answer", [("hi", None), ("hi", "a", ""), ("hi", "a", "m", None)])
@pytest.mark.parametrize("track", [track_conversation, track_infinite_conversation, quick_conversation])
async def test_of_an_exchange_both_sides_are_kept_or_neither(track: Any, answer: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput):
        await track(*answer)
    assert await get_backend().list_sessions() == []


class TestTrackLlmCall:
    RESPONSES = (
        "the answer",
        {"choices": [{"message": {"content": "the answer"}}]},
        SimpleNamespace(content="the answer"),
        SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="the answer"))]),
    )

    @pytest.mark.parametrize("response", RESPONSES)
    async def test_what_a_model_may_give(self, response: Any) -> None:
        async def llm(prompt: str) -> Any:
            return response

        text, session_id = await track_llm_call("question", llm, model="gpt-4", provider="openai")
        assert text == "the answer"
        rows = await get_conversation_history(session_id)
        assert [row["content"] for row in rows] == ["question", "the answer"]

    async def test_anything_that_can_be_called(self) -> None:
        async def asynchronous(prompt: str, suffix: str = "!") -> str:
            return prompt + suffix

        class Model:
            async def __call__(self, prompt: str) -> str:
                return prompt + "!"

            async def ask(self, prompt: str) -> str:
                return prompt + "!"

        def synchronous(prompt: str) -> str:
            assert threading.current_thread() is not threading.main_thread()
            return prompt + "!"

        partial = functools.partial(asynchronous, suffix="!")
        for llm in (
            asynchronous,
            lambda p: asynchronous(p + "!", ""),
            partial,
            Model(),
            Model().ask,
            synchronous,
        ):
            assert (await track_llm_call("hi", llm))[0] == "hi!"

    async def test_the_reported_usage_is_the_bill(self) -> None:
        answer = {
            "choices": [{"message": {"content": "a"}}],
            "usage": {
                "prompt_tokens": 1000,
                "completion_tokens": 100,
                "prompt_tokens_details": {"cached_tokens": 400},
            },
        }
        _, session_id = await track_llm_call("q", lambda prompt: answer, model="gpt-4o", provider="openai")
        stats = await get_session_stats(session_id)
        assert (stats["input_tokens"], stats["cache_read_tokens"], stats["usage_source"]) == (
            1000,
            400,
            "reported",
        )
        assert stats["estimated_cost"] == pytest.approx(0.003)

    async def test_a_manager_of_ones_own(self) -> None:
        sm = SessionManager(system_prompt="Be brief")
        _, session_id = await track_llm_call("q", lambda prompt: "a", session_manager=sm)
        assert session_id == sm.session_id
        assert (await track_llm_call("q", lambda prompt: "a", session_id=session_id))[1] == session_id
        assert (await sm.get_stats())["total_messages"] == 4

    async def test_the_model_s_own_error_arrives_and_the_question_stays(self) -> None:
        async def llm(prompt: str) -> str:
            raise ConnectionError("model down")

        with pytest.raises(ConnectionError, match="model down"):
            await track_llm_call("question", llm, session_id="mine")
        assert [row["content"] for row in await get_conversation_history("mine")] == ["question"]

    async def test_bad_input_calls_no_model(self) -> None:
        def llm(prompt: str) -> str:
            raise AssertionError("called")

        with pytest.raises(InvalidInput):
            await track_llm_call(5, llm)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            await track_llm_call("q", llm, model="")
        assert await get_backend().list_sessions() == []

    async def test_segments(self) -> None:
        sm_id = None
        for _ in range(3):
            _, sm_id = await track_llm_call(
                "a question",
                lambda prompt: "an answer",
                session_id=sm_id,
                infinite_context=True,
                token_threshold=3,
            )
        assert sm_id is not None
        assert (await get_session_stats(sm_id, include_all_segments=True))["session_segments"] > 2


def test_the_names_that_were_printed_as_guidance_exist() -> None:
    assert simple_api.track_conversation is track_conversation
    assert real_simple_api.track_llm_interaction is track_llm_call
    assert real_simple_api.quick_stats is quick_conversation


class TestEverySetting:
    """What a manager takes, the one-liners take too."""

    async def test_all_that_write_take_a_store_metadata_and_usage(self) -> None:
        store = MemoryStore()
        usage = {"input_tokens": 100, "output_tokens": 7}
        about: dict[str, Any] = {
            "store": store,
            "user_id": "ada",
            "metadata": {"ticket": "PR-42"},
            "usage": usage,
            "model": "gpt-4o",
        }
        ids = [
            await track_conversation("q", "a", **about),
            await track_infinite_conversation("q", "a", **about),
            (await track_llm_call("q", str.upper, **about))[1],
        ]
        stream = stream_llm_call("q", lambda question: iter("ab"), **about)
        assert [piece async for piece in stream] == ["a", "b"]
        ids.append(stream.session_id)
        stats = [await get_session_stats(each, store=store, user_id="ada") for each in ids]
        stats.append(await quick_conversation("q", "a", **about))
        ids.append(stats[-1]["session_id"])
        for session_id, each in zip(ids, stats, strict=True):
            session = await store.get(session_id)
            assert session is not None
            assert session.metadata.properties == {"ticket": "PR-42", "user_id": "ada"}
            billed = (each["input_tokens"], each["output_tokens"], each["usage_source"])
            assert billed == (100, 7, "reported")
            assert len(await get_conversation_history(session_id, store=store)) == 2
            with pytest.raises(SessionNotFound):
                await get_session_stats(session_id)  # nothing went to the default store
        await track_tool_use("clock", {}, "12:30", ids[0], store=store, user_id="ada", event_id="t")
        await track_tool_use("clock", {}, "12:30", ids[0], store=store, user_id="ada", event_id="t")
        assert (await get_session_stats(ids[0], store=store))["tool_calls"] == 1

    async def test_usage_that_the_function_fills(self) -> None:
        usage: dict[str, Any] = {}

        def model(question: str) -> str:
            usage.update(prompt_tokens=11, completion_tokens=2)
            return "a"

        _, session_id = await track_llm_call("q", model, usage=usage)
        assert (await get_session_stats(session_id))["input_tokens"] == 11

    async def test_usage_that_is_none(self) -> None:
        with pytest.raises(InvalidInput):
            await track_conversation("q", "a", session_id="s", usage="many")
        with pytest.raises(SessionNotFound):
            await get_session_stats("s")
        with pytest.raises(InvalidInput):
            await track_llm_call("q", str.upper, session_id="t", usage="many")
        stats = await get_session_stats("t")  # a paid answer is kept
        assert (stats["ai_messages"], stats["usage_source"]) == (1, "estimated")

    async def test_settings_beside_a_manager_are_refused(self) -> None:
        for setting in ({"store": MemoryStore()}, {"metadata": {"a": 1}}, {"user_id": "ada"}):
            settings: dict[str, Any] = setting
            with pytest.raises(InvalidInput, match="SessionManager that you pass"):
                await track_llm_call("q", str.upper, session_manager=SessionManager(), **settings)
            with pytest.raises(InvalidInput, match="SessionManager that you pass"):
                stream_llm_call("q", str.upper, session_manager=SessionManager(), **settings)

    async def test_a_model_may_be_asked_in_parts(self) -> None:
        parts: Any = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
        ]
        asked = []

        def model(question: Any) -> str:
            asked.append(question)
            return "A cat."

        _, session_id = await track_llm_call(parts, model)
        assert asked == [parts]
        assert (await get_conversation_history(session_id))[0]["content"] == parts
