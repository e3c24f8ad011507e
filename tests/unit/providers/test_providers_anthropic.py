"""Answers of Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic.types as anthropic_types
import pytest
from answers import asked, in_pieces, native
from request_rules import check_request

from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.providers import read_answer

# -- Anthropic ------------------------------------------------------------------------------------

BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "T1", "signature": "S1"},
    {"type": "tool_use", "id": "tu1", "name": "f", "input": {"a": "b"}},
    {"type": "thinking", "thinking": "T2", "signature": "S2"},
    {"type": "redacted_thinking", "data": "RD"},
    {"type": "server_tool_use", "id": "srv1", "name": "web_search", "input": {"query": "x"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srv1",
        "content": [
            {
                "type": "web_search_result",
                "url": "u",
                "title": None,
                "encrypted_content": "EC",
                "page_age": None,
            }
        ],
    },
    {"type": "a_new_block", "what": {"a": None}},
    {
        "type": "text",
        "text": "ok",
        "citations": [
            {
                "type": "web_search_result_location",
                "url": "u",
                "cited_text": "CT",
                "encrypted_index": "EI",
                "title": None,
            }
        ],
    },
    {"type": "tool_use", "id": "tu2", "name": "g", "input": {}},
]


def message(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5}
    common = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    return (
        common
        | {"content": list(blocks), "stop_reason": "tool_use", "stop_sequence": None, "usage": usage}
        | more
    )


def message_events(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a message, each text letter by letter."""
    begun = whole | {"content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for at, block in enumerate(whole["content"]):
        pieces: list[dict[str, Any]] = []
        start = dict(block)
        if block["type"] in {"text", "thinking"}:
            name = block["type"]
            start = {"type": name, name: ""} | ({"signature": ""} if name == "thinking" else {})
            pieces = [{"type": f"{name}_delta", name: letter} for letter in block[name]]
            pieces += [{"type": "citations_delta", "citation": each} for each in block.get("citations", [])]
            if "signature" in block:
                pieces.append({"type": "signature_delta", "signature": block["signature"]})
        elif "input" in block:
            start["input"] = {}
            pieces = [
                {"type": "input_json_delta", "partial_json": each} for each in json.dumps(block["input"])
            ]
        events.append({"type": "content_block_start", "index": at, "content_block": start})
        events += [{"type": "content_block_delta", "index": at, "delta": each} for each in pieces]
        events.append({"type": "content_block_stop", "index": at})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}})
    return [*events, {"type": "message_stop"}]


@pytest.mark.parametrize("form", ["dict", "object", "stream", "objects"])
def test_blocks_are_kept_in_their_order(form: str) -> None:
    whole = message(*BLOCKS)
    match form:
        case "dict":
            answer = read_answer(whole)
        case "object":
            answer = read_answer(anthropic_types.Message.construct(**whole))
        case "stream":
            answer = in_pieces(message_events(whole))
        case _:
            event = anthropic_types.RawContentBlockDeltaEvent
            pieces: list[Any] = [
                event.construct(**each) if each["type"] == "content_block_delta" else each
                for each in message_events(whole)
            ]
            answer = in_pieces(pieces)
    assert native(answer)["message"]["content"] == BLOCKS
    assert (answer.text, asked(answer)) == ("ok", [("f", '{"a": "b"}'), ("g", "{}")])
    assert (answer.finish_reason, answer.response_id) == ("tool_use", "msg_1")


def test_a_compaction_is_kept_and_is_no_text() -> None:
    block = {"type": "compaction", "content": "What went before."}
    events = message_events(message(block, {"type": "text", "text": "ok"}))
    events[1]["content_block"] = {"type": "compaction", "content": None}
    change = {"type": "compaction_delta", "content": "What went before."}
    events.insert(2, {"type": "content_block_delta", "index": 0, "delta": change})
    for answer in (read_answer(message(block, {"type": "text", "text": "ok"})), in_pieces(events)):
        assert answer.text == "ok"
        assert native(answer)["message"]["content"][0] == block


def test_thinking_that_is_cut_before_its_signature() -> None:
    events = message_events(message(BLOCKS[0], said_text := {"type": "text", "text": "ok"}))
    cut = [each for each in events if each.get("delta", {}).get("type") != "signature_delta"][:4]
    answer = in_pieces(cut)
    assert native(answer)["cut"] is True
    assert native(answer)["message"]["content"] == [{"type": "thinking", "thinking": "T1", "signature": ""}]
    assert said_text


def test_a_stream_that_ends_without_a_reason_is_complete() -> None:
    """Of servers with this format that send nothing but `message_stop`."""
    events = message_events(message({"type": "text", "text": "ok"}))
    answer = in_pieces([each for each in events if each["type"] != "message_delta"])
    assert (answer.text, answer.finish_reason) == ("ok", None)
    assert "cut" not in native(answer)


def test_a_call_that_is_cut_has_its_arguments_as_far_as_they_came() -> None:
    events = message_events(message({"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Rome"}}))
    answer = in_pieces(events[:8])
    assert asked(answer) == [("f", '{"city')]


def test_counts_of_a_message_delta_replace_those_before() -> None:
    whole = message({"type": "text", "text": "ok"})
    whole["usage"] |= {
        "cache_read_input_tokens": 200,
        "service_tier": "standard",
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    }
    events = message_events(whole)
    events[-2]["usage"] = {
        "input_tokens": 0,
        "output_tokens": 300,
        "cache_read_input_tokens": None,
        "output_tokens_details": {"thinking_tokens": 100},
    }
    events[-2]["delta"]["stop_details"] = {"type": "refusal", "category": "x"}
    events[-2]["context_management"] = {"applied_edits": []}
    answer = in_pieces(events)
    raw = native(answer)["response"]["usage"]
    assert (raw["input_tokens"], raw["output_tokens"], raw["cache_read_input_tokens"]) == (10, 300, 200)
    assert raw["output_tokens_details"] == {"thinking_tokens": 100}
    assert answer.billed["service_tier"] == "standard"
    assert answer.usage is not None
    assert answer.usage["reasoning_tokens"] == 100
    assert native(answer)["response"]["stop_details"]["category"] == "x"
    assert "context_management" in native(answer)["response"]


SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "tide"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
MCP = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "tide", "server_name": "sea", "input": {"day": 1}}
TEXT = {"type": "text", "text": "Let me look."}


async def kinds_sent(sm: SessionManager) -> list[list[str]]:
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    check_request("anthropic", request)
    contents = [row["content"] for row in request["messages"]]
    return [["text"] if isinstance(each, str) else [block["type"] for block in each] for each in contents]


@pytest.mark.parametrize("end", ["while the call comes", "before its result"])
@pytest.mark.parametrize("call", [SEARCH, MCP], ids=["search", "mcp"])
async def test_a_server_s_call_whose_stream_stopped_is_not_sent(call: dict[str, Any], end: str) -> None:
    """The API refuses such a call without its result, and arguments that are no object."""
    events = message_events(message(TEXT, call, TEXT))
    stop = next(at for at, each in enumerate(events) if each.get("index") == 2)
    pieces = events[: stop - (6 if end == "while the call comes" else 0)]
    sm = SessionManager()

    async def stopped(_: Any) -> AsyncIterator[Any]:
        for piece in pieces:
            yield piece

    async for _ in stream_llm_call("When is high water?", stopped, session_manager=sm):
        pass
    await sm.user_says("Well?")
    assert await kinds_sent(sm) == [["text"], ["text"], ["text"]]


async def test_a_paused_turn_goes_on_or_is_left() -> None:
    paused = message(TEXT, SEARCH) | {"stop_reason": "pause_turn"}
    for is_left in (False, True):
        sm = SessionManager()
        await sm.user_says("When is high water?")
        await sm.ai_responds(paused)
        assert await kinds_sent(sm) == [["text"], ["text", "server_tool_use"]]
        if is_left:
            await sm.user_says("Never mind.")
            assert await kinds_sent(sm) == [["text"], ["text"], ["text"]]
            continue
        await sm.ai_responds(message(FOUND, TEXT) | {"id": "msg_2"})
        await sm.user_says("And then?")
        whole = ["text", "server_tool_use", "web_search_tool_result", "text"]
        assert await kinds_sent(sm) == [["text"], whole, ["text"]]


async def test_a_result_whose_call_was_taken_back_is_not_sent() -> None:
    """https://github.com/anthropics/claude-code/issues/95406"""
    sm = SessionManager()
    await sm.user_says("When is high water?")
    await sm.ai_responds(message(TEXT, SEARCH) | {"stop_reason": "pause_turn"})
    (_, paused) = await sm.get_conversation(with_ids=True)
    await sm.ai_responds(message(FOUND, {"type": "text", "text": "Noon."}) | {"id": "msg_2"})
    await sm.retract(paused["event_id"])
    await sm.user_says("And then?")
    assert await kinds_sent(sm) == [["text"], ["text"], ["text"]]


async def test_a_server_s_call_waits_while_the_application_answers_its_own() -> None:
    """Programmatic tool calling: the code runs on when the result is there."""
    code = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "code_execution", "input": {"code": "x"}}
    caller = {"type": "code_execution_20250825", "tool_id": "srvtoolu_2"}
    use = {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {}, "caller": caller}
    sm = SessionManager()
    await sm.user_says("When is high water?")
    await sm.ai_responds(message(code, use))
    await sm.add_messages([{"role": "tool", "tool_call_id": "toolu_1", "content": "noon"}])
    assert await kinds_sent(sm) == [["text"], ["server_tool_use", "tool_use"], ["tool_result"]]


async def test_a_compaction_that_failed_does_not_begin_a_request() -> None:
    """Only one with a content replaces what was before it, so that nobody's turn need come first."""
    failed = {"type": "compaction", "content": None}
    sm = SessionManager()
    await sm.user_says("When is high water?")
    (question,) = await sm.get_conversation(with_ids=True)
    await sm.ai_responds(message(failed, TEXT))
    await sm.retract(question["event_id"])
    await sm.user_says("Well?")
    assert await kinds_sent(sm) == [["text"], ["compaction", "text"], ["text"]]
