"""What a store is.

A store of your own needs `get` and `save` (`SessionStore`); every append then saves the whole
session. A store that can append in the time of one event says so by subclassing `EventStore`.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol, Self, TypeAlias

from ..exceptions import (
    InvalidInput,
    InvalidSessionOperation,
    session_not_found,
)
from ..exceptions.validation import check_count, copied
from ..models import Session, SessionEvent
from ..models.event_page import EventPage
from ..models.home import HomeStore
from ..models.session import next_segment_id
from .durability import DurabilityReport

AnySession: TypeAlias = "Session[Any]"
AnyEvent: TypeAlias = "SessionEvent[Any]"


class SessionStore(Protocol):
    """The least a store does. `delete` and `list_sessions` are welcome too."""

    async def get(self, session_id: str) -> AnySession | None:
        """The stored session, or `None` where there is none; raises when it cannot tell."""

    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now, in place of what was stored under its id."""


# Of a cursor's count: what fits into 64 bits.
_MOST_DIGITS = 18

DEFAULT_SANDBOX_ID = "chuk-ai-session-manager"
"""The tenant where nobody named one."""


class StoreDefault(float):
    """A lifetime in hours that nobody chose: a store without one of its own keeps for ever."""


DEFAULT_TTL_HOURS = StoreDefault(24)
"""As the original had it; here it slides: every append renews it. A file keeps for ever by default."""


class SessionPage(list[str]):
    """Session ids, newest first, and the cursor that leads to those after them."""

    def __init__(self, ids: Iterable[str] = (), next_cursor: str | None = None) -> None:
        super().__init__(ids)
        self.next_cursor = next_cursor
        """What to give to the next call; `None` when these are the last ones."""


class RecordProvider(Protocol):
    """What chuk-sessions asks of a place for its lifecycle records."""

    async def get(self, key: str) -> str | bytes | None:
        """The record under a key."""

    async def set(self, key: str, value: str) -> object:
        """Keep a record for the usual time."""

    async def setex(self, key: str, ttl: int, value: str) -> object:
        """Keep a record for so many seconds."""

    async def delete(self, key: str) -> object:
        """Delete a record; whether it was there."""

    async def close(self) -> None:
        """Let go of what is open."""


class EventStore(ABC):
    """A store that appends: an append costs its events, not the session.

    All methods raise `StorageError` when the store cannot do it; an outage is never an absent session.
    """

    record_provider: RecordProvider | None = None
    """Where chuk-sessions' records are kept that other processes read; else they are made when asked."""

    @abstractmethod
    async def get(self, session_id: str) -> AnySession | None:
        """The stored session, carrying this store, or `None` where there is none."""

    @abstractmethod
    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now.

        What others appended to it since this object was read stays. An object that no store handed out
        replaces whatever is stored under its id.

        Raises:
            SessionNotFound: the store handed it out, and it expired or was deleted since.
        """

    @abstractmethod
    async def create(self, session: AnySession) -> None:
        """Store a new session, and enter it with its parent's children if the parent is there.

        Raises:
            SessionAlreadyExists: its id is taken; what is stored there stays as it is.
        """

    async def create_next(self, session: AnySession, before: AnySession) -> bool:
        """Store the segment after another, with the state and properties that are stored there.

        Nothing is done where `before` was written to since it was read: a change of the state that comes
        between would be lost. A store that cannot tell takes them as they are here.

        Returns:
            Whether the segment is stored; else `before` is to be read again.

        Raises:
            SessionAlreadyExists: its id is taken.
        """
        take_over(session, before)
        await self.create(session)
        return True

    @abstractmethod
    async def append(
        self, session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
    ) -> bool:
        """Store events at the end of a stored session, all or none, and add them to `session`.

        Events that `session` has only in memory (`Session.add_event`) are stored before them. An event
        that is stored already changes nothing, so that a retry never doubles.

        Args:
            session: where to, as a store handed it out.
            events: what to append.
            only_if_current: do nothing if the session was written to since `session` was read.

        Returns:
            Whether the events are stored; `False` only with `only_if_current`.

        Raises:
            SessionNotFound: the session expired or was deleted.
            EventConflict: another event is stored under one of these ids.
            InvalidInput: an event cannot be written; nothing was.
        """

    async def head(self, session_id: str) -> AnySession | None:
        """The session as far as writing to it needs: `events` may leave out those stored so far."""
        return await self.get(session_id)

    async def latest(self, session: AnySession, *, with_events: bool = True) -> AnySession | None:
        """A session as it is stored now, reading what `session` lacks; `None` where it is gone.

        `with_events=False` leaves out events that `session` does not hold yet.
        """
        return await (self.get if with_events else self.head)(session.id)

    async def newest_events(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """The newest events of a session as it is stored now; `session` itself stays as it is.

        Without `limit` and `tokens`, all of them. A store that holds long logs should read only what is
        asked for: this default reads the whole session.

        Args:
            session: which one, as a store handed it out.
            before: only events with lower numbers than this; the first event has the number 0. With the
                `first` of one page, the next call gives the page before that.
            limit: at most so many events.
            tokens: no more events than it takes to have so many content tokens (`token_usage`); at
                least one.

        Returns:
            The page; or `None` if the session is gone, or if events that `session` was read with have
            been edited or removed since, so that their numbers may have changed: `latest` tells which.

        Raises:
            InvalidInput: a limit below 1.
            UnreadableData: one of the events is damaged.
        """
        check_page_size(limit)
        stored = await self.get(session.id)
        if stored is None:
            return None
        return EventPage.at_end_of(stored.events, before=before, limit=limit, tokens=tokens)

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[AnyEvent]:
        """Events of a session's conversation, in whichever of its segments they are; none that is not there.

        It is asked for each answer that may have been recorded before, where the conversation has several
        segments. A store that holds long logs should look events up: this default reads every segment.

        Raises:
            UnreadableData: one of the events is damaged.
        """
        return await walked_events(session_id, event_ids, self)

    async def segment_ids(self, session_id: str) -> list[str]:
        """The ids of all segments of a session's conversation, the first one first.

        Those that are there; none of a session that is not.
        """
        return await walked_segment_ids(session_id, self)

    async def last_segment_id(self, session_id: str) -> str | None:
        """The id of the last of these segments, or `None` where there is no such session."""
        return next(iter((await self.segment_ids(session_id))[-1:]), None)

    async def save_header(self, session: AnySession) -> None:
        """Store what the application changed of a session besides its events, if it did."""
        await self.save(session)

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change what a session is besides its events, as it is stored and as it is here.

        In a listing, the session stays where it is.

        Raises:
            SessionNotFound: the session expired or was deleted.
        """
        if session.is_bound and await self.head(session.id) is None:
            raise session_not_found(session.id)  # expired or deleted: it does not come back
        await change_stored(self, session, change)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: who copies a session does not mean the store that it lives in."""
        return self

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Delete a session; its parents and children stay. One that is not there is no error."""

    async def delete_conversation(self, session_id: str) -> int:
        """Delete all segments of a session's conversation; how many there were."""
        ids = await self.segment_ids(session_id)
        for each in ids:
            await self.delete(each)
        return len(ids)

    @abstractmethod
    async def list_sessions(
        self,
        prefix: str = "",
        *,
        parent_id: str | None = None,
        user_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SessionPage:
        """The ids of stored sessions, the one with the newest message first, without reading what they hold.

        A message of just now puts its session on top, even where the clock was set back. A session without
        messages stands where it was made.

        Args:
            prefix: what the ids begin with.
            parent_id: only children of this session.
            user_id: only sessions with this property "user_id".
            limit: at most so many; `next_cursor` of what comes back leads on to the others.
            cursor: where an earlier page ended.

        Raises:
            InvalidInput: a limit below 1, or a cursor that no page gave.
        """

    @abstractmethod
    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Let a session, and its conversation, live so many hours longer; `False` where there is none.

        Raises:
            InvalidInput: hours below 0, or more than a hundred years.
        """

    async def time_to_live(self, session_id: str) -> float | None:
        """Seconds that a session has left if nobody writes to it: `inf` for ever, `None` if not there."""
        return None if await self.head(session_id) is None else math.inf

    async def change_account(
        self,
        name: str,  # noqa: ARG002  (of those that can)
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],  # noqa: ARG002
        *,
        hours: float | None = None,  # noqa: ARG002
    ) -> None:
        """Change a small JSON object that lies beside the sessions, with no other change in between.

        Args:
            name: which one; each sandbox has its own.
            change: makes the new object of the one that is stored, or of `None` where there is none. It may
                be called again, where another writer was faster. `None` leaves things as they are.
            hours: how long the object is kept from now on; for ever by default.

        Raises:
            InvalidInput: the store keeps no such objects.
            UnreadableData: what is stored is none.
        """
        reason = f"{type(self).__name__} keeps none: a store in memory, SQLite or Redis does"
        raise InvalidInput("keep an account of what a user spends", reason)

    async def durability_report(self) -> DurabilityReport:
        """What of acknowledged messages may be lost, and when, as the store is set up now.

        Raises:
            StorageError: the store could not say.
        """
        return DurabilityReport(type(self).__name__, "unknown: this store does not say")

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the whole store into a new file, consistently, while others go on writing.

        Raises:
            InvalidSessionOperation: this store has no file that can be copied; or the path is taken.
            StorageError: the store could not do it.
        """
        reason = (
            f"{type(self).__name__} has no file that can be copied to {os.fspath(path)!r}. Use the "
            "database's own means (in Redis BGSAVE), or `chuk-ai-sessions export --all`"
        )
        raise InvalidSessionOperation("back up a store", reason)

    async def server_version(self) -> str | None:
        """The version of the database behind the store; `None` where there is none.

        Raises:
            StorageError: the store could not say.
        """
        return None

    @abstractmethod
    def get_stats(self) -> dict[str, Any]:
        """The store in figures that are at hand without asking a server; no addresses or passwords."""

    async def close(self) -> None:  # noqa: B027  (many have nothing to let go of)
        """Let go of connections and files; the next use opens them again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def take_over(session: AnySession, before: AnySession) -> None:
    """Let a new segment begin with the state and properties of the one before."""
    session.state = copied(before.state)
    session.metadata.properties = copied(before.metadata.properties)


def is_segment_after(session: AnySession, parent_id: str | None) -> bool:
    """Whether a session continues another one's conversation, being not merely its child."""
    return bool(parent_id) and session.id == next_segment_id(parent_id or "")


async def walked_segment_ids(session_id: str, store: HomeStore) -> list[str]:
    """The ids of a conversation's segments, by reading the segments one after the other."""

    async def there(wanted: str) -> AnySession | None:
        session = await store.head(wanted)
        # A stand-in for a store may answer anything.
        return session if isinstance(session, Session) and session.id == wanted else None

    session = await there(session_id)
    ids: list[str] = []
    while session is not None and session.id not in ids:
        ids.insert(0, session.id)
        parent_id = session.parent_id or ""
        session = await there(parent_id) if is_segment_after(session, parent_id) else None
    while ids and await there(following := next_segment_id(ids[-1])):
        ids.append(following)
    return ids


async def walked_events(session_id: str, event_ids: Sequence[str], store: HomeStore) -> list[AnyEvent]:
    """Events of a conversation by their ids, by reading its segments one after the other."""
    found: dict[str, AnyEvent] = {}
    for each in await store.segment_ids(session_id):
        segment = await store.get(each)
        if isinstance(segment, Session):  # a stand-in for a store may answer anything
            events = map(segment.event, event_ids)
            found |= {event.id: event for event in events if event is not None}
    return list(found.values())


def cursor_at(written: int, session_id: str) -> str:
    """The cursor behind a session in a listing: its place there, as the store counts, and its id."""
    return f"{written}:{session_id}"


def position_of(cursor: str) -> tuple[int, str]:
    """Where a cursor stands.

    Raises:
        InvalidInput: no page gave this one.
    """
    written, colon, session_id = cursor.partition(":")
    if not (colon and written.isdecimal() and len(written) <= _MOST_DIGITS):
        raise InvalidInput("list sessions", "the cursor is none: use `next_cursor` of the page before")
    return int(written), session_id


def check_page(limit: int | None, cursor: str | None) -> tuple[int, str] | None:
    """Refuse a limit below 1; where the cursor stands, if there is one.

    Raises:
        InvalidInput: saying which of the two cannot be right.
    """
    if limit is not None:
        check_count(limit, 1, "limit", "list sessions")
    return None if cursor is None else position_of(cursor)


def check_page_size(limit: int | None) -> None:
    """Refuse a page of events that could hold none.

    Raises:
        InvalidInput: the limit is below 1.
    """
    if limit is not None:
        check_count(limit, 1, "limit", "read events")


def page_of(rows: Iterable[tuple[int, str]], limit: int | None) -> SessionPage:
    """The first page of rows of sessions' places and ids, newest first."""
    found = list(islice(rows, None if limit is None else limit + 1))
    page = found[:limit]
    return SessionPage(
        (session_id for _, session_id in page), cursor_at(*page[-1]) if len(found) > len(page) else None
    )


async def change_stored(store: HomeStore, session: AnySession, change: Callable[[AnySession], None]) -> None:
    """Change a session as it is stored, and the object that stands for it here."""
    stored = await store.get(session.id)
    if not isinstance(stored, Session) or stored is session:
        change(session)
        await store.save(session)
        return
    change(stored)
    await store.save(stored)
    change(session)
    session.catch_up(stored)
