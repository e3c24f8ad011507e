"""Reads answers of Anthropic's Messages API: whole messages, and the events of streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .answers import (
    Answer,
    AnswerStream,
    Reader,
    bill_of,
    call_of,
    model_of,
    native_of,
    usage_in,
)
from .common import (
    field_of,
    is_list,
    joined,
    known_fields,
    list_of,
    mended,
    merged,
    name_in,
    parsed,
    text_in,
    without,
)
from .usage import ReportedUsage, cache_miss_in
from .usage_counts import continued

FORMAT = "anthropic"
THINKING = {"thinking", "redacted_thinking"}
_EVENTS = {
    "message_start", "message_delta", "message_stop",
    "content_block_start", "content_block_delta", "content_block_stop",
}  # fmt: skip
# Blocks that identify a content as Anthropic's if nothing else does.
_OWN = {"tool_use", "server_tool_use", "mcp_tool_use", "compaction", *THINKING}


def read(response: Any) -> Answer | None:
    """A whole message."""
    content = field_of(response, "content")
    if not is_list(content) or field_of(response, "role") not in (None, "assistant"):
        return None
    kinds = {text_in(field_of(block, "type")) for block in content}
    if field_of(response, "type") != "message" and not (
        kinds & _OWN or any(kind.endswith("_tool_result") for kind in kinds)
    ):
        return None
    return _read(response, content)


def _read(response: Any, content: Sequence[Any]) -> Answer:
    answer = of_blocks(content)
    answer.finish_reason = name_in(field_of(response, "stop_reason"))
    answer.model, answer.provider = model_of(response), "anthropic"
    answer.response_id = name_in(field_of(response, "id"))
    usage = field_of(response, "usage")
    answer.usage, answer.billed = usage_in(usage), bill_of(usage, usage)
    if usage and (reason := cache_miss_in(response)) is not None:
        answer.billed["cache_miss_reason"] = reason
    if isinstance(response, dict):
        message = {"role": "assistant", "content": list(content)}
        answer.native = native_of(FORMAT, message, without(response, "role", "content"))
    return answer


def of_blocks(content: Sequence[Any]) -> Answer:
    """The text, calls and thinking in the blocks of a message."""
    texts = [
        text_in(field_of(block, "text")) if not isinstance(block, str) else block
        for block in content
        if isinstance(block, str) or field_of(block, "type") in ("text", None)
    ]
    calls = [
        call_of(field_of(block, "id"), field_of(block, "name"), field_of(block, "input"))
        for block in content
        if field_of(block, "type") == "tool_use"
    ]
    thinking = [block for block in content if isinstance(block, dict) and _is_thought(block)]
    return Answer(mended("".join(texts)), calls, thinking=thinking)


_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def _is_thought(block: dict[str, Any]) -> bool:
    """Whether a block is thinking that the API accepts: not if it was cut off before its signature."""
    kind = block.get("type")
    return kind == "redacted_thinking" or (kind == "thinking" and bool(block.get("signature")))


class AnthropicStream(AnswerStream):
    """A message as its events deliver it, block by block."""

    says_its_end = True

    def __init__(self) -> None:
        self._message: Any = None
        self._blocks: dict[object, dict[str, Any]] = {}
        self._pieces: dict[object, dict[str, list[str]]] = {}
        """The pieces of texts in blocks, by the block's index and the field's name."""
        self._usage: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        texts = []
        for index, block in self._blocks.items():
            if block.get("type") == "text":
                texts.append(text_in(block.get("text")) + self._joined(index, "text"))
        return mended("".join(texts))

    def _joined(self, index: object, name: str) -> str:
        return joined(self._pieces.get(index, {}).get(name, []))

    def add(self, piece: Any) -> bool:
        """Add an event. Events that only the SDK's helper creates are ignored."""
        kind = text_in(field_of(piece, "type"))
        if kind not in _EVENTS:
            return self._message is not None
        match kind:
            case "message_start":
                self._message = field_of(piece, "message") or {}
                self._count(field_of(self._message, "usage"))
                for index, block in enumerate(list_of(field_of(self._message, "content"))):
                    self._begin(index, block)
            case "content_block_start":
                self._begin(field_of(piece, "index"), field_of(piece, "content_block"))
            case "content_block_delta":
                self._add_to(field_of(piece, "index"), field_of(piece, "delta"))
            case "message_delta":
                self._end(piece)
            case "message_stop":  # some servers with this format give no reason before
                self.is_complete = True
                self._usage = continued(_metrics_of_bedrock(piece), self._usage)
        self._message = self._message if self._message is not None else {}
        return True

    def _begin(self, index: object, block: Any) -> None:
        self._blocks[index] = known_fields(block, "type", "id", "name", "text")

    def _add_to(self, index: object, delta: Any) -> None:
        block = self._blocks.setdefault(index, {})
        fields = known_fields(delta, "type", "text", "partial_json", "thinking", "signature")
        kind = text_in(fields.get("type")).removesuffix("_delta")
        if "type" not in block:  # its beginning is missing
            block["type"] = {"input_json": "tool_use", "signature": "thinking"}.get(kind, kind)
        for name, value in fields.items():
            if name == "citation":
                block["citations"] = [*(block.get("citations") or []), value]
            elif name != "type" and isinstance(value, str):
                self._pieces.setdefault(index, {}).setdefault(name, []).append(value)
            elif name != "type":
                block[name] = merged(block.get(name), value)

    def _end(self, piece: Any) -> None:
        """Add what is said about the whole message after its content."""
        self._count(field_of(piece, "usage"))
        delta = field_of(piece, "delta")
        said = without(delta) or {"stop_reason": field_of(delta, "stop_reason")}
        said |= without(piece, "type", "delta", "usage")
        if not isinstance(self._message, dict):
            self._message = {"model": model_of(self._message)} if self._message is not None else {}
        self._message |= {name: value for name, value in said.items() if value is not None}
        self.is_complete: bool = self.is_complete or bool(said.get("stop_reason"))

    def _count(self, usage: Any) -> None:
        found = known_fields(usage, *_COUNTS)
        self._usage = continued(self._usage, found)

    @property
    def usage_so_far(self) -> ReportedUsage | None:
        """Return what the provider has counted so far: the input, from the beginning."""
        return usage_in(self._usage)

    def end(self) -> Answer:
        """The answer, as far as it came."""
        message = self._message if isinstance(self._message, dict) else {"model": model_of(self._message)}
        blocks = [self._block(index, block) for index, block in self._blocks.items()]
        usage = self._usage if self.is_complete else None  # the first event does not count the output
        answer = _read(message | {"content": blocks, "usage": usage}, blocks)
        for at, block in enumerate(each for each in blocks if each.get("type") == "tool_use"):
            if isinstance(block.get("input"), str):  # it was cut off
                answer.tool_calls[at]["function"]["arguments"] = block["input"]
        return answer

    def _block(self, index: object, block: dict[str, Any]) -> dict[str, Any]:
        """A block with all pieces that arrived."""
        whole = dict(block)
        for name in self._pieces.get(index, {}):
            text = self._joined(index, name)
            if name == "partial_json":
                whole["input"] = parsed(mended(text)) if text.strip() else whole.get("input") or {}
            else:
                whole[name] = mended(text_in(whole.get(name)) + text)
        return whole


def _metrics_of_bedrock(piece: Any) -> dict[str, Any]:
    """The usage that Amazon Bedrock adds to the last event of an InvokeModel stream, under Anthropic's names.

    The events before may lack the cached tokens (https://github.com/BerriAI/litellm/issues/34373).
    """
    metrics = field_of(piece, "amazon-bedrock-invocationMetrics")
    counts = {
        "input_tokens": field_of(metrics, "inputTokenCount"),
        "output_tokens": field_of(metrics, "outputTokenCount"),
        "cache_read_input_tokens": field_of(metrics, "cacheReadInputTokenCount"),
        "cache_creation_input_tokens": field_of(metrics, "cacheWriteInputTokenCount"),
    }
    return {name: count for name, count in counts.items() if count is not None}


READER = Reader(FORMAT, read, AnthropicStream)
