"""The excerpts that were recalled for a question and shown beside it: an event of the log names them.

The event has ids and no texts, so that no text is stored twice or must be erased twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ...models import EventSource, EventType, SessionEvent
from .excerpts import Excerpt, told
from .index import Index

_KEY = "recalled"


@dataclass(frozen=True, slots=True)
class Shown:
    """The excerpts that were shown beside a question."""

    question_id: str
    """The id of the question's event."""
    asked: str
    """A fingerprint of the question: if the same is asked again, the excerpts stay."""
    excerpts: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    """The ids of events, each with the positions at which its shown parts begin and end."""

    @classmethod
    def of(cls, question_id: str, asked: str, index: Index, excerpts: Sequence[Excerpt]) -> Shown:
        """Make the record of the excerpts that are shown now."""
        named = ((index.ids[each.turn], tuple(sorted(each.spans))) for each in excerpts)
        return cls(question_id, asked, tuple(named))

    def as_event(self) -> SessionEvent[Any]:
        """The event that names the excerpts; readers that do not know it skip it."""
        said = {
            "question": self.question_id,
            "asked": self.asked,
            "excerpts": [[event_id, *(list(span) for span in spans)] for event_id, spans in self.excerpts],
        }
        return SessionEvent(message={_KEY: said}, source=EventSource.SYSTEM, type=EventType.REFERENCE)

    def of_copies(self, ids: Mapping[str, str]) -> Shown | None:
        """The same excerpts beside the copy of the question; `None` if the question has no copy.

        An excerpt of a turn without a copy stays one of the original: a fork finds its turns too.

        Args:
            ids: the ids of the copies, by the ids of the originals.
        """
        if self.question_id not in ids:
            return None
        excerpts = tuple((ids.get(event_id, event_id), spans) for event_id, spans in self.excerpts)
        return Shown(ids[self.question_id], self.asked, excerpts)

    def text(self, index: Index) -> str:
        """The excerpts as they were shown, without parts that were taken back or erased since."""
        found: list[Excerpt] = []
        for event_id, spans in self.excerpts:
            turn = index.number_of.get(event_id)
            if turn is not None and turn not in index.out and spans:
                found.append(Excerpt(turn, list(spans)))
        return told(index, found)


def shown_in(event: SessionEvent[Any]) -> Shown | None:
    """The excerpts that an event names, if it is such an event."""
    if event.type != EventType.REFERENCE or not isinstance(event.message, dict):
        return None
    said = event.message.get(_KEY)
    if not isinstance(said, dict):
        return None
    try:
        excerpts = (
            (str(event_id), tuple((int(start), int(end)) for start, end in spans))
            for event_id, *spans in said["excerpts"]
        )
        return Shown(str(said["question"]), str(said["asked"]), tuple(excerpts))
    except (KeyError, TypeError, ValueError):
        return None  # the form of another release


def fingerprint_of(*asked: object) -> str:
    """A fingerprint by which the same question is recognised."""
    return sha256("\0".join(map(str, asked)).encode("utf-8", errors="replace")).hexdigest()[:16]
