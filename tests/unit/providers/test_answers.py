"""Answers of the real SDKs' types, whole and streaming, and as the JSON that came over the wire."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network

import anthropic.types as anthropic_types
import pytest
from answers import in_pieces
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.answers import Answer
from chuk_ai_session_manager.providers.registry import read_answer
from chuk_ai_session_manager.providers.streamed_answers import AnswerInPieces
from chuk_ai_session_manager.providers.usage import ReportedUsage

CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"q": "a"}'}}

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": "I look.", "refusal": None, "tool_calls": [CALL]},
        }
    ],
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 30},
    },
}
RESPONSES: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-5-2025-08-07",
    "status": "completed",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "look_up",
            "arguments": '{"q": "a"}',
            "status": "completed",
        },
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 1000,
        "output_tokens": 100,
        "total_tokens": 1100,
        "input_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 30},
    },
}
ANTHROPIC: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {"q": "a"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 100,
        "output_tokens": 50,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 600,
    },
}
GOOGLE: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Hm.", "thought": True},
                    {"text": "I look."},
                    {"functionCall": {"id": "call_1", "name": "look_up", "args": {"q": "a"}}},
                ],
            },
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 1000,
        "candidatesTokenCount": 70,
        "thoughtsTokenCount": 30,
        "cachedContentTokenCount": 400,
    },
    "modelVersion": "gemini-2.5-flash",
}


def usage(sent: int, answered: int, cached: int, written: int, thought: int) -> ReportedUsage:
    return {
        "input_tokens": sent,
        "output_tokens": answered,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "reasoning_tokens": thought,
    }


OPENAI_ANSWER = Answer(
    "I look.", [CALL], "gpt-4o-2024-08-06", "openai", "tool_calls", usage(1000, 100, 400, 0, 30)
)
RESPONSES_ANSWER = Answer(
    "I look.", [CALL], "gpt-5-2025-08-07", "openai", "completed", usage(1000, 100, 400, 0, 30)
)
ANTHROPIC_ANSWER = Answer(
    "I look.",
    [CALL],
    "claude-sonnet-4-5-20250929",
    "anthropic",
    "tool_use",
    usage(1000, 50, 600, 300, 0),
    [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
)
GOOGLE_ANSWER = Answer("I look.", [CALL], "gemini-2.5-flash", "google", "STOP", usage(1000, 100, 400, 0, 30))


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("I look.", Answer("I look.")),
        (ChatCompletion.model_validate(CHAT), OPENAI_ANSWER),
        (ChatCompletion.model_validate(CHAT).model_dump(), OPENAI_ANSWER),
        (CHAT, OPENAI_ANSWER),
        (Response.model_validate(RESPONSES), RESPONSES_ANSWER),
        (Response.model_validate(RESPONSES).model_dump(), RESPONSES_ANSWER),
        (RESPONSES, RESPONSES_ANSWER),
        (anthropic_types.Message.model_validate(ANTHROPIC), ANTHROPIC_ANSWER),
        (anthropic_types.Message.model_validate(ANTHROPIC).model_dump(), ANTHROPIC_ANSWER),
        (ANTHROPIC, ANTHROPIC_ANSWER),
        (GenerateContentResponse.model_validate(GOOGLE), GOOGLE_ANSWER),
        (GOOGLE, GOOGLE_ANSWER),
        (SimpleNamespace(content="I look."), Answer("I look.")),
        (SimpleNamespace(text="I look."), Answer("I look.")),
        ({"text": "I look.", "model": "m", "usage": {"input_tokens": 1, "output_tokens": 2}},
         Answer("I look.", [], "m", None, None, usage(1, 2, 0, 0, 0))),
    ],
)  # fmt: skip
def test_whole_answers(response: object, answer: Answer) -> None:
    assert read_answer(response) == answer


@pytest.mark.parametrize(
    "response", [None, 5, b"x", ["x"], {}, {"choices": []}, object(), SimpleNamespace(content=5)]
)
def test_what_is_no_answer(response: object) -> None:
    with pytest.raises(InvalidInput, match=f"{type(response).__name__} is not a known response"):
        read_answer(response)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ({"error": {"message": "No credit for alice", "type": "insufficient_quota", "code": "x"}}, ""),
        (
            {"error": {"message": "alice", "code": 429, "metadata": {}}, "user_id": "u"},
            " (429)",
        ),  # OpenRouter
        ({"type": "error", "error": {"type": "overloaded_error", "message": "alice"}, "request_id": "r"}, ""),
        ({"error": {"code": 503, "message": "alice", "status": "UNAVAILABLE"}}, " (503)"),  # Google
        ({"error": "model alice not found"}, ""),  # Ollama
        (SimpleNamespace(error=SimpleNamespace(code=500, message="alice")), " (500)"),
        (TimeoutError("alice"), ""),
    ],
)
async def test_the_error_of_a_failed_call_is_no_answer(response: object, code: str) -> None:
    sm = SessionManager("s")
    await sm.user_says("Hello")
    words = f"this is the error of a call that failed{code}, not an answer: there is nothing to record"
    with pytest.raises(InvalidInput) as caught:
        await sm.ai_responds(response)
    assert words in str(caught.value)
    assert "alice" not in str(caught.value), "its text may quote messages"
    assert [row["role"] for row in await sm.get_conversation()] == ["user"]


def test_litellm() -> None:
    from litellm import ModelResponse  # slow, and not needed where tests are collected only

    response = ModelResponse(
        model="claude-sonnet-4-5",
        choices=[{"finish_reason": "stop", "message": {"role": "assistant", "content": "I look."}}],
        usage={"prompt_tokens": 1000, "completion_tokens": 100, "cache_read_input_tokens": 400},
    )
    response._hidden_params = {"custom_llm_provider": "anthropic"}
    used = usage(1000, 100, 400, 0, 0)
    assert read_answer(response) == Answer("I look.", [], "claude-sonnet-4-5", "anthropic", "stop", used)
    # It names the provider in several ways.
    response._hidden_params = {"litellm_model_name": "groq/llama-3.3-70b-versatile"}
    assert read_answer(response).provider == "groq"


def test_calls_of_older_and_other_kinds() -> None:
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    (call,) = read_answer({"choices": [{"message": legacy}]}).tool_calls
    assert call["function"] == {"name": "f", "arguments": "{}"}
    custom = {"id": "c", "type": "custom", "custom": {"name": "run_sql", "input": "select 1"}}
    (call,) = read_answer({"choices": [{"message": {"content": None, "tool_calls": [custom]}}]}).tool_calls
    assert call["function"] == {"name": "run_sql", "arguments": "select 1"}
    assert len({read_answer({"choices": [{"message": legacy}]}).tool_calls[0]["id"] for _ in range(2)}) == 2


def test_a_refusal_is_what_the_model_says() -> None:
    message = {"role": "assistant", "content": None, "refusal": "No."}
    assert read_answer({"choices": [{"message": message}]}).text == "No."


def test_an_answer_that_only_calls_tools() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    answer = read_answer({"choices": [{"message": message}]})
    assert answer.message == {"role": "assistant", "content": None, "tool_calls": [CALL]}


# -- streams --------------------------------------------------------------------------------------


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06"}
    return common | {"choices": choices} | more


CHAT_CHUNKS = [
    chunk({"role": "assistant", "content": "I "}),
    chunk({"content": "look."}),
    chunk({"tool_calls": [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"q": '}}
    ]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"a"}'}}]}),
    chunk({}, "tool_calls"),
    chunk({}, choices=[], usage=CHAT["usage"]),
]  # fmt: skip
RESPONSES_EVENTS = [
    {"type": "response.created", "sequence_number": 0, "response": RESPONSES | {"status": "in_progress", "output": []}},
    {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "m", "output_index": 0,
     "content_index": 0, "delta": "I ", "logprobs": []},
    {"type": "response.output_text.delta", "sequence_number": 2, "item_id": "m", "output_index": 0,
     "content_index": 0, "delta": "look.", "logprobs": []},
    {"type": "response.completed", "sequence_number": 3, "response": RESPONSES},
]  # fmt: skip
ANTHROPIC_EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": ANTHROPIC | {
        "content": [], "stop_reason": None, "usage": ANTHROPIC["usage"] | {"output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "look."}},
    {"type": "content_block_stop", "index": 1},
    {"type": "content_block_start", "index": 2,
     "content_block": {"type": "tool_use", "id": "call_1", "name": "look_up", "input": {}}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"q": '}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '"a"}'}},
    {"type": "content_block_stop", "index": 2},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None},
     "usage": {"output_tokens": 50}},
    {"type": "message_stop"},
]  # fmt: skip
GOOGLE_CHUNKS = [
    {"candidates": [{"content": {"parts": [{"text": "I "}]}}], "modelVersion": "gemini-2.5-flash"},
    GOOGLE | {"candidates": [{"content": {"parts": [{"text": "look."}, {"functionCall": {
        "name": "look_up", "args": {"q": "a"}}}]}, "finishReason": "STOP"}]},
]  # fmt: skip

RAW_EVENT: TypeAdapter[Any] = TypeAdapter(anthropic_types.RawMessageStreamEvent)
RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (["I ", "look."], Answer("I look.")),
        ([ChatCompletionChunk.model_validate(each) for each in CHAT_CHUNKS], OPENAI_ANSWER),
        (CHAT_CHUNKS, OPENAI_ANSWER),
        ([RESPONSE_EVENT.validate_python(each) for each in RESPONSES_EVENTS], RESPONSES_ANSWER),
        (RESPONSES_EVENTS, RESPONSES_ANSWER),
        (
            [RAW_EVENT.validate_python(each) for each in ANTHROPIC_EVENTS if each["type"] != "ping"],
            ANTHROPIC_ANSWER,
        ),
        (ANTHROPIC_EVENTS, ANTHROPIC_ANSWER),
        ([GenerateContentResponse.model_validate(each) for each in GOOGLE_CHUNKS], None),
        (GOOGLE_CHUNKS, None),
    ],
)
def test_answers_in_pieces(pieces: list[Any], answer: Answer | None) -> None:
    got = in_pieces(pieces)
    if answer is None:  # Google's calls mostly have no ids: they get some
        assert got.tool_calls[0]["id"].startswith("call_")
        got.tool_calls[0]["id"] = "call_1"
        answer = GOOGLE_ANSWER
    assert got == answer


def test_pieces_that_have_a_type_of_their_own() -> None:
    """LangChain's, for one; and what OpenAI's and Anthropic's helpers give beside what came."""
    assert in_pieces(
        [SimpleNamespace(type="AIMessageChunk", content="I "), {"type": "text", "text": "look."}]
    ) == (Answer("I look."))
    helped = [{"type": "chunk", "chunk": each} for each in CHAT_CHUNKS]
    assert in_pieces([*helped, {"type": "content.delta", "delta": "I ", "content": "I "}]) == OPENAI_ANSWER
    derived = {"type": "text", "text": "look.", "snapshot": "I look."}
    assert in_pieces([*ANTHROPIC_EVENTS, derived]) == ANTHROPIC_ANSWER


def test_of_several_choices_the_first_is_the_answer() -> None:
    pieces = []
    for text in ("a", "b"):
        for index in (0, 1):
            piece = chunk({"content": text if index == 0 else "x"})
            piece["choices"][0]["index"] = index
            pieces.append(piece)
    assert in_pieces(pieces).text == "ab"


def test_calls_that_stream_side_by_side() -> None:
    def more(index: int, arguments: str, **first: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, **first, "function": {"arguments": arguments}}]})

    pieces = [more(0, '{"q"', id="a"), more(1, '{"r"', id="b"), more(0, ": 1}"), more(1, ": 2}")]
    calls = in_pieces(pieces).tool_calls
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [
        ("a", '{"q": 1}'),
        ("b", '{"r": 2}'),
    ]


def test_a_response_that_did_not_complete() -> None:
    events = [
        *RESPONSES_EVENTS[:2],
        {"type": "response.refusal.delta", "delta": "no"},
        {"type": "response.incomplete", "response": RESPONSES | {
            "status": "incomplete", "output": [], "incomplete_details": {"reason": "max_output_tokens"}}},
    ]  # fmt: skip
    answer = in_pieces(events)
    assert (answer.text, answer.finish_reason, answer.usage) == (
        "I no", "max_output_tokens", RESPONSES_ANSWER.usage,
    )  # fmt: skip


def test_a_message_of_a_chat_completion_is_an_answer_too() -> None:
    for message in (ChatCompletion.model_validate(CHAT).choices[0].message, CHAT["choices"][0]["message"]):
        assert read_answer(message).tool_calls == [CALL]
    assert read_answer({"role": "assistant", "content": None, "tool_calls": [CALL]}).message == {
        "role": "assistant", "content": None, "tool_calls": [CALL],
    }  # fmt: skip


def test_a_stream_of_something_else_is_noticed() -> None:
    taken = AnswerInPieces()
    taken.add(object())
    assert taken.unknown is not None


def test_the_repr_of_an_answer_hides_its_text() -> None:
    assert "look" not in repr(read_answer(ANTHROPIC))
    assert "Hm" not in repr(read_answer(ANTHROPIC))
