"""Stores of applications that have only `get` and `save`, made to do what sessions ask of their store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self
from weakref import WeakValueDictionary

from ..exceptions import (
    SessionAlreadyExists,
    SessionManagerError,
    StorageError,
)
from ..models import Session
from ..models.event_page import EventPage
from ..models.guard import guard
from ..models.session import enter_with_parent
from .base import (
    AnyEvent,
    AnySession,
    EventStore,
    SessionStore,
    change_stored,
    check_page_size,
    take_over,
    walked_events,
    walked_segment_ids,
)
from .turns import Turns


class WholeSessionStore:
    """A store with only `get` and `save`, made to do what sessions ask of their store.

    Writes go one after the other here, however many managers share the store, in whatever threads and
    event loops. It has no way to keep out other processes, nor to tell a deleted session from one that the
    store does not find: for those, use an `EventStore`.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._writing = Turns()

    async def get(self, session_id: str) -> AnySession | None:
        """The stored session, living here from now on."""
        with _wrapped_errors(f"read session {session_id}"):
            session = await self._store.get(session_id)
        if isinstance(session, Session):
            session.bind(self)
        return session

    async def head(self, session_id: str) -> AnySession | None:
        """The stored session: there is no way to read less of it."""
        return await self.get(session_id)

    async def latest(
        self,
        session: AnySession,
        *,
        with_events: bool = True,  # noqa: ARG002  (there is only the whole)
    ) -> AnySession | None:
        """The session as it is stored now, or, where the store does not find it, as it is here."""
        stored = await self.get(session.id)
        found = isinstance(stored, Session) and stored.id == session.id  # a stand-in may answer anything
        return stored if found else session

    async def newest_events(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """The newest events of the session: there is no way to read less than the whole."""
        check_page_size(limit)
        stored = await self.latest(session)
        if stored is None:
            return None
        return EventPage.at_end_of(stored.events, before=before, limit=limit, tokens=tokens)

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[AnyEvent]:
        """Events of the conversation, by reading its segments one after the other."""
        return await walked_events(session_id, event_ids, self)

    async def segment_ids(self, session_id: str) -> list[str]:
        """The ids of the conversation's segments, by reading them one after the other."""
        return await walked_segment_ids(session_id, self)

    async def last_segment_id(self, session_id: str) -> str | None:
        """The id of the last of them."""
        return next(iter((await self.segment_ids(session_id))[-1:]), None)

    async def save(self, session: AnySession) -> None:
        """Store the whole session."""
        with _wrapped_errors(f"save session {session.id}"):
            await self._store.save(session)
        session.bind(self)

    async def create(self, session: AnySession) -> None:
        """Store a new session, unless its id is taken, and enter it with its parent."""
        async with self._writing.turn():
            if isinstance(await self.get(session.id), Session):
                raise SessionAlreadyExists(session.id)
            await self.save(session)
        await enter_with_parent(session, self)

    async def create_next(self, session: AnySession, before: AnySession) -> bool:
        """Store the segment after another, with its state and properties as they are stored now."""
        async with self._writing.turn():
            if isinstance(await self.get(session.id), Session):
                raise SessionAlreadyExists(session.id)
            stored = await self.get(before.id)
            take_over(session, stored if isinstance(stored, Session) else before)
            await self.save(session)
        await enter_with_parent(session, self)
        return True

    async def save_header(self, session: AnySession) -> None:
        """Nothing more to do: every append saves the whole session."""

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change the session as it is stored, and here."""
        async with self._writing.turn():
            await change_stored(self, session, change)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: who copies a session does not mean the store that it lives in."""
        return self

    async def append(
        self, session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
    ) -> bool:
        """Add the events to the session as it is stored, and store the whole of it, or nothing."""
        async with self._writing.turn():
            stored = await self.get(session.id)
            if not isinstance(stored, Session) or stored is session:
                # The live object itself; or a store that does not find what it was given.
                await session.record_and_save(self, *events)
                return True
            if only_if_current and not _is_current(session, stored, events):
                return False
            stored.record(*events)
            await self.save(stored)
            session.catch_up(stored)
            return True


def _is_current(session: AnySession, stored: AnySession, events: Sequence[AnyEvent]) -> bool:
    """Whether nobody else wrote to what is stored: no event, and no child, that `session` does not know."""
    known = {event.id for event in (*session.events, *events)}
    return stored.child_ids == session.child_ids and all(event.id in known for event in stored.events)


@contextmanager
def _wrapped_errors(action: str) -> Iterator[None]:
    """Let a store's own errors arrive as `StorageError`, caused by them."""
    try:
        yield
    except SessionManagerError:
        raise
    except Exception as problem:
        # Not what it says, which may quote what was to be stored.
        raise StorageError(
            f"The store could not {action} ({type(problem).__name__}); the cause says how"
        ) from problem


# The adapters in use by their stores' `id()`, so that all who use one store take turns.
_adapters: WeakValueDictionary[int, WholeSessionStore] = WeakValueDictionary()


def store_of_sessions(store: SessionStore) -> EventStore | WholeSessionStore:
    """A store as sessions need it: as it is if it appends, else saving whole sessions."""
    if isinstance(store, EventStore):
        return store
    with guard:
        adapter = _adapters.get(id(store))
        if adapter is None:
            adapter = _adapters[id(store)] = WholeSessionStore(store)
    return adapter
