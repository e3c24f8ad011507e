"""The methods of `SessionManager` that read the conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, Unpack, overload

from ..conversation.absent import fill, with_all_bytes
from ..conversation.background import background_of
from ..conversation.context.asking import asked
from ..conversation.context.beginning import Beginning
from ..conversation.context.chain import Contexts
from ..conversation.context.wanted import Wanted
from ..conversation.count_corrections import Corrections
from ..conversation.looking_back import newest_held
from ..conversation.opening import Conversation
from ..conversation.order import as_told
from ..conversation.origins import before_fork
from ..conversation.pinned_turns import PinnedTurns
from ..conversation.pins import pinned_ids
from ..conversation.reading import answerer_of, figures_of, row_of
from ..conversation.recall.finding import Finder
from ..conversation.segments import Placed, chain_of, segments_in
from ..conversation.sums import Sums
from ..conversation.writing import Writer
from ..exceptions.validation import check_count, check_flag, copied
from ..models import Session
from ..models.home import HomeStore
from ..providers.anthropic_messages import AnthropicRequest
from ..providers.cache_marks import CacheTtl
from ..providers.formats import (
    BedrockRequest,
    ContextOptions,
    Format,
    GoogleRequest,
    OpenAIMessages,
    ResponsesInput,
    ResponsesRequest,
)
from ..providers.messages import ChatMessage
from ..stores.base import AnyEvent


class Reading:
    """The methods of `SessionManager` that read the conversation."""

    writer: Writer
    _model: str | None
    _conversation: Conversation
    _beginning: Beginning
    _contexts: Contexts
    _pinned: PinnedTurns
    _corrections: Corrections
    _finder: Finder
    _recall_tokens: int | None

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

    @overload
    async def get_messages_for_llm(
        self, include_system: bool = ..., *, format: Literal["bedrock"], **options: Unpack[ContextOptions]
    ) -> BedrockRequest: ...

    async def get_messages_for_llm(
        self,
        include_system: bool = True,
        *,
        format: Format | None = None,  # noqa: A002  (the word that applications look for)
        include_tools: bool = False,
        max_tokens: int | Literal["auto"] | None = None,
        reserve: int = 0,
        steady: bool = True,
        model: str | None = None,
        tools: Sequence[Any] | None = None,
        response_format: Any = None,
        cache: bool | CacheTtl = False,
        keep_tool_results: int | None = None,
        server_state: bool = False,
        recall: str | bool | None = None,
    ) -> Any:
        """Return the messages to send to a model next: the system prompt, then the conversation.

        The summary of earlier segments is the beginning of the first user message, between marks
        (`providers.earlier`): the words of users and models must not have the authority of a system
        message. The `name` of a user message is included; where the format has no names, it stands before
        the text.

        Args:
            include_system: whether to include the system prompt and the summary.
            format: the API that you call next. "openai": the `messages` of chat completions.
                "openai-responses": the `input` of Responses, with the system prompt as its first item.
                "anthropic": `system` and `messages` of `messages.create`. "google": `system_instruction`
                and `contents` of Gemini. "bedrock": `system` and `messages` of Amazon Bedrock's `converse`.
                The provider that gave an answer gets it back unchanged, with
                signatures; another provider gets its text and calls. Default: OpenAI's chat messages.
            include_tools: whether to include tool calls and results, complete and paired. Without it, an
                OpenAI chat has only the messages of user and model. All other formats always include them.
            max_tokens: the most tokens of the result. The oldest exchanges are left out first. With a format,
                everything that is sent counts, by OpenAI's published rule; without one, only the messages
                count (content tokens). "auto" means the model's context window, from `set_price` or the price
                list.
            reserve: tokens of `max_tokens` to keep free for the answer.
            steady: whether the oldest exchanges are left out in steps of 0.4 x `max_tokens`. Then most
                contexts have the same beginning as the one before, and providers sell input that is in their
                cache at a tenth of the price. `False` returns the newest exchanges that fit, with a new
                beginning at nearly every call.
            model: the model that you call, and whose tokens `max_tokens` counts; by default the manager's.
            tools: the definitions of the tools that you send with the messages. Anthropic's signed thinking
                depends on them: if they change in the course of the conversation, name them here. They count
                against `max_tokens`, in the form in which you send them.
            response_format: the schema of a structured answer, as you send it. It counts against
                `max_tokens`.
            cache: whether to mark the part of the context that the provider's cache should keep, and for how
                long: "5m" (the same as `True`) or "1h". For a model that takes no marks, none are set.
            recall: a question. Earlier turns that may answer it are inserted, dated, before the newest user
                message, and stay there in later contexts. `True` uses that message as the question. With
                `max_tokens`, the newest exchanges get at most a twelfth of it (the newest one is always
                included), and earlier turns the rest; without, earlier turns get 2,000 tokens. While tools
                are being called, nothing new is recalled. By default, nothing is recalled, unless the manager
                has `recall_tokens`; then `False` turns recall off.
            keep_tool_results: how many of the newest tool results stay whole. An older one is replaced by a
                line with the tool's name, the result's size and its event id, with which a model can ask for
                it. Results are replaced so many at a time. Pinned results stay whole.
            server_state: for "openai-responses", return only what OpenAI's server does not hold: a dict
                with `input` and, if the server holds anything, `previous_response_id` or `conversation`.

        Raises:
            InvalidInput: an argument is invalid, such as an unknown format, or `server_state` with another
                format; or the model's context window is unknown, and the error says how to set it.
            TokenLimitExceeded: system prompt, definitions, reserve and the newest exchange do not fit
                `max_tokens`; the error names the tokens of each.
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        await self.writer.settle()
        wanted = Wanted(
            format_name=format,
            include_system=include_system,
            include_tools=include_tools,
            max_tokens=max_tokens,
            reserve=reserve,
            steady=steady,
            model=model or self._model,
            tools=tools,
            response_format=response_format,
            cache=cache,
            keep_tool_results=keep_tool_results,
            server_state=server_state,
            recall=recall,
            recall_tokens=self._recall_tokens,
        )
        return await with_all_bytes(
            lambda: asked(
                self._conversation,
                self._beginning,
                self._contexts,
                self._pinned,
                self._finder,
                self._corrections,
                wanted,
            )
        )

    async def get_conversation(
        self,
        include_all_segments: bool | None = None,
        *,
        include_tools: bool = False,
        with_ids: bool = False,
        limit: int | None = None,
        include_origin: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the messages, oldest first: `role`, `content` and `timestamp` of each.

        The role is "user", "assistant" or "system". A user message with a `name` has it here too.

        Args:
            include_all_segments: `True` returns the messages of all segments; each message then has its
                `session_id` too, and the model's messages have `model` and `provider`. `False` returns
                those of the live segment. By default, all segments of a conversation that has several.
            include_tools: whether to include tool calls: `tool_calls` of the model's messages, and for each
                result a row with the role "tool", `name`, `arguments`, `content` (a text, or parts if the
                result has images or other media) and, if there is one, `tool_call_id`. Otherwise, a
                message that only calls tools is left out.
            with_ids: whether each row has its `event_id`, the event's `metadata`, and `pinned` if it is.
            limit: return only this many of the newest rows; older events are not read.
            include_origin: whether the messages of a fork begin with those of the original of which the fork
                has no copies, as long as the original exists. These messages keep the original's ids. They
                cannot be edited in the fork, and no total counts them. Contexts have a summary of them.

        Raises:
            InvalidInput: `limit` is below 1, or another argument is not `True` or `False`.
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        operation = "get_conversation"
        check_flag(include_tools, "include_tools", operation)
        check_flag(with_ids, "with_ids", operation)
        check_flag(include_origin, "include_origin", operation)
        if limit is not None:
            check_count(limit, 1, "limit", operation)
        await self.writer.settle()
        home, session = await self._conversation.current(with_events=limit is None)
        rows_of = partial(row_of, with_tools=include_tools, with_ids=with_ids)
        covers_all = await self._covers_all(include_all_segments, session, home)
        if limit is not None:
            newest = partial(
                newest_held,
                session,
                home,
                limit,
                is_wanted=lambda event: rows_of(event) is not None,
                earlier_segments=covers_all,
                may_lack=True,
            )
            placed = await with_all_bytes(lambda: _filled(newest, home))
        elif covers_all:
            segments = segments_in(await chain_of(session, home), home)
            placed = [(segment.id, event) async for segment in segments for event in segment.events]
        else:
            placed = [(session.id, event) for event in session.events]
        if include_origin and covers_all:
            first = await home.get((await chain_of(session, home))[0])
            earlier = [] if first is None else await before_fork(first, [event for _, event in placed], home)
            placed = [*((segment.id, event) for segment, event in earlier), *placed]
        segment_ids = {event.id: segment_id for segment_id, event in placed}
        pinned = pinned_ids(session.metadata.properties) if with_ids else set()
        rows = [
            row
            | ({"pinned": True} if event.id in pinned else {})
            | ({"session_id": segment_ids[event.id]} | answerer_of(event) if covers_all else {})
            for event in as_told([event for _, event in placed])
            if (row := rows_of(event)) is not None
        ]
        return rows if limit is None else rows[-limit:]

    async def get_session_chain(self) -> list[str]:
        """Return the ids of the conversation's segments, the first one first; empty before the first write.

        Raises:
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        if not self._conversation.is_begun:
            return [] if self._conversation.is_infinite else [self._conversation.session_id]
        home, session = await self._conversation.current(with_events=False)
        return await chain_of(session, home)

    async def load_session_chain(self) -> None:
        """Open the conversation now. You need not call this: any other call does it too.

        Raises:
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        if self._conversation.is_begun:
            await self._conversation.current(with_events=False)

    async def get_stats(self, include_all_segments: bool | None = None) -> dict[str, Any]:
        """Return the conversation's statistics: messages, tool calls, tokens and USD.

        `total_tokens` are content tokens: each message counts once. `input_tokens`, `output_tokens` and
        their parts are what the `llm_calls` were billed for; `usage_source` says where these figures come
        from: "reported" by the provider, "estimated", "mixed" or "none". `estimated_cost` is in USD, without
        the `unpriced_calls`. The statistics cover all segments if `include_all_segments` is `True`, and by
        default with infinite context; `session_chain` lists the segments' ids. `count_correction` has,
        by model, how many tokens the provider counted for each token counted here: the median of the last
        calls.

        Raises:
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        await self.writer.settle()
        home, session = await self._conversation.current(with_events=False)
        covers_all = await self._covers_all(include_all_segments, session, home)
        is_infinite = self._conversation.is_infinite
        chain = await chain_of(session, home) if covers_all or is_infinite else [session.id]
        sums = Sums.of(session)
        if covers_all and is_infinite:
            sums = (await self._beginning.background_of(home, session)).sums + sums
        elif covers_all:  # segments that an application linked by itself
            sums = (await background_of(session, home)).sums + sums
        stats = {
            "session_id": session.id,
            "session_segments": len(chain),
            "infinite_context": self._conversation.is_infinite,
            **figures_of(sums),
            "count_correction": await self._count_correction(sums, session, home),
        }
        return stats | ({"session_chain": chain} if covers_all else {})

    async def _count_correction(self, sums: Sums, session: Session[Any], home: HomeStore) -> dict[str, float]:
        """For each model that answered lately: how many tokens its provider counts for each that we count."""
        if not sums.totals.reported_calls:
            return {}
        await self._corrections.load(session, home, is_infinite=self._conversation.is_infinite)
        return self._corrections.shown

    async def get_state(self) -> dict[str, Any]:
        """Return a copy of the conversation's state, which is the same with any segment's id.

        Raises:
            SessionNotFound: the session does not exist.
            StorageError: the store failed.
        """
        _, session = await self._conversation.current(with_events=False)
        return dict(copied(session.state))

    async def _covers_all(
        self, include_all_segments: bool | None, session: Session[Any], home: HomeStore
    ) -> bool:
        """Whether all segments are wanted, and there may be several."""
        if self._conversation.is_infinite:
            return include_all_segments is not False
        return bool(include_all_segments) and len(await chain_of(session, home)) > 1


async def _filled(
    newest: Callable[[], Awaitable[Sequence[Placed]]], home: HomeStore
) -> list[tuple[str, AnyEvent]]:
    """The newest events with their bytes, each with its segment's id."""
    found = await newest()
    await fill((part for _, event in found for part in (event.message, event.metadata)), home)
    return [(segment.id, event) for segment, event in found]
