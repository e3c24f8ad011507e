"""A connection that was lost is made anew, in whatever form the loss arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, MaxConnectionsError
from redis.exceptions import TimeoutError as RedisTimeoutError
from running import HOST
from servers import RedisCluster, RedisServer

from chuk_ai_session_manager import StorageError
from chuk_ai_session_manager.models import Session, SessionEvent
from chuk_ai_session_manager.stores.redis.errors import may_pass
from chuk_ai_session_manager.stores.redis.store import RedisStore

# What redis-py 8.1 raised on Python 3.11 to 3.13, and uvloop's wording, as connections were closed, reset,
# half closed, or answered by something else than Redis, at random moments of reading and writing.
FORMS = [
    TypeError("'NoneType' object is not callable"),
    AttributeError("'NoneType' object has no attribute 'writelines'"),
    AttributeError("'NoneType' object has no attribute '_add_writer'"),
    RuntimeError("readuntil() called while another coroutine is already waiting for incoming data"),
    RuntimeError(
        "unable to perform operation on <TCPTransport closed=True reading=False>; the handler is closed"
    ),
    RuntimeError("Cannot write to closing transport"),
    RedisConnectionError("Error UNKNOWN while writing to socket. Connection lost."),
    RedisTimeoutError("Timeout reading from socket"),
    MaxConnectionsError("Too many connections"),
    InvalidResponse("Protocol Error: b'HTTP/1.1 400 Bad'"),
    asyncio.IncompleteReadError(b"$1", 4),
    EOFError(),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
    TimeoutError(),
]


@pytest.mark.parametrize("form", FORMS, ids=repr)
@pytest.mark.parametrize("kind", ["server", "cluster"])
async def test_a_write_is_tried_again(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, form: Exception
) -> None:
    server: RedisServer | RedisCluster = request.getfixturevalue(f"redis_{kind}")
    async with RedisStore(server.url, sandbox_id=uuid4().hex) as store:
        session = await Session.create("s", store=store)
        lost_writing = failing_once(monkeypatch, form)
        stored: SessionEvent[Any] = SessionEvent(message="hi")
        await store.append(session, [stored])
        lost_reading = failing_once(monkeypatch, form)
        read = await store.get("s")
        assert read is not None
        assert [each.id for each in read.events] == [stored.id]
    assert lost_writing == lost_reading == [form]


def failing_once(monkeypatch: pytest.MonkeyPatch, form: Exception) -> list[Exception]:
    """Let the next write to any connection fail; the list has the error as soon as it did."""
    raised: list[Exception] = []

    def failing(
        method: Callable[..., Coroutine[Any, Any, None]],
    ) -> Callable[..., Coroutine[Any, Any, None]]:
        async def send(self: AbstractConnection, *args: Any, **kwargs: Any) -> None:
            if not raised:
                raised.append(form)
                raise form
            await method(self, *args, **kwargs)

        return send

    monkeypatch.undo()
    name = "send_packed_command"
    monkeypatch.setattr(AbstractConnection, name, failing(getattr(AbstractConnection, name)))
    return raised


@pytest.mark.parametrize(
    "mistake",
    [
        TypeError("unsupported operand type(s) for +: 'int' and 'str'"),
        AttributeError("'Connection' object has no attribute 'x'"),
        RuntimeError("Event loop is closed"),
        RuntimeError("<Lock> is bound to a different event loop"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    ],
)
def test_a_mistake_is_no_lost_connection(mistake: Exception) -> None:
    assert not may_pass(mistake)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$100\r\ncut", b"+OK", b""])
async def test_what_is_no_answer_of_redis_is_an_error_by_the_deadline(answer: bytes) -> None:
    """As a proxy gives it whose server is away."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(refuse, HOST, 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        async with RedisStore(f"redis://{HOST}:{port}", timeout=0.5) as store:
            for attempt in (store.get("s"), store.append(Session(id="s"), [SessionEvent(message="hi")])):
                with pytest.raises(StorageError, match="did not answer within the deadline"):
                    await attempt
