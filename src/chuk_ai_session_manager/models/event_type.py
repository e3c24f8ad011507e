"""What kind of thing an event records."""

from enum import Enum


class EventType(str, Enum):
    """What kind of thing an event records; equal to its plain string."""

    MESSAGE = "message"
    SUMMARY = "summary"
    TOOL_CALL = "tool_call"
    REFERENCE = "reference"
    CONTEXT_BRIDGE = "context_bridge"
