"""Writes requests in OpenAI's chat format, for OpenAI and all providers with its format."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from ..exceptions.validation import copied
from .answers import is_unchanged
from .call_ids import IdRule, shortened, tool_name, with_ids
from .context_rows import ORIGIN, Origin
from .earlier import with_one_system
from .fingerprints import Chain
from .messages import ChatMessage, by_phase, calls_of
from .openai_chat import FORMAT, of_message
from .parts import Part, parts_of, replaced_by_text
from .sendable import CACHE_MARKS, arguments_text, says_nothing

MaySign = Callable[[ChatMessage], bool]

# https://platform.openai.com/docs/api-reference/chat: a tool call's id has at most 40 characters. (The same
# id in several turns is accepted: a result answers the calls right before it.)
_IDS = IdRule(lambda call_id: shortened(call_id, 40), once_a_request=False)
# https://docs.mistral.ai/capabilities/function_calling: an id must be a-z, A-Z, 0-9, with a length of 9.
_MISTRAL_ID = re.compile(r"[a-zA-Z0-9]{9}")
_MISTRAL = ("mistral", "ministral", "magistral", "codestral", "devstral", "pixtral", "open-mi")
_FAMILIES = {
    "anthropic": ("claude",),
    "deepseek": ("deepseek",),
    "google": ("gemini",),
    "mistral": _MISTRAL,
    "openai": ("gpt-", "o1", "o3", "o4", "chatgpt-"),
    "xai": ("grok",),
}
_TEXT_FIELDS = {"type", "text", "refusal", *CACHE_MARKS}


def openai_messages(
    rows: Sequence[ChatMessage],
    may_sign: MaySign,
    model: str | None = None,
    chain: Chain | None = None,
    *,
    as_recorded: bool = False,
) -> list[ChatMessage]:
    """Convert messages to chat messages for a provider.

    An answer of the provider that will be called is sent back unchanged, with the fields that only that
    provider accepts: DeepSeek's `reasoning_content` (https://api-docs.deepseek.com/guides/thinking_mode),
    OpenRouter's `reasoning_details`, Gemini's signatures in `extra_content`
    (https://ai.google.dev/gemini-api/docs/openai).
    An answer of another provider is written in the common form. The provider that will be called is the maker
    of `model`, or else the one that gave the newest answer.

    Args:
        rows: chat messages, each call followed by its results.
        may_sign: whether the reasoning of an answer may be included.
        model: the model that will be called.
        chain: gets the messages that are written before `may_sign` is called.
        as_recorded: whether to include what not all providers with this format accept: system messages after
            the first, the thinking of Anthropic's models as `thinking_blocks` (for LiteLLM and
            `for_anthropic`), and images in results.
    """
    if not as_recorded:
        rows = with_one_system(rows)
    asked = _family(model) or next((_maker(row) for row in reversed(rows) if row["role"] == "assistant"), "")
    rule = IdRule(_mistral_id) if asked == "mistral" else _IDS
    written = [] if chain is None else chain.rows
    for row in with_ids(rows, rule):
        signs = row["role"] == "assistant" and may_sign(row)
        is_own = signs and _maker(row) == asked
        messages = [
            _message(each, is_own, as_recorded, thinks=as_recorded and signs) for each in by_phase(row)
        ]
        written += [message for message in messages if not says_nothing(message)]
    return list(written)


def _family(model: str | None) -> str:
    """The maker of a model with this format, as far as its name tells."""
    name = (model or "").rpartition("/")[2].lower()
    if name.startswith("gpt-oss"):  # open weights, which OpenAI's API does not run
        return ""
    return next((family for family, begin in _FAMILIES.items() if name and name.startswith(begin)), "")


def _maker(row: ChatMessage) -> str:
    """The maker of the model that gave an answer."""
    origin = row.get(ORIGIN)
    if not isinstance(origin, Origin):
        return ""
    family = _family(origin.model)
    if not family and origin.provider == "openai" and origin.model != "unknown":
        # Any server with this format looks like OpenAI's: this one is somebody's own.
        return origin.model.lower()
    return family or origin.provider


def _mistral_id(call_id: str) -> str:
    return call_id if _MISTRAL_ID.fullmatch(call_id) else sha256(call_id.encode()).hexdigest()[:9]


def _message(row: ChatMessage, is_own: bool, as_recorded: bool, *, thinks: bool) -> ChatMessage:
    origin = row.get(ORIGIN)
    plain = {key: value for key, value in row.items() if key != ORIGIN}
    if row["role"] == "user":
        return _said(plain)
    if row["role"] == "tool":
        return _result(plain, as_recorded)
    if row["role"] != "assistant" or not isinstance(origin, Origin):
        return plain
    if is_own and origin.native_format == FORMAT and isinstance(origin.native, dict):
        own = _own(origin.native, plain)
        if own is not None:
            return own
    if not thinks:
        plain.pop("thinking_blocks", None)
    if not as_recorded and origin.native_format not in {"", FORMAT} and calls_of(plain):
        plain["tool_calls"] = [_named(call) for call in calls_of(plain)]
    if isinstance(plain.get("content"), list):
        plain["content"] = [_answered(part) for part in plain["content"]]
    return plain


def _named(call: ChatMessage) -> ChatMessage:
    """A call whose tool has a name that OpenAI accepts."""
    kind = call.get("type", "function")
    target = call.get(kind)
    if not isinstance(target, dict) or not isinstance(target.get("name"), str):
        return call
    return call | {kind: target | {"name": tool_name(target["name"])}}


def _close(call: ChatMessage) -> None:
    """Turn the arguments of a function's call into the text of an object, whatever the model wrote."""
    function = call.get("function")
    if isinstance(function, dict):
        function["arguments"] = arguments_text(function.get("arguments"))


def _own(native: ChatMessage, row: ChatMessage) -> ChatMessage | None:
    """The unchanged answer, with the present ids of its calls; `None` if it was edited."""
    message: ChatMessage = copied(native)
    if len(calls_of(message)) != len(calls_of(row)) or not is_unchanged(row, of_message(message)):
        return None
    for call, asked in zip(message.get("tool_calls") or [], calls_of(row), strict=False):
        if call.get("id") != asked["id"]:
            call["id"] = asked["id"]
        _close(call)
    if isinstance(message.get("audio"), dict):  # for a spoken answer, the API accepts only the id
        message["audio"] = {"id": message["audio"].get("id")}
    message.setdefault("role", "assistant")
    if not message.get("tool_calls"):
        # vLLM and others write `null` or an empty list, which OpenAI refuses.
        message.pop("tool_calls", None)
    if message.get("content") is None and not message.get("tool_calls") and not message.get("audio"):
        return None if not message.get("refusal") else message
    return message


def _said(row: ChatMessage) -> ChatMessage:
    content = row.get("content")
    if not isinstance(content, list):
        return row
    return row | {"content": [_part(part) for part in parts_of(content)]}


def _result(row: ChatMessage, as_recorded: bool) -> ChatMessage:
    """A result; its parts may only be texts (https://platform.openai.com/docs/api-reference/chat)."""
    kept = {key: value for key, value in row.items() if key != "is_error"}
    content = row.get("content")
    taken = {"text", "refusal", "image_url"} if as_recorded else {"text"}
    if not isinstance(content, list) or all(_is_one_of(part, taken) for part in parts_of(content)):
        return kept
    texts = [part.text if part.kind == "text" else replaced_by_text(part) for part in parts_of(content)]
    return kept | {"content": [{"type": "text", "text": text} for text in texts if text]}


def _is_one_of(part: Part, names: set[str]) -> bool:
    return isinstance(part.own, dict) and part.name in names


def _answered(own: Any) -> Any:
    if not isinstance(own, dict) or own.get("type") not in {"text", "refusal"}:
        return own
    return {key: value for key, value in own.items() if key in _TEXT_FIELDS}


def _part(part: Part) -> Any:
    """A part of a user message; a part in OpenAI's form is not changed."""
    is_own = part.name in {"image_url", "input_audio", "file"} and part.kind != "other"
    if not isinstance(part.own, dict) or is_own:
        return part.own
    text = {"type": "text", "text": part.text if part.kind == "text" else replaced_by_text(part)}
    match part.kind:
        case "text" if part.name == "text":
            return {"type": "text"} | {key: value for key, value in part.own.items() if key in _TEXT_FIELDS}
        case "image" if part.data or part.url:
            image = {"url": part.data_url if part.data else part.url}
            detail = {"detail": part.detail} if part.detail else {}
            return {"type": "image_url", "image_url": image | detail}
        case "audio" if part.data and part.media_type.rpartition("/")[2] in {"wav", "mp3"}:
            sound = {"data": part.data, "format": part.media_type.rpartition("/")[2]}
            return {"type": "input_audio", "input_audio": sound}
        case "file" if part.data:
            name = {"filename": part.title or f"file.{part.media_type.rpartition('/')[2] or 'bin'}"}
            return {"type": "file", "file": name | {"file_data": part.data_url}}
        case _:
            return text
