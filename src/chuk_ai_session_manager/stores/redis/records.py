"""chuk-sessions' records, under its own keys, over the store's connections."""

from __future__ import annotations

from typing import Any

from .link import Link
from .scripts import Script

_GET = Script("get")


class Records:
    """The place of chuk-sessions' records of a Redis store."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, key: str) -> str | bytes | None:
        """Return the record under a key."""
        found: str | bytes | None = await self._link.call_short(_GET([key]))
        return found

    async def set(self, key: str, value: str) -> Any:
        """Store a record for an hour, as chuk-sessions does."""
        return await self.setex(key, 3600, value)

    async def setex(self, key: str, ttl: int, value: str) -> Any:
        """Store a record for so many seconds."""
        return await self._link.call_short(("SET", key, value, "EX", ttl))

    async def delete(self, key: str) -> bool:
        """Delete a record; return whether it existed."""
        return bool(await self._link.call(("DEL", key)))

    async def close(self) -> None:
        """Do nothing: the connections belong to the store."""
