"""Fingerprints of what a model is sent: a chain of hashes, one a row, the system prompt first.

An answer's event keeps the fingerprint of the context that the model was given. A later context compares it
with the chain of its own rows up to the answer. Where they are equal, the model saw the same, byte for byte.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

# 96 bits: two contexts with the same fingerprint do not come by chance.
_BYTES = 12
# Of tool definitions, which are compared with those of one conversation only.
_TOOLS_BYTES = 6
# Where a provider's cache ends changes nothing that a model sees.
_NOT_HASHED = {"cache_control", "prompt_cache_breakpoint"}


@dataclass(slots=True)
class Chained:
    """Rows that were hashed before."""

    rows: Sequence[Any] = ()
    values: dict[int, str] = field(default_factory=dict)
    """The fingerprints of the first so many rows."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The fingerprints of a context that a model was given."""

    whole: str
    head: str
    """Of the system prompt alone: what stands before a compaction, which replaces all else."""
    tools: str = ""
    """Of the tools' definitions; empty where these are not known."""

    def __str__(self) -> str:
        """The one that an answer's event keeps."""
        return _with_tools(self.whole, self.tools)

    def after(self, rows: Sequence[Any]) -> str:
        """The same of a context that has only these rows after the system prompt."""
        return _with_tools(_continued(self.head, rows), self.tools)


class Chain:
    """The rows of a request while it is written, and the fingerprint of what there is so far.

    Args:
        kind: what form the rows have: rows of two forms have no fingerprint in common.
        known: rows that were hashed before. Those that are the same are not hashed again.
    """

    def __init__(self, kind: str, known: Chained | None = None) -> None:
        self.rows: list[Any] = []
        """The rows so far, which only grow."""
        self.head = 0
        """How many of them are the system prompt."""
        self._known = known or Chained()
        self._positions = iter(sorted(self._known.values))
        self._next = next(self._positions, None)
        self._kind = kind
        self._at, self._value = 0, kind
        self._same = 0
        self._values: dict[int, str] = {}

    def value(self) -> str:
        """The fingerprint of all rows so far."""
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
        """Whether the rows up to there are the known ones, too."""
        if self.rows[self._same : end] != self._known.rows[self._same : end]:
            return False
        self._same = end
        return True

    def sent(self, tools: str) -> Sent:
        """The fingerprints of the request, now that it is written."""
        whole = self.value()
        head = self._values.get(self.head) or _continued(self._kind, self.rows[: self.head])
        return Sent(whole, head, tools)

    def remembered(self) -> Chained:
        """What the next chain need not hash again.

        Of rows that are the same, the older objects are kept: garbage collection leaves alone what lives on.
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
    """A row without the marks that say where a cache ends."""
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
    """Whether an event's fingerprint is that of these rows and tools.

    Where one of the two does not know the tools, they count as the same: an application that changes its
    tools has to say which they are.
    """
    rows, _, kept_tools = kept.partition(".")
    return rows == value and (not tools or not kept_tools or tools == kept_tools)
