"""Tracked clients in the hands of others: frameworks that look at their types, and the tool processor."""

from __future__ import annotations

import inspect
import json
from typing import Any

import openai
import pytest
from anthropic import AsyncAnthropic, AsyncStream
from anthropic.resources.messages import AsyncMessages
from chuk_tool_processor import ToolProcessor, create_registry
from openai import AsyncOpenAI
from openai.resources.chat import AsyncCompletions
from pydantic import BaseModel

from chuk_ai_session_manager import SessionAwareToolProcessor, SessionManager, track_client
from chuk_ai_session_manager.stores import MemoryStore

RUNS: list[str] = []
STORE = MemoryStore()
CLAUDE = "claude-sonnet-4-6"


class Weather:
    async def execute(self, city: str) -> str:
        RUNS.append(city)
        return "sunny"


def asking_for(response: dict[str, Any]) -> Any:
    return [{"role": "user", "content": f"exactly {json.dumps(response)}"}]


def completion(tool: str, arguments: str) -> dict[str, Any]:
    call = {"id": "call_0", "type": "function", "function": {"name": tool, "arguments": arguments}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


@pytest.fixture
def sm() -> SessionManager:
    RUNS.clear()
    return SessionManager(store=STORE)


async def test_a_tracked_client_and_its_parts_are_of_the_sdk_s_types(
    gpt: AsyncOpenAI, claude: AsyncAnthropic, sm: SessionManager
) -> None:
    tracked = track_client(gpt, sm)
    assert isinstance(tracked, AsyncOpenAI)
    assert tracked.__class__ is AsyncOpenAI
    assert isinstance(tracked.with_options(timeout=5), AsyncOpenAI)
    assert isinstance(tracked.chat.completions, AsyncCompletions)
    assert not isinstance(tracked, AsyncAnthropic)
    assert not isinstance(tracked, openai.OpenAI)
    of_claude = track_client(claude, sm)
    assert isinstance(of_claude, AsyncAnthropic)
    assert isinstance(of_claude.messages, AsyncMessages)
    with pytest.raises(TypeError):
        tracked.__class__ = AsyncOpenAI


async def test_a_tracked_stream_is_of_the_sdk_s_type(
    gpt: AsyncOpenAI, claude: AsyncAnthropic, sm: SessionManager
) -> None:
    asked: Any = [{"role": "user", "content": "Hello"}]
    chunks = await track_client(gpt, sm).chat.completions.create(model="gpt-4o", messages=asked, stream=True)
    assert isinstance(chunks, openai.AsyncStream)
    assert [chunk async for chunk in chunks]
    events = await track_client(claude, sm).messages.create(
        model=CLAUDE, max_tokens=99, messages=asked, stream=True
    )
    assert isinstance(events, AsyncStream)
    assert [event async for event in events]
    assert (await sm.get_stats())["llm_calls"] == 2


def hello(words: str) -> Any:
    return [{"role": "user", "content": words}]


async def said_in(sm: SessionManager) -> list[str]:
    return [row["content"] for row in await sm.get_conversation()]


@pytest.mark.parametrize("form", ["of the part", "of the client", "of a copy"])
async def test_raw_responses_are_recorded(form: str, gpt: AsyncOpenAI, sm: SessionManager) -> None:
    tracked = track_client(gpt, sm)
    completions = {
        "of the part": tracked.chat.completions.with_raw_response,
        "of the client": tracked.with_raw_response.chat.completions,
        "of a copy": tracked.with_options(timeout=9).chat.completions.with_raw_response,
    }[form]
    raw = await completions.create(model="gpt-4o", messages=hello("Hello"))
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content == "You said: Hello"
    assert await said_in(sm) == ["Hello", "You said: Hello"]
    assert (await sm.get_stats())["usage_source"] == "reported"


async def test_raw_responses_of_other_methods_are_recorded(
    gpt: AsyncOpenAI, claude: AsyncAnthropic, sm: SessionManager
) -> None:
    await track_client(gpt, sm).responses.with_raw_response.create(model="gpt-4o", input="One")
    messages = track_client(claude, sm).with_raw_response.messages
    await messages.create(model=CLAUDE, max_tokens=9, messages=hello("Two"))
    assert await said_in(sm) == ["One", "You said: One", "Two", "You said: Two"]


async def test_the_stream_of_a_raw_response_is_recorded_also_if_it_is_stopped(
    gpt: AsyncOpenAI, claude: AsyncAnthropic, sm: SessionManager
) -> None:
    completions = track_client(gpt, sm).chat.completions.with_raw_response
    raw = await completions.create(model="gpt-4o", messages=hello("Hello"), stream=True)
    stream = raw.parse()
    assert isinstance(stream, openai.AsyncStream)
    assert [chunk async for chunk in stream]
    messages = track_client(claude, sm).messages.with_raw_response
    asked = await messages.create(model=CLAUDE, max_tokens=9, messages=hello("Go on"), stream=True)
    events: Any = asked.parse()
    if inspect.isawaitable(events):  # in newer releases
        events = await events
    async for event in events:
        if event.type == "content_block_delta":
            break
    await sm.user_says("Wait.")
    assert await said_in(sm) == ["Hello", "You said: Hello", "Go on", "You", "Wait."]
    assert (await sm.get_stats())["llm_calls"] == 2


async def test_an_error_in_a_raw_response_is_recorded_and_given_on(
    gpt: AsyncOpenAI, sm: SessionManager
) -> None:
    completions = track_client(gpt, sm).chat.completions.with_raw_response
    raw = await completions.create(model="gpt-4o", messages=asking_for({"error": {"message": "overloaded"}}))
    assert "overloaded" in raw.text
    _, session = await sm.writer._conversation.current()
    assert session.events[-1].message["error"] == "UnreadableAnswer"


async def test_langchain_takes_a_tracked_client(gpt: AsyncOpenAI, address: str, sm: SessionManager) -> None:
    langchain_openai = pytest.importorskip("langchain_openai")
    tracked = track_client(gpt, sm)
    model = langchain_openai.ChatOpenAI(model="gpt-4o", api_key="none", base_url=f"{address}/v1")
    model.root_async_client, model.async_client = tracked, tracked.chat.completions
    assert (await model.ainvoke("Hello")).content == "You said: Hello"
    assert "".join([chunk.content async for chunk in model.astream("And now?")]) == "You said: And now?"
    assert await said_in(sm) == ["Hello", "You said: Hello", "And now?", "You said: And now?"]
    assert (await sm.get_stats())["llm_calls"] == 2


async def test_instructor_takes_a_tracked_client(gpt: AsyncOpenAI, sm: SessionManager) -> None:
    instructor = pytest.importorskip("instructor")

    class User(BaseModel):
        name: str
        age: int

    response = completion("User", '{"name": "Ada", "age": 36}')
    client = instructor.from_openai(track_client(gpt, sm))
    user = await client.chat.completions.create(
        model="gpt-4o",
        response_model=User,
        messages=asking_for(response),
    )
    assert (user.name, user.age) == ("Ada", 36)
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["input_tokens"], stats["output_tokens"]) == (1, 10, 5)


@pytest.mark.parametrize("form", ["response", "message"])
async def test_an_agent_s_turn_stands_once_with_a_tracked_client_of_openai_s(
    form: str, gpt: AsyncOpenAI, sm: SessionManager
) -> None:
    asked = asking_for(completion("weather", '{"city": "Lisbon"}'))
    response = await track_client(gpt, sm).chat.completions.create(model="gpt-4o", messages=asked)
    given = response if form == "response" else response.choices[0].message
    await check_turn(sm, given.model_dump())


async def test_an_agent_s_turn_stands_once_with_a_tracked_client_of_anthropic_s(
    claude: AsyncAnthropic, sm: SessionManager
) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Lisbon"}}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": CLAUDE,
        "content": [{"type": "text", "text": "Let me see."}, use],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    response = await track_client(claude, sm).messages.create(
        model=CLAUDE, max_tokens=99, messages=asking_for(message)
    )
    await check_turn(sm, response.model_dump())


async def test_an_agent_s_turn_stands_once_with_a_tracked_response(
    gpt: AsyncOpenAI, sm: SessionManager
) -> None:
    asked = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather"}
    asked |= {"arguments": '{"city": "Lisbon"}', "status": "completed"}
    made = {"id": "resp_1", "object": "response", "model": "gpt-4o", "status": "completed", "created_at": 1}
    made |= {"output": [asked], "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}
    response = await track_client(gpt, sm).responses.create(model="gpt-4o", input=asking_for(made))
    await check_turn(sm, response.model_dump())


async def test_an_agent_s_streamed_turn_stands_once(gpt: AsyncOpenAI, sm: SessionManager) -> None:
    asked: Any = [{"role": "user", "content": "What is the weather?"}]
    stream = await track_client(gpt, sm).chat.completions.create(model="gpt-4o", messages=asked, stream=True)
    parts = [chunk.choices[0].delta async for chunk in stream if chunk.choices]
    calls = [call for part in parts for call in part.tool_calls or []]
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    function = {"name": "weather", "arguments": arguments}
    call = {"id": calls[0].id, "type": "function", "function": function}
    await check_turn(sm, {"role": "assistant", "content": None, "tool_calls": [call]})


async def check_turn(sm: SessionManager, given: dict[str, Any]) -> None:
    """A message that was recorded by a tracked client is run and joined, however often it is processed."""
    before = await sm.get_stats()
    registry = create_registry()  # of its own: the sample tools have a "weather" too
    await registry.register_tool(Weather, name="weather")
    for _ in range(2):
        tools = ToolProcessor(registry=registry)
        processor = SessionAwareToolProcessor(sm.session_id, store=STORE, processor=tools)
        (result,) = await processor.process_llm_message(given)
        assert (result.result, result.error) == ("sunny", None)
    assert RUNS == ["Lisbon"]
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool"]
    assert rows[-1]["content"] == "sunny"
    after = await sm.get_stats()
    assert (after["llm_calls"], after["tool_calls"]) == (1, 1)
    assert after["estimated_cost"] == before["estimated_cost"]
