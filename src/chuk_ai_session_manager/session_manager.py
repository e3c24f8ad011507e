"""The facade: say what was said, and ask what is known of the conversation."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Generator, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from .answers import Answer, read_answer
from .background import Background, Sums, background_of
from .callbacks import call
from .closing import PATIENCE, Closing
from .exceptions import SessionAlreadyExists, SessionNotFound, session_not_found
from .messages import (
    ChatMessage,
    asked_of,
    calls_of,
    check_chat_messages,
    event_of,
    full_messages,
    plain_messages,
    readable_json,
    readable_text,
    speaker,
    text_of,
    tool_message,
)
from .metering import (
    Draft,
    LengthCache,
    Limits,
    bill_estimated,
    count,
    described,
    draft_answer,
    draft_question,
)
from .models import EventSource, EventType, Session, SessionEvent, SessionMetadata
from .models.record import utc_now
from .models.session import HomeStore
from .models.session_event import content_of
from .models.token_usage import usd
from .notes import Notes
from .segments import (
    append,
    append_to_live,
    chain_of,
    create_session,
    is_full,
    latest,
    live_segment,
    read_all,
    segments_before,
)
from .session_prompt_builder import truncate_prompt_to_token_limit
from .session_storage import ChukSessionsStore, event_store, get_backend
from .stores import SessionStore
from .stores.base import is_segment_after
from .summaries import Summarizer, SummaryCallback, context_row, noted
from .tokens import DEFAULT_MODEL
from .usage import read_usage
from .validation import (
    check_answer,
    check_at_least,
    check_count,
    check_json_object,
    check_name,
    check_session_id,
    check_text,
    copied,
)

__all__ = ["ChukSessionsStore", "SessionManager", "get_backend"]

logger = logging.getLogger(__name__)

# How far back a tool result's call is looked for: results follow their calls closely.
_SEGMENTS_SEARCHED = 3
_EVENTS_SEARCHED = 1_000

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
        summary_callback: makes the summary when a segment is full, of the summary so far and the messages
            since; sync or async. It gives a text, or a model's response, whose usage is billed to the
            conversation.
        summary_timeout: seconds that the callback has, before the built-in summary steps in. The message
            that opens the new segment waits up to 2 seconds for it (with it, what it was added together
            with); until it is there, the built-in one stands in.
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
        properties = {} if metadata is None else check_json_object(metadata, "metadata", operation)
        check_count(token_threshold, 1, "token_threshold", operation)
        check_count(max_turns_per_segment, 1, "max_turns_per_segment", operation)
        check_count(summary_max_tokens, 1, "summary_max_tokens", operation)
        check_at_least(summary_timeout, 0, "summary_timeout", operation)
        if token_limit is not None:
            check_count(token_limit, 1, "token_limit", operation)
        if cost_limit is not None:
            check_at_least(cost_limit, 0, "cost_limit", operation)

        self._session_id = session_id or str(uuid4())
        self._is_new = session_id is None  # an id made here is no unknown one
        self._system_prompt = system_prompt
        self._parent_id = parent_id
        self._properties = properties | ({} if user_id is None else {"user_id": user_id})
        self._given_store = store
        self._infinite_context = infinite_context
        self._token_threshold = token_threshold
        self._max_turns_per_segment = max_turns_per_segment
        self._model = model
        self._create = create
        self._limits = Limits(token_limit, cost_limit)
        self._summarizer = Summarizer(summary_callback, summary_timeout, summary_max_tokens)
        self._closing = Closing(self._summarizer)

        self._home: HomeStore
        self._session: Session[Any] | None = None
        self._initialized = False
        self._was_made = False
        # A prompt that was given here holds until it is stored; after that the stored one does.
        self._prompt_is_own = system_prompt is not None
        self._prompt_is_unsaved = False
        # asyncio's locks are fair, so that waiting writers go in the order of their calls.
        self._writing = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._lengths = LengthCache()
        # The live segment's id, and what it goes on from once that is final.
        self._known_background: tuple[str, Background] | None = None
        self.is_asked: set[str] = set()
        """Questions that a model is just answering, by their events' ids."""

    @property
    def session_id(self) -> str:
        """The session's id; with infinite context, that of the segment now written to."""
        return self._session_id

    @property
    def system_prompt(self) -> str | None:
        """The system prompt, if there is one."""
        return self._system_prompt

    @property
    def model(self) -> str:
        """The model whose tokens are counted where a call names none."""
        return self._model or DEFAULT_MODEL

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
        metadata = check_json_object(metadata, "metadata", "user_says")
        return await self.record([draft_question(message, self.model, metadata)])

    async def ai_responds(
        self,
        response: object,
        model: str = "unknown",
        provider: str = "unknown",
        usage: object | None = None,
        **metadata: Any,
    ) -> str:
        """Record what the model answered, and what the call was billed for.

        Args:
            response: the answer: a text; or a response as its SDK or API gives it (OpenAI, Anthropic,
                Google, LiteLLM), of which text, tool calls, model, finish reason and usage are taken.
            model: the model that gave it, where the response does not say it; by default the manager's.
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
        answer = read_answer(response)
        check_answer(answer.text, model, provider, "ai_responds")
        metadata = check_json_object(metadata, "metadata", "ai_responds")
        if usage is not None:
            answer.usage = read_usage(usage)
        return await self.record([self.draft_answer(answer, model, provider, metadata)])

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
        metadata = check_json_object(metadata, "metadata", "tool_used")
        if tool_call_id is not None:
            check_name(tool_call_id, "tool_call_id", "tool_used")
            metadata["tool_call_id"] = tool_call_id
        failure = None if error is None else readable_text(error)
        event: SessionEvent[Any] = SessionEvent(
            message=tool_message(tool_name, readable_json(arguments), readable_json(result), failure),
            source=EventSource.SYSTEM,
            type=EventType.TOOL_CALL,
            metadata=metadata,
        )
        return await self.record([Draft(event, None, "")])

    async def add_messages(
        self, messages: Sequence[ChatMessage], *, model: str = "unknown", provider: str = "unknown"
    ) -> str:
        """Record a list of OpenAI chat messages: system, user, assistant (with `tool_calls`), tool.

        `get_messages_for_llm(include_tools=True)` gives them back equal. A system message that begins
        a conversation becomes its system prompt, also where the manager was given another. Each
        assistant message counts as one call of `model`. With infinite context, the messages before
        the one that `cost_limit` refuses are kept.

        Returns:
            The id of the session that the last one was written to.

        Raises:
            InvalidInput: a message that is no such message; it says which. Nothing was written.
            TokenLimitExceeded, SessionNotFound, StorageError: as for `user_says`.
        """
        check_answer("", model, provider, "add_messages")
        rows = check_chat_messages(messages, "add_messages")
        return await self.record(self._drafts_of(rows, self._model_of(model), provider))

    def _drafts_of(self, rows: Sequence[ChatMessage], model: str, provider: str) -> list[Draft]:
        calls: dict[str, ChatMessage] = {}
        drafts = []
        for row in rows:
            event = event_of(row, calls)
            is_answer = row["role"] == "assistant"
            if is_answer:
                event.metadata |= described(model, provider)
                calls |= {call["id"]: call for call in calls_of(row)}
            counting_model = DEFAULT_MODEL if model == "unknown" and not is_answer else model
            drafts.append(Draft(event, text_of(row), counting_model, provider, is_call=is_answer))
        return drafts

    async def add_new_messages(self, messages: Sequence[ChatMessage]) -> str | None:
        """Record those of a request's messages that were not said since the model's last answer.

        A system message is recorded only where it begins the conversation. What other requests ask that
        are still being answered counts as not said: `is_asked` notes those.

        Returns:
            The id of the last one's event, recorded now or before; `None` where there is none.

        Raises:
            InvalidInput, TokenLimitExceeded, SessionNotFound, StorageError: as for `add_messages`.
        """
        rows = check_chat_messages(messages, "record a request")
        closings: list[asyncio.Task[None]] = []
        async with self._writing:
            waiting, has_begun = await self._unanswered()
            known = [_said_in(row) for row in full_messages(waiting)]
            new = []
            for row in rows:
                said = _said_in(row)
                if said in known:
                    known.remove(said)
                elif not (has_begun and row["role"] in {"system", "developer"}):
                    new.append(row)
            drafts = self._drafts_of(new, self.model, "unknown")
            if drafts:
                await self._record(drafts, closings)
            last = [*waiting, *(draft.event for draft in drafts)][-1:]
            asked = last[0].id if last else None
            if asked is not None:
                self.is_asked.add(asked)
        if closings:
            await self._closing.wait(closings, _in(PATIENCE))
        return asked

    async def _unanswered(self) -> tuple[list[SessionEvent[Any]], bool]:
        """What was said since the model's last answer, and whether anything was said at all."""
        if self._is_new and not self._initialized:
            return [], False
        try:
            home, session = await self._current()
        except SessionNotFound:
            return [], False
        background = await self._background_of(home, session)
        events = [*background.start, *session.events]
        answered = [at for at, event in enumerate(events) if event.source == EventSource.LLM]
        waiting = events[answered[-1] + 1 if answered else 0 :]
        has_begun = bool(session.totals.events or session.parent_id)
        return [event for event in waiting if event.id not in self.is_asked], has_begun

    def draft_answer(
        self,
        answer: Answer,
        model: str,
        provider: str,
        metadata: dict[str, Any] | None = None,
        *,
        parent_event_id: str | None = None,
    ) -> Draft:
        """An answer made ready for `record`: what it says of itself holds, then what was named."""
        named = answer.model or self._model_of(model)
        if provider == "unknown":
            provider = answer.provider or provider
        return draft_answer(answer, named, provider, metadata, parent_event_id=parent_event_id)

    def _model_of(self, named: str) -> str:
        """The model that a call names, or else the manager's."""
        return self._model if self._model and named == "unknown" else named

    async def update_system_prompt(self, prompt: str) -> None:
        """Set the system prompt, and keep it with the session.

        Raises:
            InvalidInput: the prompt is not text.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_text(prompt, "prompt", "update_system_prompt")
        self._system_prompt, self._prompt_is_own = prompt, True
        if not self._initialized:
            self._prompt_is_unsaved = True  # stored when the session is opened
            return
        async with self._writing:
            home, session = await self._current()
            await self._save_prompt(home, session, prompt)

    def set_summary_callback(self, callback: SummaryCallback) -> Awaitable[None]:
        """Say who summarises a full segment; may be awaited, or not."""
        self._summarizer.callback = callback
        return _Done()

    async def wait_for_summaries(self) -> None:
        """Wait for the summaries that this manager is still making; worth it before a program ends."""
        await self._closing.finish()

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
        background = await self._background_of(home, session)
        events = [*background.start, *session.events]
        rows = self._preface(background) if include_system else []
        rows += (
            full_messages(events, include_system=include_system) if include_tools else plain_messages(events)
        )
        if max_tokens is None:
            return rows
        return await truncate_prompt_to_token_limit(rows, max_tokens, model or self._model or DEFAULT_MODEL)

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
            return [_said(event) for event in session.events if event.type == EventType.MESSAGE]
        return [
            _said(event) | {"session_id": segment.id} | _answerer(event)
            async for segment in read_all(await chain_of(session, home), home.get)
            for event in segment.events
            if event.type == EventType.MESSAGE
        ]

    async def get_session_chain(self) -> list[str]:
        """The ids of the conversation's segments, the first one first; none before anything was written."""
        if not self._infinite_context:
            return [self._session_id]
        if self._is_new and not self._initialized:
            return []
        home, session = await self._current(with_events=False)
        return await chain_of(session, home)

    async def load_session_chain(self) -> None:
        """Open the conversation now; any other call does it too."""
        if self._infinite_context:
            await self._current(with_events=False)

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
        home, session = await self._current(with_events=False)
        chain = await chain_of(session, home) if self._infinite_context else [session.id]
        covers_all = self._covers_all(include_all_segments)
        sums = Sums.of(session)
        if covers_all:
            sums = (await self._background_of(home, session)).sums + sums
        counted = sums.totals.as_dict()
        stats: dict[str, Any] = {
            "session_id": session.id,
            "session_segments": len(chain),
            "total_messages": sums.totals.user_messages + sums.totals.ai_messages,
            "total_events": sums.totals.events,
            "total_tokens": sums.tokens,
            "estimated_cost": usd(sums.cost),
            "usage_source": sums.totals.usage_source,
            "created_at": sums.created_at.isoformat() if sums.created_at else None,
            "last_update": sums.last_update.isoformat() if sums.last_update else None,
            "infinite_context": self._infinite_context,
        }
        stats |= {name: counted[name] for name in _STATS_TOTALS}
        return stats | ({"session_chain": chain} if covers_all else {})

    def _covers_all(self, include_all_segments: bool | None) -> bool:
        return self._infinite_context and include_all_segments is not False

    # -- opening --------------------------------------------------------------------------------

    async def _ensure_initialized(self) -> None:
        """Open the session, or make it if this manager made its id."""
        await self._open(creating=self._is_new)

    async def _current(self, *, with_events: bool = True) -> tuple[HomeStore, Session[Any]]:
        """The store, and the session as it is stored now."""
        home, session = await self._open(creating=self._is_new)
        session = await latest(session, home, with_events=with_events)
        if self._infinite_context:
            live = await live_segment(session, home)
            if live is not session:
                session = await latest(live, home, with_events=with_events)
        self._adopt(session)
        return home, session

    async def _open(self, *, creating: bool) -> tuple[HomeStore, Session[Any]]:
        if self._session is None or not self._initialized:
            async with self._opening:
                if self._session is None or not self._initialized:
                    self._adopt(await self._find_or_create(creating=creating))
                    self._initialized = True
        assert self._session is not None  # noqa: S101  (adopted above; tells mypy)
        return self._home, self._session

    async def _find_or_create(self, *, creating: bool) -> Session[Any]:
        # By name and now, so that an application can swap the default store.
        store = ChukSessionsStore(get_backend()) if self._given_store is None else self._given_store
        self._home = event_store(store)
        session = await self._find() if self._was_made or not self._is_new else None
        if session is None and creating:
            try:
                session = await self._make()
            except SessionAlreadyExists:  # by another writer, meanwhile
                session = await self._find()
        if session is None:
            raise session_not_found(self._session_id)
        if self._prompt_is_unsaved and self._system_prompt is not None:
            await self._save_prompt(self._home, session, self._system_prompt)
        return session

    async def _find(self) -> Session[Any] | None:
        stored = await self._home.head(self._session_id)
        if stored is None or not self._infinite_context:
            return stored
        return await live_segment(stored, self._home)

    async def _make(self) -> Session[Any]:
        prompt = self._prompt_property()
        session = await create_session(
            self._home,
            session_id=self._session_id,
            parent_id=self._parent_id,
            metadata=SessionMetadata(properties=self._properties | prompt),
        )
        self._was_made = True
        # Not if it was updated meanwhile, or an application's own `Session.create` left the properties out.
        if prompt.items() <= session.metadata.properties.items() and prompt == self._prompt_property():
            self._prompt_is_own = self._prompt_is_unsaved = False
        return session

    def _prompt_property(self) -> dict[str, str]:
        return {} if self._system_prompt is None else {"system_prompt": self._system_prompt}

    def _adopt(self, session: Session[Any]) -> None:
        self._session = session
        self._session_id = session.id
        if not self._prompt_is_own:
            self._system_prompt = session.metadata.properties.get("system_prompt")

    async def _save_prompt(self, home: HomeStore, session: Session[Any], prompt: str) -> None:
        def change(stored: Session[Any]) -> None:
            stored.metadata.properties["system_prompt"] = prompt
            stored.metadata.updated_at = utc_now()

        await home.update(session, change)
        self._system_prompt = prompt
        self._prompt_is_own = self._prompt_is_unsaved = False

    # -- writing, behind the scenes -------------------------------------------------------------

    async def record(self, drafts: Sequence[Draft]) -> str:
        """Count, price and store events that were made ready, in the order of the calls.

        Returns:
            The id of the session that the last one was written to.

        Raises:
            TokenLimitExceeded, SessionNotFound, StorageError: as for `user_says`.
        """
        closings: list[asyncio.Task[None]] = []
        async with self._writing:
            until, session_id = await self._record(drafts, closings)
        if closings:  # outside the lock: this holds up nobody else
            await self._closing.wait(closings, min(until, _in(PATIENCE)))
        return session_id

    async def _record(self, drafts: Sequence[Draft], closings: list[asyncio.Task[None]]) -> tuple[float, str]:
        """The same, with the lock held; until when summaries may be waited for, and the session's id."""
        until = math.inf
        await count(drafts)
        await self._check_alone(drafts)
        home, session = await self._open(creating=self._create or self._is_new)
        drafts = await self._keep_prompt(home, session, drafts)
        await self._find_calls(home, session, drafts)
        # All at once, or each on its own where any of them may open a new segment.
        for batch in [[draft] for draft in drafts] if self._infinite_context else [drafts]:
            if closings:  # else what follows would be estimated of all that is not summarised yet
                until = min(until, _in(PATIENCE))
                await self._closing.wait(closings, until)
            session = await self._append(home, session, batch, closings)
        self._adopt(session)
        return until, session.id

    async def _keep_prompt(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> Sequence[Draft]:
        """Take the system message that begins a conversation as its prompt; what is left to be written."""
        rest, prompt = _without_prompt(drafts)
        await self._check_limits(home, session, rest)  # of all at once, before any is written
        if prompt is None:
            return drafts
        session = await latest(session, home, with_events=False)
        if session.totals.events or is_segment_after(session, session.parent_id):
            return drafts
        await self._save_prompt(home, session, prompt)
        return rest

    async def _append(
        self,
        home: HomeStore,
        session: Session[Any],
        drafts: Sequence[Draft],
        closings: list[asyncio.Task[None]],
    ) -> Session[Any]:
        """Store drafts, in a new segment where the live one is full; hand back the one they are in."""
        events = [draft.event for draft in drafts]
        if self._infinite_context:
            has_message = events[0].type == EventType.MESSAGE

            async def is_over(live: Session[Any]) -> bool:
                return has_message and is_full(live, self._token_threshold, self._max_turns_per_segment)

            return await append_to_live(
                session,
                events,
                home,
                is_full=is_over,
                on_closed=lambda closed: closings.append(self._closing.start(closed, home)),
                prepare=lambda live: self._bill(home, live, drafts),
            )
        while True:
            await self._bill(home, session, drafts)
            # Within the limits by what is stored: others must not write in between.
            was_stored, session = await append(session, events, home, only_if_current=bool(self._limits))
            if was_stored:
                return session

    async def _check_alone(self, drafts: Sequence[Draft]) -> None:
        """Refuse what not even an empty conversation could hold, before one is made for it."""
        if not self._limits:
            return
        rest, prompt = _without_prompt(drafts)
        prompt = prompt or self._system_prompt or ""

        async def prompt_length(model: str) -> int:
            return await self._lengths.length(prompt, model)

        await bill_estimated(rest, 0, prompt_length)
        self._limits.check(0, 0.0, rest)

    async def _find_calls(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Let tool results that came without their calls know what was asked, as recorded before."""
        results = {
            draft.event.metadata["tool_call_id"]: draft.event.message
            for draft in drafts
            if draft.text is not None and draft.event.type == EventType.TOOL_CALL
        }
        waiting = {call_id for call_id, message in results.items() if message["arguments"] is None}
        if not waiting:
            return
        segment: Session[Any] | None = await latest(session, home)
        earlier = segments_before(session, home)
        for _ in range(_SEGMENTS_SEARCHED if self._infinite_context else 1):
            if segment is None or not waiting:
                return
            for event in reversed(segment.events[-_EVENTS_SEARCHED:]):
                for made in calls_of(event.message):
                    if made.get("id") in waiting:
                        waiting.discard(made["id"])
                        results[made["id"]].update(asked_of(made))
            segment = await anext(earlier, None)

    async def _bill(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Estimate the calls that no provider reported, and refuse what costs too much."""

        async def preface_length(model: str) -> int:
            background = await self._background_of(home, session)
            rows = self._preface(background)
            lengths = [await self._lengths.length(row["content"], model) for row in rows]
            usages = [event.token_usage for event in background.start if event.token_usage]
            return sum(lengths) + sum(usage.total_tokens for usage in usages)

        await bill_estimated(drafts, session.total_tokens, preface_length)
        await self._check_limits(home, session, drafts)

    async def _check_limits(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        if not self._limits:
            return
        sums = (await self._background_of(home, session)).sums + Sums.of(session)
        self._limits.check(sums.tokens, sums.cost, drafts)

    def _preface(self, background: Background) -> list[ChatMessage]:
        """What goes before the messages: the system prompt, and a summary of earlier segments."""
        prompt = self._system_prompt
        texts = [prompt] if prompt and prompt.strip() else []
        rows: list[ChatMessage] = [{"role": "system", "content": text} for text in texts]
        return rows + ([context_row(str(background.notes))] if background.notes else [])

    async def _background_of(self, home: HomeStore, session: Session[Any]) -> Background:
        """What a segment goes on from; what a closed one ends in stays, and is read once."""
        if not self._infinite_context or session.parent_id is None:
            return Background()
        if self._known_background is not None and self._known_background[0] == session.id:
            return self._known_background[1]
        if len(session.events) < session.totals.events:  # only opened for writing so far
            session = await latest(session, home)
        found = await background_of(session, home)
        background = replace(found, notes=await self._summarizer.within(found.notes))
        # A session without events may yet begin with an answer.
        if background.summary is not None and session.events:
            self._known_background = session.id, background
        return background

    # -- segments -------------------------------------------------------------------------------

    async def _create_summary(self, callback: SummaryCallback | None = None) -> str:
        """Summarise the live segment alone, by a callback or without a model."""
        _, session = await self._current()
        messages = plain_messages(session.events)
        return str(await noted(Notes(), messages) if callback is None else await call(callback, messages))


def _in(seconds: float) -> float:
    """The time of the event loop's clock in so many seconds."""
    return asyncio.get_running_loop().time() + seconds


def _said_in(row: ChatMessage) -> tuple[str, str]:
    """What tells whether a row was said before: a result by its call, all else by its text."""
    return row["role"], row["tool_call_id"] if row["role"] == "tool" else text_of(row)


def _without_prompt(drafts: Sequence[Draft]) -> tuple[Sequence[Draft], str | None]:
    """Take the plain system message that begins a conversation out of its messages: it is the prompt."""
    first = drafts[0].event if drafts else None
    if first is None or first.type != EventType.MESSAGE or first.source != EventSource.SYSTEM:
        return drafts, None
    is_prompt = isinstance(first.message, str) and first.message.strip()
    return (drafts[1:], first.message) if is_prompt else (drafts, None)


def _said(event: SessionEvent[Any]) -> dict[str, Any]:
    content = content_of(event.message)
    return {
        "role": speaker(event),
        "content": "" if content is None else copied(content),
        "timestamp": event.timestamp.isoformat(),
    }


def _answerer(event: SessionEvent[Any]) -> dict[str, Any]:
    """Who gave an answer; nothing for a message of the user's."""
    if event.source == EventSource.USER:
        return {}
    return {name: event.metadata.get(name, "unknown") for name in ("model", "provider")}
