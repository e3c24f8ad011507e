"""Tracked clients: SDK clients whose calls are recorded (`track_client`)."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Self, TypeVar, cast

from ..exceptions import InvalidInput
from ..providers.common import package_of
from ..providers.streamed_answers import AnswerInPieces
from ..session_manager import SessionManager
from .streams import closed, recorded_stream
from .tracking import Exchange

Client = TypeVar("Client")

_TRACKED = {
    "beta.messages.create",
    "beta.messages.parse",
    "messages.parse",
    "chat.completions.create",
    "chat.completions.parse",
    "messages.create",
    "responses.create",
    "responses.parse",
    "responses.retrieve",
}
_PARTS = {"", "beta", "beta.messages", "chat", "chat.completions", "messages", "responses"}


def track_client(client: Client, session_manager: SessionManager, *, provider: str = "unknown") -> Client:
    """Return a client like an OpenAI or Anthropic client, which records its calls in a session.

    Use the result as the client itself. `chat.completions.create`, `responses.create` and
    `messages.create` (also of Anthropic's `beta`) record the new messages of the request, and the answer
    with its usage, streamed or not.
    A background response is recorded once, when it is complete, by `responses.retrieve`.
    Each call returns exactly what it returns without tracking. An answer that cannot be read is recorded
    in its raw form, and the log names its type. An answer for which `parse` raises an error is recorded too.
    Messages that the session holds already are not recorded again, and nothing that the request has before
    the model's last answer is recorded.
    Calls by `with_raw_response`, which frameworks like LangChain make, are recorded too.
    All other methods of the client work as before, and are not tracked (the rest of `beta`,
    `with_streaming_response`, embeddings). The client that you pass is not changed, and can be tracked for
    other sessions too. The SDKs' `stream(...)` helpers raise an error: use `create(stream=True)`.

    Args:
        client: `AsyncOpenAI`, `AsyncAnthropic`, or a client with the same methods.
        session_manager: the conversation of all calls of the tracked client.
        provider: the provider that runs the model, if the response does not name it.

    Raises:
        InvalidInput: the client is not async. Use `track_client` of `chuk_ai_session_manager.sync` with it.
    """
    if not hasattr(client, "__aenter__"):
        reason = (
            f"{type(client).__name__} is not an async client: use track_client of "
            "chuk_ai_session_manager.sync, or call it with track_llm_call"
        )
        raise InvalidInput("track a client", reason)
    tracked: Any = Tracked(client, session_manager, provider, _awaited)
    return cast("Client", tracked)


async def _awaited(create: Callable[..., Any], *given: Any, **arguments: Any) -> Any:
    return await create(*given, **arguments)


class InPlaceOf:
    """Stands for an object of an SDK, and has its class: frameworks check with `isinstance`."""

    _target: Any

    @property
    def __class__(self) -> type:
        return type(self._target)

    @__class__.setter
    def __class__(self, kind: type) -> None:
        raise TypeError("the class of a tracked object is the class of the SDK's object")


class Tracked(InPlaceOf):
    """A client, or a part of a client, whose calls are tracked.

    Args:
        target: the client, or the part, of the SDK.
        sm: the conversation.
        provider: the provider that runs the model, if the response does not name it.
        request: makes a call of a method of the SDK.
        path: the path of a part in its client.
    """

    def __init__(
        self, target: Any, sm: SessionManager, provider: str, request: Callable[..., Any], path: str = ""
    ) -> None:
        self._target = target
        self._sm = sm
        self._provider = provider
        self._request = request
        self._path = path
        self._gives_raw = type(target).__name__.endswith("WithRawResponse")  # in both SDKs

    def __repr__(self) -> str:
        return f"tracked({type(self._target).__name__}, {self._sm!r})"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        path = f"{self._path}.{name}".strip(".")
        if path in _TRACKED:
            return partial(self._call, name, value)
        if name == "stream" and self._path in _PARTS - {"", "beta"}:
            reason = f"{path}() is not tracked: use {self._path}.create(stream=True), or stream_llm_call"
            raise InvalidInput("track a client's call", reason)
        if path in _PARTS:
            return Tracked(value, self._sm, self._provider, self._request, path)
        if name == "with_raw_response" and self._path in _PARTS:
            return Tracked(value, self._sm, self._provider, self._request, self._path)
        if path in {"copy", "with_options"}:  # another client for the same session
            return lambda **options: Tracked(value(**options), self._sm, self._provider, self._request)
        return value

    async def __aenter__(self) -> Self:
        await self._target.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> Any:
        return await self._target.__aexit__(*exception)

    async def _call(self, name: str, create: Callable[..., Any], *given: Any, **arguments: Any) -> Any:
        for argument in ("messages", "input"):
            if isinstance(arguments.get(argument), Iterator):  # it can be read only once
                arguments[argument] = list(arguments[argument])
        exchange = Exchange(self._sm, str(arguments.get("model") or "unknown"), self._provider)
        # Retrieving an earlier response asks nothing.
        is_known = "response_id" in arguments or bool(given)
        is_bound = self._path != "chat.completions"
        if arguments.get("stream"):
            await exchange.ask_for(arguments, is_known=is_known, is_bound=is_bound)
            async with exchange.calling():
                stream = await self._request(create, *given, **arguments)
                return (RawStream if self._gives_raw else RecordedStream)(stream, exchange)
        async with self._sm.writer.allowance.calling():
            await exchange.ask_for(arguments, is_known=is_known, is_bound=is_bound)
            async with exchange.calling():
                is_parsed = name == "parse" and not self._gives_raw
                if is_parsed:
                    create, arguments = _raw(self._target, create, arguments)
                response = await self._request(create, *given, **arguments)
            if is_parsed:
                response = await _parsed(response, exchange)
            await exchange.read_and_answer(_body(response) if self._gives_raw else response)
            return response


def _raw(
    target: Any, parse: Callable[..., Any], arguments: dict[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The call that gives the response from which an SDK's `parse` makes its object."""
    raw = getattr(getattr(target, "with_raw_response", None), "parse", None)
    if raw is not None or package_of(target) != "anthropic":
        return raw or parse, arguments
    # anthropic 2.14 has none for `messages.parse`; this header is how it asks for raw responses.
    headers = {**(arguments.get("extra_headers") or {}), "X-Stainless-Raw-Response": "raw"}
    return parse, arguments | {"extra_headers": headers}


async def _parsed(raw: Any, exchange: Exchange) -> Any:
    """The object that an SDK's `parse` makes of a response.

    The SDK raises an error if the answer is not of the type that was asked for, because the answer was cut
    off or is not JSON. Such an answer was paid all the same, and is recorded.
    """
    if not hasattr(raw, "http_response"):  # of a client with the same methods as an SDK's
        return raw
    try:
        made = raw.parse()
        return await made if inspect.isawaitable(made) else made
    except Exception as problem:
        try:
            response = raw.http_response.json()
        except ValueError:  # not even the response is JSON
            await exchange.fail(problem)
        else:
            await exchange.read_and_answer(response)
        raise


def _body(raw: Any) -> Any:
    """The JSON of a raw response, or its text if it is not JSON."""
    try:
        return raw.http_response.json()
    except ValueError:
        return {"error": raw.http_response.text}


async def _given(source: Any) -> Any:
    return source


class RecordedStream(InPlaceOf):
    """A stream of an SDK, which is recorded while it is read."""

    def __init__(self, source: Any, exchange: Exchange) -> None:
        self._target = source
        self._exchange = exchange
        pieces = AnswerInPieces()
        exchange.begin(pieces)
        exchange.is_called()
        self._reading = recorded_stream(exchange, partial(_given, source), pieces)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._reading

    async def __anext__(self) -> Any:
        return await anext(self._reading)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop reading, and record the part that arrived."""
        await self._reading.aclose()  # which does nothing if reading has not begun
        await closed(self._target)
        await self._exchange.leave()


class RawStream(InPlaceOf):
    """A raw response whose `parse` gives a stream, which is recorded while it is read."""

    def __init__(self, raw: Any, exchange: Exchange) -> None:
        self._target = raw
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def parse(self, **options: Any) -> Any:
        """Return the stream; of Anthropic's SDK, an awaitable that returns it."""
        stream = self._target.parse(**options)
        return (
            self._awaited(stream) if inspect.isawaitable(stream) else RecordedStream(stream, self._exchange)
        )

    async def _awaited(self, stream: Any) -> RecordedStream:
        return RecordedStream(await stream, self._exchange)
