"""Summaries of closed segments: made by the application's callback, or without a model."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .callbacks import call
from .messages import ChatMessage, plain_messages, readable_text
from .metering import bill
from .models import EventSource, EventType, Session, SessionEvent, TokenUsage
from .models.session_event import content_of
from .notes import Notes
from .tokens import DEFAULT_MODEL
from .usage import known_text, model_of, usage_of

logger = logging.getLogger(__name__)

SummaryCallback = Callable[[list[ChatMessage]], Any | Awaitable[Any]]
"""Gets the summary so far, if there is one, as a system message, and what user and model said since.

Gives the summary of both: a text, or a model's response, whose usage is billed then.
"""

# No text has so many characters a token: what is longer is cut before it is counted.
_MOST_CHARACTERS_A_TOKEN = 64
# From here on (characters), notes are taken off the event loop: they cost about half a second a million.
_LONG = 4_000

# Set in what a summary callback calls: it is not called again from there.
_in_callback: ContextVar[bool] = ContextVar("chuk_ai_session_manager_in_callback", default=False)


def in_callback() -> bool:
    """Whether this is called by a summary callback."""
    return _in_callback.get()


def context_row(summary: str) -> ChatMessage:
    """The message that tells a model what went before."""
    return {"role": "system", "content": f"Previous conversation context: {summary}"}


@dataclass(slots=True)
class _Reply:
    """What came of asking the callback; nothing where there is none."""

    text: str | None = None
    failure: str | None = None
    model: str | None = None
    usage: dict[str, int] | None = None


class Summarizer:
    """Makes summaries that never fail: by a callback that has `timeout` seconds, else without a model."""

    def __init__(
        self,
        callback: SummaryCallback | None = None,
        timeout: float = 30.0,
        max_tokens: int = 500,
        *,
        of_each: bool = False,
    ) -> None:
        self.callback = callback
        self.of_each = of_each
        """Whether the callback summarises each segment alone, not with all that was before it."""
        self.timeout = timeout
        self.max_tokens = max_tokens
        self.turn = asyncio.Lock()
        """Held while a segment is summarised: the next one's summary is made from this one's."""
        self._gave_up_at = -math.inf

    async def summarise(self, before: Notes, segment: Session[Any], since: float) -> SessionEvent[Any]:
        """The event that a closed segment ends in: the summary of it, and of all before it.

        Args:
            before: what is known of what went before.
            segment: with all its events.
            since: when this was asked for, by the loop's clock.
        """
        messages = plain_messages(segment.events)
        reply = await self._ask(before, messages, since)
        metadata: dict[str, Any] = {"rolling": True, "made_by": "callback"}
        if reply.text is None:
            notes = await self.within(await noted(before, messages))
            metadata |= {"made_by": "built-in", "notes": notes.as_json()}
        else:
            notes = await self.within(Notes(reply.text))
            if self.of_each:
                metadata["notes"] = (await self.within(before.followed_by(str(notes)))).as_json()
        if reply.failure is not None:
            logger.warning("The summary callback failed for session %s: %s", segment.id, reply.failure)
            metadata["callback_failure"] = reply.failure
        event: SessionEvent[Any] = SessionEvent(
            message=str(notes), source=EventSource.SYSTEM, type=EventType.SUMMARY, metadata=metadata
        )
        if reply.usage is not None:
            await bill(event, reply.model or "unknown", "unknown", reply.usage)
        return event

    async def _ask(self, before: Notes, messages: list[ChatMessage], since: float) -> _Reply:
        if self.callback is None or in_callback():
            return _Reply()
        if since < self._gave_up_at:  # it hung while this one waited for its turn: one wait is enough
            return _Reply(failure="TimeoutError")
        rows = messages if self.of_each or not before else [context_row(str(before)), *messages]
        calling = _in_callback.set(True)
        try:
            async with asyncio.timeout(self.timeout):
                return self._read(await call(self.callback, rows))
        except TimeoutError:
            self._gave_up_at = asyncio.get_running_loop().time()
            return _Reply(failure="TimeoutError")
        except Exception as problem:  # noqa: BLE001  (an application's code: whatever it raises, the talk goes on)
            return _Reply(failure=type(problem).__name__)
        finally:
            _in_callback.reset(calling)

    def _read(self, response: object) -> _Reply:
        text = known_text(response)
        if text is None:
            return _Reply(failure=f"it gave no text but {type(response).__name__}")
        reply = _Reply(model=model_of(response), usage=usage_of(response))
        text = readable_text(text[-self.max_tokens * _MOST_CHARACTERS_A_TOKEN :])
        if text.strip():
            reply.text = text
        else:
            reply.failure = "it gave a blank text"
        return reply

    async def within(self, notes: Notes) -> Notes:
        """As much of notes as has no more than `max_tokens`: the oldest goes first."""
        while await TokenUsage.count_tokens(text := str(notes), DEFAULT_MODEL) > self.max_tokens:
            shorter = notes.shorter()
            if shorter == notes:  # only for the smallest of bounds
                return Notes(text[: self.max_tokens])
            notes = shorter
        return notes


async def noted(before: Notes, messages: Sequence[ChatMessage]) -> Notes:
    """What is known of a conversation after these messages."""
    if sum(len(str(row["content"])) for row in messages) > _LONG:
        return await asyncio.to_thread(before.after, messages)
    return before.after(messages)


def newest_summary(session: Session[Any]) -> SessionEvent[Any] | None:
    """The event that a closed segment ends in, if it does."""
    return next((event for event in reversed(session.events) if event.type == EventType.SUMMARY), None)


def covers_all(summary: SessionEvent[Any] | None) -> bool:
    """Whether a summary covers all segments before its own, too."""
    return summary is not None and bool(summary.metadata.get("rolling"))


async def notes_with(before: Notes, segment: Session[Any]) -> Notes:
    """What is known of a conversation after a segment, by what it ends in."""
    summary = newest_summary(segment)
    if summary is None:  # its writer was cut off, or is still at it
        return await noted(before, plain_messages(segment.events))
    if not covers_all(summary):
        return before.followed_by(summary_text(summary.message))
    notes = summary.metadata.get("notes")
    return Notes.from_json(notes) if isinstance(notes, dict) else Notes(summary_text(summary.message))


def summary_text(message: Any) -> str:
    """What a summary says: its `note`, its `content`, or itself."""
    return str(message["note"] if isinstance(message, dict) and "note" in message else content_of(message))
