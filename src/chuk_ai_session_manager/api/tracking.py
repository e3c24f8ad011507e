"""Recording model calls while they are made: whole answers, streams, and calls of an SDK's client."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Mapping,
)
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..conversation.callbacks import call
from ..conversation.context.chain import fingerprint_for
from ..conversation.drafts import Draft, draft_answers, draft_question
from ..exceptions import InvalidInput, SessionManagerError
from ..exceptions.validation import check_answer
from ..models import EventSource, EventType, SessionEvent
from ..providers.answers import Answer, model_of, native_of
from ..providers.common import data_of, field_of, readable_json, readable_text
from ..providers.context_rows import native_of as provider_native
from ..providers.endings import written_in
from ..providers.fingerprints import Sent
from ..providers.parts import Content, check_content
from ..providers.registry import answer_in, not_understood
from ..providers.requests import asked_rows, messages_in, request_text, sent_by
from ..providers.responses_state import is_forgotten
from ..providers.streamed_answers import AnswerInPieces
from ..providers.usage import read_usage, usage_of
from ..session_manager import SessionManager

__all__ = ["Exchange"]

logger: logging.Logger = logging.getLogger(__name__)

_RETRIEVABLE = {"openai-responses", "google-interactions"}
"""The formats whose responses can be retrieved by their id."""

UNREADABLE = "UnreadableAnswer"
"""The recorded failure of a call whose answer is unreadable."""


class StreamedError(Exception):
    """The recorded failure of a call whose stream ended with an error of the provider's.

    Args:
        said: the error as the provider sent it, which is stored in its raw form.
    """

    def __init__(self, said: Any) -> None:
        super().__init__("the stream ended with an error")
        self.said = said


# Parts of responses whose streams were stopped, by the response's id: the provider goes on with a background
# response, which can be retrieved when it is complete.
_stopped: WeakKeyDictionary[SessionManager, dict[str, Draft]] = WeakKeyDictionary()
_MOST_STOPPED = 100

# Recordings that continue after their caller was cancelled. asyncio keeps only weak references to tasks.
_recordings: set[asyncio.Task[str]] = set()


class _Part(NamedTuple):
    """The part of an answer that was given away to be stored."""

    draft: Draft | None
    steps: int
    """How many drafts of an SDK's steps are before it, which are stored with it."""
    came: int
    """How many pieces of the stream had come."""


_NO_PART = _Part(None, 0, 0)


class Exchange:
    """A question and its outcome: an answer, a part of one, or a failure.

    Args:
        sm: the conversation.
        model: the model that answers, if the response does not name it.
        provider: the provider that runs the model.
        usage: token counts that win over those of the response; read when the answer is complete.

    Raises:
        InvalidInput: the model or the provider has no name.
    """

    def __init__(
        self,
        sm: SessionManager,
        model: str = "unknown",
        provider: str = "unknown",
        usage: object | None = None,
    ) -> None:
        check_answer("", model, provider, "track a model call")
        self.sm = sm
        self._usage = usage
        self._model = model
        self._provider = provider
        self.question_id: str | None = None
        """The id of the question's event, to which the answer is linked."""
        self.is_awaited = False
        """Whether somebody is waiting for the next piece of a streamed answer at this moment."""
        self._request: Callable[[], str] | None = None
        self._messages = 0
        self._sent: tuple[str, Sent] | None = None
        self._length: int | None = None
        self._question_in = ""
        # Writers in other threads take parts of the answer while it comes.
        self._lock = threading.Lock()
        self._pieces: AnswerInPieces | None = None
        self._is_ended = False
        self._is_called = False
        self._came = 0
        self._part = _NO_PART
        self._part_before = _NO_PART

    async def ask(self, question: Content) -> None:
        """Record the question."""
        content = check_content(question, "user_input", "track a model call")
        reader = None if self._model == "unknown" else self._model
        draft = draft_question(content, self.sm.model, reader=reader)
        self.question_id = draft.event.id
        self.sm.writer.is_asked.add(draft.event.id)
        try:
            async with self.sm.writer.allowance.after_calls():
                self._question_in = await self.sm.writer.record([draft])
        except BaseException:
            self._is_over()
            raise
        self._length = self.sm.writer.length

    async def ask_for(self, arguments: Mapping[str, Any], *, is_known: bool, is_bound: bool = False) -> None:
        """Record the messages of a request that the session does not have yet.

        Args:
            arguments: the arguments of the call.
            is_known: whether the call only retrieves an earlier response.
            is_bound: whether signatures in the answer may depend on the request's messages.
        """
        rows = [] if is_known else readable_json(asked_rows(arguments))
        self._request, self._messages = partial(request_text, arguments), messages_in(arguments)
        self._sent = _sent(arguments) if is_bound and not is_known else None
        async with self.sm.writer.allowance.after_calls():
            self.question_id = await self.sm.writer.add_new_messages(rows)
            self._question_in = self.sm.session_id

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Record an exception that is raised in the block as the call's failure, and raise it again.

        An answer that the exception brings was paid, and is recorded instead: OpenAI's `parse` raises an
        error with the `completion` if it was cut off or filtered, instructor's errors have a
        `last_completion` (https://python.useinstructor.com/concepts/error_handling/).
        """
        try:
            yield
        except BaseException as problem:
            completion = field_of(problem, "completion", "last_completion")
            if is_response(completion) and read_or_none(completion) is not None:
                await self.read_and_answer(completion)
            else:
                await self.fail(problem)
            raise

    async def answer(self, answer: Answer, **metadata: Any) -> str:
        """Record the answer, even if the caller is cancelled; return the session's id.

        Raises:
            InvalidInput: the usage that the application gave is unreadable; the answer was recorded.
        """
        with self._lock:
            self._is_ended = True
        try:
            if self._usage is not None:
                answer.usage = read_usage(self._usage, beside=answer.usage)
        finally:  # a paid answer is recorded in any case
            drafts = self._drafted(answer, metadata, is_stopped=False)
            self._is_over()
            # Without drafts, the response is not complete yet.
            recorded_in = await _to_the_end(self.sm.writer.record(drafts)) if drafts else None
        return recorded_in or self.sm.session_id

    def _drafted(self, answer: Answer, metadata: dict[str, Any], *, is_stopped: bool) -> list[Draft]:
        answer.text = readable_text(answer.text)  # a model may write characters that no store accepts
        names = self.sm.names_of(answer, self._model, self._provider)
        drafts = draft_answers(answer, *names, metadata, parent_event_id=self.question_id)
        drafts = drafts[self._part.steps :]  # an SDK's steps before the part are stored
        for draft in drafts[-1:]:
            draft.request, draft.messages = self._request, self._messages
            draft.length = self._length
            if not is_stopped and self._part.draft is None:
                draft.replaces = _stopped.get(self.sm, {}).pop(answer.response_id or "", None)
            draft.question_in = self._question_in
            if self._came:
                draft.written = written_in(answer)
            if self._pieces is not None and is_stopped:
                draft.reported, draft.partly = None, self._pieces.usage_so_far
        if drafts and self._part.draft is not None:
            drafts[0].replaces = self._part.draft
        if self._sent is not None and drafts and not self._part.steps:
            native_format, native = provider_native(drafts[0].event)
            if native_format == self._sent[0]:
                drafts[0].event.context = fingerprint_for(native_format, native, self._sent[1])
        return drafts

    async def read_and_answer(self, response: Any) -> None:
        """Record a response, whatever it contains: the caller must get it in any case."""
        answer = read_or_none(response)
        if answer is None:
            await self.unreadable(response)
            return
        try:
            await self.answer(answer)
        except InvalidInput:  # longer than any store accepts
            await self.unreadable(None, kind=type(response).__name__)

    async def unreadable(self, response: Any, kind: str | None = None) -> None:
        """Record an answer that cannot be read: an error in place of an answer, or no choices.

        Args:
            response: the answer, which is stored in its raw form; `None` to store nothing of it.
            kind: the name of its type.
        """
        kind = kind or type(response).__name__
        data = data_of(response)
        usage = usage_of(data)
        event: SessionEvent[Any] = SessionEvent(
            message={"error": UNREADABLE},
            source=EventSource.SYSTEM,
            type=EventType.REFERENCE,
            metadata={"failed": True, "answer_type": kind},
            parent_event_id=self.question_id,
            native=native_of("unknown", readable_json(data)) if isinstance(data, dict) else None,
        )
        model, provider = self.sm.names_of(Answer(model=model_of(data)), self._model, self._provider)
        self._is_over()
        logger.warning("An answer in session %s cannot be read: a %s", self.sm.session_id, kind)
        await self._try(self.sm.writer.record([Draft(event, "", model, provider, reported=usage)]))

    async def fail(self, problem: BaseException) -> None:
        """Record that the call failed, with the kind of error but without its message.

        If recording fails, that is only logged: the caller must get the model's own error.
        """
        event: SessionEvent[Any] = SessionEvent(
            message={"error": type(problem).__name__},
            source=EventSource.SYSTEM,
            type=EventType.REFERENCE,
            metadata={"failed": True} | ({"state_lost": True} if is_forgotten(problem) else {}),
            parent_event_id=self.question_id,
            native=native_of("unknown", readable_json(problem.said))
            if isinstance(problem, StreamedError)
            else None,
        )
        self._is_over()
        await self._try(self.sm.writer.record([Draft(event, None, "")]))

    # -- of streams -----------------------------------------------------------------------------

    def begin(self, pieces: AnswerInPieces) -> None:
        """Begin to read the answer in pieces. If the conversation goes on, the part so far is stored."""
        if self._pieces is None:
            self._pieces = pieces
            self.sm.writer.unfinished.append(self)

    def is_called(self) -> None:
        """Note that the model was called: from now on, the call counts, even if no answer arrives."""
        self._is_called = True

    def came(self, piece: object) -> None:
        """Add a piece of the answer."""
        assert self._pieces is not None  # noqa: S101  (tells mypy)
        with self._lock:
            _add(self._pieces, piece)
            self._came += 1

    def whole(self, pieces: AnswerInPieces) -> Answer:
        """The answer at the end of its stream: from now on, no part of it is stored in its place."""
        with self._lock:
            self._is_ended = True
            return pieces.end()

    async def interrupt(self, problem: BaseException) -> None:
        """Record the part of an answer that arrived before its stream broke or was abandoned."""
        if isinstance(problem, asyncio.CancelledError):  # the reader was waiting, so the model was called
            self._is_called = True
        # Until its turn it counts as unfinished: a question that is asked meanwhile stores the part itself.
        await self._try(self.sm.writer.finish(self))
        self._keep_part()
        if isinstance(problem, GeneratorExit):
            self._is_over()
        else:
            await self.fail(problem)

    def _keep_part(self) -> None:
        """Remember the part of a response that can be retrieved, so that the whole replaces it."""
        draft = self._part.draft
        native = None if draft is None else draft.event.native
        response_id = field_of(field_of(native, "response"), "id")
        if draft is None or not response_id or field_of(native, "format") not in _RETRIEVABLE:
            return
        parts = _stopped.setdefault(self.sm, {})
        parts[str(response_id)] = draft
        if len(parts) > _MOST_STOPPED:
            del parts[next(iter(parts))]

    async def leave(self) -> None:
        """Note that nobody reads on, and record the part that arrived, if that is not recorded yet."""
        if self in self.sm.writer.unfinished:
            await self.interrupt(GeneratorExit())

    def parts(self, *, before_question: bool) -> list[Draft]:
        """Drafts of what arrived since the last time: an SDK's steps, and the answer so far."""
        with self._lock:
            return self._parts_of(self._pieces, before_question=before_question)

    def _parts_of(self, pieces: AnswerInPieces | None, *, before_question: bool) -> list[Draft]:
        if self._is_ended or pieces is None or pieces.unknown is not None:
            return []
        is_new = self._came > self._part.came
        is_nothing = before_question and not self.is_awaited and self._is_called and self._part.draft is None
        if not is_new and not is_nothing:
            return []
        how = {} if pieces.is_complete else {"interrupted": True}
        answer = deepcopy(pieces.end())
        answer.is_pending = False
        drafts = self._drafted(answer, how, is_stopped=not pieces.is_complete)
        drafts[-1].response_key = None  # the whole answer may arrive later
        self._part_before = self._part
        self._part = _Part(drafts[-1], self._part.steps + len(drafts) - 1, self._came)
        return drafts

    def part_is_lost(self) -> None:
        """Forget the last part: it could not be stored."""
        self._part = self._part_before

    def _is_over(self) -> None:
        self.sm.writer.is_asked.discard(self.question_id or "")
        if self in self.sm.writer.unfinished:
            self.sm.writer.unfinished.remove(self)

    async def _try(self, recording: Coroutine[Any, Any, str]) -> None:
        try:
            await _to_the_end(recording)
        except SessionManagerError as problem:
            logger.warning(
                "The outcome of a call in session %s was not stored: %s",
                self.sm.session_id,
                type(problem).__name__,
            )


async def _to_the_end(work: Coroutine[Any, Any, str]) -> str:
    """Do work that must be completed, even if this task is cancelled."""
    task = asyncio.create_task(work)
    _recordings.add(task)
    task.add_done_callback(_recordings.discard)
    return await asyncio.shield(task)


async def complete(
    exchange: Exchange, question: Content, llm_function: Callable[[Any], Any]
) -> tuple[str, str]:
    """Record the question, call the model, record the answer; return its text and the session's id."""
    async with exchange.sm.writer.allowance.calling():
        await exchange.ask(question)
        async with exchange.calling():
            response = await call(llm_function, question)
            answer = read_or_none(response)
            if answer is None and not is_response(response):
                raise not_understood(response)
        if answer is None:
            await exchange.unreadable(response)
            return "", exchange.sm.session_id
        return answer.text, await exchange.answer(answer)


def read_or_none(response: Any) -> Answer | None:
    """A response as an answer; `None` if it cannot be read for any reason."""
    try:
        return answer_in(response)
    except Exception as problem:  # noqa: BLE001  (the caller must get the response even if a reader fails)
        logger.warning("A %s could not be read: %s", type(response).__name__, type(problem).__name__)
        return None


def is_response(response: object) -> bool:
    """Whether an unreadable object is a response all the same: an SDK's object, or JSON."""
    return isinstance(response, Mapping) or hasattr(response, "model_dump")


def _add(pieces: AnswerInPieces, piece: Any) -> None:
    """Add a piece of a stream. If a piece cannot be read, the caller must still get the stream."""
    try:
        pieces.add(piece)
    except Exception as problem:  # noqa: BLE001  (as for `read_or_none`)
        logger.warning("A %s could not be read: %s", type(piece).__name__, type(problem).__name__)


def _sent(arguments: Mapping[str, Any]) -> tuple[str, Sent] | None:
    """The fingerprints of a request; `None` also if it cannot be read: the call is made all the same."""
    try:
        return sent_by(arguments)
    except Exception as problem:  # noqa: BLE001  (an application may pass the SDK anything)
        logger.warning("The messages of a request could not be read: %s", type(problem).__name__)
        return None
