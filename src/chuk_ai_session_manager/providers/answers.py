"""A model's answer, of whichever provider, and what a module that reads a provider's answers gives."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

from ..exceptions import InvalidInput
from ..exceptions.validation import json_misfit
from .common import (
    all_mended,
    dumped,
    field_of,
    json_of,
    mended,
    name_in,
    package_of,
    parsed,
    readable_json,
    text_in,
    texts_in,
)
from .messages import ChatMessage, calls_of, function_of
from .sendable import arguments_object
from .usage import ReportedUsage, cache_miss_in, image_model_of, read_usage

# The packages whose types say who ran the model, unless the application says it.
_PROVIDERS = {
    "anthropic": "anthropic",
    "cohere": "cohere",
    "google": "google",
    "groq": "groq",
    "mistralai": "mistral",
    "ollama": "ollama",
    "openai": "openai",
    "together": "together",
}


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
    usage: ReportedUsage | None = None
    """The billed tokens, as `read_usage` gives them."""
    thinking: list[ChatMessage] = field(default_factory=list, repr=False)
    """Anthropic's blocks of it, which its API wants back with the calls that came of it."""
    native: ChatMessage | None = field(default=None, repr=False, compare=False)
    """The provider's own message, as `native_of` makes it."""
    response_id: str | None = field(default=None, compare=False)
    """The id that the provider gave the response."""
    billed: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What the bill needs beside `usage`: `usage` as the provider wrote it, its `service_tier` and
    `tool_usage`, and `reported_cost_usd` where a gateway says what it charged. `read_answer` puts what these
    say into `usage`."""
    parts: list[ChatMessage] = field(default_factory=list, repr=False, compare=False)
    """The messages that the text consists of, where the provider tells them apart by a `phase`."""
    before: list[Answer | ChatMessage] = field(default_factory=list, repr=False, compare=False)
    """What an SDK did by itself before: answers that called tools, and rows with results."""
    is_pending: bool = field(default=False, compare=False)
    """Whether the provider is still at work on it: the response is to be asked for again."""

    @property
    def key(self) -> str | None:
        """What tells the response from all others, seen again included; `None` where it has no id.

        Some servers give every response the same id: so the key is made of what was said, too.
        """
        if not self.response_id:
            return None
        calls = [
            (call["function"]["name"], parsed(call["function"]["arguments"])) for call in self.tool_calls
        ]
        said = json.dumps(["".join(self.text.split()), calls], sort_keys=True, default=str)
        return f"{self.response_id}:{sha256(said.encode()).hexdigest()}"

    @property
    def message(self) -> str | ChatMessage:
        """The answer as an event holds it: a text, or OpenAI's row where there is more in it."""
        if not self.tool_calls and not self.parts:
            return self.text
        row: ChatMessage = {"role": "assistant", "content": self.parts or self.text or None}
        if self.tool_calls:
            row["tool_calls"] = self.tool_calls
        return row | ({"thinking_blocks": self.thinking} if self.thinking and self.tool_calls else {})


class AnswerStream(ABC):
    """An answer of one provider's as its stream brings it."""

    is_complete: bool = False
    """Whether the stream itself said that the answer ends."""
    says_its_end: bool = False
    """Whether the stream is of a kind that says so."""

    @abstractmethod
    def add(self, piece: Any) -> bool:
        """Take in a piece; `False` where it is none of this provider's.

        Args:
            piece: JSON values in dicts; objects that are of no SDK come as they are.
        """

    @property
    @abstractmethod
    def text(self) -> str:
        """The text so far."""

    @abstractmethod
    def end(self) -> Answer:
        """The answer, as far as it came."""

    @property
    def usage_so_far(self) -> ReportedUsage | None:
        """What the provider has counted by now; with most, that is nothing before the end."""
        return self.end().usage


@dataclass(frozen=True, slots=True)
class Reader:
    """How the answers of one provider, or of those who speak its format, are read.

    What is decided, is decided by the shape of the data and by its `type`, never by a class: objects of
    SDKs come as JSON values in dicts.
    """

    format: str
    """The format's name, as `native` says it."""
    read: Callable[[Any], Answer | None]
    """Read a whole response; `None` where it is no such response."""
    stream: Callable[[], AnswerStream] | None = None
    """Begin a stream; without it, the provider's answers do not stream."""


# -- what readers are made of ---------------------------------------------------------------------


def native_of(format_name: str, message: Any, response: Mapping[str, Any] | None = None) -> ChatMessage:
    """The provider's own message as an event's `native` holds it.

    Args:
        format_name: "openai", "openai-responses", "anthropic" …
        message: the message, lossless, as JSON.
        response: what the response says beside the message: its id, model, usage, other choices.
    """
    native: ChatMessage = {"format": format_name, "message": all_mended(message)}
    if response:
        native["response"] = all_mended(dict(response))
    return native if json_misfit(native) is None else _readable(native)


def _readable(native: ChatMessage) -> ChatMessage:
    readable = readable_json(native)
    return readable if isinstance(readable, dict) else {"format": native["format"], "message": readable}


def is_unchanged(row: ChatMessage, native: Answer) -> bool:
    """Whether a row still says and asks what its provider's own message does: an application may edit events.

    Only letters and digits are compared: what a store does not take was written in another way.

    Args:
        row: the answer as the conversation has it.
        native: the provider's own message, as it reads.
    """
    said = "".join(texts_in(row.get("content")))
    return _letters(said) == _letters(native.text) and _asked(calls_of(row)) == _asked(native.tool_calls)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _asked(calls: Sequence[ChatMessage]) -> list[tuple[object, str]]:
    functions = map(function_of, calls)
    return [(each.get("name"), _letters(_arguments(each))) for each in functions]


def _arguments(function: Mapping[str, Any]) -> str:
    given = arguments_object(function.get("arguments", function.get("input")))
    return json.dumps(given, sort_keys=True)


def call_of(call_id: object, name: object, arguments: object, *, is_json: bool = True) -> ChatMessage:
    """A tool call in OpenAI's form; one that came without an id gets one.

    Args:
        call_id: its id.
        name: the tool.
        arguments: as JSON text or as an object.
        is_json: whether no arguments at all are an empty object, not an empty text.
    """
    text = mended(dumped({} if arguments is None and is_json else arguments or ""))
    return {
        "id": mended(str(call_id)) if call_id else new_call_id(),
        "type": "function",
        "function": {"name": name_in(name) or "unknown", "arguments": text or ("{}" if is_json else "")},
    }


def arguments_of(text: str) -> Any:
    """The arguments of a call that came in pieces as its provider's message holds them."""
    return parsed(text)


def new_call_id() -> str:
    """An id for a call that came without one."""
    return f"call_{uuid4().hex}"


def usage_in(usage: object) -> ReportedUsage | None:
    """A provider's usage as counts, or `None` where there is none that can be read."""
    if not usage:
        return None
    try:
        return read_usage(usage)
    except InvalidInput:  # an answer is not lost over its bill
        return None


def nothing_used() -> ReportedUsage:
    """The usage of a call of which its provider says that nothing came."""
    return {
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
    }


def bill_of(response: Any, usage: Any) -> dict[str, Any]:
    """What the bill of a response needs beside its token counts: what `usage_of` reads."""
    tier, tools = ("service_tier", "serviceTier"), field_of(response, "tool_usage")
    found = {
        "usage": usage,
        "service_tier": field_of(response, *tier) or field_of(usage, *tier),
        "tool_usage": tools,
        "image_model": image_model_of(response) if tools else None,
        "cache_miss_reason": cache_miss_in(response),
    }
    return {name: all_mended(json_of(value)) for name, value in found.items() if value}


def model_of(response: object) -> str | None:
    """The name of the model that answered, as its provider says it, or `None`."""
    names = (name_in(field_of(response, name)) for name in ("model", "model_version", "modelVersion"))
    return next(filter(None, names), None)


def provider_of(response: object) -> str | None:
    """Who ran the model, as the response or its type says, or `None`."""
    package = package_of(response)
    if package == "litellm":
        return _litellm_provider(field_of(response, "_hidden_params"))
    kind = field_of(response, "object")
    is_openai = kind in {"chat.completion", "chat.completion.chunk", "response"}
    return _PROVIDERS.get(package) or ("openai" if is_openai else None)


def _litellm_provider(hidden: object) -> str | None:
    """Who ran the model, which LiteLLM notes beside its responses."""
    provider = name_in(field_of(hidden, "custom_llm_provider"))
    prefix, slash, _ = text_in(field_of(hidden, "litellm_model_name")).partition("/")
    return provider or (prefix if slash else None)
