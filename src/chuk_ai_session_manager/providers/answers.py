"""A model's answer in the common form, and the parts of which readers of providers' answers are made."""

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
    id_in,
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
from .usage import ReportedUsage, cache_miss_in, image_model_of, read_usage, searches_in

# The packages whose types tell who ran the model, if the application does not say it.
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


PENDING = {"queued", "in_progress"}
"""The statuses of a response that is not complete, in OpenAI's Responses and Google's Interactions."""


@dataclass(slots=True)
class Answer:
    """A model's answer in the common form, from whichever provider."""

    text: str = field(default="", repr=False)
    tool_calls: list[ChatMessage] = field(default_factory=list, repr=False)
    """The tool calls, in OpenAI's form."""
    model: str | None = None
    """The name of the model that answered, from the response."""
    provider: str | None = None
    finish_reason: str | None = None
    usage: ReportedUsage | None = None
    """The billed tokens, from `read_usage`."""
    thinking: list[ChatMessage] = field(default_factory=list, repr=False)
    """Anthropic's thinking blocks, which its API requires with the calls that follow them."""
    native: ChatMessage | None = field(default=None, repr=False, compare=False)
    """The provider's own message, from `native_of`."""
    response_id: str | None = field(default=None, compare=False)
    """The provider's id of the response."""
    billed: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What the bill needs besides `usage`: the provider's own `usage`, its `service_tier` and `tool_usage`,
    and `reported_cost_usd` if a gateway reports the charge. `read_answer` merges these into `usage`."""
    parts: list[ChatMessage] = field(default_factory=list, repr=False, compare=False)
    """The messages of the text, if the provider distinguishes them by a `phase`."""
    before: list[Answer | ChatMessage] = field(default_factory=list, repr=False, compare=False)
    """Steps that an SDK took by itself before: answers that called tools, and messages with results."""
    is_pending: bool = field(default=False, compare=False)
    """Whether the response is incomplete: it must be retrieved again."""

    @property
    def key(self) -> str | None:
        """What identifies the response when it is seen again; `None` if it has no id.

        Some servers give every response the same id, so the key also contains the content.
        """
        if not self.response_id:
            return None
        calls = [
            (call["function"]["name"], parsed(call["function"]["arguments"])) for call in self.tool_calls
        ]
        said = json.dumps(["".join(self.text.split()), calls], sort_keys=True, default=str)
        return f"{self.response_id}:{sha256(said.encode()).hexdigest()}"

    @classmethod
    def of_steps(cls, steps: Sequence[Answer | ChatMessage]) -> Answer | None:
        """The last answer of a run, with the answers and results before it; `None` if there is no answer.

        Results after the last answer are left out.
        """
        answers = [(at, step) for at, step in enumerate(steps) if isinstance(step, Answer)]
        if not answers:
            return None
        last, answer = answers[-1]
        answer.before = list(steps[:last])
        return answer

    @property
    def message(self) -> str | ChatMessage:
        """The answer as an event's message: a text, or OpenAI's chat message if it has more than a text."""
        if not self.tool_calls and not self.parts:
            return self.text
        row: ChatMessage = {"role": "assistant", "content": self.parts or self.text or None}
        if self.tool_calls:
            row["tool_calls"] = self.tool_calls
        return row | ({"thinking_blocks": self.thinking} if self.thinking and self.tool_calls else {})


class AnswerStream(ABC):
    """An answer of one provider, as a stream delivers it."""

    is_complete: bool = False
    """Whether the stream said that the answer ends."""
    says_its_end: bool = False
    """Whether streams of this kind say when the answer ends."""

    @abstractmethod
    def add(self, piece: Any) -> bool:
        """Add a piece; return `False` if it is not of this provider.

        Args:
            piece: JSON values in dicts; an object that is not an SDK's is passed as it is.
        """

    @property
    @abstractmethod
    def text(self) -> str:
        """The text so far."""

    @abstractmethod
    def end(self) -> Answer:
        """Return the answer, as far as it arrived."""

    @property
    def usage_so_far(self) -> ReportedUsage | None:
        """Return what the provider has counted so far; most providers count only at the end."""
        return self.end().usage


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of the answers of one provider, or of all providers with its format.

    A reader decides by the shape of the data and by its `type`, never by a class: SDK objects are passed
    as JSON values in dicts.
    """

    format: str
    """The format's name, as in `native`."""
    read: Callable[[Any], Answer | None]
    """Reads a whole response; returns `None` for any other object."""
    stream: Callable[[], AnswerStream] | None = None
    """Begins a stream; `None` if the provider's answers do not stream."""


# -- parts of readers -----------------------------------------------------------------------------


def native_of(format_name: str, message: Any, response: Mapping[str, Any] | None = None) -> ChatMessage:
    """The provider's own message in the form of an event's `native`.

    Args:
        format_name: "openai", "openai-responses", "anthropic" …
        message: the complete message, as JSON.
        response: everything else in the response: its id, model, usage, other choices.
    """
    native: ChatMessage = {"format": format_name, "message": all_mended(message)}
    if response:
        native["response"] = all_mended(dict(response))
    return native if json_misfit(native) is None else _readable(native)


def _readable(native: ChatMessage) -> ChatMessage:
    readable = readable_json(native)
    return readable if isinstance(readable, dict) else {"format": native["format"], "message": readable}


def is_unchanged(row: ChatMessage, native: Answer) -> bool:
    """Whether a message still has the text and calls of its native form: an application may edit events.

    Only letters and digits are compared, because characters that no store accepts were replaced.

    Args:
        row: the answer as the conversation has it.
        native: the provider's own message, as it was read.
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
    """A tool call in OpenAI's form; a missing id is created.

    Args:
        call_id: its id.
        name: the tool.
        arguments: a JSON text or an object.
        is_json: whether missing arguments become an empty object, not an empty text.
    """
    text = mended(dumped({} if arguments is None and is_json else arguments or ""))
    return {
        "id": mended(id_in(call_id)) or new_call_id(),
        "type": "function",
        "function": {"name": name_in(name) or "unknown", "arguments": text or ("{}" if is_json else "")},
    }


def new_call_id() -> str:
    """An id for a call without one."""
    return f"call_{uuid4().hex}"


def usage_in(usage: object) -> ReportedUsage | None:
    """A provider's usage as counts, or `None` if it cannot be read."""
    if not usage:
        return None
    try:
        return read_usage(usage)
    except InvalidInput:  # an unreadable bill must not lose the answer
        return None


def bill_of(response: Any, usage: Any) -> dict[str, Any]:
    """What the bill of a response needs besides its token counts, for `usage_of`."""
    tier, tools = ("service_tier", "serviceTier"), field_of(response, "tool_usage")
    found = {
        "usage": usage,
        "service_tier": field_of(response, *tier) or field_of(usage, *tier),
        "tool_usage": tools,
        "image_model": image_model_of(response) if tools else None,
        "searches": searches_in(response),
        "cache_miss_reason": cache_miss_in(response),
    }
    return {name: all_mended(json_of(value)) for name, value in found.items() if value}


def model_of(response: object) -> str | None:
    """The name of the model that answered, from the response, or `None`."""
    names = (name_in(field_of(response, name)) for name in ("model", "model_version", "modelVersion"))
    return next(filter(None, names), None)


def provider_of(response: object) -> str | None:
    """The provider that ran the model, from the response or its type, or `None`."""
    package = package_of(response)
    if package == "litellm":
        return _litellm_provider(field_of(response, "_hidden_params"))
    kind = text_in(field_of(response, "object"))
    is_openai = kind in {"chat.completion", "chat.completion.chunk", "response"}
    return _PROVIDERS.get(package) or ("openai" if is_openai else None)


def _litellm_provider(hidden: object) -> str | None:
    """The provider that ran the model, which LiteLLM notes with its responses."""
    provider = name_in(field_of(hidden, "custom_llm_provider"))
    prefix, slash, _ = text_in(field_of(hidden, "litellm_model_name")).partition("/")
    return provider or (prefix if slash else None)
