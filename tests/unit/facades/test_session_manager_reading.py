"""`SessionManager`: whole conversations go in, and come out equal."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from default_store import stored

from chuk_ai_session_manager import SessionManager, TokenUsage
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.session_storage import get_backend


class TestWholeConversations:
    async def test_real_ones_come_out_as_they_went_in(self, chats: list[dict[str, Any]]) -> None:
        messages = tools = 0
        for chat in chats:
            sm = SessionManager(chat["id"])
            await sm.add_messages(chat["messages"], model=chat["model"], provider="openai")
            assert await sm.get_messages_for_llm(include_tools=True) == chat["messages"]
            stats = await sm.get_stats()
            assert stats["unpriced_calls"] == 0
            assert stats["estimated_cost"] > 0
            tools += stats["tool_calls"]
            messages += stats["total_messages"] + stats["tool_calls"] + (sm.system_prompt is not None)
        assert (len(await get_backend().list_sessions()), messages, tools) == (20, 610, 123)

    @pytest.mark.usefixtures("exact_counting")
    async def test_content_tokens_are_tiktoken_s(self, chats: list[dict[str, Any]]) -> None:
        import tiktoken

        encoding = tiktoken.encoding_for_model("gpt-4o")

        def length(row: dict[str, Any]) -> int:
            texts = [row["content"]]
            for call in row.get("tool_calls", []):
                texts += [call["function"]["name"], call["function"]["arguments"]]
            return len(encoding.encode_ordinary("\n".join(filter(None, texts))))

        for chat in chats:
            sm = SessionManager()
            await sm.add_messages(chat["messages"], model="gpt-4o")
            expected = sum(length(row) for row in chat["messages"][1:])  # the first is the system prompt
            assert (await sm.get_stats())["total_tokens"] == expected

    async def test_a_leading_system_message_is_the_prompt(self) -> None:
        rows = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "hello"}]
        sm = SessionManager()
        await sm.add_messages(rows)
        assert sm.system_prompt == "Be brief"
        assert await sm.get_messages_for_llm() == rows
        again = SessionManager(sm.session_id)
        assert await again.get_messages_for_llm() == rows

    async def test_later_system_messages_stay_where_they_were(self) -> None:
        rows = [
            {"role": "user", "content": "hello"},
            {"role": "system", "content": "The user is in a hurry."},
            {"role": "developer", "content": "So am I."},
        ]
        sm = SessionManager(system_prompt="Be brief")
        await sm.add_messages(rows)
        full = await sm.get_messages_for_llm(include_tools=True)
        assert full == [{"role": "system", "content": "Be brief"}, *rows]
        assert await sm.get_messages_for_llm(include_tools=True, include_system=False) == rows[:1]

    async def test_added_bit_by_bit_is_added_whole(self) -> None:
        rows: list[dict[str, Any]] = [
            {"role": "user", "content": "sum?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "3"},
            {"role": "assistant", "content": "3"},
        ]
        sm = SessionManager("mine")
        for row in rows:
            await SessionManager("mine").add_messages([row])
        assert await sm.get_messages_for_llm(include_tools=True) == rows
        event = (await stored("mine")).events[2]
        assert event.message["tool"] == "add"
        assert await sm.get_messages_for_llm() == [rows[0], rows[3]]
        assert (await sm.get_stats())["llm_calls"] == 2

    @pytest.mark.usefixtures("exact_counting")
    async def test_each_answer_is_billed_for_all_before_it(self) -> None:
        sm = SessionManager()
        rows = [{"role": role, "content": "hello world"} for role in ("user", "assistant") * 3]
        await sm.add_messages(
            [{"role": "system", "content": "hello"}, *rows], model="gpt-4o", provider="openai"
        )
        session = await stored(sm.session_id)
        bills = [event.usage for event in session.events if event.usage]
        around = [2 * 3 + 3, 4 * 3 + 3, 6 * 3 + 3]  # the messages, and the answer's beginning
        contents = [1 + 2, 1 + 6, 1 + 10]
        assert [bill.input_tokens for bill in bills] == list(map(sum, zip(contents, around, strict=True)))
        assert {(bill.model, bill.provider) for bill in bills} == {("gpt-4o", "openai")}
        assert session.events[1].metadata["provider"] == "openai"

    async def test_what_a_limit_refuses_is_not_even_begun(self) -> None:
        rows = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "many words " * 50}]
        for infinite in (False, True):
            sm = SessionManager(f"new-{infinite}", token_limit=20, infinite_context=infinite)
            with pytest.raises(TokenLimitExceeded):
                await sm.add_messages(rows)
            assert await get_backend().list_sessions() == []
            sm = SessionManager(f"old-{infinite}", token_limit=110, infinite_context=infinite)
            await sm.user_says("many words " * 5)
            with pytest.raises(TokenLimitExceeded):
                await sm.add_messages(rows)
            session = await stored(sm.session_id)
            assert (len(session.events), session.metadata.properties) == (1, {})
            await get_backend().delete(sm.session_id)

    async def test_an_empty_list_adds_nothing(self) -> None:
        sm = SessionManager()
        await sm.add_messages([])
        assert (await sm.get_stats())["total_events"] == 0

    async def test_no_more_tokens_than_asked_for(self) -> None:
        sm = SessionManager(system_prompt="Be brief", model="gpt-4o")
        for number in range(20):
            await sm.user_says(f"question {number} " + "word " * 20)
            await sm.ai_responds(f"answer {number} " + "word " * 20)
        rows = await sm.get_messages_for_llm(max_tokens=120)
        lengths = [await TokenUsage.count_tokens(row["content"], "gpt-4o") for row in rows]
        assert sum(lengths) <= 120
        assert [row["role"] for row in rows[:2]] == ["system", "user"]
        assert rows[-1]["content"].startswith("answer 19")
        with pytest.raises(TokenLimitExceeded):
            await sm.get_messages_for_llm(max_tokens=5)


class TestReading:
    async def test_conversation_rows(self) -> None:
        sm = SessionManager()
        await sm.user_says("q")
        await sm.ai_responds("a", model="gpt-4", provider="openai")
        await sm.tool_used("t", {}, 1)
        rows = await sm.get_conversation()
        assert [(row["role"], row["content"]) for row in rows] == [("user", "q"), ("assistant", "a")]
        assert set(rows[0]) == {"role", "content", "timestamp"}
        assert await sm.get_conversation(include_all_segments=True) == rows

    async def test_stats_of_a_session_with_nothing_in_it(self) -> None:
        stats = await SessionManager().get_stats()
        counts = [
            value for name, value in stats.items() if isinstance(value, int) and name != "infinite_context"
        ]
        assert sum(counts) == 1  # the segment
        assert stats["usage_source"] == "none"
        for name in ("created_at", "last_update"):
            assert datetime.fromisoformat(stats[name]).tzinfo is not None

    async def test_stats_without_infinite_context_are_of_one_segment(self) -> None:
        sm = SessionManager()
        await sm.user_says("hello")
        stats = await sm.get_stats(include_all_segments=True)
        assert (stats["session_segments"], stats["infinite_context"]) == (1, False)
        assert "session_chain" not in stats
        assert await sm.get_session_chain() == [sm.session_id]
        assert datetime.fromisoformat(stats["last_update"]) >= datetime.fromisoformat(stats["created_at"])
