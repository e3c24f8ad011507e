"""Contexts in the four formats through the real SDKs: what arrives at the server is what its API takes."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from google.genai import types as google_types
from openai import AsyncOpenAI
from request_rules import check_request
from turns import (
    SIGNATURE,
    anthropic_answer,
    chat_answer,
    google_answer,
    reasoning_item,
    response,
    responses_answer,
)

from chuk_ai_session_manager import SessionManager, track_client
from chuk_ai_session_manager.api.transfer import export_conversation, import_sessions
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.providers.formats import FORMATS
from chuk_ai_session_manager.providers.google_messages import UNCHECKED_SIGNATURE
from chuk_ai_session_manager.stores import open_store

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import local_llm

GPT, CLAUDE, GEMINI = "gpt-5-mini", "claude-sonnet-4-6", "gemini-3-pro-preview"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="

# google-genai makes a class of aiohttp's in a way that aiohttp warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the server is sent, as it comes over the wire."""
    received: list[dict[str, Any]] = []
    answer_to = local_llm.answer_to

    def look(body: dict[str, Any]) -> list[str]:
        received.append(body)
        return answer_to(body)

    monkeypatch.setattr(local_llm, "answer_to", look)
    return received


async def travelled(**options: Any) -> SessionManager:
    """A conversation in which each of the four was asked, called a tool and answered; then a new question."""
    sm = SessionManager(system_prompt="Be brief.", **options)
    answers: list[Any] = [chat_answer, responses_answer, anthropic_answer, google_answer]
    for number, answer in enumerate(answers):
        await sm.user_says([{"type": "text", "text": f"Question {number}?"}, picture()])
        await sm.ai_responds(answer("Let me look.", [("call_0", "tide", {"day": number})]))
        await sm.tool_used("tide", {"day": number}, {"high": f"at {number}"}, tool_call_id="call_0")
        await sm.ai_responds(answer(f"At {number}.", []))
    await sm.user_says("And now?")
    return sm


def picture() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}


async def test_each_sdk_sends_what_its_api_takes(
    gpt: AsyncOpenAI, claude: AsyncAnthropic, gemini: Any, bodies: list[dict[str, Any]]
) -> None:
    sm = await travelled()
    chat = await sm.get_messages_for_llm(format="openai", include_tools=True)
    await gpt.chat.completions.create(model=GPT, messages=chat)
    check_request("openai", bodies[-1]["messages"])
    assert bodies[-1]["messages"] == chat

    items = await sm.get_messages_for_llm(format="openai-responses")
    await gpt.responses.create(model=GPT, input=items)
    check_request("openai-responses", bodies[-1]["input"])
    assert bodies[-1]["input"] == items

    request = await sm.get_messages_for_llm(format="anthropic")
    await claude.messages.create(model=CLAUDE, max_tokens=10, **request)
    check_request("anthropic", {name: bodies[-1][name] for name in ("system", "messages")})
    assert bodies[-1]["messages"] == request["messages"]

    asked = await sm.get_messages_for_llm(format="google")
    await gemini.models.generate_content(
        model=GEMINI,
        contents=asked["contents"],
        config=google_types.GenerateContentConfig(system_instruction=asked["system_instruction"]),
    )
    check_request("google", {"contents": bodies[-1]["contents"]})
    signatures = [
        part["thoughtSignature"]
        for content in bodies[-1]["contents"]
        for part in content["parts"]
        if "thoughtSignature" in part
    ]
    unchecked = base64.urlsafe_b64decode(UNCHECKED_SIGNATURE)  # of other makers' calls
    own = [each for each in signatures if each != base64.urlsafe_b64encode(unchecked).decode()]
    assert list(map(base64.urlsafe_b64decode, own)) == [base64.urlsafe_b64decode(SIGNATURE)]


async def test_a_conversation_is_the_same_for_all_after_it_was_stored_exported_and_imported(
    tmp_path: Path,
) -> None:
    first = open_store(f"sqlite:///{tmp_path}/first.db")
    sm = await travelled(store=first, infinite_context=True, max_turns_per_segment=6)
    await sm.wait_for_summaries()
    lines = [line async for line in export_conversation(sm.session_id, first)]
    second = open_store(f"sqlite:///{tmp_path}/second.db")
    await import_sessions(lines, second)
    again = SessionManager(sm.session_id, store=second, infinite_context=True)
    for name in FORMATS:
        before: Any = await sm.get_messages_for_llm(format=name)
        after: Any = await again.get_messages_for_llm(format=name)
        assert json.dumps(after) == json.dumps(before)


# -- what a tracked client's request asks ---------------------------------------------------------


async def test_results_of_text_and_image_keep_both(gpt: AsyncOpenAI, claude: AsyncAnthropic) -> None:
    sm = SessionManager()
    await sm.user_says("Look.")
    await sm.ai_responds(responses_answer("", [("call_1", "look", {})]))
    output: list[Any] = [
        {"type": "input_text", "text": "the sea"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"},
    ]
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    result: Any = {"type": "function_call_output", "call_id": "call_1", "output": output}
    await track_client(gpt, sm).responses.create(model=GPT, input=[*items[:-1], result])
    again: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert again[3] == result

    sm = SessionManager()
    await sm.user_says("Look.")
    await sm.get_messages_for_llm(format="anthropic")  # what the answer's thinking is bound to
    await sm.ai_responds(anthropic_answer("", [("toolu_1", "look", {})]))
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    content = [{"type": "text", "text": "the sea"}, image]
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    messages: Any = [*request["messages"][:-1], {"role": "user", "content": [block]}]
    await track_client(claude, sm).messages.create(model=CLAUDE, max_tokens=10, messages=messages)
    after: Any = await sm.get_messages_for_llm(format="anthropic")
    assert after["messages"][:3] == messages
    google: Any = await sm.get_messages_for_llm(format="google")
    check_request("google", google)
    assert PNG in json.dumps(google)


@pytest.mark.parametrize(
    ("call", "answer", "text"),
    [
        (
            {"id": "mcpr_1", "type": "mcp_approval_request", "server_label": "s", "name": "buy",
             "arguments": "{}"},
            {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": False,
             "reason": "no"},
            '{"approve": false, "reason": "no"}',
        ),
        (
            {"id": "sh_1", "type": "shell_call", "call_id": "call_1", "status": "completed",
             "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "call_1",
             "output": [{"stdout": "a.txt", "stderr": "oh", "outcome": {"type": "exit", "exit_code": 2}}]},
            "a.txt\noh\n[exit code 2]",
        ),
        (
            {"id": "ts_1", "type": "tool_search_call", "call_id": "call_1", "execution": "client",
             "status": "completed", "arguments": {"query": "tide"}},
            {"type": "tool_search_output", "call_id": "call_1", "execution": "client", "status": "completed",
             "tools": [{"type": "function", "name": "tide", "parameters": {}, "strict": True}]},
            "tide",
        ),
    ],
)  # fmt: skip
async def test_the_question_is_recorded_once_and_the_item_as_it_was(
    call: dict[str, Any], answer: dict[str, Any], text: str, gpt: AsyncOpenAI
) -> None:
    sm = SessionManager()
    client = track_client(gpt, sm)
    question: Any = {"role": "user", "content": "Do it."}
    await sm.user_says("Do it.")
    await sm.ai_responds(response(reasoning_item(), call))
    history: Any = [question, reasoning_item(), call, answer]
    await client.responses.create(model=GPT, input=history)
    _, session = await sm._conversation.current()
    kinds = [event.type for event in session.events]
    assert kinds == [EventType.MESSAGE, EventType.MESSAGE, EventType.TOOL_CALL, EventType.MESSAGE]
    assert session.events[2].message["result"] == text
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert items[:4] == history


# -- summaries ------------------------------------------------------------------------------------


async def test_summaries_know_the_tools() -> None:
    asked: list[Any] = []

    def summarise(messages: Any) -> str:
        asked.append(messages)
        return "ok"

    for callback in (None, summarise):
        sm = SessionManager(infinite_context=True, max_turns_per_segment=3, summary_callback=callback)
        await sm.user_says([{"type": "text", "text": "Look up my booking please."}, picture()])
        await sm.ai_responds(google_answer("", [("c1", "find_booking", {"of": "Ada"})]))
        found = {"booking": "ZX81Q7", "seat": "14C", "passenger": {"name": "Ada Lovelace"}, "paid": True}
        await sm.tool_used("find_booking", {}, found, tool_call_id="c1")
        await sm.ai_responds("I found it, shall I change it?")
        await sm.user_says("Yes.")
        await sm.wait_for_summaries()
        text = json.dumps(await sm.get_messages_for_llm())
        if callback is None:
            assert all(part in text for part in ("booking ZX81Q7", "seat 14C", "name Ada Lovelace"))
            assert "paid" not in text
    (rows,) = asked
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    assert rows[0]["content"] == "Look up my booking please.\n[image: image/png, 68 bytes]"
    assert rows[1]["tool_calls"][0]["function"]["name"] == "find_booking"
    assert "ZX81Q7" in rows[2]["content"]
