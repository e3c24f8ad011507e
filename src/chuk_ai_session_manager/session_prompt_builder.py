"""What of a session goes into a prompt, and how a prompt is made to fit.

Five strategies give the original's rows, which are for reading: an assistant's row has no content
and a tool's row no call id. `PromptStrategy.CHAT` gives messages that a provider accepts as they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from enum import Enum
from itertools import chain, takewhile
from typing import Any, NamedTuple

from .background import told_by_ancestors
from .exceptions import InvalidInput, TokenLimitExceeded
from .messages import SYSTEM_ROLES, ChatMessage, calls_of, full_messages, speaker, text_of
from .models import EventSource, EventType, TokenUsage
from .models.session_event import content_of
from .session_storage import ChukSessionsStore, event_store, get_backend
from .stores.base import AnyEvent, AnySession
from .summaries import summary_text
from .validation import check_count, check_text, copied

__all__ = [
    "ChukSessionsStore",
    "PromptStrategy",
    "build_prompt_from_session",
    "get_backend",
    "truncate_prompt_to_token_limit",
]

logger = logging.getLogger(__name__)

_OPERATION = "build a prompt"


class PromptStrategy(str, Enum):
    """What of a session goes into a prompt.

    * `MINIMAL`: the first user message, and what the tools (or a summary) said to the latest answer
    * `TASK_FOCUSED`: the first and the latest user message, and the tool results that are no errors
    * `TOOL_FOCUSED`: the latest user message, and every tool result, errors with their details
    * `CONVERSATION`: the last `max_history` messages
    * `HIERARCHICAL`: as `MINIMAL`; the parents' context comes with `include_parent_context`
    * `CHAT`: the system prompt and the last `max_history` messages as a provider accepts them:
      `tool_calls` with ids, each followed by its `tool` rows with their `tool_call_id`
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
    """Make the prompt of a session; one without events, and no query, is `[]`.

    Args:
        session: it is only read.
        strategy: a name that is not known gives `MINIMAL`, with a warning in the log.
        max_tokens: what the prompt is cut to, as `truncate_prompt_to_token_limit` does it.
        model: whose tokens `max_tokens` counts.
        include_parent_context: put the latest summary of each ancestor in front, oldest first, as one
            system row (behind the system prompt, where there is one).
        current_query: what the user asks now; the last row, unless the last user row is just that.
        max_history: how many messages `CONVERSATION` and `CHAT` go back; the others look at it all.

    Raises:
        InvalidInput: a strategy that is no text, a bound below 1, a query that is no text.
        TokenLimitExceeded: not even the least of it fits `max_tokens`.
        StorageError: the ancestors could not be read.
    """
    chosen = _known_strategy(strategy)
    if max_tokens is not None:
        check_count(max_tokens, 1, "max_tokens", _OPERATION)
    check_count(max_history, 1, "max_history", _OPERATION)
    query = _query_rows(current_query)
    if not session.events and not query:
        return []
    prompt = await _BUILDERS[chosen](session, max_history)
    if include_parent_context:
        prompt = _with_context(prompt, await _context_rows(session))
    if query and text_of(_last_user_row(prompt)) != current_query:
        prompt = prompt + query
    return prompt if max_tokens is None else await truncate_prompt_to_token_limit(prompt, max_tokens, model)


def _known_strategy(strategy: object) -> PromptStrategy:
    known = ", ".join(each.value for each in PromptStrategy)
    if not isinstance(strategy, str):
        raise InvalidInput(_OPERATION, f"strategy must be one of {known}, not {type(strategy).__name__}")
    try:
        return PromptStrategy(strategy)
    except ValueError:
        # The text itself stays out of the log: a mixed-up argument may be what somebody said.
        logger.warning("Unknown prompt strategy: using minimal; known are %s", known)
        return PromptStrategy.MINIMAL


def _query_rows(current_query: str | None) -> list[ChatMessage]:
    if current_query is None:
        return []
    check_text(current_query, "current_query", _OPERATION)
    return [{"role": "user", "content": current_query}] if current_query.strip() else []


def _last_user_row(prompt: Sequence[ChatMessage]) -> ChatMessage:
    return next((row for row in reversed(prompt) if _is_user(row)), {})


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
    return _with_context(rows, await _context_rows(session)) if include_parent_context else rows


async def _build_chat_prompt(session: AnySession, max_history: int) -> list[ChatMessage]:
    events = session.events or []
    positions = [position for position, event in enumerate(events) if event.type == EventType.MESSAGE]
    start = positions[-max_history] if len(positions) > max_history else 0
    # Cut as rows, not as events: a result that was recorded later than `start` goes with its call.
    skipped = len(full_messages(events[:start], include_system=True))
    return _system_prompt_rows(session) + full_messages(events, include_system=True)[skipped:]


# -- what the strategies are made of -------------------------------------------------------------


def _messages(session: AnySession) -> list[AnyEvent]:
    return [event for event in session.events or [] if event.type == EventType.MESSAGE]


def _user_rows(session: AnySession) -> list[ChatMessage]:
    return [_spoken_row(event) for event in _messages(session) if event.source == EventSource.USER]


def _spoken_row(event: AnyEvent) -> ChatMessage:
    content = content_of(event.message)
    known = content is None or isinstance(content, str | list)
    return {"role": speaker(event), "content": copied(content) if known else str(content)}


def _latest_reply(session: AnySession) -> AnyEvent | None:
    """The latest message that is not the user's; one of the system counts, as it always did."""
    return next((event for event in reversed(_messages(session)) if event.source != EventSource.USER), None)


def _assistant_row() -> ChatMessage:
    return {"role": "assistant", "content": None}


def _children(session: AnySession, parent: AnyEvent, kind: EventType) -> list[Any]:
    """The messages of the events that were recorded as belonging to another event."""
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
    return row | {"content": _json({"error": error, "details": message.get("result")})} if error else row


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
    # Escaped as the original did: applications compare these rows.
    return json.dumps(value, default=str)


_BUILDERS: dict[PromptStrategy, Callable[[AnySession, int], Awaitable[list[ChatMessage]]]] = {
    PromptStrategy.MINIMAL: lambda session, _: _build_minimal_prompt(session),
    PromptStrategy.TASK_FOCUSED: lambda session, _: _build_task_focused_prompt(session),
    PromptStrategy.TOOL_FOCUSED: lambda session, _: _build_tool_focused_prompt(session),
    PromptStrategy.CONVERSATION: _build_conversation_prompt,
    # The context is put in front for every strategy alike.
    PromptStrategy.HIERARCHICAL: lambda session, _: _build_minimal_prompt(session),
    PromptStrategy.CHAT: _build_chat_prompt,
}


# -- the ancestors' context ----------------------------------------------------------------------


def _with_context(prompt: list[ChatMessage], context: list[ChatMessage]) -> list[ChatMessage]:
    front = len(list(takewhile(_is_system, prompt)))
    return prompt[:front] + context + prompt[front:]


async def _context_rows(session: AnySession) -> list[ChatMessage]:
    # This module's own names, looked up now, so that an application can swap them.
    home = session.home if session.is_bound else event_store(ChukSessionsStore(get_backend()))
    told = await told_by_ancestors(session, home)
    return [{"role": "system", "content": f"Context from previous conversation: {told}"}] if told else []


# -- fitting -------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """A message of a prompt, and how many tokens it is."""

    message: ChatMessage
    tokens: int


async def truncate_prompt_to_token_limit(
    prompt: list[ChatMessage], max_tokens: int, model: str = "gpt-3.5-turbo"
) -> list[ChatMessage]:
    """Cut a prompt to at most so many tokens; one that fits is given back as it is.

    Kept in any case: the system rows in front, the last user row, and what came last after it. The
    oldest goes first: exchange by exchange (a user row up to the next), then, inside the newest one,
    answer by answer. A call and its results stay or go together; only results behind an
    assistant's row without calls (those of the original's strategies) go one by one.

    Args:
        prompt: chat messages, each call directly followed by its results; it is not changed.
        max_tokens: what the tokens of the rows' texts may add up to.
        model: whose tokens those are.

    Raises:
        InvalidInput: `max_tokens` below 1.
        TokenLimitExceeded: what is kept in any case is more; `actual` is how many tokens it has.
    """
    check_count(max_tokens, 1, "max_tokens", "truncate a prompt")
    front = len(list(takewhile(_is_system, prompt)))
    system = [await _counted(row, model) for row in prompt[:front]]
    rows = await _counted_from_the_end(prompt[front:], max_tokens - _tokens(system), model)
    if _tokens(system) + _tokens(rows) <= max_tokens:
        return prompt
    exchanges = _blocks(rows, lambda _first, row: not _is_user(row))
    room = max_tokens - _tokens(system)
    kept = system + (_newest(exchanges, room) or _shortened(exchanges, room))
    if _tokens(kept) > max_tokens:
        raise TokenLimitExceeded(max_tokens, _tokens(kept))
    return [row.message for row in kept]


async def _counted(row: ChatMessage, model: str) -> _Row:
    return _Row(row, await TokenUsage.count_tokens(text_of(row), model))


async def _counted_from_the_end(prompt: list[ChatMessage], room: int, model: str) -> list[_Row]:
    """As many of the last rows as matter: until they are too long, and the newest question is there."""
    rows: list[_Row] = []
    has_question = False
    for message in reversed(prompt):
        rows.append(await _counted(message, model))
        room -= rows[-1].tokens
        has_question = has_question or _is_user(message)
        if room < 0 and has_question:
            break
    return rows[::-1]


def _shortened(exchanges: list[list[_Row]], room: int) -> list[_Row]:
    """The newest exchange without its oldest answers: as much as fits, or the least there can be."""
    newest = [row for exchange in exchanges[-1:] for row in exchange]
    question = list(takewhile(lambda row: _is_user(row.message), newest))
    room -= _tokens(question)
    answers = _blocks(newest[len(question) :], _is_result_of)
    return question + (_newest(answers, room) or _without_loose_results(answers, room))


def _without_loose_results(answers: list[list[_Row]], room: int) -> list[_Row]:
    """The last answer; without its oldest results, where they answer no call."""
    last = [row for answer in answers[-1:] for row in answer]
    if not last or calls_of(last[0].message):
        return last
    return last[:1] + _newest([[result] for result in last[1:]], room - last[0].tokens)


def _blocks(rows: Iterable[_Row], belongs: Callable[[ChatMessage, ChatMessage], bool]) -> list[list[_Row]]:
    """Cut rows into blocks: a row that does not belong to the block's first one begins another."""
    blocks: list[list[_Row]] = []
    for row in rows:
        if blocks and belongs(blocks[-1][0].message, row.message):
            blocks[-1].append(row)
        else:
            blocks.append([row])
    return blocks


def _newest(blocks: Sequence[list[_Row]], room: int) -> list[_Row]:
    """The rows of as many blocks, from the last one back, as there is room for."""
    fitting = 0
    for block in reversed(blocks):
        room -= _tokens(block)
        if room < 0:
            break
        fitting += 1
    return list(chain.from_iterable(blocks[len(blocks) - fitting :]))


def _tokens(rows: Iterable[_Row]) -> int:
    return sum(row.tokens for row in rows)


def _is_result_of(call: ChatMessage, row: ChatMessage) -> bool:
    return call.get("role") == "assistant" and row.get("role") == "tool"


def _is_user(row: ChatMessage) -> bool:
    return row.get("role") == "user"


def _is_system(row: ChatMessage) -> bool:
    return row.get("role") in SYSTEM_ROLES
