"""What a store is.

A store of your own needs `get` and `save` (`SessionStore`); every append then saves the whole
session. A store that can append in the time of one event says so by subclassing `EventStore`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, Self, TypeAlias
from weakref import WeakValueDictionary

from ..exceptions import SessionAlreadyExists, SessionManagerError, StorageError, session_not_found
from ..models import Session, SessionEvent

AnySession: TypeAlias = "Session[Any]"
AnyEvent: TypeAlias = "SessionEvent[Any]"


class SessionStore(Protocol):
    """The least a store does. `delete` and `list_sessions` are welcome too."""

    async def get(self, session_id: str) -> AnySession | None:
        """The stored session, or `None` where there is none; raises when it cannot tell."""

    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now, in place of what was stored under its id."""


class EventStore(ABC):
    """A store that appends: an append costs its events, not the session.

    All methods raise `StorageError` when the store cannot do it; an outage is never an absent session.
    """

    @abstractmethod
    async def get(self, session_id: str) -> AnySession | None:
        """The stored session, carrying this store, or `None` where there is none."""

    @abstractmethod
    async def save(self, session: AnySession) -> None:
        """Store the whole session as it is now, in place of what was stored under its id."""

    @abstractmethod
    async def create(self, session: AnySession) -> None:
        """Store a new session.

        Raises:
            SessionAlreadyExists: its id is taken; what is stored there stays as it is.
        """

    @abstractmethod
    async def append(self, session: AnySession, events: Sequence[AnyEvent]) -> None:
        """Store events at the end of a stored session, all or none, and add them to `session`.

        An event that is stored already changes nothing, so that a retry never doubles.

        Raises:
            SessionNotFound: the session expired or was deleted.
            EventConflict: another event is stored under one of these ids.
        """

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change what a session is besides its events, as it is stored and as it is here.

        Raises:
            SessionNotFound: the session expired or was deleted.
        """
        if session.is_bound and await self.get(session.id) is None:
            raise session_not_found(session.id)  # expired or deleted: it does not come back
        await _change_stored(self, session, change)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: who copies a session does not mean the store that it lives in."""
        return self

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Delete a session; one that is not there is no error."""

    @abstractmethod
    async def list_sessions(self, prefix: str = "") -> list[str]:
        """The ids of the stored sessions that begin with `prefix`, the one written to last first."""

    @abstractmethod
    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Let a session, and its conversation, live so many hours longer; `False` where there is none."""

    @abstractmethod
    def get_stats(self) -> dict[str, Any]:
        """What the store holds, in figures, without its addresses or passwords."""


class WholeSessionStore:
    """A store with only `get` and `save`, made to do what sessions ask of their store.

    Writes go one after the other here, however many managers share the store, in one event loop. It has
    no way to keep out other processes, nor to tell a deleted session from one that the store does not
    find: for those, use an `EventStore`.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._writing = asyncio.Lock()

    async def get(self, session_id: str) -> AnySession | None:
        """The stored session, living here from now on."""
        with _wrapped_errors(f"read session {session_id}"):
            session = await self._store.get(session_id)
        if isinstance(session, Session):
            session.bind(self)
        return session

    async def save(self, session: AnySession) -> None:
        """Store the whole session."""
        with _wrapped_errors(f"save session {session.id}"):
            await self._store.save(session)
        session.bind(self)

    async def create(self, session: AnySession) -> None:
        """Store a new session, unless its id is taken."""
        async with self._writing:
            if isinstance(await self.get(session.id), Session):
                raise SessionAlreadyExists(session.id)
            await self.save(session)

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change the session as it is stored, and here."""
        async with self._writing:
            await _change_stored(self, session, change)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: who copies a session does not mean the store that it lives in."""
        return self

    async def append(self, session: AnySession, events: Sequence[AnyEvent]) -> None:
        """Add the events to the session as it is stored, and store the whole of it, or nothing."""
        async with self._writing:
            stored = await self.get(session.id)
            if isinstance(stored, Session) and stored is not session:
                stored.record(*events)
                await self.save(stored)
                session.catch_up(stored)
                return
            # The live object itself; or a store that does not find what it was given.
            await session.record_and_save(self, *events)


async def _change_stored(
    store: EventStore | WholeSessionStore, session: AnySession, change: Callable[[AnySession], None]
) -> None:
    stored = await store.get(session.id)
    if not isinstance(stored, Session) or stored is session:
        change(session)
        await store.save(session)
        return
    change(stored)
    await store.save(stored)
    change(session)
    session.catch_up(stored)


@contextmanager
def _wrapped_errors(action: str) -> Iterator[None]:
    """Let a store's own errors arrive as `StorageError`, caused by them."""
    try:
        yield
    except SessionManagerError:
        raise
    except Exception as problem:
        raise StorageError(f"The store could not {action}: {problem}") from problem


# The adapters in use by their stores' `id()`, so that all who use one store take turns.
_adapters: WeakValueDictionary[int, WholeSessionStore] = WeakValueDictionary()


def store_of_sessions(store: SessionStore) -> EventStore | WholeSessionStore:
    """A store as sessions need it: as it is if it appends, else saving whole sessions."""
    if isinstance(store, EventStore):
        return store
    adapter = _adapters.get(id(store))
    if adapter is None:
        adapter = _adapters[id(store)] = WholeSessionStore(store)
    return adapter
