"""A conversation in its store: opened or made, written to in order, continued in new segments."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..accounts.tokens import DEFAULT_MODEL
from ..exceptions import SessionAlreadyExists, SessionNotFound, session_not_found
from ..models import EventSource, EventType, Session, SessionEvent, SessionMetadata
from ..models.record import new_id, utc_now
from ..models.session import HomeStore
from ..providers.messages import (
    SYSTEM_ROLES,
    ChatMessage,
    asked_of,
    calls_of,
    check_chat_messages,
    full_messages,
    text_of,
)
from ..session_storage import event_store
from ..stores import SessionStore
from ..stores.base import is_segment_after
from .background import NO_BACKGROUND, Background, Sums, background_of
from .billing import Draft, LengthCache, Limits, bill_estimated, count, draft_rows
from .closing import PATIENCE, Closing
from .segments import (
    append,
    append_to_live,
    create_session,
    has_reached,
    latest,
    live_segment,
    segments_before,
)
from .summaries import Summarizer, context_row

# How far back a tool result's call is looked for: results follow their calls closely.
_SEGMENTS_SEARCHED = 3
_EVENTS_SEARCHED = 1_000


class Conversation(ABC):
    """What a manager stands on: the session that it is about, and how events get into it.

    Args:
        session_id: the session to continue; a new one without it.
        system_prompt: goes before the messages for the model.
        parent_id: a session that a new one is entered with as a child.
        properties: of a new session.
        store: where the session lives; the default store without one.
        model: the model where a call names none.
        create: whether writing to an unknown `session_id` makes it.
        limits: the most that the conversation may be, and cost.
        infinite_context: whether the conversation goes on in a new segment when one is full.
        token_threshold: content tokens at which a segment is full.
        max_turns_per_segment: messages at which a segment is full.
        summarizer: makes the summaries of full segments.
    """

    def __init__(
        self,
        *,
        session_id: str | None,
        system_prompt: str | None,
        parent_id: str | None,
        properties: dict[str, Any],
        store: SessionStore | None,
        model: str | None,
        create: bool,
        limits: Limits,
        infinite_context: bool,
        token_threshold: int,
        max_turns_per_segment: int,
        summarizer: Summarizer,
    ) -> None:
        self._session_id = session_id or new_id()
        self._is_new = session_id is None  # an id made here is no unknown one
        self._system_prompt = system_prompt
        self._parent_id = parent_id
        self._properties = properties
        self._given_store = store
        self._infinite_context = infinite_context
        self._token_threshold = token_threshold
        self._max_turns_per_segment = max_turns_per_segment
        self._model = model
        self._create = create
        self._limits = limits
        self._summarizer = summarizer
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

    @abstractmethod
    def _default_store(self) -> SessionStore:
        """Where the session lives if no store was given, as of now."""

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
        self._home = event_store(self._default_store() if self._given_store is None else self._given_store)
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
        if self._limits:
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
                elif not (has_begun and row["role"] in SYSTEM_ROLES):
                    new.append(row)
            drafts = draft_rows(new, self.model)
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
        said = [event for event in waiting if event.type in {EventType.MESSAGE, EventType.TOOL_CALL}]
        return [event for event in said if event.id not in self.is_asked], _has_begun(session)

    async def _keep_prompt(
        self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]
    ) -> Sequence[Draft]:
        """Take the system message that begins a conversation as its prompt; what is left to be written."""
        rest, prompt = _without_prompt(drafts)
        if self._limits:
            await self._check_limits(home, session, rest)  # of all at once, before any is written
        if prompt is None:
            return drafts
        session = await latest(session, home, with_events=False)
        if _has_begun(session):
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
                return has_message and has_reached(live, self._token_threshold, self._max_turns_per_segment)

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

        if any(draft.is_to_be_estimated for draft in drafts):
            await bill_estimated(drafts, session.total_tokens, preface_length)
        if self._limits:
            await self._check_limits(home, session, drafts)

    async def _check_limits(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
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
            return NO_BACKGROUND
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


def _in(seconds: float) -> float:
    """The time of the event loop's clock in so many seconds."""
    return asyncio.get_running_loop().time() + seconds


def _has_begun(session: Session[Any]) -> bool:
    """Whether anything was said in a session's conversation."""
    return bool(session.totals.events) or is_segment_after(session, session.parent_id)


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
