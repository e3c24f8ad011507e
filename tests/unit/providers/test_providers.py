"""Readers of answers: the cases of every provider, Bedrock, Cohere, Ollama, LangChain, and an application's own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cohere
import ollama
import pytest
from answers import asked, ids, in_pieces, native
from langchain_core.messages import AIMessage, AIMessageChunk
from request_rules import check_request

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers import (
    Answer,
    Reader,
    native_of,
    read_answer,
    register_reader,
    unregister_reader,
)
from chuk_ai_session_manager.providers.formats import FORMATS

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network


CASES_FILE = Path(os.environ.get("CHATS", "airline_chats.jsonl")).with_name("provider_cases.json")


CASES: list[dict[str, Any]] = json.loads(CASES_FILE.read_text())["cases"] if CASES_FILE.exists() else []


# -- the shared cases -----------------------------------------------------------------------------


@pytest.mark.skipif(not CASES, reason="the file of cases is not here")
@pytest.mark.parametrize(
    "case", [each for each in CASES if each.keys() & {"response", "chunks"}], ids=lambda each: each["name"]
)
async def test_cases(case: dict[str, Any]) -> None:
    if "error" in case.get("response", {}):
        with pytest.raises(InvalidInput):  # which a tracked client does not raise
            read_answer(case["response"])
        return
    answer = in_pieces(case["chunks"]) if "chunks" in case else read_answer(case["response"])
    if "text" in case:
        assert answer.text == case["text"]
    if "calls" in case:
        assert ids(answer) == case["calls"]
    if "arguments" in case:
        assert [arguments for _, arguments in asked(answer)] == case["arguments"]
    counts: dict[str, Any] = dict(answer.usage or {})
    for name, count in case.get("want", {}).items():
        assert name not in counts or counts[name] == pytest.approx(count)
    sm = SessionManager()
    if "response" in case:
        await sm.ai_responds(case["response"])
        session = await sm.writer._conversation.current()
        (event,) = session[1].events
        for kept in case.get("keeps", []):
            assert kept in event.model_dump_json()
            form = native(answer)["format"]
            assert kept in json.dumps(await sm.get_messages_for_llm(include_tools=True, format=form))
        assert type(event).model_validate_json(event.model_dump_json()) == event


@pytest.mark.skipif(not CASES, reason="the file of cases is not here")
@pytest.mark.parametrize(
    "case", [each for each in CASES if each["kind"] == "history"], ids=lambda each: each["name"]
)
async def test_histories_of_cases(case: dict[str, Any]) -> None:
    sm = SessionManager()
    await sm.add_messages(case["rows"])
    for name in FORMATS:
        request: Any = await sm.get_messages_for_llm(format=name, include_tools=True)
        check_request(name, request)
    if case["name"] == "anthropic-messages-in":
        request = await sm.get_messages_for_llm(format="anthropic")
        assert plain(request["messages"]) == plain(case["rows"])
    if "keeps_in_summary" in case:
        rolled = SessionManager(infinite_context=True, max_turns_per_segment=2)
        await rolled.add_messages(case["rows"])
        await rolled.user_says("Yes.")
        await rolled.wait_for_summaries()
        first, *_ = await rolled.get_messages_for_llm()  # with the summary in front
        for words in case["keeps_in_summary"]:
            assert words in first["content"]


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Anthropic's rows with each text as a block, as both forms mean the same."""
    return [
        row | {"content": [{"type": "text", "text": row["content"]}]}
        if isinstance(row["content"], str)
        else row
        for row in rows
    ]


# -- Bedrock, Cohere, Ollama, LangChain -----------------------------------------------------------

CONVERSE: dict[str, Any] = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "SIG"}}},
                {"reasoningContent": {"redactedContent": b"\xfb\xff"}},
                {"text": "ok"},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
    "ResponseMetadata": {"RequestId": "req-1", "HTTPStatusCode": 200},
}


def test_bedrock() -> None:
    events: list[dict[str, Any]] = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "H"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "m."}}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "SIG"}}}},
        {
            "contentBlockDelta": {
                "contentBlockIndex": 1,
                "delta": {"reasoningContent": {"redactedContent": b"\xfb\xff"}},
            }
        },
        {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"text": "o"}}},
        {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"text": "k"}}},
        {
            "contentBlockStart": {
                "contentBlockIndex": 3,
                "start": {"toolUse": {"toolUseId": "t1", "name": "f"}},
            }
        },
        {"contentBlockDelta": {"contentBlockIndex": 3, "delta": {"toolUse": {"input": '{"a"'}}}},
        {"contentBlockDelta": {"contentBlockIndex": 3, "delta": {"toolUse": {"input": ": 1}"}}}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": CONVERSE["usage"], "metrics": {"latencyMs": 1}}},
    ]
    for answer in (read_answer(CONVERSE), in_pieces(events)):
        assert (answer.text, ids(answer), asked(answer)) == ("ok", ["t1"], [("f", '{"a": 1}')])
        assert answer.finish_reason == "tool_use"
        content = native(answer)["message"]["content"]
        assert content[1] == {"reasoningContent": {"redactedContent": "+/8="}}
        assert [content[0], *content[2:]] == [
            CONVERSE["output"]["message"]["content"][at] for at in (0, 2, 3)
        ]
        assert answer.billed["usage"] == CONVERSE["usage"]


COHERE: dict[str, Any] = {
    "id": "c-1",
    "finish_reason": "TOOL_CALL",
    "message": {
        "role": "assistant",
        "tool_plan": "I look.",
        "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    },
    "usage": {
        "billed_units": {"input_tokens": 10, "output_tokens": 5},
        "tokens": {"input_tokens": 30, "output_tokens": 9},
    },
}


def test_cohere() -> None:
    def event(kind: str, index: int = 0, **told: Any) -> dict[str, Any]:
        return {"type": kind, "index": index, "delta": {"message": told}}

    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}
    end = {"type": "message-end", "delta": {name: COHERE[name] for name in ("finish_reason", "usage")}}
    start = {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant", "content": []}}}
    events: list[dict[str, Any]] = [
        start,
        event("tool-plan-delta", tool_plan="I "),
        event("tool-plan-delta", tool_plan="look."),
        event("tool-call-start", tool_calls=call),
        event("tool-call-delta", tool_calls={"function": {"arguments": '{"a"'}}),
        event("tool-call-delta", tool_calls={"function": {"arguments": ": 1}"}}),
        {"type": "tool-call-end", "index": 0},
        end,
    ]
    for answer in (
        read_answer(COHERE),
        read_answer(cohere.V2ChatResponse.model_validate(COHERE)),
        in_pieces(events),
    ):
        assert (answer.text, ids(answer), asked(answer)) == ("I look.", ["t1"], [("f", '{"a": 1}')])
        assert native(answer)["message"] == COHERE["message"]
        assert (answer.response_id, answer.finish_reason) == ("c-1", "TOOL_CALL")
    texts = [
        start,
        event("content-start", content={"type": "thinking", "thinking": ""}),
        event("content-delta", content={"thinking": "Hm."}),
        event("content-start", 1, content={"type": "text", "text": ""}),
        event("content-delta", 1, content={"text": "o"}),
        event("content-delta", 1, content={"text": "k"}),
        event("citation-start", citations={"start": 0, "end": 1, "text": "o"}),
        end,
    ]
    answer = in_pieces(texts)
    assert answer.text == "ok"
    assert native(answer)["message"] == {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "ok"}],
        "citations": [{"start": 0, "end": 1, "text": "o"}],
    }


OLLAMA: dict[str, Any] = {
    "model": "llama3.2",
    "created_at": "2026-01-01T00:00:00Z",
    "done": True,
    "done_reason": "stop",
    "message": {
        "role": "assistant",
        "content": "ok",
        "thinking": "Hm.",
        "tool_calls": [
            {"function": {"name": "f", "arguments": {"a": 1}}},
            {"function": {"name": "f", "arguments": {"a": 2}}},
        ],
    },
    "prompt_eval_count": 26,
    "eval_count": 298,
}


def test_ollama() -> None:
    first, second = OLLAMA["message"]["tool_calls"]
    begun = {"model": "llama3.2", "created_at": "x", "done": False}
    lines: list[dict[str, Any]] = [
        begun | {"message": {"role": "assistant", "content": "", "thinking": "Hm."}},
        begun | {"message": {"role": "assistant", "content": "o"}},
        begun | {"message": {"role": "assistant", "content": "k", "tool_calls": [first]}},
        begun | {"message": {"role": "assistant", "content": "", "tool_calls": [second]}},
        OLLAMA | {"message": {"role": "assistant", "content": ""}},
    ]
    for answer in (
        read_answer(OLLAMA),
        read_answer(ollama.ChatResponse.model_validate(OLLAMA)),
        in_pieces(lines),
        in_pieces([ollama.ChatResponse.model_validate(each) for each in lines]),
    ):
        assert (answer.text, asked(answer)) == ("ok", [("f", '{"a": 1}'), ("f", '{"a": 2}')])
        assert native(answer)["message"] == OLLAMA["message"]
        assert (answer.model, answer.provider, answer.finish_reason) == ("llama3.2", "ollama", "stop")
        assert answer.billed["usage"] == {"prompt_eval_count": 26, "eval_count": 298}
    generated = {"model": "llama3.2", "response": "ok", "thinking": "Hm.", "done": True, "context": [1, 2]}
    assert read_answer(generated).text == "ok"


USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


def test_langchain() -> None:
    whole = AIMessage(
        content=[{"type": "thinking", "thinking": "Hm.", "signature": "SIG"}, {"type": "text", "text": "ok"}],
        tool_calls=[{"name": "f", "args": {"a": 1}, "id": "t1"}],
        usage_metadata=USAGE,
        response_metadata={
            "id": "msg_1",
            "model_name": "claude-sonnet-4-5",
            "model_provider": "anthropic",
            "stop_reason": "tool_use",
        },
        id="run-1",
    )
    for answer in (
        read_answer(whole),
        read_answer(whole.model_dump()),
        read_answer(json.loads(whole.model_dump_json())),
    ):
        assert (answer.text, ids(answer), asked(answer)) == ("ok", ["t1"], [("f", '{"a": 1}')])
        assert (answer.model, answer.provider, answer.response_id) == (
            "claude-sonnet-4-5",
            "anthropic",
            "msg_1",
        )
        assert AIMessage.model_validate(native(answer)["message"]) == whole
        assert answer.usage is not None
        assert answer.usage["input_tokens"] == 10


def test_langchain_s_chunks() -> None:
    chunks = [
        AIMessageChunk(
            content=[{"type": "thinking", "thinking": "H", "index": 0}],
            id="run-1",
            usage_metadata={"input_tokens": 10, "output_tokens": 0, "total_tokens": 10},
        ),
        AIMessageChunk(content=[{"type": "thinking", "thinking": "m.", "index": 0}]),
        AIMessageChunk(content=[{"type": "thinking", "signature": "SIG", "index": 0}]),
        AIMessageChunk(content=[{"type": "text", "text": "o", "index": 1}]),
        AIMessageChunk(content=[{"type": "text", "text": "k", "index": 1}]),
        AIMessageChunk(content="", tool_call_chunks=[{"name": "f", "args": '{"a"', "id": "t1", "index": 2}]),
        AIMessageChunk(content="", tool_call_chunks=[{"name": None, "args": ": 1}", "id": None, "index": 2}]),
        AIMessageChunk(
            content="",
            response_metadata={"stop_reason": "tool_use", "model_name": "m"},
            chunk_position="last",
            usage_metadata={"input_tokens": 0, "output_tokens": 5, "total_tokens": 5},
        ),
    ]
    for pieces in (chunks, [chunk.model_dump() for chunk in chunks]):
        answer = in_pieces(pieces)
        assert (answer.text, ids(answer), asked(answer)) == ("ok", ["t1"], [("f", '{"a": 1}')])
        kept = native(answer)["message"]
        assert kept["content"] == [
            {"type": "thinking", "thinking": "Hm.", "signature": "SIG", "index": 0},
            {"type": "text", "text": "ok", "index": 1},
        ]
        assert (kept["usage_metadata"], kept["id"]) == (USAGE, "run-1")
        assert answer.model == "m"
    assert in_pieces([AIMessageChunk(content="o"), AIMessageChunk(content="k")]).text == "ok"


# -- all of them ----------------------------------------------------------------------------------


def test_a_reader_of_one_s_own() -> None:
    def read(given: Any) -> Answer | None:
        if not isinstance(given, dict) or "my_reply" not in given:
            return None
        return Answer(given["my_reply"], native=native_of("mine", given))

    with pytest.raises(InvalidInput, match="dict is not a known response"):
        read_answer({"my_reply": "ok"})
    register_reader(Reader("mine", read))
    try:
        answer = read_answer({"my_reply": "ok"})
    finally:
        unregister_reader("mine")
    assert (answer.text, native(answer)["message"]) == ("ok", {"my_reply": "ok"})
    with pytest.raises(InvalidInput):
        read_answer({"my_reply": "ok"})
