"""The small objects that a memory store keeps beside the sessions: what users spent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any


class MemoryAccounts:
    """Accounts by name, each until it expires. The guard must be held during each call."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[dict[str, Any], float]] = {}

    def change(
        self, name: str, change: Callable[[dict[str, Any] | None], dict[str, Any] | None], hours: float | None
    ) -> None:
        """Change an account, and keep it for so many hours from now on."""
        now = self._clock()
        for expired in [each for each, (_, until) in self._kept.items() if until <= now]:
            del self._kept[expired]
        stored = self._kept.get(name)
        changed = change(None if stored is None else stored[0])
        if changed is not None:
            self._kept[name] = changed, math.inf if hours is None else now + hours * 3600

    def remove(self, names: Iterable[str]) -> int:
        """Remove accounts; return how many of them there were."""
        found = [self._kept.pop(name, None) for name in names]
        return sum(account is not None for account in found)
