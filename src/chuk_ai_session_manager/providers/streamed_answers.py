"""What a model answers, put together as its stream brings it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .answers import (
    THINKING,
    Answer,
    answer_in,
    google_answer,
    model_of,
    new_call_id,
    plain_answer,
    provider_of,
    usage_of,
)
from .common import field_of, is_list, list_of, name_in, plain, text_in


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
        kind = field_of(piece, "type")
        if kind == "chunk":  # OpenAI's helper, which gives what it makes of chunks beside them
            piece, self._has_events = field_of(piece, "chunk"), True
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
                    "id": call["id"] or new_call_id(),
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
        self.answer.provider = provider_of(piece) or self.answer.provider
        if name_in(finish_reason):
            self.answer.finish_reason, self.is_complete = name_in(finish_reason), True

    def _call_at(self, key: object, call_id: object = None, name: object = None, more: object = None) -> None:
        call = self._calls.setdefault(key, {"id": "", "name": "", "arguments": ""})
        call["id"] = call["id"] or text_in(call_id)
        call["name"] = call["name"] or text_in(name)
        call["arguments"] += text_in(more)

    def _chat_chunk(self, piece: object) -> bool:
        choices = field_of(piece, "choices")
        if not is_list(choices):
            return False
        first = next((each for each in choices if not field_of(each, "index")), None)  # of several, one
        self._seen(piece, field_of(first, "finish_reason"))
        self._says_its_end = True
        delta = field_of(first, "delta")
        texts = (field_of(delta, "content"), field_of(delta, "refusal"), field_of(first, "text"))
        self._say(next(filter(None, map(text_in, texts)), ""))
        legacy = field_of(delta, "function_call")
        if legacy is not None:
            self._call_at("function_call", name=field_of(legacy, "name"), more=field_of(legacy, "arguments"))
        for at, call in enumerate(list_of(field_of(delta, "tool_calls"))):
            self._call_delta(call, at)
        self.answer.usage = usage_of(piece) or self.answer.usage
        return True

    def _call_delta(self, call: object, at: int) -> None:
        asked, index, call_id = (
            field_of(call, "function"),
            field_of(call, "index"),
            text_in(field_of(call, "id")),
        )
        key = at if index is None else index
        if call_id and self._calls.get(key, {}).get("id", call_id) != call_id:
            self._calls[object()] = self._calls.pop(key)  # another call begins under the same index
        self._call_at(key, call_id, field_of(asked, "name"), field_of(asked, "arguments"))

    def _google_chunk(self, piece: object) -> bool:
        answer = google_answer(piece)
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
        answer = plain_answer(piece)
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
                message = field_of(piece, "message")
                self._says_its_end = True
                self._seen(message)
                self.answer.provider = self.answer.provider or "anthropic"
                self._add_usage(field_of(message, "usage"))
            case "content_block_start":
                block = field_of(piece, "content_block")
                self._say(text_in(field_of(block, "text")))
                if field_of(block, "type") == "tool_use":
                    self._call_at(field_of(piece, "index"), field_of(block, "id"), field_of(block, "name"))
                elif field_of(block, "type") in THINKING:
                    self._thinking[field_of(piece, "index")] = dict(plain(block))
            case "content_block_delta":
                self._block_delta(field_of(piece, "index"), field_of(piece, "delta"))
            case "message_delta":
                self._seen(None, field_of(field_of(piece, "delta"), "stop_reason"))
                self._add_usage(field_of(piece, "usage"))
            case _:
                return False
        return True

    def _block_delta(self, index: object, delta: object) -> None:
        self._say(text_in(field_of(delta, "text")))
        if field_of(delta, "type") == "input_json_delta":
            self._call_at(index, more=field_of(delta, "partial_json"))
        for part in ("thinking", "signature"):
            if more := text_in(field_of(delta, part)):
                block = self._thinking.setdefault(index, {"type": "thinking"})
                block[part] = block.get(part, "") + more

    def _add_usage(self, usage: object) -> None:
        """Anthropic's counts come in two parts, of which the later one holds what it says."""
        names: Iterable[str] = (
            "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
        )  # fmt: skip
        self._usage |= {name: count for name in names if (count := field_of(usage, name)) is not None}

    def _responses_event(self, kind: str, piece: object) -> bool:
        match kind:
            case "response.output_text.delta" | "response.refusal.delta":
                self._say(text_in(field_of(piece, "delta")))
            case "response.created":
                self._says_its_end = True
                self._seen(field_of(piece, "response"))
            case "response.output_item.done":
                item = field_of(piece, "item")
                if field_of(item, "type") == "function_call":
                    call_id = field_of(item, "call_id")
                    self._call_at(call_id, call_id, field_of(item, "name"), field_of(item, "arguments"))
            case "response.completed" | "response.incomplete" | "response.failed":
                whole = answer_in(field_of(piece, "response"))
                if whole is not None:
                    self._texts = [whole.text] if whole.text else self._texts
                    self._calls = {} if whole.tool_calls else self._calls
                    self.answer, self.is_complete = whole, kind != "response.failed"
        return True
