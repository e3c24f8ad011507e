"""Recording streams while they are read, in whichever form an SDK returns them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..conversation.callbacks import call
from ..providers.answers import Answer
from ..providers.parts import Content
from ..providers.registry import not_understood
from ..providers.streamed_answers import AnswerInPieces
from .tracking import Exchange, StreamedError, is_response, read_or_none

__all__ = ["LLMStream"]


class LLMStream:
    """A model's answer as a stream: `async for` yields the pieces when they arrive.

    The complete answer is recorded at its end. If the stream breaks, or nobody reads it to the end, the text
    so far is recorded, with the metadata `interrupted`.
    """

    def __init__(self, exchange: Exchange, question: Content, llm_function: Callable[[Any], Any]) -> None:
        self._exchange = exchange
        self._pieces = AnswerInPieces()
        # The generator does not refer to this object, so that it ends when nobody reads it any more.
        asking = partial(_asked, exchange, question, llm_function)
        self._reading = recorded_stream(exchange, asking, self._pieces)

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
        """Stop reading, and record the part that arrived."""
        await self._reading.aclose()


async def _asked(exchange: Exchange, question: Content, llm_function: Callable[[Any], Any]) -> Any:
    """Record the question, and call the model: what the function returns."""
    await exchange.ask(question)
    async with exchange.calling():
        return await call(llm_function, question)


async def recorded_stream(
    exchange: Exchange, begin: Callable[[], Awaitable[Any]], pieces: AnswerInPieces
) -> AsyncGenerator[Any, None]:
    """Yield the pieces of a stream when they arrive, and record the answer at the end, however it ends.

    This is the only generator between the reader and the stream: an event loop that ends closes all of them
    at once, and each that closes another one would find it running.

    Args:
        exchange: whose answer it is.
        begin: gives the stream, in whichever form an SDK returns it.
        pieces: puts the answer together.
    """
    source = await begin()
    if isinstance(source, Mapping) and hasattr(source.get("stream"), "__iter__"):
        source = source["stream"]  # as boto3 returns it: an object that only has `__iter__`
    elif not isinstance(source, list | tuple) and not any(hasattr(source, name) for name in _STREAMS):
        if (answer := await _answered_at_once(exchange, source)) is not None:
            yield answer.text
        return
    exchange.begin(pieces)
    try:
        async with _Opened(source) as stream:
            if not _is_generator(source):
                exchange.is_called()  # a generator calls the model when its first piece is wanted
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
    if pieces.unknown is not None and not is_response(pieces.unknown):
        async with exchange.calling():
            raise not_understood(pieces.unknown)
    if pieces.unknown is not None:
        await exchange.unreadable(pieces.unknown)
    elif pieces.is_cut:
        # Without an error, the connection was closed as if the answer had ended.
        reported = StreamedError(pieces.error) if pieces.error is not None else None
        await exchange.interrupt(reported or ConnectionResetError())
    else:
        await exchange.answer(exchange.whole(pieces))


async def _answered_at_once(exchange: Exchange, response: Any) -> Answer | None:
    """Record an answer that is not a stream; return it, or `None` if it is an unreadable response."""
    answer = read_or_none(response)
    if answer is not None:
        await exchange.answer(answer)
    elif is_response(response):
        await exchange.unreadable(response)
    else:
        async with exchange.calling():
            raise not_understood(response)
    return answer


# Methods of a stream: it is read with one of these.
_STREAMS = ("__aiter__", "__aenter__", "__next__", "__enter__")


class _Opened:
    """A stream, opened for one reading, in whichever form an SDK returns it.

    A class, since a context manager that is made of a generator is closed with the event loop, too.
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        # Like Anthropic's `stream(...)`.
        self._is_entered = hasattr(source, "__aenter__") and not hasattr(source, "__aiter__")

    async def __aenter__(self) -> AsyncIterator[Any]:
        source = self._source
        if self._is_entered:
            return aiter(await source.__aenter__())
        if hasattr(source, "__enter__") and not (hasattr(source, "__aiter__") or hasattr(source, "__next__")):
            self._source = source = await call(lambda each: each.__enter__(), source)  # of a blocking SDK
        if isinstance(source, list | tuple):
            return _at_hand(source)
        return aiter(source) if hasattr(source, "__aiter__") else _in_threads(iter(source))

    async def __aexit__(self, *exception: Any) -> bool:
        if self._is_entered:
            return bool(await self._source.__aexit__(*exception))
        await closed(self._source)
        return False


def _is_generator(source: Any) -> bool:
    return inspect.isasyncgen(source) or inspect.isgenerator(source) or isinstance(source, list | tuple)


async def closed(stream: Any) -> None:
    """Close the connection of a stream."""
    close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
    closing = close() if callable(close) else None
    if not inspect.isawaitable(closing):
        return
    try:
        await closing
    except RuntimeError:
        # An event loop that ends closes all generators at once, those that others read from too.
        if not (inspect.isasyncgen(stream) and stream.ag_running):
            raise


async def _in_threads(pieces: Iterator[Any]) -> AsyncIterator[Any]:
    """Yield the pieces of a blocking stream, each read in a thread."""
    end = object()
    while (piece := await call(lambda each: next(each, end), pieces)) is not end:
        yield piece


async def _at_hand(pieces: Sequence[Any]) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece
