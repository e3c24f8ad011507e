"""The output of commands: a terminal, with colours and columns; or a pipe, with plain text."""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .safe_text import shown, shown_in_line

# The width of an output that is not a terminal is unknown, so its lines are not folded.
_NO_WIDTH = 100_000

# Numbers of characters: the narrowest folded column, and the space between columns.
_LEAST_FOLDED, _BETWEEN = 8, 2

# A number of characters: rich folds some 300,000 in a second, and shows nothing before it has finished.
_MOST_FOLDED = 100_000

NUMBER = ">"
"""Before a column's heading: its values are aligned to the right."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command know that its reader left; the command then ends."""
        raise  # noqa: PLE0704  (rich calls this from where it caught the error)


class Screen:
    """The standard output. All text is made harmless here, and is never read as markup."""

    def __init__(self) -> None:
        self._console = _Console(markup=False, emoji=False, highlight=False)
        # Not rich's opinion alone: FORCE_COLOR and the like, set for other programs, would fold lines in a
        # pipe.
        self.is_terminal: bool = self._console.is_terminal and sys.stdout.isatty()
        if not self.is_terminal:
            self._console = _Console(
                markup=False, emoji=False, highlight=False, width=_NO_WIDTH, force_terminal=False
            )

    @property
    def width(self) -> int:
        """How many characters fit on a line."""
        return self._console.width

    def line(self, *parts: str | tuple[str, str], fold: bool = True) -> None:
        """Write a line of texts, some with a style; if it is too long, it is folded, or else cut."""
        pieces = [(part, "") if isinstance(part, str) else part for part in parts]
        self._print(Text.assemble(*((shown_in_line(text), style) for text, style in pieces)), fold=fold)

    def text(self, text: str, *, style: str = "", indent: int = 2) -> None:
        """Write an indented text of any number of lines; the terminal folds very long ones."""
        if self.is_terminal and len(text) <= _MOST_FOLDED:
            self._console.print(Padding(Text(shown(text).expandtabs(4), style), (0, 0, 0, indent)))
        else:  # unchanged: rich would turn tabs into spaces
            sys.stdout.writelines(f"{' ' * indent}{line}\n" for line in shown(text).split("\n"))

    def rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Write rows for programs: tabs between values, no headings."""
        for row in rows:
            sys.stdout.write("\t".join(map(shown_in_line, row)) + "\n")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write rows in columns under their headings; in a narrow terminal, one value on each line."""
        texts = [[shown_in_line(cell) for cell in row] for row in rows]
        widths = [max(map(cell_len, column)) for column in zip(columns, *texts, strict=True)]
        # The first column stays in one piece, so that it can be copied, if the others have half of the line.
        first = min(widths[0], self.width // 2)
        folded = (
            width if heading.startswith(NUMBER) else min(width, _LEAST_FOLDED)
            for heading, width in zip(columns[1:], widths[1:], strict=True)
        )
        if first + sum(folded) + _BETWEEN * (len(columns) - 1) > self.width:
            for row in texts:
                self.line()
                self.facts(zip((heading.removeprefix(NUMBER) for heading in columns), row, strict=True))
            return
        box = SIMPLE_HEAD if self.is_terminal else None
        table = Table(box=box, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for at, heading in enumerate(columns):
            is_number = heading.startswith(NUMBER)
            table.add_column(
                heading.removeprefix(NUMBER),
                justify="right" if is_number else "left",
                no_wrap=is_number,
                overflow="fold",
                min_width=None if at else first,
            )
        for row in texts:
            table.add_row(*map(Text, row))
        self._console.print(table)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Write facts, each after its name; empty values are left out."""
        known = [(name, shown_in_line(value)) for name, value in facts if value]
        width = max((len(name) for name, _ in known), default=0) + 2
        if not self.is_terminal:
            sys.stdout.writelines(f"{name:{width}}{value}\n" for name, value in known)
            return
        grid = Table.grid()
        grid.add_column(width=width, no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in known:
            grid.add_row(Text(name, "bold"), Text(value))
        self._console.print(grid)

    def json(self, value: Any, *, indent: int | None = 2) -> None:
        """Write a value as JSON, with escapes for a terminal, and for encodings other than UTF-8."""
        with_escapes = self.is_terminal or codecs.lookup(sys.stdout.encoding).name != "utf-8"
        sys.stdout.write(json.dumps(value, ensure_ascii=with_escapes, indent=indent) + "\n")
        sys.stdout.flush()

    def flush(self) -> None:
        """Send everything that was written to its reader."""
        sys.stdout.flush()

    def _print(self, text: Text, *, fold: bool = True) -> None:
        if self.is_terminal:
            self._console.print(text, no_wrap=not fold, overflow="fold" if fold else "ellipsis")
        else:  # unchanged: rich would turn tabs into spaces
            sys.stdout.write(f"{text.plain}\n")


def bar(share: float, width: int) -> str:
    """A bar with a share of the width, to an eighth of a character."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    if share > 0:
        eighths = max(1, eighths)
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def tell(text: str) -> None:
    """Write a message that is not a result, on one line of standard error."""
    sys.stderr.write(f"{shown_in_line(text)}\n")
    sys.stderr.flush()


def stand_in_for_closed() -> None:
    """Keep files that are opened later, such as a database, from taking the number of a closed stream."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number: this one
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (for the whole process)


def leave_output() -> None:
    """Write nothing more to an output that failed, not even at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
