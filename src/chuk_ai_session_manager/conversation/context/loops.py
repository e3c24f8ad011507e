"""Tool loops that go on: calls have results to send. The rows that the model saw before do not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from ...models import EventSource, EventType
from ...models.home import HomeStore
from ...providers.anthropic_messages import SIGNED, blocks_in
from ...providers.bedrock_messages import is_signed
from ...providers.context_rows import native_of
from ...providers.messages import calls_of
from ...stores.base import AnyEvent
from ..background import Background
from ..log_end import LogEnd
from ..path import is_question
from ..segments import segments_before

# Stop reasons of answers that the provider continues when they are sent back: Anthropic's `pause_turn`.
_PAUSED = "pause_turn"


@dataclass(frozen=True, slots=True)
class Loop:
    """A tool loop that goes on."""

    log: LogEnd
    """The segment in which the loop began, read back at least to the loop's question."""
    question: AnyEvent
    """The question; in a conversation without one, the first event."""
    later: Sequence[AnyEvent]
    """The events of the segments after that one."""

    @property
    def events(self) -> list[AnyEvent]:
        """The question and all events after it."""
        return [*self.log.since(self.question), *self.later]

    @property
    def began(self) -> str:
        """When the loop's first answer was stored: the model saw the pins that existed by then."""
        answers = [event for event in self.events if event.source == EventSource.LLM]
        return (answers or self.events)[0].timestamp.astimezone(UTC).isoformat(timespec="microseconds")

    @property
    def is_bound(self) -> bool:
        """Whether the loop's answers have thinking that is bound to everything before it."""
        if any(block.get("type") in SIGNED for event in self.events for block in _blocks(event)):
            return True
        return any(is_signed(*native_of(event)) for event in self.events if event.native is not None)


def _blocks(event: AnyEvent) -> list[dict[str, object]]:
    return blocks_in(*native_of(event)) if event.source == EventSource.LLM else []


async def unfinished_loop(log: LogEnd, background: Background, home: HomeStore) -> Loop | None:
    """The tool loop that the conversation is in, if there is one.

    Args:
        log: the end of the live segment.
        background: the background of the live segment.
        home: the store of the conversation.

    Raises:
        SessionNotFound: the session expired or was deleted.
        StorageError: the store failed.
    """
    newest = await log.read_back_to(_is_of_user_or_model)
    if newest is None or not _waits(newest):
        return None
    question = await log.read_back_to(is_question, before=newest)
    if question is not None:
        return Loop(log, question, ())
    if background.held is not None:
        return None
    if background.question is None:  # without a question, the loop begins with the conversation
        return Loop(log, log.events[0], ()) if log.session.parent_id is None else None
    return await _begun_earlier(log, background.question, home)


async def _begun_earlier(log: LogEnd, question: tuple[str, str], home: HomeStore) -> Loop | None:
    session_id, event_id = question
    later: list[AnyEvent] = list(log.events)  # all events: the question is not among them
    async for earlier in segments_before(log.session, home, on_path=True):
        found = await earlier.read_back_to(lambda event: event.id == event_id)
        if found is not None and earlier.session.id == session_id:
            return Loop(earlier, found, later)
        later = [*earlier.events, *later]
    return None


def _is_of_user_or_model(event: AnyEvent) -> bool:
    """Whether an event is a message of the user or of a model."""
    return event.type == EventType.MESSAGE and event.source != EventSource.SYSTEM


def _waits(event: AnyEvent) -> bool:
    """Whether the model goes on from an event: from an answer that calls tools, or that was paused."""
    if event.source != EventSource.LLM:
        return False
    return bool(calls_of(event.message)) or event.metadata.get("finish_reason") == _PAUSED
