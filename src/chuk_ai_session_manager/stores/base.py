"""The interface of a store.

A store of your own needs only `get` and `save` (`SessionStore`); every append then saves the whole
session. A store whose appends cost only their events subclasses `EventStore`.
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, Self, TypeAlias

from ..exceptions import (
    InvalidInput,
    InvalidSessionOperation,
    session_not_found,
)
from ..exceptions.validation import check_count, copied
from ..models import Session, SessionEvent
from ..models.absent_text import AbsentText
from ..models.event_page import EventPage, LogState
from ..models.home import HomeStore
from .durability import DurabilityReport
from .erasing import Erasing
from .redaction import RedactHook
from .walking import read_log_states, walked_events, walked_segment_ids

AnySession: TypeAlias = "Session[Any]"
AnyEvent: TypeAlias = "SessionEvent[Any]"


class SessionStore(Protocol):
    """The least that a store must do. It may also have `delete` and `list_sessions`."""

    async def get(self, session_id: str) -> AnySession | None:
        """Return the stored session, or `None` if it does not exist; raise if that is not known."""

    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now, and replace what was stored under its id."""


# The limit of the number in a cursor: 64 bits.
_MOST_DIGITS = 18

DEFAULT_SANDBOX_ID = "chuk-ai-session-manager"
"""The tenant, if nobody names one."""


class StoreDefault(float):
    """A default lifetime in hours. A store without an own default keeps sessions for ever instead."""


DEFAULT_TTL_HOURS = StoreDefault(24)
"""The original's default, renewed here by every append. By default, sessions in a file never expire."""


class SessionPage(list[str]):
    """Session ids, newest first, and the cursor for the next page."""

    def __init__(self, ids: Iterable[str] = (), next_cursor: str | None = None) -> None:
        super().__init__(ids)
        self.next_cursor = next_cursor
        """The cursor to pass to the next call; `None` on the last page."""


class RecordProvider(Protocol):
    """What chuk-sessions needs of a place for its lifecycle records."""

    async def get(self, key: str) -> str | bytes | None:
        """Return the record under a key."""

    async def set(self, key: str, value: str) -> object:
        """Store a record for the usual time."""

    async def setex(self, key: str, ttl: int, value: str) -> object:
        """Store a record for so many seconds."""

    async def delete(self, key: str) -> object:
        """Delete a record; return whether it existed."""

    async def close(self) -> None:
        """Close what is open."""


class EventStore(Erasing):
    """A store that appends: the cost of an append depends on its events, not on the session.

    All methods raise `StorageError` if the store fails; an outage never looks like an absent session.
    """

    record_provider: RecordProvider | None = None
    """The place of chuk-sessions' records, if other processes read them; else they are made on request."""

    redact: RedactHook | None = None
    """Gets each text of an event before it is written, and gives the text to store; see `open_store`."""

    @abstractmethod
    async def get(self, session_id: str) -> AnySession | None:
        """Return the stored session, which refers to this store, or `None` if it does not exist."""

    @abstractmethod
    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now.

        Events that others appended since this object was read are kept. An object that did not come from
        a store replaces the session stored under its id.

        Raises:
            SessionNotFound: the object came from this store, and the session expired or was deleted since.
        """

    @abstractmethod
    async def create(self, session: AnySession) -> None:
        """Store a new session, and enter it as a child of its parent if the parent exists.

        Raises:
            SessionAlreadyExists: its id is taken; the stored session is not changed.
        """

    async def create_next(self, session: AnySession, before: AnySession) -> bool:
        """Store the segment after `before`, with the state and properties that are stored there.

        If `before` was written to since it was read, nothing is done: otherwise, a change of the state in
        between would be lost. A store that cannot tell uses the state and properties of `before`.

        Returns:
            Whether the segment is stored; if not, read `before` again.

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
        that is stored already changes nothing, so that a retry never doubles an event.

        Args:
            session: the session, as it came from a store.
            events: the events to append.
            only_if_current: do nothing if the session was written to since `session` was read.

        Returns:
            Whether the events are stored; `False` only with `only_if_current`.

        Raises:
            SessionNotFound: the session expired or was deleted.
            EventConflict: another event is stored with one of these ids.
            InvalidInput: an event cannot be stored; nothing was written.
        """

    async def append_while_live(self, session: AnySession, events: Sequence[AnyEvent]) -> bool:
        """Store events like `append`, unless another segment follows the session.

        This is called for sessions to which others write too. A store should look for the next segment, so
        that it need not be tried again for each of their events: this default does nothing if the session was
        written to since `session` was read.

        Returns:
            Whether the events are stored; if not, read the session again.

        Raises:
            SessionNotFound, EventConflict, InvalidInput: as for `append`.
        """
        return await self.append(session, events, only_if_current=True)

    async def head(self, session_id: str) -> AnySession | None:
        """Return the session as far as writing to it needs; `events` may lack stored events."""
        return await self.get(session_id)

    async def latest(self, session: AnySession, *, with_events: bool = True) -> AnySession | None:
        """Return a session as it is stored now, reading only what `session` lacks; `None` if it is gone.

        `with_events=False` leaves out events that `session` does not have yet.
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
        """Return the newest events of a session as it is stored now, without changing `session`.

        Without `limit` and `tokens`, return all of them. A store that holds long logs should read only what
        is asked for: this default reads the whole session.

        Args:
            session: the session, as it came from a store.
            before: only events with lower numbers than this; the first event has the number 0. To get the
                page before another one, pass that page's `first`.
            limit: at most so many events.
            tokens: only as many events as are needed for so many content tokens (`token_usage`), but at
                least one.

        Returns:
            The page; or `None` if the session is gone, or if events that `session` was read with were
            edited or removed since, so that their numbers may have changed: `latest` tells which.

        Raises:
            InvalidInput: a limit is below 1.
            UnreadableData: one of the events is damaged.
        """
        check_page_size(limit)
        stored = await self.get(session.id)
        if stored is None:
            return None
        return EventPage.at_end_of(stored.events, before=before, limit=limit, tokens=tokens)

    async def newest_outlines(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """Return the same, for a caller that may not need the bytes of images, audio and files.

        In place of them, a store that keeps bytes apart from events may put an `AbsentText`, which `texts_of`
        reads. This default does not.
        """
        return await self.newest_events(session, before=before, limit=limit, tokens=tokens)

    async def texts_of(self, absent: Iterable[AbsentText]) -> Mapping[AbsentText, str]:  # noqa: ARG002
        """Read the texts for which others stand in events; those that were deleted meanwhile are left out."""
        return {}

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[AnyEvent]:
        """Return events of a session's conversation, whichever segments they are in; skip unknown ids.

        This is called for each answer that may have been recorded before, if the conversation has several
        segments. A store that holds long logs should look up the events: this default reads every segment.

        Raises:
            UnreadableData: one of the events is damaged.
        """
        return await walked_events(session_id, event_ids, self)

    async def segment_ids(self, session_id: str) -> list[str]:
        """Return the ids of all existing segments of a session's conversation, the first one first.

        If the session does not exist, the list is empty.
        """
        return await walked_segment_ids(session_id, self)

    async def last_segment_id(self, session_id: str) -> str | None:
        """Return the id of the last of these segments, or `None` if the session does not exist."""
        return next(iter((await self.segment_ids(session_id))[-1:]), None)

    async def log_states(self, session_id: str) -> list[LogState]:
        """How far the logs of all segments of a session's conversation have come, the first one first.

        Those that are there; none of a session that is not. A store should read only these figures: this
        default reads the sessions, and cannot tell where events were edited.
        """
        return await read_log_states(session_id, self)

    async def save_header(self, session: AnySession) -> None:
        """Store the application's changes of a session other than its events, if there are any."""
        await self.save(session)

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change a session except its events, both the stored session and this object.

        The session keeps its place in listings.

        Raises:
            SessionNotFound: the session expired or was deleted.
        """
        if session.is_bound and await self.head(session.id) is None:
            raise session_not_found(session.id)  # expired or deleted: it must not come back
        await change_stored(self, session, change)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The store itself: copying a session must not copy its store."""
        return self

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Delete a session, but not its parents and children. If it does not exist, do nothing."""

    async def delete_conversation(self, session_id: str) -> int:
        """Delete all segments of a session's conversation; return their number."""
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
        """Return the ids of stored sessions, the one with the newest message first; events are not read.

        A session with a new message comes first, even if the clock was set back. A session without
        messages is sorted by the time when it was created.

        Args:
            prefix: only ids that begin with this.
            parent_id: only children of this session.
            user_id: only sessions with this property "user_id".
            limit: at most so many; pass the result's `next_cursor` to the next call for more.
            cursor: the end of an earlier page.

        Raises:
            InvalidInput: the limit is below 1, or the cursor is not from a page.
        """

    @abstractmethod
    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Let a session and its conversation live so many hours longer; `False` if it does not exist.

        Raises:
            InvalidInput: the hours are below 0, or more than a hundred years.
        """

    async def time_to_live(self, session_id: str) -> float | None:
        """Return the seconds until a session expires unless it is written to: `inf` for never, or `None`."""
        return None if await self.head(session_id) is None else math.inf

    async def change_account(
        self,
        name: str,  # noqa: ARG002  (for stores that keep accounts)
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],  # noqa: ARG002
        *,
        hours: float | None = None,  # noqa: ARG002
    ) -> None:
        """Change a small JSON object beside the sessions in one step.

        Args:
            name: the object's name; each sandbox has its own objects.
            change: returns the new object for the stored one, or for `None` if there is none. It may
                be called again if another writer was faster. If it returns `None`, nothing changes.
            hours: how long the object is kept from now on; for ever by default.

        Raises:
            InvalidInput: the store keeps no such objects.
            UnreadableData: the stored object is damaged.
        """
        reason = f"{type(self).__name__} keeps no accounts: use a store in memory, SQLite or Redis"
        raise InvalidInput("keep an account of what a user spends", reason)

    async def durability_report(self) -> DurabilityReport:
        """Say what may be lost of stored messages, and when, with the store's present settings.

        Raises:
            StorageError: the store failed.
        """
        return DurabilityReport(type(self).__name__, "unknown: this store does not report it")

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the whole store into a new file, consistently, while others may write.

        Raises:
            InvalidSessionOperation: this store has no file that can be copied, or the path exists already.
            StorageError: the store failed.
        """
        reason = (
            f"{type(self).__name__} has no file that can be copied to {os.fspath(path)!r}. Use the "
            "database's own means (in Redis BGSAVE), or `chuk-ai-sessions export --all`"
        )
        raise InvalidSessionOperation("back up a store", reason)

    async def server_version(self) -> str | None:
        """Return the version of the database behind the store; `None` if there is no database.

        Raises:
            StorageError: the store failed.
        """
        return None

    @abstractmethod
    def get_stats(self) -> dict[str, Any]:
        """Return statistics that need no request to a server; without addresses and passwords."""

    async def close(self) -> None:
        """Close connections and files; the next use opens them again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def take_over(session: AnySession, before: AnySession) -> None:
    """Give a new segment the state and properties of the one before."""
    session.state = copied(before.state)
    session.metadata.properties = copied(before.metadata.properties)


def cursor_at(written: int, session_id: str) -> str:
    """The cursor after a session in a listing: the session's place there, and its id."""
    return f"{written}:{session_id}"


def position_of(cursor: str) -> tuple[int, str]:
    """The place of a cursor.

    Raises:
        InvalidInput: the cursor is not from a page.
    """
    written, colon, session_id = cursor.partition(":")
    if not (colon and written.isdecimal() and len(written) <= _MOST_DIGITS):
        raise InvalidInput("list sessions", "the cursor is invalid: use `next_cursor` of the page before")
    return int(written), session_id


def check_page(limit: int | None, cursor: str | None) -> tuple[int, str] | None:
    """Check a limit and a cursor; return the cursor's place, if there is a cursor.

    Raises:
        InvalidInput: saying which of the two is invalid.
    """
    if limit is not None:
        check_count(limit, 1, "limit", "list sessions")
    return None if cursor is None else position_of(cursor)


def check_page_size(limit: int | None) -> None:
    """Check the limit of a page of events.

    Raises:
        InvalidInput: the limit is below 1.
    """
    if limit is not None:
        check_count(limit, 1, "limit", "read events")


def page_of(rows: Iterable[tuple[int, str]], limit: int | None) -> SessionPage:
    """The first page of rows, each with a session's place and id, newest first."""
    found = list(islice(rows, None if limit is None else limit + 1))
    page = found[:limit]
    return SessionPage(
        (session_id for _, session_id in page), cursor_at(*page[-1]) if len(found) > len(page) else None
    )


async def change_stored(store: HomeStore, session: AnySession, change: Callable[[AnySession], None]) -> None:
    """Change the stored session, and this object of it."""
    stored = await store.get(session.id)
    if not isinstance(stored, Session) or stored is session:
        change(session)
        await store.save(session)
        return
    change(stored)
    await store.save(stored)
    change(session)
    session.catch_up(stored)
