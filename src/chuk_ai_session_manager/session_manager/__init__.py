"""`SessionManager`: an application records messages, and gets the messages for the next model call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from hashlib import blake2b
from typing import Any, Self

from ..conversation.budgets import Budget, Spending
from ..conversation.callbacks import Done, call
from ..conversation.context.beginning import Beginning
from ..conversation.context.chain import Contexts
from ..conversation.count_corrections import Corrections
from ..conversation.forking import fork
from ..conversation.limits import Allowance, Limits
from ..conversation.notes import Notes
from ..conversation.opening import DEFAULT_MAX_TURNS, DEFAULT_TOKEN_THRESHOLD, Conversation, HeldBy
from ..conversation.order import as_told
from ..conversation.pinned_turns import PinnedTurns
from ..conversation.pins import Pins
from ..conversation.recall.finding import Finder
from ..conversation.recall.hooks import Embedder, Hooks, Reranker
from ..conversation.recall.languages import Stem
from ..conversation.redacting import Redacting
from ..conversation.second_thoughts import SecondThoughts
from ..conversation.segments import Thresholds
from ..conversation.summaries import Summarizer, SummaryCallback, noted
from ..conversation.writing import Writer
from ..exceptions import InvalidInput
from ..exceptions.validation import (
    check_at_least,
    check_callable,
    check_count,
    check_flag,
    check_json_object,
    check_name,
    check_session_id,
    check_text,
)
from ..models.record import new_id
from ..providers.messages import plain_messages
from ..session_storage import ChukSessionsStore, get_backend
from ..stores import SessionStore
from ..stores.redaction import RedactHook, checked_hook
from ..stores.whole_sessions import check_store
from .reading import Reading
from .recalling import Recalling
from .rethinking import Rethinking
from .writing import Writing

__all__ = ["ChukSessionsStore", "SessionManager", "get_backend"]

logger: logging.Logger = logging.getLogger(__name__)


class SessionManager(Writing, Rethinking, Reading, Recalling):
    """One conversation: record messages, get the messages for the next model call, and read statistics.

    Creating a manager does no I/O; the first call that needs the session opens or creates it. Many tasks,
    and threads with event loops of their own, may use one manager at once: messages are stored in the
    order of the calls. Settings that the original had too have the original's defaults.

    Args:
        session_id: the session to continue. Writing to an unknown id creates the session; reading it
            raises `SessionNotFound`. Without an id, the new session gets a uuid.
        system_prompt: the first message of every context; stored with the session.
        parent_id: an existing session. The new session is entered as its child.
        metadata: JSON values; the `metadata.properties` of the new session.
        store: where the session lives: any object with `get` and `save`; by default, the default store.
        infinite_context: continue in a new segment when a segment is full, and summarise the full one.
            This and the two thresholds are stored with the conversation: they also apply when somebody
            opens the conversation by any segment's id without naming them.
        token_threshold: content tokens at which a segment is full. A stored conversation keeps its own
            threshold, unless you name one; the default for a new one is 4,000.
        max_turns_per_segment: messages at which a segment is full. A stored conversation keeps its own
            threshold, unless you name one; the default for a new one is 20.
        user_id: the session's user, stored as the property "user_id". With it, reading or writing a session
            of another user, or without a user, raises `SessionNotFound`.
        model: the model for token counts and prices when a call does not name one.
        create: `False` makes writing to an unknown `session_id` raise `SessionNotFound` too.
        token_limit: the most content tokens of the conversation. When they are reached, and for a question
            that would exceed them, `TokenLimitExceeded` is raised. Answers are always recorded.
        cost_limit: the most USD that the conversation may cost; then the next question raises
            `TokenLimitExceeded`. The cost of a call is known only afterwards, so the last call may exceed
            the limit. With a limit, calls that do not stream are made one after the other.
        budget: what the user may spend, in all their sessions in the store and in all processes: see
            `Budget`. When it is spent, the next question raises `TokenLimitExceeded`.
        summary_callback: makes the summary of a full segment; sync or async. It gets the previous summary
            and the messages since, and returns a text, or a model's response, whose usage is billed to the
            conversation.
        summary_timeout: seconds that the callback may take; then the built-in summary is used. The call
            that opens the new segment waits for the callback up to 2 seconds, and so do calls that were
            recorded together with it. Until the callback's summary is there, the built-in one is used.
        summary_max_tokens: the most tokens of the summary of all earlier segments.
        correct_counts: whether to correct the limits of contexts, and estimated bills, by the token counts
            that providers report: if a provider counts 1.3 tokens for each token counted here, contexts get
            shorter. The correction is the median of a model's last reports. Content tokens and reported bills
            are never corrected.
        recall_tokens: adds up to so many tokens of earlier turns, which may answer the user's last message,
            to each context of `get_messages_for_llm` (see its `recall`). Useful with infinite context.
        embedder: lets recall compare meanings too: a function that gets a list of texts and returns a vector
            for each; sync or async. Each message is embedded once in a process, when it is first searched. If
            the function fails, or takes more than 30 seconds, only the words decide, as without an embedder.
        reranker: orders the best 50 passages of a recall: a function that gets the question and a list of
            texts, and returns a number for each, higher for better ones; sync or async. If it fails, the
            order does not change.
        stemmer: for recall, a function that returns the stem of a word in lower case; or the language of the
            conversation ("german", "de"). By default, the commonest words of a text tell its language.
        redact: a function that gets each text before it is written (messages, parts, native forms,
            arguments and results of tools, metadata, summaries), and returns the text to store; sync or
            async. If it raises, the call raises `InvalidInput`, and nothing is written. It applies only to
            writes through this manager; to apply it to all writes, pass it to the store (`open_store`).

    Raises:
        InvalidInput: an argument is invalid; nothing was done.
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
        recall_tokens: int | None = None,
        correct_counts: bool = True,
        embedder: Embedder | None = None,
        reranker: Reranker | None = None,
        stemmer: Stem | str | None = None,
        redact: RedactHook | None = None,
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
        check_flag(create, "create", operation)
        check_flag(correct_counts, "correct_counts", operation)
        if recall_tokens is not None:
            check_count(recall_tokens, 1, "recall_tokens", operation)
        if token_limit is not None:
            check_count(token_limit, 1, "token_limit", operation)
        if cost_limit is not None:
            check_at_least(cost_limit, 0, "cost_limit", operation)
        check_store(store, operation)
        _check_callback(summary_callback, "summary_callback", operation)
        if budget is not None and user_id is None:
            raise InvalidInput(operation, "a budget belongs to a user: pass user_id too")

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
            "recall_tokens": recall_tokens,
            "correct_counts": correct_counts,
            "embedder": embedder,
            "reranker": reranker,
            "stemmer": stemmer,
            "redact": redact,
        }
        self._recall_tokens = recall_tokens
        hooks = Hooks(embedder, reranker, stemmer)
        hooks.check(operation)
        self._finder = Finder(hooks)
        self._summarizer = Summarizer(
            summary_callback, summary_timeout, summary_max_tokens, redact=checked_hook(redact, operation)
        )
        self._conversation = Conversation(
            # Looked up by name when it is used, so that an application can replace it.
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
        self._corrections = Corrections(is_on=correct_counts)
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
            pins=Pins(self._conversation, token_limit),
            corrections=self._corrections,
            redact=redact,
        )
        self._pinned = PinnedTurns()
        self._second_thoughts = SecondThoughts(self._conversation, self.writer)
        self._redacting = Redacting(self._conversation, self.writer, self._summarizer)

    @property
    def session_id(self) -> str:
        """The session's id; with infinite context, the id of the live segment."""
        return self._conversation.session_id

    @property
    def conversation_id(self) -> str:
        """The id of the conversation's first segment, which never changes.

        If the manager was created with a later segment's id, this is that id until the first call opens
        the conversation.
        """
        return self._conversation.id

    @property
    def prompt_cache_key(self) -> str:
        """The value to send to OpenAI as `prompt_cache_key`: requests with the same key use the same cache.

        It never changes, is the same in every process, and does not reveal the conversation's id. If the
        manager was created with a later segment's id, the key is known after the first call.
        """
        return blake2b(self._conversation.id.encode(), digest_size=16).hexdigest()

    @property
    def system_prompt(self) -> str | None:
        """The system prompt, if there is one."""
        return self._conversation.system_prompt

    @property
    def is_infinite(self) -> bool:
        """Whether the conversation continues in new segments."""
        return self._conversation.is_infinite

    def __repr__(self) -> str:
        """Name the session, without any of its content."""
        return f"SessionManager(session_id={self.session_id!r}, infinite_context={self.is_infinite})"

    async def claim(self, user_id: str) -> None:
        """Make this user the owner of a session that was created without a user. The owner cannot change.

        Claiming a session again for the same user changes nothing.

        Raises:
            InvalidInput: the user's id is not a text, or is empty.
            InvalidSessionOperation: the session belongs to another user.
            SessionNotFound: the session does not exist, or does not belong to this manager's `user_id`.
            StorageError: the store failed.
        """
        check_name(user_id, "user_id", "claim a session")
        await self._conversation.claim(user_id)

    async def fork(self, at: str | None = None, session_id: str | None = None) -> SessionManager:
        """Begin a new conversation with the messages of this one, up to a certain message.

        The new conversation does not depend on this one, which may be deleted. It begins with copies of
        the messages, which are not billed again. If this conversation has infinite context, only the
        message's segment is copied; a summary represents everything before. The property `forked_from`
        names the original: `conversation_id`, `session_id` and `event_id`. State and properties are copied
        too.

        Args:
            at: the event id of the last message to copy, from `get_conversation(with_ids=True)`; by
                default, the last message of the path.
            session_id: the new conversation's id; by default a uuid.

        Returns:
            A manager of the new conversation, with the settings of this one.

        Raises:
            InvalidInput: the conversation has no such message, or the message is not on the path; nothing
                was written.
            SessionAlreadyExists: the new id is taken.
            SessionNotFound, StorageError: as for `user_says`.
        """
        if at is not None:
            check_name(at, "at", "fork")
        if session_id is not None:
            check_session_id(session_id, "fork")
        if not self._conversation.is_begun:
            raise InvalidInput("fork", "the conversation has no message yet")
        await self.writer.settle()
        new = session_id or new_id()
        await fork(self._conversation, at, new, self._summarizer)
        return SessionManager(new, summary_callback=self._summarizer.callback, **self._made_with)

    async def __aenter__(self) -> Self:
        """Use the manager in a block, which waits for running summaries at its end."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for the summaries that this manager is making, unless the block was cancelled."""
        if kind is None or issubclass(kind, Exception):
            await self.writer.settle()
            await self.wait_for_summaries()

    def set_summary_callback(self, callback: SummaryCallback) -> Awaitable[None]:
        """Set the function that summarises the segments that fill up from now on. Awaiting it is optional.

        Raises:
            InvalidInput: it is no function.
        """
        _check_callback(callback, "callback", "set_summary_callback")
        self._summarizer.callback = callback
        return Done()

    async def wait_for_summaries(self) -> None:
        """Wait for the summaries that this manager is making. Call this before your program ends."""
        await self.writer.closing.finish()

    # -- private names that applications and their tests use -------------------------------------

    _session = HeldBy("_conversation", "session")
    _session_id = HeldBy("_conversation", "session_id")
    _initialized = HeldBy("_conversation", "is_open")
    _is_new = HeldBy("_conversation", "is_new")
    _infinite_context = HeldBy("_conversation", "is_infinite")

    async def _ensure_initialized(self) -> None:
        """Open the session, or create it if this manager chose its id."""
        await self._conversation.open_to_read()

    async def _create_summary(self, callback: SummaryCallback | None = None) -> str:
        """Summarise the live segment alone, with a callback or without a model."""
        _, session = await self._conversation.current()
        messages = plain_messages(as_told(session.events))
        return str(await noted(Notes(), messages) if callback is None else await call(callback, messages))


def _check_callback(callback: object, name: str, operation: str) -> None:
    if callback is not None:
        check_callable(callback, name, operation)
