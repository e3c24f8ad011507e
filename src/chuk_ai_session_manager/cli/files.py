"""Files that commands read and write; or the standard input and output instead."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from .safe_text import shown


@contextmanager
def output_to(path: Path | None) -> Iterator[Callable[[str], object]]:
    """A function that writes lines: to a file, which is complete or not there, or to the standard output.

    Only its owner may read the file, as with the store that the lines come from.

    Raises:
        OSError: the file cannot be written; the error names the file.
    """
    if path is None:
        is_terminal = sys.stdout.isatty()
        # Not sys.stdout itself: without a buffer (PYTHONUNBUFFERED), it may silently write only a part.
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield lambda line: file.write((shown(line) if is_terminal else line).encode() + b"\n")
        return
    try:
        if path.exists() and not path.is_file():  # a device or a pipe (/dev/stdout) must not be replaced
            with path.open("wb") as file:
                yield lambda line: file.write(line.encode() + b"\n")
            return
        target = path.resolve()  # a link must stay a link
        beside = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with open(beside, "wb", opener=_for_its_owner) as file:
                yield lambda line: file.write(line.encode() + b"\n")
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as problem:
        raise OSError(problem.errno, problem.strerror, str(path)) from None


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def content_of(path: Path) -> bytes:
    """The bytes of a file, or of the standard input for "-".

    Raises:
        typer.BadParameter: the file cannot be read.
    """
    if str(path) == "-" and sys.stdin is None:
        raise typer.BadParameter("the standard input is closed")
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as problem:
        raise typer.BadParameter(f"{path} cannot be read: {problem.strerror}") from None
