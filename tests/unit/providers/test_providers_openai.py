"""Answers of OpenAI's chat completions, and of those who speak their format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import asked, ids, in_pieces, native
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.providers import read_answer

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
    "calls under one index, with empty ids and empty arguments": (
        [[call_delta("f", "", index=0, id="")], [call_delta("g", "", index=0, id="")]],
        [("f", "{}"), ("g", "{}")],
    ),
    "the first of them without arguments": (
        [[call_delta("f", "", index=0, id="")], [call_delta("g", '{"x":1}', index=0, id="")]],
        [("f", "{}"), ("g", '{"x":1}')],
    ),
    "a name in pieces, without an id": (
        [
            [call_delta("get_", "", index=0)],
            [call_delta("tide", "", index=0)],
            [call_delta("", "{}", index=0)],
        ],
        [("get_tide", "{}")],
    ),
    "a name in pieces of a tool without arguments": (
        [[call_delta("get_", "", index=0, id="a")], [call_delta("tide", "", index=0)]],
        [("get_tide", "{}")],
    ),
    "an empty object before the arguments": (  # https://github.com/ogx-ai/ogx/pull/5462
        [
            [call_delta("f", "{}", index=0, id="a")],
            [{"index": 0, "function": {"arguments": '{"x":'}}],
            [{"index": 0, "function": {"arguments": "1}"}}],
        ],
        [("f", '{"x":1}')],
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


SIGNED = [
    {"type": "thinking", "thinking": "Step 1. Step 2.", "signature": "SIG"},
    {"type": "redacted_thinking", "data": "ENC"},
    {"type": "thinking", "thinking": "Step 3.", "signature": "SIG-2"},
]
THINKING_STREAMS: dict[str, list[dict[str, Any]]] = {
    # https://github.com/BerriAI/litellm/issues/29428; litellm 1.110 with an index
    "a block a piece": [
        {"type": "thinking", "thinking": "Step 1. ", "index": 0},
        {"type": "thinking", "thinking": "Step 2.", "index": 0},
        {"type": "thinking", "thinking": "", "signature": "SIG", "index": 0},
        {"type": "redacted_thinking", "data": "ENC", "index": 1},
        {"type": "thinking", "thinking": "Step 3.", "index": 2},
        {"type": "thinking", "thinking": "", "signature": "SIG-2", "index": 2},
    ],
    # https://github.com/open-webui/open-webui/pull/29860
    "the signed block repeats the text": [
        {"type": "thinking", "thinking": "Step 1. ", "signature": ""},
        {"type": "thinking", "thinking": "Step 2.", "signature": None},
        {"type": "thinking", "thinking": "Step 1. Step 2.", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "ENC"},
        {"type": "thinking", "thinking": "Step 3.", "signature": "SIG-2"},
    ],
}


@pytest.mark.parametrize("kind", THINKING_STREAMS)
def test_thinking_of_anthropic_s_models_through_litellm_is_whole(kind: str) -> None:
    chunks = [
        delta(
            thinking_blocks=[piece], provider_specific_fields={"thinking_blocks": [piece], "citation": None}
        )
        for piece in THINKING_STREAMS[kind]
    ]
    message = native(in_pieces([*chunks, delta(content="ok")]))["message"]
    assert message["thinking_blocks"] == SIGNED
    assert message["provider_specific_fields"]["thinking_blocks"] == SIGNED


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


def test_the_choice_of_index_0_is_the_answer_wherever_it_is_listed() -> None:
    choices = [
        {"index": at, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for at, text in ((1, "No."), (0, "Yes."))
    ]
    answer = read_answer({"object": "chat.completion", "choices": choices})
    assert answer.text == "Yes."
    assert answer.native is not None
    assert answer.native["response"]["choices"][1]["message"]["content"] == "No."
