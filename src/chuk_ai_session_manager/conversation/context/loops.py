"""Tool loops that go on: calls whose results are being sent. What the model saw then is not changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from ...models import EventSource, EventType
from ...models.home import HomeStore
from ...providers.anthropic_messages import SIGNED, blocks_in
from ...providers.context_rows import native_of
from ...providers.messages import calls_of
from ...stores.base import AnyEvent
from ..background import Background
from ..log_end import LogEnd
from ..segments import segments_before

# Answers that their provider goes on with by itself when they are sent back: Anthropic's `pause_turn`.
_PAUSED = "pause_turn"


@dataclass(frozen=True, slots=True)
class Loop:
    """A tool loop that goes on."""

    log: LogEnd
    """The segment that it began in, read back to its question at least."""
    question: AnyEvent
    """The question; the first event of a conversation without one."""
    later: Sequence[AnyEvent]
    """What is in the segments after that one."""

    @property
    def events(self) -> list[AnyEvent]:
        """The question and all that came after it."""
        return [*self.log.since(self.question), *self.later]

    @property
    def began(self) -> str:
        """When the model's first answer in it was stored: what was pinned by then, the model saw."""
        answers = [event for event in self.events if event.source == EventSource.LLM]
        return (answers or self.events)[0].timestamp.astimezone(UTC).isoformat(timespec="microseconds")

    @property
    def is_bound(self) -> bool:
        """Whether its answers have thinking that is bound to all that stood before it."""
        return any(block.get("type") in SIGNED for event in self.events for block in _blocks(event))


def _blocks(event: AnyEvent) -> list[dict[str, object]]:
    return blocks_in(*native_of(event)) if event.source == EventSource.LLM else []


async def unfinished_loop(log: LogEnd, background: Background, home: HomeStore) -> Loop | None:
    """The tool loop that a conversation is in the middle of, if it is.

    Args:
        log: the end of the live segment.
        background: what the live segment goes on from.
        home: where it is.

    Raises:
        SessionNotFound: the session expired or was deleted.
        StorageError: the store could not say.
    """
    newest = await log.read_back_to(_is_said)
    if newest is None or not _waits(newest):
        return None
    question = await log.read_back_to(_is_question, before=newest)
    if question is not None:
        return Loop(log, question, ())
    if background.held is not None:
        return None
    if background.question is None:  # nobody asked: the loop begins where the conversation does
        return Loop(log, log.events[0], ()) if log.session.parent_id is None else None
    return await _begun_earlier(log, background.question, home)


async def _begun_earlier(log: LogEnd, question: tuple[str, str], home: HomeStore) -> Loop | None:
    session_id, event_id = question
    later: list[AnyEvent] = list(log.events)  # all of it: there is no question in it
    async for earlier in segments_before(log.session, home, on_path=True):
        found = await earlier.read_back_to(lambda event: event.id == event_id)
        if found is not None and earlier.session.id == session_id:
            return Loop(earlier, found, later)
        later = [*earlier.events, *later]
    return None


def _is_said(event: AnyEvent) -> bool:
    return event.type == EventType.MESSAGE and event.source != EventSource.SYSTEM


def _is_question(event: AnyEvent) -> bool:
    return event.type == EventType.MESSAGE and event.source == EventSource.USER


def _waits(event: AnyEvent) -> bool:
    """Whether an event is an answer that the model goes on from: it calls tools, or was paused."""
    if event.source != EventSource.LLM:
        return False
    return bool(calls_of(event.message)) or event.metadata.get("finish_reason") == _PAUSED
