"""What an event adds to sums, as two tuples, from which the records are made when somebody looks at them.

A `TokenUsage` and a `CallUsage` take 700 bytes, of which the tuples need 220, and time to be made and to be
looked through by the garbage collector, for every event. Most of them are only ever added to sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from pydantic import BaseModel

from .guard import guard
from .record import Record, fields_of_valid
from .token_usage import CallUsage, Counted, counted_of, usage_of

_Text: TypeAlias = str | None
_Amount: TypeAlias = float | None
Billed: TypeAlias = tuple[
    str, str, int, int, int, int, int, _Amount, bool, _Text, _Amount, _Text, int | None, bool
]
"""The fields of a bill that have no parts with prices of their own, no terms and no calls in it."""

BILLED = (
    "model",
    "provider",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "estimated",
    "cost_source",
    "cache_saved_usd",
    "cache_miss_reason",
    "counted_tokens",
    "continues",
)
"""The names of these fields, in their order."""

_billed_of = itemgetter(*BILLED)

_KEYS = _COUNTED_KEY, _BILLED_KEY = "_counted", "_billed"
_slot: Any = vars(BaseModel)["__dict__"]


Event = TypeVar("Event", bound="WithAmounts")


class WithAmounts(Record):
    """A record whose fields `token_usage` and `usage` are made when somebody looks at them.

    Until then, two tuples stand in for them among its fields. Whatever looks at all fields of a record at
    once (pydantic, `copy`, `pickle`, `vars`) asks for `__dict__`, so they are made there.
    """

    _more_keys: ClassVar[tuple[str, ...]] = _KEYS

    if not TYPE_CHECKING:

        def _all_fields(self) -> dict[str, Any]:
            fields = fields_of(self)
            return _made(self) if _COUNTED_KEY in fields or _BILLED_KEY in fields else fields

        # Set by the slot itself: pydantic does so for each event that is read.
        __dict__ = property(_all_fields, _slot.__set__)

        def __getattr__(self, name: str) -> Any:
            """Called for what is not there: make it."""
            if name in ("token_usage", "usage") and name in (fields := self.__dict__):
                return fields[name]
            return super().__getattr__(name)

        def __delattr__(self, name: str) -> None:
            _ = self.__dict__  # what is to be removed must be there
            super().__delattr__(name)


def _made(event: WithAmounts) -> dict[str, Any]:
    """All fields of an event, in their order, with the records that the tuples stood in for."""
    with guard:  # another thread may look at the same time, and must see the same objects
        fields = fields_of(event)
        counted, billed = fields.get(_COUNTED_KEY), fields.get(_BILLED_KEY)
        if counted is None and billed is None:
            return fields
        values = {name: value for name, value in fields.items() if name not in _KEYS}
        if counted is not None:
            values["token_usage"] = usage_of(counted)
        if billed is not None:
            values["usage"] = bill_of(billed)
        made = fields_of_valid(type(event), values)
        _slot.__set__(event, made)  # at once, because others read the fields without the guard
        return made


def bill_of(billed: Billed) -> CallUsage:
    """A bill of these fields, which are known to be valid."""
    return CallUsage.of_valid({**dict(zip(BILLED, billed, strict=True)), "details": {}, "iterations": []})


fields_of: Callable[[WithAmounts], dict[str, Any]] = _slot.__get__
"""The fields of an event by name; in place of records that nobody has looked at, the tuples.

It takes as long as reading one of the fields in pydantic's own way.
"""


def counted_among(fields: Mapping[str, Any]) -> Counted | None:
    """The token usage among an event's fields, of `fields_of`; `None` if there is none."""
    counted: Counted | None = fields.get(_COUNTED_KEY)
    if counted is None and (usage := fields.get("token_usage")) is not None:
        return counted_of(usage)
    return counted


def billed_among(fields: Mapping[str, Any]) -> Billed | None:
    """The bill among an event's fields, as far as most bills go; `None` if there is none."""
    billed: Billed | None = fields.get(_BILLED_KEY)
    if billed is None and (usage := fields.get("usage")) is not None:
        return billed_of(usage)
    return billed


def altered(event: Event, changes: Mapping[str, Any]) -> Event:
    """A copy of an event with other values in some fields; nothing is made for that."""
    copy = event.__class__.__new__(event.__class__)
    _slot.__set__(copy, {**fields_of(event), **changes})
    for slot in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        object.__setattr__(copy, slot, getattr(event, slot))
    return copy


def counted_in(event: WithAmounts) -> Counted | None:
    """The fields of an event's token usage; `None` if it has none. The usage is not made for that."""
    return counted_among(fields_of(event))


def tokens_in(event: WithAmounts) -> int:
    """The content tokens of an event."""
    counted = counted_in(event)
    return 0 if counted is None else counted[2]


def costs_in(event: WithAmounts) -> float:
    """The sum of the costs in an event's token usage and in its bill: finite if both are."""
    fields = fields_of(event)
    if (counted := fields.get(_COUNTED_KEY)) is not None:
        return counted[4] or 0.0
    usage, call = fields.get("token_usage"), fields.get("usage")
    counted_cost = 0.0 if usage is None else usage.estimated_cost_usd or 0.0
    return counted_cost + (0.0 if call is None else call.cost_usd or 0.0)


def billed_in(event: WithAmounts) -> Billed | None:
    """The fields that most bills have, of an event's bill; `None` if it has none."""
    return billed_among(fields_of(event))


def billed_of(usage: CallUsage) -> Billed:
    """The fields that most bills have."""
    billed: Billed = _billed_of(vars(usage))
    return billed


def put_counted(event: WithAmounts, counted: Counted) -> None:
    """Give a token usage to an event that nobody else knows yet."""
    fields = fields_of(event)
    fields[_COUNTED_KEY] = counted
    fields.pop("token_usage", None)


def put_billed(event: WithAmounts, billed: Billed, record: CallUsage | None = None) -> None:
    """Give a bill to an event that nobody else knows yet; as a record, if it has more than `Billed`.

    Its cost goes to the token usage too, so that a session's cost is the sum of its events'.
    """
    fields = fields_of(event)
    if record is None:
        fields[_BILLED_KEY] = billed
        fields.pop("usage", None)
    else:
        fields["usage"] = record
    counted = counted_among(fields) or (0, 0, 0, billed[0], None, False)
    asked, answered, total, model, _, is_estimated = counted
    put_counted(event, (asked, answered, total, model, billed[7], is_estimated))
