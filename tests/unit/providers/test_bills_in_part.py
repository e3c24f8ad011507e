"""Usage that comes in several pieces, under other names, or without one of its counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from places import place_on

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_llm_call
from chuk_ai_session_manager.models import CallUsage
from chuk_ai_session_manager.providers.streamed_answers import AnswerInPieces
from chuk_ai_session_manager.providers.usage import read_usage
from chuk_ai_session_manager.stores import MemoryStore


def counts(read: Any) -> tuple[int, ...]:
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    return tuple(read[name] for name in names)


def chunk(content: str | None = None, **usage: Any) -> dict[str, Any]:
    """A chunk of a chat completion; the last one has no content."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if content is None else None}
    begun = {"id": "c1", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice]}
    return begun | ({"usage": usage} if usage else {})


def gemini(text: str, **usage: int) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
    return {"candidates": [candidate], "modelVersion": "gemini-2.5-flash", "usageMetadata": usage}


def claude(**more: Any) -> list[dict[str, Any]]:
    usage = {"input_tokens": 10, "output_tokens": 1}
    begun = {"type": "message", "id": "m", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
    return [
        {"type": "message_start", "message": begun | {"usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Noon."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"} | more,
    ]


def langchain(words: str, sent: int, answered: int) -> dict[str, Any]:
    usage = {"input_tokens": sent, "output_tokens": answered, "total_tokens": sent + answered}
    return {"type": "AIMessageChunk", "content": words, "usage_metadata": usage}


METRICS = {
    "inputTokenCount": 10, "outputTokenCount": 5, "cacheReadInputTokenCount": 400,
    "cacheWriteInputTokenCount": 50, "invocationLatency": 9,
}  # fmt: skip


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(
            [chunk("No", prompt_tokens=10), chunk("on."), chunk(completion_tokens=20)],
            (10, 20, 0, 0, 0), id="input first, output last",
        ),
        pytest.param(
            [chunk("Noon.", prompt_tokens=10, completion_tokens=1, total_tokens=11),
             chunk(prompt_tokens_details={"cached_tokens": 5}, completion_tokens=20)],
            (10, 20, 5, 0, 0), id="details last",
        ),
        pytest.param(
            [chunk("Noon."), chunk(prompt_tokens=10, completion_tokens=20, total_tokens=30),
             chunk("", prompt_tokens=0, completion_tokens=0, total_tokens=0)],
            (10, 20, 0, 0, 0), id="zeros at the end",
        ),
        pytest.param(
            [chunk("Noon.", prompt_tokens=10, completion_tokens=1, total_tokens=11),
             chunk(prompt_tokens=10, completion_tokens=2, total_tokens=12)],
            (10, 2, 0, 0, 0), id="running totals",
        ),
        pytest.param(
            [gemini("No", promptTokenCount=10, totalTokenCount=10), gemini("on.", candidatesTokenCount=5)],
            (10, 5, 0, 0, 0), id="gemini",
        ),
        pytest.param(
            [langchain("No", 100, 1), langchain("on.", 100, 2), langchain("", 100, 2)],
            (100, 2, 0, 0, 0), id="langchain's chunks with running totals",
        ),
        pytest.param(
            [langchain("No", 100, 1), langchain("on.", 0, 1)], (100, 2, 0, 0, 0),
            id="langchain's chunks with parts of the whole",
        ),
        # https://github.com/BerriAI/litellm/issues/34373
        pytest.param(
            claude(**{"amazon-bedrock-invocationMetrics": METRICS}), (460, 5, 400, 50, 0),
            id="anthropic's models on bedrock",
        ),
    ],
)  # fmt: skip
def test_a_usage_in_several_pieces_of_a_stream_is_one(pieces: list[Any], expected: tuple[int, ...]) -> None:
    assembled = AnswerInPieces()
    for piece in pieces:
        assembled.add(piece)
    assert counts(assembled.end().usage) == expected


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            {"promptTokens": 10, "completionTokens": 20, "totalTokens": 30}, (10, 20, 0, 0, 0),
            id="vercel's ai sdk 4",
        ),
        pytest.param(METRICS, (460, 5, 400, 50, 0), id="bedrock's metrics of an invocation"),
        pytest.param(
            {"content-type": "application/json", "x-amzn-bedrock-input-token-count": "10",
             "x-amzn-bedrock-output-token-count": "5", "x-amzn-bedrock-invocation-latency": "900"},
            (10, 5, 0, 0, 0), id="bedrock's headers",
        ),
        pytest.param(
            {"prompt_token_count": 100, "generation_token_count": 20}, (100, 20, 0, 0, 0),
            id="llama on bedrock",
        ),
        pytest.param(
            {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
             "prompt_tokens_details": {"cached_tokens": 60, "cache_creation_input_tokens": 10}},
            (100, 20, 60, 10, 0), id="dashscope",
        ),
        pytest.param(
            {"input_tokens": 100, "output_tokens": 20, "cache_read_tokens": 60,
             "details": {"reasoning_tokens": 5}},
            (100, 20, 60, 0, 5), id="pydantic-ai",
        ),
        pytest.param(
            {"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 100, "output_tokens": 20,
             "total_tokens": 120},
            (100, 20, 0, 0, 0), id="both kinds of names, one with zeros",
        ),
        # https://github.com/stdapi-ai/stdapi.ai/issues/252: the input includes the cached tokens.
        pytest.param(
            {"prompt_eval_count": 100, "eval_count": 20, "prompt_eval_cached_count": 60},
            (100, 20, 60, 0, 0), id="ollama's cached tokens",
        ),
        pytest.param(
            {"prompt_tokens": 10, "completion_tokens": None, "total_tokens": 30}, (10, 20, 0, 0, 0),
            id="the total tells the output",
        ),
        pytest.param(
            {"prompt_tokens": 10, "total_tokens": 30, "prompt_tokens_details": {"cached_tokens": 4}},
            (10, 20, 4, 0, 0), id="the total tells the output, with details",
        ),
    ],
)  # fmt: skip
def test_a_usage_under_other_names(usage: dict[str, Any], expected: tuple[int, ...]) -> None:
    read = read_usage(usage)
    assert counts(read) == expected
    assert "unreported" not in read


# -- a count that is missing ----------------------------------------------------------------------

ANSWER = "High water is at noon, and low water is in the evening."


def ollama(**usage: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": ANSWER}
    return {"model": "gpt-oss:20b", "message": message, "done": True, "done_reason": "stop"} | usage


def completion(**usage: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "model": "gpt-4o", "choices": [choice], "usage": usage}


async def bill_in(sm: SessionManager) -> CallUsage:
    _, session = await sm.writer._conversation.current()
    bill = session.events[-1].usage
    assert bill is not None
    return bill


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_a_missing_output_is_estimated_on_every_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = place_on(kind, request, tmp_path)
    sm = SessionManager(store=place.store())
    await sm.user_says("When is high water?")
    await sm.ai_responds(completion(prompt_tokens=1000, completion_tokens=None))
    bill = await bill_in(SessionManager(sm.session_id, store=place.store()))
    assert bill.input_tokens == 1000
    assert bill.output_tokens > 10
    assert bill.estimated
    assert bill.cost_usd == pytest.approx(1000 * 2.5e-6 + bill.output_tokens * 10e-6)


async def test_a_missing_input_is_estimated_from_the_context() -> None:
    """Ollama left it out where the prompt was cached: https://github.com/ollama/ollama/issues/2068"""
    sm = SessionManager(store=MemoryStore(), system_prompt="You know the tides. " * 50)
    await sm.user_says("When is high water?")
    await sm.ai_responds(ollama(eval_count=7))
    bill = await bill_in(sm)
    assert bill.output_tokens == 7
    assert bill.input_tokens > 200
    assert bill.estimated


async def test_a_missing_output_of_a_recorded_function_and_of_a_stream_is_estimated() -> None:
    sm = SessionManager(store=MemoryStore())

    async def ask(_: Any) -> Any:
        return completion(prompt_tokens=1000)

    await track_llm_call("When is high water?", ask, session_manager=sm)
    assert (await bill_in(sm)).output_tokens > 10

    async def stream(_: Any) -> AsyncIterator[Any]:
        yield chunk(ANSWER)
        yield chunk(prompt_tokens=2000)

    async for _ in stream_llm_call("And low water?", stream, session_manager=sm):
        pass
    bill = await bill_in(sm)
    assert bill.input_tokens == 2000
    assert bill.output_tokens > 10


async def test_reported_counts_of_zero_stay() -> None:
    sm = SessionManager(store=MemoryStore())
    await sm.ai_responds(ANSWER, model="gpt-4o", usage={"input_tokens": 1000, "output_tokens": 0})
    bill = await bill_in(sm)
    assert (bill.input_tokens, bill.output_tokens, bill.estimated) == (1000, 0, False)


async def test_a_blocked_prompt_of_gemini_has_no_output() -> None:
    """Google leaves out counts that are 0."""
    sm = SessionManager(store=MemoryStore())
    blocked = {"finishReason": "SAFETY", "content": {"role": "model", "parts": [{"text": "I"}]}}
    usage = {"promptTokenCount": 10, "totalTokenCount": 10}
    await sm.ai_responds(
        {"candidates": [blocked], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
    )
    bill = await bill_in(sm)
    assert (bill.input_tokens, bill.output_tokens, bill.estimated) == (10, 0, False)


async def test_a_correction_without_one_count_keeps_the_recorded_one() -> None:
    sm = SessionManager(store=MemoryStore())
    await sm.ai_responds(ANSWER, model="gpt-4o", usage={"input_tokens": 1000, "output_tokens": 30})
    (row,) = await sm.get_conversation(with_ids=True)
    await sm.correct_usage(row["event_id"], {"input_tokens": 2000})
    stats = await sm.get_stats()
    assert (stats["input_tokens"], stats["output_tokens"]) == (2000, 30)
