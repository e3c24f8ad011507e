"""Messages of Gemini's Live API, as chunks of `generateContent`'s streams.

https://ai.google.dev/api/live: a model's turn arrives in `serverContent`, calls in `toolCall`. The answer
ends with `turnComplete`. What a model says aloud is in `outputTranscription`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .common import field_of, list_of, text_in

TRANSCRIPT = "outputTranscription"
"""The field of a candidate with the words that the model spoke."""


def chunk_of(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """A message as a chunk; `None` if it is not one of the Live API with a part of an answer.

    Args:
        message: with the names of the API's JSON.
    """
    said, asked = message.get("serverContent"), message.get("toolCall")
    if not isinstance(said, Mapping) and not isinstance(asked, Mapping):
        return None
    turn = field_of(said, "modelTurn")
    calls = [{"functionCall": call} for call in list_of(field_of(asked, "functionCalls"))]
    candidate: dict[str, Any] = {
        "content": {"role": "model", "parts": [*list_of(field_of(turn, "parts")), *calls]}
    }
    if spoken := text_in(field_of(field_of(said, TRANSCRIPT), "text")):
        candidate[TRANSCRIPT] = {"text": spoken}
    if field_of(said, "interrupted"):
        candidate["finishReason"] = "INTERRUPTED"
    elif field_of(said, "turnComplete"):
        candidate["finishReason"] = text_in(field_of(said, "turnCompleteReason")) or "STOP"
    if grounding := field_of(said, "groundingMetadata"):
        candidate["groundingMetadata"] = grounding
    usage = message.get("usageMetadata")
    return {"candidates": [candidate]} | ({} if usage is None else {"usageMetadata": usage})
