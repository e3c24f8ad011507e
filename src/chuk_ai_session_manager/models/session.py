"""A session: a segment of a conversation, with its header and its events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Generic, Self
from uuid import NAMESPACE_URL, uuid5

from pydantic import Field, PrivateAttr

from ..exceptions import EventConflict
from ..exceptions.validation import check_session_id
from .amounts import counted_in
from .event_source import EventSource
from .family import ancestors_of, descendants_of, enter_with_parent, remove_child_of
from .guard import guard
from .home import HomeStore, default_store
from .record import Record, new_id
from .session_event import MessageT, SessionEvent, check_cost, content_of
from .session_metadata import SessionMetadata
from .session_run import RunStatus, SessionRun
from .session_totals import EventIndex, SessionTotals
from .storing import append_event
from .token_usage import TokenSummary, TokenUsage, usd


def next_segment_id(session_id: str) -> str:
    """The id of the segment that follows another one.

    It is made from the other segment's id, so that writers who fill a segment at the same time open
    the same next one.
    """
    return str(uuid5(NAMESPACE_URL, f"chuk-ai-session-manager:segment-after:{session_id}"))


class Session(Record, Generic[MessageT]):
    """A segment of a conversation: ids, metadata, state, runs, events and token totals.

    Creating a session does no I/O. A session that came from a store refers to that store; any other session
    goes to the default store when it is saved. Its repr shows neither messages nor properties.
    """

    id: str = Field(default_factory=new_id)
    """A uuid, or your own id: 1 to 255 printable characters, unique in its sandbox."""
    metadata: SessionMetadata = Field(default_factory=SessionMetadata, repr=False)
    """Dates, and the application's properties."""
    parent_id: str | None = None
    """The session that this one is a child of, or the segment that it continues."""
    child_ids: list[str] = Field(default_factory=list)
    """The session's children, and the segment that continues it."""
    task_ids: list[str] = Field(default_factory=list)
    """The application's own ids, which this library stores but does not use."""
    runs: list[SessionRun] = Field(default_factory=list, repr=False)
    """Pieces of work; `active_run` is the running one."""
    events: list[SessionEvent[MessageT]] = Field(default_factory=list, repr=False)
    """The log, oldest first. A session that was opened only for writing may lack older events."""
    state: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The application's own values, by key. Save the session to store changes."""
    token_summary: TokenSummary = Field(default_factory=TokenSummary, repr=False)
    """The content tokens so far, and the cost of the calls; updated when events are added."""

    _store: HomeStore | None = PrivateAttr(default=None)
    _stored_id: str | None = PrivateAttr(default=None)
    _mark: object = PrivateAttr(default=None)
    _index: EventIndex = PrivateAttr(default_factory=EventIndex)

    # -- totals ---------------------------------------------------------------------------------

    @property
    def totals(self) -> SessionTotals:
        """Counts of events, messages, tool calls and billed tokens; only new events are read for them."""
        return self.event_index.totals

    @property
    def last_update_time(self) -> datetime:
        """The newest event's time, or else the time when the session was created."""
        return self.newest_event_time or self.metadata.created_at

    @property
    def newest_event_time(self) -> datetime | None:
        """The newest event's time, if there is any event."""
        return self.event_index.newest

    @property
    def user_id(self) -> str | None:
        """The session's user: the property "user_id", if it is a text."""
        user_id = self.metadata.properties.get("user_id") if self.metadata else None
        return user_id if isinstance(user_id, str) else None

    @property
    def active_run(self) -> SessionRun | None:
        """The last run that is running, or `None`."""
        return next((run for run in reversed(self.runs) if run.status == RunStatus.RUNNING), None)

    @property
    def total_tokens(self) -> int:
        """The session's length in content tokens, counting only messages on the path."""
        return max(0, self.added_tokens)

    @property
    def added_tokens(self) -> int:
        """What the session adds to its conversation's content tokens.

        Below 0 if a choice in this session took more of earlier segments' messages off the path.
        """
        return self.token_summary.total_tokens - self.totals.tokens_off_path

    @property
    def total_cost(self) -> float:
        """The cost of the session's model calls, in USD; calls without a known price add nothing."""
        return usd(self.token_summary.total_estimated_cost_usd)

    @property
    def event_index(self) -> EventIndex:
        """The totals, the newest time, and the events by id, at once."""
        # Not `self._index`: pydantic finds a private attribute 25 times slower, and every append needs this.
        index: EventIndex = (self.__pydantic_private__ or {})["_index"]
        return index.catch_up(self.events or [])

    async def get_token_usage_by_source(self) -> dict[str, TokenSummary]:
        """Return token summaries by source ("user", "llm", "system"), for sources with any usage."""
        return _usage_by(self.events, lambda event: EventSource(event.source).value)

    async def get_token_usage_by_run(self) -> dict[str, TokenSummary]:
        """Return token summaries by the events' `task_id`; "no_run", always there, has events without one."""
        return {"no_run": TokenSummary()} | _usage_by(self.events, lambda event: event.task_id or "no_run")

    async def count_message_tokens(self, message: Any, model: str = "gpt-3.5-turbo") -> int:
        """Return the length of a text, or of a chat message's `content`, in tokens of a model.

        The default model is the original's; pass yours.
        """
        return await TokenUsage.count_tokens(content_of(message), model)

    # -- events ---------------------------------------------------------------------------------

    async def add_event(self, event: SessionEvent[MessageT]) -> None:
        """Add an event to the session in memory. Save the session to store it.

        Raises:
            EventConflict: the session has another event with this id.
        """
        with guard:
            self.record(event)

    async def add_event_and_save(self, event: SessionEvent[MessageT]) -> None:
        """Add an event and store it, with one append, however long the session is; store changed state too.

        A closed segment, which another one follows, accepts no messages and tool calls. Use a
        `SessionManager` with the segment's id: it writes to the live segment.

        Raises:
            InvalidSessionOperation: the conversation continues in another segment; nothing was written.
            SessionNotFound: the session expired or was deleted.
            EventConflict: another event was stored with this event's id.
            StorageError: the store failed.
        """
        await append_event(self, event)

    @property
    def is_closed(self) -> bool:
        """Whether the conversation continues in a next segment, as far as this object knows."""
        return bool(self.child_ids) and next_segment_id(self.id) in self.child_ids

    def record(self, *events: SessionEvent[MessageT]) -> list[SessionEvent[MessageT]]:
        """Add events in memory and to the totals: all of them, or none. Events that are there are skipped.

        If threads share the session, the guard must be held.

        Returns:
            The events that were new.

        Raises:
            EventConflict: the session has another event with one of these ids.
        """
        index: EventIndex = (self.__pydantic_private__ or {})["_index"]  # see `event_index`
        fields = self.__dict__
        log, summary = fields["events"], fields["token_summary"]
        new = self._new_among(events, index.counted(log or []))
        for event in new:
            log.append(event)
            index.add(event)
            counted = counted_in(event)
            if counted is not None:
                summary.add_counted(counted)
        return new

    def check_new(self, events: Sequence[SessionEvent[MessageT]]) -> list[SessionEvent[MessageT]]:
        """Return the events that the session does not have yet, each once.

        Raises:
            EventConflict: the session has another event with one of these ids.
            InvalidInput: a cost is not a finite number, which would spoil every sum.
        """
        index: EventIndex = (self.__pydantic_private__ or {})["_index"]
        return self._new_among(events, index.counted(self.events or []))

    def _new_among(
        self, events: Sequence[SessionEvent[MessageT]], index: EventIndex
    ) -> list[SessionEvent[MessageT]]:
        by_id = index.by_id
        if len(events) == 1 and events[0].id not in by_id:  # as almost always
            check_cost(events[0])
            return [events[0]]
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
        """Return the event with this id, if it is in memory; the time does not depend on their number."""
        return self.event_index.by_id.get(event_id)

    def catch_up(self, stored: Session[MessageT]) -> None:
        """Take over, in memory, the events of the stored session."""
        known = self.event_index.by_id
        self.record(*(event for event in stored.events if event.id not in known))

    # -- state ----------------------------------------------------------------------------------

    async def set_state(self, key: str, value: Any) -> None:
        """Set a state value in memory. Save the session to store it."""
        self.state[key] = value

    async def get_state(self, key: str, default: Any = None) -> Any:
        """Return a state value, or `default` if there is none."""
        return self.state.get(key, default)

    async def has_state(self, key: str) -> bool:
        """Whether there is a state value with this key, even if it is `None`."""
        return key in self.state

    async def remove_state(self, key: str) -> None:
        """Remove a state value, if there is one. Save the session to store the change."""
        self.state.pop(key, None)

    # -- copies ---------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        """Compare the fields; two sessions in different stores may be equal."""
        return self.__dict__ == other.__dict__ if isinstance(other, Session) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a session changes, as any pydantic model may

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle the session, without its store."""
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
        """Create a session and store it. The store enters it as a child of its parent.

        If the parent does not exist, its id is kept all the same. Without `store`, the default store is used.

        Raises:
            InvalidInput: the id is empty, has over 255 characters, or is not printable.
            SessionAlreadyExists: the id is taken.
            StorageError: the store failed.
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
        """Enter the session as a child of its parent, if the parent exists.

        Raises:
            StorageError: the store failed.
        """
        await enter_with_parent(self, self.home)

    async def add_child(self, child_id: str) -> None:
        """Enter a child's id and save the session.

        Raises:
            SessionNotFound: this session expired or was deleted.
            StorageError: the store failed.
        """
        await self.home.update(self, lambda stored: stored.enter_child(child_id))

    async def remove_child(self, child_id: str) -> None:
        """Remove a child's id, if it is there, and save the session.

        Raises:
            SessionNotFound: this session expired or was deleted.
            StorageError: the store failed.
        """
        await remove_child_of(self, child_id, self.home)

    def enter_child(self, child_id: str) -> None:
        """Enter a child's id in memory, once."""
        with guard:
            if child_id not in self.child_ids:
                self.child_ids.append(child_id)

    async def ancestors(self) -> list[Session[Any]]:
        """Return the parent, its parent and so on, as far as they are stored, the nearest first.

        Raises:
            StorageError: the store failed.
        """
        return [ancestor async for ancestor in ancestors_of(self, self.home)]

    async def descendants(self) -> list[Session[Any]]:
        """Return all stored children and their children, depth first, the last child first.

        Raises:
            StorageError: the store failed.
        """
        return await descendants_of(self, self.home)

    def bind(self, store: HomeStore, mark: object = None) -> None:
        """Let the session live in a store. A store calls this for each session that it returns.

        `mark` is the store's own note of how much of the stored session this object holds.
        """
        private = self.__pydantic_private__
        assert private is not None  # noqa: S101  (every instance has it; tells mypy)
        private["_store"], private["_stored_id"], private["_mark"] = store, self.id, mark

    def mark_of(self, store: HomeStore) -> object:
        """The note that a store made when it bound the session; `None` for another store."""
        private = self.__pydantic_private__ or {}
        return private["_mark"] if private["_store"] is store and private["_stored_id"] == self.id else None

    def as_read(self) -> Self:
        """A copy of the session as it is now, which later events of this one do not change.

        With it, a store can tell whether anything was added since, even if the store keeps this very object.
        """
        with guard:
            read = self.model_copy(update={"events": list(self.events), "child_ids": list(self.child_ids)})
            read.token_summary = self.token_summary.model_copy(deep=True)
            private = read.__pydantic_private__
            assert private is not None  # noqa: S101  (every instance has it; tells mypy)
            private["_index"] = private["_index"].copy_before()
        return read

    def go_on_from(self, totals: SessionTotals, newest: datetime | None) -> None:
        """Add `events` to these totals, which are those of stored events that are not in `events`."""
        index: EventIndex = (self.__pydantic_private__ or {})["_index"]
        index.go_on_from(totals, newest)

    @property
    def is_bound(self) -> bool:
        """Whether the session came from a store, or was stored, under its present id."""
        return self._store is not None and self._stored_id == self.id

    @property
    def home(self) -> HomeStore:
        """The session's store: the one that it came from, or the default one."""
        return default_store() if self._store is None else self._store


def _usage_by(
    events: Iterable[SessionEvent[Any]], key: Callable[[SessionEvent[Any]], str]
) -> dict[str, TokenSummary]:
    summaries: dict[str, TokenSummary] = {}
    for event in events:
        if (counted := counted_in(event)) is not None:
            summaries.setdefault(key(event), TokenSummary()).add_counted(counted)
    return summaries
