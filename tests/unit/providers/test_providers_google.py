"""Answers of Google's Gemini and Interactions APIs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from answers import asked, ids, in_pieces, native
from google.genai.types import GenerateContentResponse
from request_rules import check_request

from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.providers import Answer, read_answer

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


@pytest.mark.parametrize("asks_at", [None, 1, 3])
@pytest.mark.parametrize("reads", [3, 4])
async def test_steps_of_the_sdk_stay_if_the_stream_is_left_or_a_question_comes_between(
    reads: int, asks_at: int | None
) -> None:
    def chunk(part: dict[str, Any], sent: int = 0, answered: int = 0, **more: Any) -> dict[str, Any]:
        end = {"finishReason": "STOP"} if sent else {}
        usage = (
            {"usageMetadata": {"promptTokenCount": sent, "candidatesTokenCount": answered}} if sent else {}
        )
        return {"candidates": [{"content": {"role": "model", "parts": [part]}, **end}], **usage, **more}

    said = {"text": "I look."}
    call = {"functionCall": {"name": "tide", "args": {}, "id": "c1"}}
    result = {"functionResponse": {"name": "tide", "id": "c1", "response": {"result": "12:00"}}}
    history: dict[str, Any] = {
        "automaticFunctionCallingHistory": [
            {"role": "user", "parts": [{"text": "When?"}]},
            {"role": "model", "parts": [said, call]},
            {"role": "user", "parts": [result]},
        ]
    }
    chunks = [
        chunk(said),
        chunk(call, 10, 5),
        chunk({"text": "At "}, **history),
        chunk({"text": "noon."}, 30, 3, **history),
    ]

    async def answered(_: Any) -> AsyncIterator[Any]:
        for each in chunks:
            yield each

    sm = SessionManager()
    stream, number = stream_llm_call("When?", answered, session_manager=sm), 0
    async for _ in stream:
        number += 1
        if number == asks_at:
            await sm.user_says("And tomorrow?")
        if number == reads:
            break
    await stream.aclose()
    rows = await sm.get_messages_for_llm(include_tools=True)
    last = "At " if reads == 3 else "At noon."
    told = ["When?", "I look.", "12:00", last, *([] if asks_at is None else ["And tomorrow?"])]
    assert [row["content"] for row in rows] == told
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["tool_calls"]) == (2, 1)
    if reads == 4:
        assert (stats["input_tokens"], stats["output_tokens"], stats["usage_source"]) == (40, 8, "reported")


@pytest.mark.parametrize("came", [1, 2])
async def test_a_call_that_was_cut_within_its_arguments_is_closed(came: int) -> None:
    first = {
        "name": "tide",
        "partialArgs": [{"jsonPath": "$.city", "stringValue": "Lis"}],
        "willContinue": True,
    }
    more = {"partialArgs": [{"jsonPath": "$.city", "stringValue": "b"}], "willContinue": True}
    chunks = [gemini({"functionCall": call, "thoughtSignature": "QUJD"}) for call in (first, more)][:came]
    for chunk in chunks:
        del chunk["candidates"][0]["finishReason"]
    sm = SessionManager()

    async def stopped(_: Any) -> AsyncIterator[Any]:
        for chunk in chunks:
            yield chunk
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        async for _ in stream_llm_call("When?", stopped, session_manager=sm):
            pass
    await sm.user_says("Well?")
    google: Any = await sm.get_messages_for_llm(format="google")
    anthropic: Any = await sm.get_messages_for_llm(format="anthropic")
    check_request("google", google)
    check_request("anthropic", anthropic)
    assert google["contents"][1]["parts"][0]["functionCall"] == {"name": "tide", "args": {}}
    assert anthropic["messages"][1]["content"][0]["input"] == {}


async def test_an_empty_text_goes_back_only_with_a_signature() -> None:
    """ "Unable to submit request because it has an empty text parameter" (Vertex AI)."""
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(gemini({"text": "Noon."}, {"text": ""}, {"text": "", "thoughtSignature": "QUJD"}))
    await sm.user_says("And then?")
    await sm.ai_responds(gemini({"text": ""}))
    request: Any = await sm.get_messages_for_llm(format="google")
    check_request("google", request)
    assert [content["parts"] for content in request["contents"]] == [
        [{"text": "When?"}],
        [{"text": "Noon."}, {"text": "", "thoughtSignature": "QUJD"}],
        [{"text": "And then?"}],
    ]


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


def test_an_interaction_of_which_nothing_came_costs_nothing() -> None:
    failed = {"id": "i", "object": "interaction", "model": "gemini-3-pro", "status": "failed", "steps": []}
    usage = read_answer(failed).usage
    assert usage is not None
    assert not any(usage.values())


LIVE: list[dict[str, Any]] = [
    {"setupComplete": {}},
    {"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm", "data": "QUJD"}}]}}},
    {"serverContent": {"outputTranscription": {"text": "At "}}},
    {"serverContent": {"outputTranscription": {"text": "noon."}}},
    {"toolCall": {"functionCalls": [{"id": "c1", "name": "tide", "args": {"day": 1}}]}},
    {"serverContent": {"generationComplete": True}},
    {
        "serverContent": {"turnComplete": True},
        "usageMetadata": {
            "promptTokenCount": 20,
            "responseTokenCount": 9,
            "totalTokenCount": 29,
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}],
        },
    },
]


@pytest.mark.parametrize("as_objects", [False, True])
async def test_a_turn_of_the_live_api_is_an_answer(as_objects: bool) -> None:
    """https://ai.google.dev/api/live"""
    from google.genai.types import LiveServerMessage

    pieces: list[Any] = [LiveServerMessage.model_validate(each) for each in LIVE] if as_objects else LIVE

    async def turn(_: Any) -> AsyncIterator[Any]:
        for piece in pieces:
            yield piece

    sm = SessionManager()
    async for _ in stream_llm_call("When?", turn, "gemini-3.8-live", session_manager=sm):
        pass
    _, session = await sm.writer._conversation.current()
    answer = session.events[-1]
    assert answer.message["content"] == "At noon."
    assert [call["id"] for call in answer.message["tool_calls"]] == ["c1"]
    assert answer.metadata["finish_reason"] == "STOP"
    assert "interrupted" not in answer.metadata
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 9)
    assert answer.usage.details == {"output_audio_tokens": 8}
    for name in ("google", "anthropic"):
        request: Any = await sm.get_messages_for_llm(format=name)
        check_request(name, request)
        assert "At noon." in json.dumps(request)


def test_a_live_turn_that_was_interrupted_says_so() -> None:
    said = {"serverContent": {"modelTurn": {"parts": [{"text": "At no"}]}}}
    answer = in_pieces([said, {"serverContent": {"interrupted": True}}])
    assert (answer.text, answer.finish_reason) == ("At no", "INTERRUPTED")


def test_the_candidate_of_index_0_is_the_answer_wherever_it_is_listed() -> None:
    candidates = [
        {"index": 1, "content": {"role": "model", "parts": [{"text": "No."}]}, "finishReason": "STOP"},
        {"content": {"role": "model", "parts": [{"text": "Yes."}]}, "finishReason": "STOP"},
    ]
    assert read_answer({"candidates": candidates}).text == "Yes."
