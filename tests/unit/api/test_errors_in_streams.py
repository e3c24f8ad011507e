"""Streams in which the provider reports an error: what came is kept, and so is the error, as it was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager, stream_llm_call

Piece = dict[str, Any]


def chat(**delta: Any) -> Piece:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "model": "gpt-4o", "choices": [choice]}


MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
STREAMS: dict[str, list[Piece]] = {
    # vLLM and SGLang send an object with an `error`, and nothing after it.
    "chat": [chat(content="Noon"), {"error": {"message": "out of memory", "code": 500}}],
    "responses": [
        {"type": "response.created", "response": {"id": "r", "model": "gpt-5", "status": "in_progress"}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Noon"},
        {"type": "error", "code": "server_error", "message": "out of memory", "param": None},
    ],
    # https://docs.claude.com/en/docs/build-with-claude/streaming#error-events
    "anthropic": [
        {"type": "message_start", "message": MESSAGE | {"usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Noon"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    ],
    "gemini": [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Noon"}]}}], "modelVersion": "g"},
        {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}},
    ],
    "interactions": [
        {"event_type": "interaction.created", "interaction": {"id": "i", "status": "in_progress"}},
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
        {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Noon"}},
        {"event_type": "error", "error": {"code": "internal", "message": "out of memory"}},
    ],
    # https://github.com/ollama/ollama/blob/main/docs/api.md: errors are lines of the stream.
    "ollama": [
        {"model": "x", "message": {"role": "assistant", "content": "Noon"}, "done": False},
        {"error": "out of memory"},
    ],
}


async def played(sm: SessionManager, pieces: list[Piece]) -> list[Any]:
    async def answer(_: Any) -> AsyncIterator[Piece]:
        for piece in pieces:
            yield piece

    return [piece async for piece in stream_llm_call("When?", answer, session_manager=sm)]


@in_memory_too
@pytest.mark.parametrize("name", STREAMS)
async def test_the_part_and_the_error_are_kept(name: str, place: Place) -> None:
    pieces = STREAMS[name]
    async with place.store() as store, place.store() as other:
        sm = SessionManager("s", store=store)
        assert await played(sm, pieces) == pieces
        session = await other.get("s")
        assert session is not None
        _, part, failure = session.events
        assert (part.message, part.metadata["interrupted"]) == ("Noon", True)
        assert failure.metadata["failed"] is True
        assert failure.message == {"error": "StreamedError"}
        assert failure.native == {"format": "unknown", "message": pieces[-1]}
        assert (await sm.get_stats())["llm_calls"] == 1
        again = SessionManager("s", store=other)
        await again.user_says("Well?")
        rows = await again.get_messages_for_llm()
        assert [row["content"] for row in rows] == ["When?", "Noon", "Well?"]


async def test_an_error_beside_a_finished_choice_is_part_of_the_answer() -> None:
    """https://openrouter.ai/docs/api/reference/errors-and-debugging: errors in the middle of a stream."""
    end = chat(content="") | {"error": {"code": "server_error", "message": "Provider disconnected"}}
    end["choices"][0]["finish_reason"] = "error"
    sm = SessionManager()
    await played(sm, [chat(content="Noon"), end])
    _, session = await sm.writer._conversation.current()
    answer = session.events[-1]
    assert (answer.message, answer.metadata["finish_reason"]) == ("Noon", "error")
    assert answer.native is not None
    assert answer.native["response"]["error"] == end["error"]
