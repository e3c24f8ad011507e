"""xAI's own SDK, which speaks gRPC: whole responses, and the chunks of streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answers import Answer, AnswerStream, Reader, bill_of, call_of, model_of, native_of, usage_in
from .common import field_of, joined, list_of, mended, merged, name_in, text_in, without

FORMAT = "xai"
# The kinds of calls that the application runs; xAI itself runs the tools of all other kinds. A call without a
# kind is the application's, as calls were before there were kinds.
_OF_APPLICATIONS = (None, "TOOL_CALL_TYPE_INVALID", "TOOL_CALL_TYPE_CLIENT_SIDE_TOOL")
_MODEL = "ROLE_ASSISTANT"
_REASON = "REASON_"
_TIER = "SERVICE_TIER_"


def read(response: Any) -> Answer | None:
    """A whole response, as its protocol buffer has it."""
    outputs = [each for each in list_of(field_of(response, "outputs")) if isinstance(each, Mapping)]
    if not any(isinstance(output.get("message"), Mapping) for output in outputs):
        return None
    return _read(response, outputs)


def _read(response: Any, outputs: Sequence[Mapping[str, Any]]) -> Answer:
    """An answer from its outputs: there are several if xAI ran tools between them."""
    messages = [output.get("message") or {} for output in outputs]
    said = [message for message in messages if _is_said(message)]
    texts = filter(None, (text_in(message.get("content")) for message in said))
    calls = [
        call for message in said for call in list_of(message.get("tool_calls")) if isinstance(call, Mapping)
    ]
    reasons = [reason for output in outputs if (reason := name_in(output.get("finish_reason")))]
    usage = _numbers(field_of(response, "usage"))
    tier = name_in(field_of(response, "service_tier"))
    answer = Answer(
        mended("\n\n".join(texts)),
        [_call(call) for call in calls if call.get("type") in _OF_APPLICATIONS],
        model=model_of(response),
        provider="xai",
        finish_reason=reasons[-1].removeprefix(_REASON).lower() if reasons else None,
        usage=usage_in(usage),
        response_id=name_in(field_of(response, "id")),
        billed=bill_of({"service_tier": tier.removeprefix(_TIER).lower()} if tier else {}, usage),
    )
    answer.native = native_of(FORMAT, list(outputs), without(response, "outputs", "settings", "debug_output"))
    return answer


def _is_said(message: Mapping[str, Any]) -> bool:
    """Whether a message is the model's own, not the result of one of xAI's tools."""
    return bool(message.get("role", _MODEL) == _MODEL)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    asked = call.get("function")
    return call_of(call.get("id"), field_of(asked, "name"), field_of(asked, "arguments"))


def _numbers(usage: Any) -> Any:
    """Counts as numbers: the JSON of protocol buffers has long ones as text."""
    if not isinstance(usage, Mapping):
        return usage
    return {
        name: int(count) if isinstance(count, str) and count.isdigit() else count
        for name, count in usage.items()
    }


class XAIStream(AnswerStream):
    """A response as its chunks bring it; each call comes whole."""

    says_its_end = True

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._outputs: dict[int, dict[str, Any]] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        said = [index for index, output in sorted(self._outputs.items()) if _is_said(output["message"])]
        return mended("\n\n".join(filter(None, (self._joined(index, "content") for index in said))))

    def _joined(self, index: int, name: str) -> str:
        return joined(self._texts.get((index, name), []))

    def add(self, piece: Any) -> bool:
        """Take in a chunk."""
        if not isinstance(piece, Mapping) or "choices" in piece:
            return False
        outputs = [each for each in list_of(piece.get("outputs")) if isinstance(each, Mapping)]
        is_chunk = any("delta" in output for output in outputs) or (bool(self._outputs) and "id" in piece)
        if not is_chunk:
            return False
        for output in outputs:
            index = output.get("index") or 0
            held = self._outputs.setdefault(index, {"message": {}})
            held |= without(output, "delta")
            for name, value in (output.get("delta") or {}).items():
                if isinstance(value, str) and name != "role":
                    self._texts.setdefault((index, name), []).append(value)
                else:
                    held["message"][name] = (
                        value if name == "role" else merged(held["message"].get(name), value)
                    )
        self._response |= {name: value for name, value in without(piece, "outputs").items() if value}
        self.is_complete: bool = any(output.get("finish_reason") for output in self._outputs.values())
        return True

    def end(self) -> Answer:
        """The answer, as far as it came."""
        for index, name in list(self._texts):
            self._outputs[index]["message"][name] = self._joined(index, name)
        return _read(self._response, [output for _, output in sorted(self._outputs.items())])


READER = Reader(FORMAT, read, XAIStream)
