"""A conversation in its store: found or made, and the segment of it that is written to now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..exceptions import SessionAlreadyExists, session_not_found
from ..models import Session, SessionMetadata
from ..models.record import new_id, utc_now
from ..models.session import HomeStore
from ..session_storage import event_store
from ..stores import SessionStore
from .segments import create_session, latest, live_segment


class Conversation:
    """Which session a manager is about, and what is known of it here.

    Args:
        store: gives the store that the session lives in; called when the session is opened.
        session_id: the session to continue; a new one without it.
        system_prompt: goes before the messages for the model.
        parent_id: a session that a new one is entered with as a child.
        properties: of a new session.
        create: whether writing to an unknown `session_id` makes that session.
        infinite_context: whether the conversation goes on in a new segment when one is full.
    """

    def __init__(
        self,
        store: Callable[[], SessionStore],
        *,
        session_id: str | None,
        system_prompt: str | None,
        parent_id: str | None,
        properties: dict[str, Any],
        create: bool,
        infinite_context: bool,
    ) -> None:
        self.session_id = session_id or new_id()
        """The id of the live segment, as far as it is known here."""
        self.system_prompt = system_prompt
        self.is_infinite = infinite_context
        self.session: Session[Any] | None = None
        """The live segment, once it was opened."""
        self.is_open = False
        self._store = store
        self._is_new = session_id is None  # an id made here is no unknown one
        self._parent_id = parent_id
        self._properties = properties
        self._create = create
        self._home: HomeStore
        self._was_made = False
        # A prompt that was given here holds until it is stored; after that the stored one does.
        self._prompt_is_own = system_prompt is not None
        self._prompt_is_unsaved = False
        self._opening = asyncio.Lock()

    @property
    def is_begun(self) -> bool:
        """Whether there may be something to read: not before the first use of an id that was made here."""
        return self.is_open or not self._is_new

    async def open_to_read(self) -> tuple[HomeStore, Session[Any]]:
        """The store and the live segment; only a session whose id was made here is made.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        return await self._open(creating=self._is_new)

    async def open_to_write(self) -> tuple[HomeStore, Session[Any]]:
        """The store and the live segment, which is made where it is not there, unless `create=False`.

        Raises:
            SessionNotFound: there is no such session, and it is not to be made.
            StorageError: the store could not do it.
        """
        return await self._open(creating=self._create or self._is_new)

    async def current(self, *, with_events: bool = True) -> tuple[HomeStore, Session[Any]]:
        """The store, and the live segment as it is stored now.

        Raises:
            SessionNotFound, StorageError: as for `open_to_read`.
        """
        home, session = await self.open_to_read()
        session = await latest(session, home, with_events=with_events)
        if self.is_infinite:
            live = await live_segment(session, home)
            if live is not session:
                session = await latest(live, home, with_events=with_events)
        self.adopt(session)
        return home, session

    def adopt(self, session: Session[Any]) -> None:
        """Go on with this segment."""
        self.session = session
        self.session_id = session.id
        if not self._prompt_is_own:
            self.system_prompt = session.metadata.properties.get("system_prompt")

    async def _open(self, *, creating: bool) -> tuple[HomeStore, Session[Any]]:
        if self.session is None or not self.is_open:
            async with self._opening:
                if self.session is None or not self.is_open:
                    self.adopt(await self._find_or_create(creating=creating))
                    self.is_open = True
        assert self.session is not None  # noqa: S101  (adopted above; tells mypy)
        return self._home, self.session

    async def _find_or_create(self, *, creating: bool) -> Session[Any]:
        self._home = event_store(self._store())
        session = await self._find() if self._was_made or not self._is_new else None
        if session is None and creating:
            try:
                session = await self._make()
            except SessionAlreadyExists:  # by another writer, meanwhile
                session = await self._find()
        if session is None:
            raise session_not_found(self.session_id)
        if self._prompt_is_unsaved and self.system_prompt is not None:
            await self.save_prompt(self._home, session, self.system_prompt)
        return session

    async def _find(self) -> Session[Any] | None:
        stored = await self._home.head(self.session_id)
        if stored is None or not self.is_infinite:
            return stored
        return await live_segment(stored, self._home)

    async def _make(self) -> Session[Any]:
        prompt = self._prompt_property()
        session = await create_session(
            self._home,
            session_id=self.session_id,
            parent_id=self._parent_id,
            metadata=SessionMetadata(properties=self._properties | prompt),
        )
        self._was_made = True
        # Not if it was updated meanwhile, or an application's own `Session.create` left the properties out.
        if prompt.items() <= session.metadata.properties.items() and prompt == self._prompt_property():
            self._prompt_is_own = self._prompt_is_unsaved = False
        return session

    # -- the system prompt ----------------------------------------------------------------------

    def give_prompt(self, prompt: str) -> None:
        """Take another system prompt, which is stored when the session is opened, or by `save_prompt`."""
        self.system_prompt, self._prompt_is_own = prompt, True
        self._prompt_is_unsaved = not self.is_open

    async def save_prompt(self, home: HomeStore, session: Session[Any], prompt: str) -> None:
        """Keep a system prompt with the session."""

        def change(stored: Session[Any]) -> None:
            stored.metadata.properties["system_prompt"] = prompt
            stored.metadata.updated_at = utc_now()

        await home.update(session, change)
        self.system_prompt = prompt
        self._prompt_is_own = self._prompt_is_unsaved = False

    def _prompt_property(self) -> dict[str, str]:
        return {} if self.system_prompt is None else {"system_prompt": self.system_prompt}
