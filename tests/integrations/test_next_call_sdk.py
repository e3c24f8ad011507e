"""The real SDKs, over a server that checks what thinking is bound to, holds responses, and forgets them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError
from openai import AsyncOpenAI, InternalServerError, NotFoundError

from chuk_ai_session_manager import track_client
from chuk_ai_session_manager.providers.responses_state import is_forgotten
from chuk_ai_session_manager.session_manager import SessionManager

CLAUDE: dict[str, Any] = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 2000,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
}
TOOLS: Any = [{"name": "tide", "description": "When is high water?", "input_schema": {"type": "object"}}]


def kinds(request: Any) -> list[str]:
    """The types of the blocks that answers have in a request."""
    answers = [row["content"] for row in request["messages"] if row["role"] == "assistant"]
    return [block["type"] for content in answers if isinstance(content, list) for block in content]


async def test_the_server_refuses_thinking_behind_what_was_changed(claude: AsyncAnthropic) -> None:
    first = await claude.messages.create(messages=[{"role": "user", "content": "When?"}], **CLAUDE)
    answer: Any = {"role": "assistant", "content": first.content}
    more: Any = {"role": "user", "content": "And tomorrow?"}
    await claude.messages.create(messages=[{"role": "user", "content": "When?"}, answer, more], **CLAUDE)
    with pytest.raises(BadRequestError, match="bound to a different conversation"):
        await claude.messages.create(messages=[{"role": "user", "content": "Who?"}, answer, more], **CLAUDE)


@pytest.mark.parametrize("streams", [False, True])
async def test_thinking_goes_back_until_the_prompt_is_another(claude: AsyncAnthropic, streams: bool) -> None:
    sm = SessionManager(system_prompt="Be brief.")

    async def ask(question: str) -> Any:
        await sm.user_says(question)
        request = await sm.get_messages_for_llm(format="anthropic")
        if not streams:
            await sm.ai_responds(await claude.messages.create(**request, **CLAUDE))
            return request
        async with claude.messages.stream(**request, **CLAUDE) as stream:
            await sm.ai_responds(await stream.get_final_message())
        return request

    await ask("When?")
    await ask("And tomorrow?")
    assert kinds(await ask("And then?")) == ["thinking", "text", "thinking", "text"]
    await sm.update_system_prompt("Be long.")
    assert kinds(await ask("And then?")) == []
    assert kinds(await ask("And then?")) == ["thinking", "text"]


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
async def test_a_tracked_client_s_request_is_what_was_sent(claude: AsyncAnthropic, system: Any) -> None:
    sm = SessionManager(system_prompt="Be brief.")
    tracked = track_client(claude, sm)
    messages: list[Any] = []
    for question in ("When?", "And tomorrow?"):
        messages.append({"role": "user", "content": question})
        answer = await tracked.messages.create(messages=messages, system=system, tools=TOOLS, **CLAUDE)
        messages.append({"role": "assistant", "content": answer.content})
    again = SessionManager(sm.session_id)  # as in another process
    await again.user_says("And then?")
    request = await again.get_messages_for_llm(format="anthropic", tools=TOOLS)
    assert kinds(request) == ["thinking", "text", "thinking", "text"]
    await claude.messages.create(**request, tools=TOOLS, **CLAUDE)


async def test_what_the_server_compacted_is_where_the_next_context_begins(claude: AsyncAnthropic) -> None:
    sm = SessionManager(system_prompt="Be brief.")
    edits = {"context_management": {"edits": [{"type": "compact_20260112", "trigger": {"value": 40}}]}}
    for number in range(3):
        await sm.user_says(f"Question {number}: " + "word " * 20)
        request = await sm.get_messages_for_llm(format="anthropic")
        extra = edits if number == 1 else {}
        await sm.ai_responds(await claude.messages.create(**request, extra_body=extra, **CLAUDE))
    await sm.user_says("And then?")
    request = await sm.get_messages_for_llm(format="anthropic")
    assert kinds(request) == ["compaction", "thinking", "text", "thinking", "text"]
    assert "Question 0" not in json.dumps(request)
    await claude.messages.create(**request, **CLAUDE)


# -- state -----------------------------------------------------------------------------------------


async def test_the_server_holds_what_was_said_and_a_response_that_it_forgot_is_no_outage(
    gpt: AsyncOpenAI,
) -> None:
    sm = SessionManager(system_prompt="Be brief.")
    tracked = track_client(gpt, sm)

    async def ask(question: str) -> tuple[Any, Any]:
        await sm.user_says(question)
        request = await sm.get_messages_for_llm(format="openai-responses", server_state=True)
        return request, await tracked.responses.create(model="gpt-5-mini", **request)

    request, first = await ask("When?")
    assert "previous_response_id" not in request
    request, second = await ask("And tomorrow?")
    assert request["previous_response_id"] == first.id
    assert request["input"] == [{"role": "user", "content": "And tomorrow?"}]
    await gpt.responses.delete(second.id)
    with pytest.raises(NotFoundError) as problem:
        await ask("And then?")
    assert is_forgotten(problem.value)
    request, _ = await ask("Are you there?")
    assert "previous_response_id" not in request
    assert len(request["input"]) == 7
    request, _ = await ask("Good.")
    assert "previous_response_id" in request
    with pytest.raises(InternalServerError) as problem_of_server:
        await ask("fail")
    assert not is_forgotten(problem_of_server.value)


async def test_the_server_counts_what_it_has_cached(gpt: AsyncOpenAI, claude: AsyncAnthropic) -> None:
    sm = SessionManager(system_prompt="Be brief.")
    for question in ("When?", "And tomorrow?"):
        await sm.user_says(question)
        items = await sm.get_messages_for_llm(format="openai-responses")
        response = await gpt.responses.create(model="gpt-5-mini", input=items, prompt_cache_key="tides")
        await sm.ai_responds(response)
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens > 0
    request = await sm.get_messages_for_llm(format="anthropic")
    message = await claude.messages.create(**request, **CLAUDE)
    await sm.ai_responds(message)
    await sm.user_says("And then?")
    message = await claude.messages.create(**await sm.get_messages_for_llm(format="anthropic"), **CLAUDE)
    assert (message.usage.cache_read_input_tokens or 0) > 0
