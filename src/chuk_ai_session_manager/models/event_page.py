"""A part of a session's log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from .session_event import SessionEvent


def tokens_of(events: Sequence[SessionEvent[Any]]) -> int:
    """How many content tokens some events have together."""
    return sum(event.token_usage.total_tokens for event in events if event.token_usage)


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events that follow each other in a session's log, the oldest first."""

    events: Sequence[SessionEvent[Any]]
    first: int
    """The number of the first one, counted from 0: so many events lie before the page."""

    @property
    def has_more(self) -> bool:
        """Whether any events lie before the page."""
        return self.first > 0

    @property
    def tokens(self) -> int:
        """How many content tokens its events have together."""
        return tokens_of(self.events)

    @classmethod
    def at_end_of(
        cls,
        log: Sequence[SessionEvent[Any]],
        *,
        before: int | None = None,
        limit: int | None = None,
        tokens: int | None = None,
        number: int = 0,
    ) -> Self:
        """The newest events of a log; without `limit` and `tokens`, all of it.

        Args:
            log: the whole log, or a part of it.
            before: only events with lower numbers than this.
            limit: at most so many events.
            tokens: no more events than it takes to have so many content tokens; at least one.
            number: the number of the first event in `log`, where that is only a part.
        """
        end = len(log) if before is None else min(max(0, before - number), len(log))
        start = 0 if limit is None else max(0, end - limit)
        if tokens is not None:
            at, room = end, tokens
            while at > start and (at == end or room > 0):
                at -= 1
                room -= tokens_of(log[at : at + 1])
            start = at
        return cls(log[start:end], number + start)
