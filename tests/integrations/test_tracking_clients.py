"""Tracked clients of SDKs."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI, OpenAI
from tracked import CLAUDE, GPT, events_of, rows_of, said

from chuk_ai_session_manager import SessionManager, track_client
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic
from chuk_ai_session_manager.providers.messages import INTERRUPTED
from chuk_ai_session_manager.providers.requests import asked_rows

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
        with pytest.raises(InvalidInput, match="not an async client"):
            track_client(OpenAI(base_url="http://127.0.0.1:1", api_key="none"), SessionManager())
