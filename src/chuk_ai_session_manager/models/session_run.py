"""One piece of work within a session: when it ran, how it ended, which tool calls it made."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any, Protocol

from pydantic import Field

from .record import MetadataVerbs, Record, new_id, utc_now
from .session_event import SessionEvent


class HasEvents(Protocol):
    """A session, as far as its runs look at it."""

    @property
    def events(self) -> list[SessionEvent[Any]]:
        """The log, oldest first."""


class RunStatus(str, Enum):
    """Where a run stands; equal to its plain string."""

    PENDING = "pending"
    """Not begun."""
    RUNNING = "running"
    """Under way."""
    COMPLETED = "completed"
    """Ended well."""
    FAILED = "failed"
    """Ended badly."""
    CANCELLED = "cancelled"
    """Ended early."""


class SessionRun(MetadataVerbs, Record):
    """One piece of work within a session. Save the session to keep what changes here."""

    id: str = Field(default_factory=new_id)
    """A uuid; events of the run have it as their `task_id`."""
    started_at: datetime = Field(default_factory=utc_now)
    """When it was made, or last began to run; UTC."""
    ended_at: datetime | None = None
    """When it ended; `None` until then."""
    status: RunStatus = RunStatus.PENDING
    """Where it stands."""
    metadata: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The application's own; JSON values where the store is durable."""
    tool_calls: list[str] = Field(default_factory=list)
    """Ids of the events of its tool calls."""

    @classmethod
    async def create(cls, metadata: dict[str, Any] | None = None) -> SessionRun:
        """Make a pending run with a copy of `metadata`."""
        return cls(metadata=dict(metadata or {}))

    async def mark_running(self) -> None:
        """Start the run, or start it again: the clock begins anew."""
        self.status = RunStatus.RUNNING
        self.started_at = utc_now()
        self.ended_at = None

    async def mark_completed(self) -> None:
        """End the run well."""
        self._end(RunStatus.COMPLETED)

    async def mark_failed(self, reason: str | None = None) -> None:
        """End the run badly; a reason goes to `metadata["failure_reason"]`."""
        self._end(RunStatus.FAILED, "failure_reason", reason)

    async def mark_cancelled(self, reason: str | None = None) -> None:
        """End the run early; a reason goes to `metadata["cancel_reason"]`."""
        self._end(RunStatus.CANCELLED, "cancel_reason", reason)

    def _end(self, status: RunStatus, reason_key: str = "", reason: str | None = None) -> None:
        self.status = status
        self.ended_at = utc_now()
        if reason:
            self.metadata[reason_key] = reason

    async def get_duration(self) -> float | None:
        """How long the run took, in seconds; `None` until it has ended."""
        return (self.ended_at - self.started_at).total_seconds() if self.ended_at else None

    async def add_tool_call(self, tool_call_id: str) -> None:
        """Count the event of this id among the run's tool calls, once."""
        if tool_call_id not in self.tool_calls:
            self.tool_calls.append(tool_call_id)

    async def get_tool_calls(self, session: HasEvents) -> list[SessionEvent[Any]]:
        """The session's events that are this run's tool calls, in the session's order."""
        wanted = set(self.tool_calls)
        return [event for event in session.events if event.id in wanted]

    async def to_dict(self) -> dict[str, Any]:
        """The run as plain JSON values; `ended_at` and `duration` (seconds) once it has ended."""
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
