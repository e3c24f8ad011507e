"""Summaries of closed segments, made by the application's callback or without a model."""

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
"""Gets the previous summary, if there is one, as a system message, and the messages since.

Returns a summary of both: a text, or a model's response, whose usage is then billed.
"""

TIMED_OUT = "TimeoutError"
"""The recorded failure of a callback that took too long."""

# No text has so many characters in each token: a longer one is cut before its tokens are counted.
_MOST_CHARACTERS_A_TOKEN = 64
# Longer messages (in characters) are noted outside the event loop: a million take about half a second.
_LONG = 4_000

# Callbacks that took too long may still be running. asyncio keeps only weak references to tasks.
_abandoned: set[asyncio.Task[Any]] = set()


def context_row(summary: str) -> ChatMessage:
    """The message that tells a model what was said before."""
    return {"role": "system", "content": f"Previous conversation context: {summary}"}


@dataclass(slots=True)
class Reply:
    """The callback's reply: a text, or the reason for a failure; neither if the callback was not called."""

    text: str | None = None
    failure: str | None = None
    model: str = "unknown"
    provider: str = "unknown"
    usage: ReportedUsage | None = None


@dataclass(slots=True, eq=False)
class _Call:
    """A running callback. A task that inherits this context after its end is not within the callback."""

    callback: object
    goes_on: bool = True


# The callbacks that this code runs in: they are not called again from here.
_calls: ContextVar[tuple[_Call, ...]] = ContextVar("chuk_ai_session_manager_calls", default=())


@dataclass(slots=True)
class Summarizer:
    """Makes summaries, and never fails: with a callback that has `timeout` seconds, or without a model."""

    callback: Callable[[Any], Any] | None = None
    timeout: float = 30.0
    max_tokens: int = 500
    through: Callable[[Session[Any], Any], Awaitable[Any]] | None = None
    """The callback, called with a segment that is then summarised alone."""
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
        held: Sequence[SessionEvent[Any]] = (),
    ) -> SessionEvent[Any]:
        """Return the event that ends a closed segment: the summary of it and of everything before it.

        Args:
            before: what is known of the earlier conversation.
            segment: the segment.
            reply: used instead of the callback's reply, if the callback must not be called.
            late: questions of earlier segments that answers in this one belong to.
            held: the events since `before`.
        """
        messages = told_messages(as_told([*late, *held]))
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
        # Copies: changes that the callback makes do not affect our summary.
        rows = [*([context_row(str(before))] if before else []), *copied(messages)]
        this = _Call(self.callback)
        token = _calls.set((*_calls.get(), this))
        # A task of its own, because a callback may refuse to be cancelled.
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
        except BaseException as problem:  # noqa: BLE001  (whatever it raises, the conversation goes on)
            # The callback's own `TimeoutError` does not mean that the next call would hang too.
            name = type(problem).__name__
            return Reply(failure=f"its own {name}" if name == TIMED_OUT else name)

    def _read(self, response: object) -> Reply:
        try:
            answer = read_answer(response)
        except InvalidInput:
            return Reply(failure=f"it returned a {type(response).__name__}, not a text")
        text = readable_text(answer.text[-self.max_tokens * _MOST_CHARACTERS_A_TOKEN :])
        failure = None if text.strip() else "it returned a blank text"
        if reason := why_unfinished(response, answer.finish_reason):  # half a summary, or a refusal
            failure = f"its response ended with {reason}"
        model, provider = readable_text(answer.model or "unknown"), answer.provider or "unknown"
        return Reply(None if failure else text, failure, model, provider, answer.usage)

    async def within(self, notes: Notes) -> Notes:
        """As much of notes as fits `max_tokens`: the oldest are dropped first."""
        while notes and await TokenUsage.count_tokens(text := str(notes), DEFAULT_MODEL) > self.max_tokens:
            shorter = notes.shorter()
            if shorter == notes:  # only with the smallest limits
                return Notes(text[: self.max_tokens])
            notes = shorter
        return notes


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not print it: it may contain messages


async def noted(before: Notes, messages: Sequence[ChatMessage]) -> Notes:
    """What is known of a conversation after these messages."""
    if sum(len(text_of(row)) for row in messages) > _LONG:
        return await asyncio.to_thread(before.after, messages)
    return before.after(messages)


async def closing_summary(log: LogEnd) -> SessionEvent[Any] | None:
    """The summary at the end of a closed segment, if there is one; one in the middle does not count."""
    last = await log.last()
    return await log.read_back_to(lambda event: _closes(event, last))


def ends_in_summary(events: Sequence[SessionEvent[Any]]) -> bool:
    """Whether a segment of these events ends in its summary."""
    return any(_closes(event, events[-1]) for event in reversed(events))


def _closes(event: SessionEvent[Any], last: SessionEvent[Any] | None) -> bool:
    return event.type == EventType.SUMMARY and (covers_all(event) or event is last)


def covers_all(summary: SessionEvent[Any] | None) -> bool:
    """Whether a summary also covers all segments before its own."""
    return summary is not None and bool(summary.metadata.get("rolling"))


async def notes_with(before: Notes, log: LogEnd) -> Notes:
    """What is known of a conversation after a segment, from the summary at the segment's end."""
    summary = await closing_summary(log)
    if summary is None:  # its writer was interrupted, or has not finished; the whole log was read
        return await noted(before, told_messages(as_told(log.events)))
    return notes_of(summary) if covers_all(summary) else before.followed_by(summary_text(summary.message))


def notes_of(summary: SessionEvent[Any]) -> Notes:
    """The notes in a summary: those of the built-in one, or the text of any other."""
    notes = summary.metadata.get("notes")
    return Notes.from_json(notes) if isinstance(notes, dict) else Notes(summary_text(summary.message))


def show(summary: SessionEvent[Any], shown: Notes) -> None:
    """Write into a summary what models were told until the summary was there."""
    summary.metadata["shown"] = shown.as_json()


def shown_in(summary: SessionEvent[Any]) -> Notes | None:
    """What models were told until a summary was there; `None` if it was there in time."""
    shown = summary.metadata.get("shown")
    return Notes.from_json(shown) if isinstance(shown, dict) else None


def summary_text(message: Any) -> str:
    """The text of a summary: its `note`, its `content`, or the message itself."""
    return str(message["note"] if isinstance(message, dict) and "note" in message else content_of(message))
