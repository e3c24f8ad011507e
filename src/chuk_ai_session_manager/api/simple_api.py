"""One-liners: each opens the session, does one thing, and returns what you need for the next call."""

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
        user_message: the question: a text, or parts as for `SessionManager.user_says`.
        ai_response: the answer.
        model: the model that gave the answer.
        provider: the provider that ran the model.
        session_id: the session to continue, created if it does not exist; by default a new session.
        infinite_context: continue in a new segment when a segment is full.
        token_threshold: content tokens at which a segment is full.
        user_id: the session's user; another user's session raises `SessionNotFound`.

    Returns:
        The session's id, for the next call.

    Raises:
        InvalidInput: an argument is invalid; nothing was written.
        StorageError: the store failed.
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
    """Record a question and its answer in a conversation that continues in new segments.

    Args:
        user_message: the question: a text, or parts as for `SessionManager.user_says`.
        ai_response: the answer.
        model: the model that gave the answer.
        provider: the provider that ran the model.
        session_id: any segment of the conversation to continue; by default a new conversation.
        token_threshold: content tokens at which a segment is full.
        max_turns: messages at which a segment is full.
        user_id: the conversation's user; another user's conversation raises `SessionNotFound`.

    Returns:
        The id of the live segment, for the next call.

    Raises:
        InvalidInput: an argument is invalid; nothing was written.
        StorageError: the store failed.
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
    """Call a model with the user's input; record the question, the answer and the usage.

    The answer is linked to its question (`parent_event_id`). If the model raises, the kind of error is
    recorded too.

    Args:
        user_input: the user's message, a text or parts as for `SessionManager.user_says`. It is recorded
            before the call.
        llm_function: your function, which gets the input. It is async, or it is sync and runs in a thread
            (a function that needs the running event loop, for instance for `asyncio.create_task`, must be
            async). It returns a text; or a response that `SessionManager.ai_responds` accepts, as an object
            or a dict; or an object with `content` or `text`.
        model: the model that answers, if the response does not name it.
        provider: the provider that runs the model; by default the provider of the response's SDK.
        session_manager: the conversation; without it, a manager is opened for `session_id`.
        session_id: the session to continue, created if it does not exist; by default a new session.
        infinite_context: continue in a new segment when a segment is full.
        token_threshold: content tokens at which a segment is full.
        user_id: the session's user; another user's session raises `SessionNotFound`.

    Returns:
        The answer's text, and the session's id.

    Raises:
        InvalidInput: an argument is invalid, and nothing was written; or the response is of an unknown kind,
            and only the question was written.
        StorageError: the store failed.
        Exception: any exception that `llm_function` raises, unchanged.
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
    """Call a model that streams its answer. Read the result with `async for`.

    Each piece is passed on when it arrives. The answer is recorded when it is complete, with its usage if
    the stream reports it. If the stream breaks, or nobody reads it to the end, the text so far is recorded,
    with the metadata `interrupted`.

    Args:
        user_input: the user's message, as for `track_llm_call`. It is recorded before the call; the call
            begins when you ask for the first piece.
        llm_function: as for `track_llm_call`, but it returns an iterator, async or not, of texts, or of the
            chunks that the providers' SDKs stream.
        model: as for `track_llm_call`, and so are all the others.
        provider: see there.
        session_manager: see there.
        session_id: see there.
        infinite_context: see there.
        token_threshold: see there.
        user_id: see there.

    Returns:
        The stream to iterate over. It also has the `session_id`, and the `text` so far.

    Raises:
        InvalidInput, StorageError, Exception: as for `track_llm_call`. All except the first are raised while
            the stream is read.
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
    """Record question and answer, or neither of them if one is invalid."""
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
    """Record a question and its answer in a new session, and return its statistics.

    Raises:
        InvalidInput: an argument is invalid; nothing was written.
        StorageError: the store failed.
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
    """Record a tool call and its result in the session with this id, or in a new one.

    Returns:
        The session's id.

    Raises:
        InvalidInput: the tool has no name, or the metadata is not JSON; nothing was written.
        StorageError: the store failed.
    """
    return await SessionManager(session_id, user_id=user_id).tool_used(
        tool_name, arguments, result, error, **metadata
    )


async def get_session_stats(
    session_id: str, include_all_segments: bool = False, *, user_id: str | None = None
) -> dict[str, Any]:
    """Return the statistics of a conversation's live segment, or of all segments.

    The id may be any segment's. With `user_id`, another user's session raises `SessionNotFound`.

    Raises:
        SessionNotFound: the session does not exist.
        StorageError: the store failed.
    """
    return await _reader(session_id, user_id).get_stats(include_all_segments)


async def get_conversation_history(
    session_id: str, include_all_segments: bool = False, *, user_id: str | None = None
) -> list[dict[str, Any]]:
    """Return the messages of a conversation's live segment, or of all segments.

    The id may be any segment's. With `user_id`, another user's session raises `SessionNotFound`.

    Raises:
        SessionNotFound: the session does not exist.
        StorageError: the store failed.
    """
    return await _reader(session_id, user_id).get_conversation(include_all_segments)


def _reader(session_id: str, user_id: str | None) -> SessionManager:
    return SessionManager(session_id, create=False, user_id=user_id)


track_llm_interaction = track_llm_call
quick_stats = quick_conversation
