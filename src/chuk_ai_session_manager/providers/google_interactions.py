"""Reads answers of Google's Interactions API: whole interactions, and the events of streams."""

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
    usage_in,
)
from .common import (
    field_of,
    is_list,
    list_of,
    mended,
    merged,
    name_in,
    parsed,
    text_in,
    texts_in,
    without,
)
from .usage_counts import put_together

FORMAT = "google-interactions"
_EVENTS = ("interaction.", "step.", "content.")
# Fields of a step's delta that do not continue a text.
_SAID_ONCE = {"type", "id", "name", "call_id", "mime_type"}


def read(response: Any) -> Answer | None:
    """A whole interaction."""
    status = field_of(response, "status")
    steps = field_of(response, "steps", "outputs")  # in the first version of the API: outputs
    if not isinstance(status, str):
        return None
    if is_list(steps):
        return _read(response, steps)
    is_empty = field_of(response, "object") == "interaction" or field_of(response, "previous_interaction_id")
    return _read(response, []) if is_empty or status in PENDING else None


def _read(response: Any, steps: Sequence[Any]) -> Answer:
    done = {str(field_of(step, "call_id")) for step in steps if field_of(step, "type") == "function_result"}
    calls = [
        call_of(field_of(step, "id"), field_of(step, "name"), field_of(step, "arguments"))
        for step in steps
        if field_of(step, "type") == "function_call" and str(field_of(step, "id")) not in done
    ]
    said = [
        [step] if field_of(step, "type") == "text" else field_of(step, "content")
        for step in steps
        if text_in(field_of(step, "type")) in {"model_output", "text"}
    ]
    usage, status = field_of(response, "usage"), field_of(response, "status")
    is_nothing = status in {"failed", "cancelled"} and usage is None and not steps
    answer = Answer(
        mended("".join("".join(texts_in(content)) for content in said)),
        calls,
        model=model_of(response),
        provider="google",
        finish_reason=name_in(status),
        usage=put_together(sent=0, answered=0) if is_nothing else usage_in(usage),
        response_id=name_in(field_of(response, "id")),
        billed=bill_of(response, usage),
        is_pending=status in PENDING,
    )
    if isinstance(response, dict):
        beside = without(
            response, "steps", "outputs", "input", "tools", "system_instruction", *_derived(response)
        )
        answer.native = native_of(FORMAT, list(steps), beside)
    return answer


def _derived(response: dict[str, Any]) -> list[str]:
    """The fields that the SDK makes from the steps."""
    return [name for name in response if name.startswith("output_")]


class GoogleInteractionsStream(AnswerStream):
    """An interaction as its events deliver it, step by step."""

    says_its_end = True

    def __init__(self) -> None:
        self._interaction: dict[str, Any] = {}
        self._steps: dict[object, dict[str, Any]] = {}

    @property
    def text(self) -> str:
        """The text so far."""
        return _read({}, [_finished(step) for step in self._steps.values()]).text

    def add(self, piece: Any) -> bool:
        """Take in an event."""
        kind = text_in(field_of(piece, "event_type"))
        if not kind.startswith(_EVENTS):
            return bool(self._interaction) and bool(kind)
        if kind.startswith("interaction."):
            said = field_of(piece, "interaction")
            self._interaction |= {name: value for name, value in without(said).items() if value is not None}
            self.is_complete: bool = self.is_complete or kind in {
                "interaction.completed",
                "interaction.cancelled",
            }
        elif kind in {"step.start", "content.start"}:
            self._steps[field_of(piece, "index")] = dict(without(field_of(piece, "step", "content")))
        elif kind in {"step.delta", "content.delta"}:
            self._add_to(
                self._steps.setdefault(field_of(piece, "index"), {}), without(field_of(piece, "delta"))
            )
        return True

    def _add_to(self, step: dict[str, Any], delta: dict[str, Any]) -> None:
        kind = text_in(delta.get("type"))
        if kind == "arguments_delta" or isinstance(delta.get("arguments"), str):
            step.setdefault("_arguments", []).append(text_in(delta.get("arguments")))
        elif kind == "text":
            _say(step, "content", delta)
        elif kind == "thought_summary":
            _say(step, "summary", without(delta.get("content")) or {})
        elif kind == "text_annotation":
            _annotate(step, list_of(delta.get("annotations")))
        elif step.get("type") == "model_output":  # an image or audio is a part of its own
            step.setdefault("content", []).append(delta)
        else:
            for name, value in delta.items():
                is_once = name in _SAID_ONCE and step.get(name)
                step[name] = step[name] if is_once else merged(step.get(name), value)

    def end(self) -> Answer:
        """The answer, as far as it came."""
        steps = [_finished(step) for step in self._steps.values()]
        whole = list_of(self._interaction.get("steps"))
        return _read(self._interaction, whole or steps)


def _say(step: dict[str, Any], name: str, part: dict[str, Any]) -> None:
    """Add a piece of text to the parts of a step."""
    parts = step[name] = list(list_of(step.get(name)))
    if (
        parts
        and isinstance(parts[-1], dict)
        and parts[-1].get("type") == "text"
        and part.get("type") == "text"
    ):
        parts[-1] = merged(parts[-1], without(part, "type"))
    else:
        parts.append(part)


def _annotate(step: dict[str, Any], annotations: Sequence[Any]) -> None:
    parts = list_of(step.get("content"))
    if parts and isinstance(parts[-1], dict):
        parts[-1]["annotations"] = [*list_of(parts[-1].get("annotations")), *annotations]


def _finished(step: dict[str, Any]) -> dict[str, Any]:
    """A step in which the pieces of its arguments are joined."""
    whole = without(step, "_arguments")
    if "_arguments" in step:
        whole["arguments"] = parsed(mended("".join(step["_arguments"])))
    return whole


READER = Reader(FORMAT, read, GoogleInteractionsStream)
