"""`SessionManager`: content tokens, bills and limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from default_store import stored
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager import SessionManager, TokenUsage
from chuk_ai_session_manager.accounts.pricing import set_price
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.stores import MemoryStore


class TestLedgers:
    @pytest.mark.usefixtures("exact_counting")
    async def test_content_tokens_are_the_model_s_count_of_each_message_once(self) -> None:
        sm = SessionManager(system_prompt="Be brief")
        await sm.user_says("hello world")
        await sm.ai_responds("hello world", model="gpt-4")
        said, answered = (await stored(sm.session_id)).events
        assert said.token_usage is not None
        assert answered.token_usage is not None
        assert (said.token_usage.prompt_tokens, answered.token_usage.completion_tokens) == (2, 2)
        assert not answered.token_usage.estimated
        assert (await sm.get_stats())["total_tokens"] == 4

    @pytest.mark.usefixtures("exact_counting")
    async def test_without_usage_the_input_is_what_would_have_been_sent(self) -> None:
        sm = SessionManager(system_prompt="hello world")
        for _ in range(2):
            await sm.user_says("hello world")
            await sm.ai_responds("hello world", model="gpt-4")
        stats = await sm.get_stats()
        # Two and four messages with three tokens around each, and the answer's beginning.
        around = (2 * 3 + 3) + (4 * 3 + 3)
        assert stats["input_tokens"] == (2 + 2) + (2 + 6) + around
        assert stats["output_tokens"] == 4
        assert (stats["llm_calls"], stats["usage_source"]) == (2, "estimated")
        assert stats["estimated_cost"] == pytest.approx((12 + around) * 30e-6 + 4 * 60e-6)

    async def test_the_provider_s_figures_win(self) -> None:
        sm = SessionManager()
        await sm.user_says("hello")
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400},
        }
        await sm.ai_responds("hi", model="gpt-4o", provider="openai", usage=usage)
        stats = await sm.get_stats()
        assert (stats["input_tokens"], stats["output_tokens"], stats["cache_read_tokens"]) == (1000, 100, 400)
        assert stats["usage_source"] == "reported"
        assert stats["estimated_cost"] == pytest.approx(600 * 2.5e-6 + 400 * 1.25e-6 + 100 * 10e-6)
        assert stats["total_tokens"] < 20
        await sm.ai_responds("hi", model="gpt-4o")
        assert (await sm.get_stats())["usage_source"] == "mixed"

    async def test_anthropic_s_cache_is_billed_once(self) -> None:
        sm = SessionManager()
        usage = {
            "input_tokens": 100,
            "output_tokens": 50,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 600,
        }
        await sm.ai_responds("hi", model="claude-3-5-sonnet-20241022", provider="anthropic", usage=usage)
        stats = await sm.get_stats()
        assert (stats["input_tokens"], stats["cache_read_tokens"], stats["cache_write_tokens"]) == (
            1000,
            600,
            300,
        )
        dollars = (100 * 3 + 300 * 3.75 + 600 * 0.3 + 50 * 15) / 1e6
        assert stats["estimated_cost"] == pytest.approx(dollars)

    async def test_unknown_models_are_unpriced_and_counted(self) -> None:
        sm = SessionManager()
        await sm.ai_responds("hi", model="my-local-model", usage={"input_tokens": 10, "output_tokens": 1})
        await sm.ai_responds("hi")
        event = (await stored(sm.session_id)).events[0]
        assert event.usage is not None
        assert event.token_usage is not None
        assert event.usage.cost_usd is None
        assert event.token_usage.estimated_cost_usd is None
        stats = await sm.get_stats()
        assert (stats["unpriced_calls"], stats["llm_calls"], stats["estimated_cost"]) == (2, 2, 0.0)
        assert isinstance(stats["estimated_cost"], float)
        set_price("my-local-model", input=100, output=100)
        await sm.ai_responds("hi", model="my-local-model", usage={"input_tokens": 10, "output_tokens": 1})
        stats = await sm.get_stats()
        assert stats["estimated_cost"] == pytest.approx(11 * 100e-6)
        assert stats["unpriced_calls"] == 2

    @given(
        st.lists(
            st.tuples(st.sampled_from(["gpt-4", "gpt-4o", "unknown", "nobody"]), st.integers(0, 5000)),
            max_size=12,
        )
    )
    def test_there_is_one_number_for_the_bill(self, calls: list[tuple[str, int]]) -> None:
        async def bill() -> None:
            sm = SessionManager(store=MemoryStore())
            await sm.user_says("hello")
            for model, sent in calls:
                usage = {"input_tokens": sent, "output_tokens": 7} if sent % 2 else None
                await sm.ai_responds("hi", model=model, usage=usage)
            stats = await sm.get_stats()
            _, session = await sm._conversation.current()
            costs = [event.usage.cost_usd for event in session.events if event.usage]
            assert stats["estimated_cost"] == session.total_cost
            assert session.total_cost == pytest.approx(sum(cost or 0 for cost in costs))
            assert stats["unpriced_calls"] == costs.count(None)

        asyncio.run(bill())

    async def test_the_manager_s_model_is_the_default(self) -> None:
        sm = SessionManager(model="gpt-4")
        await sm.user_says("hello")
        await sm.ai_responds("hi")
        await sm.ai_responds("hi", model="gpt-4o")
        said, first, second = (await stored(sm.session_id)).events
        assert [event.token_usage.model for event in (said, first, second) if event.token_usage] == [
            "gpt-4",
            "gpt-4",
            "gpt-4o",
        ]
        assert first.metadata["model"] == "gpt-4"

    async def test_every_count_goes_through_the_hook(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[str, str]] = []

        async def count(text: str, model: str) -> int:
            seen.append((text, model))
            return 10

        monkeypatch.setattr(TokenUsage, "count_tokens", staticmethod(count))
        sm = SessionManager(system_prompt="p")
        await sm.user_says("q")
        await sm.ai_responds("a", model="gpt-4")
        await sm.ai_responds("b", model="gpt-4")
        assert seen == [("q", "gpt-4o-mini"), ("a", "gpt-4"), ("p", "gpt-4"), ("b", "gpt-4")]
        assert (await sm.get_stats())["total_tokens"] == 30


class TestLimits:
    async def test_tokens(self) -> None:
        sm = SessionManager(token_limit=20)
        await sm.user_says("hello there")
        before = await sm.get_stats()
        with pytest.raises(TokenLimitExceeded, match="> 20") as caught:
            await sm.user_says("many words " * 50)
        assert (caught.value.limit, (caught.value.actual or 0) > 20) == (20, True)
        assert await sm.get_stats() == before
        await sm.user_says("ok")

    async def test_a_question_is_refused_where_the_limit_is_reached_also_one_without_tokens(self) -> None:
        length = await TokenUsage.count_tokens("hello there", "gpt-4o-mini")
        sm = SessionManager(token_limit=length)
        await sm.user_says("hello there")
        with pytest.raises(TokenLimitExceeded, match="Token limit reached"):
            await sm.user_says("")

    async def test_dollars(self) -> None:
        """The last call may cross the limit: what a call costs is known when it is over."""
        sm = SessionManager(cost_limit=0.10)
        usage = {"input_tokens": 1000, "output_tokens": 0}  # 0.03 USD
        for _ in range(4):
            await sm.user_says("q")
            await sm.ai_responds("a", model="gpt-4", usage=usage)
        before = await sm.get_stats()
        assert (before["llm_calls"], before["estimated_cost"]) == (4, pytest.approx(0.12))
        with pytest.raises(TokenLimitExceeded, match=r"Cost limit exceeded: 0\.12.* USD of 0\.1 USD"):
            await sm.user_says("q")
        await sm.ai_responds("of a call that was made already", model="gpt-4", usage=usage)
        assert (await sm.get_stats())["llm_calls"] == 5

    async def test_no_dollars_at_all_lets_what_costs_nothing_pass(self) -> None:
        sm = SessionManager(cost_limit=0)
        for model in ("my-local-model", "gpt-4"):
            await sm.user_says("q")
            await sm.ai_responds("a", model=model)
        with pytest.raises(TokenLimitExceeded):
            await sm.user_says("q")

    @pytest.mark.parametrize("infinite", [False, True])
    @pytest.mark.parametrize("limit", [{"token_limit": 20}, {"cost_limit": 1e-7}])
    async def test_an_answer_and_a_result_are_kept_whatever_they_come_to(
        self, infinite: bool, limit: dict[str, Any]
    ) -> None:
        sm = SessionManager(infinite_context=infinite, model="gpt-4", **limit)
        await sm.user_says("q")
        await sm.ai_responds("word " * 50)
        await sm.tool_used("look_up", {}, "word " * 50)
        await sm.add_messages([{"role": "tool", "tool_call_id": "c", "content": "word " * 50}])
        before = await sm.get_stats()
        assert (before["llm_calls"], before["tool_calls"], before["ai_messages"]) == (1, 2, 1)
        assert before["estimated_cost"] > 0
        with pytest.raises(TokenLimitExceeded):
            await sm.user_says("q")
        assert await sm.get_stats() == before

    @pytest.mark.parametrize("infinite", [False, True])
    @pytest.mark.parametrize("limit", [{"token_limit": 20}, {"cost_limit": 1e-7}])
    async def test_of_a_list_what_has_happened_is_kept_and_the_question_at_its_end_refused(
        self, infinite: bool, limit: dict[str, Any]
    ) -> None:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        rows: list[dict[str, Any]] = [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "word " * 50, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "found"},
        ]
        sm = SessionManager(infinite_context=infinite, model="gpt-4", **limit)
        with pytest.raises(TokenLimitExceeded):
            await sm.add_messages([*rows, {"role": "user", "content": "and?"}])
        assert await sm.get_messages_for_llm(include_tools=True) == rows
        stats = await sm.get_stats()
        assert (stats["llm_calls"], stats["user_messages"]) == (1, 1)
        assert stats["estimated_cost"] > 0

    async def test_the_system_prompt_does_not_count(self) -> None:
        sm = SessionManager(token_limit=10)
        await sm.add_messages(
            [{"role": "system", "content": "word " * 50}, {"role": "user", "content": "hi"}]
        )
        assert (await sm.get_stats())["total_tokens"] <= 3

    async def test_no_question_is_taken_once_the_money_is_spent(self) -> None:
        sm = SessionManager(cost_limit=0.03)
        await sm.ai_responds("a", model="gpt-4", usage={"input_tokens": 1000, "output_tokens": 0})
        with pytest.raises(TokenLimitExceeded):
            await sm.user_says("one more?")

    async def test_a_list_of_messages_is_refused_whole(self) -> None:
        sm = SessionManager("mine", token_limit=20)
        await sm.user_says("hello")
        with pytest.raises(TokenLimitExceeded):
            await sm.add_messages([{"role": "user", "content": "five more words for you"}] * 10)
        assert (await sm.get_stats())["total_messages"] == 1

    async def test_limits_hold_for_all_segments(self) -> None:
        sm = SessionManager(infinite_context=True, max_turns_per_segment=1, token_limit=10)
        with pytest.raises(TokenLimitExceeded):
            await asyncio.gather(*(sm.user_says("hello there") for _ in range(20)))
        assert (await sm.get_stats())["total_tokens"] <= 10
