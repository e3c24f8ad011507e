"""Runs of agent frameworks, by their own packages: each step is recorded, and each call is billed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_llm_call

agents = pytest.importorskip("agents")
pydantic_ai = pytest.importorskip("pydantic_ai")


ARGUMENTS = '{"city": "Lisbon"}'
CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o",
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": None, "tool_calls": [{
            "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS},
        }],
    }}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
}  # fmt: skip
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o", "status": "completed",
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "output": [{
        "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather",
        "arguments": ARGUMENTS, "status": "completed",
    }],
    "usage": {
        "input_tokens": 100, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110,
    },
}  # fmt: skip


def agent_of(gpt: Any, model: str) -> Any:
    """An agent of the OpenAI Agents SDK with a tool."""

    @agents.function_tool  # type: ignore[untyped-decorator]
    def weather(city: str) -> str:
        return f"Sunny in {city}."

    agents.set_tracing_disabled(True)
    return agents.Agent("Guide", tools=[weather], model=getattr(agents, model)("gpt-4o", openai_client=gpt))


async def recorded(ask: Any, first: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a run, in which the model calls a tool first."""
    sm = SessionManager()
    await track_llm_call(f"exactly {json.dumps(first)}", ask, session_manager=sm)
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    (call,) = rows[1]["tool_calls"]
    assert call["id"] == rows[2]["tool_call_id"]
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["tool_calls"]) == (2, 1)
    assert stats["usage_source"] == "reported"
    sent = json.dumps(await sm.get_messages_for_llm(format="openai-responses"))
    assert "__fake_id__" not in sent
    return rows


@pytest.mark.parametrize(
    ("model", "first"), [("OpenAIChatCompletionsModel", CHAT), ("OpenAIResponsesModel", RESPONSE)]
)
async def test_the_openai_agents_sdk(gpt: Any, model: str, first: dict[str, Any]) -> None:
    agent = agent_of(gpt, model)
    rows = await recorded(lambda prompt: agents.Runner.run(agent, prompt), first)
    assert rows[2]["content"] == "Sunny in Lisbon."


EVENTS = [
    {"type": "response.created", "sequence_number": 0, "response": RESPONSE | {"output": [], "usage": None}},
    {"type": "response.completed", "sequence_number": 1, "response": RESPONSE},
]


def streamed(gpt: Any, sm: SessionManager, question: str, model: str = "OpenAIChatCompletionsModel") -> Any:
    """The stream of a run, in which the model says something and calls a tool first."""

    agent = agent_of(gpt, model)

    async def ask(prompt: str) -> Any:
        return agents.Runner.run_streamed(agent, prompt).stream_events()

    return stream_llm_call(question, ask, session_manager=sm)


@pytest.mark.parametrize(
    ("model", "question"),
    [
        ("OpenAIChatCompletionsModel", "The weather?"),
        ("OpenAIResponsesModel", f"exactly {json.dumps(EVENTS)}"),
    ],
)
async def test_streams_of_the_openai_agents_sdk(gpt: Any, model: str, question: str) -> None:
    """Their events are those of each response, and the SDK's own between them."""
    sm = SessionManager()
    stream = streamed(gpt, sm, question, model)
    kinds = {event.type async for event in stream}
    assert kinds == {"raw_response_event", "run_item_stream_event", "agent_updated_stream_event"}
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    assert rows[2]["content"] == "Sunny in Lisbon."
    assert rows[3]["content"] == stream.text
    assert (await sm.get_stats())["llm_calls"] == 2
    assert "__fake_id__" not in json.dumps(await sm.get_messages_for_llm(format="openai-responses"))


async def test_a_stream_that_is_left_in_the_second_response_keeps_its_first_step(gpt: Any) -> None:
    sm = SessionManager()
    stream = streamed(gpt, sm, "The weather?")
    async for _ in stream:
        if "Sunny" in stream.text:
            break
    await stream.aclose()
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    assert "Sunny" in rows[3]["content"]
    assert (await sm.get_stats())["llm_calls"] == 2


@pytest.mark.parametrize("words", ["said", "Sunny"], ids=["in the first response", "in the second response"])
async def test_a_question_during_a_run_finds_what_came_and_doubles_nothing(gpt: Any, words: str) -> None:
    sm = SessionManager()
    stream, is_asked = streamed(gpt, sm, "The weather?"), False
    async for _ in stream:
        if words in stream.text and not is_asked:
            is_asked = True
            await sm.user_says("And tomorrow?")
            so_far = await sm.get_messages_for_llm(include_tools=True)
            assert words in json.dumps(so_far[1:-1])
    rows = await sm.get_messages_for_llm(include_tools=True)
    roles = ["user", "assistant", "tool", "assistant", "user"]
    assert [row["role"] for row in rows] == roles
    assert rows[1]["content"] == "You said: The weather?"
    assert rows[3]["content"] == "You said: Sunny in Lisbon."
    assert (await sm.get_stats())["llm_calls"] == 2


async def test_pydantic_ai(gpt: Any) -> None:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    agent = pydantic_ai.Agent(OpenAIChatModel("gpt-4o", provider=OpenAIProvider(openai_client=gpt)))

    @agent.tool_plain  # type: ignore[untyped-decorator]
    def weather(city: str) -> str:
        return f"Sunny in {city}."

    rows = await recorded(agent.run, CHAT)
    assert rows[2]["content"] == "Sunny in Lisbon."
