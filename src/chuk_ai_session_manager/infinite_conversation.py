"""Conversations without end, for applications that keep the segments' ids themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Any

from .conversation.absent import fill
from .conversation.background import background_of, told_by_ancestors
from .conversation.closing import Closing
from .conversation.notes import Notes
from .conversation.order import as_told
from .conversation.segments import Thresholds, append_to_live, chain_of, open_next_segment, segments_in
from .conversation.summaries import Summarizer, context_row
from .exceptions import InvalidInput, InvalidSessionOperation, session_not_found
from .exceptions.validation import check_count, check_name, check_session_id, check_text
from .models import EventSource, EventType, Session, SessionEvent
from .models.collisions import until_stored
from .models.session_event import content_of
from .providers.messages import ChatMessage, plain_messages, role_of
from .session_storage import ChukSessionsStore, event_store, get_backend
from .stores import EventStore, WholeSessionStore

__all__ = [
    "ChukSessionsStore",
    "InfiniteConversationManager",
    "SummarizationStrategy",
    "get_backend",
]

SummaryModel = Callable[[list[ChatMessage]], Awaitable[str]]


class SummarizationStrategy(str, Enum):
    """What a summary must contain, as a model is told; equal to its plain string."""

    BASIC = "basic"
    KEY_POINTS = "key_points"
    TOPIC_BASED = "topic_based"
    QUERY_FOCUSED = "query_focused"


_PROMPTS = {
    SummarizationStrategy.BASIC: (
        "Write a concise summary of the conversation below. Keep names, numbers, decisions and "
        "whatever is still open; leave out greetings."
    ),
    SummarizationStrategy.KEY_POINTS: (
        "Write a summary of the conversation below as its key points, one a line: facts, decisions, "
        "figures, and what is still open."
    ),
    SummarizationStrategy.TOPIC_BASED: (
        "Write a summary of the conversation below by topics: name the topics that were discussed, and "
        "under each of them what was said and decided."
    ),
    SummarizationStrategy.QUERY_FOCUSED: (
        "Write a summary of the conversation below around the user's main questions: each of the "
        "questions, and the answer that was given or is still missing."
    ),
}


class InfiniteConversationManager:
    """Adds messages to sessions, and opens the next segment when a segment is full.

    The application keeps the session's id, which changes with each segment. The thresholds are
    plain attributes, which you may change at any time. The sessions are in the default store. All methods
    raise `StorageError` if the store fails.

    Args:
        token_threshold: content tokens at which a segment is full.
        max_turns_per_segment: messages at which a segment is full.
        summarization_strategy: what the summary of a full segment must contain.

    Raises:
        InvalidInput: a threshold is below 1.
    """

    def __init__(
        self,
        token_threshold: int = 3000,
        max_turns_per_segment: int = 20,
        summarization_strategy: SummarizationStrategy = SummarizationStrategy.BASIC,
    ) -> None:
        operation = "make an InfiniteConversationManager"
        check_count(token_threshold, 1, "token_threshold", operation)
        check_count(max_turns_per_segment, 1, "max_turns_per_segment", operation)
        if summarization_strategy not in set(SummarizationStrategy):
            known = ", ".join(strategy.value for strategy in SummarizationStrategy)
            raise InvalidInput(operation, f"summarization_strategy must be one of {known}")
        self.token_threshold = token_threshold
        self.max_turns_per_segment = max_turns_per_segment
        self.summarization_strategy: SummarizationStrategy = SummarizationStrategy(summarization_strategy)

    async def process_message(
        self,
        session_id: str,
        message: str,
        source: EventSource,
        llm_callback: SummaryModel | None,
        model: str = "gpt-3.5-turbo",
    ) -> str:
        """Add a message. If the message fills the segment, summarise the segment and open the next one.

        Args:
            session_id: the conversation's current segment.
            message: the message.
            source: who said it: the user, the model or the system.
            llm_callback: makes a summary of the messages that it gets; the first one says what the summary
                must contain. If the callback fails, or takes over 30 seconds, a built-in summary is used.
            model: the model whose tokens are counted.

        Returns:
            The id for the next message: that of the new segment, if one was opened.

        Raises:
            SessionNotFound: the session does not exist.
            InvalidInput: the message is not a text, or the model has no name; nothing was written.
            InvalidSessionOperation: the segment is full, and there is no callback.
        """
        check_text(message, "message", "process a message")
        check_name(model, "model", "process a message")
        if source not in set(EventSource):
            raise InvalidInput("process a message", "source must be user, llm or system")
        home, session = await self._load(session_id)
        is_user = EventSource(source) is EventSource.USER
        event: SessionEvent[Any] = await SessionEvent.create_with_tokens(
            message=message,
            prompt=message if is_user else "",
            completion=None if is_user else message,
            model=model,
            source=EventSource(source),
            type=EventType.MESSAGE,
        )
        closing = Closing(Summarizer(llm_callback, through=self._create_summary))

        async def is_over(segment: Session[Any]) -> bool:
            return llm_callback is not None and await self._should_create_new_segment(segment)

        append = partial(
            append_to_live,
            events=[event],
            home=home,
            thresholds=self._thresholds,
            is_full=is_over,
            on_closed=lambda closed: closing.start(closed, home),
        )
        session = await until_stored(append, session, home)
        if await self._should_create_new_segment(session):
            if llm_callback is None:
                reason = "the message is stored, but it fills the segment: pass llm_callback to summarise it"
                raise InvalidSessionOperation("process a message", reason)
            full, (session, was_made_here) = session, await open_next_segment(session, home, self._thresholds)
            if was_made_here:
                closing.start(full, home)
        await closing.finish()
        return session.id

    async def build_context_for_llm(
        self, session_id: str, max_messages: int = 10, include_summaries: bool = True
    ) -> list[ChatMessage]:
        """Return the newest messages of a segment, after the summaries of earlier segments, oldest first.

        Raises:
            SessionNotFound: the session does not exist.
            InvalidInput: `max_messages` is below 1.
        """
        check_count(max_messages, 1, "max_messages", "build a context")
        home, session = await self._load(session_id)
        background = await background_of(session, home)
        held = background.held  # after a choice: also those of an earlier segment that are on the path
        events = session.events if held is None else held
        messages = plain_messages(as_told([*background.start, *events]))[-max_messages:]
        await fill(messages, home)
        if not include_summaries:
            return messages
        notes = background.notes
        if not notes and held is None:
            notes = Notes(await told_by_ancestors(session, home))
        return [context_row(str(await Summarizer().within(notes))), *messages] if notes else messages

    async def get_session_chain(self, session_id: str) -> list[Session[Any]]:
        """Return the segments up to this one, the first one first.

        Raises:
            SessionNotFound: the session does not exist.
        """
        home, session = await self._load(session_id)
        return [segment async for segment in segments_in(await chain_of(session, home), home)]

    async def get_full_conversation_history(self, session_id: str) -> list[tuple[str, EventSource, Any]]:
        """Return the messages of all segments up to this one: role, source and content.

        Raises:
            SessionNotFound: the session does not exist.
        """
        events = [event for session in await self.get_session_chain(session_id) for event in session.events]
        return [
            (
                role_of(event),
                event.source,
                content_of(event.message),
            )
            for event in as_told(events)
            if event.type == EventType.MESSAGE
        ]

    async def _should_create_new_segment(self, session: Session[Any]) -> bool:
        return self._thresholds.are_reached(session)

    @property
    def _thresholds(self) -> Thresholds:
        return Thresholds(self.token_threshold, self.max_turns_per_segment)

    async def _create_summary(self, session: Session[Any], llm_callback: SummaryModel) -> str:
        prompt = {"role": "system", "content": self._get_summarization_prompt()}
        return await llm_callback([prompt, *plain_messages(as_told(session.events))])

    def _get_summarization_prompt(self) -> str:
        return _PROMPTS[self.summarization_strategy]

    async def _load(self, session_id: str) -> tuple[EventStore | WholeSessionStore, Session[Any]]:
        """The default store, looked up by name so that an application can replace it, and the session."""
        check_session_id(session_id)
        home = event_store(ChukSessionsStore(get_backend()))
        session = await home.get(session_id)
        if session is None:
            raise session_not_found(session_id)
        return home, session
