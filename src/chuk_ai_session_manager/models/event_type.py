"""What kind of thing an event records."""

from enum import Enum


class EventType(str, Enum):
    """What kind of thing an event records; equal to its plain string."""

    MESSAGE = "message"
    """What was said, by whom the source says."""
    SUMMARY = "summary"
    """What a segment comes to, at its end."""
    TOOL_CALL = "tool_call"
    """A call of a tool, with its arguments and what came of it."""
    REFERENCE = "reference"
    """A note on another event, its `parent_event_id`: such as that a model's call failed."""
    CONTEXT_BRIDGE = "context_bridge"
    """For applications that carry context over themselves; this library makes none."""
