"""Who an event comes from."""

from enum import Enum


class EventSource(str, Enum):
    """Who an event comes from; equal to its plain string."""

    USER = "user"
    """What the user said."""
    LLM = "llm"
    """What a model answered."""
    SYSTEM = "system"
    """Everything else: instructions, tool calls, summaries."""
