"""Erasing: every copy of a conversation, or of all that a user said, goes out of a store, with a receipt.

Deleting a conversation makes it absent. Erasing also reaches what else holds its words or leads to it: copies
in conversations that were forked from it, lists, records beside it, accounts, and the space in a file that it
took up.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidInput, SessionNotFound, UnreadableData, session_not_found
from ..exceptions.validation import check_flag, check_name, check_session_id, copied
from ..models import EventType, Session, SessionEvent
from ..models.home import HomeStore
from ..models.session_event import origin_of
from ..models.session_metadata import origins_of
from ..models.session_totals import SessionTotals
from .receipts import BACKUPS, Erased, ErasureReceipt, Forgotten, Shared, Tally
from .recency import microseconds_of

if TYPE_CHECKING:
    from .base import SessionPage

_PERIODS = ("day", "month", "total")
_LISTED_AT_ONCE = 500
_AGE = re.compile(r"(\d{1,6})\s*([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST = timedelta(days=36_500)


class Erasing(ABC):
    """The part of a store that erases: the same steps on every store, over what each store can do."""

    async def erase_conversation(self, session_id: str) -> ErasureReceipt:
        """Erase a conversation: every copy of it that this store keeps, in every place.

        That is all segments with their summaries, the lists and records that lead to it, and the events that
        were copied from it into conversations that were forked from it; these go on without them. Whoever
        goes on writing to it gets `SessionNotFound`; a new manager under the same id begins a new
        conversation.

        The call may be interrupted at any point and made again: it does the rest, and what is not there
        (any more) is no error. What other calls left undone is done, too.

        Args:
            session_id: the id of any segment.

        Returns:
            The receipt. Its `unreached` names where copies may be left.

        Raises:
            InvalidInput: no session can have such an id.
            StorageError: the store could not do it, or not all of it: call again.
        """
        check_session_id(session_id, "erase a conversation")
        tally = Tally()
        await self._take_up_erasures()
        await self._erase(session_id, tally)
        return tally.receipt(await self.scrub())

    async def erase_user(self, user_id: str) -> ErasureReceipt:
        """Erase all conversations of a user, as `erase_conversation` does, and what they spent.

        A user's are those with the property "user_id", which `SessionManager(user_id=...)` sets.
        Conversations that writers begin while this goes on are erased as long as new ones are found; what
        they begin after that is new.

        Returns:
            The receipt.

        Raises:
            InvalidInput: the user's id is no text, or empty.
            StorageError: the store could not do it, or not all of it: call again.
        """
        check_name(user_id, "user_id", "erase a user")
        tally = Tally(user_id=user_id)
        await self._take_up_erasures()
        before = -1
        while len(tally.sessions) > before:
            before = len(tally.sessions)
            for each in [each async for each in self._sessions_of_user(user_id)]:
                if each not in tally.sessions or await self._is_there(each):
                    await self._erase(each, tally)
        forgotten = await self._forget_user(user_id)
        for each in forgotten.sessions:
            await self._erase(each, tally)
        tally.accounts = forgotten.accounts
        return tally.receipt([*forgotten.unreached, *await self.scrub()])

    async def prune(
        self, older_than: timedelta | str, *, user_id: str | None = None, dry_run: bool = False
    ) -> ErasureReceipt:
        """Erase conversations to which nothing was said for so long.

        The time of a conversation's newest message decides, whichever segment the message is in. Summaries
        are not messages. Calls at the same time may both name a conversation in their receipts.

        Conversations that were forked from them keep the events that they began with: these are as old as the
        conversation that holds them. One that somebody writes to meanwhile stays.

        Args:
            older_than: a duration; or a text such as "90d", "12h" or "4w".
            user_id: only this user's.
            dry_run: erase nothing, and say what would be erased.

        Returns:
            The receipt.

        Raises:
            InvalidInput: the duration is not above 0, is over a hundred years, or is a text that names no
                duration; or `dry_run` is not `True` or `False`.
            StorageError: the store could not do it, or not all of it: call again.
        """
        age = checked_age(older_than, "prune")
        check_flag(dry_run, "dry_run", "prune")
        if user_id is not None:
            check_name(user_id, "user_id", "prune")
        tally = Tally(user_id=user_id)
        since = microseconds_of(tally.started_at - age)
        if not dry_run:
            await self._take_up_erasures()
        old = dict.fromkeys([each async for each in self._sessions_before(since, user_id)])
        looked_at: set[str] = set()
        for each in old:
            if each in looked_at:
                continue
            ids = await self.segment_ids(each)
            looked_at.update(ids)
            if not ids or await self._is_said_since(ids, old, since):
                continue
            erased = await (self._counted(each) if dry_run else self._erase_stored(each, since))
            if erased is not None:
                tally.add(erased)
        return tally.receipt([] if dry_run else await self.scrub(), is_dry_run=dry_run)

    async def rewrite_events(
        self,
        session_id: str,
        change: Callable[[SessionEvent[Any]], SessionEvent[Any] | None],
        *,
        with_state: bool = False,
    ) -> int:
        """Change stored events for good, or take them out; the log is read and written for it.

        Args:
            session_id: the segment.
            change: gives what stands in an event's place: the event itself where it stays as it is, `None`
                where it goes. It may be called again where another writer came first.
            with_state: write over the state and properties that a closed segment was closed with, too; the
                conversation's are those of its last segment.

        Returns:
            How many events changed or went.

        Raises:
            SessionNotFound: the session expired or was deleted.
            StorageError: the store could not do it.
        """
        return await rewrite_whole(self, session_id, change, with_state=with_state)

    async def forks_of(self, conversation_id: str) -> AsyncIterator[str]:
        """The ids of conversations that began with what was said in this one."""
        async for each in self._all_ids():
            with suppress(UnreadableData):
                session = await self.head(each)
                if session is None or conversation_id not in origins_of(session.metadata.properties):
                    continue
                if (await self.segment_ids(each))[:1] == [each]:  # others are no conversations of their own
                    yield each

    async def scrub(self) -> list[str]:
        """Let nothing of what was deleted be left in files; where something may be that is out of reach."""
        return [BACKUPS]

    # -- the steps ------------------------------------------------------------------------------

    async def _erase(self, session_id: str, tally: Tally) -> None:
        """Erase one conversation, and the copies of its events."""
        ids = await self.segment_ids(session_id) or [session_id]
        parent = await self._parent_of(ids[0])
        tally.copies += await self._erase_copies(ids[0], await self._shared_by(ids[-1]))
        erased = await self._erase_stored(session_id, None)
        if erased is not None:
            tally.add(erased)
            # Of forks that were made meanwhile; from now on there are none.
            tally.copies += await self._erase_copies(erased.session_ids[0])
            if parent is not None:
                await self._take_out_child(parent, erased.session_ids[0])

    async def _parent_of(self, session_id: str) -> str | None:
        with suppress(UnreadableData):
            session = await self.head(session_id)
            return None if session is None else session.parent_id
        return None

    async def _shared_by(self, session_id: str) -> Shared | None:
        """What forks may have of a conversation beside its events."""
        with suppress(UnreadableData):
            session = await self.head(session_id)
            if session is not None:
                return Shared(copied(session.state), copied(session.metadata.properties))
        return None

    async def _take_out_child(self, parent_id: str, child_id: str) -> None:
        """Let a parent not name a conversation any more that was erased."""
        with suppress(SessionNotFound, UnreadableData):
            parent = await self.head(parent_id)
            if parent is not None and child_id in parent.child_ids:
                await parent.remove_child(child_id)

    async def _erase_copies(self, conversation_id: str, shared: Shared | None = None) -> int:
        """Take a conversation's events out of those that were forked from it; how many there were."""
        copies = 0
        for fork in [each async for each in self.forks_of(conversation_id)]:
            with suppress(SessionNotFound):  # it was deleted meanwhile
                copies += await self._erase_copies_in(fork, conversation_id, shared)
        return copies

    async def _erase_copies_in(self, fork: str, conversation_id: str, shared: Shared | None) -> int:
        copies: set[str] = set()

        def change(event: SessionEvent[Any]) -> SessionEvent[Any] | None:
            if conversation_id in origin_of(event).conversations:
                copies.add(event.id)
                return None
            # Each was made of what the fork began with, too. Without it, readers make their own.
            return unsaid_summary(event) if event.type == EventType.SUMMARY else event

        if shared is not None:
            await self._update_last(fork, shared.take_out)
        changed = 0
        for segment_id in await self.segment_ids(fork):
            changed += await self.rewrite_events(segment_id, change, with_state=True)
        if changed:
            await self._update_last(fork, note_rewriting)
        return len(copies)

    async def _update_last(self, session_id: str, change: Callable[[Session[Any]], None]) -> None:
        """Change what is the conversation's."""
        last = await self.last_segment_id(session_id)
        session = None if last is None else await self.head(last)
        if session is not None:
            await self.update(session, change)

    # -- what stores do in their own way --------------------------------------------------------

    async def _erase_stored(self, session_id: str, written_since: int | None) -> Erased | None:
        """Erase a conversation with all that leads to it; `None` where there is none.

        `written_since`, in microseconds since 1970, spares one that was written to since then.
        """
        erased = await self._counted(session_id)
        if erased is None or await self._is_written_since(erased.session_ids[-1], written_since):
            return None
        await self.delete_conversation(session_id)
        for each in erased.session_ids:
            await self.delete(each)
        return erased

    async def _is_written_since(self, session_id: str, since: int | None) -> bool:
        if since is None:
            return False
        with suppress(UnreadableData):
            session = await self.head(session_id)
            return session is not None and microseconds_of(session.last_update_time) >= since
        return True  # whoever wants it gone can erase it by its id

    async def _is_said_since(self, ids: Sequence[str], old: Collection[str], since: int) -> bool:
        """Whether any segment of a conversation has a message since then; those in `old` have none."""
        *closed, last = ids
        if last not in old:
            return True
        for each in closed:  # one that is not in `old` may have only its summary since then
            if each not in old and await self._has_messages_since(each, since):
                return True
        return False

    async def _has_messages_since(self, session_id: str, since: int) -> bool:
        with suppress(UnreadableData):
            session = await self.get(session_id)
            return session is not None and any(
                event.type != EventType.SUMMARY and microseconds_of(event.timestamp) >= since
                for event in session.events
            )
        return True  # as in `_is_written_since`

    async def _counted(self, session_id: str) -> Erased | None:
        """A conversation's segments and how many events they have, as far as these can be read."""
        ids, events = await self.segment_ids(session_id), 0
        for each in ids:
            with suppress(UnreadableData):
                session = await self.head(each)
                events += 0 if session is None else session.totals.events
        return Erased(ids, events) if ids else None

    async def _is_there(self, session_id: str) -> bool:
        return bool(await self.segment_ids(session_id))

    async def _take_up_erasures(self) -> None:  # noqa: B027  (most erase in one step)
        """Finish what an interrupted call began."""

    async def _forget_user(self, user_id: str) -> Forgotten:  # noqa: ARG002  (of those that keep accounts)
        """Delete what lies beside the sessions of a user."""
        return Forgotten()

    async def _sessions_of_user(self, user_id: str) -> AsyncIterator[str]:
        """The ids of a user's sessions."""
        async for each in self._all_ids(user_id=user_id):
            yield each

    async def _sessions_before(self, since: int, user_id: str | None) -> AsyncIterator[str]:
        """The ids of sessions that were not written to since then."""
        async for each in self._all_ids(user_id=user_id):
            if not await self._is_written_since(each, since):
                yield each

    async def _all_ids(self, user_id: str | None = None, cursor: str | None = None) -> AsyncIterator[str]:
        """The ids of sessions, newest first, from a place in the list on."""
        while True:
            page = await self.list_sessions(user_id=user_id, limit=_LISTED_AT_ONCE, cursor=cursor)
            for each in page:
                yield each
            if (cursor := page.next_cursor) is None:
                return

    # -- what `EventStore` has besides ----------------------------------------------------------

    @abstractmethod
    async def get(self, session_id: str) -> Session[Any] | None:
        """The stored session."""

    @abstractmethod
    async def head(self, session_id: str) -> Session[Any] | None:
        """The session without its events."""

    @abstractmethod
    async def save(self, session: Session[Any]) -> None:
        """Store the whole session."""

    @abstractmethod
    async def update(self, session: Session[Any], change: Callable[[Session[Any]], None]) -> None:
        """Change what a session is besides its events."""

    @abstractmethod
    async def segment_ids(self, session_id: str) -> list[str]:
        """The ids of all segments of a conversation."""

    @abstractmethod
    async def last_segment_id(self, session_id: str) -> str | None:
        """The id of the last of them."""

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Delete a session."""

    @abstractmethod
    async def delete_conversation(self, session_id: str) -> int:
        """Delete a conversation."""

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
        """The ids of stored sessions."""


async def rewrite_whole(
    store: Erasing | HomeStore,
    session_id: str,
    change: Callable[[SessionEvent[Any]], SessionEvent[Any] | None],
    *,
    with_state: bool = False,
) -> int:
    """What `Erasing.rewrite_events` does, where a store can only save the whole session."""
    session = await store.get(session_id)
    if session is None:
        raise session_not_found(session_id)
    log = [change(event) for event in session.events]
    changed = sum(new is not old for new, old in zip(log, session.events, strict=True))
    last = await store.last_segment_id(session_id) if with_state else None
    live = None if last in {None, session_id} else await store.head(last or "")
    if live is not None:
        session.state, session.metadata.properties = live.state, live.metadata.properties
    if changed or live is not None:
        for event, new in zip(session.events, log, strict=True):
            if new is None and event.token_usage:
                session.token_summary.subtract(event.token_usage)
        session.events = [event for event in log if event is not None]
        session.go_on_from(SessionTotals(), None)  # to count what is there now
        await store.save(session)
    return changed


def account_name(period: str, user_id: str) -> str:
    """What a store calls the account of what a user spends in a day, a month, or in total."""
    return f"budget:{period}:{user_id}"


def account_names(user_id: str) -> list[str]:
    """All accounts that a user may have."""
    return [account_name(period, user_id) for period in _PERIODS]


def unsaid_summary(event: SessionEvent[Any]) -> SessionEvent[Any]:
    """What stands in the place of a summary whose words go: its bill, where it has one.

    A segment without a summary is summarised by whoever reads it, from what its events say then.
    """
    return event.model_copy(
        update={"message": None, "type": EventType.REFERENCE, "metadata": {}, "native": None, "context": None}
    )


def note_rewriting(session: Session[Any]) -> None:
    """Note in a conversation's last segment that words of it went for good."""
    session.metadata.rewritten += 1


def checked_age(value: timedelta | str, operation: str) -> timedelta:
    """A duration, as such or as a text: "90d", "12h", "4w".

    Raises:
        InvalidInput: it is none, not above 0, or over a hundred years.
    """
    age = value
    if isinstance(value, str):
        found = _AGE.fullmatch(value.strip())
        age = int(found[1]) * _UNITS[found[2]] if found else value
    if not isinstance(age, timedelta):
        reason = 'older_than is a timedelta, or a number with h, d or w: "12h", "90d", "4w"'
        raise InvalidInput(operation, reason)
    if not timedelta(0) < age <= _LONGEST:
        raise InvalidInput(operation, "older_than must be above 0, and at most a hundred years")
    return age
