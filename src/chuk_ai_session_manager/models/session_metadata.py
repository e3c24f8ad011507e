"""A session's metadata: dates and properties."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from .record import Record, utc_now

FORKED_FROM = "forked_from"
"""The property of a conversation that says which one it began with: its id, and the last event's."""


def origins_of(properties: Mapping[str, Any]) -> list[str]:
    """The conversations that one began with, by its properties: the one that it was forked from is last."""
    origin = properties.get(FORKED_FROM)
    if not isinstance(origin, dict):
        return []
    earlier = origin.get("earlier_conversations")
    ids = [*(earlier if isinstance(earlier, list) else []), origin.get("conversation_id")]
    return [each for each in ids if isinstance(each, str)]


class ConversationSettings(Record):
    """The settings of a conversation of segments, which each of its segments carries."""

    id: str
    """The conversation's id, which is the id of its first segment."""
    token_threshold: int
    """Content tokens at which a segment is full."""
    max_turns_per_segment: int
    """Messages at which a segment is full."""


class SessionMetadata(Record):
    """When a session was created and changed, and the application's `properties`.

    Unknown fields are ignored, as the original's callers expect.
    """

    created_at: datetime = Field(default_factory=utc_now)
    """When the session was created; UTC."""
    updated_at: datetime = Field(default_factory=utc_now)
    """When a property was last set; UTC. New events do not change it."""
    conversation: ConversationSettings | None = None
    """When the conversation continues in a next segment; `None` for a conversation without segments."""
    rewritten: int = 0
    """How often words of the conversation were replaced or erased for good: caches are read anew then."""
    properties: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The application's own values. This library also reads "user_id" and "system_prompt"."""

    @classmethod
    async def create(cls, properties: dict[str, Any] | None = None) -> SessionMetadata:
        """Create metadata with a copy of `properties`."""
        return cls(properties=dict(properties or {}))

    async def set_property(self, key: str, value: Any) -> None:
        """Set a property and `updated_at`. Save the session to store the change."""
        self.properties[key] = value
        await self.update_timestamp()

    async def get_property(self, key: str) -> Any:
        """Return a property, or `None` if there is none."""
        return self.properties.get(key)

    async def update_timestamp(self) -> None:
        """Set `updated_at` to the time now."""
        self.updated_at = utc_now()
