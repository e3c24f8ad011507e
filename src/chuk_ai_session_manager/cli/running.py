"""A command at work: the store is opened, and whatever goes wrong ends in words and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import typer

from ..exceptions import SessionManagerError, SessionNotFound, StorageError, UnreadableData
from ..session_storage import named_url
from ..stores import DEFAULT_TTL_HOURS, EventStore, MemoryStore, SqliteStore, open_store, without_password
from .screen import leave_pipe, tell

T = TypeVar("T")

NOT_THERE = 1
"""The exit code where something is not there, or damaged, or was not wanted after all."""
REFUSED = 2
"""The exit code of a call that cannot be right; nothing was done."""
OUTAGE = 3
"""The exit code where the store cannot be used."""
INTERRUPTED = 130
NO_READER = 141
"""As the shell has it of a program whose reader left."""


@dataclass(frozen=True)
class Where:
    """The store that a command line names."""

    url: str | None
    """Without one, as the environment says."""
    sandbox: str | None
    ttl_hours: float | None = DEFAULT_TTL_HOURS
    may_be_new: bool = False
    """Whether a file that is not there is made."""

    def open(self) -> EventStore:
        """The store; not connected yet.

        Raises:
            typer.BadParameter: no store can be meant by that.
            UnreadableData: the file is not there.
        """
        try:
            store = open_store(self.url or named_url(), sandbox_id=self.sandbox, ttl_hours=self.ttl_hours)
        except (StorageError, ValueError) as problem:
            raise typer.BadParameter(str(problem)) from None
        if isinstance(store, MemoryStore):
            raise typer.BadParameter(
                "sessions in memory are gone with their process. Name a store that lasts: --store "
                "sqlite:///sessions.db or redis://localhost:6379/0, or set SESSION_PROVIDER"
            )
        path = store.get_stats()["path"] if isinstance(store, SqliteStore) else None
        if path is not None and not self.may_be_new and not Path(path).exists():
            raise UnreadableData(f"There is no file {path}")
        return store

    def __str__(self) -> str:
        url = self.url or named_url()
        return url if url.startswith("sqlite:") else without_password(url)


def run(where: Where, work: Callable[[EventStore], Awaitable[int | None]]) -> None:
    """Open the store, do the work, and end with its exit code or that of what went wrong."""
    raise typer.Exit(result_of(where, work) or 0)


def result_of(where: Where, work: Callable[[EventStore], Awaitable[T]]) -> T:
    """Open the store and do the work; what went wrong is told of, and ends the program.

    Raises:
        typer.Exit: with the exit code that says what kind of thing went wrong.
    """
    try:
        result = asyncio.run(_with_store(where, work))
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        leave_pipe()
        code = NO_READER
    except SessionManagerError as problem:
        tell(f"error: {problem}{_hint(problem, where)}")
        code = exit_code_of(problem)
    else:
        return result
    raise typer.Exit(code)


async def _with_store(where: Where, work: Callable[[EventStore], Awaitable[T]]) -> T:
    async with where.open() as store:
        return await work(store)


def exit_code_of(problem: SessionManagerError) -> int:
    """The exit code that tells a kind of error from the others."""
    if isinstance(problem, SessionNotFound | UnreadableData):
        return NOT_THERE
    return OUTAGE if isinstance(problem, StorageError) else REFUSED


def _hint(problem: SessionManagerError, where: Where) -> str:
    if not isinstance(problem, SessionNotFound):
        return ""
    return f" in {where}. Is it another --store or --sandbox, or has it expired?"
