"""Reads answers of Cohere's chat API, version 2: whole responses, and the events of streams."""

from __future__ import annotations

from typing import Any

from .answers import Answer, AnswerStream, Reader, bill_of, call_of, model_of, native_of, usage_in
from .calls_in_pieces import CallsInPieces
from .common import field_of, list_of, mended, merged, name_in, text_in, texts_in, without

FORMAT = "cohere"


def read(response: Any) -> Answer | None:
    """A whole response."""
    message = field_of(response, "message")
    is_known = field_of(response, "finish_reason") is not None or field_of(response, "usage") is not None
    if message is None or isinstance(message, str) or not is_known or field_of(response, "done") is not None:
        return None
    return _read(response, message)


def _read(response: Any, message: Any) -> Answer:
    calls = [
        call_of(field_of(call, "id"), field_of(asked, "name"), field_of(asked, "arguments"))
        for call in list_of(field_of(message, "tool_calls"))
        if (asked := field_of(call, "function")) is not None
    ]
    text = "".join(texts_in(field_of(message, "content"))) or text_in(field_of(message, "tool_plan"))
    usage = field_of(response, "usage")
    answer = Answer(
        mended(text),
        calls,
        model=model_of(response),
        provider="cohere",
        finish_reason=name_in(field_of(response, "finish_reason")),
        usage=usage_in(usage),
        response_id=name_in(field_of(response, "id")),
        billed=bill_of(response, usage),
    )
    if isinstance(response, dict):
        answer.native = native_of(FORMAT, message, without(response, "message"))
    return answer


class CohereStream(AnswerStream):
    """A message as its events bring it."""

    says_its_end = True

    def __init__(self) -> None:
        self._message: dict[str, Any] = {"role": "assistant"}
        self._response: dict[str, Any] = {}
        self._blocks: dict[object, dict[str, Any]] = {}
        self._plan: list[str] = []
        self._calls = CallsInPieces()

    @property
    def text(self) -> str:
        """The text so far."""
        return mended("".join(texts_in(list(self._blocks.values()))) or "".join(self._plan))

    def add(self, piece: Any) -> bool:
        """Take in an event."""
        kind, delta = text_in(field_of(piece, "type")), field_of(piece, "delta")
        message, index = field_of(delta, "message"), field_of(piece, "index")
        match kind:
            case "message-start":
                self._response["id"] = field_of(piece, "id")
                self._message |= without(message, "content", "tool_calls", "tool_plan", "citations")
            case "content-start" | "content-delta":
                content, block = field_of(message, "content"), self._blocks.setdefault(index, {})
                self._blocks[index] = merged(block, without(content, *({"type"} & block.keys())))
            case "tool-plan-delta":
                self._plan.append(text_in(field_of(message, "tool_plan")))
            case "tool-call-start" | "tool-call-delta":
                call = field_of(message, "tool_calls")
                if isinstance(call, dict):
                    self._calls.add_all([call | {"index": index}])
            case "citation-start":
                self._message.setdefault("citations", []).append(field_of(message, "citations"))
            case "message-end":
                self._response |= without(delta)
                self.is_complete = True
            case _:
                return kind in {"content-end", "tool-call-end", "citation-end", "debug"}
        return True

    def end(self) -> Answer:
        """The answer, as far as it came."""
        message = dict(self._message)
        if self._plan:
            message["tool_plan"] = mended("".join(self._plan))
        if self._blocks:
            message["content"] = [
                {name: mended(value) if isinstance(value, str) else value for name, value in block.items()}
                for block in self._blocks.values()
            ]
        if calls := self._calls.end():
            message["tool_calls"] = calls
        return _read(self._response | {"message": message}, message)


READER = Reader(FORMAT, read, CohereStream)
