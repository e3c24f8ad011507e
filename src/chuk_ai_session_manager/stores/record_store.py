"""What a durable store moves, and how stored events are changed for good."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ..exceptions import session_not_found
from ..models.absent_text import AbsentText
from ..models.collisions import TRIES, after_a_collision, kept_changing
from .base import AnyEvent, AnySession, EventStore, cursor_at
from .bodies import hashes_in, text_in_place_of
from .changes import Appended, Change
from .codec import decode_events
from .merging import SHARED, is_closed
from .objects import rewritten_log
from .stored_data import EncodedEvent, StoredSession

# How often events are read again, if one of them was deleted with its body before the body was read.
_TRIES_FOR_BODIES = 10


class RecordStore(EventStore):
    """A store that moves records: sessions and events as JSON texts, and numbers beside them."""

    keeps_bodies: ClassVar[bool] = False
    """Whether the store keeps bodies apart from events (`bodies.py`). Such a store writes the bodies of
    `EncodedEvent`, and reads them into `StoredSession.found`."""

    async def _fetch(self, hashes: Collection[str]) -> Mapping[str, bytes]:  # noqa: ARG002  (of those that do)
        """The bodies with these hashes, as far as they exist."""
        return {}

    async def _read_whole(
        self, session_id: str, start: int | None, end: int | None = None
    ) -> StoredSession | None:
        """The same as `_read`, with the bodies to which the events refer."""
        stored: StoredSession | None = None
        for attempt in range(_TRIES_FOR_BODIES):
            stored = await self._read(session_id, start, end)
            if stored is None or not self.keeps_bodies:
                break
            hashes: set[str] = set().union(*map(hashes_in, stored.bodies))
            stored.found = await self._fetch(hashes) if hashes else {}
            if len(stored.found) == len(hashes):
                break
            await after_a_collision(attempt)  # an event was deleted meanwhile, with its body
        return stored

    async def texts_of(self, absent: Iterable[AbsentText]) -> Mapping[AbsentText, str]:
        """Read the bytes for which texts stand; those that were deleted meanwhile are left out."""
        absent = list(absent)
        found = await self._fetch({each.name for each in absent}) if absent else {}
        return {each: text_in_place_of(each, found[each.name]) for each in absent if each.name in found}

    # -- the methods of a store -----------------------------------------------------------------

    @abstractmethod
    async def _read(self, session_id: str, start: int | None, end: int | None = None) -> StoredSession | None:
        """Read a session with some of its events; `None` if the session does not exist.

        Args:
            session_id: the session's id.
            start: the number of the first event to read; below 0, how many to read up to `end`. `None`
                means no events.
            end: the number after that of the last event to read; `None` means the log's end.
        """

    @abstractmethod
    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        """Append events that are not stored yet, in one step; `None` if the session is at another revision.

        `born` names the session, if it must be a certain one and not any with this id.
        """

    @abstractmethod
    async def _create(self, session: AnySession, change: Change) -> bool:
        """Write a new session and enter it as a child of its parent; `False` if its id is taken.

        Raises:
            MovedError: the segment before it is no longer at `change.follows_at`.
        """

    @abstractmethod
    async def _change(self, session_id: str, change: Change, born: str, only_at: int) -> bool:
        """Change a stored session in one atomic step; `False` if it is at another revision, or gone."""

    @abstractmethod
    async def _find(self, session_id: str, event_ids: Sequence[str]) -> list[str]:
        """Return the JSON of events of a session's conversation, in any segment; skip unknown ids."""

    async def rewrite_events(
        self,
        session_id: str,
        change: Callable[[AnyEvent], AnyEvent | None],
        *,
        with_state: bool = False,
    ) -> int:
        """Change stored events for good, or take them out, in one step that no object here takes part in."""
        for attempt in range(TRIES):
            stored = await self._read_whole(session_id, 0)
            if stored is None:
                raise session_not_found(session_id)
            there = await decode_events(stored)
            log = [change(event) for event in there]
            changed = sum(new is not old for new, old in zip(log, there, strict=True))
            # As they were read: of a closed segment, those of the last one.
            is_closed_one = with_state and is_closed(session_id, stored.fields)
            fields = {name: stored.fields[name] for name in SHARED} if is_closed_one else {}
            if not changed and not fields:
                return 0
            rewritten = replace(
                await rewritten_log(stored, there, log, with_bodies=self.keeps_bodies), fields=fields
            )
            if await self._change(session_id, rewritten, stored.born, stored.revision):
                return changed
            await after_a_collision(attempt)
        raise kept_changing(session_id)

    async def _sessions_before(self, since: int, user_id: str | None) -> AsyncIterator[str]:
        async for each in self._all_ids(user_id, cursor_at(since, "")):
            yield each
