"""Builds prompts from sessions, and truncates prompts to a token limit.

Five strategies make the original's messages, which are meant for reading: an assistant's message has no
content, and a tool's message no call id. `PromptStrategy.CHAT` makes messages that providers accept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from itertools import takewhile
from typing import Any

from .conversation.absent import fill
from .conversation.background import background_of, told_by_ancestors
from .conversation.context.fitting import fitted_with_earlier
from .conversation.context.windows import is_system, is_user, truncate_prompt_to_token_limit
from .conversation.order import as_told
from .conversation.summaries import summary_text
from .exceptions import InvalidInput
from .exceptions.validation import check_count, check_text, copied
from .models import EventSource, EventType, Session
from .models.home import HomeStore
from .models.session_event import content_of
from .providers.earlier import with_earlier
from .providers.messages import ChatMessage, full_messages, is_sent, speaker, text_of
from .providers.sendable import with_newest_marks
from .session_storage import ChukSessionsStore, event_store, get_backend
from .stores.base import AnyEvent, AnySession

__all__ = [
    "ChukSessionsStore",
    "PromptStrategy",
    "build_prompt_from_session",
    "get_backend",
    "truncate_prompt_to_token_limit",
]

logger: logging.Logger = logging.getLogger(__name__)

_OPERATION = "build a prompt"


class PromptStrategy(str, Enum):
    """Which messages of a session a prompt contains.

    * `MINIMAL`: the first user message, and the tool results (or summaries) of the latest answer
    * `TASK_FOCUSED`: the first and the latest user message, and the tool results that are not errors
    * `TOOL_FOCUSED`: the latest user message, and all tool results, errors with their details
    * `CONVERSATION`: the last `max_history` messages
    * `HIERARCHICAL`: like `MINIMAL`; `include_parent_context` adds the parents' context
    * `CHAT`: the system prompt and the last `max_history` messages as a provider accepts them:
      `tool_calls` with ids, each followed by its `tool` messages with their `tool_call_id`
    """

    MINIMAL = "minimal"
    TASK_FOCUSED = "task"
    TOOL_FOCUSED = "tool"
    CONVERSATION = "conversation"
    HIERARCHICAL = "hierarchical"
    CHAT = "chat"


async def build_prompt_from_session(
    session: AnySession,
    strategy: PromptStrategy | str = PromptStrategy.MINIMAL,
    max_tokens: int | None = None,
    model: str = "gpt-3.5-turbo",
    include_parent_context: bool = False,
    current_query: str | None = None,
    max_history: int = 5,
) -> list[ChatMessage]:
    """Build a prompt from a session. Without events and query, the prompt is `[]`.

    Args:
        session: the session, which is only read.
        strategy: which messages the prompt contains. An unknown name means `MINIMAL`, with a logged warning.
        max_tokens: truncate the prompt to so many tokens, as `truncate_prompt_to_token_limit` does.
        model: the model whose tokens `max_tokens` counts.
        include_parent_context: add the latest summary of each ancestor at the beginning, oldest first: as
            one system message, as the original did; with `CHAT`, at the beginning of the first user message,
            between the marks of `providers.earlier`.
        current_query: the user's current question. It becomes the last message, unless the last user
            message is equal to it.
        max_history: how many messages `CONVERSATION` and `CHAT` include; the other strategies use all.

    Raises:
        InvalidInput: the strategy or the query is not a text, or a limit is below 1.
        TokenLimitExceeded: not even the shortest possible prompt fits `max_tokens`.
        StorageError: the ancestors could not be read.
    """
    chosen = _known_strategy(strategy)
    if max_tokens is not None:
        check_count(max_tokens, 1, "max_tokens", _OPERATION)
    check_count(max_history, 1, "max_history", _OPERATION)
    query = _query_rows(current_query)
    if not session.events and not query:
        return []
    session, told_before = await _on_path(session)
    prompt = await _BUILDERS[chosen](session, max_history)
    told = ""
    if include_parent_context:
        told = await _told(session) if told_before is None else told_before
    is_chat = chosen is PromptStrategy.CHAT
    if told and not is_chat:
        prompt = _with_context(prompt, _context_rows(told))
    if query and text_of(_last_user_row(prompt)) != current_query:
        prompt = prompt + query
    prompt = with_newest_marks(prompt)

    async def cut(tokens: int) -> list[ChatMessage]:
        return await truncate_prompt_to_token_limit(prompt, tokens, model)

    if told and is_chat:
        if max_tokens is None:
            return with_earlier(prompt, told)
        return await fitted_with_earlier(cut, told, max_tokens, model)
    return prompt if max_tokens is None else await cut(max_tokens)


def _known_strategy(strategy: object) -> PromptStrategy:
    known = ", ".join(each.value for each in PromptStrategy)
    if not isinstance(strategy, str):
        raise InvalidInput(_OPERATION, f"strategy must be one of {known}, not {type(strategy).__name__}")
    try:
        return PromptStrategy(strategy)
    except ValueError:
        # The text itself stays out of the log: somebody may have passed a message by mistake.
        logger.warning("Unknown prompt strategy: using minimal; known strategies are %s", known)
        return PromptStrategy.MINIMAL


def _query_rows(current_query: str | None) -> list[ChatMessage]:
    if current_query is None:
        return []
    check_text(current_query, "current_query", _OPERATION)
    return [{"role": "user", "content": current_query}] if current_query.strip() else []


def _last_user_row(prompt: Sequence[ChatMessage]) -> ChatMessage:
    return next((row for row in reversed(prompt) if is_user(row)), {})


# -- the strategies ------------------------------------------------------------------------------


async def _build_minimal_prompt(session: AnySession) -> list[ChatMessage]:
    question = _user_rows(session)[:1]
    reply = _latest_reply(session)
    if reply is None:
        return question
    tools = [_tool_row(message) for message in _tool_messages(session, reply)]
    return [*question, _assistant_row(), *(tools or _summary_rows(session, reply))]


async def _build_task_focused_prompt(session: AnySession) -> list[ChatMessage]:
    users = _user_rows(session)
    if not users:
        return []
    task = users if len(users) == 1 else [users[0], users[-1]]
    reply = _latest_reply(session)
    if reply is None:
        return task
    tools = [_tool_row(message) for message in _tool_objects(session, reply) if not _is_error(message)]
    return [*task, _assistant_row(), *tools]


async def _build_tool_focused_prompt(session: AnySession) -> list[ChatMessage]:
    question = _user_rows(session)[-1:]
    reply = _latest_reply(session)
    if reply is None:
        return question
    tools = [_tool_or_error_row(message) for message in _tool_objects(session, reply)]
    return [*question, _assistant_row(), *tools]


async def _build_conversation_prompt(session: AnySession, max_history: int = 5) -> list[ChatMessage]:
    messages = _messages(session)[-max_history:]
    rows = [_spoken_row(event) for event in messages]
    if messages and messages[-1].source != EventSource.USER:
        rows[-1] = _assistant_row()
        rows += [_tool_row(message) for message in _tool_objects(session, messages[-1])]
    return rows


async def _build_hierarchical_prompt(
    session: AnySession, include_parent_context: bool = True
) -> list[ChatMessage]:
    rows = await _build_minimal_prompt(session)
    return _with_context(rows, _context_rows(await _told(session))) if include_parent_context else rows


async def _build_chat_prompt(session: AnySession, max_history: int) -> list[ChatMessage]:
    events = [event for event in as_told(session.events or []) if is_sent(event)]
    positions = [position for position, event in enumerate(events) if event.type == EventType.MESSAGE]
    start = positions[-max_history] if len(positions) > max_history else 0
    # Truncated as rows, not as events: a result that was recorded after `start` belongs to its call.
    skipped = len(full_messages(events[:start], include_system=True))
    return _system_prompt_rows(session) + full_messages(events, include_system=True)[skipped:]


# -- what the strategies are made of -------------------------------------------------------------


def _messages(session: AnySession) -> list[AnyEvent]:
    return [event for event in as_told(session.events or []) if event.type == EventType.MESSAGE]


def _user_rows(session: AnySession) -> list[ChatMessage]:
    return [_spoken_row(event) for event in _messages(session) if event.source == EventSource.USER]


def _spoken_row(event: AnyEvent) -> ChatMessage:
    content = content_of(event.message)
    known = content is None or isinstance(content, str | list)
    return {"role": speaker(event), "content": copied(content) if known else str(content)}


def _latest_reply(session: AnySession) -> AnyEvent | None:
    """The latest message that is not the user's. A system message counts, as in the original."""
    return next((event for event in reversed(_messages(session)) if event.source != EventSource.USER), None)


def _assistant_row() -> ChatMessage:
    return {"role": "assistant", "content": None}


def _children(session: AnySession, parent: AnyEvent, kind: EventType) -> list[Any]:
    """The messages of the events that name another event as their parent."""
    return [
        event.message
        for event in session.events
        if event.type == kind and event.metadata.get("parent_event_id") == parent.id
    ]


def _tool_messages(session: AnySession, reply: AnyEvent) -> list[Any]:
    return _children(session, reply, EventType.TOOL_CALL)


def _tool_objects(session: AnySession, reply: AnyEvent) -> list[dict[str, Any]]:
    return [message for message in _tool_messages(session, reply) if isinstance(message, dict)]


def _tool_row(message: Any) -> ChatMessage:
    if not isinstance(message, dict):
        return {"role": "tool", "name": "unknown", "content": _json(message)}
    name = message.get("tool_name") or message.get("tool") or "unknown"
    return {"role": "tool", "name": name, "content": _json(message.get("result"))}


def _tool_or_error_row(message: dict[str, Any]) -> ChatMessage:
    row, error = _tool_row(message), message.get("error")
    return (
        row | {"content": _json({"error": error, "details": message.get("result")})}
        if error is not None
        else row
    )


def _is_error(message: dict[str, Any]) -> bool:
    result = message.get("result")
    return isinstance(result, dict) and result.get("status") == "error"


def _summary_rows(session: AnySession, reply: AnyEvent) -> list[ChatMessage]:
    latest = _children(session, reply, EventType.SUMMARY)[-1:]
    return [{"role": "system", "content": summary_text(message)} for message in latest]


def _system_prompt_rows(session: AnySession) -> list[ChatMessage]:
    prompt = session.metadata.properties.get("system_prompt") if session.metadata else None
    said = isinstance(prompt, str) and prompt.strip()
    return [{"role": "system", "content": prompt}] if said else []


def _json(value: Any) -> str:
    # Escaped as in the original: applications compare these rows.
    return json.dumps(value, default=str)


_BUILDERS: dict[PromptStrategy, Callable[[AnySession, int], Awaitable[list[ChatMessage]]]] = {
    PromptStrategy.MINIMAL: lambda session, _: _build_minimal_prompt(session),
    PromptStrategy.TASK_FOCUSED: lambda session, _: _build_task_focused_prompt(session),
    PromptStrategy.TOOL_FOCUSED: lambda session, _: _build_tool_focused_prompt(session),
    PromptStrategy.CONVERSATION: _build_conversation_prompt,
    # The context is added at the beginning for all strategies.
    PromptStrategy.HIERARCHICAL: lambda session, _: _build_minimal_prompt(session),
    PromptStrategy.CHAT: _build_chat_prompt,
}


# -- the ancestors' context ----------------------------------------------------------------------


def _with_context(prompt: list[ChatMessage], context: list[ChatMessage]) -> list[ChatMessage]:
    front = len(list(takewhile(is_system, prompt)))
    return prompt[:front] + context + prompt[front:]


def _context_rows(told: str) -> list[ChatMessage]:
    return [{"role": "system", "content": f"Context from previous conversation: {told}"}] if told else []


async def _told(session: AnySession) -> str:
    return await told_by_ancestors(session, _home_of(session))


async def _on_path(session: AnySession) -> tuple[AnySession, str | None]:
    """The session with the events that are on the path, and what is told of those before them.

    A choice in a segment may lead to an earlier one: then events of that segment are on the path, and the
    summaries of the ancestors tell of more than the path.
    """
    if not (isinstance(session, Session) and session.parent_id and session.totals.choices):
        return session, None
    background = await background_of(session, _home_of(session))
    if background.held is None:
        return session, None
    events = [*background.start, *background.held]
    await fill(events, _home_of(session))
    on_path = Session(id=session.id, metadata=session.metadata, parent_id=session.parent_id, events=events)
    return on_path, str(background.notes) if background.notes else ""


def _home_of(session: AnySession) -> HomeStore:
    # This module's own names, looked up when they are used, so that an application can replace them.
    return session.home if session.is_bound else event_store(ChukSessionsStore(get_backend()))
