"""What all records have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from os import urandom
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


def new_id() -> str:
    """A random UUID (version 4) as text; `uuid.uuid4` takes three times as long, for every event."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


JUST_NOW = timedelta(minutes=1)
"""What is stored within this time of its making is stored as it happens; what is older comes by an import.

Long enough for an event that waits for its turn and for its store."""


def utc_now() -> datetime:
    """The time now, with its zone: timestamps of different machines compare."""
    return datetime.now(UTC)


def is_before(moment: datetime, other: datetime) -> bool:
    """Whether one time is earlier than another; those without a zone are this machine's."""
    try:
        return moment < other
    except TypeError:
        return moment.astimezone() < other.astimezone()


class Record(BaseModel):
    """A model whose errors show no content, and which costs an import nothing until it is first used."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True, defer_build=True, protected_namespaces=()
    )


class MetadataVerbs:
    """What applications do with an event's or a run's metadata, one key at a time."""

    metadata: dict[str, Any]

    async def set_metadata(self, key: str, value: Any) -> None:
        """Set one metadata value."""
        self.metadata[key] = value

    async def get_metadata(self, key: str, default: Any = None) -> Any:
        """One metadata value, or `default` where there is none."""
        return self.metadata.get(key, default)

    async def has_metadata(self, key: str) -> bool:
        """Whether there is such a metadata value, be it `None`."""
        return key in self.metadata

    async def remove_metadata(self, key: str) -> None:
        """Drop one metadata value, if it is there."""
        self.metadata.pop(key, None)
