"""Old results of tools that a context has only a line of: the log keeps them whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ...providers.context_rows import ORIGIN, Origin
from ...providers.messages import ChatMessage, text_of
from .lengths import Length

HISTORY_TOOL = "read_history"
"""The tool by which a model asks for what was said before (`sm.recall_tool`)."""


@dataclass(frozen=True, slots=True)
class Clearing:
    """Which results are cleared: those older than the newest ones, so many at a time.

    All are counted from the first row of the context. So the line between the two moves once in so many
    results, and the beginning of the context stays the same in between.

    Args:
        keep: at least so many of the newest results stay whole, and at most twice as many, less one.
        exempt: the ids of events that are not cleared: what is pinned.
    """

    keep: int
    exempt: Collection[str] = ()

    def applied(self, rows: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Rows of which the old results are cleared."""
        results = self._results(rows)
        gone = set(results[: self._count(len(results))])
        return [_cleared(row) if at in gone else row for at, row in enumerate(rows)]

    async def length(self, rows: Sequence[ChatMessage], length: Length, *, at_most: bool) -> int:
        """How long rows are once this is applied.

        Args:
            rows: the rows.
            length: how long a row is.
            at_most: the longest that they have been since they were begun: what once was too long, and was
                shortened by clearing, is too long for a window whose start must not go back.
        """
        results = self._results(rows)
        gone = [rows[at] for at in results[: self._count(len(results))]]
        saved = [await length(row) - await length(_cleared(row)) for row in gone]
        total = longest = cleared = seen = 0
        places = set(results)
        for at, row in enumerate(rows):
            total += await length(row)
            seen += at in places
            while cleared < min(self._count(seen), len(saved)):
                total -= saved[cleared]
                cleared += 1
            longest = max(longest, total)
        return longest if at_most else total

    def _count(self, results: int) -> int:
        """How many of so many results are cleared."""
        return max(0, (results - self.keep) // self.keep * self.keep)

    def _results(self, rows: Sequence[ChatMessage]) -> list[int]:
        """Where the results are that may be cleared."""
        return [
            at
            for at, row in enumerate(rows)
            if row["role"] == "tool"
            and isinstance(origin := row.get(ORIGIN), Origin)
            and origin.event_id not in self.exempt
        ]


def _cleared(row: ChatMessage) -> ChatMessage:
    """A result's row with a line in place of the result; as it is where that would be no shorter."""
    origin: Origin = row[ORIGIN]
    content = row.get("content")
    size = len(text_of(row))
    line = (
        f"[Cleared: the result of {origin.tool}, {size:,} characters. "
        f'{HISTORY_TOOL} gives it again: event_id "{origin.event_id}".]'
    )
    if isinstance(content, str) and len(content) <= len(line):
        return row
    bare: ChatMessage = {name: row[name] for name in ("role", "tool_call_id", "name") if name in row}
    return {**bare, "content": line, ORIGIN: replace(origin, native=None, native_format="")}
