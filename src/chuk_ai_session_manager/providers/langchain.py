"""Reads LangChain's messages, and their chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answers import Answer, AnswerStream, Reader, bill_of, call_of, native_of, usage_in
from .anthropic import THINKING
from .calls_in_pieces import CallsInPieces
from .common import (
    dumped,
    field_of,
    is_list,
    joined,
    list_of,
    mended,
    merged,
    name_in,
    parsed,
    text_in,
    texts_in,
    without,
)
from .messages import ChatMessage
from .sendable import arguments_object

FORMAT = "langchain"
_TYPES = {"ai", "AIMessageChunk"}


def read(response: Any) -> Answer | None:
    """An AI message, as an object, as its `model_dump()`, or as `message_to_dict` gives it.

    Or the state of a graph: its messages since the user's last one are the answer and the steps before it.
    """
    if is_list(messages := field_of(response, "messages")) and len(messages):
        return _of_state(messages)
    data = field_of(response, "data")
    if text_in(field_of(response, "type")) in _TYPES and isinstance(data, Mapping):
        response = dict(data) | {"type": field_of(response, "type")}
    return _read(response) if _is_message(response) else None


def _of_state(messages: Sequence[Any]) -> Answer | None:
    steps: list[Answer | ChatMessage] = []
    for message in messages:
        kind = text_in(field_of(message, "type")).removesuffix("MessageChunk").lower()
        if kind == "human":
            steps = []
        elif kind == "tool":
            call_id, content = text_in(field_of(message, "tool_call_id")), field_of(message, "content")
            steps.append({"role": "tool", "tool_call_id": call_id, "content": dumped(content)})
        elif _is_message(message):
            steps.append(_read(message))
    return Answer.of_steps(steps)


def _is_message(response: Any) -> bool:
    content = field_of(response, "content")
    return text_in(field_of(response, "type")) in _TYPES and (isinstance(content, str) or is_list(content))


def _read(message: Any) -> Answer:
    about = field_of(message, "response_metadata")
    calls = [
        call_of(field_of(call, "id"), field_of(call, "name"), field_of(call, "args"))
        for name in ("tool_calls", "invalid_tool_calls")
        for call in list_of(field_of(message, name))
    ]
    usage = _with_terms(field_of(message, "usage_metadata"), about)
    answer = Answer(
        mended("".join(texts_in(field_of(message, "content")))),
        calls,
        model=name_in(field_of(about, "model_name", "model")),
        provider=_provider(name_in(field_of(about, "model_provider"))),
        finish_reason=name_in(field_of(about, "finish_reason", "stop_reason", "done_reason")),
        usage=usage_in(usage),
        response_id=name_in(field_of(about, "id")) or _own_id(field_of(message, "id")),
        billed=bill_of(about, usage),
    )
    if isinstance(message, dict):
        answer.native = native_of(FORMAT, message)
    return answer


# What Anthropic's blocks have as pieces of a stream, and requests must not have.
_OF_STREAMS = ("index", "partial_json")
# LangChain's kinds in which Anthropic's fields are not as they were.
_STANDARD_KINDS = {"non_standard", "server_tool_call", "server_tool_call_chunk", "server_tool_result"}
_BLOCK_FIELDS = {"text": ("type", "text", "citations"), "thinking": ("type", "thinking", "signature")}


def anthropic_message(message: Any) -> dict[str, Any] | None:
    """Anthropic's own message in a message of LangChain, for thinking that has to go back with its signature.

    LangChain keeps Anthropic's blocks, or has translated them to its standard ones (`output_version="v1"`).
    `None` for answers without thinking and of other providers, and if a block has no translation.
    """
    content = list_of(field_of(message, "content"))
    about = field_of(message, "response_metadata")
    if name_in(field_of(about, "model_provider")) not in {None, "anthropic"}:
        return None
    calls = {
        str(field_of(call, "id")): {
            "type": "tool_use",
            "id": field_of(call, "id"),
            "name": field_of(call, "name"),
            "input": arguments_object(field_of(call, "args")),
        }
        for name in ("tool_calls", "invalid_tool_calls")
        for call in list_of(field_of(message, name))
    }
    blocks = [_anthropic_block(block, calls) for block in content if not _is_piece(block)]
    found = [block for block in blocks if block is not None]
    if len(found) < len(blocks) or not any(block["type"] in THINKING for block in found):
        return None
    return {"role": "assistant", "content": [*found, *calls.values()]}


def _is_piece(block: Any) -> bool:
    """Whether a block is a piece of a call's arguments, which the call has as a whole."""
    return bool(field_of(block, "type") == "input_json_delta")


def _anthropic_block(block: Any, calls: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """A block as Anthropic has it; a call is taken out of `calls`. `None` if that is not known."""
    if isinstance(block, str):
        block = {"type": "text", "text": block}
    match field_of(block, "type"):
        case "text" | "thinking" as kind:
            return {name: block[name] for name in _BLOCK_FIELDS[kind] if block.get(name) is not None}
        case "tool_use" | "tool_call" as kind:
            asked = calls.pop(str(block.get("id")), None)
            return asked and {**(without(block, *_OF_STREAMS) if kind == "tool_use" else {}), **asked}
        case "reasoning":
            signature = field_of(block.get("extras"), "signature")
            return {"type": "thinking", "thinking": text_in(block.get("reasoning")), "signature": signature}
        case "non_standard" if field_of(block.get("value"), "type") in THINKING:
            return dict(block["value"])
        case str() as kind if kind not in _STANDARD_KINDS:
            given = {"input": parsed(block["partial_json"])} if block.get("partial_json") else {}
            return {**without(block, *_OF_STREAMS), **given}
        case _:
            return None


# In the provider's own usage, or beside it: what LangChain's counts leave out, and the bill needs.
_TERMS = (
    "cost", "cost_details", "is_byok", "cost_in_usd_ticks", "estimated_cost", "server_tool_use",
    "service_tier", "speed", "inference_geo",
)  # fmt: skip


def _with_terms(usage: Any, about: Any) -> Any:
    """LangChain's usage, with the terms of the call and its charge from the provider's own usage.

    That is in `response_metadata`: OpenAI's as `token_usage`, Anthropic's as `usage`; OpenRouter's charge
    stands beside it (https://github.com/langchain-ai/langchain/pull/35461).
    """
    if not isinstance(usage, Mapping):
        return usage
    places = [field_of(about, "token_usage"), field_of(about, "usage"), about]
    terms: dict[str, Any] = {}
    for place in places:
        terms |= {name: value for name in _TERMS if (value := field_of(place, name)) is not None}
    return terms | dict(usage)


def _provider(name: str | None) -> str | None:
    return {"google_genai": "google", "google_vertexai": "google", "mistralai": "mistral"}.get(
        name or "", name
    )


def _own_id(message_id: Any) -> str | None:
    """A message's id, if the provider made it."""
    return name_in(message_id)


class LangChainStream(AnswerStream):
    """A message as its chunks bring it."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._texts: list[str] = []
        self._blocks: list[dict[str, Any]] = []
        self._calls = CallsInPieces()

    @property
    def text(self) -> str:
        """The text so far."""
        return mended(joined(self._texts) + "".join(texts_in(self._blocks)))

    def add(self, piece: Any) -> bool:
        """Take in a chunk."""
        if not _is_message(piece):
            return False
        fields = (
            piece
            if isinstance(piece, dict)
            else {"type": "AIMessageChunk", "content": field_of(piece, "content")}
        )
        self._add_content(fields["content"])
        in_pieces = list_of(fields.get("tool_call_chunks"))
        self._calls.add_all(
            [
                without(call, "args", "type")
                | {"function": {"name": call.get("name"), "arguments": call.get("args")}}
                for call in in_pieces or list_of(fields.get("tool_calls"))
                if isinstance(call, dict)
            ]
        )
        usage = _with_more(self._message.get("usage_metadata"), fields.get("usage_metadata"))
        about = _later(self._message.get("response_metadata"), fields.get("response_metadata"))
        more = merged(self._message.get("additional_kwargs"), fields.get("additional_kwargs"))
        once = without(fields, "content", "tool_calls", "invalid_tool_calls", "tool_call_chunks")
        self._message |= {name: value for name, value in once.items() if value is not None}
        for name, value in (
            ("usage_metadata", usage),
            ("response_metadata", about),
            ("additional_kwargs", more),
        ):
            if value is not None:
                self._message[name] = value
        self.is_complete: bool = fields.get("chunk_position") == "last" or self.is_complete
        return True

    def _add_content(self, content: Any) -> None:
        if isinstance(content, str):
            self._texts.append(content)
            return
        for block in list_of(content):
            last = self._blocks[-1] if self._blocks else None
            if isinstance(block, str):
                self._texts.append(block)
            elif isinstance(block, dict):
                index = block.get("index")
                is_same = last is not None and last.get("type", block.get("type")) == block.get(
                    "type", last.get("type")
                )
                if (
                    last is not None
                    and is_same
                    and (index is not None or set(block) <= {"type", "text"})
                    and last.get("index") == index
                ):
                    self._blocks[-1] = merged(last, without(block, "type", "index", "id", "name"))
                else:
                    self._blocks.append(dict(block))

    def end(self) -> Answer:
        """The answer, as far as it came."""
        text = mended("".join(self._texts))
        calls = [
            {
                "name": call["function"]["name"],
                "args": parsed(call["function"]["arguments"]),
                "id": call["id"],
                "type": "tool_call",
            }
            for call in self._calls.end()
        ]
        whole = [call for call in calls if isinstance(call["args"], dict)]
        cut = [call | {"type": "invalid_tool_call"} for call in calls if not isinstance(call["args"], dict)]
        content: Any = (
            [*([{"type": "text", "text": text}] if text else []), *self._blocks] if self._blocks else text
        )
        message = self._message | {
            "type": "ai",
            "content": content,
            "tool_calls": whole,
            "invalid_tool_calls": cut,
        }
        return _read(message)


def _with_more(before: Any, more: Any) -> Any:
    """The usage of a stream with that of the next chunk.

    LangChain's chunks have parts of the whole, which it adds up. But some servers with OpenAI's format send
    running totals (vLLM's `continuous_usage_stats`): a usage that names the whole input again replaces the
    earlier one.
    """
    known, later = field_of(before, "input_tokens"), field_of(more, "input_tokens")
    if isinstance(known, int) and isinstance(later, int) and 0 < known <= later:
        return more
    return _summed(before, more)


def _summed(before: Any, more: Any) -> Any:
    """The sum of usages in LangChain's sense: the counts of a stream's chunks are parts of the whole."""
    if not isinstance(before, dict) or not isinstance(more, dict):
        return more if before is None else before
    return before | {
        name: _summed(before.get(name), value)
        if isinstance(value, dict)
        else (before.get(name) or 0) + value
        if isinstance(value, int)
        else value
        for name, value in more.items()
    }


def _later(before: Any, more: Any) -> Any:
    return (
        (before or {}) | {name: value for name, value in more.items() if value}
        if isinstance(more, dict)
        else before
    )


READER = Reader(FORMAT, read, LangChainStream)
