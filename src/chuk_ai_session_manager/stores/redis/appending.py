"""Appends to sessions in Redis: one script and one round trip, together with other waiting appends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...exceptions import StorageError, session_not_found
from ...models.session import next_segment_id
from ..changes import WHILE_LIVE, Appended
from ..codec import check_same
from ..counting import dump_counters
from ..recency import now, place_of
from ..stored_data import EncodedEvent, damaged_header, newer_schema
from .bodies import Bodies, all_bodies
from .keys import Keys
from .known_counters import Known, KnownCounters
from .lifetimes import Lifetimes
from .link import Link
from .listing import touch_command
from .places import Places
from .replies import text_of
from .scripts import Command, Script

_ADD = Script("add")

# How many event ids an error names: enough to find the events.
_IDS_NAMED = 5
# The number of most sessions in their conversation.
_FIRST_SEGMENT = "0"
# The length of an answer without the counters; those follow if this process did not know them.
_WITHOUT_COUNTERS = 6


class Appender:
    """Appends events to sessions."""

    def __init__(self, link: Link, keys: Keys, places: Places, lifetimes: Lifetimes, bodies: Bodies) -> None:
        self._link = link
        self._keys = keys
        self._places = places
        self._lifetimes = lifetimes
        self._bodies = bodies
        self._known = KnownCounters(lifetimes.milliseconds)

    def begin(self, session_id: str, counters: Mapping[str, float]) -> None:
        """Remember the counters of a session that was just created."""
        known = Known(_FIRST_SEGMENT, dump_counters(counters), counters, now())
        self._known.remember(session_id, known)

    async def add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        """Append events that are not stored yet, in one step; `None` if the session is at another revision.

        Raises:
            SessionNotFound: the session does not exist, or another one has its id now.
            EventConflict: an event is stored with other content.
            UnreadableData: the session is damaged, or a later release wrote it.
            StorageError: the server does not answer; the error names the events, for a retry.
        """
        known, checked = self._known.of(session_id), now()
        after = None if known is None else known.after(session_id, events)
        answer = await self._sent(session_id, events, born, only_at, known, after)
        kind = None if answer is None else text_of(answer[0])
        if answer is None or kind != "added":
            self._known.forget(session_id)
            return await self._not_added(session_id, events, born, only_at, answer)
        added, number = int(answer[3]), text_of(answer[4])
        if len(answer) > _WITHOUT_COUNTERS:
            after = Known(number, answer[_WITHOUT_COUNTERS], None, checked)
        elif after is not None and after.number != number:
            after = after._replace(number=number)
        if after is not None and added:
            self._known.remember(session_id, after)
        if int(answer[5]):
            self._lifetimes.renew_soon(session_id)
        return Appended(int(answer[1]), int(answer[2]), added)

    async def _not_added(
        self,
        session_id: str,
        events: Sequence[EncodedEvent],
        born: str,
        only_at: int | None,
        answer: Sequence[Any] | None,
    ) -> Appended | None:
        """What comes of an append after an answer other than "added"."""
        if answer is None:
            raise session_not_found(session_id)
        kind = text_of(answer[0])
        if kind == "moved":
            return None
        if kind == "conflict":
            events = _but(session_id, events, text_of(answer[1]), answer[2])
        elif kind == "newer":
            raise newer_schema(f"Session {session_id}", int(answer[1]))
        elif kind != "unknown":
            raise damaged_header(session_id)
        return await self.add(session_id, events, born, only_at)

    async def _sent(
        self,
        session_id: str,
        events: Sequence[EncodedEvent],
        born: str,
        only_at: int | None,
        known: Known | None,
        after: Known | None,
    ) -> list[Any] | None:
        """The answer to an append; an error names the events, for a retry."""
        lives = self._lifetimes.milliseconds or ""
        place = place_of(int(max([event.counters["newest"] for event in events])))
        number = _FIRST_SEGMENT if known is None else known.number
        arguments: list[Any] = [session_id, number, born, _condition(session_id, only_at), lives, place]
        arguments += ("" if known is None else known.text, "" if after is None else after.text)
        for event in events:
            arguments += (event.id, event.body, dump_counters(event.counters))

        def command(key: str) -> Command:
            return _ADD(self._keys.with_index(key), *arguments)

        bodies = all_bodies(events)
        try:
            held_at = await self._bodies.hold(session_id, bodies) if bodies else None
            answer = await self._places.ask(session_id, command, self._link.call_together)
            if bodies:
                await self._bodies.settle(session_id, bodies, held_at, is_written=answer is not None)
            if self._link.is_cluster and answer is not None and text_of(answer[0]) == "added":
                is_first = int(answer[1]) == 0
                await self._link.call_together(
                    touch_command(self._keys, session_id, place, goes_back=is_first)
                )
        except StorageError as problem:
            ids = ", ".join(event.id for event in events[:_IDS_NAMED])
            raise type(problem)(f"{problem} (event {ids})") from problem.__cause__
        return answer


def _condition(session_id: str, only_at: int | None) -> int | str:
    """What must hold of the session, as the script expects it."""
    if only_at == WHILE_LIVE:
        return f"s:{next_segment_id(session_id)}"
    return "" if only_at is None else only_at


def _but(
    session_id: str, events: Sequence[EncodedEvent], known: str, body: str | bytes
) -> list[EncodedEvent]:
    """The events, if the one that is stored with other bytes has the same content; otherwise, raise."""
    (event,) = (event for event in events if event.id == known)
    check_same(session_id, event, body)
    return [each._replace(body=text_of(body)) if each is event else each for each in events]
