"""What a closed segment was about, in a few words: made by the application's callback, or without a model."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .callbacks import call
from .messages import ChatMessage, plain_messages, readable_text
from .models import EventSource, EventType, Session, SessionEvent, TokenUsage
from .models.session_event import content_of
from .tokens import DEFAULT_MODEL

logger = logging.getLogger(__name__)

SummaryCallback = Callable[[list[ChatMessage]], str | Awaitable[str]]
"""Gets what user and model said in a segment, and gives the summary of it."""

# The original's wording and measures, which applications match on.
_SHORTEST_TOPIC = 10
_LONGEST_TOPIC = 50
_TOPICS = 3


@dataclass(slots=True)
class Summarizer:
    """Makes summaries that never fail: by a callback that has `timeout` seconds, else without a model."""

    callback: SummaryCallback | None
    timeout: float = 30.0
    max_tokens: int = 500

    async def summarise(self, segment: Session[Any]) -> tuple[str, dict[str, Any]]:
        """What a segment was about, and as metadata who says so."""
        messages = plain_messages(segment.events)
        summary, failure = await self._by_callback(messages)
        if summary is not None:
            return summary, {"made_by": "callback"}
        if failure is None:
            return built_in_summary(messages), {"made_by": "built-in"}
        logger.warning("The summary callback failed for session %s: %s", segment.id, failure)
        return built_in_summary(messages), {"made_by": "built-in", "callback_failure": failure}

    async def _by_callback(self, messages: list[ChatMessage]) -> tuple[str | None, str | None]:
        """The callback's summary, or why there is none; neither where there is no callback."""
        if self.callback is None:
            return None, None
        try:
            async with asyncio.timeout(self.timeout):
                summary = await call(self.callback, messages)
        except Exception as problem:  # noqa: BLE001  (an application's code: whatever it raises, the talk goes on)
            return None, type(problem).__name__
        if not isinstance(summary, str):
            return None, f"it gave no text but {type(summary).__name__}"
        return (readable_text(summary), None) if summary.strip() else (None, "it gave a blank text")

    async def join(self, summaries: Sequence[str]) -> str:
        """One summary out of several, the oldest first, bounded in tokens: the oldest is cut first."""
        summary = "\n".join(summaries)
        while (length := await TokenUsage.count_tokens(summary, DEFAULT_MODEL)) > self.max_tokens:
            # A tenth more than the excess, so that one or two rounds do.
            kept = len(summary) * self.max_tokens * 9 // (length * 10)
            if not kept:
                return summary[-1:]
            summary = _tail(summary, kept)
        return summary


def summary_event(summary: str, **metadata: Any) -> SessionEvent[Any]:
    """The event that a closed segment ends in; `rolling` metadata says that it covers all before it too."""
    return SessionEvent(message=summary, source=EventSource.SYSTEM, type=EventType.SUMMARY, metadata=metadata)


def newest_summary(session: Session[Any]) -> SessionEvent[Any] | None:
    """The event that a closed segment ends in, if it does."""
    return next((event for event in reversed(session.events) if event.type == EventType.SUMMARY), None)


def summaries_of(segments: Sequence[Session[Any]]) -> list[str]:
    """The summaries of segments, oldest first, from the last one that covers all before it."""
    found: list[str] = []
    for segment in reversed(segments):
        event = newest_summary(segment)
        if event is not None:
            found.append(summary_text(event.message))
            if event.metadata.get("rolling"):
                break
    return found[::-1]


def summary_text(message: Any) -> str:
    """What a summary says: its `note`, its `content`, or itself."""
    return str(message["note"] if isinstance(message, dict) and "note" in message else content_of(message))


def built_in_summary(messages: Sequence[ChatMessage]) -> str:
    """Summarise without a model: what the user asked, or else how much was said."""
    said = [str(row["content"]) for row in messages if row["role"] == "user"]
    topics = [topic for text in said if (topic := _topic(text))]
    if not topics:
        answers = sum(row["role"] == "assistant" for row in messages)
        return f"Conversation with {len(said)} user messages and {answers} responses"
    more = f" and {len(topics) - _TOPICS} other topics" if len(topics) > _TOPICS else ""
    return f"User discussed: {'; '.join(topics[:_TOPICS])}{more}"


def _topic(text: str) -> str | None:
    question, mark, _ = text.partition("?")
    question = question.strip()
    return question[:_LONGEST_TOPIC] if mark and len(question) > _SHORTEST_TOPIC else None


def _tail(text: str, length: int) -> str:
    """The last characters of a text, from the beginning of a word."""
    tail = text[-length:]
    return re.sub(r"^\S*\s+", "", tail, count=1) or tail
