"""The other contents of an answer's native form, for people: ids, annotations, kinds of parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .common import list_of, text_in, texts_in

_IDS = {"id": "response id", "responseId": "response id", "request_id": "request id"}
# Fields that say more about an answer's end than its finish reason.
_ENDINGS = (
    "stop_details", "stop_sequence", "incomplete_details", "error", "errors", "native_finish_reason",
    "promptFeedback", "finishMessage", "safetyRatings", "content_filter_results",
)  # fmt: skip
_ANNOTATIONS = {"annotations", "citations", "groundingMetadata", "citationMetadata"}


def details_of(native: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The details of an answer, each with its name, from its `native`.

    The ids of the response and the request, the service tier, the kinds of the answer's parts (including
    unknown ones), a refusal, details of its end, annotations, and the other choices.
    """
    message, response = native.get("message"), native.get("response")
    response = response if isinstance(response, Mapping) else {}
    about = response.get("response_metadata") or response
    found = [("format", str(native.get("format")) + (", cut off" if native.get("cut") else ""))]
    found += [(_IDS[name], str(about[name])) for name in _IDS if about.get(name)]
    aws = response.get("ResponseMetadata")
    if isinstance(aws, Mapping) and aws.get("RequestId"):
        found.append(("request id", str(aws["RequestId"])))
    tier = response.get("service_tier") or response.get("serviceTier")
    found += [("service tier", _short(tier))] if tier else []
    kinds = list(_kinds(message))
    found += [("parts", ", ".join(kinds))] if kinds else []
    found += [("refusal", text) for text in _refusals(message)]
    choices = [*list_of(response.get("choices")), *list_of(response.get("candidates"))]
    for holder in (response, *choices[:1]):
        found += [
            (name, _short(holder[name]))
            for name in _ENDINGS
            if isinstance(holder, Mapping) and holder.get(name)
        ]
    found += [("annotation", _short(each)) for each in _annotations([message, *choices[:1]])]
    return found + [("other choice", _said(each)) for each in choices[1:]]


def _kinds(message: Any) -> Iterator[str]:
    """The kinds of a message's parts, in their order; repeated kinds are listed once."""
    parts = list_of(message)
    if isinstance(message, Mapping):
        parts = list_of(message.get("content")) or list_of(message.get("parts"))
        yield from (
            name for name, value in message.items() if value and name not in {"role", "content", "parts"}
        )
    before = None
    for part in parts:
        kind = _kind(part)
        if kind != before:
            yield kind
        before = kind


def _kind(part: Any) -> str:
    if not isinstance(part, Mapping):
        return "text"
    named = part.get("type")
    names = [name for name in part if name not in {"thoughtSignature", "thought"}]
    return str(named or ("thought" if part.get("thought") else next(iter(names), "part")))


def _refusals(message: Any) -> Iterator[str]:
    for item in message if isinstance(message, list) else [message]:
        if not isinstance(item, Mapping):
            continue
        parts = [part for part in list_of(item.get("content")) if isinstance(part, Mapping)]
        yield from (text for each in (item, *parts) if (text := text_in(each.get("refusal"))))


def _annotations(value: Any) -> Iterator[Any]:
    """All annotations in a value, wherever they are."""
    if isinstance(value, list):
        for item in value:
            yield from _annotations(item)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if name in _ANNOTATIONS:
                yield from item if isinstance(item, list) else [item] * bool(item)
            else:
                yield from _annotations(item)


def _said(choice: Any) -> str:
    message = choice.get("message") or choice.get("content") or {} if isinstance(choice, Mapping) else {}
    return "".join(texts_in(message.get("content") or message.get("parts"))) or _short(message)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
