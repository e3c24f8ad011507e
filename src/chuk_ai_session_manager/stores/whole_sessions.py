"""An adapter for stores of applications that have only `get` and `save`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self
from weakref import WeakValueDictionary

from ..exceptions import (
    InvalidInput,
    SessionAlreadyExists,
    SessionManagerError,
    StorageError,
)
from ..models import Session
from ..models.absent_text import AbsentText
from ..models.event_page import EventPage, LogState
from ..models.family import enter_with_parent
from ..models.guard import guard
from ..models.session import next_segment_id
from ..models.storing import record_and_save
from ..models.turns import Turns
from .base import (
    AnyEvent,
    AnySession,
    EventStore,
    SessionStore,
    change_stored,
    check_page_size,
    take_over,
)
from .erasing import rewrite_whole
from .receipts import BACKUPS
from .walking import read_log_states, walked_events, walked_segment_ids


class WholeSessionStore:
    """Makes a store with only `get` and `save` usable for sessions.

    Writes happen one after the other, however many managers share the store, in whatever threads and
    event loops. The adapter cannot keep out other processes, nor distinguish a deleted session from one that
    the store does not find: for that, use an `EventStore`.
    """

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._writing = Turns()

    async def get(self, session_id: str) -> AnySession | None:
        """Return the stored session, bound to this adapter."""
        with _wrapped_errors(f"read session {session_id}"):
            session = await self._store.get(session_id)
        if isinstance(session, Session):
            session.bind(self)
        return session

    async def head(self, session_id: str) -> AnySession | None:
        """Return the stored session: there is no way to read less of it."""
        return await self.get(session_id)

    async def latest(
        self,
        session: AnySession,
        *,
        with_events: bool = True,  # noqa: ARG002  (the whole session is read in any case)
    ) -> AnySession | None:
        """Return the session as it is stored now, or this object if the store does not find it."""
        stored = await self.get(session.id)
        found = isinstance(stored, Session) and stored.id == session.id  # a stand-in may return anything
        return stored if found else session

    async def newest_events(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """Return the newest events of the session: there is no way to read less than the whole."""
        check_page_size(limit)
        stored = await self.latest(session)
        if stored is None:
            return None
        return EventPage.at_end_of(stored.events, before=before, limit=limit, tokens=tokens)

    newest_outlines = newest_events

    async def texts_of(self, absent: Iterable[AbsentText]) -> Mapping[AbsentText, str]:  # noqa: ARG002  (none)
        """Nothing: whole sessions have all of their bytes."""
        return {}

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[AnyEvent]:
        """Return events of the conversation, by reading its segments one after the other."""
        return await walked_events(session_id, event_ids, self)

    async def segment_ids(self, session_id: str) -> list[str]:
        """Return the ids of the conversation's segments, by reading them one after the other."""
        return await walked_segment_ids(session_id, self)

    async def last_segment_id(self, session_id: str) -> str | None:
        """Return the id of the last segment."""
        return next(iter((await self.segment_ids(session_id))[-1:]), None)

    async def log_states(self, session_id: str) -> list[LogState]:
        """How far the logs of the conversation's segments have come, by reading the segments."""
        return await read_log_states(session_id, self)

    async def save(self, session: AnySession) -> None:
        """Store the whole session."""
        with _wrapped_errors(f"save session {session.id}"):
            await self._store.save(session)
        session.bind(self)

    async def create(self, session: AnySession) -> None:
        """Store a new session, unless its id is taken, and enter it as a child of its parent."""
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
        """Do nothing: every append saves the whole session."""

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change the stored session, and this object."""
        async with self._writing.turn():
            await change_stored(self, session, change)

    async def rewrite_events(
        self,
        session_id: str,
        change: Callable[[AnyEvent], AnyEvent | None],
        *,
        with_state: bool = False,
    ) -> int:
        """Change stored events for good, or take them out."""
        async with self._writing.turn():
            return await rewrite_whole(self, session_id, change, with_state=with_state)

    async def forks_of(self, conversation_id: str) -> AsyncIterator[str]:  # noqa: ARG002  (nobody can list them)
        """No conversations: a store with only `get` and `save` cannot say which began with this one."""
        none: tuple[str, ...] = ()
        for each in none:
            yield each

    async def scrub(self) -> list[str]:
        """What the application's own store keeps besides, nobody here knows."""
        return ["forks, and whatever else the application's store keeps of what was replaced", BACKUPS]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The store itself: copying a session must not copy its store."""
        return self

    async def append(
        self, session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
    ) -> bool:
        """Add the events to the stored session, and store the whole session, or nothing."""
        async with self._writing.turn():
            stored = await self.get(session.id)
            if not isinstance(stored, Session) or stored is session:
                # The live object itself; or a store that does not find what it was given to save.
                is_closed = only_if_current and session.is_closed and session.check_new(events)
                if is_closed and await self._goes_on_after(session):
                    return False
                await record_and_save(session, self, events)
                return True
            if only_if_current and not _is_current(session, stored, events):
                return False
            stored.record(*events)
            await self.save(stored)
            session.catch_up(stored)
            return True

    async def append_while_live(self, session: AnySession, events: Sequence[AnyEvent]) -> bool:
        """Add the events, unless the stored session has others."""
        return await self.append(session, events, only_if_current=True)

    async def _goes_on_after(self, session: AnySession) -> bool:
        return isinstance(await self.get(next_segment_id(session.id)), Session)


def _is_current(session: AnySession, stored: AnySession, events: Sequence[AnyEvent]) -> bool:
    """Whether the stored session has no event and no child that `session` and `events` do not have."""
    known = {event.id for event in (*session.events, *events)}
    return stored.child_ids == session.child_ids and all(event.id in known for event in stored.events)


@contextmanager
def _wrapped_errors(action: str) -> Iterator[None]:
    """Turn a store's own errors into `StorageError`, with the error as the cause."""
    try:
        yield
    except SessionManagerError:
        raise
    except Exception as problem:  # an application's store may raise anything
        # Without the error's text, which may quote the data.
        raise StorageError(
            f"The store could not {action} ({type(problem).__name__}); the cause says how"
        ) from problem


# The adapters in use, by the `id()` of their stores, so that all users of one store take turns.
_adapters: WeakValueDictionary[int, WholeSessionStore] = WeakValueDictionary()


def check_store(store: object, operation: str) -> None:
    """Check that an object is a store: at least, that it has `get`. `None` is the default store.

    Raises:
        InvalidInput: it has not.
    """
    is_class = isinstance(store, type)
    if store is not None and (is_class or not callable(getattr(store, "get", None))):
        kind = store.__name__ if isinstance(store, type) else type(store).__name__
        reason = f"store must be a store, not {kind}: open_store(url) opens one"
        raise InvalidInput(operation, reason)


def store_of_sessions(store: SessionStore) -> EventStore | WholeSessionStore:
    """A store in the form that sessions need: unchanged if it appends, or else with an adapter.

    Raises:
        InvalidInput: it is no store.
    """
    if isinstance(store, EventStore):
        return store
    check_store(store, "use a store")
    with guard:
        adapter = _adapters.get(id(store))
        if adapter is None:
            adapter = _adapters[id(store)] = WholeSessionStore(store)
    return adapter
