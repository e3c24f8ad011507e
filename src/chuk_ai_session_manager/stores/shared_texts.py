"""Bodies in memory: events with the same image, audio, file or long result share one text object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..models import EventType, SessionEvent
from ..models.amounts import fields_of
from .bodies import is_body


class SharedTexts:
    """The texts that events of several sessions share; each is kept as long as one of these sessions."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, set[str]]] = {}
        self._of_session: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def share(self, session_id: str, events: Iterable[SessionEvent[Any]]) -> None:
        """Replace texts in events of a session with equal texts that are kept already."""
        for event in events:
            fields = fields_of(event)
            if isinstance(fields["message"], str) and fields["native"] is None:
                continue
            for part in (event.message, event.native, event.metadata):
                for holder, name in _places(part, takes_long=event.type == EventType.TOOL_CALL):
                    holder[name] = self._shared(session_id, holder[name])

    def _shared(self, session_id: str, text: str) -> str:
        kept, sessions = self._kept.setdefault(text, (text, set()))
        sessions.add(session_id)
        self._of_session.setdefault(session_id, set()).add(kept)
        return kept

    def release(self, session_id: str) -> None:
        """Drop the texts that only this session had."""
        for text in self._of_session.pop(session_id, ()):
            sessions = self._kept[text][1]
            sessions.discard(session_id)
            if not sessions:
                del self._kept[text]


def _places(value: Any, *, takes_long: bool, key: Any = None) -> Iterator[tuple[Any, Any]]:
    """The places of bodies in a JSON value: the object or list, and the key or number in it.

    Args:
        value: the value.
        takes_long: whether long texts are bodies.
        key: the value's own key.
    """
    if isinstance(value, dict):
        items: Iterable[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return
    for name, item in items:
        named = key if isinstance(value, list) else name
        if not isinstance(item, str):
            yield from _places(item, takes_long=takes_long, key=named)
        elif is_body(item, named, value, takes_long=takes_long):
            yield value, name
