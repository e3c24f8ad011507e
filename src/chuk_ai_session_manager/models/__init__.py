"""The records that sessions are made of."""

from .event_source import EventSource
from .event_type import EventType
from .session import Session
from .session_event import SessionEvent
from .session_metadata import SessionMetadata
from .session_run import RunStatus, SessionRun
from .token_usage import CallUsage, TokenSummary, TokenUsage

__all__ = [
    "CallUsage",
    "EventSource",
    "EventType",
    "RunStatus",
    "Session",
    "SessionEvent",
    "SessionMetadata",
    "SessionRun",
    "TokenSummary",
    "TokenUsage",
]
