"""Events as durable stores write them down: without the fields that have their default values.

Readers fill in the defaults, so every release reads both this form and the complete one. The fields are
chosen here, because pydantic can only leave out all defaults: a token usage without a cost would then be
given one when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

from pydantic_core import to_json

from ..models import CallUsage, EventSource, EventType, SessionEvent, TokenUsage
from ..models.amounts import BILLED, billed_in, counted_in, fields_of
from ..models.token_usage import Counted
from .base import AnyEvent


def brief_json(event: AnyEvent) -> str:
    """An event as JSON, without defaults; complete if a field is not of the type that the class declares.

    Raises:
        PydanticSerializationError: a field cannot be written as JSON.
    """
    fields = fields_of(event)
    length, call = fields.get("token_usage"), fields.get("usage")
    source, kind = fields["source"], fields["type"]
    if not (
        type(event) is SessionEvent
        and type(fields["timestamp"]) is datetime
        and type(source) is EventSource
        and type(kind) is EventType
        and (length is None or type(length) is TokenUsage)
        and (call is None or type(call) is CallUsage)
    ):
        return event.model_dump_json(warnings=False)
    brief = {"id": fields["id"], "message": fields["message"], "timestamp": fields["timestamp"]}
    # As texts: pydantic's writer takes 2 us for a member of an enumeration, as long as for all the rest.
    if source is not EventSource.SYSTEM:
        brief["source"] = source.value
    if kind is not EventType.MESSAGE:
        brief["type"] = kind.value
    if (counted := counted_in(event)) is not None:
        brief["token_usage"] = _length(counted)
    if call is not None:
        brief["usage"] = _call(vars(call))
    elif (billed := billed_in(event)) is not None:
        brief["usage"] = _call(dict(zip(BILLED, billed, strict=True)))
    if fields["metadata"]:
        brief["metadata"] = fields["metadata"]
    for name in _RARE:
        if fields[name] is not None:
            brief[name] = fields[name]
    return to_json(brief).decode()


# To choose what is not empty: `filter` with it takes half of the time of a comprehension.
_value_of = itemgetter(1)
_AMOUNTS = ("cost_usd", "cache_saved_usd")
_RARE = ("parent_event_id", "task_id", "native", "context")


def _length(counted: Counted) -> dict[str, Any]:
    """A token usage. A total that is the sum is left out, but never a cost: without one, it is calculated."""
    prompt, completion, total, model, cost, is_estimated = counted
    brief: dict[str, Any] = {"model": model, "estimated_cost_usd": cost}
    if prompt:
        brief["prompt_tokens"] = prompt
    if completion:
        brief["completion_tokens"] = completion
    if total != prompt + completion:
        brief["total_tokens"] = total
    if is_estimated:
        brief["estimated"] = True
    return brief


def _call(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A bill, from its fields."""
    brief = dict(filter(_value_of, fields.items()))
    brief["model"], brief["provider"] = fields["model"], fields["provider"]
    for name in _AMOUNTS:  # an amount of 0.0 differs from none
        if fields[name] is not None:
            brief[name] = fields[name]
    if "iterations" in brief:
        brief["iterations"] = [_call(vars(each)) for each in brief["iterations"]]
    return brief
