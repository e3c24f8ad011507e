"""Model calls tracked as they are made: whole, streaming, or through an SDK's own client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Self, TypeVar, cast

from .answers import Answer, AnswerInPieces, read_answer
from .callbacks import call
from .exceptions import InvalidInput
from .messages import ChatMessage
from .metering import Draft, draft_question
from .models import EventSource, EventType, SessionEvent
from .session_manager import SessionManager
from .validation import check_answer, check_text

__all__ = ["Exchange", "LLMStream", "track_client"]

Client = TypeVar("Client")

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

    async def ask(self, question: str) -> str:
        """Record the question; the session's id."""
        check_text(question, "user_input", "track a model call")
        draft = draft_question(question, self.sm.model)
        self.question_id = draft.event.id
        return await self.sm.record([draft])

    async def ask_for(self, rows: list[ChatMessage]) -> None:
        """Record what of a request's rows is new to the session."""
        self.question_id = await self.sm.add_new_messages(rows)

    async def answer(self, answer: Answer, **metadata: Any) -> str:
        """Record the answer; the session's id."""
        draft = self.sm.draft_answer(
            answer, self._model, self._provider, metadata, parent_event_id=self.question_id
        )
        return await self.sm.record([draft])

    async def fail(self, problem: BaseException) -> None:
        """Record that the call failed, and how: the kind of error, not what it says."""
        event: SessionEvent[Any] = SessionEvent(
            message={"error": type(problem).__name__},
            source=EventSource.SYSTEM,
            type=EventType.REFERENCE,
            metadata={"failed": True},
            parent_event_id=self.question_id,
        )
        await _to_the_end(self.sm.record([Draft(event, None, "")]))

    async def interrupt(self, pieces: AnswerInPieces, problem: BaseException) -> None:
        """Record as much of an answer as came before its stream broke, or its reader went away."""
        answer = pieces.end()
        if answer.text or answer.tool_calls:
            how = {} if pieces.is_complete else {"interrupted": True}
            await _to_the_end(self.answer(answer, **how))
        if not isinstance(problem, GeneratorExit):
            await self.fail(problem)


async def _to_the_end(work: Any) -> None:
    """Do what is not to be left half done, also where this is cancelled (again)."""
    task: asyncio.Task[Any] = asyncio.ensure_future(work)
    _recordings.add(task)
    task.add_done_callback(_recordings.discard)
    await asyncio.shield(task)


async def complete(exchange: Exchange, question: str, llm_function: Callable[[str], Any]) -> tuple[str, str]:
    """Ask, call the model, record its answer; the answer's text and the session's id."""
    await exchange.ask(question)
    response = await _tried(exchange, call(llm_function, question))
    answer = read_answer(response)
    return answer.text, await exchange.answer(answer)


async def _tried(exchange: Exchange, calling: Awaitable[Any]) -> Any:
    try:
        return await calling
    except BaseException as problem:
        await exchange.fail(problem)
        raise


# -- streams --------------------------------------------------------------------------------------


class LLMStream:
    """A model's answer as it streams: `async for` gives the pieces as they come.

    The whole answer is recorded at its end; if the stream breaks, or whoever reads it goes away, the text
    so far is, with the metadata `interrupted`.
    """

    def __init__(self, exchange: Exchange, question: str, llm_function: Callable[[str], Any]) -> None:
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
        return self._pieces.answer.text

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._reading

    async def aclose(self) -> None:
        """Stop reading, and record what there is so far."""
        await self._reading.aclose()


async def _streamed(
    exchange: Exchange, question: str, llm_function: Callable[[str], Any], pieces: AnswerInPieces
) -> AsyncGenerator[Any, None]:
    await exchange.ask(question)
    source = await _tried(exchange, call(llm_function, question))
    async with aclosing(_recorded(exchange, source, pieces)) as recorded:
        async for piece in recorded:
            yield piece


async def _recorded(exchange: Exchange, source: Any, pieces: AnswerInPieces) -> AsyncGenerator[Any, None]:
    """The pieces of a stream as they come; what they come to is recorded at the end, however it ends."""
    try:
        async with _opened(source) as stream:
            async for piece in stream:
                pieces.add(piece)
                yield piece
    except BaseException as problem:
        await exchange.interrupt(pieces, problem)
        raise
    if pieces.unknown is not None:
        read_answer(pieces.unknown)  # which says what it is
    await exchange.answer(pieces.end())


@asynccontextmanager
async def _opened(source: Any) -> AsyncIterator[AsyncIterator[Any]]:
    """A stream, in whichever form an SDK gives it, for one reading."""
    if hasattr(source, "__aenter__") and not hasattr(source, "__aiter__"):  # as of Anthropic's `stream(...)`
        async with source as opened:
            yield opened
    elif hasattr(source, "__aiter__"):
        try:
            yield aiter(source)
        finally:
            await _closed(source)
    elif isinstance(source, Iterator | list | tuple):
        yield _in_threads(iter(source))
    else:
        yield _in_threads(iter([read_answer(source).text]))


async def _closed(stream: Any) -> None:
    close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    closing = close() if callable(close) else None
    if inspect.isawaitable(closing):
        await closing


async def _in_threads(pieces: Iterator[Any]) -> AsyncIterator[Any]:
    """The pieces of a stream that blocks until the next one is there."""
    end = object()
    while (piece := await call(lambda each: next(each, end), pieces)) is not end:
        yield piece


# -- an SDK's own client --------------------------------------------------------------------------

_TRACKED = {
    "chat.completions.create",
    "chat.completions.parse",
    "messages.create",
    "responses.create",
    "responses.parse",
}
_PARTS = {"", "chat", "chat.completions", "messages", "responses"}


def track_client(client: Client, session_manager: SessionManager, *, provider: str = "unknown") -> Client:
    """An OpenAI or Anthropic client whose calls are recorded in a session.

    What it gives is used as the client itself: `chat.completions.create`, `responses.create` and
    `messages.create`, streaming too, record what is new in their messages, and the answer with its usage.
    What the session holds already, because it was recorded before the call, is not recorded again.
    Everything else of the client is as it was; so is the client given, for other sessions.

    Args:
        client: `AsyncOpenAI`, `AsyncAnthropic`, or one of their kind.
        session_manager: the conversation that all its calls belong to.
        provider: who runs the model, where the response does not say it.

    Raises:
        InvalidInput: a client that is not async: use `track_llm_call` with that.
    """
    if not hasattr(client, "__aenter__"):
        reason = f"{type(client).__name__} is no async client; give a call of it to track_llm_call instead"
        raise InvalidInput("track a client", reason)
    tracked: Any = _Tracked(client, session_manager, provider, "")
    return cast("Client", tracked)


class _Tracked:
    """A client, or a part of one, with its calls tracked."""

    def __init__(self, target: Any, sm: SessionManager, provider: str, path: str) -> None:
        self._target = target
        self._sm = sm
        self._provider = provider
        self._path = path

    def __repr__(self) -> str:
        return f"tracked({type(self._target).__name__}, {self._sm!r})"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        path = f"{self._path}.{name}".strip(".")
        if path in _TRACKED:
            return partial(self._call, value)
        if path in _PARTS:
            return _Tracked(value, self._sm, self._provider, path)
        if path in {"copy", "with_options"}:  # another client, of the same session
            return lambda **options: track_client(value(**options), self._sm, provider=self._provider)
        return value

    async def __aenter__(self) -> Self:
        await self._target.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> Any:
        return await self._target.__aexit__(*exception)

    async def _call(self, create: Callable[..., Any], **arguments: Any) -> Any:
        exchange = Exchange(self._sm, str(arguments.get("model") or "unknown"), self._provider)
        await exchange.ask_for(asked_rows(arguments))
        response = await _tried(exchange, create(**arguments))
        if arguments.get("stream"):
            return _RecordedStream(response, exchange)
        await exchange.answer(read_answer(response))
        return response


class _RecordedStream:
    """A stream of an SDK's, which is recorded as it is read."""

    def __init__(self, source: Any, exchange: Exchange) -> None:
        self._source = source
        self._reading = _recorded(exchange, source, AnswerInPieces())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._reading

    async def __anext__(self) -> Any:
        return await anext(self._reading)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop reading, and record what there is so far."""
        await self._reading.aclose()
        await _closed(self._source)


# -- what a request asks --------------------------------------------------------------------------


def asked_rows(arguments: Mapping[str, Any]) -> list[ChatMessage]:
    """What a request says after the model's last answer, as rows; a system prompt goes first."""
    system = arguments.get("system") or arguments.get("instructions")
    given = arguments.get("messages", arguments.get("input")) or []
    rows = [row for item in ([given] if isinstance(given, str) else given) for row in _rows_of(item)]
    answers = [at for at, row in enumerate(rows) if row["role"] == "assistant"]
    prompt = [row for row in rows[:1] if row["role"] in {"system", "developer"}]
    if system:
        prompt = [{"role": "system", "content": _joined(system)}]
    start = answers[-1] + 1 if answers else len(prompt) if not system else 0
    return [*prompt, *rows[start:]]


def _rows_of(item: Any) -> list[ChatMessage]:
    """One item of a request as rows in OpenAI's form; an answer, or a part of one, as an empty answer."""
    if isinstance(item, str):
        return [{"role": "user", "content": item}]
    row = item if isinstance(item, Mapping) else item.model_dump(exclude_none=True)
    kind, role = row.get("type"), row.get("role")
    if kind == "function_call_output":
        return [
            {"role": "tool", "tool_call_id": str(row.get("call_id")), "content": _joined(row.get("output"))}
        ]
    if role == "assistant" or role is None:
        return [{"role": "assistant", "content": ""}]
    content = row.get("content")
    blocks = content if isinstance(content, list) else []
    results = [block for block in blocks if isinstance(block, Mapping) and block.get("type") == "tool_result"]
    rows: list[ChatMessage] = [
        {
            "role": "tool",
            "tool_call_id": str(each.get("tool_use_id")),
            "content": _joined(each.get("content")),
        }
        for each in results
    ]
    rest = [block for block in blocks if block not in results]
    if rest or not blocks:
        rows.append(dict(row) | {"content": rest if blocks else content})
    return rows


def _joined(content: Any) -> str:
    if isinstance(content, str):
        return content
    texts = [block if isinstance(block, str) else block.get("text") for block in content or []]
    return "\n".join(text for text in texts if isinstance(text, str))
