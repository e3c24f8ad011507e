"""One-liners: each opens the session, does one thing, and returns what you need for the next call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conversation.opening import DEFAULT_MAX_TURNS, DEFAULT_TOKEN_THRESHOLD
from ..exceptions import InvalidInput
from ..exceptions.validation import check_answer, check_callable
from ..providers.parts import Content
from ..providers.usage import read_usage
from ..session_manager import SessionManager
from ..stores import SessionStore
from .clients import track_client
from .streams import LLMStream
from .tracking import Exchange, complete

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
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | None = None,
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
        metadata: JSON values that a new session gets as its properties.
        usage: the provider's own token counts for the answer, as for `SessionManager.ai_responds`.
        store: the store of the session; by default the default store.

    Returns:
        The session's id, for the next call.

    Raises:
        InvalidInput: an argument is invalid; nothing was written.
        StorageError: the store failed.
    """
    sm = SessionManager(
        session_id,
        metadata=metadata,
        store=store,
        infinite_context=infinite_context,
        token_threshold=token_threshold,
        user_id=user_id,
    )
    return await _exchange(sm, user_message, ai_response, model, provider, usage)


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
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | None = None,
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
        metadata: JSON values that a new conversation gets as its properties.
        usage: the provider's own token counts for the answer, as for `SessionManager.ai_responds`.
        store: the store of the conversation; by default the default store.

    Returns:
        The id of the live segment, for the next call.

    Raises:
        InvalidInput: an argument is invalid; nothing was written.
        StorageError: the store failed.
    """
    sm = SessionManager(
        session_id,
        metadata=metadata,
        store=store,
        infinite_context=True,
        token_threshold=token_threshold,
        max_turns_per_segment=max_turns,
        user_id=user_id,
    )
    return await _exchange(sm, user_message, ai_response, model, provider, usage)


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
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | None = None,
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
        metadata: JSON values that a new session gets as its properties.
        usage: the provider's own token counts, if the response does not report them. They are read after the
            call, so that `llm_function` can fill a dict that you pass here.
        store: the store of the session; by default the default store.

    Returns:
        The answer's text, and the session's id.

    Raises:
        InvalidInput: an argument is invalid, and nothing was written; or the response is of an unknown kind,
            and only the question was written; or the usage is unreadable, and the answer was recorded with
            estimated tokens.
        StorageError: the store failed.
        Exception: any exception that `llm_function` raises, unchanged.
    """
    check_callable(llm_function, "llm_function", "track_llm_call")
    sm = _manager(
        session_manager,
        session_id=session_id,
        infinite_context=infinite_context,
        token_threshold=token_threshold,
        user_id=user_id,
        metadata=metadata,
        store=store,
    )
    return await complete(Exchange(sm, model, provider, usage), user_input, llm_function)


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
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | None = None,
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
        metadata: see there.
        usage: see there.
        store: see there.

    Returns:
        The stream to iterate over. It also has the `session_id`, and the `text` so far.

    Raises:
        InvalidInput, StorageError, Exception: as for `track_llm_call`. All except the first are raised while
            the stream is read.
    """
    check_callable(llm_function, "llm_function", "stream_llm_call")
    sm = _manager(
        session_manager,
        session_id=session_id,
        infinite_context=infinite_context,
        token_threshold=token_threshold,
        user_id=user_id,
        metadata=metadata,
        store=store,
    )
    return LLMStream(Exchange(sm, model, provider, usage), user_input, llm_function)


def _manager(session_manager: SessionManager | None, **settings: Any) -> SessionManager:
    """The manager that was given, or else one with these settings.

    Raises:
        InvalidInput: there is a manager, and settings that would have no effect.
    """
    if session_manager is None:
        return SessionManager(**settings)
    for name in ("user_id", "metadata", "store"):
        if settings[name] is not None:
            reason = f"{name} is for a new manager: give it to the SessionManager that you pass instead"
            raise InvalidInput("track a model call", reason)
    return session_manager


async def _exchange(
    sm: SessionManager, question: Content, answer: str, model: str, provider: str, usage: object | None
) -> str:
    """Record question and answer, or neither of them if one is invalid."""
    check_answer(answer, model, provider, "track a conversation")
    if usage is not None:
        read_usage(usage)
    await sm.user_says(question)
    return await sm.ai_responds(answer, model=model, provider=provider, usage=usage)


async def quick_conversation(
    user_message: Content,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    infinite_context: bool = False,
    *,
    user_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    usage: object | None = None,
    store: SessionStore | None = None,
) -> dict[str, Any]:
    """Record a question and its answer in a new session, and return its statistics.

    The arguments are those of `track_conversation`.

    Raises:
        InvalidInput: an argument is invalid; nothing was written.
        StorageError: the store failed.
    """
    sm = SessionManager(metadata=metadata, store=store, infinite_context=infinite_context, user_id=user_id)
    await _exchange(sm, user_message, ai_response, model, provider, usage)
    return await sm.get_stats()


async def track_tool_use(
    tool_name: str,
    arguments: dict[str, Any],
    result: Any,
    session_id: str | None = None,
    error: str | None = None,
    *,
    user_id: str | None = None,
    store: SessionStore | None = None,
    **metadata: Any,
) -> str:
    """Record a tool call and its result in the session with this id, or in a new one.

    `event_id`, `timestamp` and `tool_call_id` are as for `SessionManager.tool_used`. All other keyword
    arguments are stored with the event.

    Returns:
        The session's id.

    Raises:
        InvalidInput: the tool has no name, or the metadata is not JSON; nothing was written.
        StorageError: the store failed.
    """
    sm = SessionManager(session_id, store=store, user_id=user_id)
    return await sm.tool_used(tool_name, arguments, result, error, **metadata)


async def get_session_stats(
    session_id: str,
    include_all_segments: bool = False,
    *,
    user_id: str | None = None,
    store: SessionStore | None = None,
) -> dict[str, Any]:
    """Return the statistics of a conversation's live segment, or of all segments.

    The id may be any segment's. With `user_id`, another user's session raises `SessionNotFound`.
    Without `store`, the session is in the default store.

    Raises:
        SessionNotFound: the session does not exist.
        StorageError: the store failed.
    """
    return await _reader(session_id, user_id, store).get_stats(include_all_segments)


async def get_conversation_history(
    session_id: str,
    include_all_segments: bool = False,
    *,
    user_id: str | None = None,
    store: SessionStore | None = None,
) -> list[dict[str, Any]]:
    """Return the messages of a conversation's live segment, or of all segments.

    The id may be any segment's. With `user_id`, another user's session raises `SessionNotFound`.
    Without `store`, the session is in the default store.

    Raises:
        SessionNotFound: the session does not exist.
        StorageError: the store failed.
    """
    return await _reader(session_id, user_id, store).get_conversation(include_all_segments)


def _reader(session_id: str, user_id: str | None, store: SessionStore | None) -> SessionManager:
    return SessionManager(session_id, store=store, create=False, user_id=user_id)


track_llm_interaction = track_llm_call
quick_stats = quick_conversation
