"""What a type checker says of an application that uses the blocking API; mypy and pyright read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.providers.anthropic_messages import AnthropicRequest
from chuk_ai_session_manager.sync import (
    EventStore,
    InfiniteConversationManager,
    LLMStream,
    MemoryStore,
    SessionAwareToolProcessor,
    SessionManager,
    export_conversation,
    get_backend,
    get_conversation_history,
    open_store,
    run,
    stream_llm_call,
    track_client,
    track_conversation,
    track_llm_call,
)

if TYPE_CHECKING:
    from anthropic import Anthropic
    from openai import OpenAI

Rows = list[dict[str, Any]]


def managers(gpt: OpenAI, claude: Anthropic) -> None:
    with SessionManager("s", store=MemoryStore(), token_limit=100) as sm:
        assert_type(sm, SessionManager)
        assert_type(sm.user_says("Hello", channel="web"), str)
        assert_type(sm.get_messages_for_llm(include_tools=True), Rows)
        assert_type(sm.get_messages_for_llm(format="anthropic", max_tokens=100), AnthropicRequest)
        assert_type(sm.fork(), SessionManager)
        assert_type((sm.session_id, sm.is_infinite), tuple[str, bool])
        assert_type(track_client(gpt, sm), "OpenAI")
        claude.messages.create(model="m", max_tokens=9, **sm.get_messages_for_llm(format="anthropic"))
        gpt.chat.completions.create(model="m", messages=sm.get_messages_for_llm(format="openai"))

        sm.user_says(b"Hello")  # type: ignore[arg-type]
        SessionManager(token_treshold=1)  # type: ignore[call-arg]
        sm.session_id = "another"  # type: ignore[misc]


async def await_nothing(sm: SessionManager) -> None:
    await sm.user_says("Hello")  # type: ignore[misc]


def one_liners(sm: SessionManager) -> None:
    assert_type(track_conversation("Hello", "Hi"), str)
    assert_type(track_llm_call("Hello", str.upper, session_manager=sm), tuple[str, str])
    assert_type(stream_llm_call("Hello", str.upper), LLMStream)
    assert_type(list(stream_llm_call("Hello", str.upper)), list[Any])
    assert_type(get_conversation_history("s"), Rows)
    track_llm_call("Hello", "an answer")  # type: ignore[arg-type]


class WithTwoMethods:
    """A store of an application needs no more."""

    def get(self, session_id: str) -> Session[Any] | None:
        return None

    def save(self, session: Session[Any]) -> None:
        return None


def stores() -> None:
    with open_store("sqlite:///chats.db") as store:
        assert_type(store, EventStore)
        assert_type(store.get("s"), Session[Any] | None)
        assert_type(list(export_conversation("s", store)), list[str])
        SessionManager(store=store)
    SessionManager(store=WithTwoMethods())
    assert_type(get_backend().store, EventStore)
    session = run(Session.create())
    assert_type(session, Session[Any])
    InfiniteConversationManager().get_session_chain(session.id)
    assert_type(SessionAwareToolProcessor.create("s"), SessionAwareToolProcessor)
