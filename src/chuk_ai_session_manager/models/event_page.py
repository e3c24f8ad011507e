"""A page: a part of a session's log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from .amounts import tokens_in
from .session_event import SessionEvent


def tokens_of(events: Sequence[SessionEvent[Any]]) -> int:
    """The number of content tokens of some events."""
    return sum(map(tokens_in, events))


@dataclass(frozen=True, slots=True)
class EventPage:
    """Consecutive events of a session's log, the oldest first."""

    events: Sequence[SessionEvent[Any]]
    first: int
    """The number of the first event, counted from 0: the number of events before the page."""

    @property
    def has_more(self) -> bool:
        """Whether any events lie before the page."""
        return self.first > 0

    @property
    def tokens(self) -> int:
        """The number of content tokens of the page's events."""
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
        """The newest events of a log; without `limit` and `tokens`, all of them.

        Args:
            log: the whole log, or a part of it.
            before: only events with lower numbers than this.
            limit: at most so many events.
            tokens: only as many events as are needed for so many content tokens, but at least one.
            number: the number of the first event in `log`, if `log` is only a part.
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


class LogState(NamedTuple):
    """How far a session's log has come."""

    session_id: str
    version: str
    """Another one where events were edited or removed, or where another session has the id by now."""
    length: int
    """How many events it has."""
