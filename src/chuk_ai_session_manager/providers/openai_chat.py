"""Reads chat completions, of OpenAI and of all providers with its format.

These are Azure, DeepSeek, xAI, Mistral, Groq, OpenRouter, Together, Gemini's compatible endpoint, LiteLLM,
vLLM, Ollama's `/v1` and others. Their extra fields (`reasoning_content`, `reasoning_details`, `images` …) are
stored too.
"""

from __future__ import annotations

from typing import Any

from .answers import (
    Answer,
    AnswerStream,
    Reader,
    bill_of,
    call_of,
    model_of,
    native_of,
    provider_of,
    usage_in,
)
from .calls_in_pieces import CallsInPieces
from .common import (
    by_index,
    field_of,
    is_list,
    joined,
    known_fields,
    list_of,
    mended,
    merged,
    name_in,
    text_in,
    texts_in,
    without,
)
from .messages import ChatMessage
from .usage_counts import continued, put_together

FORMAT = "openai"
# The known fields of a delta that is not an SDK's object.
_DELTA = ("role", "content", "refusal", "reasoning_content", "tool_calls", "function_call")
# Fields that a message or call has once, although many servers repeat them in each chunk.
_SAID_ONCE = {"role", "id", "type", "index", "expires_at", "object", "created", "name", "format"}


def read(response: Any) -> Answer | None:
    """A whole chat completion, or a message of one."""
    choices = field_of(response, "choices")
    if is_list(choices) and choices:
        return _completion(response, by_index([each for each in choices if each is not None]) or choices)
    return None


def read_message(response: Any) -> Answer | None:
    """A message of a chat completion by itself."""
    content, calls = field_of(response, "content"), list_of(field_of(response, "tool_calls"))
    if field_of(response, "role") != "assistant" or field_of(response, "type") == "message":
        return None
    if not isinstance(content, str) and not is_list(content) and not (content is None and calls):
        return None
    answer = of_message(response)
    usage = field_of(response, "usage", "token_usage")  # the latter in smolagents
    answer.model, answer.usage = model_of(response), usage_in(usage)
    if isinstance(response, dict):
        answer.native = native_of(FORMAT, without(response, "usage", "model"))
    return answer


def _completion(response: Any, choices: Any) -> Answer:
    first = choices[0]
    message = _sent(field_of(first, "message"))
    answer = of_message(message)
    answer.text = answer.text or text_in(field_of(first, "text"))
    answer.finish_reason = name_in(field_of(first, "finish_reason"))
    answer.response_id = name_in(field_of(response, "id"))
    answer.model, answer.provider = model_of(response), provider_of(response)
    usage = _usage_of(response)
    answer.usage, answer.billed = usage_in(usage), bill_of(response, usage)
    is_nothing = answer.finish_reason == "error" and not answer.text and not answer.tool_calls
    if is_nothing and usage is None:  # https://openrouter.ai/docs/features/zero-completion-insurance
        answer.usage = put_together(sent=0, answered=0)
    if isinstance(response, dict) and isinstance(first, dict):
        rest = without(response, "choices") | {"choices": [without(first, "message"), *choices[1:]]}
        answer.native = native_of(FORMAT, message, rest)
    return answer


def _sent(message: Any) -> Any:
    """A message as the API sent it, without what the SDK's `parse` adds."""
    if not isinstance(message, dict):
        return message
    calls, sent = list_of(message.get("tool_calls")), without(message, "parsed")
    if not calls:
        return sent
    asked = [field_of(call, "function") for call in calls]
    return sent | {
        "tool_calls": [
            call | {"function": without(function, "parsed_arguments")} if isinstance(function, dict) else call
            for call, function in zip(calls, asked, strict=True)
        ]
    }


def _usage_of(response: Any) -> Any:
    """The usage of a completion or chunk, which some gateways put under another key.

    llama.cpp's server always sends `timings`, in streams without `include_usage` too.
    """
    usage = field_of(response, "usage")
    if usage is None and isinstance(response, dict):
        inner = [value for name, value in response.items() if name.startswith("x_")]
        inner += list_of(response.get("choices"))[:1]
        usage = next(filter(None, (field_of(each, "usage") for each in inner)), None)
        usage = response.get("timings") if usage is None else usage
    return usage


def of_message(message: Any) -> Answer:
    """The text, calls and reasoning in the message of a choice."""
    text = (
        "".join(texts_in(field_of(message, "content")))
        or text_in(field_of(message, "refusal"))
        or text_in(field_of(field_of(message, "audio"), "transcript"))
    )
    calls = [_call(each) for each in list_of(field_of(message, "tool_calls")) if each is not None]
    legacy = field_of(message, "function_call")
    if legacy is not None and not calls:
        calls = [call_of(None, field_of(legacy, "name"), field_of(legacy, "arguments"))]
    return Answer(mended(text), calls)


def _call(call: Any) -> ChatMessage:
    custom = field_of(call, "custom")
    if custom is not None:
        return call_of(
            field_of(call, "id"), field_of(custom, "name"), field_of(custom, "input"), is_json=False
        )
    asked = field_of(call, "function") or call
    arguments = field_of(asked, "arguments", "args", "input")
    return call_of(field_of(call, "id"), field_of(asked, "name"), arguments)


# -- streams --------------------------------------------------------------------------------------


class _Choice:
    """One choice of a completion, as its deltas deliver it."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.rest: dict[str, Any] = {}
        self.calls = CallsInPieces()
        self._texts: dict[str, list[str]] = {}
        """The pieces of its texts: the content, the refusal, and the reasoning under any of its names."""

    def add(self, choice: Any) -> None:
        """Add a choice of a chunk."""
        delta = field_of(choice, "delta", "message")
        for name, value in known_fields(delta, *_DELTA).items():
            if value is not None:
                self._add_field(name, value)
        if isinstance(text := field_of(choice, "text"), str):
            self._texts.setdefault("text", []).append(text)
        for name, value in without(choice, "delta", "message", "text", "index").items():
            if value is not None:
                self.rest[name] = value if isinstance(value, str) else merged(self.rest.get(name), value)
        if not isinstance(choice, dict):
            self.rest["finish_reason"] = field_of(choice, "finish_reason")

    def _add_field(self, name: str, value: Any) -> None:
        if name == "tool_calls":
            self.calls.add_all(list_of(value))
        elif name in _SAID_ONCE:
            self.message[name] = self.message.get(name) or value
        elif isinstance(value, str):
            self._texts.setdefault(name, []).append(value)
        elif name in {"audio", "function_call"}:
            self.message[name] = _with_piece(self.message.get(name) or {}, value)
        elif name == "reasoning_details" and is_list(value):
            self.message[name] = _with_details(self.message.get(name) or [], value)
        elif name == "thinking_blocks" and is_list(value):
            self.message[name] = _with_thinking(self.message.get(name) or [], value)
        elif name == "provider_specific_fields" and isinstance(value, dict):  # LiteLLM repeats them there
            known = self.message.get(name) or {}
            thought = _with_thinking(known.get("thinking_blocks") or [], value.get("thinking_blocks") or [])
            others = merged(without(known, "thinking_blocks"), without(value, "thinking_blocks"))
            self.message[name] = others | ({"thinking_blocks": thought} if thought else {})
        else:
            self.message[name] = merged(self.message.get(name), value)

    @property
    def text(self) -> str:
        """The text so far."""
        parts = "".join(texts_in(self.message.get("content")))
        return (
            parts + self._joined("content")
            or self._joined("refusal")
            or self._joined("text")
            or mended(text_in(field_of(self.message.get("audio"), "transcript")))
        )

    def _joined(self, name: str) -> str:
        return mended(joined(self._texts.get(name, [])))

    def end(self) -> dict[str, Any]:
        """Return the choice's message, in its provider's form."""
        message = {"role": "assistant", "content": None} | self.message
        for name in self._texts:
            text, parts = self._joined(name), self.message.get(name)
            if isinstance(parts, list):
                message[name] = [*parts, {"type": "text", "text": text}]
            elif name != "text":
                message[name] = text
            elif message["content"] is None:
                message["content"] = text
        calls = self.calls.end()
        return message | ({"tool_calls": calls} if calls else {})


def _with_piece(before: Any, piece: Any) -> dict[str, Any]:
    """A part of a message, continued by its next piece; fields that are sent once are not doubled."""
    once = {name for name in _SAID_ONCE if before.get(name)}
    piece = known_fields(piece, "name", "arguments")
    result: dict[str, Any] = merged(before, without(piece, *once))
    return result


def _with_details(before: list[Any], more: Any) -> list[Any]:
    """OpenRouter's details of the reasoning: consecutive pieces with one index are joined."""
    details = list(before)
    for piece in more:
        last = details[-1] if details else None
        is_same = (
            isinstance(last, dict)
            and isinstance(piece, dict)
            and piece.get("index") is not None
            and (piece["index"], piece.get("type")) == (last.get("index"), last.get("type"))
        )
        if is_same:
            details[-1] = _with_piece(last, piece)
        else:
            details.append(piece)
    return details


def _with_thinking(before: list[Any], more: Any) -> list[Any]:
    """The thinking of Anthropic's models through LiteLLM, whose pieces are joined to blocks.

    LiteLLM sends a block for each piece, and the signature in a last one
    (https://github.com/BerriAI/litellm/issues/29428), which may repeat the whole text
    (https://github.com/open-webui/open-webui/pull/29860).
    """
    blocks = list(before)
    for each in more:
        piece = without(each, "index")
        last = blocks[-1] if blocks else {}
        if last.get("type") != "thinking" or piece.get("type") != "thinking" or last.get("signature"):
            blocks.append(piece)
            continue
        known, text = text_in(last.get("thinking")), text_in(piece.get("thinking"))
        is_repeated = bool(piece.get("signature")) and text == known
        blocks[-1] = last | {name: value for name, value in piece.items() if value}
        blocks[-1]["thinking"] = known if is_repeated else known + text
    return blocks


class OpenAIChatStream(AnswerStream):
    """A chat completion as its chunks deliver it; of several choices, the first is the answer."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._response: dict[str, Any] = {}
        self._usage: Any = None
        self._is_helped = False

    @property
    def text(self) -> str:
        """The text so far."""
        return self._choices[0].text if 0 in self._choices else ""

    def add(self, piece: Any) -> bool:
        """Add a chunk; or, from OpenAI's helper, a chunk or what the helper makes of chunks."""
        if field_of(piece, "type") == "chunk":
            piece, self._is_helped = field_of(piece, "chunk"), True
        elif self._is_helped:
            return True
        piece = field_of(piece, "data") or piece  # Mistral's SDK yields events that contain chunks
        choices = field_of(piece, "choices")
        if not is_list(choices) and not (self._choices and field_of(piece, "usage") is not None):
            return False
        self.says_its_end: bool = True
        for choice in list_of(choices):
            index = field_of(choice, "index")
            self._choices.setdefault(index if isinstance(index, int) else 0, _Choice()).add(choice)
        self._usage = continued(self._usage, _usage_of(piece))
        self._response |= {
            name: value
            for name, value in (piece if isinstance(piece, dict) else {"model": model_of(piece)}).items()
            if name not in {"choices", "usage", "obfuscation"} and value not in (None, "")
        }
        self.is_complete: bool = 0 in self._choices and bool(self._choices[0].rest.get("finish_reason"))
        return True

    def end(self) -> Answer:
        """The answer, as far as it came."""
        if self._response.get("object") == "chat.completion.chunk":
            self._response["object"] = "chat.completion"
        whole = [
            each.rest | {"index": index, "message": each.end()}
            for index, each in sorted(self._choices.items())
        ]
        return _completion(self._response | {"choices": whole or [{}], "usage": self._usage}, whole or [{}])


READER = Reader(FORMAT, read, OpenAIChatStream)
MESSAGE_READER = Reader(FORMAT, read_message)
