"""The sources of events."""

from enum import Enum


class EventSource(str, Enum):
    """The source of an event; equal to its plain string."""

    USER = "user"
    """The user."""
    LLM = "llm"
    """A model."""
    SYSTEM = "system"
    """Everything else: instructions, tool calls, summaries."""
