"""Answers inside of what frameworks make of them, and messages of frameworks with names of their own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem
from places import place_on
from recorded_runs import recorded_run

from chuk_ai_session_manager import SessionManager, track_llm_call
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers import read_answer
from chuk_ai_session_manager.stores import MemoryStore


def ai(words: str, sent: int, answered: int, **more: Any) -> AIMessage:
    usage: Any = {"input_tokens": sent, "output_tokens": answered, "total_tokens": sent + answered}
    return AIMessage(words, usage_metadata=usage, response_metadata={"model_name": "gpt-4o"}, **more)


NOON = ai("At noon.", 100, 10)


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(ChatResult(generations=[ChatGeneration(message=NOON)]), id="LangChain's ChatResult"),
        pytest.param(LLMResult(generations=[[ChatGeneration(message=NOON)]]), id="LangChain's LLMResult"),
        pytest.param({"raw": NOON, "parsed": {"high": 12}, "parsing_error": None}, id="include_raw"),
        pytest.param({"messages": [HumanMessage("When?"), NOON]}, id="the state of a graph"),
        pytest.param(SimpleNamespace(message=SimpleNamespace(blocks=[]), raw=NOON), id="LlamaIndex"),
    ],
)
def test_the_answer_in_what_frameworks_return(response: Any) -> None:
    answer = read_answer(response)
    assert (answer.text, answer.model) == ("At noon.", "gpt-4o")
    assert answer.usage is not None
    assert (answer.usage["input_tokens"], answer.usage["output_tokens"]) == (100, 10)
    assert answer.native is not None


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_a_graph_s_steps_since_the_question_are_recorded_on_every_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    call = {"id": "c1", "name": "tide", "args": {"port": "Lisbon"}}
    earlier = [HumanMessage("Hello"), ai("Hi", 5, 1)]
    steps = [ai("", 50, 20, tool_calls=[call]), ToolMessage("12:00", tool_call_id="c1"), NOON]

    async def graph(question: str) -> Any:
        return {"messages": [*earlier, HumanMessage(question), *steps]}

    rows, counts = await recorded_run(place_on(kind, request, tmp_path), graph)
    assert rows[2] == {"role": "tool", "tool_call_id": "c1", "content": "12:00"}
    assert counts == (2, 150, 30)


def test_a_graph_without_an_answer_is_refused() -> None:
    with pytest.raises(InvalidInput, match="dict is not a known response"):
        read_answer({"messages": [HumanMessage("When?")]})


@dataclass
class Usage:
    """Of the OpenAI Agents SDK."""

    requests: int = 1
    input_tokens: int = 100
    output_tokens: int = 10
    total_tokens: int = 110


@dataclass
class ModelResponse:
    """Of the OpenAI Agents SDK."""

    output: list[Any]
    usage: Usage
    response_id: str | None = "resp_1"


async def test_a_dataclass_with_items_of_a_response_is_stored_whole_and_billed_as_reported() -> None:
    reasoning = ResponseReasoningItem(id="rs_1", type="reasoning", summary=[], encrypted_content="cipher")
    call = ResponseFunctionToolCall(type="function_call", call_id="c1", name="tide", arguments="{}")
    sm = SessionManager(store=MemoryStore())
    await sm.user_says("When is high water?")
    await sm.ai_responds(ModelResponse([reasoning, call], Usage()), model="gpt-4o")
    rows: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert [row.get("type") for row in rows[1:]] == ["reasoning", "function_call", "function_call_output"]
    assert rows[1]["encrypted_content"] == "cipher"
    stats = await sm.get_stats()
    assert (stats["input_tokens"], stats["output_tokens"], stats["usage_source"]) == (100, 10, "reported")


def of_chat_completion(item: dict[str, Any]) -> dict[str, Any]:
    """An item that the OpenAI Agents SDK made of a chat completion: no API knows its id."""
    return item | {"id": "__fake_id__", "provider_data": {"model": "gpt-4o", "response_id": "chatcmpl-1"}}


CALL = {"type": "function_call", "call_id": "c1", "name": "tide", "arguments": "{}", "id": "fc_1"}
SAID = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "At noon.", "annotations": []}],
}  # fmt: skip


def run_of(*responses: ModelResponse) -> Any:
    result = {"type": "function_call_output", "call_id": "c1", "output": "12:00"}
    agent = SimpleNamespace(model=SimpleNamespace(model="gpt-4o"))
    items = [SimpleNamespace(raw_item=each) for each in (CALL, result, SAID)]
    return SimpleNamespace(
        raw_responses=list(responses), new_items=items, final_output="At noon.", last_agent=agent
    )


@pytest.mark.parametrize("is_chat", [False, True])
async def test_a_run_of_the_openai_agents_sdk_is_recorded_with_its_steps(*, is_chat: bool) -> None:
    call, said = [of_chat_completion(item) if is_chat else item for item in (CALL, SAID)]
    run = run_of(ModelResponse([call], Usage(), None), ModelResponse([said], Usage(1, 150, 5, 155), None))
    sm = SessionManager(store=MemoryStore())

    async def ask(_: Any) -> Any:
        return run

    text, _ = await track_llm_call("When is high water?", ask, session_manager=sm)
    assert text == "At noon."
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    assert rows[2] == {"role": "tool", "tool_call_id": "c1", "content": "12:00"}
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["input_tokens"], stats["unpriced_calls"]) == (2, 250, 0)
    sent = json.dumps(await sm.get_messages_for_llm(format="openai-responses"))
    assert "__fake_id__" not in sent
    assert ("fc_1" in sent) is not is_chat


HAYSTACK = SimpleNamespace(
    text=None,
    tool_calls=[SimpleNamespace(id="c1", tool_name="tide", arguments={"port": "Lisbon"})],
    meta={"model": "gpt-4o", "usage": {"prompt_tokens": 100, "completion_tokens": 10}},
)
SMOLAGENTS = SimpleNamespace(
    role="assistant",
    content="At noon.",
    tool_calls=None,
    token_usage=SimpleNamespace(input_tokens=100, output_tokens=10),
)


@pytest.mark.parametrize("message", [HAYSTACK, SMOLAGENTS], ids=["Haystack", "smolagents"])
def test_the_counts_of_frameworks_messages(message: Any) -> None:
    usage = read_answer(message).usage
    assert usage is not None
    assert (usage["input_tokens"], usage["output_tokens"]) == (100, 10)


def test_the_calls_of_haystack_s_messages() -> None:
    answer = read_answer(HAYSTACK)
    function = {"name": "tide", "arguments": '{"port": "Lisbon"}'}
    assert answer.tool_calls == [{"id": "c1", "type": "function", "function": function}]
    assert answer.model == "gpt-4o"


@pytest.mark.parametrize("role", ["user", "system", "developer", "tool"])
def test_a_message_that_no_model_wrote_is_no_answer(role: str) -> None:
    with pytest.raises(InvalidInput, match="dict is not a known response"):
        read_answer({"role": role, "content": "Noon.", "tool_call_id": "c1"})
