"""Running a command: opening the store, and turning every error into a message and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer

from ..exceptions import InvalidInput, SessionManagerError, SessionNotFound, StorageError, UnreadableData
from ..session_storage import named_url
from ..stores import DEFAULT_TTL_HOURS, EventStore, MemoryStore, SqliteStore, open_store, without_password
from .safe_text import shown_in_line
from .screen import leave_output, tell

T = TypeVar("T")

NOT_THERE = 1
"""The exit code if something does not exist, is damaged, or was declined."""
REFUSED = 2
"""The exit code of an invalid command; nothing was done."""
OUTAGE = 3
"""The exit code if the store or the output cannot be used."""
INTERRUPTED = 130
NO_READER = 141
"""The shell's exit code of a program whose reader left."""

_OPERATION = "open a store"
_SUCH_AS = "Name a store: --store sqlite:///sessions.db or redis://localhost:6379/0"


@dataclass(frozen=True)
class Where:
    """The store that a command line names."""

    url: str | None
    """The URL; without one, the environment names the store."""
    sandbox: str | None
    ttl_hours: float | None = DEFAULT_TTL_HOURS
    may_be_new: bool = False
    """Whether a missing file is created."""

    def open(self) -> EventStore:
        """The store; it is not connected yet.

        Raises:
            InvalidInput: the URL or the environment names no store.
            UnreadableData: the file does not exist.
        """
        if self.url is not None and "://" not in self.url:
            raise InvalidInput(_OPERATION, f"--store takes a URL. {_SUCH_AS}")
        try:
            store = open_store(self._url, sandbox_id=self.sandbox, ttl_hours=self.ttl_hours)
        except StorageError as problem:  # the store is not connected yet, so the URL must be wrong
            raise InvalidInput(_OPERATION, str(problem)) from None
        if isinstance(store, MemoryStore):
            raise InvalidInput(
                _OPERATION,
                f"sessions in memory end with their process. {_SUCH_AS}, or set SESSION_PROVIDER",
            )
        path = store.get_stats()["path"] if isinstance(store, SqliteStore) else None
        if path is not None and not self.may_be_new and not Path(path).exists():
            raise UnreadableData(f"The file {path} does not exist")
        return store

    @property
    def _url(self) -> str:
        return named_url() if self.url is None else self.url

    def __str__(self) -> str:
        return self._url if self._url.startswith("sqlite:") else without_password(self._url)


def run(where: Where, work: Callable[[EventStore], Awaitable[int | None]]) -> NoReturn:
    """Open the store, do the work, and end with its exit code, or with that of an error."""
    end_with(result_of(where, work))


def end_with(code: int | None) -> NoReturn:
    """End the program with an exit code; `None` means success."""
    raise typer.Exit(code or 0)


def result_of(where: Where, work: Callable[[EventStore], Awaitable[T]]) -> T:
    """Open the store and do the work; an error is reported and ends the program.

    Raises:
        typer.Exit: with the exit code for the kind of error.
    """
    return finished(partial(_with_store, where, work), where)


def finished(work: Callable[[], Coroutine[Any, Any, T]], where: Where | None = None) -> T:
    """Do work, on the store of `where` if there is one; an error is reported and ends the program.

    Raises:
        typer.Exit: with the exit code for the kind of error.
    """
    try:
        result = asyncio.run(work())
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        leave_output()
        code = NO_READER
    except OSError as problem:  # errors of the store are StorageErrors
        code = no_output(problem)
    except SessionManagerError as problem:
        tell(f"Error: {_told(problem, where)}")
        code = exit_code_of(problem)
    else:
        return result
    raise typer.Exit(code)


def can_ask() -> bool:
    """Whether somebody is at a terminal, who can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def check_confirmable(*, yes: bool) -> None:
    """Refuse a command that must be confirmed if nobody can be asked.

    Raises:
        typer.BadParameter: there is no terminal, and no --yes.
    """
    if not yes and not can_ask():
        raise typer.BadParameter("without a terminal, confirm with --yes")


def ask_or_end(question: str, otherwise: str) -> None:
    """Ask for confirmation; if the answer is no, show `otherwise`, and end the program."""
    if not typer.confirm(shown_in_line(question), err=True):
        tell(otherwise)
        end_with(NOT_THERE)


def no_output(problem: OSError) -> int:
    """Report that the output cannot be written; return the exit code."""
    leave_output()
    tell(f"Error: {problem.filename or 'the output'} cannot be written: {problem.strerror}")
    return OUTAGE


async def _with_store(where: Where, work: Callable[[EventStore], Awaitable[T]]) -> T:
    async with where.open() as store:
        return await work(store)


def exit_code_of(problem: SessionManagerError) -> int:
    """The exit code for a kind of error."""
    if isinstance(problem, SessionNotFound | UnreadableData):
        return NOT_THERE
    return OUTAGE if isinstance(problem, StorageError) else REFUSED


def _told(problem: SessionManagerError, where: Where | None) -> str:
    if isinstance(problem, SessionNotFound):
        return f"{problem} in {where}. Is it another --store or --sandbox, or has it expired?"
    if where is not None and exit_code_of(problem) == OUTAGE:
        return f"{where}: {problem}"
    return (isinstance(problem, InvalidInput) and problem.reason) or str(problem)
