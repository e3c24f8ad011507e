"""The methods of `SessionManager` that write to the conversation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.drafts import (
    Draft,
    draft_answers,
    draft_question,
    draft_rows,
    draft_tool_use,
    tell,
)
from ..conversation.opening import Conversation
from ..conversation.writing import Writer
from ..exceptions.validation import (
    check_answer,
    check_callable,
    check_event_id,
    check_flag,
    check_json_object,
    check_moment,
    check_name,
    check_text,
)
from ..providers.answers import Answer
from ..providers.anthropic_messages import rows_of_turns
from ..providers.bedrock_rows import without_bedrock
from ..providers.common import mended
from ..providers.messages import ChatMessage, check_chat_messages
from ..providers.parts import Content, check_content
from ..providers.registry import read_answer
from ..providers.usage import read_usage


class Writing:
    """The methods of `SessionManager` that write to the conversation."""

    writer: Writer
    """Stores everything that this manager records; `api.tracking` uses it too."""

    _conversation: Conversation
    _model: str | None

    @property
    def model(self) -> str:
        """The model for token counts when a call does not name one."""
        return self._model or DEFAULT_MODEL

    async def user_says(
        self,
        message: Content,
        *,
        event_id: str | None = None,
        timestamp: datetime | str | None = None,
        pinned: bool = False,
        **metadata: Any,
    ) -> str:
        """Record a message of the user.

        Args:
            message: a text, or a list of parts in the form of OpenAI's chat API: `text`, `image_url`,
                `input_audio` and `file`. `get_messages_for_llm` writes them in each format's own form. The
                tokens of images, audio and files are estimated as their provider documents.
            event_id: your own id of the message, so that a retry is not a second message: 1 to 255
                printable characters. If the conversation has the message already, in whatever segment and
                from whatever process, nothing is written. It becomes the id of the event.
            timestamp: when the message was said, for imports: a `datetime` with a time zone. It is stored in
                UTC, and stays as it is even if it is older than the messages before; the order of the
                messages is that of the calls. By default the time is now, or that of the newest message if
                the clock is behind. A text is stored as metadata, as release 0.7.1 did.
            pinned: whether every context is to have the message, as for `pin`.
            **metadata: JSON values that are stored with the message. If a conversation has several users,
                `name=` names the speaker: contexts and summaries show it.

        Returns:
            The id of the session that the message was written to, or, if it was there already, of the
            session that the next message will be written to.

        Raises:
            InvalidInput: the message is neither a text nor a list of such parts (the error says which part
                is wrong), the metadata is not JSON, or the timestamp has no time zone; nothing was written.
            EventConflict: the conversation has another message with this `event_id`; nothing was written.
            TokenLimitExceeded: a limit of this manager is reached, or the message would exceed it.
            SessionNotFound: the session expired or was deleted, or its id is unknown and `create=False`.
            StorageError: the store failed.
        """
        content = check_content(message, "message", "user_says")
        metadata = check_json_object(metadata, "metadata", "user_says")
        drafts = [draft_question(content, self.model, metadata, reader=self._model)]
        if event_id is not None or timestamp is not None:
            _tell(drafts, event_id, timestamp, "user_says")
        if pinned is not False:
            _pin(drafts, pinned, "user_says")
        return await self.writer.record(drafts)

    async def ai_responds(
        self,
        response: object,
        model: str = "unknown",
        provider: str = "unknown",
        usage: object | None = None,
        *,
        service_tier: str | None = None,
        event_id: str | None = None,
        timestamp: datetime | str | None = None,
        pinned: bool = False,
        **metadata: Any,
    ) -> str:
        """Record a model's answer, and the bill of the call.

        Args:
            response: a text, or a response from the SDK or API of OpenAI (or of a provider with OpenAI's
                format), Anthropic, Google, Amazon Bedrock, Cohere, Ollama or LangChain. The text, tool calls,
                model, finish reason and usage are read from it, and the whole response is stored as the
                event's `native`. A response whose id the session has already is not recorded again; a
                response that is not complete (status "queued") is not recorded yet.
            model: the model, if the response does not name it; by default the manager's.
            provider: the provider that ran the model.
            usage: the provider's own token counts, as its SDK or API gives them. Without usage, the input
                is estimated from the context that this manager would have sent.
            service_tier: the tier that served the call, if the response does not name it: "batch" for the
                answers of a batch file. A call with a tier of unknown price is unpriced.
            event_id: your own id of the answer, as for `user_says`.
            timestamp: when the model answered, as for `user_says`. The call is billed at the prices of
                that time. It also stands in the metadata, as text.
            pinned: whether every context is to have the answer, as for `pin`.
            **metadata: JSON values that are stored with the answer.

        Returns:
            The id of the session that the answer was written to.

        Raises:
            InvalidInput: the answer is not a text or a known response, the model's name is empty, the usage
                is unreadable or negative, the metadata is not JSON, or the timestamp has no time zone.
            EventConflict, SessionNotFound, StorageError: as for `user_says`. Limits never refuse an answer.
        """
        answer = Answer(mended(response)) if type(response) is str else read_answer(response)
        check_answer(answer.text, model, provider, "ai_responds")
        metadata = check_json_object(metadata, "metadata", "ai_responds")
        if service_tier is not None:
            check_name(service_tier, "service_tier", "ai_responds")
        if usage is not None:
            answer.usage = read_usage(usage, beside=answer.usage)
        names = self.names_of(answer, model, provider)
        drafts = draft_answers(answer, *names, metadata, service_tier=service_tier)
        if event_id is not None or timestamp is not None:
            _tell(drafts, event_id, timestamp, "ai_responds")
        if pinned is not False:
            _pin(drafts, pinned, "ai_responds")
        return await self.writer.record(drafts) if drafts else self._conversation.session_id

    async def correct_usage(self, event_id: str, usage: object, *, service_tier: str | None = None) -> str:
        """Correct the bill of a call, if the provider reports it later than the answer.

        The recorded call does not change; an event that refers to it is added. Statistics, costs and reports
        use the newest correction, at the prices of the time when it was recorded.

        Args:
            event_id: the answer's event id, from `get_conversation(with_ids=True)`.
            usage: the provider's token counts, as for `ai_responds`; `{"cost": 0.01, ...}` names the cost.
            service_tier: the tier that served the call, as for `ai_responds`.

        Returns:
            The id of the session that the correction was written to.

        Raises:
            InvalidInput: the conversation has no such event, the event is not a model call's, or the usage
                is unreadable.
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
        event_id: str | None = None,
        timestamp: datetime | str | None = None,
        pinned: bool = False,
        **metadata: Any,
    ) -> str:
        """Record a tool call and its result.

        Arguments and results that are not JSON are stored as readable text. No tokens are counted.

        Args:
            tool_name: the tool's name.
            arguments: the arguments of the call.
            result: the tool's result.
            error: the error, if the call failed. If the result itself reports a failure, as MCP's results
                do with `isError`, the error is taken from the result.
            tool_call_id: the provider's id of the call, which links the result to the call.
            event_id: your own id of the call, as for `user_says`.
            timestamp: when the tool ran, as for `user_says`.
            pinned: whether every context is to have the call and its result, as for `pin`.
            **metadata: JSON values that are stored with the event.

        Returns:
            The id of the session that the event was written to.

        Raises:
            InvalidInput: the tool has no name, the metadata is not JSON, or the timestamp has no time zone.
            EventConflict, SessionNotFound, StorageError: as for `user_says`.
        """
        check_name(tool_name, "tool_name", "tool_used")
        metadata = check_json_object(metadata, "metadata", "tool_used")
        if tool_call_id is not None:
            check_name(tool_call_id, "tool_call_id", "tool_used")
            metadata["tool_call_id"] = tool_call_id
        drafts = [draft_tool_use(tool_name, arguments, result, error, metadata)]
        if event_id is not None or timestamp is not None:
            _tell(drafts, event_id, timestamp, "tool_used")
        _pin(drafts, pinned, "tool_used")
        return await self.writer.record(drafts)

    async def add_messages(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str = "unknown",
        provider: str = "unknown",
        event_id: str | None = None,
        timestamp: datetime | None = None,
    ) -> str:
        """Record a list of OpenAI chat messages: system, user, assistant (with `tool_calls`), tool.

        Messages of Anthropic (with `tool_use` and `tool_result` blocks) and of Amazon Bedrock's `converse`
        are accepted too.
        `get_messages_for_llm(include_tools=True)` returns equal messages. A system message that begins
        a conversation becomes its system prompt, even if the manager was given another one. Each
        assistant message counts as one call of `model`.

        Limits apply only to the question at the end of the list: the user and system messages after the last
        answer or result. Everything before has happened already, and is always recorded.

        Args:
            messages: the messages.
            model: the model that gave the answers.
            provider: the provider that ran the model.
            event_id: your own id of the whole list, as for `user_says`. If some of the messages are stored
                already, only the others are written. The last one gets the id itself, the one before it
                the id with "#1" at the end, and so on.
            timestamp: when all of them were said, as for `user_says`.

        Returns:
            The id of the session that the last message was written to.

        Raises:
            InvalidInput: a message is invalid; the error says which. Nothing was written.
            EventConflict: the conversation has other messages with this `event_id`.
            TokenLimitExceeded: a limit of this manager is reached, or the question would exceed it. The
                question was not written; the messages before it were.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_answer("", model, provider, "add_messages")
        rows = rows_of_turns(check_chat_messages(without_bedrock(messages), "add_messages"))
        drafts = draft_rows(rows, self._model_of(model), provider)
        if event_id is not None or timestamp is not None:
            _tell(drafts, event_id, timestamp, "add_messages")
        return await self.writer.record(drafts)

    def names_of(self, answer: Answer, model: str, provider: str) -> tuple[str, str]:
        """The model that gave an answer, as the answer names it, and the provider that ran it, as named."""
        ran_it = answer.provider or provider if provider == "unknown" else provider
        return answer.model or self._model_of(model), ran_it

    def _model_of(self, named: str) -> str:
        """The model that a call names, or else the manager's model."""
        return self._model if self._model and named == "unknown" else named

    async def update_system_prompt(self, prompt: str) -> None:
        """Set the system prompt, and store it with the session.

        Raises:
            InvalidInput: the prompt is not a text.
            SessionNotFound, StorageError: as for `user_says`.
        """
        check_text(prompt, "prompt", "update_system_prompt")
        await self.writer.set_prompt(prompt)

    async def update_state(self, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Change the conversation's state in one step, even if others change it at the same time.

        Args:
            change: a function that gets the state, a dict, and changes it:
                ``lambda state: state.update(n=1)``. It must not be async. It is called again if another
                writer was faster, so that a counter that ten processes raise ends at ten. Its return value
                is ignored.

        Returns:
            A copy of the state as it was stored.

        Raises:
            InvalidInput: the function is async, or leaves values that are not JSON; nothing was written.
            SessionNotFound, StorageError: as for `user_says`.
            Exception: any exception that the function raises; nothing was written.
        """
        check_callable(change, "change", "update_state")
        return await self.writer.update_state(change)


def _pin(drafts: Sequence[Draft], pinned: object, operation: str) -> None:
    """Let the last one of the drafts be pinned, if it is to be."""
    check_flag(pinned, "pinned", operation)
    if pinned:
        for draft in drafts[-1:]:
            draft.is_pinned = True


def _tell(
    drafts: list[Draft], event_id: str | None, timestamp: datetime | str | None, operation: str
) -> None:
    """Check what an application says of an event, its id and its time, and give it to the drafts."""
    if event_id is not None:
        check_event_id(event_id, operation)
    if isinstance(timestamp, str) and operation != "add_messages":  # as release 0.7.1 took it
        for draft in drafts[-1:]:
            draft.event.metadata["timestamp"] = timestamp
        timestamp = None
    tell(drafts, event_id, None if timestamp is None else check_moment(timestamp, "timestamp", operation))
