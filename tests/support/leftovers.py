"""What is left in a store after harm, and the harm: files searched for words, stores that are cut off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from chuk_ai_session_manager import StorageError
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.redis.store import RedisStore


def holders(path: Path, *texts: str) -> list[str]:
    """The files of a database, whichever there are, that hold one of these texts."""
    files = [path, Path(f"{path}-wal"), Path(f"{path}-shm"), Path(f"{path}-journal")]
    return [
        file.name
        for file in files
        if file.exists() and any(text.encode() in file.read_bytes() for text in texts)
    ]


class CutOffError(StorageError):
    """The connection is cut off."""


def cut_after(store: EventStore, steps: int) -> Callable[[], int]:
    """Let a store fail for good after so many steps; how many it made is told."""
    made = 0
    owner, name = (store._link, "call_all") if isinstance(store, RedisStore) else (store._worker, "_submit")  # type: ignore[attr-defined]
    step: Callable[..., Any] = getattr(owner, name)

    def counted(*arguments: Any, **options: Any) -> Awaitable[Any]:
        nonlocal made
        made += 1
        if made > steps:
            raise CutOffError("cut off")
        return step(*arguments, **options)  # type: ignore[no-any-return]

    setattr(owner, name, counted)
    return lambda: made
