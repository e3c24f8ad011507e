"""Storing an event in the session that an application holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import EventConflict, InvalidSessionOperation, session_not_found
from .collisions import TRIES, after_a_collision, kept_changing
from .event_type import EventType
from .guard import guard
from .home import HomeStore
from .record import JUST_NOW, is_before, utc_now
from .session_event import SessionEvent

if TYPE_CHECKING:
    from .session import Session

# A closed segment accepts no more events of these types.
_SAID = frozenset({EventType.MESSAGE, EventType.TOOL_CALL})


async def append_event(session: Session[Any], event: SessionEvent[Any]) -> None:
    """Add an event and store it: see `Session.add_event_and_save`."""
    if not session.is_bound:
        # The session did not come from a store, or has another id now: there is nothing to append to.
        await record_and_save(session, session.home, [event])
        return
    if event.type in _SAID:
        _check_live(session)
    await session.home.save_header(session)
    said = event.timestamp
    _keep_order(session, event)
    try:
        await _append_live(session, event)
    except EventConflict:
        if event.timestamp == said:
            raise
        event.timestamp = said  # as it may have been stored before, without a reply
        await _append_live(session, event)


async def record_and_save(
    session: Session[Any], home: HomeStore, events: Sequence[SessionEvent[Any]]
) -> None:
    """Add events and store the whole session; if storing fails, remove the events again."""
    with guard:
        added = session.record(*events)
    try:
        await home.save(session)
    except BaseException:
        with guard:
            _remove(session, added)
        raise


def _remove(session: Session[Any], events: Sequence[SessionEvent[Any]]) -> None:
    """Remove events that could not be stored from memory and totals."""
    gone = {event.id for event in events}
    session.events = [event for event in session.events if event.id not in gone]
    for event in events:
        if event.token_usage:
            session.token_summary.subtract(event.token_usage)


def _keep_order(session: Session[Any], event: SessionEvent[Any]) -> None:
    """Make a new event no older than the events before it: the clock may have been set back."""
    newest = session.newest_event_time
    if newest is None or session.event(event.id) is not None:
        return
    if is_before(event.timestamp, newest) and not is_before(event.timestamp, utc_now() - JUST_NOW):
        event.timestamp = newest


async def _append_live(session: Session[Any], event: SessionEvent[Any]) -> None:
    home = session.home
    was_stored = await home.append(session, [event], only_if_current=event.type in _SAID)
    for attempt in range(TRIES):
        if was_stored:
            return
        if attempt:
            await after_a_collision(attempt)
        live = await home.latest(session, with_events=False)
        if live is None:
            raise session_not_found(session.id)
        _check_live(live)
        if live is session:
            was_stored = await home.append_while_live(session, [event])
        else:  # the store cannot tell what this object lacks
            was_stored = await home.append(session, [event])
    raise kept_changing(session.id)


def _check_live(session: Session[Any]) -> None:
    if session.is_closed:
        reason = f"session {session.id} continues in another segment: write with a SessionManager"
        raise InvalidSessionOperation("add an event", reason)
