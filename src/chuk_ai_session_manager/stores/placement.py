"""The places of a memory store's sessions in lists."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ..models.record import JUST_NOW, is_before, utc_now
from .base import AnySession
from .recency import MICROSECONDS_OF_NOW, NOW, microseconds_of, now, place_of

# In microseconds, how long `_recent` is good for.
_SPAN = 10_000_000


class Placement:
    """Sorts the sessions by the time of their newest message (see `recency`); each has a place of its own."""

    __slots__ = ("_is_sorted", "_last", "_newest", "_placed", "_recent", "_recent_until")

    def __init__(self) -> None:
        # Each session's place, and how many events it had then. The last entry is the newest, unless
        # `_is_sorted` says that a session with older messages was added.
        self._placed: dict[str, tuple[int, int]] = {}
        self._newest = 0
        self._last = ""
        """The session that is the last entry, if that is known."""
        self._is_sorted = True
        # Until the clock shows `_recent_until`, messages since `_recent` are of the last minute. To compare
        # two times takes a tenth of the time of converting one.
        self._recent, self._recent_until = utc_now(), 0

    def place_said(self, session: AnySession, session_id: str, said: datetime) -> None:
        """Place a session whose newest message is of this time."""
        top = now()
        if top > self._recent_until:
            self._recent_until, self._recent = (
                top + _SPAN,
                utc_now() - JUST_NOW + timedelta(microseconds=_SPAN),
            )
        if is_before(said, self._recent) and microseconds_of(said) < top - MICROSECONDS_OF_NOW:
            self._place(session, microseconds_of(said), top)
            return
        newest = self._newest
        if top <= newest:
            top = newest + 1
        if session_id != self._last:
            self._placed.pop(session_id, None)
            self._last = session_id
        self._newest = top
        self._placed[session_id] = top, len(session.events)

    def place_saved(self, session: AnySession) -> bool:
        """Place a session that is saved, and return whether it is new or has new events.

        A session without new events keeps its place.
        """
        newest, placed = session.newest_event_time, self._placed.get(session.id)
        if placed is None and newest is not None:
            # As with imports, whose messages may be of any time.
            self._place(session, microseconds_of(newest), now())
        elif placed is None:
            made = session.metadata.created_at if session.metadata else None
            self._place(session, NOW if made is None else place_of(microseconds_of(made)), now())
        elif newest is not None and len(session.events) > placed[1]:
            self._place(session, place_of(microseconds_of(newest)), now())
        else:
            return False
        return True

    def _place(self, session: AnySession, place: int, on_top: int) -> None:
        self._last = ""
        placed, had = self._placed.pop(session.id, (0, 0))
        if on_top <= self._newest:
            on_top = self._newest + 1
        if place == NOW or place > on_top:
            place = on_top
        elif had and place < placed:
            place = placed
        if place > self._newest:
            self._newest = place
        else:
            self._is_sorted = False
        self._placed[session.id] = place, len(session.events)

    def remove(self, session_id: str) -> None:
        """Remove a session, if it is there."""
        self._placed.pop(session_id, None)

    def newest_first(self) -> Iterator[tuple[int, str]]:
        """Yield the places and ids of all sessions."""
        if not self._is_sorted:
            self._placed = dict(sorted(self._placed.items(), key=lambda item: (item[1][0], item[0])))
            self._is_sorted, self._last = True, ""
        return ((place, session_id) for session_id, (place, _) in reversed(self._placed.items()))
