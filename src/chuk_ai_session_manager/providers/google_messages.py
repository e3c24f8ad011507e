"""Writes requests for Google's Gemini API: contents, and a system instruction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..exceptions.validation import copied
from .answers import is_unchanged
from .call_ids import IdRule, tool_name, with_ids
from .context_rows import ORIGIN, Origin, object_of
from .earlier import with_name_in_text
from .google import FORMAT, of_content, on_the_wire
from .messages import SYSTEM_ROLES, ChatMessage, asked_of, calls_of, text_of
from .parts import Part, part_of, parts_of, replaced_by_text

GooglePart = dict[str, Any]
MaySign = Callable[[ChatMessage], bool]

# Any id is accepted; the SDK matches results by it, so it must be unique.
_IDS = IdRule(lambda call_id: call_id)
_CONTINUED = "[The conversation goes on from here.]"
# https://ai.google.dev/gemini-api/docs/thought-signatures: Gemini 3 refuses a call of the current turn
# without a signature; for calls that another model made, the page names this one, which is not checked.
UNCHECKED_SIGNATURE = "skip_thought_signature_validator"
# Earlier models sign no calls.
_UNSIGNED_MODELS = ("gemini-1", "gemini-2")
# https://ai.google.dev/gemini-api/docs/function-calling#multimodal: what may stand beside a response's JSON.
_RESPONSE_PARTS = {"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"}


def google_request(
    rows: Sequence[ChatMessage], may_sign: MaySign, model: str | None = None
) -> dict[str, Any]:
    """Convert messages to `system_instruction` and `contents`.

    Args:
        rows: chat messages, each call followed by its results.
        may_sign: whether the thought signatures of an answer may be included.
        model: the model that will be called; models before Gemini 3 need no signatures.
    """
    system: list[str] = []
    contents: list[dict[str, Any]] = []
    names: dict[
        str, tuple[str, bool]
    ] = {}  # of the last answer's calls: the function, and whether it has an id
    for row in with_ids(rows, _IDS):
        if row["role"] in SYSTEM_ROLES:
            system.append(text_of(row))
            continue
        if row["role"] == "assistant":
            parts = _answer(row, may_sign)
            role = "model"
            names = _names(row, parts)
        else:
            role = "user"
            is_result = row["role"] == "tool"
            parts = [_result(row, *names.get(row["tool_call_id"], ("", True)))] if is_result else _said(row)
        if not parts:
            continue
        if contents and contents[-1]["role"] == role and _may_join(contents[-1]["parts"], parts):
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    if contents and contents[0]["role"] == "model":
        contents.insert(0, {"role": "user", "parts": [{"text": _CONTINUED}]})
    if not (model or "").rpartition("/")[2].startswith(_UNSIGNED_MODELS):
        for content in contents:  # including those of earlier turns: what was sent once must not change
            _sign(content["parts"])
    request: dict[str, Any] = {"contents": contents}
    return request | ({"system_instruction": "\n\n".join(system)} if any(map(str.strip, system)) else {})


def _may_join(before: list[GooglePart], parts: list[GooglePart]) -> bool:
    """Whether parts belong to one turn: results stand in a turn of their own, right after their calls."""
    return _is_result(before[-1]) == _is_result(parts[0])


def _is_result(part: GooglePart) -> bool:
    return "function_response" in part or "functionResponse" in part


def _said(row: ChatMessage) -> list[GooglePart]:
    return [made for part in parts_of(with_name_in_text(row)["content"]) if (made := _part(part))]


def _part(part: Part) -> GooglePart | None:
    if part.kind == "text":
        return {"text": part.text} if part.text.strip() else None
    if part.data and part.media_type:
        return {"inline_data": {"mime_type": part.media_type, "data": part.data}}
    if part.url:
        media_type = {"mime_type": part.media_type} if part.media_type else {}
        return {"file_data": {"file_uri": part.url} | media_type}
    return {"text": replaced_by_text(part)}


# -- answers --------------------------------------------------------------------------------------


def _answer(row: ChatMessage, may_sign: MaySign) -> list[GooglePart]:
    own = _own_parts(row, may_sign)
    if own:
        return own
    content = row.get("content")
    listed = content if isinstance(content, list) else [content or ""]
    parts = [made for each in listed if (made := _part(part_of(each)))]
    return parts + [
        {"function_call": {"id": call["id"], "name": _name_in(call), "args": object_of(call)}}
        for call in calls_of(row)
    ]


def _name_in(call: ChatMessage) -> str:
    return tool_name(asked_of(call)["tool"], may_have_dots=True)


def _own_parts(row: ChatMessage, may_sign: MaySign) -> list[GooglePart]:
    """The unchanged parts of an answer of Google's; empty for other answers, and if it was edited."""
    origin = row.get(ORIGIN)
    if (
        not isinstance(origin, Origin)
        or origin.native_format != FORMAT
        or not isinstance(origin.native, Mapping)
    ):
        return []
    # Google refuses a part that has nothing but an empty text, which streams may end with; one with a
    # signature must go back (https://ai.google.dev/gemini-api/docs/thought-signatures).
    parts: list[GooglePart] = [
        part
        for part in copied(origin.native.get("parts") or [])
        if part and (part.get("text") or not part.keys() <= {"text", "thought"})
    ]
    calls = [call for part in parts if isinstance(call := _call_in(part), dict)]
    ids = [call["id"] for call in calls_of(row)]
    if len(calls) != len(ids) or not is_unchanged(row, of_content(on_the_wire(origin.native))):
        return []
    for call, call_id in zip(calls, ids, strict=True):
        if call.pop("willContinue", None) or call.pop("will_continue", None):  # it was cut off
            call["args"] = {}
        if call.get("id") and call["id"] != call_id:
            call["id"] = call_id
    if may_sign(row):
        return parts
    unsigned = [
        {key: value for key, value in part.items() if key not in {"thoughtSignature", "thought_signature"}}
        for part in parts
        if not part.get("thought")
    ]
    return [part for part in unsigned if part]


def _call_in(part: GooglePart) -> Any:
    return part.get("function_call") or part.get("functionCall")


def _sign(parts: list[GooglePart]) -> None:
    """Sign the first call of an answer whose calls have no signature."""
    calls = [part for part in parts if _call_in(part)]
    if calls and not any(part.get("thought_signature") or part.get("thoughtSignature") for part in calls):
        is_camel = "functionCall" in calls[0]
        calls[0]["thoughtSignature" if is_camel else "thought_signature"] = UNCHECKED_SIGNATURE


def _names(row: ChatMessage, parts: list[GooglePart]) -> dict[str, tuple[str, bool]]:
    """By the ids of the results: which function was called, and whether its call has an id."""
    calls = [call for part in parts if (call := _call_in(part))]
    return {
        asked["id"]: (str(call.get("name")), bool(call.get("id")))
        for asked, call in zip(calls_of(row), calls, strict=False)
    }


def _result(row: ChatMessage, name: str, has_id: bool) -> GooglePart:
    origin = row.get(ORIGIN)
    name = name or str(row.get("name") or (origin.tool if isinstance(origin, Origin) else "unknown"))
    content = row.get("content")
    listed = parts_of(content)
    text = "\n".join(
        part.text if part.kind == "text" else replaced_by_text(part)
        for part in listed
        if part.kind == "text" or part.media_type not in _RESPONSE_PARTS or not part.data
    )
    response: dict[str, Any] = {"id": row["tool_call_id"]} if has_id else {}
    response |= {"name": name, "response": _object_in(text)}
    media = [
        {"inline_data": {"mime_type": part.media_type, "data": part.data}}
        for part in listed
        if part.kind != "text" and part.data and part.media_type in _RESPONSE_PARTS
    ]
    return {"function_response": response | ({"parts": media} if media else {})}


def _object_in(text: str) -> dict[str, Any]:
    """A result as an object, which the API requires."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {"result": text}
    return value if isinstance(value, dict) else {"result": value}
