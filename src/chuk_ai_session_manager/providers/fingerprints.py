"""Fingerprints of requests: a chain of hashes, one for each message, the system prompt first.

An answer's event stores the fingerprint of the context that the model was given. A later context compares it
with the chain of its own messages up to the answer. If they are equal, the model saw the same, byte for byte.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from .sendable import CACHE_MARKS

# 96 bits: two contexts do not get the same fingerprint by chance.
_BYTES = 12
# For tool definitions, which are only compared with those of the same conversation.
_TOOLS_BYTES = 6


@dataclass(slots=True)
class Chained:
    """Messages that were hashed before."""

    rows: Sequence[Any] = ()
    ends: Sequence[int] = ()
    """Of so many of the first messages the fingerprint is known, in ascending order."""
    values: Sequence[str] = ()
    """Those fingerprints."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The fingerprints of a context that a model was given."""

    whole: str
    head: str
    """The fingerprint of the system prompt alone: a compaction replaces everything after it."""
    tools: str = ""
    """The fingerprint of the tools' definitions; empty if they are not known."""

    def __str__(self) -> str:
        """The fingerprint that an answer's event stores."""
        return _with_tools(self.whole, self.tools)

    def after(self, rows: Sequence[Any]) -> str:
        """The same for a context that has only these messages after the system prompt."""
        return _with_tools(_continued(self.head, rows), self.tools)


class Chain:
    """The messages of a request while it is written, and their fingerprint.

    Args:
        kind: the format of the messages: messages in different formats never have the same fingerprint.
        known: messages that were hashed before, which are not hashed again if they are equal.
    """

    def __init__(self, kind: str, known: Chained | None = None) -> None:
        self.rows: list[Any] = []
        """The messages so far; this list only grows."""
        self.head = 0
        """How many of them belong to the system prompt."""
        known = known or Chained()
        self._known, self._ends, self._values = known.rows, known.ends, known.values
        self._kind = kind
        self._at, self._value = 0, kind
        self._same = self._count = 0  # of the known messages, and of their fingerprints, those that hold here
        self._new_ends: list[int] = []
        self._new_values: list[str] = []

    def value(self) -> str:
        """Return the fingerprint of all messages so far."""
        rows, ends = self.rows, self._ends
        end, count, same = len(rows), self._count, self._same
        while count < len(ends) and ends[count] <= end:
            at = ends[count]
            if rows[same:at] != self._known[same:at]:
                self._ends = ends = ends[:count]
                break
            same = at
            count += 1
        if count != self._count:
            self._at, self._value = ends[count - 1], self._values[count - 1]
            self._count, self._same = count, same
        if self._at < end:
            if count < len(ends):  # nothing that was known ends here
                self._ends = ends[:count]
            self._value = _continued(self._value, rows[self._at :])
            self._at = end
            self._new_ends.append(end)
            self._new_values.append(self._value)
        return self._value

    def sent(self, tools: str) -> Sent:
        """Return the fingerprints of the complete request."""
        return Sent(self.value(), _continued(self._kind, self.rows[: self.head]), tools)

    def remembered(self) -> Chained:
        """Return what the next chain need not hash again.

        Of equal messages, the older objects are kept, which garbage collection no longer looks at often.
        """
        return Chained(
            [*self._known[: self._same], *self.rows[self._same :]],
            [*self._ends[: self._count], *self._new_ends],
            [*self._values[: self._count], *self._new_values],
        )


def _continued(value: str, rows: Sequence[Any]) -> str:
    for row in rows:
        value = _digest(value, row)
    return value


def _digest(before: str, row: Any) -> str:
    found = blake2b(before.encode(), digest_size=_BYTES)
    found.update(_canonical(row))
    return urlsafe_b64encode(found.digest()).decode()


def _canonical(value: Any) -> bytes:
    return json.dumps(_unmarked(value), sort_keys=True, separators=(",", ":"), default=str).encode()


def _unmarked(value: Any) -> Any:
    """A message without cache marks, which change nothing that a model sees."""
    if isinstance(value, dict):
        return {name: _unmarked(each) for name, each in value.items() if name not in CACHE_MARKS}
    if isinstance(value, list | tuple):
        return [_unmarked(each) for each in value]
    return value


def fingerprint_of_tools(tools: Sequence[Any]) -> str:
    """The fingerprint of tools' definitions, in the order in which they are sent."""
    digest = blake2b(_canonical(list(tools)), digest_size=_TOOLS_BYTES).digest()
    return urlsafe_b64encode(digest).decode()


def _with_tools(fingerprint: str, tools: str) -> str:
    return f"{fingerprint}.{tools}" if tools else fingerprint


def is_same(kept: str, value: str, tools: str) -> bool:
    """Whether an event's fingerprint equals that of these messages and tools.

    If the tools of one side are not known, they count as equal: an application that changes its tools must
    name them.
    """
    rows, _, kept_tools = kept.partition(".")
    return rows == value and (not tools or not kept_tools or tools == kept_tools)
