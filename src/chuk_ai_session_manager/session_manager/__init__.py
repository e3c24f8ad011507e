"""`SessionManager`: an application writes what is said, and reads the messages for the model's next call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

from ..conversation.budgets import Budget, Spending
from ..conversation.callbacks import Done, call
from ..conversation.context.beginning import Beginning
from ..conversation.context.chain import Contexts
from ..conversation.forking import fork
from ..conversation.limits import Allowance, Limits
from ..conversation.notes import Notes
from ..conversation.opening import DEFAULT_MAX_TURNS, DEFAULT_TOKEN_THRESHOLD, Conversation, HeldBy
from ..conversation.order import as_told
from ..conversation.second_thoughts import SecondThoughts
from ..conversation.segments import Thresholds
from ..conversation.summaries import Summarizer, SummaryCallback, noted
from ..conversation.writing import Writer
from ..exceptions import InvalidInput
from ..exceptions.validation import (
    check_at_least,
    check_count,
    check_json_object,
    check_name,
    check_session_id,
    check_text,
)
from ..models.record import new_id
from ..providers.messages import plain_messages
from ..session_storage import ChukSessionsStore, get_backend
from ..stores import SessionStore
from .reading import Reading
from .rethinking import Rethinking
from .writing import Writing

__all__ = ["ChukSessionsStore", "SessionManager", "get_backend"]

logger: logging.Logger = logging.getLogger(__name__)


class SessionManager(Writing, Rethinking, Reading):
    """One conversation: what is said goes in, messages for the model and statistics come out.

    Making one does no I/O; the session is opened, or made, by the first call that needs it. A manager
    may be used by many tasks at once, and by threads with event loops of their own: what it writes is
    stored in the order of the calls. Defaults are the original's, where it had such a setting.

    Args:
        session_id: the session to continue. Writing to an id that is not there makes it, reading is
            `SessionNotFound`. Without one, a new session gets a uuid.
        system_prompt: goes before the messages for the model; kept with the session.
        parent_id: a session that the new one is entered with as a child.
        metadata: JSON values, kept as the new session's `metadata.properties`.
        store: where the session lives; the default store without one. Anything with `get` and `save`.
        infinite_context: continue in a new segment when one is full, its summary going along. This and
            the two thresholds are stored with the conversation: it goes on so for whoever opens it by any
            segment's id, whether they say it again or not.
        token_threshold: content tokens at which a segment is full: by default what the conversation was
            made with, else 4,000.
        max_turns_per_segment: messages at which a segment is full: by default what the conversation was
            made with, else 20.
        user_id: whose session it is, kept as the property "user_id". A session that is stored with
            another user, or without one, is `SessionNotFound` then, in reading and writing.
        model: the model whose tokens are counted and whose prices hold where a call names none.
        create: `False` lets writing to an unknown `session_id` be `SessionNotFound` too.
        token_limit: content tokens of the conversation from which on no model is asked any more; a question
            that would cross the limit is refused too. What was answered is recorded in any case.
        cost_limit: USD that the conversation has cost from which on no model is asked any more. It is known
            after a call what that cost: the last one may cross the limit. With a limit, calls that are not
            streamed are made one after the other.
        budget: what the user may spend, over all their sessions in the store and in all processes; see
            `Budget`. Once that is spent, no model is asked any more.
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
        token_threshold: int = DEFAULT_TOKEN_THRESHOLD,
        max_turns_per_segment: int = DEFAULT_MAX_TURNS,
        *,
        user_id: str | None = None,
        model: str | None = None,
        create: bool = True,
        token_limit: int | None = None,
        cost_limit: float | None = None,
        budget: Budget | None = None,
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
        if budget is not None and user_id is None:
            raise InvalidInput(operation, "a budget is a user's: name the user_id")

        self._model = model
        self._made_with: dict[str, Any] = {
            "store": store,
            "infinite_context": infinite_context,
            "token_threshold": token_threshold,
            "max_turns_per_segment": max_turns_per_segment,
            "user_id": user_id,
            "model": model,
            "token_limit": token_limit,
            "cost_limit": cost_limit,
            "budget": budget,
            "summary_timeout": summary_timeout,
            "summary_max_tokens": summary_max_tokens,
        }
        self._summarizer = Summarizer(summary_callback, summary_timeout, summary_max_tokens)
        self._conversation = Conversation(
            # By name and when it is used, so that an application can swap it.
            lambda: ChukSessionsStore(get_backend()) if store is None else store,
            session_id=session_id,
            system_prompt=system_prompt,
            parent_id=parent_id,
            properties=properties,
            user_id=user_id,
            create=create,
            infinite_context=infinite_context,
            thresholds=Thresholds(token_threshold, max_turns_per_segment),
        )
        self._beginning = Beginning(self._conversation, self._summarizer)
        self._contexts = Contexts()
        self.writer: Writer = Writer(
            self._conversation,
            self._beginning,
            self._contexts,
            model=self.model,
            allowance=Allowance(
                Limits(token_limit, cost_limit),
                None if budget is None else Spending(budget, user_id or "", model),
                self._beginning,
            ),
            summarizer=self._summarizer,
        )
        self._second_thoughts = SecondThoughts(self._conversation, self.writer)

    @property
    def session_id(self) -> str:
        """The session's id; with infinite context, that of the segment now written to."""
        return self._conversation.session_id

    @property
    def conversation_id(self) -> str:
        """The id of the conversation's first segment, which stays the same for life.

        Of a manager that was made with a later segment's id, that id until its first call opened the
        conversation.
        """
        return self._conversation.id

    @property
    def system_prompt(self) -> str | None:
        """The system prompt, if there is one."""
        return self._conversation.system_prompt

    @property
    def is_infinite(self) -> bool:
        """Whether the conversation continues in new segments."""
        return self._conversation.is_infinite

    def __repr__(self) -> str:
        """Say which session it is, and nothing of what was said in it."""
        return f"SessionManager(session_id={self.session_id!r}, infinite_context={self.is_infinite})"

    async def claim(self, user_id: str) -> None:
        """Let a session that was made without a user be this user's, once and for all.

        Claimed again for the same user, it stays as it is.

        Raises:
            InvalidInput: the user's id is no text, or empty.
            InvalidSessionOperation: the session has another owner already.
            SessionNotFound: there is no such session; or it is not that of this manager's `user_id`.
            StorageError: the store could not do it.
        """
        check_name(user_id, "user_id", "claim a session")
        await self._conversation.claim(user_id)

    async def fork(self, at: str | None = None, session_id: str | None = None) -> SessionManager:
        """Begin a new conversation with what was said in this one, up to a message.

        The new one does without this one from then on, and survives its deletion. It begins with copies of
        the messages, which are not billed again. Where this one has infinite context, only the message's
        segment is copied, and a summary tells of all before. Its property `forked_from` says where it came
        from: `conversation_id`, `session_id` and `event_id`. State and properties are copied too.

        Args:
            at: the event of the last message to take over, such as `get_conversation(with_ids=True)` names
                it; by default the last one that holds.
            session_id: the new conversation's id; a uuid by default.

        Returns:
            A manager of the new conversation, with the settings of this one.

        Raises:
            InvalidInput: the conversation has no such message, or it does not hold; nothing was written.
            SessionAlreadyExists: the id is taken.
            SessionNotFound, StorageError: as for `user_says`.
        """
        if at is not None:
            check_name(at, "at", "fork")
        if session_id is not None:
            check_session_id(session_id, "fork")
        if not self._conversation.is_begun:
            raise InvalidInput("fork", "nothing was said yet")
        await self.writer.settle()
        new = session_id or new_id()
        await fork(self._conversation, at, new, self._summarizer)
        return SessionManager(new, summary_callback=self._summarizer.callback, **self._made_with)

    def set_summary_callback(self, callback: SummaryCallback) -> Awaitable[None]:
        """Say who summarises the segments that fill up from now on; may be awaited, or not."""
        self._summarizer.callback = callback
        return Done()

    async def wait_for_summaries(self) -> None:
        """Wait for the summaries that this manager is still making; worth it before a program ends."""
        await self.writer.closing.finish()

    # -- private names that applications and their tests reach into ------------------------------

    _session = HeldBy("_conversation", "session")
    _session_id = HeldBy("_conversation", "session_id")
    _initialized = HeldBy("_conversation", "is_open")
    _is_new = HeldBy("_conversation", "is_new")
    _infinite_context = HeldBy("_conversation", "is_infinite")

    async def _ensure_initialized(self) -> None:
        """Open the session, or make it if this manager made its id."""
        await self._conversation.open_to_read()

    async def _create_summary(self, callback: SummaryCallback | None = None) -> str:
        """Summarise the live segment alone, by a callback or without a model."""
        _, session = await self._conversation.current()
        messages = plain_messages(as_told(session.events))
        return str(await noted(Notes(), messages) if callback is None else await call(callback, messages))
