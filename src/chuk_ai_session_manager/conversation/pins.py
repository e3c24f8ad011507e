"""Pins: which messages every context has, word for word, wherever in the conversation they stand.

The live segment's properties say it, so that reading a conversation's end tells of all pins. Properties go
over roll-overs, exports and imports by themselves, and are changed in one step whoever else changes them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..exceptions import InvalidInput, SessionManagerError, TokenLimitExceeded
from ..models.event_page import tokens_of
from ..models.home import HomeStore
from ..models.record import utc_now
from ..stores.base import AnyEvent, AnySession
from .drafts import Draft
from .looking_back import LookingBack
from .opening import Conversation
from .path import Paths
from .segments import update_live

PROPERTY = "pinned_events"
"""The property of a conversation that holds its pins, by the events' ids."""

# Of so many pins it is kept that they were taken away: tool loops that began before see them still.
_UNPINNED_KEPT = 20


@dataclass(frozen=True, slots=True)
class Pin:
    """A message that is pinned, or was."""

    event_id: str
    segment: str
    """The segment that it is in."""
    number: int
    """Its event's number in there; it may be a higher one where others wrote at the same time."""
    tokens: int
    """Its content tokens."""
    since: str
    """When it was pinned, as ISO 8601 says it, in UTC."""
    until: str | None = None
    """When it was unpinned; `None` of one that is pinned."""

    def holds_at(self, moment: str | None) -> bool:
        """Whether it was pinned at a time; `None` for now."""
        if moment is None:
            return self.until is None
        return self.since < moment and (self.until is None or self.until >= moment)


def pins_in(properties: Mapping[str, Any]) -> list[Pin]:
    """All pins that properties tell of, those that were taken away too."""
    found = properties.get(PROPERTY)
    if not isinstance(found, dict):
        return []
    return [Pin(event_id, **about) for event_id, about in found.items() if isinstance(about, dict)]


def pinned_ids(properties: Mapping[str, Any]) -> set[str]:
    """The ids of the events that are pinned now."""
    return {pin.event_id for pin in pins_in(properties) if pin.until is None}


def set_pins(session: AnySession, pins: list[Pin]) -> None:
    """Let a session's properties tell of these pins."""
    gone = [pin for pin in pins if pin.until is not None]
    forgotten = {pin.event_id for pin in gone[: max(0, len(gone) - _UNPINNED_KEPT)]}
    kept = [pin for pin in pins if pin.event_id not in forgotten]
    properties = session.metadata.properties
    if not kept:
        properties.pop(PROPERTY, None)
        return
    properties[PROPERTY] = {
        pin.event_id: {name: value for name, value in asdict(pin).items() if name != "event_id"}
        for pin in kept
    }


def moment() -> str:
    """The time now, as pins have it."""
    return utc_now().isoformat(timespec="microseconds")


class Pins:
    """Pins messages of a conversation.

    Args:
        conversation: which one.
        limit: the most content tokens that it may have, if there is such a limit: pins may have half of it.
    """

    def __init__(self, conversation: Conversation, limit: int | None) -> None:
        self._conversation = conversation
        self._limit = limit

    async def pin(self, event_id: str) -> None:
        """Pin a message that holds.

        Raises:
            InvalidInput: the conversation has no such message, or it does not hold.
            TokenLimitExceeded: the pins would have more than half of the limit.
        """
        home, session = await self._current("pin")
        back = LookingBack(session, home, earlier_segments=self._conversation.is_infinite, may_lack=True)
        event = await back.asked(lambda paths: _held(paths, event_id))
        segment_id, number = back.place_of(event_id)
        await self.add(home, session, event, segment_id, number)

    async def pin_stored(self, event_id: str) -> None:
        """Pin a message that is recorded again, and that may have been pinned, or taken back, before.

        Raises:
            TokenLimitExceeded: as for `pin`.
        """
        _, session = await self._current("pin")
        if event_id not in pinned_ids(session.metadata.properties):
            with suppress(InvalidInput):  # a message that was taken back is in no context
                await self.pin(event_id)

    async def add(
        self,
        home: HomeStore,
        session: AnySession,
        event: AnyEvent,
        segment_id: str,
        number: int,
        instead_of: Collection[str] = (),
    ) -> None:
        """Pin an event at its place, whether it is stored by now or will be.

        Args:
            home: the store.
            session: the live segment.
            event: the event.
            segment_id: the segment that it is in.
            number: its number in there.
            instead_of: the ids of messages that do not hold beside it: their tokens do not count.

        Raises:
            TokenLimitExceeded: as for `pin`; nothing was changed.
        """
        new = Pin(event.id, segment_id, number, tokens_of([event]), moment())

        def changed(pins: list[Pin]) -> list[Pin]:
            known = next((pin for pin in pins if pin.event_id == new.event_id), None)
            if known is not None and known.until is None:
                return pins
            pins = [*(pin for pin in pins if pin is not known), new]
            total = sum(pin.tokens for pin in pins if pin.until is None and pin.event_id not in instead_of)
            if self._limit is not None and total > self._limit / 2:
                raise pins_too_long(total, self._limit)
            return pins

        await self._change(home, session, changed)

    async def unpin(self, event_id: str) -> None:
        """Let a message be like others; one that is not pinned stays as it is."""
        home, session = await self._current("unpin")

        def changed(pins: list[Pin]) -> list[Pin]:
            now = moment()
            gone = [replace(pin, until=now) for pin in pins if pin.event_id == event_id and pin.until is None]
            return [*(pin for pin in pins if pin.event_id != event_id or not gone), *gone]

        if event_id in pinned_ids(session.metadata.properties):
            await self._change(home, session, changed)

    @asynccontextmanager
    async def added(
        self, home: HomeStore, session: AnySession, drafts: Sequence[Draft], *, may_be_refused: bool
    ) -> AsyncIterator[None]:
        """Pin those of some drafts that are to be; store them in here, so that no pin of theirs is lost.

        Raises:
            TokenLimitExceeded: the pins would have more than half of the limit. Of answers and results, only
                when they are stored: these are recorded in any case.
        """
        pinned = [draft.event for draft in drafts if draft.is_pinned]
        refused: TokenLimitExceeded | None = None
        for event in pinned:
            try:
                await self.add(home, session, event, session.id, session.totals.events)
            except TokenLimitExceeded as problem:
                if may_be_refused:
                    raise
                refused = problem
        try:
            yield
        except SessionManagerError:
            with suppress(SessionManagerError):  # a pin of nothing does no harm
                for event in pinned:
                    await self._forget(home, session, event)
            raise
        if refused is not None:
            raise refused

    async def _forget(self, home: HomeStore, session: AnySession, event: AnyEvent) -> None:
        """Take away the pin of an event that was not stored after all."""
        await self._change(home, session, lambda pins: [pin for pin in pins if pin.event_id != event.id])

    async def _current(self, operation: str) -> tuple[HomeStore, AnySession]:
        if not self._conversation.is_begun:
            raise InvalidInput(operation, "nothing was said yet")
        await self._conversation.open_to_write()
        return await self._conversation.current(with_events=False)

    async def _change(
        self, home: HomeStore, session: AnySession, change: Callable[[list[Pin]], list[Pin]]
    ) -> None:
        def changed(stored: AnySession) -> None:
            set_pins(stored, change(pins_in(stored.metadata.properties)))

        self._conversation.adopt(await update_live(session, changed, home))


def pins_too_long(total: int, limit: int) -> TokenLimitExceeded:
    """The error that pins have more than half of a limit."""
    most = limit // 2
    text = f"Pinned messages would have {total} tokens, more than half of the limit of {limit}: unpin some"
    return TokenLimitExceeded(most, total, text)


def _held(paths: Paths, event_id: str) -> AnyEvent:
    event = paths.said(event_id, "pin")
    if not paths.holds(event_id):
        raise InvalidInput("pin", "the message does not hold: it was taken back before")
    return event
