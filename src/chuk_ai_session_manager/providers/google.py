"""Reads answers of Google's Gemini: `generateContent`, streams, and the SDK's automatic function calling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import google_live
from .answers import Answer, AnswerStream, Reader, bill_of, call_of, model_of, native_of, usage_in
from .common import (
    by_index,
    dumped,
    field_of,
    is_list,
    json_of,
    known_fields,
    list_of,
    mended,
    merged,
    name_in,
    text_in,
    without,
)
from .messages import ChatMessage
from .usage_counts import continued

FORMAT = "google"
# The application's own data in a part, whose names are not changed.
_OWN_NAMES = {"args", "response", "arguments", "partMetadata"}
_RESPONSE = {
    "candidates", "promptFeedback", "usageMetadata", "modelVersion", "automaticFunctionCallingHistory",
}  # fmt: skip


def read(response: Any) -> Answer | None:
    """A whole response."""
    data = _data(response)
    if data is None:
        return None
    history = list_of(data.get("automaticFunctionCallingHistory"))
    answer = _read(data)
    answer.before = _done_by_the_sdk(history, answer)
    return answer


def _data(response: Any) -> dict[str, Any] | None:
    """A response, or a chunk, with the names of the API's JSON; `None` for any other object."""
    if not isinstance(response, Mapping):
        candidates = field_of(response, "candidates")
        if not is_list(candidates):
            return None
        response = {
            "candidates": [_of_object(each) for each in candidates],
            "usageMetadata": field_of(response, "usage_metadata", "usageMetadata"),
            "modelVersion": field_of(response, "model_version", "modelVersion"),
        }
    data: dict[str, Any] = on_the_wire(response)
    data = google_live.chunk_of(data) or data
    is_known = (
        "candidates" in data or "promptFeedback" in data or {"usageMetadata", "modelVersion"} <= data.keys()
    )
    return data if is_known and "content" not in data else None


def _of_object(candidate: Any) -> dict[str, Any]:
    """A candidate from an object that is not an SDK's, as far as its fields are known."""
    if isinstance(candidate, Mapping):
        return dict(candidate)
    parts = [
        known_fields(part, "text", "thought", "function_call", "functionCall")
        for part in list_of(field_of(field_of(candidate, "content"), "parts"))
    ]
    for part in parts:
        call = field_of(part, "function_call", "functionCall")
        if call is not None:
            part["functionCall"] = known_fields(call, "id", "name", "args")
    reason = field_of(candidate, "finish_reason", "finishReason")
    return {"content": {"role": "model", "parts": parts}, "finishReason": field_of(reason, "value") or reason}


def on_the_wire(value: Any) -> Any:
    """Google's data with the names of the API's JSON: those of `model_dump()` are in snake case."""
    if isinstance(value, Mapping):
        named = {_camel(name): item for name, item in value.items() if item is not None}
        return {
            name: json_of(item, url_safe=True) if name in _OWN_NAMES else on_the_wire(item)
            for name, item in named.items()
        }
    if isinstance(value, list | tuple):
        return [on_the_wire(item) for item in value]
    return json_of(value, url_safe=True)


def _camel(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])_([a-z0-9])", lambda found: found[1].upper(), name)


def _read(data: dict[str, Any]) -> Answer:
    candidates = by_index(data.get("candidates"))
    first = candidates[0] if candidates and isinstance(candidates[0], dict) else {}
    content = first.get("content") or {}
    answer = of_content(content)
    spoken = field_of(first.get(google_live.TRANSCRIPT), "text")
    answer.text = answer.text or mended(text_in(spoken))
    blocked = field_of(data.get("promptFeedback"), "blockReason")
    answer.finish_reason = name_in(first.get("finishReason")) or name_in(blocked)
    answer.model, answer.provider = model_of(data), "google"
    answer.response_id = name_in(data.get("responseId"))
    usage = data.get("usageMetadata")
    answer.usage, answer.billed = usage_in(usage), bill_of(data, usage)
    beside = without(
        data, "candidates", "automaticFunctionCallingHistory", "sdkHttpResponse", "text", "parsed"
    )
    if first or len(candidates) > 1:
        beside["candidates"] = [without(first, "content"), *candidates[1:]]
    answer.native = native_of(FORMAT, content or {"role": "model", "parts": []}, beside)
    return answer


def of_content(content: Any) -> Answer:
    """The text and calls in a candidate's content."""
    parts = list_of(field_of(content, "parts"))
    texts = [text_in(field_of(part, "text")) for part in parts if not field_of(part, "thought")]
    return Answer(mended("".join(texts)), [call for part in parts if (call := _call(part))])


def _call(part: Any) -> ChatMessage | None:
    asked = field_of(part, "functionCall")
    if not asked or (not field_of(asked, "name") and not field_of(asked, "args")):
        return None
    arguments = field_of(asked, "args")
    if field_of(asked, "willContinue"):  # the stream was cut off within the arguments
        arguments = dumped(arguments or {}).rstrip('"}]')
    return call_of(field_of(asked, "id"), field_of(asked, "name"), arguments)


# -- automatic function calling -------------------------------------------------------------------


def _done_by_the_sdk(history: Sequence[Any], answer: Answer) -> list[Answer | ChatMessage]:
    """The calls that the SDK answered by itself before this answer, and their results.

    Its history begins with everything that was sent, so only contents after the user's last message count.
    """
    asked = [at for at, content in enumerate(history) if _is_said(content)]
    before: list[Answer | ChatMessage] = []
    waiting: list[ChatMessage] = []
    for content in history[asked[-1] + 1 if asked else 0 :]:
        parts = list_of(field_of(content, "parts"))
        if field_of(content, "role") == "model":
            calling = of_content(content)
            calling.model, calling.provider = answer.model, "google"
            calling.native = native_of(FORMAT, content)
            if before and isinstance(before[-1], Answer) and not before[-1].tool_calls:
                _join(before[-1], calling, content)  # of one turn, in several chunks
            elif calling.tool_calls or calling.text:
                before.append(calling)
            waiting += calling.tool_calls
        else:
            before += [
                _result(each, waiting) for part in parts if (each := field_of(part, "functionResponse"))
            ]
    return before


def _join(first: Answer, more: Answer, content: Any) -> None:
    first.text += more.text
    first.tool_calls += more.tool_calls
    if first.native is not None:
        first.native["message"]["parts"] = [
            *first.native["message"]["parts"],
            *list_of(field_of(content, "parts")),
        ]


def _is_said(content: Any) -> bool:
    """Whether a content is a user's message, not the result of a function."""
    parts = list_of(field_of(content, "parts"))
    return field_of(content, "role") != "model" and not any(
        field_of(each, "functionResponse") for each in parts
    )


def _result(result: Any, waiting: list[ChatMessage]) -> ChatMessage:
    call_id, name = field_of(result, "id"), field_of(result, "name")
    fitting = [call for call in waiting if call["id"] == call_id or call["function"]["name"] == name]
    if fitting:
        waiting.remove(fitting[0])
        call_id = fitting[0]["id"]
    said = field_of(result, "response")
    only = said.get("result") if isinstance(said, dict) and said.keys() == {"result"} else said
    return {"role": "tool", "tool_call_id": str(call_id or name), "content": dumped(only)}


# -- streams --------------------------------------------------------------------------------------


class _Turn:
    """The answer to one request: with automatic function calling, a stream contains several."""

    def __init__(self) -> None:
        self.contents: dict[int, dict[str, Any]] = {}
        self.rest: dict[int, dict[str, Any]] = {}
        self.response: dict[str, Any] = {}

    def add(self, data: dict[str, Any]) -> None:
        """Take in a chunk."""
        for candidate in list_of(data.get("candidates")):
            index = candidate.get("index") or 0
            content = candidate.get("content") or {}
            parts = self.contents.setdefault(index, {"role": content.get("role") or "model", "parts": []})[
                "parts"
            ]
            for part in list_of(content.get("parts")):
                _add_part(parts, part)
            rest = self.rest.setdefault(index, {})
            spoken = merged(rest.get(google_live.TRANSCRIPT), candidate.get(google_live.TRANSCRIPT))
            rest |= without(candidate, "content") | ({google_live.TRANSCRIPT: spoken} if spoken else {})
        usage = continued(self.response.get("usageMetadata"), data.get("usageMetadata"))
        self.response |= without(data, "candidates", "automaticFunctionCallingHistory")
        if usage is not None:
            self.response["usageMetadata"] = usage

    def whole(self) -> dict[str, Any]:
        """Return the response that the chunks form."""
        candidates = [
            self.rest[index]
            | {"content": {**content, "parts": [_finished(part) for part in content["parts"]]}}
            for index, content in sorted(self.contents.items())
        ]
        return self.response | {"candidates": candidates}


def _add_part(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Add a part to earlier ones; a text, or a call in pieces, continues the last one."""
    last = parts[-1] if parts else None
    call, before = part.get("functionCall"), (last or {}).get("functionCall")
    if (
        last is not None
        and isinstance(call, dict)
        and isinstance(before, dict)
        and before.get("willContinue")
    ):
        before.pop("willContinue")
        before.update(
            {name: value for name, value in call.items() if name not in {"partialArgs", "args"} and value}
        )
        before.setdefault("partialArgs", []).extend(list_of(call.get("partialArgs")))
        if call.get("args"):
            before["args"] = (before.get("args") or {}) | call["args"]
        last.update(without(part, "functionCall"))
        return
    is_text = part.keys() <= {"text", "thought"} and isinstance(part.get("text"), str)
    goes_on = is_text and last is not None and last.keys() <= {"text", "thought"} and "text" in last
    if last is not None and goes_on and bool(last.get("thought")) == bool(part.get("thought")):
        last["text"] += part["text"]
        return
    parts.append({name: dict(value) if isinstance(value, dict) else value for name, value in part.items()})


def _finished(part: dict[str, Any]) -> dict[str, Any]:
    """A part in which the pieces of a call's arguments are joined."""
    if isinstance(part.get("text"), str):
        return part | {"text": mended(part["text"])}
    call = part.get("functionCall")
    if not isinstance(call, dict) or "partialArgs" not in call:
        return part
    arguments: dict[str, Any] = dict(call.get("args") or {})
    for piece in list_of(call["partialArgs"]):
        _put(arguments, text_in(piece.get("jsonPath")), _value_of(piece))
    whole = without(call, "partialArgs") | {"args": json_of(arguments)}
    return part | {"functionCall": whole}


def _value_of(piece: dict[str, Any]) -> Any:
    for name in ("stringValue", "numberValue", "boolValue"):
        if name in piece:
            return piece[name]
    return None


def _put(container: Any, path: str, value: Any) -> None:
    """Put a piece at a path such as `$.stops[0].city`; texts are continued."""
    steps: list[str | int] = [
        int(found[2]) if found[2] else found[1] or found[3]
        for found in re.finditer(r"\.([^.\[\]]+)|\[(\d+)\]|\[['\"]([^'\"]*)['\"]\]", path)
    ]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(container, list) or step > len(container):
                return
            container.extend([None] * (step + 1 - len(container)))
        elif not isinstance(container, dict):
            return
        known = container[step] if isinstance(step, int) else container.get(step)
        if following is None:
            goes_on = isinstance(known, str) and isinstance(value, str)
            container[step] = known + value if goes_on else value
        elif not isinstance(known, dict | list):
            container[step] = [] if isinstance(following, int) else {}
        container = container[step]


class GoogleStream(AnswerStream):
    """A response as its chunks deliver it."""

    def __init__(self) -> None:
        self._turns: list[_Turn] = []
        self._history: list[Any] = []

    @property
    def text(self) -> str:
        """The text so far."""
        return _read(self._turns[-1].whole()).text if self._turns else ""

    def add(self, piece: Any) -> bool:
        """Take in a chunk."""
        data = _data(piece)
        if data is None:
            return False
        history = list_of(data.get("automaticFunctionCallingHistory"))
        if not self._turns or len(history) > len(self._history):
            self._turns.append(_Turn())
            self._history = list(history)
        self._turns[-1].add(data)
        reasons = [each.get("finishReason") for each in self._turns[-1].rest.values()]
        self.is_complete: bool = any(reasons) or "promptFeedback" in data
        return True

    def end(self) -> Answer:
        """The answer, as far as it came."""
        *earlier, last = [_read(turn.whole()) for turn in self._turns]
        last.before = _done_by_the_sdk(self._history, last)
        calling = [each for each in last.before if isinstance(each, Answer)]
        for known, streamed in zip(reversed(calling), reversed(earlier), strict=False):
            streamed.tool_calls = known.tool_calls  # the results have these ids
            last.before[last.before.index(known)] = streamed
        return last


READER = Reader(FORMAT, read, GoogleStream)
