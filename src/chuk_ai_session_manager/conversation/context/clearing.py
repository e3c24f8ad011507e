"""Old tool results that a context replaces with one line each: the log keeps them whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ...providers.context_rows import ORIGIN, Origin
from ...providers.messages import ChatMessage, text_of
from ..recall.tools import READ
from .lengths import Length


@dataclass(frozen=True, slots=True)
class Clearing:
    """Which results are cleared: those older than the newest ones, always a fixed number at a time.

    Results are counted from the first row of the context. So the border between cleared and whole results
    moves only once in `keep` results, and in between, the beginning of the context does not change.

    Args:
        keep: at least this many of the newest results stay whole, and at most one less than twice as many.
        exempt: the ids of the events that are never cleared: the pinned ones.
    """

    keep: int
    exempt: Collection[str] = ()

    def applied(self, rows: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The rows, with the old results cleared."""
        results = self._results(rows)
        gone = set(results[: self._count(len(results))])
        return [_cleared(row) if at in gone else row for at, row in enumerate(rows)]

    async def length(self, rows: Sequence[ChatMessage], length: Length, *, at_most: bool) -> int:
        """How long rows are after the old results are cleared.

        Args:
            rows: the rows.
            length: measures a row.
            at_most: return the greatest length that the rows have had since the first of them. A window
                whose start must not go back needs it: a start that once did not fit stays too long, though
                clearing has shortened the rows since.
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
        """How many of this many results are cleared."""
        return max(0, (results - self.keep) // self.keep * self.keep)

    def _results(self, rows: Sequence[ChatMessage]) -> list[int]:
        """The positions of the results that may be cleared."""
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
        f'{READ} gives it again: event_id "{origin.event_id}".]'
    )
    if isinstance(content, str) and len(content) <= len(line):
        return row
    bare: ChatMessage = {name: row[name] for name in ("role", "tool_call_id", "name") if name in row}
    return {**bare, "content": line, ORIGIN: replace(origin, native=None, native_format="")}
