"""What is known about a session besides its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .record import Record, utc_now


class SessionMetadata(Record):
    """When a session was made and changed, and the application's own `properties` of it.

    Fields it does not know are ignored, as the original's callers expect.
    """

    created_at: datetime = Field(default_factory=utc_now)
    """When the session was made; UTC."""
    updated_at: datetime = Field(default_factory=utc_now)
    """When a property was last set; UTC. Events do not move it."""
    properties: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The application's own. "user_id" and "system_prompt" are read by this library too."""

    @classmethod
    async def create(cls, properties: dict[str, Any] | None = None) -> SessionMetadata:
        """Make metadata with a copy of `properties`."""
        return cls(properties=dict(properties or {}))

    async def set_property(self, key: str, value: Any) -> None:
        """Set one property, which also moves `updated_at`; save the session to keep it."""
        self.properties[key] = value
        await self.update_timestamp()

    async def get_property(self, key: str) -> Any:
        """One property, or `None` where there is none."""
        return self.properties.get(key)

    async def update_timestamp(self) -> None:
        """Move `updated_at` to now."""
        self.updated_at = utc_now()
