"""Rows and events of prompts, as tests make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chuk_ai_session_manager.models import EventSource, Session, SessionEvent
from chuk_ai_session_manager.providers.messages import ChatMessage, calls_of, check_chat_messages, event_of

AnySession = Session[Any]


AnyEvent = SessionEvent[Any]


NO_CONTENT = {"role": "assistant", "content": None}


# -- sessions to build from ----------------------------------------------------------------------


def user(text: Any) -> AnyEvent:
    return SessionEvent(message=text, source=EventSource.USER)


def answer(text: Any, source: EventSource = EventSource.LLM) -> AnyEvent:
    return SessionEvent(message=text, source=source)


def session_with(*events: AnyEvent, **fields: Any) -> AnySession:
    session: AnySession = Session(**fields)
    session.events.extend(events)
    return session


def row(role: str, content: Any) -> ChatMessage:
    return {"role": role, "content": content}


def tool_row(name: str, content: str) -> ChatMessage:
    return {"role": "tool", "name": name, "content": content}


def call_row(*call_ids: str, content: str | None = None) -> ChatMessage:
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in call_ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result_row(call_id: str, content: str) -> ChatMessage:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


async def words(text: str, model: str) -> int:
    return len(text.split())


def events_of(rows: Sequence[ChatMessage]) -> list[AnyEvent]:
    checked = check_chat_messages(rows, "test")
    calls = {call["id"]: call for row in checked for call in calls_of(row)}
    return [event_of(row, calls) for row in checked]


def assert_pairs_intact(rows: Sequence[ChatMessage]) -> None:
    """Each call is directly followed by its results, and no result is anywhere else."""
    waiting: list[str] = []
    for each in rows:
        if each["role"] == "tool":
            assert each["tool_call_id"] in waiting
            waiting.remove(each["tool_call_id"])
        else:
            assert not waiting
            waiting = [call["id"] for call in calls_of(each)]
    assert not waiting
