"""One call does it: each of these opens the session, does one thing, and hands back what you need next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conversation.opening import DEFAULT_MAX_TURNS, DEFAULT_TOKEN_THRESHOLD
from ..exceptions.validation import check_answer
from ..providers.parts import Content
from ..session_manager import SessionManager
from .clients import track_client
from .tracking import Exchange, LLMStream, complete

__all__ = [
    "SessionManager",
    "get_conversation_history",
    "get_session_stats",
    "quick_conversation",
    "quick_stats",
    "stream_llm_call",
    "track_client",
    "track_conversation",
    "track_infinite_conversation",
    "track_llm_call",
    "track_llm_interaction",
    "track_tool_use",
]


async def track_conversation(
    user_message: Content,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = DEFAULT_TOKEN_THRESHOLD,
    *,
    user_id: str | None = None,
) -> str:
    """Record a question and its answer.

    Args:
        user_message: the question: a text, or parts as `SessionManager.user_says` takes them.
        ai_response: the answer.
        model: who gave it.
        provider: who ran the model.
        session_id: the session to continue, made if it is not there; a new one without it.
        infinite_context: continue in a new segment when one is full.
        token_threshold: content tokens at which a segment is full.
        user_id: whose session it is; another user's is `SessionNotFound`.

    Returns:
        The session's id, for the next call.

    Raises:
        InvalidInput: an argument that cannot be right; nothing was written.
        StorageError: the store could not do it.
    """
    sm = _manager(session_id, infinite_context, token_threshold, user_id)
    return await _exchange(sm, user_message, ai_response, model, provider)


async def track_infinite_conversation(
    user_message: Content,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    session_id: str | None = None,
    token_threshold: int = DEFAULT_TOKEN_THRESHOLD,
    max_turns: int = DEFAULT_MAX_TURNS,
    *,
    user_id: str | None = None,
) -> str:
    """Record a question and its answer in a conversation that goes on in new segments.

    Args:
        user_message: the question: a text, or parts as `SessionManager.user_says` takes them.
        ai_response: the answer.
        model: who gave it.
        provider: who ran the model.
        session_id: any segment of the conversation to continue; a new one without it.
        token_threshold: content tokens at which a segment is full.
        max_turns: messages at which a segment is full.
        user_id: whose conversation it is; another user's is `SessionNotFound`.

    Returns:
        The id of the segment now written to, for the next call.

    Raises:
        InvalidInput: an argument that cannot be right; nothing was written.
        StorageError: the store could not do it.
    """
    sm = SessionManager(
        session_id,
        infinite_context=True,
        token_threshold=token_threshold,
        max_turns_per_segment=max_turns,
        user_id=user_id,
    )
    return await _exchange(sm, user_message, ai_response, model, provider)


async def track_llm_call(
    user_input: Content,
    llm_function: Callable[[Any], Any],
    model: str = "unknown",
    provider: str = "unknown",
    session_manager: SessionManager | None = None,
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = DEFAULT_TOKEN_THRESHOLD,
    *,
    user_id: str | None = None,
) -> tuple[str, str]:
    """Call a model with the user's input, and record both sides and the usage that came with the answer.

    The answer is linked to its question (`parent_event_id`). A model's error is recorded too, by its kind.

    Args:
        user_input: what the user said, a text or parts as `SessionManager.user_says` takes them; it is
            recorded before the call.
        llm_function: anything that can be called with it: async; or sync, then in a thread of its own (what
            needs the running event loop, such as `asyncio.create_task`, must be async). It gives a text, or
            a response of OpenAI, Anthropic, Google or LiteLLM as an object or dict, of which text, tool
            calls, model, finish reason and usage are taken; or an object with `content` or `text`.
        model: who answers, where the response does not say it.
        provider: who runs the model; by default the one whose SDK the response is of.
        session_manager: the conversation; without it, one is opened by `session_id`.
        session_id: the session to continue, made if it is not there; a new one without it.
        infinite_context: continue in a new segment when one is full.
        token_threshold: content tokens at which a segment is full.
        user_id: whose session it is; another user's is `SessionNotFound`.

    Returns:
        The answer's text, and the session's id.

    Raises:
        InvalidInput: an argument that cannot be right, then nothing was written; or a response that is not
            understood, then the question was.
        StorageError: the store could not do it.
        Exception: whatever `llm_function` raises, as it is.
    """
    sm = session_manager or _manager(session_id, infinite_context, token_threshold, user_id)
    return await complete(Exchange(sm, model, provider), user_input, llm_function)


def stream_llm_call(
    user_input: Content,
    llm_function: Callable[[Any], Any],
    model: str = "unknown",
    provider: str = "unknown",
    session_manager: SessionManager | None = None,
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = DEFAULT_TOKEN_THRESHOLD,
    *,
    user_id: str | None = None,
) -> LLMStream:
    """Call a model that streams its answer, to be read with `async for`.

    The pieces come as the model gives them; the answer is recorded when it is complete, with its usage
    where the stream carries that. If the stream breaks, or its reader goes away, the text so far is kept,
    with the metadata `interrupted`.

    Args:
        user_input: what the user said, as for `track_llm_call`; it is recorded before the call, which the
            first piece begins.
        llm_function: as for `track_llm_call`, but giving an iterator, async or not, of texts, or of what the
            SDKs of OpenAI, Anthropic, Google and LiteLLM stream.
        model: as for `track_llm_call`, like all the others.
        provider: see there.
        session_manager: see there.
        session_id: see there.
        infinite_context: see there.
        token_threshold: see there.
        user_id: see there.

    Returns:
        What to iterate over; with the `session_id`, and the `text` so far.

    Raises:
        InvalidInput, StorageError, Exception: as for `track_llm_call`; all but the first while it is read.
    """
    sm = session_manager or _manager(session_id, infinite_context, token_threshold, user_id)
    return LLMStream(Exchange(sm, model, provider), user_input, llm_function)


def _manager(
    session_id: str | None, infinite_context: bool, token_threshold: int, user_id: str | None
) -> SessionManager:
    return SessionManager(
        session_id, infinite_context=infinite_context, token_threshold=token_threshold, user_id=user_id
    )


async def _exchange(sm: SessionManager, question: Content, answer: str, model: str, provider: str) -> str:
    """Record both sides, or, where either is refused, neither."""
    check_answer(answer, model, provider, "track a conversation")
    await sm.user_says(question)
    return await sm.ai_responds(answer, model=model, provider=provider)


async def quick_conversation(
    user_message: Content,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    infinite_context: bool = False,
    *,
    user_id: str | None = None,
) -> dict[str, Any]:
    """Record a question and its answer in a new session, and give its statistics.

    Raises:
        InvalidInput: an argument that cannot be right; nothing was written.
        StorageError: the store could not do it.
    """
    sm = SessionManager(infinite_context=infinite_context, user_id=user_id)
    await _exchange(sm, user_message, ai_response, model, provider)
    return await sm.get_stats()


async def track_tool_use(
    tool_name: str,
    arguments: dict[str, Any],
    result: Any,
    session_id: str | None = None,
    error: str | None = None,
    *,
    user_id: str | None = None,
    **metadata: Any,
) -> str:
    """Record a tool call and what came of it, in the session of this id or a new one.

    Returns:
        The session's id.

    Raises:
        InvalidInput: no tool name, or metadata that is not JSON; nothing was written.
        StorageError: the store could not do it.
    """
    return await SessionManager(session_id, user_id=user_id).tool_used(
        tool_name, arguments, result, error, **metadata
    )


async def get_session_stats(
    session_id: str, include_all_segments: bool = False, *, user_id: str | None = None
) -> dict[str, Any]:
    """Statistics of a conversation's live segment, or with `include_all_segments` of all of it.

    The id may be any segment's. With `user_id`, another user's session is `SessionNotFound`.

    Raises:
        SessionNotFound: there is no such session.
        StorageError: the store could not say.
    """
    return await _reader(session_id, user_id).get_stats(include_all_segments)


async def get_conversation_history(
    session_id: str, include_all_segments: bool = False, *, user_id: str | None = None
) -> list[dict[str, Any]]:
    """What was said in a conversation's live segment, or with `include_all_segments` in all of it.

    The id may be any segment's. With `user_id`, another user's session is `SessionNotFound`.

    Raises:
        SessionNotFound: there is no such session.
        StorageError: the store could not say.
    """
    return await _reader(session_id, user_id).get_conversation(include_all_segments)


def _reader(session_id: str, user_id: str | None) -> SessionManager:
    return SessionManager(session_id, create=False, user_id=user_id)


track_llm_interaction = track_llm_call
quick_stats = quick_conversation
