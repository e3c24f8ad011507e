"""What is known about a session besides its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .record import Record, utc_now


class ConversationSettings(Record):
    """What a conversation of segments was made with; each of its segments carries it."""

    id: str
    """The id of the first segment, which is the conversation's."""
    token_threshold: int
    """Content tokens at which a segment is full."""
    max_turns_per_segment: int
    """Messages at which a segment is full."""


class SessionMetadata(Record):
    """When a session was made and changed, and the application's own `properties` of it.

    Fields it does not know are ignored, as the original's callers expect.
    """

    created_at: datetime = Field(default_factory=utc_now)
    """When the session was made; UTC."""
    updated_at: datetime = Field(default_factory=utc_now)
    """When a property was last set; UTC. Events do not move it."""
    conversation: ConversationSettings | None = None
    """When the conversation goes on in a next segment; none where it was not made to."""
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
