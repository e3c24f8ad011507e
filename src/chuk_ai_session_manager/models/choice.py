"""Second thoughts: the event that chooses which messages are on the path, and what the choice changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .event_source import EventSource
from .event_type import EventType
from .session_event import SessionEvent

_KEY = "path_choice"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which messages are on the path from now on, until the next choice in the log."""

    moves: bool = False
    """Whether the conversation continues from another place, which `after` names."""
    after: str | None = None
    """The event that the next message follows; `None` for the beginning of the conversation."""
    retracted: Sequence[str] = ()
    """The ids of messages that leave the path, wherever they stand."""
    restored: Sequence[str] = ()
    """The ids of such messages that are on the path again."""
    adds: Mapping[str, int] = field(default_factory=dict)
    """How the choice changes the totals of the path, by name: content `tokens`, `messages`,
    `user_messages`, `ai_messages` and `tool_calls`; negative numbers reduce them."""

    def as_event(self) -> SessionEvent[Any]:
        """The event that records the choice. It is a note on another event: earlier readers skip it."""
        said: dict[str, Any] = {"after": self.after} if self.moves else {}
        for name, ids in (("retracted", self.retracted), ("restored", self.restored)):
            if ids:
                said[name] = list(ids)
        said["adds"] = dict(self.adds)
        return SessionEvent(message={_KEY: said}, source=EventSource.SYSTEM, type=EventType.REFERENCE)


def choice_in(event: SessionEvent[Any]) -> Choice | None:
    """The choice that an event records; `None` for any other event."""
    if event.type != EventType.REFERENCE or not isinstance(event.message, dict):
        return None
    said = event.message.get(_KEY)
    if not isinstance(said, dict):
        return None
    after, adds = said.get("after"), said.get("adds")
    return Choice(
        moves="after" in said,
        after=after if isinstance(after, str) else None,
        retracted=_ids(said.get("retracted")),
        restored=_ids(said.get("restored")),
        adds={name: n for name, n in adds.items() if isinstance(n, int)} if isinstance(adds, dict) else {},
    )


def _ids(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
