"""The memory store: sessions as live objects in this process."""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..exceptions import SessionAlreadyExists, session_not_found
from ..exceptions.validation import check_count, check_hours, check_session_id, check_ttl_hours
from ..models.event_page import EventPage, LogState
from ..models.guard import guard
from ..models.session import next_segment_id
from .base import (
    DEFAULT_TTL_HOURS,
    AnyEvent,
    AnySession,
    EventStore,
    SessionPage,
    check_page,
    check_page_size,
    page_of,
)
from .durability import DurabilityReport
from .erasing import account_names
from .memory_accounts import MemoryAccounts
from .memory_lifetimes import KeptConversation
from .placement import Placement
from .receipts import BACKUPS, Erased, Forgotten
from .redaction import RedactHook, checked_hook, redact_events
from .shared_texts import SharedTexts
from .walking import is_segment_after

logger: logging.Logger = logging.getLogger(__name__)

DEFAULT_MAX_SESSIONS = 10_000
"""Some hundred megabytes of ordinary conversations: a limit for processes that run for months."""


class MemoryStore(EventStore):
    """Keeps sessions as live objects: `get` returns the very object that was saved, in every thread.

    Everything ends with the process.

    Args:
        ttl_hours: hours after the last write at which a conversation expires and its memory is freed.
            `None` means never.
        max_sessions: with more sessions, the least recently written conversations are freed (but never
            the one being written to, or its parents, so a single endless conversation has no limit). `None`
            means no limit.
        clock: returns the time in seconds; for tests.
        redact: changes each text of an event before it is written, as for `open_store`.

    Raises:
        InvalidInput: `ttl_hours` or `max_sessions` is not above 0.
    """

    def __init__(
        self,
        *,
        ttl_hours: float | None = DEFAULT_TTL_HOURS,
        max_sessions: int | None = DEFAULT_MAX_SESSIONS,
        clock: Callable[[], float] = time.monotonic,
        redact: RedactHook | None = None,
    ) -> None:
        check_ttl_hours(ttl_hours, "open a store")
        if max_sessions is not None:
            check_count(max_sessions, 1, "max_sessions", "open a store")
        self._ttl = math.inf if ttl_hours is None else ttl_hours * 3600
        self._max_sessions = math.inf if max_sessions is None else max_sessions
        self._clock = clock
        self.redact: RedactHook | None = checked_hook(redact, "open a store")
        self._sessions: dict[str, AnySession] = {}
        # Distinguishes a session from an earlier one with the same id.
        self._born: dict[str, int] = {}
        # How often it was saved without new events: it may have been edited.
        self._edits: dict[str, int] = {}
        self._conversations: dict[str, KeptConversation] = {}
        self._births = 0
        self._placement = Placement()
        self._shared = SharedTexts()
        # The conversations, from the least recently written to the newest.
        self._by_last_write: dict[KeptConversation, None] = {}
        self._last_written: KeptConversation | None = None
        # When to look at a conversation next: one entry each, however often its expiry is put off.
        self._due: list[tuple[float, int, KeptConversation]] = []
        self._warned = False
        self._accounts = MemoryAccounts(clock)

    @property
    def sessions(self) -> Mapping[str, AnySession]:
        """The live sessions by id, for looking at them."""
        with guard:
            self._free_expired()
            return MappingProxyType(self._sessions)

    async def get(self, session_id: str) -> AnySession | None:
        """Return the live session itself, or `None`."""
        # The same check as in `_free_expired`, without a call, because every read needs it.
        due = self._due
        if due and due[0][0] <= self._clock():
            with guard:
                self._free_expired()
        return self._sessions.get(session_id)

    async def save(self, session: AnySession) -> None:
        """Keep this object as the session with its id.

        Raises:
            SessionNotFound: the session was stored here, and expired or was deleted since.
        """
        if self.redact is not None:
            await redact_events(session.events, self.redact)
        with guard:
            self._free_expired()
            mark = session.mark_of(self)
            if mark is not None and mark != self._born.get(session.id):
                raise session_not_found(session.id)  # a deleted session must not come back
            self._keep(session)

    async def create(self, session: AnySession) -> None:
        """Keep a new session.

        Raises:
            SessionAlreadyExists: its id is taken.
        """
        if self.redact is not None:
            await redact_events(session.events, self.redact)
        with guard:
            self._keep_new(session)

    def _keep_new(self, session: AnySession) -> None:
        self._free_expired()
        if session.id in self._sessions:
            raise SessionAlreadyExists(session.id)
        self._keep(session)
        parent = self._sessions.get(session.parent_id or "")
        if parent is not None:
            parent.enter_child(session.id)

    async def create_next(self, session: AnySession, before: AnySession) -> bool:
        """Keep the segment after another. State and properties are the same objects in all segments.

        Raises:
            SessionNotFound: the other one expired or was deleted.
        """
        if self.redact is not None:
            await redact_events(session.events, self.redact)
        with guard:
            live = self._live(before)
            session.state, session.metadata.properties = live.state, live.metadata.properties
            self._keep_new(session)
            return True

    async def newest_events(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """Return the newest events of the live session, without copying the log."""
        check_page_size(limit)
        with guard:
            live = await self.get(session.id)
            if live is None or session.mark_of(self) not in {None, self._born[session.id]}:
                return None
            return EventPage.at_end_of(live.events, before=before, limit=limit, tokens=tokens)

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[AnyEvent]:
        """Return events of a session's conversation, whichever segments they are in."""
        with guard:
            self._free_expired()
            conversation = self._conversations.get(session_id)
            segments = [] if conversation is None else [*map(self._sessions.get, conversation.session_ids)]
            found = (segment.event(each) for segment in segments if segment for each in event_ids)
            return [event for event in found if event is not None]

    async def append(
        self, session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
    ) -> bool:
        """Add events to the live session, and to `session` if that is another object.

        Raises:
            SessionNotFound: the session expired or was deleted.
            EventConflict: the session has another event with one of these ids; no event was added.
        """
        if self.redact is not None:
            await redact_events(events, self.redact)
        with guard:
            session_id, live = session.id, self._live(session)
            # Another thread may have opened the next segment, or another task, while `redact` was awaited.
            if only_if_current and live.is_closed and self._goes_on_after(live) and live.check_new(events):
                return False
            if live is not session:
                is_current = (live.events, live.child_ids) == (session.events, session.child_ids)
                if only_if_current and not is_current and live.check_new(events):
                    return False
                session.catch_up(live)
            new = live.record(*events)
            if live is not session:
                session.record(*events)
            if new:
                self._shared.share(session_id, new)
                said = new[0].timestamp if len(new) == 1 else max(event.timestamp for event in new)
                self._placement.place_said(live, session_id, said)
            self._renew(self._conversations[session_id])
            return True

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change the live session, and `session` if that is another object.

        Raises:
            SessionNotFound: the session expired or was deleted.
        """
        with guard:
            self._free_expired()
            if session.id not in self._sessions and not session.is_bound:
                self._keep(session)
            live = self._live(session)
            change(live)
            if live is not session:
                change(session)
            self._renew(self._conversations[session.id])

    async def save_header(self, session: AnySession) -> None:
        """Do nothing: the live session is the stored one."""

    def _goes_on_after(self, session: AnySession) -> bool:
        return next_segment_id(session.id) in self._sessions

    def _live(self, session: AnySession) -> AnySession:
        if self._due and self._due[0][0] <= self._clock():
            self._free_expired()
        session_id = session.id
        live = self._sessions.get(session_id)
        if live is session:
            return live
        mark = session.mark_of(self)
        if live is None or not (mark is None or mark == self._born[session_id]):
            raise session_not_found(session_id)
        return live

    async def delete(self, session_id: str) -> None:
        """Delete a session; its parents and children stay."""
        with guard:
            self._drop(session_id)
            conversation = self._conversations.pop(session_id, None)
            if conversation is not None:
                conversation.session_ids.pop(session_id, None)
                if not conversation.session_ids:
                    self._forget(conversation)
                    self._forget_empty()

    async def _erase_stored(self, session_id: str, written_since: int | None) -> Erased | None:
        with guard:  # no other thread writes meanwhile: nothing here waits
            live = [self._sessions[each] for each in await self.segment_ids(session_id)]
            erased = await super()._erase_stored(session_id, written_since)
            for session in live if erased is not None else ():
                session.events, session.state = [], {}  # the object may still be in use
            return erased

    async def rewrite_events(
        self,
        session_id: str,
        change: Callable[[AnyEvent], AnyEvent | None],
        *,
        with_state: bool = False,
    ) -> int:
        """Change events of the live session for good, or take them out."""
        with guard:  # as above
            return await super().rewrite_events(session_id, change, with_state=with_state)

    async def _forget_user(self, user_id: str) -> Forgotten:
        with guard:
            return Forgotten(self._accounts.remove(account_names(user_id)))

    async def scrub(self) -> list[str]:
        """Name what is out of reach."""
        return ["what this process still holds outside the store", BACKUPS]

    async def list_sessions(
        self,
        prefix: str = "",
        *,
        parent_id: str | None = None,
        user_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SessionPage:
        """Return the ids of the sessions, the one with the newest message first."""
        before = check_page(limit, cursor)

        def fits(session_id: str) -> bool:
            session = self._sessions[session_id]
            return (
                session_id.startswith(prefix)
                and (parent_id is None or session.parent_id == parent_id)
                and (user_id is None or session.user_id == user_id)
            )

        with guard:
            self._free_expired()
            return page_of(
                (
                    row
                    for row in self._placement.newest_first()
                    if (before is None or row < before) and fits(row[1])
                ),
                limit,
            )

    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Let a session's conversation live so many hours longer."""
        check_hours(additional_hours, "additional_hours", "extend a session's life")
        with guard:
            self._free_expired()
            conversation = self._conversations.get(session_id)
            if conversation is None:
                return False
            conversation.expires_at += additional_hours * 3600
            for parent in conversation.with_parents()[1:]:
                parent.keep_until(conversation.expires_at)
            return True

    async def time_to_live(self, session_id: str) -> float | None:
        """Return the seconds until a session expires unless it is written to."""
        with guard:
            self._free_expired()
            conversation = self._conversations.get(session_id)
            return None if conversation is None else conversation.expires_at - self._clock()

    async def change_account(
        self,
        name: str,
        change: Callable[[dict[str, Any] | None], dict[str, Any] | None],
        *,
        hours: float | None = None,
    ) -> None:
        """Change a small object beside the sessions in one step."""
        with guard:
            self._accounts.change(name, change, hours)

    async def segment_ids(self, session_id: str) -> list[str]:
        """Return the ids of all segments of a session's conversation, the first one first."""
        with guard:
            places = self._places(session_id)
            return sorted(places, key=places.__getitem__)

    async def log_states(self, session_id: str) -> list[LogState]:
        """How far the logs of all segments of a session's conversation have come, the first one first."""
        with guard:
            return [
                LogState(
                    each, f"{self._born[each]} {self._edits.get(each, 0)}", len(self._sessions[each].events)
                )
                for each in await self.segment_ids(session_id)
            ]

    async def last_segment_id(self, session_id: str) -> str | None:
        """Return the id of the last of these segments, or `None` if the session does not exist."""
        with guard:
            places = self._places(session_id)
            return max(places, key=places.__getitem__, default=None)

    def _places(self, session_id: str) -> dict[str, int]:
        self._free_expired()
        conversation = self._conversations.get(session_id)
        return {} if conversation is None else conversation.session_ids

    async def durability_report(self) -> DurabilityReport:
        """Report that everything ends with the process."""
        return DurabilityReport("memory", "everything when the process ends")

    def get_stats(self) -> dict[str, Any]:
        """Return how many sessions and conversations there are, and the limits."""
        with guard:
            self._free_expired()
            return {
                "provider": "memory",
                "sessions": len(self._sessions),
                "conversations": len(self._by_last_write),
                "max_sessions": None if math.isinf(self._max_sessions) else self._max_sessions,
                "ttl_hours": None if math.isinf(self._ttl) else self._ttl / 3600,
            }

    # -- keeping and freeing --------------------------------------------------------------------

    def _keep(self, session: AnySession) -> None:
        check_session_id(session.id, "save a session")
        conversation = self._conversations.get(session.id)
        is_new = conversation is None
        if conversation is None:
            conversation = self._conversation_for(session)
            conversation.session_ids[session.id] = 1 + conversation.session_ids.get(
                session.parent_id or "", -1
            )
            self._conversations[session.id] = conversation
        self._sessions[session.id] = session
        self._births += 1
        session.bind(self, mark=self._born.setdefault(session.id, self._births))
        self._share(session, conversation)
        if not self._placement.place_saved(session):
            self._edits[session.id] = self._edits.get(session.id, 0) + 1
        self._renew(conversation)
        if is_new:
            self._shared.share(session.id, session.events)
            self._free_oldest(but=conversation)

    def _share(self, session: AnySession, conversation: KeptConversation) -> None:
        """Give all segments this one's state and properties, which belong to the conversation."""
        if len(conversation.session_ids) == 1 or session.metadata is None:
            return
        for session_id in conversation.session_ids:
            other = self._sessions.get(session_id)
            if other is not None and other.metadata is not None:
                other.state, other.metadata.properties = session.state, session.metadata.properties

    def _conversation_for(self, session: AnySession) -> KeptConversation:
        """The conversation that the session continues; or a new one, which is a child of its parent's."""
        parent = self._conversations.get(session.parent_id) if session.parent_id else None
        if parent is not None and is_segment_after(session, session.parent_id):
            return parent
        found = KeptConversation(self._clock() + self._ttl)
        if parent is not None:
            found.become_child_of(parent)
        if not math.isinf(self._ttl):
            heapq.heappush(self._due, (found.expires_at, id(found), found))
        for child_id in session.child_ids:  # children that were saved before this session
            child = self._conversations.get(child_id)
            if child is not None and child.parent is None:
                child.become_child_of(found)
        return found

    def _renew(self, conversation: KeptConversation) -> None:
        expires_at = self._clock() + self._ttl
        if conversation is self._last_written and conversation.parent is None:  # true for most appends
            conversation.keep_until(expires_at)
            return
        for renewed in reversed(conversation.with_parents()):
            renewed.keep_until(expires_at)
            self._by_last_write.pop(renewed, None)
            self._by_last_write[renewed] = None
        self._last_written = conversation

    def _free_expired(self) -> None:
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            _, number, conversation = heapq.heappop(self._due)
            if conversation.expires_at <= now:
                self._free(conversation)
            elif conversation.session_ids:
                heapq.heappush(self._due, (conversation.expires_at, number, conversation))

    def _free_oldest(self, but: KeptConversation) -> None:
        """Free conversations, children before their parents, until at most `max_sessions` are left."""
        while len(self._sessions) > self._max_sessions:
            without_children = (each for each in self._by_last_write if not each.children)
            oldest = next((each for each in without_children if each is not but), None)
            if oldest is None:
                return
            self._free(oldest)
            self._forget_empty()
            if not self._warned:
                self._warned = True
                logger.warning(
                    "The memory store is full (max_sessions=%s): from now on, it drops the least recently "
                    "written conversations",
                    self._max_sessions,
                )

    def _free(self, conversation: KeptConversation) -> None:
        self._forget(conversation)
        for session_id in conversation.session_ids:
            self._drop(session_id)
            self._conversations.pop(session_id, None)
        conversation.session_ids.clear()

    def _drop(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)
        self._shared.release(session_id)
        self._born.pop(session_id, None)
        self._edits.pop(session_id, None)
        self._placement.remove(session_id)

    def _forget(self, conversation: KeptConversation) -> None:
        self._by_last_write.pop(conversation, None)
        self._last_written = None
        conversation.leave_family()

    def _forget_empty(self) -> None:
        """Drop entries of emptied conversations once they are the majority, before their time is over."""
        if len(self._due) > 2 * len(self._by_last_write) + 64:
            self._due = [entry for entry in self._due if entry[2].session_ids]
            heapq.heapify(self._due)
