"""Fingerprints of requests: a chain of hashes, one for each message, the system prompt first.

An answer's event stores the fingerprint of the context that the model was given. A later context compares it
with the chain of its own messages up to the answer. If they are equal, the model saw the same, byte for byte.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

# 96 bits: two contexts do not get the same fingerprint by chance.
_BYTES = 12
# For tool definitions, which are only compared with those of the same conversation.
_TOOLS_BYTES = 6
# These fields mark the end of a provider's cache, and change nothing that a model sees.
_NOT_HASHED = {"cache_control", "prompt_cache_breakpoint"}


@dataclass(slots=True)
class Chained:
    """Messages that were hashed before."""

    rows: Sequence[Any] = ()
    values: dict[int, str] = field(default_factory=dict)
    """The fingerprints of the first so many messages."""


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
        self._known = known or Chained()
        self._positions = iter(self._known.values)  # in ascending order, as they were found
        self._next = next(self._positions, None)
        self._kind = kind
        self._at, self._value = 0, kind
        self._same = 0
        self._values: dict[int, str] = {}

    def value(self) -> str:
        """Return the fingerprint of all messages so far."""
        end = len(self.rows)
        while self._next is not None and self._next <= end:
            if not self._is_known(self._next):
                self._next = None
                break
            self._at, self._value = self._next, self._known.values[self._next]
            self._values[self._at] = self._value
            self._next = next(self._positions, None)
        if self._at < end:
            if self._next is not None and not self._is_known(end):
                self._next = None
            self._value = _continued(self._value, self.rows[self._at :])
            self._at = end
            self._values[end] = self._value
        return self._value

    def _is_known(self, end: int) -> bool:
        """Whether the messages up to this one equal the known ones."""
        if self.rows[self._same : end] != self._known.rows[self._same : end]:
            return False
        self._same = end
        return True

    def sent(self, tools: str) -> Sent:
        """Return the fingerprints of the complete request."""
        whole = self.value()
        head = self._values.get(self.head) or _continued(self._kind, self.rows[: self.head])
        return Sent(whole, head, tools)

    def remembered(self) -> Chained:
        """Return what the next chain need not hash again.

        Of equal messages, the older objects are kept, which garbage collection no longer looks at often.
        """
        return Chained([*self._known.rows[: self._same], *self.rows[self._same :]], self._values)


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
    """A message without the marks of a cache's end."""
    if isinstance(value, dict):
        return {name: _unmarked(each) for name, each in value.items() if name not in _NOT_HASHED}
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
