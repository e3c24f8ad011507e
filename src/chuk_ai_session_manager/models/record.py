"""What all records have in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from os import urandom
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


def new_id() -> str:
    """A random UUID (version 4) as a text. `uuid.uuid4` takes three times as long, for every event."""
    digits = urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


JUST_NOW = timedelta(minutes=1)
"""An event that is stored within this time of its creation is new; an older one comes from an import.

The time is long enough for an event that waits for its turn and for its store."""


def utc_now() -> datetime:
    """The time now, in UTC, so that the times of different machines can be compared."""
    return datetime.now(UTC)


def is_before(moment: datetime, other: datetime) -> bool:
    """Whether one time is earlier than another. A time without a zone is in this machine's zone."""
    try:
        return moment < other
    except TypeError:
        return moment.astimezone() < other.astimezone()


class Record(BaseModel):
    """A model whose errors show no content. Its validator is built when it is first used, not at import."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        hide_input_in_errors=True, defer_build=True, protected_namespaces=()
    )


class MetadataVerbs:
    """The methods for the metadata of an event or a run, one key at a time."""

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
