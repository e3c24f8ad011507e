"""What a bill needs beside tokens: searches, charges of gateways; and counts of servers without usage."""

from __future__ import annotations

from typing import Any

import pytest
from bills import about, bill_of
from shapes import response, said, used

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.accounts import pricing
from chuk_ai_session_manager.providers.registry import read_answer
from chuk_ai_session_manager.providers.streamed_answers import AnswerInPieces
from chuk_ai_session_manager.providers.usage import read_usage
from chuk_ai_session_manager.stores import MemoryStore

SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
OPEN = {"type": "web_search_call", "id": "ws_2", "status": "completed", "action": {"type": "open_page"}}
FILES = {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["tide"]}
TOKENS = 0.00001250
"""What the ten input tokens and five output tokens of `shapes.response` cost at gpt-5-mini."""


def usage_in_pieces(*pieces: Any) -> Any:
    """The usage of an answer whose stream brought these pieces."""
    assembled = AnswerInPieces()
    for piece in pieces:
        assembled.add(piece)
    return assembled.end().usage


async def recorded(answer: Any) -> Any:
    """The bill of an answer that a manager recorded."""
    sm = SessionManager(store=MemoryStore())
    await sm.user_says("When is high water?")
    await sm.ai_responds(answer)
    _, session = await sm.writer._conversation.current()
    return session.events[-1].usage


class TestSearches:
    @pytest.mark.parametrize(
        ("answer", "details", "fees"),
        [
            # https://developers.openai.com/api/docs/guides/tools-web-search: pages cost nothing.
            pytest.param(response(SEARCH, OPEN, SEARCH, said("x")), {"web_searches": 2}, 0.02, id="items"),
            pytest.param(
                response(SEARCH, SEARCH, said("x"), tool_usage={"web_search": {"num_requests": 1}}),
                {"web_searches": 1}, 0.01, id="tool_usage wins over items",
            ),
            pytest.param(
                response(SEARCH, said("x"), tool_usage={"web_search": {"num_requests": 0}}),
                {}, 0.0, id="tool_usage counts none",
            ),
            pytest.param(response(FILES, FILES, said("x")), {"storage_searches": 2}, 0.005, id="files"),
            pytest.param(
                response(FILES, said("x"), tool_usage={"web_search": {"num_requests": 3}}),
                {"web_searches": 3, "storage_searches": 1}, 0.0325, id="both",
            ),
            pytest.param(
                response(FILES, SEARCH, said("x"), service_tier="flex"),
                {"web_searches": 1, "storage_searches": 1}, 0.0125 - TOKENS / 2, id="a tier is of the tokens",
            ),
        ],
    )  # fmt: skip
    async def test_of_openai_s_responses(self, answer: Any, details: Any, fees: float) -> None:
        bill = await recorded(answer)
        assert bill.details == details
        assert bill.cost_usd == about(TOKENS + fees)

    def test_of_a_streamed_response(self) -> None:
        whole = response(SEARCH, FILES, said("x"))
        usage = usage_in_pieces({"type": "response.completed", "response": whole})
        assert usage["details"] == {"web_searches": 1, "storage_searches": 1}

    @pytest.mark.parametrize(
        ("model", "searches", "cost"),
        [
            # https://ai.google.dev/gemini-api/docs/pricing: queries from Gemini 3 on, prompts before.
            pytest.param("gemini-3-pro-preview", 2, 0.00008 + 0.028, id="each query"),
            pytest.param("gemini-2.5-flash", 1, 0.0000155 + 0.035, id="one a prompt"),
        ],
    )
    async def test_of_gemini(self, model: str, searches: int, cost: float) -> None:
        answer = grounded(model)
        bill = await recorded(answer)
        assert bill.details == {"web_searches": searches}
        assert bill.cost_usd == about(cost)
        text = {"candidates": [{"content": {"parts": [{"text": "N"}]}}], "modelVersion": model}
        assert usage_in_pieces(text, answer)["details"] == {"web_searches": searches}

    def test_of_perplexity_s_responses(self) -> None:
        usage = {
            "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
            "input_tokens_details": {"cache_read_input_tokens": 400, "cache_creation_input_tokens": 50},
            "tool_calls_details": {"search_web": {"invocation": 2}, "fetch_url": {"invocation": 1}},
        }  # fmt: skip
        read = read_usage(usage)
        assert (read["cache_read_tokens"], read["cache_write_tokens"]) == (400, 50)
        assert read["details"] == {"web_searches": 2}

    def test_an_application_sets_the_price_of_a_search_in_files(self) -> None:
        pricing.set_price("my-model", input=1.0, output=2.0, file_search=0.01)
        try:
            assert bill_of({"usage": used(10, 5), "output": [FILES]}, "my-model").cost_usd == about(0.01002)
        finally:
            pricing.remove_price("my-model")

    def test_a_search_without_a_price_is_not_free(self) -> None:
        assert bill_of({"usage": used(10, 5), "output": [FILES]}, "claude-sonnet-4-5").cost_usd is None


def grounded(model: str) -> dict[str, Any]:
    return {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "Noon."}]},
                "finishReason": "STOP",
                "groundingMetadata": {"webSearchQueries": ["tide today", "high water"]},
            }
        ],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": model,
    }


class TestCharges:
    @pytest.mark.parametrize(
        "usage",
        [
            # https://docs.llmgateway.io/features/cost-breakdown
            pytest.param({"cost_usd_total": 0.000125, "cost_usd_input": 0.000025}, id="LLM Gateway"),
            # https://github.com/pydantic/pydantic-ai/issues/7033
            pytest.param({"cost": 0.000125, "market_cost": 0.0002}, id="Vercel"),
        ],
    )
    def test_of_gateways(self, usage: Any) -> None:
        counts = {"prompt_tokens": 10, "completion_tokens": 15, "total_tokens": 25}
        bill = bill_of({"usage": counts | usage}, "openai/gpt-4o")
        assert (bill.cost_usd, bill.cost_source) == (about(0.000125), "reported")

    def test_in_a_stream_of_anthropic_s_through_litellm(self) -> None:
        """https://github.com/BerriAI/litellm/pull/15102 adds `cost` to the last event's usage."""
        begun = {"type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
        usage, total = {"input_tokens": 100, "output_tokens": 1}, {"output_tokens": 50, "cost": 0.0025}
        read = usage_in_pieces(
            {"type": "message_start", "message": begun | {"usage": usage}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": total},
        )
        assert read["cost_usd"] == about(0.0025)

    @pytest.mark.parametrize(
        ("about_it", "cost", "source"),
        [
            # https://github.com/langchain-ai/langchain/pull/35461
            pytest.param({"model_name": "openai/gpt-4o", "cost": 0.0001}, 0.0001, "reported", id="router"),
            pytest.param(
                {"model_name": "openai/gpt-4o", "cost": 0.0001, "is_byok": True,
                 "cost_details": {"upstream_inference_cost": 0.002}},
                0.0021, "reported", id="openrouter, own key",
            ),
            pytest.param(
                {"model_name": "gpt-4o", "token_usage": {"prompt_tokens": 100, "cost": 0.0002}},
                0.0002, "reported", id="of a gateway through ChatOpenAI",
            ),
            pytest.param(
                {"model_name": "claude-opus-4-8", "model_provider": "anthropic",
                 "usage": {"input_tokens": 1000, "output_tokens": 100, "speed": "fast"}},
                0.015, "priced", id="speed",
            ),
            pytest.param(
                {"model_name": "claude-sonnet-4-5", "model_provider": "anthropic",
                 "usage": {"service_tier": "batch", "server_tool_use": {"web_search_requests": 2}}},
                0.00225 + 0.02, "priced", id="tier and searches",
            ),
        ],
    )  # fmt: skip
    def test_of_langchain_s_messages(self, about_it: Any, cost: float, source: str) -> None:
        usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
        message = {"type": "ai", "content": "x", "usage_metadata": usage, "response_metadata": about_it}
        answer = read_answer(message)
        bill = bill_of(answer.billed, answer.model or "", answer.provider or "unknown")
        assert (bill.cost_usd, bill.cost_source) == (about(cost), source)

    def test_a_traffic_type_that_google_does_not_specify_is_the_standard_one(self) -> None:
        counts = {"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100}
        usage = counts | {"trafficType": "TRAFFIC_TYPE_UNSPECIFIED"}
        assert bill_of({"usageMetadata": usage}, "gemini-2.5-flash", "google").cost_usd == about(0.00055)

    def test_an_error_in_place_of_an_answer_costs_nothing(self) -> None:
        """https://openrouter.ai/docs/features/zero-completion-insurance"""
        message, error = {"role": "assistant", "content": ""}, {"code": 502, "message": "Bad gateway"}
        choice = {"index": 0, "message": message, "finish_reason": "error", "error": error}
        usage = read_answer({"object": "chat.completion", "choices": [choice]}).usage
        assert usage is not None
        assert not any(usage.values())


class TestTimings:
    """llama.cpp's server counts in `timings` (https://github.com/ggml-org/llama.cpp/pull/15827)."""

    timings = {"cache_n": 236, "prompt_n": 1, "prompt_ms": 30.9, "predicted_n": 35, "predicted_ms": 661.0}  # noqa: RUF012
    expected = {  # noqa: RUF012
        "input_tokens": 237, "output_tokens": 35, "cache_read_tokens": 236, "cache_write_tokens": 0,
        "reasoning_tokens": 0,
    }  # fmt: skip

    def test_of_a_whole_answer(self) -> None:
        message = {"role": "assistant", "content": "Noon."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"object": "chat.completion", "choices": [choice], "timings": self.timings}
        assert read_answer(answer).usage == self.expected

    @pytest.mark.parametrize("more", [{}, {"usage": None}])
    def test_of_a_stream_without_usage(self, more: Any) -> None:
        chunk = {"object": "chat.completion.chunk"}
        text = {"choices": [{"index": 0, "delta": {"content": "Noon."}}]}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": self.timings}
        assert usage_in_pieces(chunk | text, chunk | end | more) == self.expected

    def test_usage_wins(self) -> None:
        chunk = {"object": "chat.completion.chunk", "timings": self.timings}
        end = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
        usage = {"prompt_tokens": 240, "completion_tokens": 36, "total_tokens": 276}
        read = usage_in_pieces(chunk | end, chunk | {"choices": [], "usage": usage})
        assert (read["input_tokens"], read["output_tokens"]) == (240, 36)
