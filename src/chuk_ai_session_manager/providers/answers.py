"""What a model answered, read from its provider's response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from ..exceptions import InvalidInput
from .common import field_of, is_list, list_of, name_in, plain, text_in, texts_in
from .messages import ChatMessage
from .usage import read_usage

THINKING = {"thinking", "redacted_thinking"}

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
    answer = answer_in(response)
    if answer is None:
        raise not_understood(response)
    return answer


def not_understood(response: object) -> InvalidInput:
    """The error for what is no response, naming its type."""
    return InvalidInput(
        "read the model's answer",
        f"{type(response).__name__} is no known response: give its text, or an object or dict of "
        "OpenAI, Anthropic, Google or LiteLLM, or one with `content` or `text`",
    )


def answer_in(response: object) -> Answer | None:
    """A model's response as an answer; `None` where it is none that is known."""
    if isinstance(response, str):
        return Answer(response)
    if response is None or isinstance(response, bytes | bytearray | int | float | Sequence):
        return None
    for read in (_chat_completion, _responses, google_answer, plain_answer):
        answer = read(response)
        if answer is not None:
            answer.model = answer.model or model_of(response)
            answer.provider = answer.provider or provider_of(response)
            answer.usage = usage_of(response)
            return answer
    return None


def _chat_completion(response: object) -> Answer | None:
    """OpenAI's chat completion, which LiteLLM and many others give too."""
    choices = field_of(response, "choices")
    if not (is_list(choices) and choices):
        return None
    message = field_of(choices[0], "message")
    text = (
        "".join(texts_in(field_of(message, "content")))
        or text_in(field_of(message, "refusal"))
        or text_in(field_of(choices[0], "text"))
    )
    asked = list_of(field_of(message, "tool_calls"))
    calls = [_call(each, field_of(each, "function") or field_of(each, "custom") or each) for each in asked]
    legacy = field_of(message, "function_call")
    if legacy is not None and not calls:
        calls = [_call(legacy, legacy)]
    return Answer(text, calls, finish_reason=name_in(field_of(choices[0], "finish_reason")))


def _responses(response: object) -> Answer | None:
    """OpenAI's Responses object."""
    output = field_of(response, "output")
    if not is_list(output):
        return None
    messages = [item for item in output if field_of(item, "type") == "message"]
    calls = [
        _call(item, item, field_of(item, "call_id"))
        for item in output
        if field_of(item, "type") in {"function_call", "custom_tool_call"}
    ]
    text = "".join("".join(texts_in(field_of(message, "content"))) for message in messages)
    reason = field_of(field_of(response, "incomplete_details"), "reason") or field_of(response, "status")
    return Answer(text, calls, finish_reason=name_in(reason))


def google_answer(response: object) -> Answer | None:
    """A response of google-genai, or of Google's REST API."""
    candidates = field_of(response, "candidates")
    if not is_list(candidates):
        return None
    first = candidates[0] if candidates else None
    parts = list_of(field_of(field_of(first, "content"), "parts"))
    text = "".join(text_in(field_of(part, "text")) for part in parts if not field_of(part, "thought"))
    asked = [field_of(part, "function_call") or field_of(part, "functionCall") for part in parts]
    calls = [_call(each, each) for each in asked if each]
    reason = field_of(first, "finish_reason") or field_of(first, "finishReason")
    return Answer(text, calls, provider="google", finish_reason=name_in(field_of(reason, "value") or reason))


def plain_answer(response: object) -> Answer | None:
    """Anthropic's message; or any object that says what it says."""
    content = field_of(response, "content")
    asked = list_of(field_of(response, "tool_calls"))
    if isinstance(content, str) or is_list(content) or (content is None and asked):
        calls = [_call(each, each) for each in list_of(content) if field_of(each, "type") == "tool_use"]
        calls = calls or [_call(each, field_of(each, "function") or each) for each in asked]
        provider = "anthropic" if field_of(response, "type") == "message" else None
        reason = name_in(field_of(response, "stop_reason"))
        thinking = [plain(each) for each in list_of(content) if field_of(each, "type") in THINKING]
        return Answer(
            "".join(texts_in(content)), calls, provider=provider, finish_reason=reason, thinking=thinking
        )
    text = next(
        (each for name in ("output_text", "text") if isinstance(each := field_of(response, name), str)), None
    )
    return None if text is None else Answer(text)


# -- what all of them have ------------------------------------------------------------------------


def usage_of(response: object) -> dict[str, int] | None:
    """The usage that a provider's response carries, or `None` where there is none that can be read."""
    for name in ("usage", "usage_metadata", "usageMetadata"):
        usage = field_of(response, name)
        if usage is not None:
            try:
                return read_usage(usage)
            except InvalidInput:  # an answer is not lost over its bill
                return None
    return None


def model_of(response: object) -> str | None:
    """The name of the model that answered, as its provider says it, or `None`."""
    names = (name_in(field_of(response, name)) for name in ("model", "model_version", "modelVersion"))
    return next(filter(None, names), None)


def provider_of(response: object) -> str | None:
    """Who ran the model, as the response or its type says, or `None`."""
    package = type(response).__module__.partition(".")[0]
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


def _call(call: object, asked: object, call_id: object = None) -> ChatMessage:
    """A call in OpenAI's form."""
    arguments = next(
        (each for name in ("arguments", "input", "args") if (each := field_of(asked, name)) is not None), None
    )
    text = arguments if isinstance(arguments, str) else json.dumps(plain(arguments or {}), default=str)
    function = {"name": name_in(field_of(asked, "name")) or "unknown", "arguments": text}
    return {
        "id": str(call_id or field_of(call, "id") or new_call_id()),
        "type": "function",
        "function": function,
    }


def new_call_id() -> str:
    """An id for a call that came without one."""
    return f"call_{uuid4().hex}"
