"""Reads answers of OpenAI's Responses API: whole responses, background responses, and events of streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .answers import (
    PENDING,
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
from .common import field_of, is_list, joined, list_of, mended, name_in, text_in, texts_in, without
from .messages import ChatMessage
from .usage_counts import put_together

FORMAT = "openai-responses"
# The Realtime API's items have other contents, which no request of the Responses API may have.
_REALTIME = "openai-realtime"
_FAILED = {"failed", "cancelled"}
# Fields of a call's item that are not arguments.
_NO_ARGUMENTS = (
    "type", "id", "call_id", "status", "name", "created_by", "execution", "environment",
    "async", "namespace", "caller", "server_label", "agent", "arguments", "input",
)  # fmt: skip


def read(response: Any) -> Answer | None:
    """A whole response."""
    output = field_of(response, "output")
    if is_list(output) and not any(isinstance(item, str) for item in output):
        return _read(response, output)
    if field_of(response, "object") == "response":  # a background response that has not begun
        return _read(response, [])
    return None


def _read(response: Any, output: Sequence[Any]) -> Answer:
    output = [_sent(item) for item in output]
    answer = of_items(output)
    status = name_in(field_of(response, "status"))
    reason = field_of(field_of(response, "incomplete_details"), "reason") or status
    answer.finish_reason = name_in(reason)
    answer.model, answer.provider = model_of(response), provider_of(response)
    answer.response_id = name_in(field_of(response, "id"))
    answer.is_pending = status in PENDING
    usage = field_of(response, "usage")
    answer.usage, answer.billed = usage_in(usage), bill_of(response, usage)
    if status in _FAILED and usage is None and not output:  # OpenAI reports what it bills
        answer.usage = put_together(sent=0, answered=0)
    if isinstance(response, dict):
        is_spoken = response.get("object") == "realtime.response"
        answer.native = native_of(_REALTIME if is_spoken else FORMAT, list(output), _beside(response))
    return answer


def _sent(item: Any) -> Any:
    """An item as the API sent it, without what the SDK's `parse` adds."""
    if not isinstance(item, dict):
        return item
    sent = without(item, "parsed_arguments")
    if parts := list_of(sent.get("content")):
        sent["content"] = [without(part, "parsed") if isinstance(part, dict) else part for part in parts]
    return sent


def _beside(response: dict[str, Any]) -> dict[str, Any]:
    """A response's fields beside its output, without those that repeat the request."""
    return {
        name: value
        for name, value in without(response, "output", "output_text", "instructions", "tools").items()
        if value is not None
    }


def read_item(response: Any) -> Answer | None:
    """An output message by itself, as a response's `output` holds it."""
    content = field_of(response, "content")
    if field_of(response, "type") != "message" or not is_list(content):
        return None
    if any(text_in(field_of(part, "type")) in {"output_text", "refusal"} for part in content):
        answer = of_items([response])
        answer.native = native_of(FORMAT, [response]) if isinstance(response, dict) else None
        return answer
    return None


def of_items(items: Sequence[Any]) -> Answer:
    """The text, calls and reasoning in the items of a response."""
    messages = [item for item in items if field_of(item, "type") == "message"]
    texts = ["".join(_texts_in(field_of(message, "content"))) for message in messages]
    parts: list[ChatMessage] = []
    phases = [name_in(field_of(message, "phase")) for message in messages]
    if len(messages) > 1 and any(phases):
        parts = [
            {"type": "text", "text": mended(text)} | ({"phase": phase} if phase else {})
            for text, phase in zip(texts, phases, strict=True)
        ]
    calls = [_call(item) for item in waiting_in(items)]
    text = "\n\n".join(filter(None, texts)) if parts else "".join(texts)
    return Answer(mended(text), calls, parts=parts)


def _texts_in(content: Any) -> list[str]:
    """The texts of a message, and the transcripts of what was spoken (in the Realtime API)."""
    if not is_list(content):
        return texts_in(content)
    return ["".join(texts_in([part])) or text_in(field_of(part, "transcript")) for part in content]


def waiting_in(items: Sequence[Any]) -> list[Any]:
    """The items of a response that are calls which the application must answer."""
    done = {
        str(field_of(item, "call_id"))
        for item in items
        if text_in(field_of(item, "type")).endswith("_output")
    }
    return [item for item in items if _waits(item, done)]


def approvals_in(items: Any) -> set[str]:
    """The ids of the requests for approval: the provider runs their tools once a person has decided."""
    asked = [item for item in list_of(items) if field_of(item, "type") == "mcp_approval_request"]
    return {text_in(field_of(item, "id")) for item in asked}


def _waits(item: Any, done: set[str]) -> bool:
    """Whether an item is a call that the application must answer, not one that the provider ran itself."""
    kind, call_id = text_in(field_of(item, "type")), field_of(item, "call_id")
    if kind in {"function_call", "mcp_approval_request"}:
        return str(call_id) not in done or call_id is None
    is_call = kind.endswith("_call") and bool(call_id) and field_of(item, "execution") != "server"
    return is_call and str(call_id) not in done


def _call(item: Any) -> ChatMessage:
    kind = text_in(field_of(item, "type"))
    name = field_of(item, "name") or kind.removesuffix("_call")
    given = field_of(item, "arguments", "input")
    if given is None:
        given = without(item, *_NO_ARGUMENTS)
    call_id = field_of(item, "call_id", "id")
    return call_of(call_id, name, given, is_json=kind != "custom_tool_call")


# -- streams --------------------------------------------------------------------------------------


_ARGUMENTS = {
    "response.function_call_arguments.delta",
    "response.mcp_call_arguments.delta",
    "response.custom_tool_call_input.delta",
}
_SAID = {
    "response.output_text.delta",
    "response.refusal.delta",
    "response.output_audio_transcript.delta",
}
_REASONING = {"response.reasoning_text.delta", "response.reasoning_summary_text.delta"}


# The last one is the Realtime API's.
_ENDS = {
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
    "response.done",
}


class OpenAIResponsesStream(AnswerStream):
    """A response as its events deliver it."""

    def __init__(self) -> None:
        self._whole: Any = None
        self._begun: Any = {}
        self._items: dict[int, Any] = {}
        self._texts: dict[tuple[object, object], list[str]] = {}
        self._arguments: dict[object, list[str]] = {}
        self._reasoning: dict[object, list[str]] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        if self._whole is not None:
            answer = read(self._whole)
            if answer is not None and answer.text:
                return answer.text
        return mended("".join(map(joined, self._texts.values())))

    def add(self, piece: Any) -> bool:
        """Take in an event."""
        kind = field_of(piece, "type")
        if not isinstance(kind, str) or not kind.startswith("response."):
            return bool(self._begun or self._texts)  # "error", "keepalive" and the like
        place = (field_of(piece, "output_index"), field_of(piece, "content_index"))
        match kind:
            case _ if kind in _SAID:
                self._texts.setdefault(place, []).append(text_in(field_of(piece, "delta")))
            case _ if kind in _ARGUMENTS:
                self._arguments.setdefault(place[0], []).append(text_in(field_of(piece, "delta")))
            case _ if kind in _REASONING:
                self._reasoning.setdefault(place[0], []).append(text_in(field_of(piece, "delta")))
            case "response.created" | "response.queued" | "response.in_progress":
                self.says_its_end: bool = True
                self._begun = field_of(piece, "response") or {}
            case "response.output_item.added" | "response.output_item.done":
                index = field_of(piece, "output_index")
                self._items[index if isinstance(index, int) else len(self._items)] = field_of(piece, "item")
            case _ if kind in _ENDS:
                self._whole = field_of(piece, "response") or {}
                self.says_its_end = True
                self.is_complete: bool = True
        return True

    def end(self) -> Answer:
        """The answer, as far as it came."""
        whole = self._whole if self._whole is not None else self._begun
        output = list_of(field_of(whole, "output"))
        if not output:  # the stream has not ended, or its last event does not repeat the output
            output = self._came()
        if not isinstance(whole, dict):
            whole = {
                "model": model_of(whole),
                "status": field_of(whole, "status"),
                "usage": field_of(whole, "usage"),
            }
        answer = _read(whole | {"output": output}, output)
        answer.text = answer.text or self.text
        answer.is_pending = answer.is_pending and not answer.text and not answer.tool_calls
        if self._whole is None:
            answer.usage = answer.finish_reason = None
        return answer

    def _came(self) -> list[Any]:
        """The items that arrived, with the texts of unfinished ones."""
        return [self._as_far_as_it_came(index, item) for index, item in sorted(self._items.items())]

    def _as_far_as_it_came(self, index: int, item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        kind = text_in(item.get("type"))
        if kind.endswith("_call") and index in self._arguments:
            name = "input" if kind == "custom_tool_call" else "arguments"
            return item | {name: item.get(name) or mended("".join(self._arguments[index]))}
        if (
            kind == "reasoning"
            and index in self._reasoning
            and not (item.get("content") or item.get("summary"))
        ):
            text = mended("".join(self._reasoning[index]))
            return item | {"content": [{"type": "reasoning_text", "text": text}]}
        if kind != "message" or item.get("content"):
            return item
        texts = ["".join(pieces) for (at, _), pieces in self._texts.items() if at == index]
        return item | {"content": [{"type": "output_text", "text": mended(text)} for text in texts]}


READER = Reader(FORMAT, read, OpenAIResponsesStream)
ITEM_READER = Reader(FORMAT, read_item)
