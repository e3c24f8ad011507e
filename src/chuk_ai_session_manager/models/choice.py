"""Second thoughts about what was said: the event that says which of it holds, and what that changes."""

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
    """Which of what was said holds from now on, until the next choice in the log."""

    moves: bool = False
    """Whether the conversation goes on from another place, which `after` names."""
    after: str | None = None
    """The event that what comes next follows; `None` for the beginning of the conversation."""
    retracted: Sequence[str] = ()
    """The ids of messages that are left out from now on, wherever they stand."""
    restored: Sequence[str] = ()
    """The ids of such messages that hold again."""
    adds: Mapping[str, int] = field(default_factory=dict)
    """What the choice adds to what holds, by name: content `tokens`, `messages`, `user_messages`,
    `ai_messages` and `tool_calls`; below 0 where it takes away."""

    def as_event(self) -> SessionEvent[Any]:
        """The event that says so. It is a note on another event: readers that know no choices skip it."""
        said: dict[str, Any] = {"after": self.after} if self.moves else {}
        for name, ids in (("retracted", self.retracted), ("restored", self.restored)):
            if ids:
                said[name] = list(ids)
        said["adds"] = dict(self.adds)
        return SessionEvent(message={_KEY: said}, source=EventSource.SYSTEM, type=EventType.REFERENCE)


def choice_in(event: SessionEvent[Any]) -> Choice | None:
    """The choice that an event says, if it is such an event."""
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
