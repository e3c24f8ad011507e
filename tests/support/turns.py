"""Answers as the providers give them, for conversations that move between providers."""

from __future__ import annotations

import base64
import json
from typing import Any

Row = dict[str, Any]
Call = tuple[str, str, dict[str, Any]]
"""A tool call: id, name, arguments."""

SIGNATURE = base64.urlsafe_b64encode(b"a signature of Google's").decode()


def chat_answer(text: str, calls: list[Call], *, model: str = "gpt-5", **extra: Any) -> Row:
    """A chat completion."""
    message: Row = {"role": "assistant", "content": text or None, "refusal": None, "annotations": []} | extra
    if calls:
        message["tool_calls"] = [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for call_id, name, arguments in calls
        ]
    reason = "tool_calls" if calls else "stop"
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def response(*items: Row) -> Row:
    """A response of OpenAI's Responses API with these items."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-5",
        "status": "completed",
        "output": list(items),
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    }


def said_item(text: str, item_id: str = "msg_1", **extra: Any) -> Row:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return item | extra


def reasoning_item(item_id: str = "rs_1") -> Row:
    return {"id": item_id, "type": "reasoning", "summary": [], "encrypted_content": "ENC-77"}


def responses_answer(text: str, calls: list[Call], *, number: int = 0) -> Row:
    """A response that thinks before it says something and calls functions."""
    items = [reasoning_item(f"rs_{number}")]
    if text or not calls:
        items.append(said_item(text or "…", f"msg_{number}"))
    items += [
        {
            "id": f"fc_{number}_{at}",
            "type": "function_call",
            "status": "completed",
            "call_id": call_id,
            "name": name,
            "arguments": json.dumps(arguments),
            "created_by": "agent",
        }
        for at, (call_id, name, arguments) in enumerate(calls)
    ]
    return response(*items)


def anthropic_answer(text: str, calls: list[Call], *, reason: str | None = None) -> Row:
    """A message of Anthropic's that thinks first."""
    content: list[Row] = [
        {"type": "thinking", "thinking": "Hm.", "signature": "SIG-A"},
        {"type": "redacted_thinking", "data": "RD-1"},
    ]
    if text:
        content.append({"type": "text", "text": text})
    content += [
        {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        for call_id, name, arguments in calls
    ]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": content,
        "stop_reason": reason or ("tool_use" if calls else "end_turn"),
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def bedrock_answer(text: str, calls: list[Call]) -> Row:
    """An answer of Converse that reasons first, by one of Anthropic's models."""
    content: list[Row] = [
        {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "SIG-B"}}},
        {"reasoningContent": {"redactedContent": b"RD-1"}},
    ]
    content += [{"text": text}] if text else []
    content += [
        {"toolUse": {"toolUseId": call_id, "name": name, "input": arguments}}
        for call_id, name, arguments in calls
    ]
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "tool_use" if calls else "end_turn",
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
        "metrics": {"latencyMs": 5},
    }


def google_answer(text: str, calls: list[Call]) -> Row:
    """An answer of Gemini 3's, on the wire: its first call is signed, and calls without ids stay so."""
    parts: list[Row] = [{"text": text}] if text else []
    for at, (call_id, name, arguments) in enumerate(calls):
        call = ({"id": call_id} if call_id else {}) | {"name": name, "args": arguments}
        parts.append({"functionCall": call} | ({"thoughtSignature": SIGNATURE} if at == 0 else {}))
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
        "modelVersion": "gemini-3-pro-preview",
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
    }
