"""What a failing call must not repeat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from discretion import CANARY

from chuk_ai_session_manager import Session, SessionEvent, SessionMetadata, SessionRun
from chuk_ai_session_manager.stores import EventStore

Use = Callable[[], Awaitable[object]]


class LoudError(Exception):
    def __init__(self) -> None:
        super().__init__(CANARY)


async def raise_it(*_: Any) -> str:
    raise LoudError


SECRET_ROWS: list[dict[str, Any]] = [
    {"role": "user", "content": CANARY},
    {
        "role": "assistant",
        "content": CANARY,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "t", "arguments": f'{{"a": "{CANARY}"}}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": CANARY},
]


def said(**fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=CANARY, metadata={CANARY: CANARY}, **fields)


async def begin(store: EventStore) -> Session[Any]:
    """A session "s" that holds the canary wherever one can be put."""
    session: Session[Any] = Session(
        id="s",
        events=[said(id=f"e{number}") for number in range(3)],
        state={CANARY: CANARY},
        metadata=SessionMetadata(properties={"user_id": "u", "system_prompt": CANARY}),
        runs=[SessionRun(metadata={CANARY: CANARY})],
    )
    await store.create(session)
    return session
