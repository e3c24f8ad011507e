"""Answers that ended early: the reason, and how much of the answer there is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .answers import Answer
from .common import field_of, is_list, list_of, name_in
from .messages import text_of

UNFINISHED = frozenset(
    {
        # OpenAI, chat and Responses, and those who speak its format
        "length",
        "content_filter",
        "max_output_tokens",
        "incomplete",
        "failed",
        "cancelled",
        "error",
        # Anthropic
        "max_tokens",
        "refusal",
        "model_context_window_exceeded",
        "pause_turn",
        # Google
        "safety",
        "recitation",
        "language",
        "blocklist",
        "prohibited_content",
        "spii",
        "other",
        "malformed_function_call",
        "interrupted",
        "image_safety",
        "image_prohibited_content",
        "image_recitation",
        "image_other",
        "no_image",
        "unexpected_tool_call",
        "too_many_tool_calls",
        "missing_thought_signature",
        "malformed_response",
        "model_armor",
        "jailbreak",
        "escalation",
        "continuation",
        "pup_limited_disabled",
        # Google's Interactions (google-genai 3.6)
        "budget_exceeded",
        # DeepSeek (https://api-docs.deepseek.com/api/create-chat-completion), Zhipu's GLM
        # (https://docs.bigmodel.cn/api-reference), vLLM and SGLang
        "insufficient_system_resource",
        "sensitive",
        "network_error",
        "abort",
        # Bedrock, Mistral, Cohere
        "content_filtered",
        "guardrail_intervened",
        "malformed_model_output",
        "malformed_tool_use",
        "model_length",
        "timeout",
        "error_toxic",
        "error_limit",
        "user_cancel",
        # xAI
        "max_len",
        "max_context",
        "time_limit",
    }
)
"""The finish reasons of incomplete answers, in lower case, as the providers' APIs name them."""


def why_unfinished(response: object, finish_reason: str | None) -> str | None:
    """Why a model's response is incomplete, in a word; `None` if it seems complete.

    Args:
        response: as an SDK or API returns it.
        finish_reason: the finish reason that `read_answer` found.
    """
    reason = (finish_reason or "").lower()
    if reason in UNFINISHED:
        return reason
    return "refusal" if _holds_refusal(response) else None


def written_in(answer: Answer) -> str:
    """Everything that a model wrote, from which its output is estimated: text, thinking, arguments."""
    if answer.native is not None:
        written = "\n".join(_texts_in(answer.native.get("message")))
        return written if answer.text in written else f"{written}\n{answer.text}"
    return text_of({"content": answer.text, "tool_calls": answer.tool_calls})


# Fields of providers' messages that their models did not write.
_NOT_WRITTEN = frozenset(
    {
        "id",
        "call_id",
        "item_id",
        "type",
        "role",
        "status",
        "format",
        "object",
        "model",
        "signature",
        "thoughtSignature",
        "thought_signature",
        "encrypted_content",
        "data",
        "phase",
    }
)


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if name in {"input", "args", "arguments"} and not isinstance(each, str):
                yield json.dumps(each, ensure_ascii=False, default=str)
            elif name not in _NOT_WRITTEN:
                yield from _texts_in(each)
    elif is_list(value):
        for each in value:
            yield from _texts_in(each)


def _holds_refusal(response: object) -> bool:
    """Whether OpenAI's `refusal` is in a response: beside the message's content, or as a part of it."""
    choice = next(iter(list_of(field_of(response, "choices"))), None)
    messages = [field_of(choice, "message"), response, *list_of(field_of(response, "output"))]
    return any(
        name_in(field_of(message, "refusal"))
        or any(field_of(part, "type") == "refusal" for part in list_of(field_of(message, "content")))
        for message in messages
    )
