"""Who an event comes from."""

from enum import Enum


class EventSource(str, Enum):
    """Who an event comes from; equal to its plain string."""

    USER = "user"
    LLM = "llm"
    SYSTEM = "system"
