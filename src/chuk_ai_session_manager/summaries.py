"""What a closed segment was about, in a few words: made by the application's callback, or without a model."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .messages import ChatMessage, plain_messages
from .models import EventSource, EventType, Session, SessionEvent, TokenUsage
from .models.session_event import content_of

__all__ = [
    "Summarizer",
    "SummaryCallback",
    "built_in_summary",
    "call_summary",
    "summary_event",
    "summary_of",
    "summary_text",
]

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
    timeout: float
    max_tokens: int

    async def summarise(self, segment: Session[Any], earlier: str | None) -> SessionEvent[Any]:
        """The event that a closed segment ends in: a summary of it and of all before it."""
        messages = plain_messages(segment.events)
        latest, failure = await self._by_callback(messages)
        if failure is not None:
            logger.warning("The summary callback failed for session %s: %s", segment.id, failure)
        made_by = {"made_by": "built-in" if latest is None else "callback"}
        summary = await self.rolled_up(earlier, latest or built_in_summary(messages))
        return summary_event(summary, **made_by, **({} if failure is None else {"callback_failure": failure}))

    async def without_callback(self, segment: Session[Any], earlier: str | None) -> str:
        """The summary of a segment whose own was never stored: its writer was cut off, or is still at it."""
        return await self.rolled_up(earlier, built_in_summary(plain_messages(segment.events)))

    async def _by_callback(self, messages: list[ChatMessage]) -> tuple[str | None, str | None]:
        """The callback's summary, or why there is none; neither where there is no callback."""
        if self.callback is None:
            return None, None
        try:
            async with asyncio.timeout(self.timeout):
                summary = await call_summary(self.callback, messages)
        except Exception as problem:  # noqa: BLE001  (an application's code: whatever it raises, the talk goes on)
            return None, type(problem).__name__
        if isinstance(summary, str) and summary.strip():
            return summary, None
        return None, f"it gave no text but {type(summary).__name__}"

    async def rolled_up(self, earlier: str | None, latest: str) -> str:
        """One summary out of two, bounded in tokens: the oldest is cut first."""
        summary = latest if earlier is None else f"{earlier}\n{latest}"
        while (length := await TokenUsage.count_tokens(summary, "gpt-4o-mini")) > self.max_tokens:
            # A tenth more than the excess, so that one or two rounds do.
            kept = len(summary) * self.max_tokens * 9 // (length * 10)
            if not kept:
                return summary[-1:]
            summary = _tail(summary, kept)
        return summary


async def call_summary(callback: SummaryCallback, messages: list[ChatMessage]) -> Any:
    """Call a callback, which may be async, hand back something to await, or block."""
    if inspect.iscoroutinefunction(callback):
        return await callback(messages)
    summary = await asyncio.to_thread(callback, messages)
    return await summary if inspect.isawaitable(summary) else summary


def summary_event(summary: str, **metadata: Any) -> SessionEvent[Any]:
    """The event of a summary."""
    return SessionEvent(message=summary, source=EventSource.SYSTEM, type=EventType.SUMMARY, metadata=metadata)


def summary_of(session: Session[Any]) -> str | None:
    """The newest summary that a closed segment ends in."""
    newest = next((event for event in reversed(session.events) if event.type is EventType.SUMMARY), None)
    return None if newest is None else summary_text(newest.message)


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
