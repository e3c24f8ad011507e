"""What the tests of outages and of damage share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from discretion import CANARY
from running import PATIENCE
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, StorageError
from chuk_ai_session_manager.stores import EventStore

T = TypeVar("T")


async def at_last(work: Callable[[], Awaitable[T]]) -> T:
    """What comes of work that a slow machine may need several tries for."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StorageError):
                return await work()


def said(message: str = CANARY, **fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=message, **fields)


async def stored(store: EventStore, session_id: str = "s") -> list[str]:
    """The ids of a session's events, none twice, as many as its header counts."""
    session, head = await store.get(session_id), await store.head(session_id)
    assert session is not None
    assert head is not None
    ids = [event.id for event in session.events]
    assert len(set(ids)) == len(ids) == head.totals.events
    return ids


async def messages(store: EventStore, session_id: str = "s") -> list[str]:
    rows = await SessionManager(session_id, store=store, create=False).get_conversation()
    return [row["content"] for row in rows]


async def begin(store: EventStore, *, events: int = 3) -> Session[Any]:
    """A session "s" with some events."""
    session: Session[Any] = Session(id="s", events=[said(id=f"e{at}") for at in range(events)])
    await store.create(session)
    return session


def contents(server: RedisServer) -> dict[str, Any]:
    """All that a server holds."""
    readings: dict[str, Callable[[str], Any]] = {
        "string": lambda key: server.command("GET", key),
        "hash": lambda key: pairs(server.command("HGETALL", key)),
        "set": lambda key: sorted(server.command("SMEMBERS", key)),
        "zset": lambda key: server.command("ZRANGE", key, 0, -1, "WITHSCORES"),
    }
    return {key: readings[server.command("TYPE", key)](key) for key in server.command("KEYS", "*")}


def pairs(answer: Any) -> dict[Any, Any]:
    """A hash, however this version of the client gives it."""
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))


def content(path: Path) -> bytes:
    return path.read_bytes()


def replace_content(path: Path, new: bytes) -> None:
    path.write_bytes(new)
