"""One call does it: each of these opens the session, does one thing, and hands back what you need next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..callbacks import call
from ..session_manager import SessionManager
from ..usage import response_text, usage_of
from ..validation import check_answer

__all__ = [
    "SessionManager",
    "get_conversation_history",
    "get_session_stats",
    "quick_conversation",
    "quick_stats",
    "track_conversation",
    "track_infinite_conversation",
    "track_llm_call",
    "track_llm_interaction",
    "track_tool_use",
]


async def track_conversation(
    user_message: str,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = 4000,
) -> str:
    """Record a question and its answer.

    Args:
        user_message: the question.
        ai_response: the answer.
        model: who gave it.
        provider: who ran the model.
        session_id: the session to continue, made if it is not there; a new one without it.
        infinite_context: continue in a new segment when one is full.
        token_threshold: content tokens at which a segment is full.

    Returns:
        The session's id, for the next call.

    Raises:
        InvalidInput: an argument that cannot be right; nothing was written.
        StorageError: the store could not do it.
    """
    sm = SessionManager(session_id, infinite_context=infinite_context, token_threshold=token_threshold)
    return await _exchange(sm, user_message, ai_response, model, provider)


async def track_infinite_conversation(
    user_message: str,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    session_id: str | None = None,
    token_threshold: int = 4000,
    max_turns: int = 20,
) -> str:
    """Record a question and its answer in a conversation that goes on in new segments.

    Args:
        user_message: the question.
        ai_response: the answer.
        model: who gave it.
        provider: who ran the model.
        session_id: any segment of the conversation to continue; a new one without it.
        token_threshold: content tokens at which a segment is full.
        max_turns: messages at which a segment is full.

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
    )
    return await _exchange(sm, user_message, ai_response, model, provider)


async def track_llm_call(
    user_input: str,
    llm_function: Callable[[str], Any],
    model: str = "unknown",
    provider: str = "unknown",
    session_manager: SessionManager | None = None,
    session_id: str | None = None,
    infinite_context: bool = False,
    token_threshold: int = 4000,
) -> tuple[str, str]:
    """Call a model with the user's input, and record both sides and the usage that came with the answer.

    Args:
        user_input: what the user said; it is recorded before the call.
        llm_function: anything that can be called with it, async, or sync (then in a thread of its own: what
            needs the running event loop, such as `asyncio.create_task`, must be async); gives a text, OpenAI's chat completion (object or dict), or an object with `.content`.
        model: who answers.
        provider: who runs the model.
        session_manager: the conversation; without it, one is opened by `session_id`.
        session_id: the session to continue, made if it is not there; a new one without it.
        infinite_context: continue in a new segment when one is full.
        token_threshold: content tokens at which a segment is full.

    Returns:
        The answer's text, and the session's id.

    Raises:
        InvalidInput: an argument that cannot be right; nothing was written.
        StorageError: the store could not do it.
        Exception: whatever `llm_function` raises, as it is.
    """
    sm = session_manager or SessionManager(
        session_id, infinite_context=infinite_context, token_threshold=token_threshold
    )
    check_answer("", model, provider, "track_llm_call")
    await sm.user_says(user_input)
    response = await call(llm_function, user_input)
    text = response_text(response)
    return text, await sm.ai_responds(text, model=model, provider=provider, usage=usage_of(response))


async def _exchange(sm: SessionManager, question: str, answer: str, model: str, provider: str) -> str:
    """Record both sides, or, where either is refused, neither."""
    check_answer(answer, model, provider, "track a conversation")
    await sm.user_says(question)
    return await sm.ai_responds(answer, model=model, provider=provider)


async def quick_conversation(
    user_message: str,
    ai_response: str,
    model: str = "unknown",
    provider: str = "unknown",
    infinite_context: bool = False,
) -> dict[str, Any]:
    """Record a question and its answer in a new session, and give its statistics.

    Raises:
        InvalidInput: an argument that cannot be right; nothing was written.
        StorageError: the store could not do it.
    """
    sm = SessionManager(infinite_context=infinite_context)
    await _exchange(sm, user_message, ai_response, model, provider)
    return await sm.get_stats()


async def track_tool_use(
    tool_name: str,
    arguments: dict[str, Any],
    result: Any,
    session_id: str | None = None,
    error: str | None = None,
    **metadata: Any,
) -> str:
    """Record a tool call and what came of it, in the session of this id or a new one.

    Returns:
        The session's id.

    Raises:
        InvalidInput: no tool name, or metadata that is not JSON; nothing was written.
        StorageError: the store could not do it.
    """
    return await SessionManager(session_id).tool_used(tool_name, arguments, result, error, **metadata)


async def get_session_stats(session_id: str, include_all_segments: bool = False) -> dict[str, Any]:
    """A session's statistics, or with `include_all_segments` those of its whole conversation.

    Raises:
        SessionNotFound: there is no such session.
        StorageError: the store could not say.
    """
    return await _reader(session_id, include_all_segments).get_stats()


async def get_conversation_history(
    session_id: str, include_all_segments: bool = False
) -> list[dict[str, Any]]:
    """What was said in a session, or with `include_all_segments` in its whole conversation.

    Raises:
        SessionNotFound: there is no such session.
        StorageError: the store could not say.
    """
    return await _reader(session_id, include_all_segments).get_conversation()


def _reader(session_id: str, include_all_segments: bool) -> SessionManager:
    return SessionManager(session_id, infinite_context=include_all_segments, create=False)


track_llm_interaction = track_llm_call
quick_stats = quick_conversation
