"""Answers of Anthropic's Messages API."""

from __future__ import annotations

import json
from typing import Any

import anthropic.types as anthropic_types
import pytest
from answers import asked, in_pieces, native

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
