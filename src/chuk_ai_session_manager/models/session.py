"""A session: one segment of a conversation, its header and its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, Generic, Self
from uuid import NAMESPACE_URL, uuid5

from pydantic import Field, PrivateAttr

from ..exceptions import EventConflict, InvalidSessionOperation, session_not_found
from ..exceptions.validation import check_session_id
from .event_source import EventSource
from .event_type import EventType
from .guard import guard
from .home import HomeStore, default_store
from .record import JUST_NOW, Record, is_before, new_id, utc_now
from .session_event import MessageT, SessionEvent, check_cost, content_of
from .session_metadata import SessionMetadata
from .session_run import RunStatus, SessionRun
from .session_totals import EventIndex, SessionTotals
from .token_usage import TokenSummary, TokenUsage, usd

# What a closed segment takes no more of.
_SAID = frozenset({EventType.MESSAGE, EventType.TOOL_CALL})


def next_segment_id(session_id: str) -> str:
    """The id of the segment that follows one.

    It is made from the id before it, so that writers who reach the end of a segment together open
    the same next one.
    """
    return str(uuid5(NAMESPACE_URL, f"chuk-ai-session-manager:segment-after:{session_id}"))


class Session(Record, Generic[MessageT]):
    """One segment of a conversation: ids, metadata, state, runs, events and token totals.

    Making one does no I/O. A session that a store handed out carries its store; any other goes to
    the default store when it is saved. Its repr shows neither messages nor properties.
    """

    id: str = Field(default_factory=new_id)
    """A uuid unless chosen: 1 to 255 printable characters, unique in its sandbox."""
    metadata: SessionMetadata = Field(default_factory=SessionMetadata, repr=False)
    """Dates, and the application's properties."""
    parent_id: str | None = None
    """The session that this one is a child of, or the segment that it continues."""
    child_ids: list[str] = Field(default_factory=list)
    """Its children, and the segment that continues it."""
    task_ids: list[str] = Field(default_factory=list)
    """The application's own; this library keeps them and reads none."""
    runs: list[SessionRun] = Field(default_factory=list, repr=False)
    """Pieces of work; `active_run` is the one under way."""
    events: list[SessionEvent[MessageT]] = Field(default_factory=list, repr=False)
    """The log, oldest first; what was only opened for writing may lack the older ones."""
    state: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The application's own values, by key; save the session to keep them."""
    token_summary: TokenSummary = Field(default_factory=TokenSummary, repr=False)
    """Content tokens so far, and what the calls cost; kept as events are added."""

    _store: HomeStore | None = PrivateAttr(default=None)
    _stored_id: str | None = PrivateAttr(default=None)
    _mark: object = PrivateAttr(default=None)
    _index: EventIndex = PrivateAttr(default_factory=EventIndex)

    # -- what it adds up to ---------------------------------------------------------------------

    @property
    def totals(self) -> SessionTotals:
        """Events, messages, tool calls and billed tokens so far; costs what was added since last asked."""
        return self._events_index().totals

    @property
    def last_update_time(self) -> datetime:
        """The newest event's time, else the time the session was made."""
        return self.newest_event_time or self.metadata.created_at

    @property
    def newest_event_time(self) -> datetime | None:
        """The newest event's time, if there is any event."""
        return self._events_index().newest

    @property
    def user_id(self) -> str | None:
        """Whose session it is: the property "user_id", if that is a text."""
        user_id = self.metadata.properties.get("user_id") if self.metadata else None
        return user_id if isinstance(user_id, str) else None

    @property
    def active_run(self) -> SessionRun | None:
        """The last run that is running, if any is."""
        return next((run for run in reversed(self.runs) if run.status == RunStatus.RUNNING), None)

    @property
    def total_tokens(self) -> int:
        """How long the session is, in content tokens: of what holds, after all second thoughts."""
        return max(0, self.added_tokens)

    @property
    def added_tokens(self) -> int:
        """What the session adds to its conversation's content tokens.

        Below 0 where it was said here that what earlier segments say does not hold any more.
        """
        return self.token_summary.total_tokens - self.totals.tokens_off_path

    @property
    def total_cost(self) -> float:
        """What the session's model calls cost, in USD; calls without a known price add nothing."""
        return usd(self.token_summary.total_estimated_cost_usd)

    def _events_index(self) -> EventIndex:
        # Not `self._index`: pydantic finds a private attribute 25 times slower than this, on every append.
        index: EventIndex = (self.__pydantic_private__ or {})["_index"]
        return index.catch_up(self.events or [])

    async def get_token_usage_by_source(self) -> dict[str, TokenSummary]:
        """Token summaries of "user", "llm" and "system", of those that used any."""
        return self._usage_by(lambda event: EventSource(event.source).value)

    async def get_token_usage_by_run(self) -> dict[str, TokenSummary]:
        """Token summaries by the events' `task_id`; those without one under "no_run", always there."""
        return {"no_run": TokenSummary()} | self._usage_by(lambda event: event.task_id or "no_run")

    def _usage_by(self, key: Callable[[SessionEvent[MessageT]], str]) -> dict[str, TokenSummary]:
        summaries: dict[str, TokenSummary] = {}
        for event in self.events:
            if event.token_usage:
                summaries.setdefault(key(event), TokenSummary()).add(event.token_usage)
        return summaries

    async def count_message_tokens(self, message: Any, model: str = "gpt-3.5-turbo") -> int:
        """How long a text, or a chat message's `content`, is for a model, in tokens.

        The default model is the original's; name yours.
        """
        return await TokenUsage.count_tokens(content_of(message), model)

    # -- events ---------------------------------------------------------------------------------

    async def add_event(self, event: SessionEvent[MessageT]) -> None:
        """Add an event to the session in memory; save the session to keep it.

        Raises:
            EventConflict: another event is there under this one's id.
        """
        with guard:
            self.record(event)

    async def add_event_and_save(self, event: SessionEvent[MessageT]) -> None:
        """Add an event and store it: one append, however long the session is; changed state goes along.

        A segment that another one follows takes no messages and tool calls any more: a `SessionManager`
        of its id writes them to the live segment.

        Raises:
            InvalidSessionOperation: the conversation went on in another segment; nothing was written.
            SessionNotFound: the session expired or was deleted.
            EventConflict: another event was stored under this event's id.
            StorageError: the store could not do it.
        """
        if self.is_bound:
            if event.type in _SAID:
                self._check_live()
            await self.home.save_header(self)
            said = event.timestamp
            self._keep_order(event)
            try:
                await self._append_live(event)
            except EventConflict:
                if event.timestamp == said:
                    raise
                event.timestamp = said  # as it may have been stored before, with no reply
                await self._append_live(event)
            return
        # Not from a store, or under another id now: there is nothing to append to.
        await self.record_and_save(self.home, event)

    def _keep_order(self, event: SessionEvent[MessageT]) -> None:
        """Let a new event of just now be no older than those before it: the clock may have been set back."""
        newest = self.newest_event_time
        if newest is None or self.event(event.id) is not None:
            return
        if is_before(event.timestamp, newest) and not is_before(event.timestamp, utc_now() - JUST_NOW):
            event.timestamp = newest

    async def _append_live(self, event: SessionEvent[MessageT]) -> None:
        may_close = self.metadata is not None and self.metadata.conversation is not None
        only_if_current = event.type in _SAID
        while not await self.home.append(self, [event], only_if_current=only_if_current):
            if await self.home.latest(self, with_events=False) is None:
                raise session_not_found(self.id)
            self._check_live()
            only_if_current = may_close

    @property
    def is_closed(self) -> bool:
        """Whether the conversation went on in a next segment, as far as this object knows."""
        return bool(self.child_ids) and next_segment_id(self.id) in self.child_ids

    def _check_live(self) -> None:
        if self.is_closed:
            reason = f"the conversation of session {self.id} went on in another segment: write by a manager"
            raise InvalidSessionOperation("add an event", reason)

    async def record_and_save(self, home: HomeStore, *events: SessionEvent[MessageT]) -> None:
        """Add events and store the whole session; what could not be stored is not there."""
        with guard:
            added = self.record(*events)
        try:
            await home.save(self)
        except BaseException:
            with guard:
                self.retract(added)
            raise

    def record(self, *events: SessionEvent[MessageT]) -> list[SessionEvent[MessageT]]:
        """Add events in memory and to the totals, all or none; one that is there already is left out.

        Where threads share the session, the guard has to be held.

        Returns:
            The events that were new.

        Raises:
            EventConflict: another event is there under one of these ids.
        """
        new = self.check_new(events)
        for event in new:
            self.events.append(event)
            usage = event.token_usage
            if usage:
                self.token_summary.add(usage)
        return new

    def check_new(self, events: Sequence[SessionEvent[MessageT]]) -> list[SessionEvent[MessageT]]:
        """The events of a list that the session does not have yet, each once.

        Raises:
            EventConflict: another event is there under one of these ids.
            InvalidInput: a cost is not a finite number, and would spoil every sum.
        """
        index: EventIndex = (self.__pydantic_private__ or {})["_index"]
        by_id = index.counted(self.events or []).by_id
        new: dict[str, SessionEvent[MessageT]] = {}
        for event in events:
            event_id = event.id
            known = new.get(event_id) or by_id.get(event_id)
            if known is None:
                check_cost(event)
                new[event_id] = event
            elif known is not event and known != event:
                raise EventConflict(f"Event {event_id} is in session {self.id} already, with other content")
        return list(new.values())

    def event(self, event_id: str) -> SessionEvent[MessageT] | None:
        """The event of this id, if it is among those that are held here; however many there are."""
        return self._events_index().by_id.get(event_id)

    def catch_up(self, stored: Session[MessageT]) -> None:
        """Take over, in memory, the events that the session has where it is stored."""
        known = self._events_index().by_id
        self.record(*(event for event in stored.events if event.id not in known))

    def retract(self, events: Sequence[SessionEvent[MessageT]]) -> None:
        """Take events that could not be stored out of memory and the totals again."""
        gone = {event.id for event in events}
        self.events = [event for event in self.events if event.id not in gone]
        for event in events:
            if event.token_usage:
                self.token_summary.subtract(event.token_usage)

    # -- state ----------------------------------------------------------------------------------

    async def set_state(self, key: str, value: Any) -> None:
        """Set one state value in memory; save the session to keep it."""
        self.state[key] = value

    async def get_state(self, key: str, default: Any = None) -> Any:
        """One state value, or `default` where there is none."""
        return self.state.get(key, default)

    async def has_state(self, key: str) -> bool:
        """Whether there is such a state value, be it `None`."""
        return key in self.state

    async def remove_state(self, key: str) -> None:
        """Drop one state value, if it is there; save the session to keep it so."""
        self.state.pop(key, None)

    # -- copies ---------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        """Sessions are equal whose fields are, wherever they live."""
        return self.__dict__ == other.__dict__ if isinstance(other, Session) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes, as every pydantic model may

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the session, not the store that it lives in."""
        unbound = {"_store": None, "_stored_id": None, "_mark": None, "_index": EventIndex()}
        return {**super().__getstate__(), "__pydantic_private__": unbound}

    # -- storage and family ---------------------------------------------------------------------

    @classmethod
    async def create(
        cls,
        session_id: str | None = None,
        parent_id: str | None = None,
        *,
        store: HomeStore | None = None,
        **session_fields: Any,
    ) -> Self:
        """Make a session and store it; its store enters it with its parent.

        A parent that is not there is no error; its id is kept. Without `store`, the default one.

        Raises:
            InvalidInput: an id that is empty, over 255 characters, or not printable.
            SessionAlreadyExists: the id is taken.
            StorageError: the store could not do it.
        """
        if session_id is not None:
            session_fields["id"] = check_session_id(session_id, "create a session")
        if parent_id is not None:
            check_session_id(parent_id, "create a session")
        session = cls(parent_id=parent_id, **session_fields)
        home = default_store() if store is None else store
        await home.create(session)
        return session

    async def async_init(self) -> None:
        """Enter the session with its parent, if that is there.

        Raises:
            StorageError: the store could not do it.
        """
        await enter_with_parent(self, self.home)

    async def add_child(self, child_id: str) -> None:
        """Enter a child's id and save.

        Raises:
            SessionNotFound: this session expired or was deleted.
            StorageError: the store could not do it.
        """
        await self.home.update(self, lambda stored: stored.enter_child(child_id))

    async def remove_child(self, child_id: str) -> None:
        """Take a child's id out, if it is there, and save.

        Raises:
            SessionNotFound: this session expired or was deleted.
            StorageError: the store could not do it.
        """

        def take_out(stored: Session[Any]) -> None:
            stored.child_ids = [known for known in stored.child_ids if known != child_id]

        await self.home.update(self, take_out)

    def enter_child(self, child_id: str) -> None:
        """Enter a child's id in memory, once."""
        with guard:
            if child_id not in self.child_ids:
                self.child_ids.append(child_id)

    async def ancestors(self) -> list[Session[Any]]:
        """The parent, its parent and so on, as far as they are stored, the nearest first.

        Raises:
            StorageError: the store could not say.
        """
        return [ancestor async for ancestor in ancestors_of(self, self.home)]

    async def descendants(self) -> list[Session[Any]]:
        """All stored children and theirs, depth first, the last child first.

        Raises:
            StorageError: the store could not say.
        """
        home, found, seen = self.home, [], {self.id}
        stored = await home.head(self.id) if self.is_bound else None
        waiting = list((stored or self).child_ids)
        while waiting:
            child_id = waiting.pop()
            if child_id in seen:
                continue
            seen.add(child_id)
            child = await home.get(child_id)
            if child is not None:
                found.append(child)
                waiting.extend(child.child_ids)
        return found

    def bind(self, store: HomeStore, mark: object = None) -> None:
        """Let the session live in a store; stores do this with what they hand out.

        `mark` is the store's own note of what this object holds of the stored session.
        """
        private = self.__pydantic_private__
        assert private is not None  # noqa: S101  (every instance has it; tells mypy)
        private["_store"], private["_stored_id"], private["_mark"] = store, self.id, mark

    def mark_of(self, store: HomeStore) -> object:
        """The note that a store made when it bound the session, or `None` if it did not."""
        private = self.__pydantic_private__ or {}
        return private["_mark"] if private["_store"] is store and private["_stored_id"] == self.id else None

    def as_read(self) -> Self:
        """The session as it is now, as another object: what is added to this one later is not in it.

        A store can tell by it whether anything was added since, also where it keeps this very object.
        """
        with guard:
            read = self.model_copy(update={"events": list(self.events), "child_ids": list(self.child_ids)})
            read.token_summary = self.token_summary.model_copy(deep=True)
            private = read.__pydantic_private__
            assert private is not None  # noqa: S101  (every instance has it; tells mypy)
            private["_index"] = private["_index"].copy_before()
        return read

    def go_on_from(self, totals: SessionTotals, newest: datetime | None) -> None:
        """Count what `events` holds on top of these totals: of stored events that are not in it."""
        index: EventIndex = (self.__pydantic_private__ or {})["_index"]
        index.go_on_from(totals, newest)

    @property
    def is_bound(self) -> bool:
        """Whether a store handed the session out, or took it in, under this id."""
        return self._store is not None and self._stored_id == self.id

    @property
    def home(self) -> HomeStore:
        """The store that the session lives in: the one that handed it out, or the default one."""
        return default_store() if self._store is None else self._store


async def enter_with_parent(session: Session[Any], home: HomeStore) -> None:
    """Enter a session's id with its parent's children, if the parent is there."""
    parent = await home.head(session.parent_id) if session.parent_id else None
    if parent is not None and session.id not in parent.child_ids:
        await home.update(parent, lambda stored: stored.enter_child(session.id))


async def ancestors_of(
    session: Session[Any], home: HomeStore, *, with_events: bool = True
) -> AsyncIterator[Session[Any]]:
    """A session's parent, its parent and so on, as far as a store has them; a circle ends."""
    read = home.get if with_events else home.head
    seen, parent_id = {session.id}, session.parent_id
    while parent_id and parent_id not in seen:
        seen.add(parent_id)
        parent = await read(parent_id)
        if parent is None:
            return
        yield parent
        parent_id = parent.parent_id
