"""The facade: say what was said, and ask what is known of the conversation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Generator, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from .exceptions import SessionAlreadyExists, SessionManagerError, TokenLimitExceeded, session_not_found
from .messages import (
    ChatMessage,
    calls_of,
    check_chat_messages,
    event_of,
    full_messages,
    plain_messages,
    readable_json,
    text_of,
    tool_message,
)
from .models import EventSource, EventType, Session, SessionEvent, SessionMetadata
from .models.session_event import content_of
from .models.session_totals import SessionTotals
from .recording import Draft, LengthCache, measure
from .segments import background_of, is_full, live_segment, open_next_segment, segments_up_to
from .session_prompt_builder import truncate_prompt_to_token_limit
from .session_storage import ChukSessionsStore, event_store, get_backend
from .stores import EventStore, SessionStore, WholeSessionStore
from .summaries import Summarizer, SummaryCallback, built_in_summary, call_summary
from .usage import read_usage
from .validation import check_at_least, check_json_object, check_name, check_session_id, check_text

__all__ = ["SessionManager"]

logger = logging.getLogger(__name__)

Home = EventStore | WholeSessionStore

DEFAULT_COUNTING_MODEL = "gpt-4o-mini"
"""Whose tokens a user's message is counted in where no model is known, as in the original."""


_STATS_TOTALS = (
    "user_messages",
    "ai_messages",
    "tool_calls",
    "llm_calls",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


class _Done:
    """What a method hands back that did all its work at once, but may be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


class SessionManager:
    """One conversation: what is said goes in, messages for the model and statistics come out.

    Making one does no I/O; the session is opened, or made, by the first call that needs it. A manager
    may be used by many tasks at once: what it writes is stored in the order of the calls.

    Args:
        session_id: the session to continue. Writing to an id that is not there makes it, reading is
            `SessionNotFound`. Without one, a new session gets a uuid.
        system_prompt: goes before the messages for the model; kept with the session.
        parent_id: a session that the new one is entered with as a child.
        metadata: JSON values, kept as the new session's `metadata.properties`.
        store: where the session lives; the default store without one. Anything with `get` and `save`.
        infinite_context: continue in a new segment when one is full, its summary going along.
        token_threshold: content tokens at which a segment is full.
        max_turns_per_segment: messages at which a segment is full.
        user_id: whose session it is, kept as the property "user_id".
        model: the model whose tokens are counted and whose prices hold where a call names none.
        create: `False` lets writing to an unknown `session_id` be `SessionNotFound` too.
        token_limit: the most content tokens the conversation may have; what would exceed it is refused.
        cost_limit: the most its model calls may cost, in USD; what would exceed it is refused.
        summary_callback: makes the summary of a full segment of its messages; sync or async.
        summary_timeout: seconds that the callback has, before the built-in summary steps in.
        summary_max_tokens: the most tokens that the summary of all earlier segments may have.

    Raises:
        InvalidInput: an argument that cannot be right, before anything is done.
    """

    def __init__(
        self,
        session_id: str | None = None,
        system_prompt: str | None = None,
        parent_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        store: SessionStore | None = None,
        infinite_context: bool = False,
        token_threshold: int = 4000,
        max_turns_per_segment: int = 20,
        *,
        user_id: str | None = None,
        model: str | None = None,
        create: bool = True,
        token_limit: int | None = None,
        cost_limit: float | None = None,
        summary_callback: SummaryCallback | None = None,
        summary_timeout: float = 30.0,
        summary_max_tokens: int = 500,
    ) -> None:
        operation = "make a SessionManager"
        for name, given_id in (("session_id", session_id), ("parent_id", parent_id)):
            if given_id is not None:
                check_session_id(given_id, f"{operation} ({name})")
        for name, text in (("system_prompt", system_prompt), ("user_id", user_id)):
            if text is not None:
                check_text(text, name, operation)
        if model is not None:
            check_name(model, "model", operation)
        check_json_object(metadata or {}, "metadata", operation)
        check_at_least(token_threshold, 1, "token_threshold", operation)
        check_at_least(max_turns_per_segment, 1, "max_turns_per_segment", operation)
        check_at_least(token_limit, 1, "token_limit", operation)
        check_at_least(cost_limit, 0, "cost_limit", operation)
        check_at_least(summary_timeout, 0, "summary_timeout", operation)
        check_at_least(summary_max_tokens, 1, "summary_max_tokens", operation)

        self._session_id = session_id or str(uuid4())
        self._is_new = session_id is None  # an id made here is no unknown one
        self._system_prompt = system_prompt
        self._parent_id = parent_id
        self._properties = dict(metadata or {}) | ({} if user_id is None else {"user_id": user_id})
        self._given_store = store
        self._infinite_context = infinite_context
        self._token_threshold = token_threshold
        self._max_turns_per_segment = max_turns_per_segment
        self._model = model
        self._create = create
        self._token_limit = token_limit
        self._cost_limit = cost_limit
        self._summarizer = Summarizer(summary_callback, summary_timeout, summary_max_tokens)

        self._home: Home
        self._session: Session[Any] | None = None
        self._initialized = False
        self._loaded_from_storage = False
        self._was_made = False
        self._prompt_is_unsaved = False
        # asyncio's locks are fair, so that waiting writers go in the order of their calls.
        self._writing = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._lengths = LengthCache()

    @property
    def session_id(self) -> str:
        """The session's id; with infinite context, that of the segment now written to."""
        return self._session_id

    @property
    def system_prompt(self) -> str | None:
        """The system prompt, if there is one."""
        return self._system_prompt

    @property
    def is_infinite(self) -> bool:
        """Whether the conversation continues in new segments."""
        return self._infinite_context

    def __repr__(self) -> str:
        """Say which session it is, and nothing of what was said in it."""
        return f"SessionManager(session_id={self._session_id!r}, infinite_context={self._infinite_context})"

    # -- writing --------------------------------------------------------------------------------

    async def user_says(self, message: str, **metadata: Any) -> str:
        """Record what the user said; `metadata` goes with it.

        Returns:
            The id of the session that it was written to.

        Raises:
            InvalidInput: the message is not text, or the metadata not JSON.
            TokenLimitExceeded: a limit of this manager stands in the way.
            SessionNotFound: the session expired, was deleted, or `create=False` and is unknown.
            StorageError: the store could not do it.
        """
        check_text(message, "message", "user_says")
        check_json_object(metadata, "metadata", "user_says")
        event: SessionEvent[Any] = SessionEvent(
            message=message, source=EventSource.USER, type=EventType.MESSAGE, metadata=metadata
        )
        return await self._write([Draft(event, message, self._model or DEFAULT_COUNTING_MODEL)])

    async def ai_responds(
        self,
        response: str,
        model: str = "unknown",
        provider: str = "unknown",
        usage: object | None = None,
        **metadata: Any,
    ) -> str:
        """Record what the model answered, and what the call was billed for.

        Args:
            response: the answer.
            model: the model that gave it; by default the manager's.
            provider: who ran the model.
            usage: the provider's own token counts, as its SDK or API gives them (OpenAI, Anthropic,
                Google, LiteLLM). Without it the input is estimated: what this manager would have sent.
            **metadata: JSON values that go with the answer.

        Returns:
            The id of the session that it was written to.

        Raises:
            InvalidInput: the answer is not text, the model's name empty, the usage not readable or
                negative, or the metadata not JSON.
            TokenLimitExceeded, SessionNotFound, StorageError: as for `user_says`.
        """
        check_text(response, "response", "ai_responds")
        check_name(model, "model", "ai_responds")
        check_text(provider, "provider", "ai_responds")
        check_json_object(metadata, "metadata", "ai_responds")
        reported = None if usage is None else read_usage(usage)
        model = self._model or model if model == "unknown" else model
        described = {"model": model, "provider": provider, "timestamp": datetime.now().isoformat()}
        event: SessionEvent[Any] = SessionEvent(
            message=response, source=EventSource.LLM, type=EventType.MESSAGE, metadata=described | metadata
        )
        return await self._write([Draft(event, response, model, provider, is_call=True, reported=reported)])

    async def tool_used(
        self,
        tool_name: str,
        arguments: Any,
        result: Any,
        error: str | None = None,
        *,
        tool_call_id: str | None = None,
        **metadata: Any,
    ) -> str:
        """Record a tool call and what came of it.

        Arguments and results that are not JSON are kept readably, as text. No tokens are counted.

        Args:
            tool_name: the tool.
            arguments: what it was called with.
            result: what it gave.
            error: what went wrong, if something did.
            tool_call_id: the provider's id of the call, which ties the result to it.
            **metadata: JSON values that go with it.

        Returns:
            The id of the session that it was written to.

        Raises:
            InvalidInput: no tool name, or metadata that is not JSON.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(tool_name, "tool_name", "tool_used")
        check_json_object(metadata, "metadata", "tool_used")
        if tool_call_id is not None:
            check_name(tool_call_id, "tool_call_id", "tool_used")
            metadata["tool_call_id"] = tool_call_id
        failure = None if error is None else str(error)
        event: SessionEvent[Any] = SessionEvent(
            message=tool_message(tool_name, readable_json(arguments), readable_json(result), failure),
            source=EventSource.SYSTEM,
            type=EventType.TOOL_CALL,
            metadata=metadata,
        )
        return await self._write([Draft(event, None, "")])

    async def add_messages(
        self, messages: Sequence[ChatMessage], *, model: str = "unknown", provider: str = "unknown"
    ) -> str:
        """Record a list of OpenAI chat messages: system, user, assistant (with `tool_calls`), tool.

        `get_messages_for_llm(include_tools=True)` gives them back equal. A system message that begins
        a conversation becomes its system prompt. Each assistant message counts as one call of `model`.

        Returns:
            The id of the session that the last one was written to.

        Raises:
            InvalidInput: a message that is no such message; it says which. Nothing was written.
            TokenLimitExceeded, SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(model, "model", "add_messages")
        check_text(provider, "provider", "add_messages")
        rows = check_chat_messages(messages, "add_messages")
        model = self._model or model if model == "unknown" else model
        counting_model = DEFAULT_COUNTING_MODEL if model == "unknown" else model
        calls = await self._calls_answered(rows)
        drafts = []
        for row in rows:
            is_answer = row["role"] == "assistant"
            event = event_of(row, calls)
            if is_answer:
                event.metadata |= {"model": model, "provider": provider}
                calls |= {call["id"]: call for call in calls_of(row)}
            drafts.append(
                Draft(
                    event, text_of(row), model if is_answer else counting_model, provider, is_call=is_answer
                )
            )
        return await self._write(drafts)

    async def update_system_prompt(self, prompt: str) -> None:
        """Set the system prompt, and keep it with the session.

        Raises:
            InvalidInput: the prompt is not text.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_text(prompt, "prompt", "update_system_prompt")
        self._system_prompt = prompt
        if self._initialized:
            home, session = await self._current()
            await self._save_prompt(home, session)
        else:
            self._prompt_is_unsaved = True

    def set_summary_callback(self, callback: SummaryCallback) -> Awaitable[None]:
        """Say who summarises a full segment; may be awaited, or not."""
        self._summarizer.callback = callback
        return _Done()

    # -- reading --------------------------------------------------------------------------------

    async def get_messages_for_llm(
        self,
        include_system: bool = True,
        *,
        include_tools: bool = False,
        max_tokens: int | None = None,
        model: str | None = None,
    ) -> list[ChatMessage]:
        """The messages to send to a model next: system prompt, summary of earlier segments, messages.

        Args:
            include_system: whether system prompt and summary go first.
            include_tools: whether tool calls and results are in it, complete and paired, in the OpenAI
                format; otherwise only what user and model said.
            max_tokens: the most content tokens it may have; the oldest exchanges go first.
            model: whose tokens those are; by default the manager's model.

        Raises:
            TokenLimitExceeded: not even the newest exchange fits `max_tokens`.
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        home, session = await self._current()
        summary, start = await self._background(home, session)
        events = [*start, *session.events]
        rows = self._preface(summary) if include_system else []
        rows += (
            full_messages(events, include_system=include_system) if include_tools else plain_messages(events)
        )
        if max_tokens is None:
            return rows
        return await truncate_prompt_to_token_limit(
            rows, max_tokens, model or self._model or DEFAULT_COUNTING_MODEL
        )

    async def get_conversation(self, include_all_segments: bool | None = None) -> list[dict[str, Any]]:
        """What was said, oldest first: `role`, `content` and `timestamp` of each message.

        With infinite context, of all segments unless `include_all_segments` is `False`; each message
        then has its `session_id` too, and the model's have `model` and `provider`.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        home, session = await self._current()
        if not self._covers_all(include_all_segments):
            return [_said(event) for event in session.events if event.type is EventType.MESSAGE]
        return [
            _said(event) | {"session_id": segment.id} | _answerer(event)
            for segment in await segments_up_to(session, home)
            for event in segment.events
            if event.type is EventType.MESSAGE
        ]

    async def get_session_chain(self) -> list[str]:
        """The ids of the conversation's segments, the first one first; none before anything was written."""
        if not self._infinite_context:
            return [self._session_id]
        if self._is_new and not self._initialized:
            return []
        home, session = await self._current()
        return [segment.id for segment in await segments_up_to(session, home)]

    async def load_session_chain(self) -> None:
        """Open the conversation now; any other call does it too."""
        if self._infinite_context:
            await self._current()

    async def get_stats(self, include_all_segments: bool | None = None) -> dict[str, Any]:
        """The conversation in figures: messages, tool calls, tokens and USD.

        `total_tokens` are content tokens, each message once. `input_tokens`, `output_tokens` and their
        parts are what the `llm_calls` were billed for, as `usage_source` says: "reported" by the
        provider, "estimated", "mixed" or "none". `estimated_cost` is in USD and leaves out the
        `unpriced_calls`. With infinite context, of all segments unless `include_all_segments` is
        `False`, and with their ids as `session_chain`.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        home, session = await self._current()
        chain = await segments_up_to(session, home) if self._infinite_context else [session]
        covers_all = self._covers_all(include_all_segments)
        segments = chain if covers_all else [session]
        totals = sum((segment.totals for segment in segments), SessionTotals())
        counted = totals.as_dict()
        stats: dict[str, Any] = {
            "session_id": session.id,
            "session_segments": len(chain),
            "total_messages": totals.user_messages + totals.ai_messages,
            "total_events": totals.events,
            "total_tokens": sum(segment.total_tokens for segment in segments),
            "estimated_cost": float(sum(segment.total_cost for segment in segments)),
            "usage_source": totals.usage_source,
            "created_at": segments[0].metadata.created_at.isoformat(),
            "last_update": max(_changed_at(segment) for segment in segments).isoformat(),
            "infinite_context": self._infinite_context,
        }
        stats |= {name: counted[name] for name in _STATS_TOTALS}
        return stats | ({"session_chain": [segment.id for segment in chain]} if covers_all else {})

    def _covers_all(self, include_all_segments: bool | None) -> bool:
        return self._infinite_context and include_all_segments is not False

    # -- opening --------------------------------------------------------------------------------

    async def _ensure_initialized(self) -> None:
        """Open the session, or make it if this manager made its id."""
        await self._open(creating=self._is_new)

    async def _current(self) -> tuple[Home, Session[Any]]:
        """The store, and the session as it is stored now."""
        home, session = await self._open(creating=self._is_new)
        stored = await home.get(session.id)
        if isinstance(stored, Session):
            session = await live_segment(stored, home) if self._infinite_context else stored
        elif isinstance(home, EventStore):
            raise session_not_found(session.id)
        self._adopt(session)
        return home, session

    async def _open(self, *, creating: bool) -> tuple[Home, Session[Any]]:
        if self._initialized and self._session is not None:
            return self._home, self._session
        async with self._opening:
            if not self._initialized or self._session is None:
                await self._find_or_create(creating=creating)
                self._initialized = True
        assert self._session is not None  # noqa: S101  (set above; tells mypy)
        return self._home, self._session

    async def _find_or_create(self, *, creating: bool) -> None:
        # By name and now, so that an application can swap the default store.
        self._home = event_store(self._given_store or ChukSessionsStore(get_backend()))
        may_be_stored = self._was_made or not self._is_new
        stored = await self._home.get(self._session_id) if may_be_stored else None
        if stored is None:
            if not creating:
                raise session_not_found(self._session_id)
            stored = await self._make_session()
        if stored is None:
            return
        if self._infinite_context:
            stored = await live_segment(stored, self._home)
        self._loaded_from_storage = True
        self._adopt(stored)
        if self._prompt_is_unsaved:
            await self._save_prompt(self._home, stored)
        elif self._system_prompt is None:
            self._system_prompt = stored.metadata.properties.get("system_prompt")

    async def _make_session(self) -> Session[Any] | None:
        """Make the session; if another writer made it meanwhile, hand that one back."""
        properties = dict(self._properties)
        if self._system_prompt is not None:
            properties["system_prompt"] = self._system_prompt
        try:
            session: Session[Any] = await Session.create(
                session_id=self._session_id,
                parent_id=self._parent_id,
                metadata=SessionMetadata(properties=properties),
                store=self._home,
            )
        except SessionAlreadyExists:
            return await self._home.get(self._session_id)
        if not session.is_bound:  # an application's own `Session.create` may not have stored it
            await self._home.save(session)
        self._was_made = True
        self._prompt_is_unsaved = False
        self._adopt(session)
        return None

    def _adopt(self, session: Session[Any]) -> None:
        self._session = session
        self._session_id = session.id

    async def _save_prompt(self, home: Home, session: Session[Any]) -> None:
        await session.metadata.set_property("system_prompt", self._system_prompt)
        await home.save(session)
        self._prompt_is_unsaved = False

    # -- writing, behind the scenes -------------------------------------------------------------

    async def _calls_answered(self, rows: Sequence[ChatMessage]) -> dict[str, ChatMessage]:
        """The tool calls, by id, that were recorded before the rows that answer them."""
        made = {call["id"] for row in rows for call in calls_of(row)}
        wanted = {row["tool_call_id"] for row in rows if row["role"] == "tool"} - made
        calls: dict[str, ChatMessage] = {}
        if wanted:
            _, session = await self._open(creating=self._create or self._is_new)
            for event in reversed(session.events):
                calls |= {call["id"]: call for call in calls_of(event.message) if call.get("id") in wanted}
                if wanted <= calls.keys():
                    break
        return calls

    async def _write(self, drafts: Sequence[Draft]) -> str:
        """Count, price and store events in the order of the calls; then summarise what was closed."""
        closed: list[Session[Any]] = []
        async with self._writing:
            home, session = await self._open(creating=self._create or self._is_new)
            if self._infinite_context:
                self._adopt(session := await live_segment(session, home))
            if drafts and _is_prompt(drafts[0].event) and not session.events:
                self._system_prompt = drafts[0].event.message
                await self._save_prompt(home, session)
                drafts = drafts[1:]
            # All at once, or each on its own where any of them may open a new segment.
            for batch in [[draft] for draft in drafts] if self._infinite_context else [drafts]:
                await self._measure(home, session, batch)
                if self._infinite_context and await self._opens_segment(batch[0].event):
                    closed.append(session)
                    session = await self._create_new_segment()
                await home.append(session, [draft.event for draft in batch])
        # Outside the lock: a slow summary holds nobody up, and its callback may use this manager.
        for segment in closed:
            await self._summarise(home, segment)
        return self._session_id

    async def _measure(self, home: Home, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Count and bill the drafts, and refuse what a limit forbids."""

        async def preface_length(model: str) -> int:
            summary, start = await self._background(home, session)
            lengths = [await self._lengths.length(row["content"], model) for row in self._preface(summary)]
            return sum(lengths) + sum(event.token_usage.total_tokens for event in start if event.token_usage)

        await measure(drafts, session.total_tokens, preface_length)
        if self._token_limit is not None or self._cost_limit is not None:
            await self._check_limits(home, session, drafts)

    def _preface(self, summary: str | None) -> list[ChatMessage]:
        """What goes before the messages: the system prompt, and a summary of earlier segments."""
        prompt = self._system_prompt
        texts = [prompt] if prompt and prompt.strip() else []
        if summary:
            texts.append(f"Previous conversation context: {summary}")
        return [{"role": "system", "content": text} for text in texts]

    async def _check_limits(self, home: Home, session: Session[Any], drafts: Sequence[Draft]) -> None:
        segments = await segments_up_to(session, home) if self._infinite_context else [session]
        added = [usage for draft in drafts if (usage := draft.event.token_usage)]
        tokens = sum(usage.total_tokens for usage in added)
        length = sum(segment.total_tokens for segment in segments) + tokens
        if self._token_limit is not None and tokens and length > self._token_limit:
            raise TokenLimitExceeded(self._token_limit, length)
        calls = any(draft.is_call for draft in drafts)
        cost = sum(segment.total_cost for segment in segments)
        cost += sum(usage.estimated_cost_usd or 0.0 for usage in added)
        # A question is refused once the money is spent, so that no further call is made for it.
        is_spent = self._cost_limit is not None and cost >= self._cost_limit > 0 and tokens and not calls
        if self._cost_limit is not None and (cost > self._cost_limit or is_spent):
            text = f"Cost limit exceeded: {cost:.6f} USD of {self._cost_limit} USD"
            raise TokenLimitExceeded(self._cost_limit, cost, text)

    async def _background(
        self, home: Home, session: Session[Any]
    ) -> tuple[str | None, list[SessionEvent[Any]]]:
        if not self._infinite_context:
            return None, []
        return await background_of(session, home, self._summarizer)

    # -- segments -------------------------------------------------------------------------------

    async def _opens_segment(self, event: SessionEvent[Any]) -> bool:
        return event.type is EventType.MESSAGE and await self._should_create_new_segment()

    async def _should_create_new_segment(self) -> bool:
        session = self._session
        return session is not None and is_full(session, self._token_threshold, self._max_turns_per_segment)

    async def _create_new_segment(self) -> Session[Any]:
        """Open the segment after the full one, or find it opened by another writer."""
        home, full = await self._open(creating=False)
        self._adopt(following := await open_next_segment(full, home))
        return following

    async def _create_summary(self, callback: SummaryCallback | None = None) -> str:
        """Summarise the live segment, by a callback or without a model."""
        _, session = await self._current()
        messages = plain_messages(session.events)
        return built_in_summary(messages) if callback is None else await call_summary(callback, messages)

    async def _summarise(self, home: Home, segment: Session[Any]) -> None:
        """Let a closed segment end in its summary; without it, readers make the built-in one themselves."""
        earlier, _ = await self._background(home, segment)
        event = await self._summarizer.summarise(segment, earlier)
        try:
            await home.append(segment, [event])
        except SessionManagerError as problem:  # the message is stored: to raise now would say it is not
            logger.warning("The summary of session %s was not stored: %s", segment.id, type(problem).__name__)


def _is_prompt(event: SessionEvent[Any]) -> bool:
    """Whether an event is a plain system message: what a conversation's prompt is made of."""
    is_system = event.type is EventType.MESSAGE and event.source is EventSource.SYSTEM
    return is_system and isinstance(event.message, str) and bool(event.message.strip())


def _changed_at(session: Session[Any]) -> datetime:
    """When a session was last written to: a first event may be a moment older than its session."""
    return max(session.last_update_time, session.metadata.created_at)


def _said(event: SessionEvent[Any]) -> dict[str, Any]:
    content = content_of(event.message)
    return {
        "role": "user" if event.source is EventSource.USER else "assistant",
        "content": "" if content is None else content,
        "timestamp": event.timestamp.isoformat(),
    }


def _answerer(event: SessionEvent[Any]) -> dict[str, Any]:
    """Who gave an answer; nothing for a message of the user's."""
    if event.source is EventSource.USER:
        return {}
    return {name: event.metadata.get(name, "unknown") for name in ("model", "provider")}
