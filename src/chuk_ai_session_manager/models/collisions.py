"""Writing again when another writer was faster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import random
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..exceptions import StorageError
from .guard import guard
from .home import HomeStore
from .turns import Turns

if TYPE_CHECKING:
    from .session import Session

# Writers that had a collision, and wait to try again: a line for each store (by `id(home)`) and session.
_lines: WeakValueDictionary[tuple[int, str], Turns] = WeakValueDictionary()

TRIES = 50
"""How often a write is tried while other writers are faster: for about two seconds."""


async def until_stored(
    write: Callable[[Session[Any]], Awaitable[tuple[bool, Session[Any]]]],
    session: Session[Any],
    home: HomeStore,
) -> Session[Any]:
    """Try a write until no other writer is faster.

    After a collision, the writers of this process try one after the other. Otherwise, if fifty of them write
    to one session, each successful write would make the tries of all others fail.

    Args:
        write: makes one try. It returns whether the try succeeded, and the session as it is now.
        session: the session.
        home: the store.

    Returns:
        The session as it is after the write.

    Raises:
        StorageError: other writers were faster each time.
    """
    place = (id(home), session.id)
    if place not in _lines:
        was_stored, session = await write(session)
        if was_stored:
            return session
    with guard:
        line = _lines.setdefault(place, Turns())
    async with line.turn():
        for attempt in range(TRIES):
            was_stored, session = await write(session)
            if was_stored:
                return session
            await after_a_collision(attempt)
    raise kept_changing(session.id)


async def after_a_collision(attempt: int) -> None:
    """Wait for other writers: longer after each attempt, and for a random time."""
    await asyncio.sleep(random() * min(0.001 * 2**attempt, 0.1))  # noqa: S311  (not a secret)


def kept_changing(session_id: str) -> StorageError:
    """The error if other writers were faster each time."""
    return StorageError(
        f"Session {session_id} was not stored: other writers changed it each time between reading and "
        "writing. Try again"
    )
