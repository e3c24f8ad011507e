"""What a session needs of the store that it lives in, and the slot for the default store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from .event_page import EventPage
from .session_event import SessionEvent

if TYPE_CHECKING:
    from .session import Session


class HomeStore(Protocol):
    """What a session needs of the store that it lives in."""

    async def get(self, session_id: str) -> Session[Any] | None:
        """The session, or `None` where there is none."""

    async def head(self, session_id: str) -> Session[Any] | None:
        """The session without the events that it has so far, or `None` where there is none."""

    async def latest(self, session: Session[Any], *, with_events: bool = True) -> Session[Any] | None:
        """The session as it is stored now, or `None` where it is gone."""

    async def newest_events(
        self,
        session: Session[Any],
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """The newest stored events of a session, or the newest before a number; `None` to look anew."""

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[SessionEvent[Any]]:
        """Events of a session's conversation, in whichever of its segments they are."""

    async def segment_ids(self, session_id: str) -> list[str]:
        """The ids of all segments of a session's conversation, the first one first."""

    async def last_segment_id(self, session_id: str) -> str | None:
        """The id of the last of them, or `None` where there is no such session."""

    async def save(self, session: Session[Any]) -> None:
        """Store the session as it is now."""

    async def create(self, session: Session[Any]) -> None:
        """Store a session under an id that must be free, and enter it with its parent."""

    async def create_next(self, session: Session[Any], before: Session[Any]) -> bool:
        """Store the segment after another, with its state and properties, unless that was written to."""

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        """Store events at the session's end, and add them to `session`."""

    async def save_header(self, session: Session[Any]) -> None:
        """Store what the application changed of a session besides its events, if it did."""

    async def update(self, session: Session[Any], change: Callable[[Session[Any]], None]) -> None:
        """Change what a session is besides its events, as it is stored and as it is here."""


def default_store() -> HomeStore:
    """The store of sessions that no store has handed out."""
    return _default_store()


def _first_default_store() -> HomeStore:
    import_module(f"{__package__}.session_storage".replace(".models", ""))  # which fills the slot
    return _default_store()


# The one slot for the default store, filled by `session_storage`: models know no store class.
_default_store: Callable[[], HomeStore] = _first_default_store


def set_default_store(store: Callable[[], HomeStore]) -> None:
    """Say where sessions live that no store has handed out; `store` is called anew at each use."""
    global _default_store  # noqa: PLW0603  (the slot)
    _default_store = store
