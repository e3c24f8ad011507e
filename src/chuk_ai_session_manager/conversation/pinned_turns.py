"""The pinned messages of a conversation, each with what belongs to it, as contexts have them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from ..models import EventSource, EventType
from ..models.home import HomeStore
from ..providers.messages import calls_of, turns_of
from ..stores.base import AnyEvent, AnySession
from .absent import fill
from .log_end import LogEnd
from .looking_back import LookingBack
from .path import EarlierNeededError, Paths
from .pins import Pin, pins_in
from .segments import segments_before

# The call of a pinned result, or the results of a pinned call, are looked for in so many events around it.
_AROUND = 100


@dataclass(frozen=True, slots=True)
class PinnedTurn:
    """A pinned message: with a call go its results, with a result its call and the others of that."""

    event: AnyEvent
    events: Sequence[AnyEvent]

    @property
    def is_complete(self) -> bool:
        """Whether nothing that belongs to it may yet come."""
        asked = sum(len(calls_of(event.message)) for event in self.events)
        return asked < len(self.events)


class PinnedTurns:
    """What is pinned of a conversation, remembered: events do not change, unless words are redacted."""

    def __init__(self) -> None:
        self._known: dict[str, PinnedTurn] = {}
        self._rewritten = 0
        self._held: tuple[tuple[str, int, frozenset[str]], set[str]] | None = None

    async def turns(
        self, session: AnySession, home: HomeStore, *, has_choices: bool, moment: str | None = None
    ) -> list[PinnedTurn]:
        """The pinned turns that hold, the oldest first.

        Args:
            session: the live segment.
            home: where it is.
            has_choices: whether anything in the conversation may not hold any more.
            moment: as of which time; `None` for now.

        Raises:
            SessionNotFound: the conversation expired or was deleted.
            StorageError: the store failed.
        """
        if session.metadata.rewritten != self._rewritten:
            self._rewritten, self._known = session.metadata.rewritten, {}
        pins = [pin for pin in pins_in(session.metadata.properties) if pin.holds_at(moment)]
        if not pins:
            return []
        turns = [turn for pin in pins if (turn := await self._turn(pin, session, home)) is not None]
        self._known = {turn.event.id: turn for turn in turns if turn.is_complete}
        if has_choices:
            held = await self._held_of({turn.event.id for turn in turns}, session, home)
            turns = [turn for turn in turns if turn.event.id in held]
        places = {pin.event_id: (pin.segment, pin.number) for pin in pins}
        return sorted(turns, key=lambda turn: (turn.event.timestamp, *places[turn.event.id]))

    async def _turn(self, pin: Pin, session: AnySession, home: HomeStore) -> PinnedTurn | None:
        if (known := self._known.get(pin.event_id)) is not None:
            return known
        segment = session if pin.segment == session.id else await home.head(pin.segment)
        before = pin.number + 1 + _AROUND
        page = (
            None if segment is None else await home.newest_outlines(segment, before=before, limit=2 * _AROUND)
        )
        events = [] if page is None else page.events
        if not any(event.id == pin.event_id for event in events):  # others wrote first, or it was edited
            events = await _found(pin.event_id, session, home)
        at = next((at for at, event in enumerate(events) if event.id == pin.event_id), None)
        if at is None:
            return None
        turn = _turn_of(events, events[at])
        await fill(turn.events, home)
        return turn

    async def _held_of(self, ids: set[str], session: AnySession, home: HomeStore) -> set[str]:
        """Those of some messages that hold."""
        key = session.id, session.totals.events, frozenset(ids)
        if self._held is None or self._held[0] != key:
            back = LookingBack(session, home, may_lack=True)
            self._held = key, await back.asked(partial(_those_that_hold, ids))
        return self._held[1]


async def _found(event_id: str, session: AnySession, home: HomeStore) -> Sequence[AnyEvent]:
    """The events around one, wherever in the conversation that is; none where it is nowhere."""
    log: LogEnd | None = LogEnd(session, home, may_lack=True)
    earlier = segments_before(session, home, may_lack=True)
    while log is not None:
        found = await log.read_back_to(lambda event: event.id == event_id)
        if found is not None:
            with suppress(IndexError):
                await log.read_back(limit=_AROUND)
            return log.events
        log = await anext(earlier, None)
    return ()


def _turn_of(events: Sequence[AnyEvent], event: AnyEvent) -> PinnedTurn:
    """A message with what belongs to it."""
    if event.type != EventType.TOOL_CALL and not (
        event.source == EventSource.LLM and calls_of(event.message)
    ):
        return PinnedTurn(event, [event])
    for turn in turns_of(events):
        results = [result.event for result in turn.results if result.event is not None]
        if turn.event is event or any(each is event for each in results):
            asked = [turn.event] if turn.place is not None else []
            return PinnedTurn(event, [*asked, *results])
    return PinnedTurn(event, [event])


def _those_that_hold(ids: set[str], paths: Paths) -> set[str]:
    held = {event.id for event in paths.chosen()}
    if not paths.is_whole and any(each not in paths for each in ids):
        raise EarlierNeededError
    return ids & held
