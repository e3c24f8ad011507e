"""What durable stores are asked to write, and what comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import random
from typing import Any, TypeVar

from ..exceptions import SessionManagerError, StorageError
from ..exceptions.validation import MAX_ID_LENGTH
from .written import EncodedEvent

T = TypeVar("T")


@dataclass(slots=True)
class Mark:
    """What a `Session` object holds of the stored session: where its store left it last."""

    born: str
    fields: dict[str, str]
    """The header as it was stored, to see what the application changed since."""
    revision: int
    rewrites: int
    first: int
    """How many of the oldest events it does not hold."""
    count: int
    """How many events were stored when it was read, or written to."""


@dataclass(slots=True)
class Appended:
    """Where an append came to stand."""

    count: int
    """How many events there were before it."""
    revision: int
    """The session's revision after it."""
    added: int
    """How many of its events were new."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is written over a stored session."""

    fields: dict[str, str]
    """The header fields that change."""
    counters: dict[str, float] | None = None
    """All counters, if they change."""
    place: int | None = None
    """Where lists have the session from now on, as `recency` says; `None` for where they have it."""
    keep: int | None = None
    """How many of the oldest events stay as they are; `None`, all of them."""
    gone: list[str] = field(default_factory=list)
    """The ids of the stored events after those."""
    events: list[EncodedEvent] = field(default_factory=list)
    """What comes after those that stay."""
    born: str = ""
    """Of a new session: what tells it from another one that had its id before."""
    follows_at: int | None = None
    """Of a new segment: the revision that the one before it must be at, whose state it begins with."""


class MovedError(SessionManagerError):
    """Somebody wrote to a session since it was read; it is read again."""


class Outcome(asyncio.Future[T]):
    """What will come of a write: who is cancelled while awaiting it is so once it is decided, not before.

    It refuses to be cancelled itself; asyncio then keeps the task's cancellation until it is done.
    """

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002  (as asyncio calls it)
        """Refuse: a write under way is not to be called off."""
        return False

    def abandon(self) -> None:
        """End it without an outcome: nobody is left who could bring it about."""
        super().cancel()


def is_session_id(value: object) -> bool:
    """Whether a session can be stored under it at all."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()


async def after_a_collision(attempt: int) -> None:
    """Let other writers be done: the longer, the more there seem to be, and not each as long."""
    await asyncio.sleep(random() * min(0.001 * 2**attempt, 0.1))  # noqa: S311  (no secret)


def kept_changing(session_id: str) -> StorageError:
    """What is said where other writers were faster each time."""
    return StorageError(
        f"Session {session_id} was not stored: other writers changed it each time between reading and "
        "writing. Try again"
    )
