"""The kinds of events."""

from enum import Enum


class EventType(str, Enum):
    """The kind of an event; equal to its plain string."""

    MESSAGE = "message"
    """A message, of the user, the model or the system."""
    SUMMARY = "summary"
    """The summary of a segment, at its end."""
    TOOL_CALL = "tool_call"
    """A tool call, with its arguments and its result."""
    REFERENCE = "reference"
    """A note on another event (its `parent_event_id`), for instance that a model's call failed."""
    CONTEXT_BRIDGE = "context_bridge"
    """For applications that carry context over themselves; this library creates none."""
