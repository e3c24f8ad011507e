"""The records that chuk-sessions keeps, under its own keys, over the store's connections."""

from __future__ import annotations

from typing import Any

from .link import Link
from .scripts import Script

_GET = Script("get")


class Records:
    """Where chuk-sessions' records of a Redis store are."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def get(self, key: str) -> str | bytes | None:
        """The record under a key."""
        found: str | bytes | None = await self._link.call(_GET([key]))
        return found

    async def set(self, key: str, value: str) -> Any:
        """Keep a record for an hour, as chuk-sessions does."""
        return await self.setex(key, 3600, value)

    async def setex(self, key: str, ttl: int, value: str) -> Any:
        """Keep a record for so many seconds."""
        return await self._link.call(("SET", key, value, "EX", ttl))

    async def delete(self, key: str) -> bool:
        """Delete a record; whether it was there."""
        return bool(await self._link.call(("DEL", key)))

    async def close(self) -> None:
        """The connections are the store's."""
