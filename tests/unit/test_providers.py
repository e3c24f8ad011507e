"""What providers, gateways and local servers send, read: whole and streamed, as JSON and as SDK objects.

Each test stands for a kind of answer that is ordinary in the field, and that is easily read wrongly.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network

import anthropic.types as anthropic_types
import cohere
import ollama
import pytest
from google.genai.types import GenerateContentResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

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
from chuk_ai_session_manager.providers.streamed_answers import AnswerInPieces

CASES_FILE = Path(os.environ.get("CHATS", "airline_chats.jsonl")).with_name("provider_cases.json")
CASES: list[dict[str, Any]] = json.loads(CASES_FILE.read_text())["cases"] if CASES_FILE.exists() else []


def in_pieces(pieces: list[Any]) -> Answer:
    taken = AnswerInPieces()
    for piece in pieces:
        taken.add(piece)
    assert taken.unknown is None
    return taken.end()


def asked(answer: Answer) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in answer.tool_calls]


def ids(answer: Answer) -> list[str]:
    return [call["id"] for call in answer.tool_calls]


def native(answer: Answer) -> Any:
    assert answer.native is not None
    return answer.native


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


# -- OpenAI's chat completions, and those who speak that format ------------------------------------


def completion(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant"} | message}]
    common = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return common | {"choices": choices} | more


def delta(**fields: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": fields, "finish_reason": None}]
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}


def call_delta(name: str = "", arguments: Any = "", **more: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, "type": "function"} | more


EXTRAS = {
    "content": "ok",
    "refusal": None,
    "reasoning_content": "Hm.",
    "reasoning_details": [{"type": "reasoning.encrypted", "data": "ENC", "id": "r1"}],
    "annotations": [
        {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
    ],
    "x_new_field": {"a": [1, None]},
}


@pytest.mark.parametrize("as_object", [False, True])
def test_a_chat_message_is_kept_with_all_its_fields(as_object: bool) -> None:
    whole = completion(EXTRAS, service_tier="flex", system_fingerprint="fp")
    whole["choices"].append(
        {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "B"}}
    )
    answer = read_answer(ChatCompletion.model_validate(whole) if as_object else whole)
    assert native(answer)["format"] == "openai"
    assert native(answer)["message"] == {"role": "assistant"} | EXTRAS
    beside = native(answer)["response"]
    assert (beside["id"], beside["service_tier"]) == ("chatcmpl-1", "flex")
    assert beside["choices"][1]["message"]["content"] == "B"
    assert (answer.text, answer.response_id) == ("ok", "chatcmpl-1")


def test_arguments_may_be_an_object_and_a_tool_custom() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"city": "Köln"}}},
        {"id": "b", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
    ]
    answer = read_answer(completion({"content": None, "tool_calls": calls}))
    assert asked(answer) == [("f", '{"city": "Köln"}'), ("sql", "select 1")]
    assert native(answer)["message"]["tool_calls"] == calls


CALL_STREAMS: dict[str, tuple[list[list[dict[str, Any]]], list[tuple[str, str]]]] = {
    "a name in pieces": (
        [
            [call_delta("get_", index=0, id="a")],
            [call_delta("tide", index=0)],
            [call_delta("", "{}", index=0)],
        ],
        [("get_tide", "{}")],
    ),
    "name, id and type repeated in each chunk": (
        [
            [call_delta("f", '{"x"', index=0, id="a")],
            [call_delta("f", ": 1}", index=0, id="a")],
            [call_delta("f", "", index=0, id="a")],
        ],
        [("f", '{"x": 1}')],
    ),
    "arguments as an object": ([[call_delta("f", {"x": 1}, index=0, id="a")]], [("f", '{"x": 1}')]),
    "two whole calls in one chunk, all under one index": (
        [[call_delta("f", "{}", index=0), call_delta("g", "{}", index=0)]],
        [("f", "{}"), ("g", "{}")],
    ),
    "two calls of one tool under one index, without ids": (
        [[call_delta("f", '{"x":1}', index=0)], [call_delta("f", '{"x":1}', index=0)]],
        [("f", '{"x":1}'), ("f", '{"x":1}')],
    ),
    "a second call under the same index, in pieces": (
        [
            [call_delta("f", '{"x":1}', index=0)],
            [call_delta("g", "", index=0)],
            [{"index": 0, "function": {"arguments": '{"y":'}}],
            [{"index": 0, "function": {"arguments": "2}"}}],
        ],
        [("f", '{"x":1}'), ("g", '{"y":2}')],
    ),
    "one id for two calls": (
        [
            [call_delta("f", '{"x":1}', index=0, id="call_0")],
            [call_delta("f", '{"x":2}', index=1, id="call_0")],
        ],
        [("f", '{"x":1}'), ("f", '{"x":2}')],
    ),
    "a whole call sent again": (
        [[call_delta("f", '{"x":1}', index=0, id="a")], [call_delta("f", '{"x":1}', index=0, id="a")]],
        [("f", '{"x":1}')],
    ),
    "without index, in pieces": (
        [
            [call_delta("f", "", id="a")],
            [{"function": {"arguments": '{"x"'}}],
            [{"function": {"arguments": ":1}"}}],
            [call_delta("g", "", id="b")],
            [{"function": {"arguments": "{}"}}],
        ],
        [("f", '{"x":1}'), ("g", "{}")],
    ),
    "without index and ids, whole": (
        [[call_delta("f", '{"x":1}')], [call_delta("f", '{"x":2}'), call_delta("g", "{}")]],
        [("f", '{"x":1}'), ("f", '{"x":2}'), ("g", "{}")],
    ),
    "a brace in a text": (
        [
            [call_delta("f", '{"x": "}', index=0, id="a")],
            [call_delta("", "\\", index=0)],
            [call_delta("", '"{"}', index=0)],
        ],
        [("f", '{"x": "}\\"{"}')],
    ),
    "no arguments": (
        [[call_delta("f", "", index=0, id="a")], [call_delta("g", "", index=1, id="b")]],
        [("f", "{}"), ("g", "{}")],
    ),
}


@pytest.mark.parametrize("as_objects", [False, True])
@pytest.mark.parametrize("kind", CALL_STREAMS)
def test_calls_in_pieces(kind: str, as_objects: bool) -> None:
    chunks, calls = CALL_STREAMS[kind]
    pieces: list[Any] = [delta(tool_calls=each) for each in chunks]
    if as_objects:
        pieces = [ChatCompletionChunk.construct(**each) for each in pieces]
    answer = in_pieces(pieces)
    assert asked(answer) == calls
    assert len(set(ids(answer))) == len(calls) or kind == "one id for two calls"
    assert all(ids(answer))


def test_a_custom_tool_s_input_in_pieces() -> None:
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "select {}"}}
    pieces = [delta(tool_calls=[first]), delta(tool_calls=[{"index": 0, "custom": {"input": " + 1"}}])]
    answer = in_pieces(pieces)
    assert asked(answer) == [("sql", "select {} + 1")]
    assert native(answer)["message"]["tool_calls"][0]["type"] == "custom"


def test_the_extra_fields_of_a_stream_are_put_together() -> None:
    pieces = [
        delta(role="assistant", content=None, reasoning_content="H"),
        delta(role="assistant", content=None, reasoning_content="m.", x_list=[1]),
        delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": "a", "format": "x"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": "b", "format": "x"}]),
        delta(content="o", annotations=[{"n": 1}]),
        delta(content="k", annotations=[{"n": 2}], x_list=[2]),
    ]
    pieces[-1]["choices"][0]["finish_reason"] = "stop"
    answer = in_pieces(pieces)
    assert answer.text == "ok"
    assert native(answer)["message"] == {
        "role": "assistant",
        "content": "ok",
        "reasoning_content": "Hm.",
        "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "ab", "format": "x"}],
        "annotations": [{"n": 1}, {"n": 2}],
        "x_list": [1, 2],
    }


def test_all_choices_of_a_stream_are_kept() -> None:
    pieces = []
    for text in ("a", "b"):
        for index in (1, 0):
            piece = delta(content=f"{text}{index}")
            piece["choices"][0]["index"] = index
            pieces.append(piece)
    answer = in_pieces(pieces)
    assert answer.text == "a0b0"
    assert native(answer)["response"]["choices"][1]["message"]["content"] == "a1b1"


@pytest.mark.parametrize("where", ["content", "refusal", "reasoning_content"])
def test_half_a_character_is_joined_over_chunks(where: str) -> None:
    answer = in_pieces([delta(**{where: "Nice \ud83d"}), delta(**{where: "\ude00!"})])
    assert native(answer)["message"][where] == "Nice \U0001f600!"


def test_half_a_character_in_arguments_is_joined_or_written_out() -> None:
    pieces = [call_delta("f", '{"x": "\ud83d', index=0, id="a"), call_delta("", '\ude00 \ud83d"}', index=0)]
    answer = in_pieces([delta(tool_calls=[each]) for each in pieces])
    assert asked(answer) == [("f", '{"x": "\U0001f600 \\ud83d"}')]


async def test_half_a_character_in_a_text_of_the_application_s_is_written_out() -> None:
    sm = SessionManager()
    await sm.ai_responds("Nice \ud83d\ude00 \ud83d")
    assert (await sm.get_conversation())[0]["content"] == "Nice \U0001f600 \\ud83d"


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(codec=None), max_size=20), st.data())
async def test_whatever_a_model_writes_can_be_stored(text: str, data: st.DataObject) -> None:
    """Halves of surrogate pairs, also where a stream was cut through one, in each place of a message."""
    raw = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    cut = data.draw(st.integers(0, len(raw)))
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": json.dumps({"x": raw})}}
    answer = in_pieces([delta(content=raw[:cut], tool_calls=[call]), delta(content=raw[cut:], reasoning=raw)])
    sm = SessionManager()
    await sm.ai_responds(completion({"content": raw, "reasoning": raw, "tool_calls": [call]}))
    await sm.tool_used("f", {"x": raw}, raw, tool_call_id="a")
    json.dumps(native(answer), ensure_ascii=False).encode()
    assert answer.text == read_answer(completion({"content": raw})).text


def test_usage_under_a_gateway_s_own_key_and_running_usage() -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}
    in_choice = delta(content="ok")
    in_choice["choices"][0]["usage"] = usage
    running = [
        delta(content="o") | {"usage": usage | {"completion_tokens": 1}},
        delta(content="k") | {"usage": usage},
    ]
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    for pieces in (
        [delta(content="ok") | {"x_groq": {"id": "req_1", "usage": usage}}],
        [in_choice],
        running,
        [*running, delta() | {"usage": None}],
        [*running, delta() | {"usage": zeros}],
        [delta(content="ok"), {"choices": [], "usage": usage}],
    ):
        counted = in_pieces(pieces).usage
        assert counted is not None
        assert (counted["input_tokens"], counted["output_tokens"]) == (11, 2)


def test_an_audio_answer_says_its_transcript() -> None:
    audio = {"id": "audio_1", "data": "AAAA", "expires_at": 1, "transcript": "hello there"}
    assert read_answer(completion({"content": None, "audio": audio})).text == "hello there"
    pieces = [
        delta(audio={"id": "audio_1", "transcript": "hello "}),
        delta(audio={"id": "audio_1", "data": "AA"}),
        delta(audio={"transcript": "there", "data": "AA", "expires_at": 1}),
    ]
    answer = in_pieces(pieces)
    assert (answer.text, native(answer)["message"]["audio"]) == ("hello there", audio)


def test_mistral_s_sdk() -> None:
    from mistralai.client import models

    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    content = [thinking, {"type": "text", "text": "ok"}]
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    whole = completion({"content": content, "tool_calls": [call]}, usage=usage)
    first = {"data": delta(role="assistant", content=[thinking])}
    second = {"data": delta(content="ok", tool_calls=[call]) | {"usage": usage}}
    for answer in (
        read_answer(models.ChatCompletionResponse.model_validate(whole)),
        in_pieces([models.CompletionEvent.model_validate(each) for each in (first, second)]),
    ):
        assert (answer.text, asked(answer), answer.provider) == ("ok", [("f", '{"x": 1}')], "mistral")
        assert native(answer)["message"]["content"] == content
        assert answer.usage is not None
        assert answer.usage["input_tokens"] == 10


# -- OpenAI's Responses ---------------------------------------------------------------------------


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "status": "completed"}
    options = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return common | options | {"output": list(output)} | more


def said(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": content,
    } | more


SHELL = {
    "type": "shell_call",
    "id": "sh_1",
    "call_id": "call_1",
    "status": "completed",
    "action": {"commands": ["ls"], "timeout_ms": 1000, "max_output_length": None},
}
ASKS: list[tuple[dict[str, Any], str, str, Any]] = [
    (SHELL, "call_1", "shell", {"action": SHELL["action"]}),
    (
        {
            "type": "apply_patch_call",
            "id": "ap_1",
            "call_id": "call_1",
            "status": "completed",
            "operation": {"type": "delete_file", "path": "a.txt"},
        },
        "call_1",
        "apply_patch",
        {"operation": {"type": "delete_file", "path": "a.txt"}},
    ),
    (
        {
            "type": "local_shell_call",
            "id": "ls_1",
            "call_id": "call_1",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}},
        },
        "call_1",
        "local_shell",
        {"action": {"type": "exec", "command": ["ls"], "env": {}}},
    ),
    (
        {
            "type": "computer_call",
            "id": "cu_1",
            "call_id": "call_1",
            "status": "completed",
            "pending_safety_checks": [],
            "action": {"type": "screenshot"},
        },
        "call_1",
        "computer",
        {"pending_safety_checks": [], "action": {"type": "screenshot"}},
    ),
    (
        {
            "type": "tool_search_call",
            "id": "ts_1",
            "call_id": "call_1",
            "status": "completed",
            "execution": "client",
            "arguments": {"goal": "tides"},
        },
        "call_1",
        "tool_search",
        {"goal": "tides"},
    ),
    (
        {
            "type": "mcp_approval_request",
            "id": "mcpr_1",
            "server_label": "s",
            "name": "drop",
            "arguments": '{"a":1}',
        },
        "mcpr_1",
        "drop",
        {"a": 1},
    ),
    (
        {"type": "a_new_kind_call", "id": "nk_1", "call_id": "call_1", "what": "x"},
        "call_1",
        "a_new_kind",
        {"what": "x"},
    ),
]


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize(("item", "call_id", "name", "arguments"), ASKS, ids=lambda each: str(each)[:24])
def test_items_that_ask_the_application(
    item: dict[str, Any], call_id: str, name: str, arguments: Any, as_object: bool
) -> None:
    whole = response(item)
    answer = read_answer(Response.construct(**whole) if as_object else whole)
    assert ids(answer) == [call_id]
    assert [(tool, json.loads(given)) for tool, given in asked(answer)] == [(name, arguments)]
    assert native(answer)["message"] == [item]


def test_what_the_provider_ran_itself_does_not_wait() -> None:
    outcome = {"type": "shell_call_output", "id": "o_1", "call_id": "call_1", "output": []}
    items: list[dict[str, Any]] = [
        SHELL,
        outcome,
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "x"},
        },
        {
            "type": "tool_search_call",
            "id": "t_1",
            "call_id": None,
            "execution": "server",
            "arguments": {},
            "status": "completed",
        },
        {
            "type": "mcp_call",
            "id": "mcp_1",
            "server_label": "s",
            "name": "f",
            "arguments": "{}",
            "output": "x",
        },
        {"type": "program", "id": "p_1", "call_id": "call_9", "code": "1"},
        said("Done."),
    ]
    answer = read_answer(response(*items))
    assert (answer.text, answer.tool_calls) == ("Done.", [])
    assert native(answer)["message"] == items


def test_fields_of_a_call_that_python_has_other_names_for() -> None:
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
        "async": True,
        "namespace": "n",
        "caller": {"type": "program", "caller_id": "p"},
    }
    answer = read_answer(Response.model_validate(response(item)))
    assert native(answer)["message"] == [item]


async def test_phases_are_messages_of_their_own() -> None:
    whole = response(said("I look.", phase="commentary"), said("At noon.", id="msg_2", phase="final_answer"))
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(Response.model_validate(whole))
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["content"] for row in rows[1:]] == ["I look.", "At noon."]
    assert [row["content"] for row in (await sm.get_messages_for_llm())[1:]] == ["I look.", "At noon."]
    assert (await sm.get_stats())["ai_messages"] == 1
    (_, session) = await sm.writer._conversation.current()
    assert [item["phase"] for item in (session.events[1].native or {})["message"]] == [
        "commentary",
        "final_answer",
    ]


def events_of(whole: dict[str, Any]) -> list[dict[str, Any]]:
    begun = whole | {"status": "in_progress", "output": []}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for at, item in enumerate(whole["output"]):
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": at,
                "item": item | {"status": "in_progress"} | ({"content": []} if "content" in item else {}),
            }
        )
        for number, part in enumerate(item.get("content") or []):
            place = {"output_index": at, "content_index": number}
            delta = {"type": "response.output_text.delta"} | place
            events += [delta | {"delta": letter} for letter in part.get("text", "")]
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    return [*events, {"type": "response.completed", "response": whole}]


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ENC"}


def test_a_stream_of_items_whose_end_repeats_them_or_not() -> None:
    whole = response(REASONING, said("ok"), SHELL)
    events = events_of(whole)
    for pieces in (
        events,
        [*events[:-1], {"type": "response.completed", "response": whole | {"output": []}}],
    ):
        answer = in_pieces(pieces)
        assert (answer.text, ids(answer)) == ("ok", ["call_1"])
        assert native(answer)["message"] == whole["output"]


def test_a_stream_that_breaks_off_has_the_items_that_came() -> None:
    events = events_of(response(REASONING, said("ok"), SHELL))
    answer = in_pieces(events[:5])
    assert answer.text == "o"
    assert native(answer)["cut"] is True
    assert native(answer)["message"][0] == REASONING


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


# -- Google ---------------------------------------------------------------------------------------


def gemini(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    common = {"modelVersion": "gemini-3-pro", "responseId": "r1", "usageMetadata": usage}
    return common | {"candidates": [candidate]} | more


PARTS: list[dict[str, Any]] = [
    {"text": "Hm.", "thought": True},
    {"text": "ok", "thoughtSignature": "+//+Pj8="},
    {"functionCall": {"id": "c1", "name": "f", "args": {"my_key": None}}, "thoughtSignature": "-__-Pj8="},
    {"executableCode": {"language": "PYTHON", "code": "1"}},
]


@pytest.mark.parametrize("form", ["json", "object", "dump", "stream", "objects"])
def test_parts_are_kept_with_their_signatures(form: str) -> None:
    whole = gemini(*PARTS)
    sdk = GenerateContentResponse.model_validate(whole)
    forms: dict[str, Any] = {"json": whole, "object": sdk, "dump": sdk.model_dump()}
    pieces = [gemini(part) for part in PARTS]
    if form in forms:
        answer = read_answer(forms[form])
    else:
        answer = in_pieces(
            pieces if form == "stream" else [GenerateContentResponse.model_validate(each) for each in pieces]
        )
    kept = native(answer)["message"]["parts"]
    assert [part.get("thoughtSignature", "").replace("+//+", "-__-") for part in kept] == [
        "",
        "-__-Pj8=",
        "-__-Pj8=",
        "",
    ]
    assert kept[2]["functionCall"] == PARTS[2]["functionCall"]
    assert kept[3] == PARTS[3]
    assert (answer.text, ids(answer), answer.finish_reason) == ("ok", ["c1"], "STOP")
    assert (answer.response_id, answer.model) == ("r1", "gemini-3-pro")


def test_a_blocked_prompt_is_an_answer_that_says_so() -> None:
    usage = {"promptTokenCount": 7, "totalTokenCount": 7}
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "modelVersion": "g", "usageMetadata": usage}
    for answer in (
        read_answer(blocked),
        read_answer(GenerateContentResponse.model_validate(blocked)),
        in_pieces([blocked]),
    ):
        assert (answer.text, answer.finish_reason) == ("", "SAFETY")
        assert answer.usage is not None
        assert answer.usage["input_tokens"] == 7


def test_a_call_whose_arguments_come_in_parts() -> None:
    def piece(**call: Any) -> dict[str, Any]:
        return gemini({"functionCall": call})

    pieces = [
        piece(id="c1", name="f", willContinue=True),
        piece(
            partialArgs=[{"jsonPath": "$.city", "stringValue": "Ro", "willContinue": True}], willContinue=True
        ),
        piece(partialArgs=[{"jsonPath": "$.city", "stringValue": "me"}], willContinue=True),
        piece(partialArgs=[{"jsonPath": "$.stops[0].n", "numberValue": 2}], willContinue=True),
        piece(partialArgs=[{"jsonPath": "$.stops[0].ok", "boolValue": True}], willContinue=True),
        gemini({"functionCall": {}}),
        gemini({"functionCall": {"id": "c2", "name": "g", "args": {}}}),
    ]
    answer = in_pieces(pieces)
    assert [(name, json.loads(given)) for name, given in asked(answer)] == [
        ("f", {"city": "Rome", "stops": [{"n": 2, "ok": True}]}),
        ("g", {}),
    ]
    assert ids(answer) == ["c1", "c2"]


HISTORY: list[dict[str, Any]] = [
    {"role": "user", "parts": [{"text": "before"}]},
    {"role": "model", "parts": [{"text": "yes"}]},
    {"role": "user", "parts": [{"text": "When?"}]},
    {
        "role": "model",
        "parts": [{"functionCall": {"name": "tide", "args": {"day": 1}}, "thoughtSignature": "AAAA"}],
    },
    {"role": "user", "parts": [{"functionResponse": {"name": "tide", "response": {"result": "noon"}}}]},
]


@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_that_the_sdk_answered_itself(streamed: bool) -> None:
    whole = gemini({"text": "At noon."}, automaticFunctionCallingHistory=HISTORY)
    response_ = GenerateContentResponse.model_validate(whole)
    answer = (
        in_pieces([GenerateContentResponse.model_validate(gemini(HISTORY[3]["parts"][0])), response_])
        if streamed
        else read_answer(response_)
    )
    calling, result = answer.before
    assert isinstance(calling, Answer)
    assert isinstance(result, dict)
    assert asked(calling) == [("tide", '{"day": 1}')]
    assert result == {"role": "tool", "tool_call_id": ids(calling)[0], "content": "noon"}
    assert (calling.usage is None) is not streamed
    if streamed:
        return
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(response_)
    await sm.ai_responds(response_)
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["usage_source"]) == (2, "mixed")


INTERACTION: dict[str, Any] = {
    "id": "int_1",
    "status": "requires_action",
    "model": "gemini-3-pro",
    "object": "interaction",
    "steps": [
        {"type": "thought", "signature": "SIG"},
        {"type": "model_output", "content": [{"type": "text", "text": "I look."}]},
        {"type": "function_call", "id": "c1", "name": "f", "arguments": {"city": "Rome"}},
        {"type": "a_new_step", "x": 1},
    ],
    "usage": {"total_input_tokens": 100, "total_output_tokens": 20, "total_tokens": 120},
}


def test_interactions() -> None:
    from google.genai.interactions import Interaction

    events: list[dict[str, Any]] = [
        {"event_type": "interaction.created", "interaction": {"id": "int_1", "status": "in_progress"}},
        {"event_type": "step.start", "index": 0, "step": {"type": "thought"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "thought_signature", "signature": "SIG"}},
        {"event_type": "step.start", "index": 1, "step": {"type": "model_output"}},
        {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "I "}},
        {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "look."}},
        {"event_type": "step.start", "index": 2, "step": {"type": "function_call", "id": "c1", "name": "f"}},
        {
            "event_type": "step.delta",
            "index": 2,
            "delta": {"type": "arguments_delta", "arguments": '{"city":'},
        },
        {
            "event_type": "step.delta",
            "index": 2,
            "delta": {"type": "arguments_delta", "arguments": ' "Rome"}'},
        },
        {"event_type": "step.start", "index": 3, "step": {"type": "a_new_step", "x": 1}},
        {
            "event_type": "interaction.completed",
            "interaction": {key: value for key, value in INTERACTION.items() if key != "steps"},
        },
    ]
    for answer in (
        read_answer(INTERACTION),
        read_answer(Interaction.model_validate(INTERACTION)),
        in_pieces(events),
    ):
        assert (answer.text, ids(answer), answer.response_id) == ("I look.", ["c1"], "int_1")
        assert native(answer)["message"] == INTERACTION["steps"]
        assert answer.billed["usage"]["total_input_tokens"] == 100


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

    with pytest.raises(InvalidInput, match="dict is no known response"):
        read_answer({"my_reply": "ok"})
    register_reader(Reader("mine", read))
    try:
        answer = read_answer({"my_reply": "ok"})
    finally:
        unregister_reader("mine")
    assert (answer.text, native(answer)["message"]) == ("ok", {"my_reply": "ok"})
    with pytest.raises(InvalidInput):
        read_answer({"my_reply": "ok"})
