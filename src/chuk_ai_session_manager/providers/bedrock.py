"""Reads answers of Amazon Bedrock's Converse API: whole responses, and the events of `converse_stream`."""

from __future__ import annotations

from typing import Any

from .answers import Answer, AnswerStream, Reader, bill_of, call_of, native_of, usage_in
from .common import (
    field_of,
    is_list,
    joined,
    list_of,
    mended,
    merged,
    name_in,
    parsed,
    text_in,
    without,
)

FORMAT = "bedrock"
_EVENTS = {
    "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata",
}  # fmt: skip


def read(response: Any) -> Answer | None:
    """A whole response."""
    message = field_of(field_of(response, "output"), "message")
    return None if message is None else _read(response, message)


def _read(response: Any, message: Any) -> Answer:
    blocks = list_of(field_of(message, "content"))
    texts = [text_in(field_of(block, "text")) + _cited(block) for block in blocks]
    calls = [_call(field_of(block, "toolUse")) for block in blocks]
    usage = field_of(response, "usage")
    answer = Answer(
        mended("".join(texts)),
        [call for call in calls if call],
        provider="bedrock",
        finish_reason=name_in(field_of(response, "stopReason")),
        usage=usage_in(usage),
        response_id=name_in(field_of(field_of(response, "ResponseMetadata"), "RequestId")),
        billed=bill_of(response, usage),
    )
    if isinstance(response, dict):
        beside = without(response, "output", "stream")
        beside |= {"output": rest} if (rest := without(response.get("output"), "message")) else {}
        answer.native = native_of(FORMAT, message, beside)
    return answer


def of_message(message: Any) -> Answer:
    """The text and calls in a message."""
    return _read({}, message)


def _cited(block: Any) -> str:
    """The text of a block with citations."""
    parts = list_of(field_of(field_of(block, "citationsContent"), "content"))
    return "".join(text_in(field_of(part, "text")) for part in parts)


def _call(used: Any) -> dict[str, Any] | None:
    if used is None or field_of(used, "type") == "server_tool_use":
        return None
    return call_of(field_of(used, "toolUseId"), field_of(used, "name"), field_of(used, "input"))


class BedrockStream(AnswerStream):
    """A message as its events deliver it: each is a dict whose single key names its kind."""

    says_its_end = True

    def __init__(self) -> None:
        self._role = "assistant"
        self._blocks: dict[object, dict[str, Any]] = {}
        self._texts: list[str] = []
        self._response: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return mended(joined(self._texts))

    def add(self, piece: Any) -> bool:
        """Take in an event."""
        if not isinstance(piece, dict) or not (kinds := _EVENTS & piece.keys()):
            return False
        for kind in kinds:
            event = piece[kind] if isinstance(piece[kind], dict) else {}
            index = event.get("contentBlockIndex", 0)
            match kind:
                case "contentBlockStart":
                    start = event.get("start") or {}
                    self._blocks[index] = {
                        name: dict(value) for name, value in start.items() if isinstance(value, dict)
                    }
                case "contentBlockDelta":
                    self._add_to(self._blocks.setdefault(index, {}), event.get("delta") or {})
                case "messageStop":
                    self._response |= event
                    self.is_complete = True
                case "metadata":
                    self._response |= event
        return True

    def _add_to(self, block: dict[str, Any], delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "text":
                self._texts.append(text_in(value))
                block.setdefault("text", []).append(text_in(value))
            elif name == "reasoningContent" and isinstance(value, dict):
                _reason(block.setdefault(name, {}), value)
            elif name == "citation":
                cited = block.setdefault("citationsContent", {"content": [], "citations": []})
                cited["citations"].append(value)
            elif name == "toolUse" and isinstance(value, dict):
                used = block.setdefault(name, {})
                used.setdefault("input", [])
                used["input"].append(text_in(value.get("input")))
            else:
                block[name] = merged(block.get(name), value)

    def end(self) -> Answer:
        """The answer, as far as it came."""
        content = [
            _block(dict(block))
            for _, block in sorted(self._blocks.items(), key=lambda each: str(each[0]).zfill(9))
        ]
        message = {"role": self._role, "content": content}
        return _read(self._response | {"output": {"message": message}}, message)


def _reason(reasoning: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a piece of reasoning at its place in the whole message."""
    for name in ("text", "signature"):
        if isinstance(delta.get(name), str):
            said = reasoning.setdefault("reasoningText", {})
            said[name] = said.get(name, "") + delta[name]
    for name, value in without(delta, "text", "signature").items():
        reasoning[name] = merged(reasoning.get(name), value)


def _block(block: dict[str, Any]) -> dict[str, Any]:
    """A block with its pieces joined."""
    if is_list(block.get("text")):
        text = mended("".join(block.pop("text")))
        if "citationsContent" in block:
            block["citationsContent"]["content"] = [{"text": text}]
        else:
            block["text"] = text
    used = block.get("toolUse")
    if isinstance(used, dict) and is_list(used.get("input")):
        block["toolUse"] = used | {"input": parsed(mended("".join(used["input"])))}
    return block


READER = Reader(FORMAT, read, BedrockStream)
