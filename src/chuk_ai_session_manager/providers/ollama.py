"""Reads answers of Ollama's own API (`/api/chat` and `/api/generate`), whole and streamed."""

from __future__ import annotations

from typing import Any

from .answers import Answer, AnswerStream, Reader, call_of, model_of, native_of, usage_in
from .common import field_of, joined, list_of, mended, merged, name_in, text_in, without

FORMAT = "ollama"
_COUNTS = ("prompt_eval_count", "eval_count", "prompt_eval_cached_count")


def read(response: Any) -> Answer | None:
    """A whole response; a text by itself is one of `/api/generate`."""
    if field_of(response, "done") is None:
        return None
    message = field_of(response, "message")
    if message is None and isinstance(field_of(response, "response"), str):
        message = {"role": "assistant", "content": field_of(response, "response")}
        if thinking := field_of(response, "thinking"):
            message["thinking"] = thinking
    return None if message is None else _read(response, message)


def _read(response: Any, message: Any) -> Answer:
    calls = [
        call_of(field_of(call, "id"), field_of(asked, "name"), field_of(asked, "arguments"))
        for call in list_of(field_of(message, "tool_calls"))
        if (asked := field_of(call, "function")) is not None
    ]
    counts = {name: count for name in _COUNTS if (count := field_of(response, name)) is not None}
    answer = Answer(
        mended(text_in(field_of(message, "content"))),
        calls,
        model=model_of(response),
        provider="ollama",
        finish_reason=name_in(field_of(response, "done_reason")),
        usage=usage_in(counts),
        billed={"usage": counts} if counts else {},
    )
    if isinstance(response, dict):
        # "context" contains the model's input as numbers: it is as long as the whole conversation.
        answer.native = native_of(
            FORMAT, message, without(response, "message", "response", "thinking", "context")
        )
    return answer


class OllamaStream(AnswerStream):
    """A message as its lines deliver it; each call arrives complete."""

    says_its_end = True

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._message: dict[str, Any] = {"role": "assistant"}
        self._response: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return self._joined("content")

    def _joined(self, name: str) -> str:
        return mended(joined(self._texts.get(name, [])))

    def add(self, piece: Any) -> bool:
        """Take in a line."""
        if field_of(piece, "done") is None or not isinstance(piece, dict):
            return False
        message = piece.get("message") or {
            "content": piece.get("response"),
            "thinking": piece.get("thinking"),
        }
        for name, value in message.items():
            if isinstance(value, str) and name != "role":
                self._texts.setdefault(name, []).append(value)
            elif name != "role":
                self._message[name] = merged(self._message.get(name), value)
        self._response |= without(piece, "message", "response", "thinking", "context")
        self.is_complete: bool = self.is_complete or bool(piece["done"])
        return True

    def end(self) -> Answer:
        """The answer, as far as it came."""
        message = self._message | {name: self._joined(name) for name in list(self._texts)}
        return _read(self._response, message)


READER = Reader(FORMAT, read, OllamaStream)
