"""What an application asks of a conversation: the reading half of `SessionManager`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, Unpack, overload

from ..conversation.background import Sums, background_of
from ..conversation.context.asking import Wanted, asked
from ..conversation.context.beginning import Beginning
from ..conversation.context.chain import Contexts
from ..conversation.looking_back import newest_held
from ..conversation.opening import Conversation
from ..conversation.order import as_told
from ..conversation.reading import answerer_of, figures_of, row_of
from ..conversation.segments import chain_of, segments_in
from ..conversation.writing import Writer
from ..exceptions.validation import (
    check_count,
    copied,
)
from ..models import Session
from ..models.home import HomeStore
from ..providers.anthropic_messages import AnthropicRequest
from ..providers.formats import (
    ContextOptions,
    Format,
    GoogleRequest,
    OpenAIMessages,
    ResponsesInput,
    ResponsesRequest,
)
from ..providers.messages import ChatMessage


class Reading:
    """The methods of `SessionManager` that read the conversation."""

    writer: Writer
    _model: str | None
    _conversation: Conversation
    _beginning: Beginning
    _contexts: Contexts

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
        server_state: Literal[False] = ...,
        **options: Unpack[ContextOptions],
    ) -> ResponsesInput: ...

    @overload
    async def get_messages_for_llm(
        self,
        include_system: bool = ...,
        *,
        format: Literal["openai-responses"],
        server_state: Literal[True],
        **options: Unpack[ContextOptions],
    ) -> ResponsesRequest: ...

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
        tools: Sequence[Any] | None = None,
        server_state: bool = False,
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
            tools: the definitions of the tools that are sent with it. Anthropic binds thinking to these too:
                where they change in a conversation, say which they are.
            server_state: whether to give, for "openai-responses", only what the server does not hold: a dict
                with `input` and, where it holds something, `previous_response_id` or `conversation`.

        Raises:
            InvalidInput: a format that is not known, or `server_state` with another format than it is for.
            TokenLimitExceeded: not even the newest exchange fits `max_tokens`.
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        await self.writer.settle()
        wanted = Wanted(
            format_name=format,
            include_system=include_system,
            include_tools=include_tools,
            max_tokens=max_tokens,
            model=model or self._model,
            tools=tools,
            server_state=server_state,
        )
        return await asked(self._conversation, self._beginning, self._contexts, wanted)

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
            include_all_segments: `True` gives the whole conversation, whatever this manager was made with;
                each message then has its `session_id` too, and the model's have `model` and `provider`.
                `False` gives the live segment's. By default a conversation of several segments is whole.
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
        covers_all = await self._covers_all(include_all_segments, session, home)
        if limit is not None:
            newest = await newest_held(
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
            return [] if self._conversation.is_infinite else [self._conversation.session_id]
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
        `unpriced_calls`. Of all segments where `include_all_segments` is `True`, or by default with infinite
        context; their ids are the `session_chain`.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        await self.writer.settle()
        home, session = await self._conversation.current(with_events=False)
        covers_all = await self._covers_all(include_all_segments, session, home)
        is_infinite = self._conversation.is_infinite
        chain = await chain_of(session, home) if covers_all or is_infinite else [session.id]
        sums = Sums.of(session)
        if covers_all and is_infinite:
            sums = (await self._beginning.background_of(home, session)).sums + sums
        elif covers_all:  # segments that an application linked itself
            sums = (await background_of(session, home)).sums + sums
        stats = {
            "session_id": session.id,
            "session_segments": len(chain),
            "infinite_context": self._conversation.is_infinite,
            **figures_of(sums),
        }
        return stats | ({"session_chain": chain} if covers_all else {})

    async def get_state(self) -> dict[str, Any]:
        """The conversation's state, a copy; the same by any segment's id.

        Raises:
            SessionNotFound: there is no such session.
            StorageError: the store could not say.
        """
        _, session = await self._conversation.current(with_events=False)
        return dict(copied(session.state))

    async def _covers_all(
        self, include_all_segments: bool | None, session: Session[Any], home: HomeStore
    ) -> bool:
        """Whether all segments are asked for, and there may be several."""
        if self._conversation.is_infinite:
            return include_all_segments is not False
        return bool(include_all_segments) and len(await chain_of(session, home)) > 1
