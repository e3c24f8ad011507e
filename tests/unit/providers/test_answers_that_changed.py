"""Answers that are not sent back, or not billed, as they came: edited, failed, with what APIs do not take."""

from __future__ import annotations

import json
from typing import Any

import pytest
from formats import ANSWERS
from turns import anthropic_answer, chat_answer

from chuk_ai_session_manager import Session, SessionAwareToolProcessor, SessionManager
from chuk_ai_session_manager.models import SessionEvent
from chuk_ai_session_manager.providers.formats import FORMATS
from chuk_ai_session_manager.stores import MemoryStore

Row = dict[str, Any]


async def in_format(sm: SessionManager, name: str) -> str:
    request = await sm.get_messages_for_llm(format=name, include_tools=True)  # type: ignore[call-overload]
    return json.dumps(request, ensure_ascii=False, default=str)


async def last_answer(sm: SessionManager) -> SessionEvent[Any]:
    (_, session) = await sm.writer._conversation.current()
    return [event for event in session.events if event.source == "llm"][-1]


@pytest.mark.parametrize("name", FORMATS)
async def test_an_answer_whose_text_was_edited_goes_as_it_is_now(name: str) -> None:
    sm = SessionManager()
    await sm.user_says("What is my number?")
    await sm.ai_responds(ANSWERS[name]("It is 4711.", []))
    assert "4711" in await in_format(sm, name)
    (await last_answer(sm)).message = "It is [removed]."
    sent = await in_format(sm, name)
    assert "4711" not in sent
    assert "[removed]" in sent


@pytest.mark.parametrize("name", FORMATS)
async def test_an_answer_whose_call_was_edited_goes_as_it_is_now(name: str) -> None:
    sm = SessionManager()
    await sm.user_says("Look up 4711.")
    await sm.ai_responds(ANSWERS[name]("", [("call_1", "find", {"number": 4711})]))
    assert "4711" in (await in_format(sm, name)).partition("Look up 4711.")[2]
    (await last_answer(sm)).message["tool_calls"][0]["function"]["arguments"] = '{"number": 0}'
    assert "4711" not in (await in_format(sm, name)).partition("Look up 4711.")[2]


@pytest.mark.parametrize(
    "text", ["", " \n", "Nice \ud83d", "\ud83d\ude00", "a\x00b", "\u202eabc", "**bold**", "٣٤", "\\ud83d"]
)
@pytest.mark.parametrize("name", FORMATS)
async def test_odd_texts_are_no_edits(name: str, text: str) -> None:
    sm = SessionManager()
    await sm.user_says("Say something odd.")
    answer = ANSWERS[name](text, [("call_1", "find", {"said": text})])
    await sm.ai_responds(answer)
    secrets = {
        "openai-responses": "ENC-77",
        "anthropic": "SIG-A",
        "google": "thoughtSignature",
        "bedrock": "SIG-B",
    }
    assert secrets.get(name, "find") in await in_format(sm, name)


async def test_a_spoken_answer_goes_back_by_its_id_without_tools_too() -> None:
    sm = SessionManager()
    await sm.user_says("Hello?")
    audio = {"id": "audio_1", "data": "AAAA", "expires_at": 1, "transcript": "Hello there."}
    await sm.ai_responds(chat_answer("", [], audio=audio))
    rows: Any = await sm.get_messages_for_llm(format="openai")
    assert rows[1]["audio"] == {"id": "audio_1"}
    assert (await sm.get_messages_for_llm())[1] == {"role": "assistant", "content": "Hello there."}


async def test_citations_go_back_without_the_field_that_no_request_has() -> None:
    citation = {
        "type": "char_location", "cited_text": "noon", "document_index": 0, "document_title": None,
        "start_char_index": 0, "end_char_index": 4, "file_id": "file_1",
    }  # fmt: skip
    answer = anthropic_answer("", [])
    answer["content"] = [{"type": "text", "text": "At noon.", "citations": [citation]}]
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(answer)
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    (sent,) = request["messages"][1]["content"][0]["citations"]
    assert sent == {name: value for name, value in citation.items() if name != "file_id"}
    native = (await last_answer(sm)).native
    assert native is not None
    assert native["message"]["content"][0]["citations"] == [citation]


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_response_of_which_nothing_came_costs_nothing(status: str) -> None:
    response: Row = {
        "id": "resp_1", "object": "response", "model": "gpt-5-mini", "status": status, "output": [],
        "usage": None, "error": {"code": "server_error", "message": "boom"},
    }  # fmt: skip
    sm = SessionManager()
    await sm.user_says("Think long.")
    await sm.ai_responds(response)
    event = await last_answer(sm)
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.cost_usd, event.usage.estimated) == (0, 0.0, False)
    assert event.metadata["finish_reason"] == status
    assert "boom" in json.dumps(event.native)


@pytest.mark.parametrize("name", ["openai-responses", "anthropic", "google"])
async def test_a_tool_processor_keeps_what_a_response_holds(name: str) -> None:
    store = MemoryStore()
    session = await Session.create(store=store)
    processor = await SessionAwareToolProcessor.create(session.id, store=store, max_retries=0)
    response = ANSWERS[name]("Let me look.", [("call_1", "no_such_tool", {"day": 1})])
    (result,) = await processor.process_llm_message(response)
    assert result.error
    sm = SessionManager(session.id, store=store)
    event = await last_answer(sm)
    assert event.native is not None
    assert event.native["format"] == name
    secret = {"openai-responses": "ENC-77", "anthropic": "RD-1", "google": "thoughtSignature"}[name]
    assert secret in json.dumps(event.native)
    if name != "anthropic":  # whose thinking goes back after its question only
        assert secret in await in_format(sm, name)


async def test_interactions_of_the_first_version_of_their_api() -> None:
    response = {
        "id": "v1_1", "object": "interaction", "status": "requires_action", "model": "gemini-2.5-flash",
        "outputs": [
            {"type": "text", "text": "Let me look."},
            {"type": "function_call", "id": "fc_1", "name": "tide", "arguments": {"day": 1}},
        ],
        "usage": {"total_input_tokens": 100, "total_output_tokens": 5, "total_tokens": 105},
    }  # fmt: skip
    sm = SessionManager()
    await sm.user_says("When is high water?")
    await sm.ai_responds(response)
    event = await last_answer(sm)
    assert event.message["content"] == "Let me look."
    (call,) = event.message["tool_calls"]
    assert (call["id"], call["function"]) == ("fc_1", {"name": "tide", "arguments": '{"day": 1}'})
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens) == (100, 5)


async def test_signed_thinking_goes_back_in_a_loop_that_nobody_asked_for() -> None:
    sm = SessionManager()
    await sm.ai_responds(anthropic_answer("", [("call_1", "tide", {"day": 1})]))
    assert "SIG-A" in await in_format(sm, "anthropic")
    await sm.tool_used("tide", {"day": 1}, "noon", tool_call_id="call_1")
    assert "SIG-A" in await in_format(sm, "anthropic")
