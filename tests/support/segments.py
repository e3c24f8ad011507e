"""The segments of a conversation, as tests look at them."""

from __future__ import annotations

from typing import Any

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.stores import EventStore


async def segments_of(store: EventStore, sm: SessionManager) -> list[Session[Any]]:
    found = [await store.get(each) for each in await sm.get_session_chain()]
    return [segment for segment in found if segment is not None]


def summaries_in(segment: Session[Any]) -> list[SessionEvent[Any]]:
    return [event for event in segment.events if event.type == EventType.SUMMARY]


def manager(callback: Any = None, **options: Any) -> SessionManager:
    """A manager of the conversation "root", whose segments are full after two messages."""
    options = {"max_turns_per_segment": 2, "summary_callback": callback} | options
    return SessionManager("root", infinite_context=True, **options)
