"""What an application tells a conversation: the writing half of `SessionManager`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..accounts.tokens import DEFAULT_MODEL
from ..conversation.drafts import draft_answers, draft_question, draft_rows, draft_tool_use
from ..conversation.opening import Conversation
from ..conversation.writing import Writer
from ..exceptions.validation import (
    check_answer,
    check_json_object,
    check_name,
    check_text,
)
from ..providers.answers import Answer
from ..providers.anthropic_messages import rows_of_turns
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
        """The model whose tokens are counted where a call names none."""
        return self._model or DEFAULT_MODEL

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
        return await self.writer.record(drafts) if drafts else self._conversation.session_id

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
