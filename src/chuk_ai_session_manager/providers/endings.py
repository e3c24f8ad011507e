"""Why a model's response ended, where that makes it less than an answer."""

from __future__ import annotations

from .common import field_of, list_of, name_in

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
        "image_safety",
        "unexpected_tool_call",
        # Bedrock, Mistral, Cohere
        "content_filtered",
        "guardrail_intervened",
        "model_length",
        "error_toxic",
        "error_limit",
        "user_cancel",
    }
)
"""Reasons for which answers end before they are whole, in small letters, as the providers' APIs name them."""


def why_unfinished(response: object, finish_reason: str | None) -> str | None:
    """Why a model's response is no whole answer, in a word; `None` where nothing says so.

    Args:
        response: as an SDK or API gives it.
        finish_reason: the reason for its end, as `read_answer` found it.
    """
    reason = (finish_reason or "").lower()
    if reason in UNFINISHED:
        return reason
    return "refusal" if _holds_refusal(response) else None


def _holds_refusal(response: object) -> bool:
    """Whether OpenAI's `refusal` is in a response: beside the message's content, or as a part of it."""
    choice = next(iter(list_of(field_of(response, "choices"))), None)
    messages = [field_of(choice, "message"), response, *list_of(field_of(response, "output"))]
    return any(
        name_in(field_of(message, "refusal"))
        or any(field_of(part, "type") == "refusal" for part in list_of(field_of(message, "content")))
        for message in messages
    )
