"""What erasing tells: a receipt, and what stores say of each conversation that goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from ..models import Session
from ..models.record import utc_now
from ..models.session_metadata import FORKED_FROM

BACKUPS = "backups, exports and other copies that were made of the store"
"""What no store reaches; it stands in every receipt."""

# Properties of a fork that say whose it is, how it speaks, and where it came from.
_OWN = frozenset({"user_id", "system_prompt", FORKED_FROM})


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What was erased: ids, counts and times, nothing of what was said."""

    started_at: datetime
    finished_at: datetime
    user_id: str | None = None
    """Whose conversations were erased, if all of a user's were."""
    conversations: tuple[str, ...] = ()
    """The ids of the conversations, which are those of their first segments."""
    sessions: tuple[str, ...] = ()
    """The ids of all segments of these."""
    events: int = 0
    """How many events they had."""
    copies: int = 0
    """How many copies of their events were taken out of conversations that were forked from them."""
    accounts: int = 0
    """How many accounts of what the user spent were deleted."""
    unreached: tuple[str, ...] = ()
    """Where copies may be left that the store cannot reach, in words."""
    is_dry_run: bool = False
    """Whether this only says what would be erased."""

    def followed_by(self, other: ErasureReceipt) -> ErasureReceipt:
        """One receipt for two erasures, one after the other."""
        return replace(
            other,
            started_at=self.started_at,
            conversations=self.conversations + other.conversations,
            sessions=self.sessions + other.sessions,
            events=self.events + other.events,
            copies=self.copies + other.copies,
            accounts=self.accounts + other.accounts,
        )

    def as_dict(self) -> dict[str, Any]:
        """The receipt as JSON values, to be kept."""
        values = asdict(self)
        times = {name: values[name].isoformat() for name in ("started_at", "finished_at")}
        lists = {name: list(values[name]) for name in ("conversations", "sessions", "unreached")}
        return values | times | lists


@dataclass(frozen=True, slots=True)
class Erased:
    """A conversation that a store erased."""

    session_ids: Sequence[str]
    events: int
    copies: int = 0
    """How many copies of its events were taken out of others in the same step."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What lay beside a user's sessions, and was deleted."""

    accounts: int = 0
    sessions: Sequence[str] = ()
    """Other sessions of the user, which no list has."""
    unreached: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Shared:
    """A conversation's state and properties, which its forks began with."""

    state: dict[str, Any]
    properties: dict[str, Any]

    def take_out(self, fork: Session[Any]) -> None:
        """Take out of a fork what it still has in common with the conversation, but whose it is and how."""
        for mine, theirs in ((self.state, fork.state), (self.properties, fork.metadata.properties)):
            for name in [name for name, value in theirs.items() if name in mine and mine[name] == value]:
                if name not in _OWN:
                    del theirs[name]


@dataclass(slots=True)
class Tally:
    """What one call has erased so far."""

    started_at: datetime = field(default_factory=utc_now)
    user_id: str | None = None
    conversations: dict[str, None] = field(default_factory=dict)
    sessions: dict[str, None] = field(default_factory=dict)
    events: int = 0
    copies: int = 0
    accounts: int = 0

    def add(self, erased: Erased) -> None:
        """Count a conversation."""
        self.conversations[erased.session_ids[0]] = None
        self.sessions |= dict.fromkeys(erased.session_ids)
        self.events += erased.events
        self.copies += erased.copies

    def receipt(self, unreached: Iterable[str] = (), *, is_dry_run: bool = False) -> ErasureReceipt:
        """What is told of it."""
        return ErasureReceipt(
            self.started_at,
            utc_now(),
            self.user_id,
            tuple(self.conversations),
            tuple(self.sessions),
            self.events,
            self.copies,
            self.accounts,
            tuple(unreached),
            is_dry_run,
        )
