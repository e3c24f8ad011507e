"""What all records have in common."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from os import urandom
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict


def new_id() -> str:
    """A random UUID (version 4) as a text. `uuid.uuid4` takes five times as long, for every event."""
    try:
        return _spare_ids.pop()
    except IndexError:
        digits = urandom(16 * _IDS_AT_ONCE).hex()
        _spare_ids.extend(_uuid_of(digits[at : at + 32]) for at in range(32, len(digits), 32))
        return _uuid_of(digits[:32])


# They are made 64 at a time: one call of the operating system takes as long for one as for all.
_IDS_AT_ONCE = 64
_spare_ids: list[str] = []

if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_spare_ids.clear)  # else both processes would give the same ones


def _uuid_of(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


# Two bits of this digit are fixed: they say which variant of UUIDs it is.
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


JUST_NOW = timedelta(minutes=1)
"""An event that is stored within this time of its creation is new; an older one comes from an import.

The time is long enough for an event that waits for its turn and for its store."""


def utc_now() -> datetime:
    """The time now, in UTC, so that the times of different machines can be compared."""
    return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """A time as text in UTC, with its zone. A time without a zone is in this machine's zone."""
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()


def is_before(moment: datetime, other: datetime) -> bool:
    """Whether one time is earlier than another. A time without a zone is in this machine's zone."""
    try:
        return moment < other
    except TypeError:
        return moment.astimezone() < other.astimezone()


_new = object.__new__
# Setting the four slots of a model by their descriptors takes half of the time of `object.__setattr__`.
_set_values, _set_given, _set_extra, _set_private = (
    vars(BaseModel)[slot].__set__
    for slot in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)
# The defaults of each kind of record, and the names of its fields.
_shapes: dict[type[BaseModel], tuple[dict[str, Any], set[str]]] = {}
_FREE_PLACES = 30


class Record(BaseModel):
    """A model whose errors show no content. Its validator is built when it is first used, not at import."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True, defer_build=True, protected_namespaces=()
    )
    _more_keys: ClassVar[tuple[str, ...]] = ()
    """Names that stand among the record's fields for a time, but are none."""

    @classmethod
    def of_valid(cls, values: dict[str, Any]) -> Self:
        """A record of values that are known to be valid. The constructor takes three times as long.

        Nothing is checked. All records that are made this way share the names of their fields, which takes
        half of the memory, and one set of given fields. The set contains every field, so that it never grows;
        one set for each would take 700 bytes.

        Args:
            values: the values of the fields, which become the record's own. Only fields with a plain default
                may be left out.
        """
        shape, given = _shapes.get(cls) or _shape_of(cls)
        record = _new(cls)
        _set_values(record, shape | values)
        _set_given(record, given)
        _set_extra(record, None)
        _set_private(record, None)
        return record


def fields_of_valid(model: type[Record], values: dict[str, Any]) -> dict[str, Any]:
    """The fields of such a record, in their order."""
    shape, _ = _shapes.get(model) or _shape_of(model)
    return shape | values


def _shape_of(model: type[Record]) -> tuple[dict[str, Any], set[str]]:
    """The defaults of a kind of record, as a dict whose copies share its keys; and the names of fields."""
    shape = type("Shape", (), {})
    first = shape()
    for name, field in model.model_fields.items():
        setattr(first, name, None if field.is_required() else field.get_default())
    for name in model._more_keys:  # noqa: SLF001
        setattr(first, name, None)
        delattr(first, name)  # its place stays
    # Python keeps places for more names free in each copy, and gives up one with each object of the type.
    for _ in range(_FREE_PLACES):
        shape()
    return _shapes.setdefault(model, (vars(first), set(model.model_fields)))


class MetadataVerbs:
    """The methods for the metadata of an event or a run, one key at a time."""

    __slots__ = ()  # otherwise, its `__dict__` would hide that of the records

    metadata: dict[str, Any]

    async def set_metadata(self, key: str, value: Any) -> None:
        """Set one metadata value."""
        self.metadata[key] = value

    async def get_metadata(self, key: str, default: Any = None) -> Any:
        """Return a metadata value, or `default` if there is none."""
        return self.metadata.get(key, default)

    async def has_metadata(self, key: str) -> bool:
        """Whether there is a metadata value with this key, even if it is `None`."""
        return key in self.metadata

    async def remove_metadata(self, key: str) -> None:
        """Remove a metadata value, if there is one."""
        self.metadata.pop(key, None)
