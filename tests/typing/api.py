"""What a type checker says of an application's code; mypy reads it, nothing runs it.

Right uses have the types that are asserted; wrong ones are errors, since an ignore that nothing needs is
one itself (`warn_unused_ignores`, in `strict`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, assert_type

from chuk_ai_session_manager import (
    EventSource,
    InfiniteConversationManager,
    PromptStrategy,
    Session,
    SessionAwareToolProcessor,
    SessionEvent,
    SessionManager,
    SessionNotFound,
    TokenSummary,
    TokenUsage,
    __version__,
    build_prompt_from_session,
    configure_storage,
    get_conversation_history,
    get_session_stats,
    get_storage_info,
    is_available,
    quick_conversation,
    stream_llm_call,
    track_client,
    track_conversation,
    track_infinite_conversation,
    track_llm_call,
    track_tool_use,
    truncate_prompt_to_token_limit,
)
from chuk_ai_session_manager.accounts import pricing
from chuk_ai_session_manager.models import CallUsage
from chuk_ai_session_manager.providers.anthropic_messages import AnthropicRequest, for_anthropic
from chuk_ai_session_manager.providers.formats import BedrockRequest, GoogleRequest
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import EventStore, MemoryStore, SessionPage, SqliteStore, open_store
from chuk_ai_session_manager.stores.durability import DurabilityReport

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
from google.genai import Client
from openai import AsyncOpenAI

Rows = list[dict[str, Any]]


async def managers(sm: SessionManager) -> None:
    assert_type(await sm.user_says("Hello", channel="web"), str)
    assert_type(await sm.ai_responds("Hi", model="gpt-4o", provider="openai", usage={"input_tokens": 1}), str)
    assert_type(await sm.tool_used("clock", {}, "12:30", tool_call_id="call_1"), str)
    assert_type(await sm.add_messages([{"role": "user", "content": "Hi"}], model="gpt-4o"), str)
    assert_type(await sm.get_messages_for_llm(include_tools=True, max_tokens=100), Rows)
    assert_type(await sm.get_messages_for_llm(format="anthropic", max_tokens=100), AnthropicRequest)
    assert_type(await sm.get_messages_for_llm(format="google"), GoogleRequest)
    assert_type(await sm.get_messages_for_llm(format="bedrock"), BedrockRequest)
    assert_type(await sm.get_conversation(), Rows)
    assert_type(await sm.get_stats(include_all_segments=True), dict[str, Any])
    assert_type(await sm.get_session_chain(), list[str])
    assert_type((sm.session_id, sm.system_prompt, sm.is_infinite), tuple[str, str | None, bool])

    await sm.user_says(b"Hello")  # type: ignore[arg-type]
    await sm.user_says()  # type: ignore[call-arg]
    await sm.get_messages_for_llm(True, True)  # type: ignore[call-overload]  # all but the first are keyword-only
    SessionManager(token_treshold=1)  # type: ignore[call-arg]
    SessionManager(token_threshold="many")  # type: ignore[arg-type]
    sm.session_id = "another"  # type: ignore[misc]  # a conversation keeps its id


async def summaries(sm: SessionManager) -> None:
    async def by_model(messages: Rows) -> str:
        return f"{len(messages)} messages"

    def at_hand(messages: Rows) -> str:
        return f"{len(messages)} messages"

    SessionManager(infinite_context=True, summary_callback=by_model)
    sm.set_summary_callback(at_hand)
    await sm.set_summary_callback(by_model)

    SessionManager(summary_callback="a summary")  # type: ignore[arg-type]


async def one_liners(client: AsyncOpenAI, sm: SessionManager) -> None:
    async def ask(question: str) -> str:
        return question

    async def stream(question: str) -> AsyncIterator[str]:
        yield question

    assert_type(await track_conversation("Hello", "Hi", session_id=None), str)
    assert_type(await track_infinite_conversation("Hello", "Hi", max_turns=2), str)
    assert_type(await track_llm_call("Hello", ask), tuple[str, str])
    assert_type(await track_llm_call("Hello", str.upper), tuple[str, str])
    assert_type(await track_tool_use("clock", {}, "12:30"), str)
    assert_type(await quick_conversation("Hello", "Hi"), dict[str, Any])
    assert_type(await get_session_stats("s"), dict[str, Any])
    assert_type(await get_conversation_history("s", include_all_segments=True), Rows)
    answer = stream_llm_call("Hello", stream, session_manager=sm)
    assert_type([piece async for piece in answer], list[Any])
    assert_type((answer.text, answer.session_id), tuple[str, str])
    assert_type(track_client(client, sm), "AsyncOpenAI")  # so that its own methods are known

    await stream_llm_call("Hello", stream)  # type: ignore[misc]  # it is iterated over, not awaited
    await track_llm_call("Hello", "an answer")  # type: ignore[arg-type]
    await get_session_stats()  # type: ignore[call-arg]


async def formats(sm: SessionManager, gpt: AsyncOpenAI, claude: AsyncAnthropic, gemini: Client) -> None:
    await sm.user_says([{"type": "text", "text": "Hi"}])
    await gpt.chat.completions.create(
        model="gpt-5", messages=await sm.get_messages_for_llm(format="openai", include_tools=True)
    )
    await gpt.responses.create(model="gpt-5", input=await sm.get_messages_for_llm(format="openai-responses"))
    await claude.messages.create(
        model="claude-sonnet-4-5", max_tokens=100, **await sm.get_messages_for_llm(format="anthropic")
    )
    asked = await sm.get_messages_for_llm(format="google")
    await gemini.aio.models.generate_content(model="gemini-3-pro-preview", contents=asked["contents"])
    await sm.get_messages_for_llm(format="cobol")  # type: ignore[call-overload]


async def records() -> None:
    session: Session[str] = await Session.create()
    event: SessionEvent[str] = SessionEvent(message="Hello", source=EventSource.USER)
    await session.add_event_and_save(event)
    assert_type(session.events[0].message, str)
    assert_type(session.events[0].token_usage, TokenUsage | None)
    assert_type(session.events[0].usage, CallUsage | None)
    assert_type(session.token_summary, TokenSummary)
    assert_type((session.total_tokens, session.total_cost), tuple[int, float])
    assert_type(await session.get_token_usage_by_source(), dict[str, TokenSummary])
    assert_type(await TokenUsage.count_tokens("Hello"), int)

    await session.add_event(SessionEvent[int](message=1))  # type: ignore[arg-type]
    session.user_id = "ada"  # type: ignore[misc]  # it is the property "user_id"


async def prompts(session: Session[Any], infinite: InfiniteConversationManager) -> None:
    prompt = await build_prompt_from_session(session, PromptStrategy.CHAT, max_tokens=100)
    assert_type(prompt, Rows)
    assert_type(await build_prompt_from_session(session, "chat"), Rows)
    assert_type(await truncate_prompt_to_token_limit(prompt, 100), Rows)
    assert_type(for_anthropic(prompt), AnthropicRequest)
    assert_type(await infinite.get_session_chain("s"), list[Session[Any]])
    assert_type(await infinite.get_full_conversation_history("s"), list[tuple[str, EventSource, Any]])

    await build_prompt_from_session("s")  # type: ignore[arg-type]


async def tools() -> None:
    processor = await SessionAwareToolProcessor.create("s", max_retries=0)
    assert_type(processor, SessionAwareToolProcessor)
    results = await processor.process_llm_message({"role": "assistant", "content": None})
    assert_type(results[0].error, str | None)

    await SessionAwareToolProcessor.create()  # type: ignore[call-arg]


async def storage() -> None:
    async with open_store("sqlite:///chats.db", ttl_hours=None) as store:
        assert_type(store, EventStore)
        assert_type(await store.get("s"), Session[Any] | None)
        assert_type(await store.list_sessions(user_id="ada", limit=10), SessionPage)
        assert_type(await store.time_to_live("s"), float | None)
        assert_type(await store.durability_report(), DurabilityReport)
        assert_type(await store.delete_conversation("s"), int)
        found: Session[Any] = await store.get("s")  # type: ignore[assignment]  # it may not be there
        assert found
    assert_type(get_backend().store, EventStore)
    assert_type(configure_storage(sandbox_id="tenant", default_ttl_hours=48), bool)
    assert_type((get_storage_info(), is_available()), tuple[dict[str, Any], dict[str, bool]])
    assert_type(__version__, str)
    pricing.set_price("my-model", input=0.2, output=0.6)

    open_store()  # type: ignore[call-arg]
    SqliteStore(7)  # type: ignore[arg-type]
    EventStore()  # type: ignore[abstract]


class WithTwoMethods:
    """A store needs no more."""

    async def get(self, session_id: str) -> Session[Any] | None:
        return None

    async def save(self, session: Session[Any]) -> None:
        return None


class Blocking:
    """What is not async is no store."""

    def get(self, session_id: str) -> Session[Any] | None:
        return None

    def save(self, session: Session[Any]) -> None:
        return None


def stores() -> None:
    SessionManager(store=WithTwoMethods())
    SessionManager(store=MemoryStore())

    SessionManager(store=Blocking())  # type: ignore[arg-type]
    SessionManager(store={})  # type: ignore[arg-type]


def errors(error: SessionNotFound) -> None:
    assert_type(error.session_id, str | None)
    problems: list[ValueError | LookupError] = [error]
    assert problems
