"""The common part of durable stores: it reads, compares and changes sessions; a store moves records."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4
from weakref import WeakKeyDictionary, WeakValueDictionary

from ..exceptions import (
    InvalidInput,
    SessionAlreadyExists,
    StorageError,
    session_not_found,
)
from ..exceptions.validation import (
    MAX_ID_LENGTH,
    check_hours,
    check_session_id,
    check_ttl_hours,
)
from ..models.collisions import TRIES, after_a_collision, kept_changing
from ..models.event_page import EventPage
from ..models.session_totals import SessionTotals
from .base import (
    AnyEvent,
    AnySession,
    SessionPage,
    check_page,
    check_page_size,
    page_of,
)
from .bodies import has_marks, hashes_in, needed_hashes
from .changes import (
    AS_READ,
    WHILE_LIVE,
    Appended,
    Change,
    Mark,
    MovedError,
    is_session_id,
    is_stored_text,
)
from .codec import (
    decode_events,
    decode_rows,
    decode_session,
    encode_header,
    encoded,
    header_value,
    with_bodies,
)
from .counting import counters_after, counters_of, totals_of, usage_only
from .merging import SHARED, is_closed, merged_shared
from .objects import (
    LARGEST_PAGE,
    bring_up_to_date,
    change_of_log,
    changes_of,
    first_page_size,
    mark_of,
    merged_log,
    place_of_new,
    put_in_place,
    take_header,
)
from .recency import NOW, microseconds_of, place_of
from .record_store import RecordStore
from .redaction import RedactHook, checked_hook, redact_events
from .stored_data import StoredSession

# A revision that no stored session has.
_NO_REVISION = -1


class DurableStore(RecordStore):
    """A store whose sessions outlive the process.

    All code in one event loop that reads a session gets the same object. The object knows
    which events it has: reading it again reads only new ones, and saving it writes only the application's
    changes, and keeps the changes of others.
    """

    def __init__(self, sandbox_id: str, ttl_hours: float | None, redact: RedactHook | None = None) -> None:
        operation = "open a store"
        if not is_session_id(sandbox_id):
            raise InvalidInput(operation, f"sandbox_id must be 1 to {MAX_ID_LENGTH} printable characters")
        check_ttl_hours(ttl_hours, operation)
        self.sandbox_id = sandbox_id
        self.ttl_hours = ttl_hours
        self.redact: RedactHook | None = checked_hook(redact, operation)
        self._objects: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, AnySession]] = (
            WeakKeyDictionary()
        )

    # -- reading --------------------------------------------------------------------------------

    async def get(self, session_id: str) -> AnySession | None:
        """Return the stored session, or `None`; if this event loop has an object of it, that object."""
        return await self._load(session_id, with_events=True)

    async def head(self, session_id: str) -> AnySession | None:
        """Return the session as far as writing to it needs: without events, however long it is."""
        return await self._load(session_id, with_events=False)

    async def latest(self, session: AnySession, *, with_events: bool = True) -> AnySession | None:
        """Bring `session` up to date and return it; `None` if it is gone."""
        mark = self._mark(session)
        if mark is not None and await self._catch_up(session, mark, with_events=with_events):
            return session
        if self._in_use.get(session.id) is session:
            del self._in_use[session.id]
        return await self._load(session.id, with_events=with_events)

    async def newest_events(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """Return the newest events of the session as it is stored now, reading little more than these."""
        return await self._newest(session, before, limit, tokens, may_lack=False)

    async def newest_outlines(
        self,
        session: AnySession,
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
    ) -> EventPage | None:
        """The same without the bytes of images, audio and files, for which an `AbsentText` stands."""
        return await self._newest(session, before, limit, tokens, may_lack=True)

    async def _newest(
        self,
        session: AnySession,
        before: int | None,
        limit: int | None,
        tokens: int | None,
        *,
        may_lack: bool,
    ) -> EventPage | None:
        check_page_size(limit)
        for attempt in range(TRIES):
            page, has_bodies = await self._newest_rows(session, before, limit, tokens)
            if page is None:
                break
            needed = needed_hashes(page.events, may_lack=may_lack) if has_bodies else set()
            found = await self._fetch(needed) if needed else {}
            if len(found) == len(needed):
                await with_bodies(session.id, page.events, found if has_bodies else None, may_lack=may_lack)
                break
            await after_a_collision(attempt)  # an event was deleted meanwhile, with its body
        return page

    async def _newest_rows(
        self, session: AnySession, before: int | None, limit: int | None, tokens: int | None
    ) -> tuple[EventPage | None, bool]:
        """The newest events without bodies, and whether they refer to any."""
        mark, size, end = self._mark(session), first_page_size(session, limit, tokens), before
        read: list[AnyEvent] = []
        has_bodies = False
        while True:
            stored = await self._read(session.id, 0 if size is None else -size, end)
            if stored is None:
                return None, False
            if mark is not None and (stored.born, stored.rewrites) != (mark.born, mark.rewrites):
                return None, False
            read = [*await decode_rows(stored), *read]
            has_bodies = has_bodies or (self.keeps_bodies and any(map(has_marks, stored.bodies)))
            page = EventPage.at_end_of(read, limit=limit, tokens=tokens, number=stored.start)
            if stored.start == 0 or page.first > stored.start or len(read) == limit:
                return page, has_bodies
            # The events read so far are not enough.
            size, end = min(2 * len(read), LARGEST_PAGE), stored.start

    async def events_by_id(self, session_id: str, event_ids: Sequence[str]) -> list[AnyEvent]:
        """Return events of a session's conversation, whichever segments they are in."""
        stored = StoredSession(session_id, "", {}, {})
        for _ in range(TRIES if is_session_id(session_id) else 0):
            stored.bodies = await self._find(session_id, event_ids)
            if not self.keeps_bodies:
                break
            hashes: set[str] = set().union(*map(hashes_in, stored.bodies))
            stored.found = await self._fetch(hashes) if hashes else {}
            if len(stored.found) == len(hashes):  # otherwise an event was deleted meanwhile, with its body
                break
        return await decode_events(stored)

    async def _load(self, session_id: str, *, with_events: bool) -> AnySession | None:
        if not is_session_id(session_id):
            return None  # nothing can be stored under this id
        found = self._in_use.get(session_id)
        mark = None if found is None else self._mark(found)
        if found is not None and mark and await self._catch_up(found, mark, with_events=with_events):
            return found
        stored = await self._read_whole(session_id, 0 if with_events else None)
        if stored is None:
            return None
        session = await decode_session(stored)
        found = self._in_use.get(session_id)  # by another reader, meanwhile
        mark = None if found is None else self._mark(found)
        if found is not None and mark and await self._catch_up(found, mark, with_events=with_events):
            return found
        self._put_in_use(session, mark_of(stored))
        return session

    def _put_in_use(self, session: AnySession, mark: Mark) -> None:
        """Let an object be the one of its session that all have here."""
        session.bind(self, mark)
        self._in_use[session.id] = session

    @property
    def _in_use(self) -> WeakValueDictionary[str, AnySession]:
        """The objects of sessions that somebody in this event loop holds, so that all hold the same ones."""
        loop = asyncio.get_running_loop()
        found = self._objects.get(loop)
        if found is None:
            found = self._objects[loop] = WeakValueDictionary()
        return found

    async def _catch_up(
        self, session: AnySession, mark: Mark, *, with_events: bool = False, mine: Sequence[AnyEvent] = ()
    ) -> bool:
        """Read what an object lacks of its session; `False` if the session is gone, or another has its id.

        `mine` are events that were just stored: these objects themselves are put into the log.
        """
        lacks_some = with_events and mark.first > 0
        stored = await self._read_whole(session.id, 0 if lacks_some else mark.count)
        if stored is not None and stored.rewrites != mark.rewrites and stored.start:
            stored = await self._read_whole(session.id, 0)
        if stored is None or stored.born != mark.born:
            return False
        if stored.revision == mark.revision and stored.fields == mark.fields and not lacks_some:
            return True
        read = await decode_session(stored)
        now = self._mark(session)
        if now is not None and now.revision <= stored.revision:  # otherwise, a newer state was read meanwhile
            bring_up_to_date(session, now, stored, read, mine)
            first = stored.start if stored.start == 0 else now.first
            session.bind(self, mark_of(stored, first))
        return True

    def _mark(self, session: AnySession) -> Mark | None:
        mark = session.mark_of(self)
        return mark if isinstance(mark, Mark) else None

    # -- appending ------------------------------------------------------------------------------

    async def append(
        self, session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
    ) -> bool:
        """Store events at the session's end in one step, with earlier ones that were only in memory."""
        return await self._append(session, events, AS_READ if only_if_current else None)

    async def append_while_live(self, session: AnySession, events: Sequence[AnyEvent]) -> bool:
        """The same, unless another segment follows the session."""
        return await self._append(session, events, WHILE_LIVE)

    async def _append(self, session: AnySession, events: Sequence[AnyEvent], only_at: int | None) -> bool:
        session.check_new(events)
        mark = self._mark(session)
        if mark is not None:
            events = [*session.events[mark.count - mark.first :], *events]
        if self.redact is not None:
            await redact_events(events, self.redact)
        written = await encoded(events, with_bodies=self.keeps_bodies)
        if not written:
            return True
        if only_at == AS_READ:
            only_at = _NO_REVISION if mark is None else mark.revision
        appended = await self._add(session.id, written, mark.born if mark else "", only_at)
        if appended is None:
            return False
        await self._take_over(session, events, len(written), appended)
        return True

    async def _take_over(
        self, session: AnySession, events: Sequence[AnyEvent], sent: int, appended: Appended
    ) -> None:
        """Add the events that were stored through an object to it, after those that others stored before."""
        mark = self._mark(session)  # read now, because others may have used the object during the append
        if mark is None:
            session.record(*events)
            return
        is_next = (appended.count, appended.revision) == (mark.count, mark.revision + 1)
        if is_next and appended.added == sent:
            put_in_place(session, mark, events)
            count = appended.count + sent
            session.bind(
                self, Mark(mark.born, mark.fields, appended.revision, mark.rewrites, mark.first, count)
            )
            return
        if not appended.added and appended.revision == mark.revision:
            return  # the object has all of them
        try:
            caught_up = await self._catch_up(session, mark, mine=events)
        except StorageError:
            caught_up = False
        if not caught_up:
            session.record(*events)  # they are stored; the next reading brings the others

    # -- writing --------------------------------------------------------------------------------

    async def create(self, session: AnySession) -> None:
        """Store a new session, and enter it as a child of its parent if the parent exists."""
        await self._create_new(session, follows_at=None)

    async def create_next(self, session: AnySession, before: AnySession) -> bool:
        """Store the segment after another, with its state and properties, unless `before` was written to."""
        mark = self._mark(before)
        if mark is None:
            return await super().create_next(session, before)
        session.state = header_value("state", mark.fields["state"])
        session.metadata.properties = header_value("metadata", mark.fields["metadata"]).properties
        try:
            await self._create_new(session, follows_at=mark.revision)
        except MovedError:
            return False
        return True

    async def _create_new(self, session: AnySession, follows_at: int | None) -> None:
        check_session_id(session.id, "create a session")
        if not await self._store_new(session, follows_at):
            raise SessionAlreadyExists(session.id)
        parent = self._in_use.get(session.parent_id or "")
        if parent is not None and parent.mark_of(self):
            with suppress(StorageError):  # the session is stored; the parent's object is updated later
                await self.latest(parent, with_events=False)

    async def _store_new(self, session: AnySession, follows_at: int | None = None) -> bool:
        if self.redact is not None:
            await redact_events(session.events or [], self.redact)
        log = list(session.events or [])  # a copy: the object may get more events meanwhile
        totals, newest = totals_of(log)
        counters = counters_of(totals, session.token_summary, newest)
        fields = encode_header(session)
        events = await encoded(log, with_bodies=self.keeps_bodies)
        born = uuid4().hex
        if newest is not None:  # as with imports, whose messages may be of any time
            place = microseconds_of(newest)
        else:
            place = place_of(microseconds_of(session.metadata.created_at)) if session.metadata else NOW
        change = Change(fields, counters, place, events=events, born=born, follows_at=follows_at)
        if not await self._create(session, change):
            return False
        self._put_in_use(session, Mark(born, fields, 1, 0, first=0, count=len(events)))
        return True

    async def save(self, session: AnySession) -> None:
        """Store the application's changes: header fields, and events that were edited, added or removed."""
        check_session_id(session.id, "save a session")
        if self.redact is not None:
            await redact_events(session.events or [], self.redact)
        for _ in range(TRIES):
            stored = await self._read_whole(session.id, 0)
            mark = self._mark(session)
            if mark is not None and (stored is None or stored.born != mark.born):
                raise session_not_found(session.id)  # a deleted session must not come back
            if stored is None:
                if await self._store_new(session):
                    return
            elif await self._save_over(session, stored, (await decode_session(stored)).events):
                return
        raise kept_changing(session.id)

    async def _save_over(self, session: AnySession, stored: StoredSession, there: Sequence[AnyEvent]) -> bool:
        """Write an object's changes, unless another writer is faster; then the object is up to date."""
        mark, here = self._mark(session), list(session.events or [])
        log, others = merged_log(here, mark, there)
        header = encode_header(session)
        changed = header if mark is None else changes_of(header, mark.fields, stored.fields)
        if mark is not None:
            await self._share(session.id, stored.fields, changed)
        totals, newest = totals_of(log)
        counters = counters_of(totals, session.token_summary, newest)
        counters = counters_after(counters, map(usage_only, others))
        change = await change_of_log(there, log, changed, counters, with_bodies=self.keeps_bodies)
        change = replace(change, place=place_of_new(log, there))
        if not await self._change(session.id, change, stored.born, stored.revision):
            return False
        now = self._mark(session)
        if now is not None and now.born == stored.born and now.revision > stored.revision:
            return True  # other tasks used the object meanwhile, and have a newer state of it
        known = {event.id for event in (*log, *here)}
        had = {event.id for event in session.events or []}
        session.events = log + [event for event in session.events or [] if event.id not in known]
        session.go_on_from(SessionTotals(), None)
        for event in others:
            if event.token_usage and event.id not in had:
                session.token_summary.add(event.token_usage)
        for name, text in (stored.fields | changed).items():
            if mark is not None and text != header[name]:
                setattr(session, name, header_value(name, text))  # as others changed it
        rewrites = stored.rewrites + (change.keep is not None and change.keep < len(there))
        fields, revision = stored.fields | changed, stored.revision + 1
        self._put_in_use(session, Mark(stored.born, fields, revision, rewrites, first=0, count=len(log)))
        return True

    async def save_header(self, session: AnySession) -> None:
        """Store the application's changes other than events; without a change, no I/O."""
        mark = self._mark(session)
        if mark is None:
            await self.save(session)
            return
        header, before = encode_header(session), mark.fields
        if header != before:
            await self._change_header(session, lambda stored, _: changes_of(header, before, stored.fields))

    async def update(self, session: AnySession, change: Callable[[AnySession], None]) -> None:
        """Change the stored session, and this object."""
        if self._mark(session) is None and not session.is_bound and await self.head(session.id) is None:
            change(session)
            await self.save(session)
            return

        def changed(stored: StoredSession, read: AnySession) -> dict[str, str]:
            change(read)
            return {k: v for k, v in encode_header(read).items() if v != stored.fields[k]}

        await self._change_header(session, changed)

    async def _change_header(
        self, session: AnySession, changed: Callable[[StoredSession, AnySession], dict[str, str]]
    ) -> None:
        """Write header fields, made anew from the stored ones until no other writer is faster."""
        for attempt in range(TRIES):
            stored = await self._read(session.id, None)
            if stored is None:
                raise session_not_found(session.id)  # expired or deleted: it must not come back
            fields = changed(stored, await decode_session(stored))
            if not fields:
                return
            await self._share(session.id, stored.fields, fields)
            if await self._change(session.id, Change(fields), stored.born, stored.revision):
                mark = take_header(session, self._mark(session), stored.revision, fields)
                if mark is not None:
                    session.bind(self, mark)
                return
            await after_a_collision(attempt)
        raise kept_changing(session.id)

    async def _share(self, session_id: str, before: Mapping[str, str], fields: Mapping[str, str]) -> None:
        """Write a closed segment's changes of state and properties to the conversation's last segment."""
        names = [name for name in SHARED if name in fields]
        if not names or not is_closed(session_id, before):
            return
        for attempt in range(TRIES):
            live_id = await self.last_segment_id(session_id)
            live = await self._read(live_id, None) if live_id not in {None, session_id} else None
            if live is None or live_id is None:
                return  # deleted: the rest of the conversation ends here
            new = {name: merged_shared(name, before, fields, live.fields[name]) for name in names}
            change = Change({name: text for name, text in new.items() if text != live.fields[name]})
            if not change.fields or await self._change(live_id, change, live.born, live.revision):
                return
            await after_a_collision(attempt)
        raise kept_changing(session_id)

    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        """Let a session's conversation live so many hours longer; `False` if it does not exist."""
        check_hours(additional_hours, "additional_hours", "extend a session's life")
        return is_session_id(session_id) and await self._extend(session_id, additional_hours)

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
        if not all(is_stored_text(text) for text in (prefix, parent_id, user_id, cursor)):
            return SessionPage()
        return page_of(await self._list(prefix, parent_id, user_id, limit, before), limit)

    @abstractmethod
    async def _list(
        self,
        prefix: str,
        parent_id: str | None,
        user_id: str | None,
        limit: int | None,
        before: tuple[int, str] | None,
    ) -> list[tuple[int, str]]:
        """Return places in lists and ids of sessions, newest first: one more than `limit`, if there is."""

    @abstractmethod
    async def _extend(self, session_id: str, additional_hours: float) -> bool:
        """The same as `extend_session_ttl`, for a valid id."""
