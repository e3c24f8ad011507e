from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_ai_session_manager import InfiniteConversationManager, SessionManager, SummarizationStrategy
from chuk_ai_session_manager.exceptions import InvalidInput, InvalidSessionOperation, SessionNotFound
from chuk_ai_session_manager.models import EventSource, EventType, Session
from chuk_ai_session_manager.session_storage import get_backend


async def fake_llm(messages: list[dict[str, Any]]) -> str:
    return f"summary of {len(messages) - 1}"


@pytest.fixture
async def session() -> Session[Any]:
    return await Session.create()


async def talk(manager: InfiniteConversationManager, session_id: str, turns: int) -> str:
    for number in range(turns):
        session_id = await manager.process_message(session_id, f"q{number}", EventSource.USER, fake_llm)
        session_id = await manager.process_message(session_id, f"a{number}", EventSource.LLM, fake_llm)
    return session_id


async def test_a_full_segment_is_summarised_and_the_next_one_opens(session: Session[Any]) -> None:
    manager = InfiniteConversationManager(max_turns_per_segment=2)
    new_id = await talk(manager, session.id, 1)
    assert new_id != session.id
    summary = session.events[-1]
    assert (summary.type, summary.source, summary.message) == (
        EventType.SUMMARY,
        EventSource.SYSTEM,
        "summary of 2",
    )
    new = await get_backend().get(new_id)
    assert new is not None
    assert (new.parent_id, new.events) == (session.id, [])


async def test_tokens_are_counted_by_side_and_fill_a_segment(session: Session[Any]) -> None:
    manager = InfiniteConversationManager(token_threshold=10_000)
    await talk(manager, session.id, 1)
    question, answer = session.events
    assert question.token_usage is not None
    assert answer.token_usage is not None
    assert question.token_usage.prompt_tokens > 0 == question.token_usage.completion_tokens
    assert answer.token_usage.completion_tokens > 0 == answer.token_usage.prompt_tokens
    manager.token_threshold = 1
    assert await manager.process_message(session.id, "more", EventSource.USER, fake_llm) != session.id


async def test_history_and_context_over_all_segments(session: Session[Any]) -> None:
    manager = InfiniteConversationManager(max_turns_per_segment=2)
    last = await talk(manager, session.id, 3)
    await manager.process_message(last, "the end", EventSource.USER, fake_llm)
    chain = await manager.get_session_chain(last)
    assert (chain[0].id, chain[-1].id) == (session.id, last)
    history = await manager.get_full_conversation_history(last)
    assert history[0] == ("user", EventSource.USER, "q0")
    assert history[1] == ("assistant", EventSource.LLM, "a0")
    assert [content for _, _, content in history] == ["q0", "a0", "q1", "a1", "q2", "a2", "the end"]
    context = await manager.build_context_for_llm(last)
    assert context == [
        {
            "role": "system",
            "content": "Previous conversation context: summary of 2 summary of 2 summary of 2",
        },
        {"role": "user", "content": "the end"},
    ]
    assert await manager.build_context_for_llm(last, include_summaries=False) == context[1:]
    assert len(await manager.build_context_for_llm(session.id, max_messages=1)) == 1


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (SummarizationStrategy.BASIC, ["concise summary"]),
        (SummarizationStrategy.KEY_POINTS, ["key points", "summary"]),
        (SummarizationStrategy.TOPIC_BASED, ["topics", "summary"]),
        (SummarizationStrategy.QUERY_FOCUSED, ["questions", "summary", "user's main questions"]),
    ],
)
async def test_the_strategy_says_what_to_keep(
    session: Session[Any], strategy: SummarizationStrategy, words: list[str]
) -> None:
    seen: list[dict[str, Any]] = []

    async def llm(messages: list[dict[str, Any]]) -> str:
        seen.extend(messages)
        return "s"

    manager = InfiniteConversationManager(max_turns_per_segment=1, summarization_strategy=strategy)
    await manager.process_message(session.id, "hello", EventSource.USER, llm)
    assert [row["role"] for row in seen] == ["system", "user"]
    assert all(word in seen[0]["content"].lower() for word in words)


async def test_unknown_sessions_and_missing_callbacks(session: Session[Any]) -> None:
    manager = InfiniteConversationManager(max_turns_per_segment=1)
    with pytest.raises(ValueError, match="Session nobody not found"):
        await manager.process_message("nobody", "x", EventSource.USER, fake_llm)
    with pytest.raises(SessionNotFound, match="Session nobody not found"):
        await manager.build_context_for_llm("nobody")
    with pytest.raises(InvalidSessionOperation, match=r"the message is stored.*llm_callback"):
        await manager.process_message(session.id, "x", EventSource.USER, None)
    assert len(session.events) == 1


@pytest.mark.parametrize(
    "arguments", [(5, "user", fake_llm), ("x", "user", fake_llm, ""), ("x", "bad", fake_llm)]
)
async def test_messages_that_are_refused(session: Session[Any], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidInput):
        await InfiniteConversationManager().process_message(session.id, *arguments)
    assert session.events == []


async def test_a_source_may_be_its_plain_string(session: Session[Any]) -> None:
    await InfiniteConversationManager().process_message(session.id, "hello", "user", fake_llm)  # type: ignore[arg-type]
    usage = session.events[0].token_usage
    assert usage is not None
    assert usage.prompt_tokens > 0


async def test_an_old_id_leads_to_the_live_segment(session: Session[Any]) -> None:
    manager = InfiniteConversationManager(max_turns_per_segment=2)
    last = await talk(manager, session.id, 2)
    assert await manager.process_message(session.id, "late", EventSource.USER, fake_llm) == last
    assert (await manager.get_full_conversation_history(last))[-1][2] == "late"


async def test_many_at_once_open_one_segment_each_time(session: Session[Any]) -> None:
    manager = InfiniteConversationManager(max_turns_per_segment=3)
    text = "word " * 2_000  # counted in a thread, so that all of them wait
    await asyncio.gather(
        *(manager.process_message(session.id, text, EventSource.USER, fake_llm) for _ in range(12))
    )
    last = await manager.process_message(session.id, "end", EventSource.USER, fake_llm)
    segments = await manager.get_session_chain(last)
    assert sum(segment.totals.messages for segment in segments) == 13
    for segment in segments:
        assert sum(event.type == EventType.SUMMARY for event in segment.events) <= 1


async def test_a_failing_callback_is_stepped_in_for(session: Session[Any]) -> None:
    async def broken(messages: list[dict[str, Any]]) -> str:
        raise ConnectionError

    manager = InfiniteConversationManager(max_turns_per_segment=1)
    new_id = await manager.process_message(session.id, "Where is my parcel?", EventSource.USER, broken)
    assert new_id != session.id
    assert session.events[-1].message == "User discussed: Where is my parcel"
    assert session.events[-1].metadata["callback_failure"] == "ConnectionError"


async def test_segments_of_a_session_manager_are_not_told_twice() -> None:
    sm = SessionManager("root", infinite_context=True, max_turns_per_segment=2)
    for number in range(4):
        await sm.user_says(f"What is the number {number} good for?")
        await sm.ai_responds("Nothing.")
    context = await InfiniteConversationManager().build_context_for_llm(sm.session_id)
    assert context[0]["content"].count("number 0") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"token_threshold": 0},
        {"max_turns_per_segment": 0},
        {"token_threshold": None},
        {"summarization_strategy": "nope"},
    ],
)
def test_thresholds_that_cannot_be_right(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        InfiniteConversationManager(**arguments)


def test_attributes_are_public() -> None:
    manager = InfiniteConversationManager()
    assert (manager.token_threshold, manager.max_turns_per_segment) == (3000, 20)
    assert manager.summarization_strategy == "basic"
