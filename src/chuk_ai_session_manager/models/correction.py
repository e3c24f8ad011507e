"""Corrections of bills: the event that corrects a bill, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .event_source import EventSource
from .event_type import EventType
from .session_event import SessionEvent
from .token_usage import CallUsage, TokenUsage, usd

_KEY = "usage_correction"


@dataclass(frozen=True, slots=True)
class Correction:
    """The bill of a call that became known after the call was recorded."""

    event_id: str
    """The event whose bill is corrected."""
    called_at: datetime
    """That event's time."""
    replaces: CallUsage
    """The bill that counted before."""
    usage: CallUsage
    """The bill that counts from now on."""

    @property
    def difference(self) -> float:
        """What the call costs more, or less if below 0, in USD."""
        return usd((self.usage.cost_usd or 0.0) - (self.replaces.cost_usd or 0.0))

    def as_event(self) -> SessionEvent[Any]:
        """The event that records the correction: it names the corrected event, and changes the cost.

        The new bill is in its message, not in `usage`, so that it does not count as one more call.
        """
        said = {
            "event_id": self.event_id,
            "called_at": self.called_at.isoformat(),
            "replaces": self.replaces.model_dump(mode="json"),
            "usage": self.usage.model_dump(mode="json"),
        }
        length = TokenUsage(model=self.usage.model, estimated_cost_usd=self.difference or None)
        return SessionEvent(
            message={_KEY: said},
            source=EventSource.SYSTEM,
            type=EventType.REFERENCE,
            parent_event_id=self.event_id,
            token_usage=length,
        )


def correction_in(event: SessionEvent[Any]) -> Correction | None:
    """The correction that an event records; `None` for any other event."""
    said = event.message.get(_KEY) if isinstance(event.message, dict) else None
    if event.type != EventType.REFERENCE or not isinstance(said, dict):
        return None
    try:
        return Correction(
            said["event_id"],
            datetime.fromisoformat(said["called_at"]),
            CallUsage.model_validate(said["replaces"]),
            CallUsage.model_validate(said["usage"]),
        )
    except (KeyError, TypeError, ValueError):  # an application's own note
        return None
