"""What a session needs of its store, and the slot for the default store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from .absent_text import AbsentText
from .event_page import EventPage, LogState
from .session_event import SessionEvent

if TYPE_CHECKING:
    from .session import Session


class HomeStore(Protocol):
    """The methods of its store that a session uses."""

    async def get(self, session_id: str) -> Session[Any] | None:
        """Return the session, or `None` if it does not exist."""

    async def head(self, session_id: str) -> Session[Any] | None:
        """Return the session without its earlier events, or `None` if it does not exist."""

    async def latest(self, session: Session[Any], *, with_events: bool = True) -> Session[Any] | None:
        """Return the session as it is stored now, or `None` if it is gone."""

    async def newest_events(
        self,
        session: Session[Any],
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """Return the newest stored events, or the newest before a number; `None` means: look again."""

    async def newest_outlines(
        self,
        session: Session[Any],
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """Return the same; an `AbsentText` may stand for the bytes of images, audio and files."""

    async def texts_of(self, absent: Iterable[AbsentText]) -> Mapping[AbsentText, str]:
        """Read the bytes for which texts stand; those that were deleted meanwhile are left out."""

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[SessionEvent[Any]]:
        """Return events of a session's conversation, whichever segments they are in."""

    async def segment_ids(self, session_id: str) -> list[str]:
        """Return the ids of all segments of a session's conversation, the first one first."""

    async def last_segment_id(self, session_id: str) -> str | None:
        """Return the id of the last of these segments, or `None` if the session does not exist."""

    async def log_states(self, session_id: str) -> list[LogState]:
        """How far the logs of all segments of a session's conversation have come, the first one first."""

    async def save(self, session: Session[Any]) -> None:
        """Store the session as it is now."""

    async def create(self, session: Session[Any]) -> None:
        """Store a session, whose id must be free, and enter it as its parent's child."""

    async def create_next(self, session: Session[Any], before: Session[Any]) -> bool:
        """Store the segment after `before`, with its state and properties, unless `before` was written to."""

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        """Store events at the session's end, and add them to `session`."""

    async def append_while_live(self, session: Session[Any], events: Sequence[SessionEvent[Any]]) -> bool:
        """Store events at the session's end, unless another segment follows it."""

    async def save_header(self, session: Session[Any]) -> None:
        """Store the application's changes of a session other than its events, if there are any."""

    async def update(self, session: Session[Any], change: Callable[[Session[Any]], None]) -> None:
        """Change a session except its events, both the stored session and this object."""


def default_store() -> HomeStore:
    """The store of sessions that did not come from a store."""
    return _default_store()


def _first_default_store() -> HomeStore:
    import_module(f"{__package__}.session_storage".replace(".models", ""))  # this fills the slot
    return _default_store()


# The only slot for the default store. `session_storage` fills it: the models know no store class.
_default_store: Callable[[], HomeStore] = _first_default_store


def set_default_store(store: Callable[[], HomeStore]) -> None:
    """Set the default store of sessions that did not come from a store; `store` is called for each use."""
    global _default_store  # noqa: PLW0603  (the slot)
    _default_store = store
