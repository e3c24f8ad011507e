"""What a model answered: read from its provider's response, whole or as it streams in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .exceptions import InvalidInput
from .messages import ChatMessage
from .usage import read_usage

_THINKING = {"thinking", "redacted_thinking"}

# The packages whose types say who ran the model, unless the application says it.
_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "google": "google"}


@dataclass(slots=True)
class Answer:
    """A model's answer, of whichever provider."""

    text: str = field(default="", repr=False)
    tool_calls: list[ChatMessage] = field(default_factory=list, repr=False)
    """What it asks tools for, in OpenAI's form."""
    model: str | None = None
    """Its real name, as the response says it."""
    provider: str | None = None
    finish_reason: str | None = None
    usage: dict[str, int] | None = None
    """The billed tokens, as `read_usage` gives them."""
    thinking: list[ChatMessage] = field(default_factory=list, repr=False)
    """Anthropic's blocks of it, which its API wants back with the calls that came of it."""

    @property
    def message(self) -> str | ChatMessage:
        """The answer as an event holds it: a text, or OpenAI's row where there are tool calls."""
        if not self.tool_calls:
            return self.text
        row = {"role": "assistant", "content": self.text or None, "tool_calls": self.tool_calls}
        return row | ({"thinking_blocks": self.thinking} if self.thinking else {})


def read_answer(response: object) -> Answer:
    """Read a model's response, as an object of its SDK or as the JSON in dicts.

    That is: a text; OpenAI's chat completion or Responses object; Anthropic's message; Google's; LiteLLM's;
    or anything with `content` or `text`.

    Raises:
        InvalidInput: it is none of them; the text names its type.
    """
    answer = _read(response)
    if answer is None:
        raise not_understood(response)
    return answer


def not_understood(response: object) -> InvalidInput:
    """The error for what is no response, naming its type."""
    return InvalidInput(
        "read the model's answer",
        f"a {type(response).__name__} is no known response: give its text, or an object or dict of "
        "OpenAI, Anthropic, Google or LiteLLM, or one with `content` or `text`",
    )


def _read(response: object) -> Answer | None:
    if isinstance(response, str):
        return Answer(response)
    if response is None or isinstance(response, bytes | bytearray | int | float | Sequence):
        return None
    for read in (_chat_completion, _responses, _google, _content):
        answer = read(response)
        if answer is not None:
            answer.model = answer.model or model_of(response)
            answer.provider = answer.provider or _provider_of(response)
            answer.usage = usage_of(response)
            return answer
    return None


def _chat_completion(response: object) -> Answer | None:
    """OpenAI's chat completion, which LiteLLM and many others give too."""
    choices = _field(response, "choices")
    if not (_is_list(choices) and choices):
        return None
    message = _field(choices[0], "message")
    text = (
        _texts(_field(message, "content"))
        or _text(_field(message, "refusal"))
        or _text(_field(choices[0], "text"))
    )
    asked = _list(_field(message, "tool_calls"))
    calls = [_call(each, _field(each, "function") or _field(each, "custom") or each) for each in asked]
    legacy = _field(message, "function_call")
    if legacy is not None and not calls:
        calls = [_call(legacy, legacy)]
    return Answer(text, calls, finish_reason=_name(_field(choices[0], "finish_reason")))


def _responses(response: object) -> Answer | None:
    """OpenAI's Responses object."""
    output = _field(response, "output")
    if not _is_list(output):
        return None
    messages = [item for item in output if _field(item, "type") == "message"]
    calls = [
        _call(item, item, _field(item, "call_id"))
        for item in output
        if _field(item, "type") in {"function_call", "custom_tool_call"}
    ]
    text = "".join(_texts(_field(message, "content")) for message in messages)
    reason = _field(_field(response, "incomplete_details"), "reason") or _field(response, "status")
    return Answer(text, calls, finish_reason=_name(reason))


def _google(response: object) -> Answer | None:
    """A response of google-genai, or of Google's REST API."""
    candidates = _field(response, "candidates")
    if not _is_list(candidates):
        return None
    first = candidates[0] if candidates else None
    parts = _list(_field(_field(first, "content"), "parts"))
    text = "".join(_text(_field(part, "text")) for part in parts if not _field(part, "thought"))
    asked = [_field(part, "function_call") or _field(part, "functionCall") for part in parts]
    calls = [_call(each, each) for each in asked if each]
    reason = _field(first, "finish_reason") or _field(first, "finishReason")
    return Answer(text, calls, provider="google", finish_reason=_name(_field(reason, "value") or reason))


def _content(response: object) -> Answer | None:
    """Anthropic's message; or any object that says what it says."""
    content = _field(response, "content")
    asked = _list(_field(response, "tool_calls"))
    if isinstance(content, str) or _is_list(content) or (content is None and asked):
        calls = [_call(each, each) for each in _list(content) if _field(each, "type") == "tool_use"]
        calls = calls or [_call(each, _field(each, "function") or each) for each in asked]
        provider = "anthropic" if _field(response, "type") == "message" else None
        reason = _name(_field(response, "stop_reason"))
        thinking = [_plain(each) for each in _list(content) if _field(each, "type") in _THINKING]
        return Answer(_texts(content), calls, provider=provider, finish_reason=reason, thinking=thinking)
    text = next(
        (each for name in ("output_text", "text") if isinstance(each := _field(response, name), str)), None
    )
    return None if text is None else Answer(text)


# -- what all of them have ------------------------------------------------------------------------


def usage_of(response: object) -> dict[str, int] | None:
    """The usage that a provider's response carries, or `None` where there is none that can be read."""
    for name in ("usage", "usage_metadata", "usageMetadata"):
        usage = _field(response, name)
        if usage is not None:
            try:
                return read_usage(usage)
            except InvalidInput:  # an answer is not lost over its bill
                return None
    return None


def model_of(response: object) -> str | None:
    """The name of the model that answered, as its provider says it, or `None`."""
    names = (_name(_field(response, name)) for name in ("model", "model_version", "modelVersion"))
    return next(filter(None, names), None)


def _provider_of(response: object) -> str | None:
    package = type(response).__module__.partition(".")[0]
    if package == "litellm":
        return _litellm_provider(_field(response, "_hidden_params"))
    kind = _field(response, "object")
    is_openai = kind in {"chat.completion", "chat.completion.chunk", "response"}
    return _PROVIDERS.get(package) or ("openai" if is_openai else None)


def _litellm_provider(hidden: object) -> str | None:
    """Who ran the model, which LiteLLM notes beside its responses."""
    provider = _name(_field(hidden, "custom_llm_provider"))
    prefix, slash, _ = _text(_field(hidden, "litellm_model_name")).partition("/")
    return provider or (prefix if slash else None)


def _call(call: object, asked: object, call_id: object = None) -> ChatMessage:
    """A call in OpenAI's form."""
    arguments = next(
        (each for name in ("arguments", "input", "args") if (each := _field(asked, name)) is not None), None
    )
    text = arguments if isinstance(arguments, str) else json.dumps(_plain(arguments or {}), default=str)
    function = {"name": _name(_field(asked, "name")) or "unknown", "arguments": text}
    return {"id": str(call_id or _field(call, "id") or _new_id()), "type": "function", "function": function}


def _new_id() -> str:
    """An id for a call that came without one."""
    return f"call_{uuid4().hex}"


def _texts(content: object) -> str:
    """The text of a content: itself, or those of its blocks, of which some are no text."""
    if isinstance(content, str):
        return content
    texts = (
        block if isinstance(block, str) else _text(_field(block, "text")) or _text(_field(block, "refusal"))
        for block in _list(content)
        if not _field(block, "thought")
    )
    return "".join(texts)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value


def _field(container: Any, name: str) -> Any:
    return container.get(name) if isinstance(container, Mapping) else getattr(container, name, None)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _list(value: Any) -> Sequence[Any]:
    return value if _is_list(value) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


# -- streams --------------------------------------------------------------------------------------


class AnswerInPieces:
    """An answer as its stream brings it.

    Takes OpenAI's chat chunks or Responses events, Anthropic's events, Google's and LiteLLM's chunks, and
    plain texts.
    """

    def __init__(self) -> None:
        self.answer = Answer()
        self.is_complete = False
        """Whether the stream itself said that the answer ends."""
        self._says_its_end = False
        self._unknown: object = None
        self._knows_some = False
        self._has_events = False
        self._texts: list[str] = []
        self._calls: dict[object, dict[str, str]] = {}
        self._thinking: dict[object, dict[str, str]] = {}
        self._usage: dict[str, Any] = {}

    @property
    def is_cut(self) -> bool:
        """Whether the stream is of a kind that says when the answer ends, and has not."""
        return self._says_its_end and not self.is_complete

    @property
    def text(self) -> str:
        """The text so far."""
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    @property
    def unknown(self) -> object:
        """A piece that was not understood, where none was."""
        return None if self._knows_some else self._unknown

    def add(self, piece: object) -> None:
        """Take in a piece; one that says nothing is no fault: streams have many kinds."""
        if isinstance(piece, str):
            self._say(piece)
            self._knows_some = True
            return
        kind = _field(piece, "type")
        if kind == "chunk":  # OpenAI's helper, which gives what it makes of chunks beside them
            piece, self._has_events = _field(piece, "chunk"), True
        if isinstance(kind, str) and self._event(kind, piece):
            self._has_events = known = True
        elif self._has_events and kind != "chunk":
            return  # what an SDK's helper makes of the events that it gives too
        else:
            known = any(add(piece) for add in (self._chat_chunk, self._google_chunk, self._other))
        self._knows_some = self._knows_some or known
        self._unknown = piece

    def _say(self, text: str) -> None:
        if text:
            self._texts.append(text)

    def end(self) -> Answer:
        """The answer, as far as it came."""
        self.answer.text = self.text
        if self._calls:
            self.answer.tool_calls = [
                {
                    "id": call["id"] or _new_id(),
                    "type": "function",
                    "function": {"name": call["name"] or "unknown", "arguments": call["arguments"] or "{}"},
                }
                for call in self._calls.values()
            ]
        self.answer.thinking = self.answer.thinking or list(self._thinking.values())
        if self._usage and not self.is_cut:  # what Anthropic says at the beginning is no count of the output
            self.answer.usage = usage_of({"usage": self._usage})
        return self.answer

    def _seen(self, piece: object, finish_reason: object = None) -> None:
        self.answer.model = model_of(piece) or self.answer.model
        self.answer.provider = _provider_of(piece) or self.answer.provider
        if _name(finish_reason):
            self.answer.finish_reason, self.is_complete = _name(finish_reason), True

    def _call_at(self, key: object, call_id: object = None, name: object = None, more: object = None) -> None:
        call = self._calls.setdefault(key, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or _text(call_id)
        call["name"] = call["name"] or _text(name)
        call["arguments"] += _text(more)

    def _chat_chunk(self, piece: object) -> bool:
        choices = _field(piece, "choices")
        if not _is_list(choices):
            return False
        first = next((each for each in choices if not _field(each, "index")), None)  # of several, one
        self._seen(piece, _field(first, "finish_reason"))
        self._says_its_end = True
        delta = _field(first, "delta")
        texts = (_field(delta, "content"), _field(delta, "refusal"), _field(first, "text"))
        self._say(next(filter(None, map(_text, texts)), ""))
        legacy = _field(delta, "function_call")
        if legacy is not None:
            self._call_at("function_call", name=_field(legacy, "name"), more=_field(legacy, "arguments"))
        for at, call in enumerate(_list(_field(delta, "tool_calls"))):
            self._call_delta(call, at)
        self.answer.usage = usage_of(piece) or self.answer.usage
        return True

    def _call_delta(self, call: object, at: int) -> None:
        asked, index, call_id = _field(call, "function"), _field(call, "index"), _text(_field(call, "id"))
        key = at if index is None else index
        if call_id and self._calls.get(key, {}).get("id", call_id) != call_id:
            self._calls[object()] = self._calls.pop(key)  # another call begins under the same index
        self._call_at(key, call_id, _field(asked, "name"), _field(asked, "arguments"))

    def _google_chunk(self, piece: object) -> bool:
        answer = _google(piece)
        if answer is None:
            return False
        self._seen(piece, answer.finish_reason)
        self._say(answer.text)
        self.answer.provider = "google"
        for call in answer.tool_calls:
            self._call_at(call["id"], call["id"], call["function"]["name"], call["function"]["arguments"])
        self.answer.usage = usage_of(piece) or self.answer.usage
        return True

    def _other(self, piece: object) -> bool:
        answer = _content(piece)
        if answer is None:
            return False
        self._seen(piece)
        self._say(answer.text)
        self.answer.usage = usage_of(piece) or self.answer.usage
        return True

    def _event(self, kind: str, piece: object) -> bool:
        """OpenAI's Responses events, and Anthropic's."""
        if kind.startswith("response."):
            return self._responses_event(kind, piece)
        match kind:
            case "message_start":
                message = _field(piece, "message")
                self._says_its_end = True
                self._seen(message)
                self.answer.provider = self.answer.provider or "anthropic"
                self._add_usage(_field(message, "usage"))
            case "content_block_start":
                block = _field(piece, "content_block")
                self._say(_text(_field(block, "text")))
                if _field(block, "type") == "tool_use":
                    self._call_at(_field(piece, "index"), _field(block, "id"), _field(block, "name"))
                elif _field(block, "type") in _THINKING:
                    self._thinking[_field(piece, "index")] = dict(_plain(block))
            case "content_block_delta":
                self._block_delta(_field(piece, "index"), _field(piece, "delta"))
            case "message_delta":
                self._seen(None, _field(_field(piece, "delta"), "stop_reason"))
                self._add_usage(_field(piece, "usage"))
            case _:
                return False
        return True

    def _block_delta(self, index: object, delta: object) -> None:
        self._say(_text(_field(delta, "text")))
        if _field(delta, "type") == "input_json_delta":
            self._call_at(index, more=_field(delta, "partial_json"))
        for part in ("thinking", "signature"):
            if more := _text(_field(delta, part)):
                block = self._thinking.setdefault(index, {"type": "thinking"})
                block[part] = block.get(part, "") + more

    def _add_usage(self, usage: object) -> None:
        """Anthropic's counts come in two parts, of which the later one holds what it says."""
        names: Iterable[str] = (
            "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
        )  # fmt: skip
        self._usage |= {name: count for name in names if (count := _field(usage, name)) is not None}

    def _responses_event(self, kind: str, piece: object) -> bool:
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                self._say(_text(_field(piece, "delta")))
            case "response.created":
                self._says_its_end = True
                self._seen(_field(piece, "response"))
            case "response.output_item.done":
                item = _field(piece, "item")
                if _field(item, "type") == "function_call":
                    call_id = _field(item, "call_id")
                    self._call_at(call_id, call_id, _field(item, "name"), _field(item, "arguments"))
            case "response.completed" | "response.incomplete" | "response.failed":
                whole = _read(_field(piece, "response"))
                if whole is not None:
                    self._texts = [whole.text] if whole.text else self._texts
                    self._calls = {} if whole.tool_calls else self._calls
                    self.answer, self.is_complete = whole, kind != "response.failed"
        return True
