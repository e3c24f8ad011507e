"""Summaries of closed segments: made by the application's callback, or without a model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..accounts.tokens import DEFAULT_MODEL
from ..exceptions import InvalidInput
from ..exceptions.validation import copied
from ..models import EventSource, EventType, Session, SessionEvent, TokenUsage
from ..models.session_event import content_of
from ..providers.common import readable_text
from ..providers.context_rows import told_messages
from ..providers.endings import why_unfinished
from ..providers.messages import ChatMessage, text_of
from ..providers.registry import read_answer
from ..providers.usage import ReportedUsage
from ..stores.redaction import RedactHook
from .billing import bill
from .callbacks import call
from .log_end import LogEnd
from .notes import Notes
from .order import as_told

logger: logging.Logger = logging.getLogger(__name__)

SummaryCallback = Callable[[list[ChatMessage]], Any | Awaitable[Any]]
"""Gets the summary so far, if there is one, as a system message, and what user and model said since.

Gives the summary of both: a text, or a model's response, whose usage is billed then.
"""

TIMED_OUT = "TimeoutError"
"""The recorded failure of a callback that took too long."""

# No text has so many characters a token: what is longer is cut before it is counted.
_MOST_CHARACTERS_A_TOKEN = 64
# From here on (characters), notes are taken off the event loop: they cost about half a second a million.
_LONG = 4_000

# What gave up after its time may go on nevertheless; asyncio itself holds no task.
_abandoned: set[asyncio.Task[Any]] = set()


def context_row(summary: str) -> ChatMessage:
    """The message that tells a model what went before."""
    return {"role": "system", "content": f"Previous conversation context: {summary}"}


@dataclass(slots=True)
class Reply:
    """What came of asking the callback: a text, or what was wrong; neither where there is none."""

    text: str | None = None
    failure: str | None = None
    model: str = "unknown"
    provider: str = "unknown"
    usage: ReportedUsage | None = None


@dataclass(slots=True, eq=False)
class _Call:
    """A callback that is being called; who inherits this context afterwards is not called by it any more."""

    callback: object
    goes_on: bool = True


# The calls that this is made from: their callbacks are not called again from there.
_calls: ContextVar[tuple[_Call, ...]] = ContextVar("chuk_ai_session_manager_calls", default=())


@dataclass(slots=True)
class Summarizer:
    """Makes summaries that never fail: by a callback that has `timeout` seconds, else without a model."""

    callback: Callable[[Any], Any] | None = None
    timeout: float = 30.0
    max_tokens: int = 500
    through: Callable[[Session[Any], Any], Awaitable[Any]] | None = None
    """What calls the callback, with a segment that is then summarised alone."""
    redact: RedactHook | None = None
    """What sees the texts of summaries before they are stored."""

    @property
    def is_calling(self) -> bool:
        """Whether this is called by the callback itself."""
        return any(call.goes_on and call.callback == self.callback for call in _calls.get())

    async def summarise(
        self,
        before: Notes,
        segment: Session[Any],
        reply: Reply | None = None,
        late: Sequence[SessionEvent[Any]] = (),
        held: Sequence[SessionEvent[Any]] | None = None,
    ) -> SessionEvent[Any]:
        """The event that a closed segment ends in: the summary of it, and of all before it.

        Args:
            before: what is known of what went before.
            segment: with all its events.
            reply: what stands for the callback's, where that is not to be asked.
            late: questions of earlier segments that answers in this one belong to.
            held: what holds since `before`, where that is not what the segment's own events say.
        """
        messages = told_messages(as_told([*late, *(segment.events if held is None else held)]))
        reply = reply or await self._ask(before, segment, messages)
        metadata: dict[str, Any] = {"rolling": True, "made_by": "callback"}
        if reply.text is None:
            notes = await self.within(await noted(before, messages))
            metadata |= {"made_by": "built-in", "notes": notes.as_json()}
        else:
            notes = await self.within(Notes(reply.text))
            if self.through is not None:
                metadata["notes"] = (await self.within(before.followed_by(str(notes)))).as_json()
        if reply.failure is not None:
            logger.warning("The summary callback failed for session %s: %s", segment.id, reply.failure)
            metadata["callback_failure"] = reply.failure
        event: SessionEvent[Any] = SessionEvent(
            message=str(notes), source=EventSource.SYSTEM, type=EventType.SUMMARY, metadata=metadata
        )
        if reply.usage is not None:
            await bill(event, reply.model, reply.provider, reply.usage)
        return event

    async def _ask(self, before: Notes, segment: Session[Any], messages: list[ChatMessage]) -> Reply:
        if self.callback is None:
            return Reply()
        # Copies: what the callback does to them changes no summary of ours.
        rows = [*([context_row(str(before))] if before else []), *copied(messages)]
        this = _Call(self.callback)
        token = _calls.set((*_calls.get(), this))
        # A task of its own, because a callback may not let itself be cancelled.
        called = asyncio.create_task(self._called(segment, rows))
        _calls.reset(token)
        try:
            done, _ = await asyncio.wait([called], timeout=self.timeout)
            if not done:
                return Reply(failure=TIMED_OUT)
            return Reply(failure="CancelledError") if called.cancelled() else called.result()
        finally:
            this.goes_on = False
            if not called.done():
                called.cancel()
                _abandoned.add(called)
                called.add_done_callback(_forget)

    async def _called(self, segment: Session[Any], rows: list[ChatMessage]) -> Reply:
        assert self.callback is not None  # noqa: S101  (tells mypy)
        try:
            asked = (
                call(self.callback, rows) if self.through is None else self.through(segment, self.callback)
            )
            return self._read(await asked)
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as problem:  # noqa: BLE001  (an application's code: whatever it raises, the talk goes on)
            # Its own `TimeoutError` does not say that the next call would hang too.
            name = type(problem).__name__
            return Reply(failure=f"its own {name}" if name == TIMED_OUT else name)

    def _read(self, response: object) -> Reply:
        try:
            answer = read_answer(response)
        except InvalidInput:
            return Reply(failure=f"it gave no text but {type(response).__name__}")
        text = readable_text(answer.text[-self.max_tokens * _MOST_CHARACTERS_A_TOKEN :])
        failure = None if text.strip() else "it gave a blank text"
        if reason := why_unfinished(response, answer.finish_reason):  # half a summary, or an apology
            failure = f"its response ended by {reason}"
        model, provider = readable_text(answer.model or "unknown"), answer.provider or "unknown"
        return Reply(None if failure else text, failure, model, provider, answer.usage)

    async def within(self, notes: Notes) -> Notes:
        """As much of notes as has no more than `max_tokens`: the oldest goes first."""
        while notes and await TokenUsage.count_tokens(text := str(notes), DEFAULT_MODEL) > self.max_tokens:
            shorter = notes.shorter()
            if shorter == notes:  # only for the smallest of bounds
                return Notes(text[: self.max_tokens])
            notes = shorter
        return notes


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not print what may be private


async def noted(before: Notes, messages: Sequence[ChatMessage]) -> Notes:
    """What is known of a conversation after these messages."""
    if sum(len(text_of(row)) for row in messages) > _LONG:
        return await asyncio.to_thread(before.after, messages)
    return before.after(messages)


async def closing_summary(log: LogEnd) -> SessionEvent[Any] | None:
    """The summary that a closed segment ends in, if it does; not one that somebody put in its middle."""
    last = await log.last()
    return await log.read_back_to(lambda event: _closes(event, last))


def ends_in_summary(events: Sequence[SessionEvent[Any]]) -> bool:
    """Whether a segment of these events ends in its summary."""
    return any(_closes(event, events[-1]) for event in reversed(events))


def _closes(event: SessionEvent[Any], last: SessionEvent[Any] | None) -> bool:
    return event.type == EventType.SUMMARY and (covers_all(event) or event is last)


def covers_all(summary: SessionEvent[Any] | None) -> bool:
    """Whether a summary covers all segments before its own, too."""
    return summary is not None and bool(summary.metadata.get("rolling"))


async def notes_with(before: Notes, log: LogEnd) -> Notes:
    """What is known of a conversation after a segment, by the summary that the segment ends in."""
    summary = await closing_summary(log)
    if summary is None:  # its writer was cut off, or is still at it; the whole log was read to know that
        return await noted(before, told_messages(as_told(log.events)))
    return notes_of(summary) if covers_all(summary) else before.followed_by(summary_text(summary.message))


def notes_of(summary: SessionEvent[Any]) -> Notes:
    """What a summary carries over: the built-in one its notes, any other one its text."""
    notes = summary.metadata.get("notes")
    return Notes.from_json(notes) if isinstance(notes, dict) else Notes(summary_text(summary.message))


def show(summary: SessionEvent[Any], shown: Notes) -> None:
    """Write into a summary what models were told in its place, until it was there."""
    summary.metadata["shown"] = shown.as_json()


def shown_in(summary: SessionEvent[Any]) -> Notes | None:
    """What models were told in a summary's place, until it was there; `None` where it came in time."""
    shown = summary.metadata.get("shown")
    return Notes.from_json(shown) if isinstance(shown, dict) else None


def summary_text(message: Any) -> str:
    """What a summary says: its `note`, its `content`, or itself."""
    return str(message["note"] if isinstance(message, dict) and "note" in message else content_of(message))
