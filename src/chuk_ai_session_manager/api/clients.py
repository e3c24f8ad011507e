"""Clients of providers' SDKs whose calls are recorded: `track_client`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any, Self, TypeVar, cast

from ..exceptions import InvalidInput
from ..providers.streamed_answers import AnswerInPieces
from ..session_manager import SessionManager
from .tracking import Exchange, closed, recorded_stream

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
    """An OpenAI or Anthropic client whose calls are recorded in a session.

    What it gives is used as the client itself: `chat.completions.create`, `responses.create` and
    `messages.create` (of Anthropic's `beta`, too) record what is new in their messages, and the answer with
    its usage, streamed or whole.
    A background response is recorded once it is done, by `responses.retrieve`, however often that is called.
    Each call gives exactly what it gives without tracking; an answer that cannot be read is recorded as
    such, in its raw form, and logged by the name of its type.
    What the session holds already, because it was recorded before the call, is not recorded again; of what
    a request says before the model's last answer, nothing is.
    Everything else of the client is as it was, and not tracked (the rest of `beta`, `with_raw_response`,
    embeddings); so is the client given, for other sessions. The SDKs' `stream(...)` helpers are refused, not
    missed: use `create(stream=True)`.

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


class _InPlaceOf:
    """What stands in place of an SDK's object, and passes for one: frameworks ask by `isinstance`."""

    _target: Any

    @property
    def __class__(self) -> type:
        return type(self._target)

    @__class__.setter
    def __class__(self, kind: type) -> None:
        raise TypeError("the class of a tracked object is that of the SDK's own")


class _Tracked(_InPlaceOf):
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
        if name == "stream" and self._path in _PARTS - {"", "beta"}:
            reason = f"{path}() is not tracked: use {self._path}.create(stream=True), or stream_llm_call"
            raise InvalidInput("track a client's call", reason)
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

    async def _call(self, create: Callable[..., Any], *given: Any, **arguments: Any) -> Any:
        for name in ("messages", "input"):
            if isinstance(arguments.get(name), Iterator):  # it can be read only once
                arguments[name] = list(arguments[name])
        exchange = Exchange(self._sm, str(arguments.get("model") or "unknown"), self._provider)
        # Nothing is asked for a response that was made before.
        is_known = "response_id" in arguments or bool(given)
        is_bound = self._path != "chat.completions"
        if arguments.get("stream"):
            await exchange.ask_for(arguments, is_known=is_known, is_bound=is_bound)
            async with exchange.calling():
                return _RecordedStream(await create(*given, **arguments), exchange)
        async with self._sm.writer.allowance.calling():
            await exchange.ask_for(arguments, is_known=is_known, is_bound=is_bound)
            async with exchange.calling():
                response = await create(*given, **arguments)
            await exchange.read_and_answer(response)
            return response


class _RecordedStream(_InPlaceOf):
    """A stream of an SDK's, which is recorded as it is read."""

    def __init__(self, source: Any, exchange: Exchange) -> None:
        self._target = source
        self._exchange = exchange
        pieces = AnswerInPieces()
        exchange.begin(pieces)
        exchange.is_called()
        self._reading = recorded_stream(exchange, source, pieces)

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
        """Stop reading, and record what there is so far."""
        await self._reading.aclose()  # which does nothing where it was not begun
        await closed(self._target)
        await self._exchange.leave()
