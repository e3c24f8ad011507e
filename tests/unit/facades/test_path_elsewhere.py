"""Prompts and contexts of single segments, where the path leads through earlier ones."""

from __future__ import annotations

from typing import Any

import pytest
from default_store import stored

from chuk_ai_session_manager import (
    InfiniteConversationManager,
    PromptStrategy,
    SessionManager,
    build_prompt_from_session,
)


async def edited() -> SessionManager:
    """A conversation of segments of two messages, in which a message of an earlier segment was edited."""
    async with SessionManager("s", infinite_context=True, max_turns_per_segment=2) as sm:
        for number in range(4):
            await sm.user_says(f"question {number}, please?")
            await sm.ai_responds(f"answer {number}.", model="gpt-4o")
        rows = await sm.get_conversation(with_ids=True)
        await sm.edit(rows[4]["event_id"], "another question")
    return sm


def words_of(rows: list[dict[str, Any]]) -> str:
    return "\n".join(str(row["content"]) for row in rows)


@pytest.mark.parametrize("strategy", PromptStrategy)
@pytest.mark.parametrize("with_parents", [False, True])
async def test_prompts_follow_the_path(strategy: PromptStrategy, *, with_parents: bool) -> None:
    sm = await edited()
    session = await stored((await sm.get_session_chain())[-1])
    rows = await build_prompt_from_session(session, strategy, include_parent_context=with_parents)
    words = words_of(rows)
    assert "another question" in words
    assert "question 2" not in words
    assert "answer 3" not in words
    assert "question 3" not in words
    if with_parents:
        assert "question 0" in words
    assert words_of(await build_prompt_from_session(session, strategy)) != ""


async def test_a_context_with_ids_of_the_application_follows_the_path() -> None:
    sm = await edited()
    infinite = InfiniteConversationManager(max_turns_per_segment=2)
    live = (await sm.get_session_chain())[-1]
    rows = await infinite.build_context_for_llm(live)
    assert [row["content"] for row in rows][-1] == "another question"
    words = words_of(rows)
    assert "question 0" in words
    assert not any(each in words for each in ("question 2", "answer 2", "question 3", "answer 3"))
    told = [content for _, _, content in await infinite.get_full_conversation_history(live)]
    assert told[-1] == "another question"
    assert len(told) == 5


async def test_undone_to_the_beginning_nothing_is_told() -> None:
    sm = await edited()
    await sm.clear()
    await sm.user_says("anew")
    live = await stored((await sm.get_session_chain())[-1])
    rows = await build_prompt_from_session(live, PromptStrategy.CHAT, include_parent_context=True)
    assert [row["content"] for row in rows] == ["anew"]
    context = await InfiniteConversationManager().build_context_for_llm(live.id)
    assert [row["content"] for row in context] == ["anew"]
