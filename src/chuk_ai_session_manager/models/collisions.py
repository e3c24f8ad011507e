"""Writing again when another writer was faster."""

from __future__ import annotations

import asyncio
from random import random

from ..exceptions import StorageError

TRIES = 50
"""How often a write is tried while other writers are faster: for about two seconds."""


async def after_a_collision(attempt: int) -> None:
    """Wait for other writers: longer after each attempt, and for a random time."""
    await asyncio.sleep(random() * min(0.001 * 2**attempt, 0.1))  # noqa: S311  (not a secret)


def kept_changing(session_id: str) -> StorageError:
    """The error if other writers were faster each time."""
    return StorageError(
        f"Session {session_id} was not stored: other writers changed it each time between reading and "
        "writing. Try again"
    )
