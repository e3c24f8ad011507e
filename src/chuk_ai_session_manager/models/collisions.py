"""Writing again when another writer was faster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import random
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakValueDictionary

from ..exceptions import StorageError
from .guard import guard
from .home import HomeStore
from .turns import Turns

if TYPE_CHECKING:
    from .session import Session


class _Line(Turns):
    """The writers of a session that had a collision, and try one after the other."""

    __slots__ = ("has_failed",)

    def __init__(self) -> None:
        super().__init__()
        self.has_failed = False
        """Whether the store failed: then nobody waits, because each failure may take seconds."""


# By the store's `id` and the session's.
_lines: WeakValueDictionary[tuple[int, str], _Line] = WeakValueDictionary()

TRIES = 50
"""How often a write is tried while other writers are faster: for about two seconds."""


Write: TypeAlias = "Callable[[Session[Any]], Awaitable[tuple[bool, Session[Any]]]]"
"""One try to write. It returns whether the try succeeded, and the session as it is now."""


def is_calm(session: Session[Any], home: HomeStore) -> bool:
    """Whether no writer of this process tries again to write to a session."""
    return not _lines or (id(home), session.id) not in _lines


async def until_stored(write: Write, session: Session[Any], home: HomeStore) -> Session[Any]:
    """Try a write until no other writer is faster.

    Args:
        write: makes one try.
        session: the session.
        home: the store.

    Returns:
        The session as it is after the write.

    Raises:
        StorageError: other writers were faster each time.
    """
    if is_calm(session, home):
        was_stored, session = await write(session)
        if was_stored:
            return session
    return await one_after_the_other(write, session, home)


async def one_after_the_other(write: Write, session: Session[Any], home: HomeStore) -> Session[Any]:
    """The same after a collision: the writers of this process try one after the other.

    Otherwise, if fifty of them write to one session, each successful write would make the tries of all others
    fail.
    """
    with guard:
        line = _lines.setdefault((id(home), session.id), _Line())
    async with line.turn():
        if not line.has_failed:
            try:
                return await _tried(write, session)
            except StorageError:
                line.has_failed = True
                raise
    return await _tried(write, session)


async def _tried(write: Write, session: Session[Any]) -> Session[Any]:
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
