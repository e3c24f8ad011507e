"""The facade: say what was said, and ask what is known of the conversation."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, Unpack, overload

from .accounts.tokens import DEFAULT_MODEL
from .conversation.background import Sums
from .conversation.billing import Limits, draft_answers, draft_question, draft_rows, draft_tool_use
from .conversation.budgets import Budget, Spending
from .conversation.callbacks import Done, call
from .conversation.context.asking import asked
from .conversation.context.beginning import Beginning
from .conversation.notes import Notes
from .conversation.opening import DEFAULT_MAX_TURNS, DEFAULT_TOKEN_THRESHOLD, Conversation, HeldBy
from .conversation.order import as_told
from .conversation.reading import answerer_of, figures_of, row_of
from .conversation.segments import Thresholds, chain_of, newest_in, segments_in
from .conversation.summaries import Summarizer, SummaryCallback, noted
from .conversation.writing import Writer
from .exceptions import InvalidInput
from .exceptions.validation import (
    check_answer,
    check_at_least,
    check_count,
    check_json_object,
    check_name,
    check_session_id,
    check_text,
    copied,
)
from .providers.answers import Answer
from .providers.anthropic_messages import rows_of_turns
from .providers.formats import (
    AnthropicRequest,
    ContextOptions,
    Format,
    GoogleRequest,
    OpenAIMessages,
    ResponsesInput,
)
from .providers.messages import ChatMessage, check_chat_messages, plain_messages
from .providers.parts import Content, check_content
from .providers.registry import read_answer
from .providers.usage import read_usage
from .session_storage import ChukSessionsStore, get_backend
from .stores import SessionStore

__all__ = ["ChukSessionsStore", "SessionManager", "get_backend"]

logger = logging.getLogger(__name__)


class SessionManager:
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
        self.writer = Writer(
            self._conversation,
            self._beginning,
            model=self.model,
            limits=Limits(token_limit, cost_limit),
            spending=None if budget is None else Spending(budget, user_id or "", model),
            summarizer=self._summarizer,
        )
        """What stores all that this manager is told; `api.tracking` uses it too."""

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
    def model(self) -> str:
        """The model whose tokens are counted where a call names none."""
        return self._model or DEFAULT_MODEL

    @property
    def is_infinite(self) -> bool:
        """Whether the conversation continues in new segments."""
        return self._conversation.is_infinite

    def __repr__(self) -> str:
        """Say which session it is, and nothing of what was said in it."""
        return f"SessionManager(session_id={self.session_id!r}, infinite_context={self.is_infinite})"

    # -- writing --------------------------------------------------------------------------------

    async def user_says(self, message: Content, **metadata: Any) -> str:
        """Record what the user said; `metadata` goes with it.

        Args:
            message: a text, or a list of parts in OpenAI's form for chats: `text`, `image_url`,
                `input_audio` and `file`. Each format of `get_messages_for_llm` has them in its own form.
                Images, audio and files count as many tokens as their provider documents, as an estimate.
            **metadata: JSON values that go with the message. Of several users in one conversation, `name=`
                says which one this is: contexts and summaries have it.

        Returns:
            The id of the session that it was written to.

        Raises:
            InvalidInput: the message is neither text nor such parts (the error says which of them is
                wrong), or the metadata not JSON; nothing was written.
            TokenLimitExceeded: a limit of this manager is reached, or the message would cross it.
            SessionNotFound: the session expired, was deleted, or `create=False` and is unknown.
            StorageError: the store could not do it.
        """
        content = check_content(message, "message", "user_says")
        metadata = check_json_object(metadata, "metadata", "user_says")
        return await self.writer.record([draft_question(content, self.model, metadata, reader=self._model)])

    async def ai_responds(
        self,
        response: object,
        model: str = "unknown",
        provider: str = "unknown",
        usage: object | None = None,
        *,
        service_tier: str | None = None,
        **metadata: Any,
    ) -> str:
        """Record what the model answered, and what the call was billed for.

        Args:
            response: the answer: a text; or a response as its SDK or API gives it (OpenAI and those who
                speak its format, Anthropic, Google, Amazon Bedrock, Cohere, Ollama, LangChain), of which
                text, tool calls, model, finish reason and usage are taken, and which is kept whole as the
                event's `native`. A response that the session has already, by its id, is not recorded
                again; one that its provider is still making (status "queued") is not recorded yet.
            model: the model that gave it, where the response does not say it; by default the manager's.
            provider: who ran the model.
            usage: the provider's own token counts, as its SDK or API gives them (OpenAI, Anthropic,
                Google, LiteLLM). Without it the input is estimated: what this manager would have sent.
            service_tier: the tier that served the call, where the response does not say it: "batch" for the
                answers of a batch file. A tier whose price nobody knows leaves the call unpriced.
            **metadata: JSON values that go with the answer.

        Returns:
            The id of the session that it was written to.

        Raises:
            InvalidInput: the answer is not text, the model's name empty, the usage not readable or
                negative, or the metadata not JSON.
            SessionNotFound, StorageError: as for `user_says`. Limits refuse no answer.
        """
        answer = read_answer(response)
        check_answer(answer.text, model, provider, "ai_responds")
        metadata = check_json_object(metadata, "metadata", "ai_responds")
        if service_tier is not None:
            check_name(service_tier, "service_tier", "ai_responds")
        if usage is not None:
            answer.usage = read_usage(usage, beside=answer.usage)
        names = self.names_of(answer, model, provider)
        drafts = draft_answers(answer, *names, metadata, service_tier=service_tier)
        return await self.writer.record(drafts) if drafts else self.session_id

    async def correct_usage(self, event_id: str, usage: object, *, service_tier: str | None = None) -> str:
        """Put right what a call was billed, where its provider reports it later than its answer.

        What was recorded stays; an event is added that refers to it. Statistics, costs and reports count the
        call as the newest correction says, at the prices of the time when it was made.

        Args:
            event_id: the answer's event, such as `get_conversation(with_ids=True)` names it.
            usage: the provider's token counts, as for `ai_responds`; `{"cost": 0.01, ...}` says the cost.
            service_tier: the tier that served the call, as for `ai_responds`.

        Returns:
            The id of the session that it was written to.

        Raises:
            InvalidInput: the conversation has no such event, no model call made it, or the usage is not
                readable.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(event_id, "event_id", "correct_usage")
        right = read_usage(usage)
        if service_tier is not None:
            check_name(service_tier, "service_tier", "correct_usage")
            right["service_tier"] = service_tier
        return await self.writer.correct_usage(event_id, right)

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
            error: what went wrong, if something did. Where the result itself says so, as MCP's do by
                `isError`, it is taken from there.
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
        return await self.writer.record([draft_tool_use(tool_name, arguments, result, error, metadata)])

    async def add_messages(
        self, messages: Sequence[ChatMessage], *, model: str = "unknown", provider: str = "unknown"
    ) -> str:
        """Record a list of OpenAI chat messages: system, user, assistant (with `tool_calls`), tool.

        Anthropic's own messages are taken too, with their `tool_use` and `tool_result` blocks.
        `get_messages_for_llm(include_tools=True)` gives them back equal. A system message that begins
        a conversation becomes its system prompt, also where the manager was given another. Each
        assistant message counts as one call of `model`.

        Limits concern the question at the end of the list: the user and system messages behind the last
        answer or result. All before these has happened, and is recorded whatever it comes to.

        Returns:
            The id of the session that the last one was written to.

        Raises:
            InvalidInput: a message that is no such message; it says which. Nothing was written.
            TokenLimitExceeded: a limit of this manager is reached, or the question would cross it. The
                question was not written; the messages before it were.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_answer("", model, provider, "add_messages")
        rows = rows_of_turns(check_chat_messages(messages, "add_messages"))
        return await self.writer.record(draft_rows(rows, self._model_of(model), provider))

    def names_of(self, answer: Answer, model: str, provider: str) -> tuple[str, str]:
        """Which model gave an answer, and who ran it: the model as it says itself, the provider as named."""
        ran_it = answer.provider or provider if provider == "unknown" else provider
        return answer.model or self._model_of(model), ran_it

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
        await self.writer.set_prompt(prompt)

    async def get_state(self) -> dict[str, Any]:
        """The conversation's state, a copy; the same by any segment's id.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        _, session = await self._conversation.current(with_events=False)
        return dict(copied(session.state))

    async def update_state(self, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Change the conversation's state in one step, whoever else changes it at the same time.

        Args:
            change: is called with the state, a dict, and changes that: ``lambda state: state.update(n=1)``.
                It is not async, and called again where another writer came first, so that a counter that
                ten processes raise ends at ten. What it returns is not looked at.

        Returns:
            A copy of the state as it is stored then.

        Raises:
            InvalidInput: the function is async, or leaves values that are not JSON; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
            Exception: what the function raises; nothing was written.
        """
        return await self.writer.update_state(change)

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

    def set_summary_callback(self, callback: SummaryCallback) -> Awaitable[None]:
        """Say who summarises the segments that fill up from now on; may be awaited, or not."""
        self._summarizer.callback = callback
        return Done()

    async def wait_for_summaries(self) -> None:
        """Wait for the summaries that this manager is still making; worth it before a program ends."""
        await self.writer.closing.finish()

    # -- reading --------------------------------------------------------------------------------

    @overload
    async def get_messages_for_llm(
        self, include_system: bool = ..., *, format: None = ..., **options: Unpack[ContextOptions]
    ) -> list[ChatMessage]: ...

    @overload
    async def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["openai"], **options: Unpack[ContextOptions]
    ) -> OpenAIMessages: ...

    @overload
    async def get_messages_for_llm(
        self,
        include_system: bool = ...,
        *,
        format: Literal["openai-responses"],
        **options: Unpack[ContextOptions],
    ) -> ResponsesInput: ...

    @overload
    async def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["anthropic"], **options: Unpack[ContextOptions]
    ) -> AnthropicRequest: ...

    @overload
    async def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["google"], **options: Unpack[ContextOptions]
    ) -> GoogleRequest: ...

    async def get_messages_for_llm(
        self,
        include_system: bool = True,
        *,
        format: Format | None = None,  # noqa: A002  (the word that applications look for)
        include_tools: bool = False,
        max_tokens: int | None = None,
        model: str | None = None,
    ) -> Any:
        """The messages to send to a model next: system prompt, then what was said.

        The summary of earlier segments is the beginning of the first user's message, between marks
        (`providers.earlier`): what users and models said must not speak with the system's authority.
        A user's message that has a `name` has it here too, before the text where a format does not take it.

        Args:
            include_system: whether system prompt and summary go first.
            format: what they are for. "openai": the `messages` of chat completions. "openai-responses": the
                `input` of Responses, the system prompt as its first item. "anthropic": `system` and
                `messages` of `messages.create`. "google": `system_instruction` and `contents` of Gemini. An
                answer goes back to the provider that gave it as it came, signatures and all; to another it
                goes as text and calls. Without a format: OpenAI's chat messages.
            include_tools: whether tool calls and results are in it, complete and paired; without it, an
                OpenAI chat has only what user and model said. All other formats have them in any case.
            max_tokens: the most content tokens it may have; the oldest exchanges go first.
            model: whose tokens those are, and who is asked; by default the manager's model.

        Raises:
            InvalidInput: a format that is not known.
            TokenLimitExceeded: not even the newest exchange fits `max_tokens`.
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        await self.writer.settle()
        return await asked(
            self._conversation,
            self._beginning,
            format,
            include_system=include_system,
            include_tools=include_tools,
            max_tokens=max_tokens,
            model=model or self._model,
        )

    async def get_conversation(
        self,
        include_all_segments: bool | None = None,
        *,
        include_tools: bool = False,
        with_ids: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """What was said, oldest first: `role`, `content` and `timestamp` of each message.

        The role is "user", "assistant" or "system"; a user's message that has a `name` has it here too.

        Args:
            include_all_segments: whether a conversation of several segments is given whole, as it is by
                default; each message then has its `session_id` too, and the model's have `model` and
                `provider`. `False` gives the live segment's.
            include_tools: whether tool calls are in it: `tool_calls` of the model's messages, and of each
                result a row with the role "tool", `name`, `arguments` and, where there is one,
                `tool_call_id`. Otherwise a message that only calls tools is left out.
            with_ids: whether each row has its `event_id`, and the event's `metadata`.
            limit: only so many of the newest rows; older events are not read.

        Raises:
            InvalidInput: `limit` is below 1.
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        if limit is not None:
            check_count(limit, 1, "limit", "get_conversation")
        await self.writer.settle()
        home, session = await self._conversation.current(with_events=limit is None)
        rows_of = partial(row_of, with_tools=include_tools, with_ids=with_ids)
        covers_all = self._covers_all(include_all_segments)
        if limit is not None:
            newest = await newest_in(
                session,
                home,
                limit,
                is_wanted=lambda event: rows_of(event) is not None,
                earlier_segments=covers_all,
            )
            placed = [(segment.id, event) for segment, event in newest]
        elif covers_all:
            segments = segments_in(await chain_of(session, home), home)
            placed = [(segment.id, event) async for segment in segments for event in segment.events]
        else:
            placed = [(session.id, event) for event in session.events]
        segment_ids = {event.id: segment_id for segment_id, event in placed}
        return [
            row | ({"session_id": segment_ids[event.id]} | answerer_of(event) if covers_all else {})
            for event in as_told([event for _, event in placed])
            if (row := rows_of(event)) is not None
        ]

    async def get_session_chain(self) -> list[str]:
        """The ids of the conversation's segments, the first one first; none before anything was written.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        if not self._conversation.is_begun:
            return [] if self.is_infinite else [self.session_id]
        home, session = await self._conversation.current(with_events=False)
        return await chain_of(session, home)

    async def load_session_chain(self) -> None:
        """Open the conversation now; any other call does it too.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        if self._conversation.is_begun:
            await self._conversation.current(with_events=False)

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
        await self.writer.settle()
        home, session = await self._conversation.current(with_events=False)
        chain = await chain_of(session, home) if self.is_infinite else [session.id]
        covers_all = self._covers_all(include_all_segments)
        sums = Sums.of(session)
        if covers_all:
            sums = (await self._beginning.background_of(home, session)).sums + sums
        stats = {
            "session_id": session.id,
            "session_segments": len(chain),
            "infinite_context": self.is_infinite,
            **figures_of(sums),
        }
        return stats | ({"session_chain": chain} if covers_all else {})

    def _covers_all(self, include_all_segments: bool | None) -> bool:
        return self.is_infinite and include_all_segments is not False

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
