"""Segments: a conversation beyond the context window is a chain of sessions, each the parent of the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from ..exceptions import SessionAlreadyExists, SessionNotFound, session_not_found
from ..exceptions.validation import copied
from ..models import EventType, Session, SessionMetadata
from ..models.family import enter_with_parent
from ..models.home import HomeStore
from ..models.session import next_segment_id
from ..models.session_metadata import ConversationSettings
from ..stores.base import AnyEvent, AnySession, EventStore
from ..stores.walking import is_segment_after
from .log_end import LogEnd, PathEnd

Placed: TypeAlias = "tuple[AnySession, AnyEvent]"
"""An event, and the segment that it is in."""

# How many segments are read at once: one after the other, most of the time would be spent waiting.
_READ_TOGETHER = 50


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a segment is full."""

    tokens: int
    """Content tokens."""
    messages: int

    def are_reached(self, session: AnySession) -> bool:
        """Whether the next message opens a new segment."""
        totals = session.totals
        tokens = session.token_summary.total_tokens - totals.tokens_off_path
        return tokens >= self.tokens or totals.messages >= self.messages

    def settings(self, conversation_id: str) -> ConversationSettings:
        """The settings of a new conversation with these thresholds."""
        return ConversationSettings(
            id=conversation_id, token_threshold=self.tokens, max_turns_per_segment=self.messages
        )


def is_of_segments(session: AnySession) -> bool:
    """Whether a session belongs to a conversation that continues in new segments."""
    metadata, parent_id = session.metadata, session.parent_id
    if metadata is not None and metadata.conversation is not None:
        return True
    # Most sessions have neither children nor a parent: nothing is asked of those.
    is_closed = bool(session.child_ids) and session.is_closed
    return is_closed or (parent_id is not None and is_segment_after(session, parent_id))


# -- writing --------------------------------------------------------------------------------------


async def create_session(home: HomeStore, by: _Next | None = None, **fields: Any) -> AnySession:
    """Create a session with `Session.create`, which is looked up now: an application may have replaced it."""
    session: AnySession = await Session.create(store=home if by is None else cast("HomeStore", by), **fields)
    if not session.is_bound:  # a replacement may not have stored it
        await home.save(session)
    return session


async def append_to_live(
    session: AnySession,
    events: Sequence[AnyEvent],
    home: HomeStore,
    *,
    thresholds: Thresholds,
    is_full: Callable[[AnySession], Awaitable[bool]],
    on_closed: Callable[[AnySession], object],
    prepare: Callable[[AnySession], Awaitable[None]] | None = None,
    check: Callable[[AnySession], Awaitable[None]] | None = None,
    looks_again: bool = False,
) -> tuple[bool, AnySession]:
    """Store events at the end of a conversation if no other writer is faster.

    Returns:
        Whether they are stored, and the last segment.

    Args:
        session: any segment of the conversation.
        events: the events, which are stored in one segment.
        home: the store.
        thresholds: those of a conversation that stored none.
        is_full: whether these events must go to a new segment after this one.
        on_closed: called with a segment after which a new one was opened here.
        prepare: called with the live segment before a new one is opened.
        check: called with a segment that was opened for the events; may refuse them.
        looks_again: whether to read a full segment anew before a new one is opened: what others chose
            meanwhile may matter.

    Raises:
        SessionNotFound: the conversation expired or was deleted.
    """
    while True:
        session = await live_segment(session, home)
        if prepare is not None:
            await prepare(session)
            session = await live_segment(session, home)  # others may have opened a new one meanwhile
        if looks_again and await is_full(session):
            session = await live_segment(await latest(session, home, with_events=False), home)
            if prepare is not None:
                await prepare(session)
        if await is_full(session):
            following, was_made_here = await open_next_segment(session, home, thresholds)
            if was_made_here:
                on_closed(session)
            # Other writers may have filled it by now, even if it was created here. A stand-in for a store may
            # return anything.
            may_be_full = not was_made_here or await is_full(following)
            if may_be_full and following.id != session.id:
                session = following
                continue
            session = following
            if check is not None:
                await check(session)
        return await append(session, events, home, only_if_current=True)


class _WentOnError(Exception):
    """The segment that was to be changed is closed by now."""


async def update_live(
    session: AnySession, change: Callable[[AnySession], None], home: HomeStore
) -> AnySession:
    """Change a conversation's live segment except its events; return that segment.

    Args:
        session: any segment of the conversation.
        change: called again if another writer was faster.
        home: the store.

    Raises:
        SessionNotFound: the conversation expired or was deleted.
    """

    def changed(stored: AnySession) -> None:
        if stored.is_closed:
            raise _WentOnError
        change(stored)

    while True:
        live = await live_segment(await latest(session, home, with_events=False), home)
        try:
            await home.update(live, changed)
        except _WentOnError:
            last = await live_segment(await latest(live, home, with_events=False), home)
            if last.id != live.id:
                continue
            await home.update(live, change)  # the segments after it were deleted
        return live


async def append_unfilled(session: AnySession, events: Sequence[AnyEvent], home: HomeStore) -> AnySession:
    """Store events at the end of a conversation, even if its live segment is full; return that segment.

    Raises:
        SessionNotFound: the conversation expired or was deleted.
    """
    while True:
        session = await live_segment(session, home)
        was_stored, session = await append(session, events, home, only_if_current=True)
        if was_stored:
            return session


async def append(
    session: AnySession, events: Sequence[AnyEvent], home: HomeStore, *, only_if_current: bool
) -> tuple[bool, AnySession]:
    """Store events in a session that no other segment follows.

    Args:
        session: the session.
        events: the events.
        home: the store.
        only_if_current: whether nothing is to be stored if anybody else wrote to the session.

    Returns:
        Whether the events are stored, and the session as it is now.

    Raises:
        SessionNotFound: the session expired or was deleted, and nobody created it again.
    """
    try:
        if only_if_current:
            was_stored = await home.append(session, events, only_if_current=True)
        else:
            was_stored = await home.append_while_live(session, events)
        if was_stored:
            return True, session
        return False, await latest(session, home, with_events=False)
    except SessionNotFound:
        another = await home.latest(session, with_events=False)  # another writer created it again
        if another is None or another is session:
            raise
        return False, another


async def latest(session: AnySession, home: HomeStore, *, with_events: bool = True) -> AnySession:
    """A session as it is stored now.

    Raises:
        SessionNotFound: the session expired or was deleted.
    """
    stored = await home.latest(session, with_events=with_events)
    if stored is None:
        raise session_not_found(session.id)
    return stored


async def open_next_segment(
    session: AnySession, home: HomeStore, thresholds: Thresholds
) -> tuple[AnySession, bool]:
    """Open the segment after a full one; return it, and whether it was created here, not by another writer.

    Its properties (system prompt, user, the application's own) are those of the segment before.

    Raises:
        SessionNotFound: the full segment expired or was deleted, so no segment may follow it.
    """
    child_id = next_segment_id(session.id)
    while True:
        stored = await latest(session, home, with_events=False)
        child = await _opened_after(stored, child_id, home, thresholds)
        if child is not None:
            return child


class _WrittenError(Exception):
    """A segment was written to between reading it and opening the next one."""


@dataclass(frozen=True, slots=True)
class _Next:
    """The store for a new segment in `Session.create`: it stores only if nothing was written meanwhile."""

    home: HomeStore
    before: AnySession

    async def create(self, session: AnySession) -> None:
        if not await self.home.create_next(session, self.before):
            raise _WrittenError


async def _opened_after(
    stored: AnySession, child_id: str, home: HomeStore, thresholds: Thresholds
) -> tuple[AnySession, bool] | None:
    """The segment after another one (see `open_next_segment`); `None` if the other one was written to."""
    session = stored
    settings = stored.metadata.conversation
    if settings is None:  # created before there were settings, or without infinite context
        settings = thresholds.settings((await whole_chain_of(stored, home))[0])
    metadata = SessionMetadata(
        properties=copied(stored.metadata.properties),
        conversation=settings,
        rewritten=stored.metadata.rewritten,
    )
    try:
        child = await create_session(
            home, _Next(home, stored), session_id=child_id, parent_id=session.id, metadata=metadata
        )
    except _WrittenError:
        return None
    except SessionAlreadyExists:
        made_by_another = await home.head(child_id)
        if made_by_another is None:
            raise session_not_found(child_id) from None
        await enter_with_parent(made_by_another, home)  # its creator may have been interrupted before that
        return made_by_another, False
    # A store with only `get` and `save` cannot tell.
    if isinstance(home, EventStore) and await home.latest(session, with_events=False) is None:
        await _drop_stray(child, home)
        raise session_not_found(session.id)
    return child, True


async def _drop_stray(child: AnySession, home: EventStore) -> None:
    """Delete a segment that was created while its conversation was deleted, which would come back with it."""
    if (await home.segment_ids(child.id))[:1] == [child.id]:
        await home.delete_conversation(child.id)


# -- the chain ------------------------------------------------------------------------------------


async def live_segment(session: AnySession, home: HomeStore) -> AnySession:
    """The last segment of a session's conversation, which events go to, as far as the session knows."""
    if not session.is_closed:
        return session
    last_id = await home.last_segment_id(session.id)
    last = None if last_id in {None, session.id} else await home.head(last_id or "")
    # It was deleted meanwhile; or a stand-in for a store returned something else.
    return last if last is not None and last.id == last_id else session


async def chain_of(session: AnySession, home: HomeStore) -> list[str]:
    """The ids of the segments up to a session, the first one first."""
    ids = await whole_chain_of(session, home)
    return ids[: ids.index(session.id) + 1]


async def whole_chain_of(session: AnySession, home: HomeStore) -> list[str]:
    """The ids of all segments of a session's conversation, the first one first."""
    ids = await home.segment_ids(session.id)
    ids = ids if session.id in ids else [session.id]
    first = session if ids[0] == session.id else await home.head(ids[0])
    if first is None:
        return ids
    earlier = [log.session.id async for log in segments_before(first, home)]
    return [*reversed(earlier), *ids]


async def segment_ids_of(session_id: str, home: HomeStore) -> list[str]:
    """The same, for a session that was not read yet.

    Raises:
        SessionNotFound: the session does not exist.
        UnreadableData: the session is damaged.
    """
    session = await home.head(session_id)
    if session is None:
        raise session_not_found(session_id)
    return await whole_chain_of(session, home)


async def segments_of(session_id: str, home: HomeStore) -> AsyncIterator[AnySession]:
    """All segments of a session's conversation, with their events, the first one first.

    Raises:
        SessionNotFound: the session does not exist, or expired or was deleted meanwhile.
        UnreadableData: a segment is damaged.
    """
    async for segment in segments_in(await segment_ids_of(session_id, home), home):
        yield segment


async def segments_in(chain: Sequence[str], home: HomeStore) -> AsyncIterator[AnySession]:
    """The segments of a chain, with their events; segments that were deleted meanwhile are left out.

    Raises:
        SessionNotFound: the conversation expired or was deleted meanwhile, so the rest is not all of it.
        UnreadableData: a segment is damaged.
    """
    found: list[str] = []
    async for segment in read_all(chain, home.get):
        found.append(segment.id)
        yield segment
    if len(found) < len(chain) and (not found or await home.head(found[0]) is None):
        raise session_not_found(chain[0])


async def segments_before(
    session: AnySession, home: HomeStore, *, on_path: bool = False, may_lack: bool = False
) -> AsyncIterator[LogEnd]:
    """The logs of the segments before one, the nearest first; only what is asked for is read of them.

    Args:
        session: the segment.
        home: the store.
        on_path: whether only events on the path are wanted, by each segment's own choices.
        may_lack: whether an `AbsentText` may stand in events for bytes, which are then not read.
    """
    seen = {session.id}
    while session.parent_id and session.parent_id not in seen:
        seen.add(session.parent_id)
        parent = await home.head(session.parent_id)
        if parent is None:
            return
        log = (PathEnd if on_path else LogEnd)(parent, home, may_lack=may_lack)
        if not await _continues(session, log):
            return
        yield log
        session = parent


async def newest_in(
    live: AnySession,
    home: HomeStore,
    count: int,
    *,
    is_wanted: Callable[[AnyEvent], bool] = lambda event: True,  # noqa: ARG005  (any event)
    earlier_segments: bool = True,
    may_lack: bool = False,
) -> list[Placed]:
    """The newest events of a conversation, oldest first; little more than these is read.

    Args:
        live: the last segment of the conversation.
        home: the store.
        count: how many events.
        is_wanted: which events count.
        earlier_segments: whether to continue with earlier segments if the last one has too few.
        may_lack: whether an `AbsentText` may stand in events for bytes, which are then not read.

    Raises:
        SessionNotFound: the conversation expired or was deleted.
        UnreadableData: a segment is damaged.
    """
    found: list[Placed] = []
    log: LogEnd | None = LogEnd(live, home, may_lack=may_lack)
    earlier = segments_before(live, home, may_lack=may_lack)
    while log is not None and len(found) < count:
        if len(log.events) < count - len(found):
            await log.read_back(limit=count - len(found) - len(log.events))
        async with aclosing(log.newest_first()) as events:
            async for event in events:
                if is_wanted(event):
                    found.append((log.session, event))
                if len(found) >= count:
                    break
        log = await anext(earlier, None) if earlier_segments else None
    return found[::-1]


async def _continues(session: AnySession, parent: LogEnd) -> bool:
    """Whether a session continues its parent's conversation, and is not merely a child of it.

    For sessions with ids of their own (of the original, and of some applications), the parent's last event
    decides: a segment ends in its summary.
    """
    if is_segment_after(session, parent.session.id):
        return True
    last = await parent.last()
    ends_in_summary = last is not None and last.type == EventType.SUMMARY
    return ends_in_summary and next_segment_id(parent.session.id) not in parent.session.child_ids


async def read_all(
    ids: Sequence[str], read: Callable[[str], Awaitable[AnySession | None]]
) -> AsyncIterator[AnySession]:
    """The sessions that exist, in order; read some at a time, however many there are."""
    for start in range(0, len(ids), _READ_TOGETHER):
        for session in await asyncio.gather(*map(read, ids[start : start + _READ_TOGETHER])):
            if session is not None:
                yield session


def has_begun(session: Session[Any]) -> bool:
    """Whether a session's conversation has any message."""
    return bool(session.totals.events) or is_segment_after(session, session.parent_id)
