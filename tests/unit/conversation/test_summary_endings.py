"""A callback's response that is no whole answer is no summary, and is billed all the same."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.stores import MemoryStore

SORRY = "I'm sorry, but I can't help with that."


def chat(reason: str, **message: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "finish_reason": reason,
                "message": {"role": "assistant", "content": SORRY} | message,
            }
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010},
    }


def responses(status: str, reason: str | None = None, kind: str = "output_text") -> dict[str, Any]:
    part = {"type": kind, "annotations": []} | {"text" if kind == "output_text" else "refusal": SORRY}
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": "gpt-4o-mini",
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [{"type": "message", "id": "m", "role": "assistant", "status": status, "content": [part]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 1000,
            "output_tokens": 10,
            "total_tokens": 1010,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }


def anthropic(reason: str) -> dict[str, Any]:
    return {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": SORRY}],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 1000, "output_tokens": 10},
    }


def google(reason: str) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": [{"text": SORRY}], "role": "model"}, "finishReason": reason}],
        "modelVersion": "gemini-2.5-flash",
        "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 10},
    }


ENDED: list[tuple[Any, str]] = [
    (chat("length"), "length"),
    (ChatCompletion.model_validate(chat("length")), "length"),
    (chat("content_filter"), "content_filter"),
    (chat("stop", content=None, refusal=SORRY), "refusal"),
    (ChatCompletion.model_validate(chat("stop", content=None, refusal=SORRY)), "refusal"),
    (chat("stop", content=[{"type": "refusal", "refusal": SORRY}]), "refusal"),
    (responses("incomplete", "max_output_tokens"), "max_output_tokens"),
    (Response.model_validate(responses("incomplete", "content_filter")), "content_filter"),
    (responses("incomplete"), "incomplete"),
    (responses("failed"), "failed"),
    (Response.model_validate(responses("completed", kind="refusal")), "refusal"),
    (anthropic("max_tokens"), "max_tokens"),
    (Message.model_validate(anthropic("refusal")), "refusal"),
    (anthropic("model_context_window_exceeded"), "model_context_window_exceeded"),
    (google("MAX_TOKENS"), "max_tokens"),
    (google("SAFETY"), "safety"),
    (google("RECITATION"), "recitation"),
    (google("PROHIBITED_CONTENT"), "prohibited_content"),
    (google("MISSING_THOUGHT_SIGNATURE"), "missing_thought_signature"),
    (chat("insufficient_system_resource"), "insufficient_system_resource"),  # DeepSeek
    (chat("sensitive"), "sensitive"),  # GLM
    (chat("abort"), "abort"),  # vLLM
]
WHOLE = [chat("stop"), chat("stop", refusal=None), responses("completed"), anthropic("end_turn"),
         anthropic("stop_sequence"), google("STOP"), chat("eos"), {"text": SORRY}, SORRY]  # fmt: skip


async def summary_by(response: object) -> tuple[Any, dict[str, Any]]:
    """The summary that a segment ends in, and the figures of the conversation."""
    store = MemoryStore()
    sm = SessionManager(
        "root",
        store=store,
        infinite_context=True,
        max_turns_per_segment=2,
        summary_callback=lambda _: response,
    )
    for text in ("My parcel is lost.", "It is blue.", "Well?"):
        await sm.user_says(text)
    await sm.wait_for_summaries()
    root = await store.get("root")
    assert root is not None
    assert root.events[-1].type == EventType.SUMMARY
    return root.events[-1], await sm.get_stats()


@pytest.mark.parametrize(("response", "reason"), ENDED)
async def test_an_answer_that_ended_early_is_no_summary(response: object, reason: str) -> None:
    summary, stats = await summary_by(response)
    assert SORRY not in summary.message
    assert "My parcel is lost." in summary.message
    assert summary.metadata["made_by"] == "built-in"
    assert summary.metadata["callback_failure"] == f"its response ended with {reason}"
    assert (stats["llm_calls"], stats["input_tokens"], stats["output_tokens"]) == (1, 1000, 10)
    assert stats["estimated_cost"] > 0


@pytest.mark.parametrize("response", WHOLE)
async def test_any_other_answer_is(response: object) -> None:
    summary, _ = await summary_by(response)
    assert summary.message == SORRY
    assert summary.metadata["made_by"] == "callback"
