"""Small JSON objects beside the sessions, each under its own key: the accounts of what users spend."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from ..stored_data import account_in
from .keys import Keys
from .link import Link
from .scripts import Script

_STORE = Script("account")
_MS_AN_HOUR = 3_600_000


class Accounts:
    """The accounts of one sandbox."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def change(
        self,
        name: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
        hours: float | None,
    ) -> None:
        """Change an account; if others wrote it meanwhile, make the change again.

        A change whose reply was lost may be made once more: it must recognise itself.
        """
        key = self._keys.of(name, "account:")
        lives = "" if hours is None else str(int(hours * _MS_AN_HOUR))
        while True:
            stored = await self._link.call(("GET", key))
            before = stored.decode() if isinstance(stored, bytes) else stored or ""
            changed = change(account_in(before) if before else None)
            if changed is None:
                return
            if await self._link.call(_STORE([key], before, json.dumps(changed), lives)):
                return
            await asyncio.sleep(0)
