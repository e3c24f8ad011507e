"""Model calls tracked as they are made: whole, streaming, or through an SDK's own client."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager
from copy import deepcopy
from functools import partial
from typing import Any

from ..conversation.callbacks import call
from ..conversation.context.chain import fingerprint_for
from ..conversation.drafts import Draft, draft_answers, draft_question
from ..exceptions import InvalidInput, SessionManagerError
from ..exceptions.validation import check_answer
from ..models import EventSource, EventType, SessionEvent
from ..providers.answers import Answer, model_of, native_of
from ..providers.common import data_of, readable_json, readable_text
from ..providers.context_rows import native_of as provider_native
from ..providers.endings import written_in
from ..providers.fingerprints import Sent
from ..providers.parts import Content, check_content
from ..providers.registry import answer_in, not_understood
from ..providers.requests import asked_rows, request_text, sent_by
from ..providers.responses_state import is_forgotten
from ..providers.streamed_answers import AnswerInPieces
from ..providers.usage import usage_of
from ..session_manager import SessionManager

__all__ = ["Exchange", "LLMStream"]

logger: logging.Logger = logging.getLogger(__name__)

UNREADABLE = "UnreadableAnswer"
"""The recorded failure of a call whose answer cannot be read."""

# Recordings that go on while who asked for them is cancelled; asyncio itself holds no task.
_recordings: set[asyncio.Task[str]] = set()


class Exchange:
    """A question, and what becomes of it: an answer, part of one, or a failure.

    Args:
        sm: the conversation.
        model: who answers, where the response does not say it.
        provider: who runs the model.

    Raises:
        InvalidInput: a model or provider without a name.
    """

    def __init__(self, sm: SessionManager, model: str = "unknown", provider: str = "unknown") -> None:
        check_answer("", model, provider, "track a model call")
        self.sm = sm
        self._model = model
        self._provider = provider
        self.question_id: str | None = None
        """The id of the question's event, to which the answer is linked."""
        self.is_awaited = False
        """Whether somebody waits for the next piece of a streamed answer just now."""
        self._request: Callable[[], str] | None = None
        self._sent: tuple[str, Sent] | None = None
        self._length: int | None = None
        self._question_in = ""
        # Writers in other threads take parts of the answer while it comes.
        self._lock = threading.Lock()
        self._pieces: AnswerInPieces | None = None
        self._is_ended = False
        self._is_called = False
        self._came = 0
        self._part: Draft | None = None
        self._part_came = 0

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
        """Record what of the messages in a request's arguments is new to the session.

        Args:
            arguments: those of the call.
            is_known: whether it only asks for a response that was made before.
            is_bound: whether what is signed in the answer may be bound to what the request says.
        """
        rows = [] if is_known else readable_json(asked_rows(arguments))
        self._request = partial(request_text, arguments)
        self._sent = _sent(arguments) if is_bound and not is_known else None
        async with self.sm.writer.allowance.after_calls():
            self.question_id = await self.sm.writer.add_new_messages(rows)
            self._question_in = self.sm.session_id

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """What is raised in here is recorded as the call's failure, and raised on."""
        try:
            yield
        except BaseException as problem:
            await self.fail(problem)
            raise

    async def answer(self, answer: Answer, **metadata: Any) -> str:
        """Record the answer, also where who waits for it is cancelled; the session's id."""
        with self._lock:
            self._is_ended = True
        drafts = self._drafted(answer, metadata, is_stopped=False)
        self._is_over()
        if not drafts:  # its provider is still at work on it
            return self.sm.session_id
        return await _to_the_end(self.sm.writer.record(drafts))

    def _drafted(self, answer: Answer, metadata: dict[str, Any], *, is_stopped: bool) -> list[Draft]:
        answer.text = readable_text(answer.text)  # a model may write what no store takes
        names = self.sm.names_of(answer, self._model, self._provider)
        drafts = draft_answers(answer, *names, metadata, parent_event_id=self.question_id)
        for draft in drafts[-1:]:
            draft.request, draft.length, draft.replaces = self._request, self._length, self._part
            draft.question_in = self._question_in
            if self._came:
                draft.written = written_in(answer)
            if self._pieces is not None and is_stopped:
                draft.reported, draft.partly = None, self._pieces.usage_so_far
        if self._sent is not None and drafts:
            native_format, native = provider_native(drafts[0].event)
            if native_format == self._sent[0]:
                drafts[0].event.context = fingerprint_for(native_format, native, self._sent[1])
        return drafts

    async def read_and_answer(self, response: Any) -> None:
        """Record a response, whatever is in there: the caller is to have it in any case."""
        answer = _read(response)
        if answer is None:
            await self.unreadable(response)
            return
        try:
            await self.answer(answer)
        except InvalidInput:  # longer than any store takes
            await self.unreadable(None, kind=type(response).__name__)

    async def unreadable(self, response: Any, kind: str | None = None) -> None:
        """Record that an answer came that cannot be read: an error in the place of an answer, no choices.

        Args:
            response: the answer, which is kept in its raw form; `None` where it is not to be kept.
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
        """Record that the call failed, and how: the kind of error, not what it says.

        Where that cannot be recorded, it is only logged: the caller is to have the model's own error.
        """
        event: SessionEvent[Any] = SessionEvent(
            message={"error": type(problem).__name__},
            source=EventSource.SYSTEM,
            type=EventType.REFERENCE,
            metadata={"failed": True} | ({"state_lost": True} if is_forgotten(problem) else {}),
            parent_event_id=self.question_id,
        )
        self._is_over()
        await self._try(self.sm.writer.record([Draft(event, None, "")]))

    # -- of streams -----------------------------------------------------------------------------

    def begin(self, pieces: AnswerInPieces) -> None:
        """Read the answer in pieces: what came of it by then is stored where the conversation goes on."""
        if self._pieces is None:
            self._pieces = pieces
            self.sm.writer.unfinished.append(self)

    def is_called(self) -> None:
        """Know that the model was asked: from now on, the call counts though nothing may come of it."""
        self._is_called = True

    def came(self, piece: object) -> None:
        """Take in a piece of the answer."""
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
        """Record as much of an answer as came before its stream broke, or its reader went away."""
        if isinstance(problem, asyncio.CancelledError):  # who waited for its first piece had asked for it
            self._is_called = True
        draft = self.part(before_question=True)
        if draft is not None:
            self._is_over()
            await self._try(self.sm.writer.record([draft]))
        if isinstance(problem, GeneratorExit):
            self._is_over()
        else:
            await self.fail(problem)

    async def leave(self) -> None:
        """Know that nobody reads on: record what came, if it is not recorded yet."""
        if self in self.sm.writer.unfinished:
            await self.interrupt(GeneratorExit())

    def part(self, *, before_question: bool) -> Draft | None:
        """What came of the answer so far, made ready to be stored; `None` where there is nothing new."""
        with self._lock:
            return self._part_of(self._pieces, before_question=before_question)

    def _part_of(self, pieces: AnswerInPieces | None, *, before_question: bool) -> Draft | None:
        if self._is_ended or pieces is None or pieces.unknown is not None:
            return None
        is_new = self._came > self._part_came
        is_nothing = before_question and not self.is_awaited and self._is_called and self._part is None
        if not is_new and not is_nothing:
            return None
        how = {} if pieces.is_complete else {"interrupted": True}
        answer = deepcopy(pieces.end())
        answer.is_pending = False
        *_, draft = self._drafted(answer, how, is_stopped=not pieces.is_complete)
        draft.response_key = None  # the whole answer may come yet
        self._part, self._part_came = draft, self._came
        return draft

    def part_is_lost(self) -> None:
        """Take back the last part: it could not be stored."""
        self._part, self._part_came = None, 0

    def _is_over(self) -> None:
        self.sm.writer.is_asked.discard(self.question_id or "")
        if self in self.sm.writer.unfinished:
            self.sm.writer.unfinished.remove(self)

    async def _try(self, recording: Coroutine[Any, Any, str]) -> None:
        try:
            await _to_the_end(recording)
        except SessionManagerError as problem:
            logger.warning(
                "What became of a call in session %s was not stored: %s",
                self.sm.session_id,
                type(problem).__name__,
            )


async def _to_the_end(work: Coroutine[Any, Any, str]) -> str:
    """Do what is not to be left half done, also where this is cancelled (again)."""
    task = asyncio.create_task(work)
    _recordings.add(task)
    task.add_done_callback(_recordings.discard)
    return await asyncio.shield(task)


async def complete(
    exchange: Exchange, question: Content, llm_function: Callable[[Any], Any]
) -> tuple[str, str]:
    """Ask, call the model, record its answer; the answer's text and the session's id."""
    async with exchange.sm.writer.allowance.calling():
        await exchange.ask(question)
        async with exchange.calling():
            response = await call(llm_function, question)
            answer = _read(response)
            if answer is None and not _is_response(response):
                raise not_understood(response)
        if answer is None:
            await exchange.unreadable(response)
            return "", exchange.sm.session_id
        return answer.text, await exchange.answer(answer)


def _read(response: Any) -> Answer | None:
    """A response as an answer; `None` where it cannot be read, in whatever way."""
    try:
        return answer_in(response)
    except Exception as problem:  # noqa: BLE001  (a reader must not cost the caller the response)
        logger.warning("A %s could not be read: %s", type(response).__name__, type(problem).__name__)
        return None


def _is_response(response: object) -> bool:
    """Whether a thing that cannot be read is a response all the same: an SDK's object, or JSON."""
    return isinstance(response, Mapping) or hasattr(response, "model_dump")


# -- streams --------------------------------------------------------------------------------------


class LLMStream:
    """A model's answer as it streams: `async for` gives the pieces as they come.

    The whole answer is recorded at its end; if the stream breaks, or whoever reads it goes away, the text
    so far is, with the metadata `interrupted`.
    """

    def __init__(self, exchange: Exchange, question: Content, llm_function: Callable[[Any], Any]) -> None:
        self._exchange = exchange
        self._pieces = AnswerInPieces()
        # It holds nothing of this object, so that it ends when nobody reads it any more.
        self._reading = _streamed(exchange, question, llm_function, self._pieces)

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._exchange.sm.session_id

    @property
    def text(self) -> str:
        """The text so far."""
        return self._pieces.text

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._reading

    async def aclose(self) -> None:
        """Stop reading, and record what there is so far."""
        await self._reading.aclose()


async def _streamed(
    exchange: Exchange, question: Content, llm_function: Callable[[Any], Any], pieces: AnswerInPieces
) -> AsyncGenerator[Any, None]:
    await exchange.ask(question)
    async with exchange.calling():
        source = await call(llm_function, question)
    async with aclosing(recorded_stream(exchange, source, pieces)) as recorded:
        async for piece in recorded:
            yield piece


async def recorded_stream(
    exchange: Exchange, source: Any, pieces: AnswerInPieces
) -> AsyncGenerator[Any, None]:
    """The pieces of a stream as they come; what they come to is recorded at the end, however it ends."""
    if isinstance(source, Mapping) and hasattr(source.get("stream"), "__iter__"):
        source = source["stream"]  # as boto3 gives it
    if not isinstance(source, list | tuple) and not any(hasattr(source, name) for name in _STREAMS):
        if (answer := await _answered_at_once(exchange, source)) is not None:
            yield answer.text
        return
    exchange.begin(pieces)
    try:
        async with _opened(source) as stream:
            if not _is_generator(source):
                exchange.is_called()  # a generator asks the model when its first piece is wanted
            exchange.is_awaited = True
            async for piece in stream:
                exchange.came(piece)
                exchange.is_awaited = False
                yield piece
                exchange.is_awaited = True
    except BaseException as problem:
        exchange.is_awaited = False
        await exchange.interrupt(problem)
        raise
    exchange.is_awaited = False
    if pieces.unknown is not None and not _is_response(pieces.unknown):
        async with exchange.calling():
            raise not_understood(pieces.unknown)
    if pieces.unknown is not None:
        await exchange.unreadable(pieces.unknown)
    elif pieces.is_cut:  # the connection was closed as if that were the end
        await exchange.interrupt(ConnectionResetError())
    else:
        await exchange.answer(exchange.whole(pieces))


async def _answered_at_once(exchange: Exchange, response: Any) -> Answer | None:
    """Record what is no stream; the answer, or `None` where it is a response that cannot be read."""
    answer = _read(response)
    if answer is not None:
        await exchange.answer(answer)
    elif _is_response(response):
        await exchange.unreadable(response)
    else:
        async with exchange.calling():
            raise not_understood(response)
    return answer


def _add(pieces: AnswerInPieces, piece: Any) -> None:
    """Take in a piece of a stream; one that cannot be read must not cost the caller the stream."""
    try:
        pieces.add(piece)
    except Exception as problem:  # noqa: BLE001  (as for `_read`)
        logger.warning("A %s could not be read: %s", type(piece).__name__, type(problem).__name__)


# What a stream has: it is read with one of these.
_STREAMS = ("__aiter__", "__aenter__", "__next__", "__enter__")


@asynccontextmanager
async def _opened(source: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """A stream, in whichever form an SDK gives it, for one reading."""
    if hasattr(source, "__aenter__") and not hasattr(source, "__aiter__"):  # as of Anthropic's `stream(...)`
        async with source as opened:
            yield opened
        return
    if hasattr(source, "__enter__") and not hasattr(source, "__aiter__") and not hasattr(source, "__next__"):
        source = await call(lambda each: each.__enter__(), source)  # its twin that blocks
    try:
        if isinstance(source, list | tuple):
            yield _at_hand(source)
        else:
            yield aiter(source) if hasattr(source, "__aiter__") else _in_threads(iter(source))
    finally:
        await closed(source)


def _is_generator(source: Any) -> bool:
    return inspect.isasyncgen(source) or inspect.isgenerator(source) or isinstance(source, list | tuple)


async def closed(stream: Any) -> None:
    """Let go of the connection that a stream comes over."""
    close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    closing = close() if callable(close) else None
    if inspect.isawaitable(closing):
        await closing


async def _in_threads(pieces: Iterator[Any]) -> AsyncIterator[Any]:
    """The pieces of a stream that blocks until the next one is there."""
    end = object()
    while (piece := await call(lambda each: next(each, end), pieces)) is not end:
        yield piece


async def _at_hand(pieces: Sequence[Any]) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


def _sent(arguments: Mapping[str, Any]) -> tuple[str, Sent] | None:
    """What a request consists of; `None` also where that cannot be read: the call is made all the same."""
    try:
        return sent_by(arguments)
    except Exception as problem:  # noqa: BLE001  (whatever an application gives the SDK)
        logger.warning("The rows of a request could not be read: %s", type(problem).__name__)
        return None
