"""Files that commands write and read; or the standard output and input in their place."""

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
    """What writes lines: to the file, which is there whole or not at all, or to the standard output.

    The file is for its owner's eyes only, as the store is that the lines came from.

    Raises:
        OSError: it cannot be written; it names the file.
    """
    if path is None:
        is_terminal = sys.stdout.isatty()
        # Not sys.stdout itself: unbuffered (PYTHONUNBUFFERED), it may write a part and say nothing.
        with open(sys.stdout.fileno(), "wb", closefd=False) as file:
            yield lambda line: file.write((shown(line) if is_terminal else line).encode() + b"\n")
        return
    try:
        if path.exists() and not path.is_file():  # a device or a pipe (/dev/stdout): it stays what it is
            with path.open("wb") as file:
                yield lambda line: file.write(line.encode() + b"\n")
            return
        target = path.resolve()  # a link stays one
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


def lines_in(path: Path) -> list[bytes]:
    """The lines of a file, or of the standard input for "-".

    Raises:
        typer.BadParameter: the file cannot be read.
    """
    return content_of(path).split(b"\n")


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
