"""Assembling a model's answer from the pieces of its stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import Answer, AnswerStream
from .common import data_of
from .registry import readers, said_by
from .usage import ReportedUsage


class AnswerInPieces:
    """An answer as its stream delivers it, from whichever provider.

    The pieces are SDK objects or dicts that a reader of the registry knows, or plain texts. They are
    assembled here; the result of an SDK's helper is never used.
    """

    def __init__(self) -> None:
        self._streams: dict[str, AnswerStream] = {}
        self._last: AnswerStream | None = None
        self._unknown: object = None
        self._piece: object = None
        self.error: Any = None
        """The error that the provider sent in place of the rest, as JSON."""

    @property
    def is_complete(self) -> bool:
        """Whether the stream said that the answer ends."""
        return any(stream.is_complete for stream in self._streams.values())

    @property
    def is_cut(self) -> bool:
        """Whether the stream ended with an error, or without saying its end as streams of this kind do."""
        says_its_end = any(stream.says_its_end for stream in self._streams.values())
        return (self.error is not None or says_its_end) and not self.is_complete

    @property
    def usage_so_far(self) -> ReportedUsage | None:
        """What the provider has counted so far; `None` if it has not reported anything."""
        return next(filter(None, (stream.usage_so_far for stream in self._streams.values())), None)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(stream.text for stream in self._streams.values())

    @property
    def unknown(self) -> object:
        """A piece that no reader recognised, if none was recognised."""
        return None if self._streams else self._unknown

    def add(self, piece: object) -> None:
        """Add a piece. A piece without content is no error: streams have many kinds."""
        data = data_of(piece)
        if _is_error(data):
            self.error = data
            self._unknown = piece
            return
        if self._last is not None and self._last.add(data):
            self._piece = piece
            return
        for reader in readers():
            if reader.stream is None:
                continue
            stream = self._streams.get(reader.format) or reader.stream()
            if stream is not self._last and stream.add(data):
                self._streams[reader.format] = self._last = stream
                self._piece = piece
                return
        self._unknown = piece

    def end(self) -> Answer:
        """The answer, as far as it came."""
        answers = [stream.end() for stream in self._streams.values()]
        if not answers:
            return Answer()
        whole = answers[0]
        for more in answers[1:]:  # an application may yield texts, and then its SDK's response
            whole.text += more.text
            whole.tool_calls += more.tool_calls
            for name in ("model", "provider", "usage", "finish_reason", "native", "response_id"):
                setattr(whole, name, getattr(whole, name) or getattr(more, name))
            whole.billed = more.billed | whole.billed
        if self.is_cut and whole.native is not None:
            whole.native["cut"] = True
        said_by(self._piece, whole)
        return whole


# Fields of pieces that bring a part of an answer; OpenRouter's may have an error beside it.
_PARTS = (
    "choices",
    "candidates",
    "content",
    "delta",
    "message",
    "output",
    "response",
    "steps",
    "text",
    "type",
)


def _is_error(data: Any) -> bool:
    """Whether a piece of a stream is an error of the provider's.

    Events of Anthropic and of OpenAI's Responses have the type "error", those of Google's Interactions have
    it as `event_type`. Chat completions (vLLM, SGLang), Gemini and Ollama send an object with an `error`.
    """
    if not isinstance(data, Mapping):
        return False
    if "error" in (data.get("type"), data.get("event_type")):
        return True
    return bool(data.get("error")) and not any(map(data.get, _PARTS))
