"""Second thoughts through a manager: limits, names, parts, late answers, and what else reads a session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput, TokenLimitExceeded
from chuk_ai_session_manager.session_prompt_builder import PromptStrategy, build_prompt_from_session
from chuk_ai_session_manager.stores import MemoryStore


async def talk(sm: SessionManager, exchanges: int) -> list[str]:
    for number in range(exchanges):
        await sm.user_says(f"question-{number}?")
        await sm.ai_responds(f"answer-{number}.", model="gpt-4o")
    return [row["event_id"] for row in await sm.get_conversation(with_ids=True)]


async def test_an_edit_is_a_question_that_limits_stand_in_the_way_of() -> None:
    store = MemoryStore()
    ids = await talk(SessionManager("s", store=store), 2)
    sm = SessionManager("s", store=store, token_limit=24)
    with pytest.raises(TokenLimitExceeded):
        await sm.edit(ids[2], "word " * 30)
    assert len(await sm.get_conversation()) == 4
    with pytest.raises(TokenLimitExceeded):
        await sm.user_says("word " * 12)
    await sm.edit(ids[2], "word " * 10)  # which takes two messages away
    assert (await sm.get_stats())["total_messages"] == 3


async def test_a_name_and_metadata_go_with_an_edit_and_parts_may_be_said() -> None:
    sm = SessionManager(store=MemoryStore())
    await sm.user_says("Hi", name="ada", ticket="PR-42")
    first = (await sm.get_conversation(with_ids=True))[0]
    parts = [{"type": "text", "text": "Hello"}]
    second = await sm.edit(first["event_id"], parts)
    row = (await sm.get_conversation(with_ids=True))[0]
    assert (row["event_id"], row["name"], row["content"]) == (second, "ada", parts)
    assert row["metadata"] == first["metadata"]
    for include_tools in (False, True):
        sent = await sm.get_messages_for_llm(include_tools=include_tools)
        assert sent == [{"role": "user", "name": "ada", "content": parts}]
    with pytest.raises(InvalidInput):
        await sm.edit(second, 42)  # type: ignore[arg-type]


async def test_an_answer_is_edited_without_a_bill() -> None:
    sm = SessionManager(store=MemoryStore())
    ids = await talk(sm, 1)
    before = await sm.get_stats()
    await sm.edit(ids[1], "Another answer.")
    after = await sm.get_stats()
    assert after["llm_calls"] == before["llm_calls"] == 1
    assert after["estimated_cost"] == before["estimated_cost"]
    rows = await sm.get_messages_for_llm()
    assert rows[-1] == {"role": "assistant", "content": "Another answer."}


async def test_the_estimate_of_a_call_is_of_what_holds() -> None:
    sm, fresh = SessionManager(store=MemoryStore()), SessionManager(store=MemoryStore())
    await talk(sm, 6)
    for _ in range(5):
        await sm.undo()
    await talk(fresh, 1)
    spent = []
    for each in (sm, fresh):
        before = (await each.get_stats())["input_tokens"]
        await each.user_says("And now?")
        await each.ai_responds("Now.", model="gpt-4o")
        spent.append((await each.get_stats())["input_tokens"] - before)
    assert spent[0] == spent[1]


async def test_a_segment_is_full_by_what_holds() -> None:
    sm = SessionManager(store=MemoryStore(), infinite_context=True, max_turns_per_segment=4)
    for _ in range(6):
        await talk(sm, 1)
        await sm.undo()
    assert len(await sm.get_session_chain()) == 1
    await talk(sm, 3)
    assert len(await sm.get_session_chain()) == 2


async def test_a_summary_callback_is_told_what_holds() -> None:
    told: list[Any] = []

    def summarise(rows: list[dict[str, Any]]) -> str:
        told.append(rows)
        return "a summary"

    sm = SessionManager(
        store=MemoryStore(), infinite_context=True, max_turns_per_segment=4, summary_callback=summarise
    )
    await talk(sm, 2)
    await sm.undo()
    await sm.user_says("new-question?")
    await sm.ai_responds("new-answer.", model="gpt-4o")
    await sm.user_says("the next")
    await sm.wait_for_summaries()
    texts = [row["content"] for row in told[0]]
    assert texts == ["question-0?", "answer-0.", "new-question?", "new-answer."]


@pytest.mark.parametrize("strategy", list(PromptStrategy))
async def test_prompts_follow_the_path(strategy: PromptStrategy) -> None:
    store = MemoryStore()
    sm = SessionManager("s", store=store)
    await talk(sm, 3)
    await sm.undo()
    session = await store.get("s")
    assert session is not None
    prompt = repr(await build_prompt_from_session(session, strategy, max_history=10))
    assert "question-2" not in prompt
    assert "answer-2" not in prompt
    assert session.total_tokens == (await sm.get_stats())["total_tokens"]


async def test_messages_that_are_said_while_others_are_taken_back_are_all_there_or_all_gone() -> None:
    store = MemoryStore()
    await talk(SessionManager("s", store=store), 5)
    work = [SessionManager("s", store=store).undo() for _ in range(5)]
    said = [SessionManager("s", store=store).user_says(f"said-{number}") for number in range(5)]
    await asyncio.gather(*(each for pair in zip(work, said, strict=True) for each in pair))
    sm = SessionManager("s", store=store)
    rows = await sm.get_conversation()
    stats = await sm.get_stats()
    assert stats["total_messages"] == len(rows)
    users = [row for row in rows if row["role"] == "user"]
    assert len(users) == 5


async def test_a_question_whose_answer_compacted_the_context_is_asked_again() -> None:
    sm = SessionManager(store=MemoryStore(), infinite_context=True)
    await talk(sm, 1)
    await sm.user_says("And now?")
    content = [{"type": "compaction", "content": "All so far."}, {"type": "text", "text": "Now this."}]
    whole = {"type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": content}
    await sm.ai_responds(whole | {"id": "msg_1", "stop_reason": "end_turn"})
    assert len(await sm.get_session_chain()) == 2
    answer = (await sm.get_conversation(with_ids=True))[-1]["event_id"]
    await sm.regenerate(answer)
    request = await sm.get_messages_for_llm(format="anthropic")
    assert request["messages"][-1]["role"] == "user"
    assert str(request["messages"][-1]["content"]).endswith("And now?")
    await sm.choose(answer)
    request = await sm.get_messages_for_llm(format="anthropic")
    assert request["messages"] == [{"role": "assistant", "content": content}]
