"""A conversation in its store: finding or creating it, and its live segment."""

from __future__ import annotations

from collections.abc import Callable
from threading import local
from typing import Any

from ..exceptions import InvalidSessionOperation, SessionAlreadyExists, session_not_found
from ..models import Session, SessionMetadata
from ..models.home import HomeStore
from ..models.record import new_id, utc_now
from ..models.turns import Turns
from ..session_storage import opened_store
from ..stores import EventStore, SessionStore
from .segments import (
    Thresholds,
    create_session,
    is_of_segments,
    latest,
    live_segment,
    update_live,
    whole_chain_of,
)


class Unsaid(int):
    """The default of a threshold: a stored conversation keeps its own; a new one uses this number."""


DEFAULT_TOKEN_THRESHOLD = Unsaid(4000)
DEFAULT_MAX_TURNS = Unsaid(20)


class Conversation:
    """The session of a manager, and what is known of it.

    Args:
        store: returns the session's store; called when the session is opened.
        session_id: the session to continue; by default a new one.
        system_prompt: the first message of every context.
        parent_id: an existing session, whose child a new session becomes.
        properties: the properties of a new session.
        user_id: the session's user; without it, any user.
        create: whether writing to an unknown `session_id` creates that session.
        infinite_context: whether the conversation continues in a new segment when a segment is full. A
            conversation that was created so always does.
        thresholds: when a segment is full; a threshold that is `Unsaid` yields to the stored one.
    """

    def __init__(
        self,
        store: Callable[[], SessionStore],
        *,
        session_id: str | None,
        system_prompt: str | None,
        parent_id: str | None,
        properties: dict[str, Any],
        user_id: str | None,
        create: bool,
        infinite_context: bool,
        thresholds: Thresholds,
    ) -> None:
        self.session_id: str = session_id or new_id()
        """The id of the live segment, as far as it is known here."""
        self.id: str = self.session_id
        """The id of the first segment, once the conversation was opened."""
        self.system_prompt = system_prompt
        self.is_infinite: bool = infinite_context
        self.thresholds: Thresholds = thresholds
        self.session: Session[Any] | None = None
        """The live segment, once it was opened, as the object of the thread that used it last."""
        self.is_open: bool = False
        self.is_new: bool = session_id is None  # an id that was chosen here is not an unknown one
        self._store = store
        self._parent_id = parent_id
        self._user_id = user_id
        self._properties = properties if user_id is None else properties | {"user_id": user_id}
        self._create = create
        self._home: HomeStore
        self._was_made = False
        # A prompt that was passed here applies until it is stored; after that, the stored one applies.
        self._prompt_is_own = system_prompt is not None
        self._opening = Turns()
        # A durable store's objects are for one thread at a time, so each thread has its own `session`.
        self._here = local()

    @property
    def is_begun(self) -> bool:
        """Whether there may be something to read: not before the first use of an id that was chosen here."""
        return self.is_open or not self.is_new

    async def open_to_read(self) -> tuple[HomeStore, Session[Any]]:
        """Return the store and the live segment. A session is created only if its id was chosen here.

        Raises:
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        return await self._open(creating=self.is_new)

    @property
    def opened(self) -> tuple[HomeStore, Session[Any]] | None:
        """The store and the live segment, if this thread has opened them: `open_to_write` without waiting."""
        session: Session[Any] | None = getattr(self._here, "session", None)
        return (self._home, session) if session is not None and self.is_open else None

    async def open_to_write(self) -> tuple[HomeStore, Session[Any]]:
        """Return the store and the live segment. A missing session is created, unless `create=False`.

        Raises:
            SessionNotFound: the session does not exist, and may not be created.
            StorageError: the store failed.
        """
        return self.opened or await self._open(creating=self._create or self.is_new)

    async def current(self, *, with_events: bool = True) -> tuple[HomeStore, Session[Any]]:
        """Return the store, and the live segment as it is stored now.

        Raises:
            SessionNotFound, StorageError: as for `open_to_read`.
        """
        home, session = await self.open_to_read()
        session = await latest(session, home, with_events=with_events)
        live = await live_segment(session, home)
        if live is not session:
            session = await latest(live, home, with_events=with_events)
        self.check_owner(session)
        self.adopt(session)
        return home, session

    def adopt(self, session: Session[Any]) -> None:
        """Continue with this segment."""
        self.session = self._here.session = session
        self.session_id = session.id
        if not self.is_infinite:
            self.is_infinite = is_of_segments(session)
        self.take_prompt(session)

    def take_prompt(self, session: Session[Any]) -> None:
        """Go on with this segment's system prompt, which others may have set."""
        if not self._prompt_is_own:
            self.system_prompt = session.metadata.properties.get("system_prompt")

    async def follow(self, session: Session[Any]) -> Session[Any]:
        """Continue in segments, because another manager opened them; return the live segment."""
        live = await live_segment(session, self._home)
        self.adopt(live)
        await self._take_settings(live)
        return live

    def check_owner(self, session: Session[Any]) -> None:
        """Raise if a session does not belong to this manager's user, as if the session did not exist.

        Raises:
            SessionNotFound: the session belongs to another user, or to nobody.
        """
        if self._user_id is not None and session.user_id != self._user_id:
            raise session_not_found(self.session_id)

    async def claim(self, user_id: str) -> None:
        """Make a user the owner of a session without one.

        Raises:
            InvalidSessionOperation: the session belongs to another user.
            SessionNotFound: the session does not exist, or does not belong to this manager's user.
        """
        if self._user_id not in {None, user_id}:
            raise session_not_found(self.session_id)
        if self.is_new:
            await self.open_to_read()
        home = await opened_store(self._store())
        stored = await home.head(self.session_id)
        if stored is None:
            raise session_not_found(self.session_id)

        def change(live: Session[Any]) -> None:
            if live.user_id not in {None, user_id}:
                if self._user_id is not None:
                    raise session_not_found(self.session_id)
                raise InvalidSessionOperation("claim a session", f"session {live.id} belongs to another user")
            live.metadata.properties["user_id"] = user_id

        await update_live(stored, change, home)

    async def _open(self, *, creating: bool) -> tuple[HomeStore, Session[Any]]:
        session: Session[Any] | None = getattr(self._here, "session", None)
        if session is None or not self.is_open:
            async with self._opening.turn():
                session = getattr(self._here, "session", None)
                if session is None or not self.is_open:
                    finding = self._find_again() if self.is_open else self._find_or_create(creating=creating)
                    session = await finding
                    self.adopt(session)
                    self.is_open = True
        return self._home, session

    async def _find_again(self) -> Session[Any]:
        """This thread's object of the session that another thread opened."""
        session = await self._find()
        if session is None and not isinstance(self._home, EventStore):
            session = self.session  # a stand-in for a store may not find what it was given to save
        if session is None:
            raise session_not_found(self.session_id)  # expired or deleted: it must not come back
        return session

    async def _find_or_create(self, *, creating: bool) -> Session[Any]:
        self._home = await opened_store(self._store())
        session = await self._find() if self._was_made or not self.is_new else None
        if session is None and creating:
            try:
                session = await self._make()
            except SessionAlreadyExists:  # another writer created it meanwhile
                session = await self._find()
        if session is None:
            raise session_not_found(self.session_id)
        self.check_owner(session)
        await self._take_settings(session)
        return session

    async def _find(self) -> Session[Any] | None:
        stored = await self._home.head(self.session_id)
        return None if stored is None else await live_segment(stored, self._home)

    async def _take_settings(self, session: Session[Any]) -> None:
        """Use the settings that the conversation was created with."""
        settings = session.metadata.conversation
        if settings is not None:
            self.id = settings.id
            said = self.thresholds
            self.thresholds = Thresholds(
                settings.token_threshold if isinstance(said.tokens, Unsaid) else said.tokens,
                settings.max_turns_per_segment if isinstance(said.messages, Unsaid) else said.messages,
            )
        elif is_of_segments(session):  # it was created before there were settings
            self.id = (await whole_chain_of(session, self._home))[0]

    async def _make(self) -> Session[Any]:
        prompt = self._prompt_property()
        session = await create_session(
            self._home,
            session_id=self.session_id,
            parent_id=self._parent_id,
            metadata=SessionMetadata(
                properties=self._properties | prompt,
                conversation=self.thresholds.settings(self.session_id) if self.is_infinite else None,
            ),
        )
        self._was_made = True
        # Unless an application's own `Session.create` left out the properties.
        if prompt.items() <= session.metadata.properties.items():
            self._prompt_is_own = False
        return session

    # -- the system prompt ----------------------------------------------------------------------

    async def save_prompt(self, home: HomeStore, session: Session[Any], prompt: str) -> None:
        """Store a system prompt with the session."""

        def change(stored: Session[Any]) -> None:
            stored.metadata.properties["system_prompt"] = prompt
            stored.metadata.updated_at = utc_now()

        self.adopt(await update_live(session, change, home))
        self.system_prompt = prompt
        self._prompt_is_own = False

    def _prompt_property(self) -> dict[str, str]:
        return {} if self.system_prompt is None else {"system_prompt": self.system_prompt}


class HeldBy:
    """An attribute of an object that is held by one of its parts: a private name that applications use."""

    def __init__(self, part: str, name: str) -> None:
        self._part = part
        self._name = name

    def __get__(self, whole: object, owner: type) -> Any:
        return getattr(getattr(whole, self._part), self._name)

    def __set__(self, whole: object, value: object) -> None:
        setattr(getattr(whole, self._part), self._name, value)
