"""A run: a piece of work within a session, with its time, its outcome and its tool calls."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from pydantic import Field

from .record import MetadataVerbs, Record, new_id, utc_now
from .session_event import SessionEvent


class HasEvents(Protocol):
    """What a run needs of a session."""

    @property
    def events(self) -> list[SessionEvent[Any]]:
        """The log, oldest first."""


class RunStatus(str, Enum):
    """The status of a run; equal to its plain string."""

    PENDING = "pending"
    """Not started."""
    RUNNING = "running"
    """Running."""
    COMPLETED = "completed"
    """Ended successfully."""
    FAILED = "failed"
    """Ended with a failure."""
    CANCELLED = "cancelled"
    """Ended before it was done."""


class SessionRun(MetadataVerbs, Record):
    """A piece of work within a session. Save the session to store changes."""

    id: str = Field(default_factory=new_id)
    """A uuid; events of the run have it as their `task_id`."""
    started_at: datetime = Field(default_factory=utc_now)
    """When the run was created, or last started; UTC."""
    ended_at: datetime | None = None
    """When the run ended; `None` until then."""
    status: RunStatus = RunStatus.PENDING
    """The run's status."""
    metadata: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The application's own values; they must be JSON for durable stores."""
    tool_calls: list[str] = Field(default_factory=list)
    """The ids of the events of the run's tool calls."""

    @classmethod
    async def create(cls, metadata: dict[str, Any] | None = None) -> SessionRun:
        """Create a pending run with a copy of `metadata`."""
        return cls(metadata=dict(metadata or {}))

    async def mark_running(self) -> None:
        """Start the run, or start it again: `started_at` becomes the time now."""
        self.status = RunStatus.RUNNING
        self.started_at = utc_now()
        self.ended_at = None

    async def mark_completed(self) -> None:
        """End the run successfully."""
        self._end(RunStatus.COMPLETED)

    async def mark_failed(self, reason: str | None = None) -> None:
        """End the run with a failure; a reason becomes `metadata["failure_reason"]`."""
        self._end(RunStatus.FAILED, "failure_reason", reason)

    async def mark_cancelled(self, reason: str | None = None) -> None:
        """Cancel the run; a reason becomes `metadata["cancel_reason"]`."""
        self._end(RunStatus.CANCELLED, "cancel_reason", reason)

    def _end(self, status: RunStatus, reason_key: str = "", reason: str | None = None) -> None:
        self.status = status
        self.ended_at = utc_now()
        if reason:
            self.metadata[reason_key] = reason

    async def get_duration(self) -> float | None:
        """Return how long the run took, in seconds; `None` until it has ended."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    async def add_tool_call(self, tool_call_id: str) -> None:
        """Add the id of an event to the run's tool calls, once."""
        if tool_call_id not in self.tool_calls:
            self.tool_calls.append(tool_call_id)

    async def get_tool_calls(self, session: HasEvents) -> list[SessionEvent[Any]]:
        """Return the session's events that are tool calls of this run, in the session's order."""
        wanted = set(self.tool_calls)
        return [event for event in session.events if event.id in wanted]

    async def to_dict(self) -> dict[str, Any]:
        """Return the run as JSON values; `ended_at` and `duration` (seconds) only after its end."""
        plain: dict[str, Any] = {
            "id": self.id,
            "status": self.status.value,
            "started_at": self.started_at.isoformat(),
            "metadata": self.metadata,
            "tool_calls": self.tool_calls,
        }
        if self.ended_at:
            plain["ended_at"] = self.ended_at.isoformat()
            plain["duration"] = await self.get_duration()
        return plain
