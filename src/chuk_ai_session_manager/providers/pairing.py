"""Finding the call that a tool's result answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

KNOWN = -1
"""Stands in place of a call's index: the result was added before."""


class Pairing:
    """Finds the call that a result answers: the newest with its id without a result; in one turn, the first.

    An id alone does not identify a call, because many servers number ids anew in every turn. Turns are named
    by the positions of their messages.

    Args:
        text_of: returns the content of a result's message, by which a repeated result is recognised.
    """

    def __init__(self, text_of: Callable[[Any], str]) -> None:
        self._text_of = text_of
        self._waiting: dict[str, list[tuple[int, list[int]]]] = {}
        self._answered: dict[str, Any] = {}
        """The message of the newest result with an id."""
        self._since: set[str] = set()
        """The ids that were answered since the model's last message."""

    def asks(self, calls: Sequence[Mapping[str, Any]], place: int, *, by_model: bool) -> None:
        """Add the calls of a message, by the ids with which they were recorded."""
        for at, call in enumerate(calls):
            if not isinstance(call_id := call.get("id"), str):
                continue
            turns = self._waiting.setdefault(call_id, [])
            if turns and turns[-1][0] == place:
                turns[-1][1].append(at)
            else:
                turns.append((place, [at]))
        if by_model:  # a result after this with an old id answers another call
            self._since.clear()

    def call_of(self, call_id: str, message: Any) -> tuple[int, int] | None:
        """The position of the message whose call a result answers, and the call's index; `None` of no call.

        For a result that was there before, the index is `KNOWN`.
        """
        turns = self._waiting.get(call_id)
        if not turns:
            return (0, KNOWN) if call_id in self._since or self._is_repeated(call_id, message) else None
        place, calls = turns[-1]
        at = calls.pop(0)
        if not calls:
            turns.pop()
        self._since.add(call_id)
        self._answered[call_id] = message
        return place, at

    def _is_repeated(self, call_id: str, message: Any) -> bool:
        return call_id in self._answered and self._text_of(self._answered[call_id]) == self._text_of(message)
