"""Responses of the providers' newest shapes, as they come over the wire, and what was recorded of them."""

from __future__ import annotations

import json
from typing import Any

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.models import CallUsage, SessionEvent
from chuk_ai_session_manager.providers.messages import function_of

GPT, CLAUDE, GEMINI = "gpt-5-mini", "claude-sonnet-4-6", "gemini-2.5-flash"


def exactly(answer: Any) -> Any:
    """What to ask the local server for, so that it answers with this."""
    return f"exactly {json.dumps(answer)}"


def user(answer: Any) -> Any:
    return [{"role": "user", "content": exactly(answer)}]


async def answers_of(sm: SessionManager) -> list[SessionEvent[Any]]:
    _, session = await sm.writer._conversation.current()
    return [event for event in session.events if event.source == "llm"]


async def the_answer(sm: SessionManager) -> SessionEvent[Any]:
    (answer,) = await answers_of(sm)
    return answer


async def bill_of(sm: SessionManager) -> CallUsage:
    usage = (await the_answer(sm)).usage
    assert usage is not None
    return usage


def calls_in(event: SessionEvent[Any]) -> list[tuple[str, str]]:
    """The ids and names of the calls that wait."""
    return [(call["id"], function_of(call)["name"]) for call in event.message["tool_calls"]]


# -- OpenAI's Responses ---------------------------------------------------------------------------


def response(*output: dict[str, Any], model: str = GPT, **more: Any) -> dict[str, Any]:
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": model, "status": "completed"}
    options = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return common | options | {"output": list(output), "usage": used(10, 5)} | more


def used(sent: int, answered: int, **details: Any) -> dict[str, Any]:
    return {
        "input_tokens": sent,
        "output_tokens": answered,
        "total_tokens": sent + answered,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0} | details,
        "output_tokens_details": {"reasoning_tokens": 0},
    }


def said(text: str, item_id: str = "msg_1", **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    common = {"type": "message", "id": item_id, "role": "assistant", "status": "completed"}
    return common | {"content": content} | more


def response_events() -> list[dict[str, Any]]:
    """All events of a response of one message, as the SDK's helper wants them."""
    whole = response(said("You said: hello"), usage=used(1000, 3))
    place = {"output_index": 0, "item_id": "msg_1"}
    part = {"type": "output_text", "text": "", "annotations": []}
    begun = said("") | {"content": [], "status": "in_progress"}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": whole | {"status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", "content_index": 0, "part": part} | place,
        {"type": "response.output_text.delta", "content_index": 0, "delta": "You said: hello", "logprobs": []}
        | place,
        {"type": "response.output_item.done", "output_index": 0, "item": said("You said: hello")},
        {"type": "response.completed", "response": whole},
    ]
    return [event | {"sequence_number": at} for at, event in enumerate(events)]


# -- Anthropic ------------------------------------------------------------------------------------


def message(*content: dict[str, Any], model: str = "claude-sonnet-4-5", **usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn",
        "stop_sequence": None, "content": list(content) or [{"type": "text", "text": "ok"}],
        "usage": {"input_tokens": 100, "output_tokens": 50} | usage,
    }  # fmt: skip


def events_of(whole: dict[str, Any], **delta_usage: Any) -> list[dict[str, Any]]:
    """A message of one block of text as its stream brings it."""
    begun = whole | {"content": [], "stop_reason": None, "usage": whole["usage"] | {"output_tokens": 1}}
    usage = {"output_tokens": whole["usage"]["output_tokens"]} | delta_usage
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "usage": usage,
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        },
        {"type": "message_stop"},
    ]
