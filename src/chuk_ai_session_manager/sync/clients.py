"""Blocking clients of providers' SDKs, whose calls are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any, Self, TypeVar, cast

from ..api.clients import InPlaceOf, RawStream, RecordedStream, Tracked
from ..api.clients import track_client as track_async_client
from ..conversation.callbacks import call
from ..exceptions import InvalidInput
from .background import run
from .blocking import Blocking, BlockingIterator, inward

Client = TypeVar("Client")


@wraps(track_async_client)
def track_client(client: Client, session_manager: Blocking, *, provider: str = "unknown") -> Client:
    """Like `track_client` of the async API, for blocking clients such as `OpenAI` and `Anthropic`."""
    if hasattr(client, "__aenter__"):
        reason = (
            f"{type(client).__name__} is an async client: use track_client and SessionManager of "
            "chuk_ai_session_manager"
        )
        raise InvalidInput("track a client", reason)
    tracked: Any = _BlockingClient(Tracked(client, inward(session_manager), provider, _in_thread))
    return cast("Client", tracked)


async def _in_thread(create: Callable[..., Any], *given: Any, **arguments: Any) -> Any:
    return await call(lambda _: create(*given, **arguments), None)


class _BlockingClient(InPlaceOf):
    """A blocking client, or a part of one, whose calls are recorded."""

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked
        self._target = tracked._target  # noqa: SLF001  (private, because an SDK's object may have a `target`)

    def __repr__(self) -> str:
        return repr(self._tracked)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._tracked, name)
        if isinstance(value, partial):  # a tracked call
            return lambda *given, **arguments: _outward(run(value(*given, **arguments)))
        if name in {"copy", "with_options"}:
            return lambda **options: _outward(value(**options))
        return _outward(value)

    def __enter__(self) -> Self:
        self._target.__enter__()
        return self

    def __exit__(self, *exception: object) -> Any:
        return self._target.__exit__(*exception)


class _BlockingStream(InPlaceOf):
    """A stream of a blocking SDK, recorded while it is read."""

    def __init__(self, stream: RecordedStream) -> None:
        self._stream = stream
        self._target = stream._target  # noqa: SLF001
        self._reading = BlockingIterator(aiter(stream))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __iter__(self) -> Iterator[Any]:
        return self._reading

    def __next__(self) -> Any:
        return next(self._reading)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading, and record what was read so far."""
        run(self._stream.close())


class _BlockingRaw(InPlaceOf):
    """A raw response of a blocking SDK, whose `parse` gives a stream."""

    def __init__(self, raw: RawStream) -> None:
        self._raw = raw
        self._target = raw._target  # noqa: SLF001

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def parse(self, **options: Any) -> Any:
        """Return the stream."""
        return _outward(self._raw.parse(**options))


def _outward(value: Any) -> Any:
    # Not `isinstance`: tracked objects claim to be instances of their SDK's classes.
    kind = type(value)
    if kind is Tracked:
        return _BlockingClient(value)
    if kind is RawStream:
        return _BlockingRaw(value)
    return _BlockingStream(value) if kind is RecordedStream else value
