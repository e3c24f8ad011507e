"""The changes that durable stores write, and their outcomes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..exceptions import SessionManagerError
from ..exceptions.validation import MAX_ID_LENGTH, json_misfit
from .stored_data import EncodedEvent

T = TypeVar("T")


@dataclass(slots=True)
class Mark:
    """What a `Session` object holds of the stored session, as of its last reading or writing."""

    born: str
    fields: dict[str, str]
    """The header as it was stored, to find the application's changes since then."""
    revision: int
    rewrites: int
    first: int
    """How many of the oldest events the object does not hold."""
    count: int
    """How many events were stored when the object was read, or written to."""


AS_READ, WHILE_LIVE = -2, -3
"""Two values in place of the revision that an append requires. `AS_READ`: the revision at which the object
was read. `WHILE_LIVE`: any revision, as long as no other segment follows the session."""


@dataclass(slots=True)
class Appended:
    """The outcome of an append."""

    count: int
    """How many events there were before."""
    revision: int
    """The session's revision afterwards."""
    added: int
    """How many of the events were new."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a stored session."""

    fields: dict[str, str]
    """The header fields that change."""
    counters: dict[str, float] | None = None
    """All counters, if they change."""
    place: int | None = None
    """The session's place in lists from now on (see `recency`); `None` if it does not change."""
    keep: int | None = None
    """How many of the oldest events stay as they are; `None` means all."""
    gone: list[str] = field(default_factory=list)
    """The ids of the stored events after those that stay."""
    let_go: list[str] = field(default_factory=list)
    """The hashes of bodies that no event of the session refers to any more."""
    events: list[EncodedEvent] = field(default_factory=list)
    """The events that come after those that stay."""
    born: str = ""
    """For a new session: what distinguishes it from an earlier one with the same id."""
    follows_at: int | None = None
    """For a new segment: the revision of the segment before it, whose state the new one begins with."""


class MovedError(SessionManagerError):
    """Another writer wrote to a session since it was read; the session is read again."""


class Outcome(asyncio.Future[T]):
    """The outcome of a write. A task that is cancelled while it awaits this is cancelled once it is decided.

    The future refuses to be cancelled; asyncio then delays the task's cancellation until the future is done.
    """

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002  (as asyncio calls it)
        """Refuse: a write that has begun must not be called off."""
        return False


def is_session_id(value: object) -> bool:
    """Whether a session can be stored under this id at all."""
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()


def is_stored_text(text: str | None) -> bool:
    """Whether a text can be stored at all: half of a surrogate pair cannot."""
    return text is None or json_misfit(text) is None
