"""Usage in every shape that providers and their SDKs give it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bills import about, bill_of

from chuk_ai_session_manager.providers.usage import read_usage, usage_of

BESIDE = Path(__file__).parents[4] / "shared" / "data" / "airline_chats.jsonl"
CASES = Path(os.environ.get("CHATS", BESIDE)).with_name("provider_cases.json")


class TestShapes:
    @pytest.mark.parametrize(
        ("usage", "expected"),
        [
            pytest.param(
                {"inputTokens": 600, "outputTokens": 100, "totalTokens": 1000, "cacheReadInputTokens": 300,
                 "cacheWriteInputTokens": 0},
                (900, 100, 300, 0, 0, {}),
                id="bedrock",
            ),
            pytest.param(
                {"inputTokens": 100, "outputTokens": 10, "cacheWriteInputTokens": 50,
                 "cacheDetails": [{"ttl": "1h", "inputTokens": 30}, {"ttl": "5m", "inputTokens": 20}]},
                (150, 10, 0, 50, 0, {"cache_write_1h_tokens": 30}),
                id="bedrock, for an hour",
            ),
            pytest.param(
                {"billed_units": {"input_tokens": 10.0, "output_tokens": 5.0},
                 "tokens": {"input_tokens": 70.0, "output_tokens": 5.0}},
                (10, 5, 0, 0, 0, {}),
                id="cohere bills other counts than it counted",
            ),
            pytest.param(
                {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_cache_hit_tokens": 600},
                (1000, 100, 600, 0, 0, {}),
                id="deepseek",
            ),
            pytest.param(
                {"prompt_tokens": 1000, "completion_tokens": 100, "cached_tokens": 600},
                (1000, 100, 600, 0, 0, {}),
                id="moonshot",
            ),
            pytest.param(
                {"prompt_tokens": 1000, "completion_tokens": 100, "num_cached_tokens": 600},
                (1000, 100, 600, 0, 0, {}),
                id="mistral",
            ),
            pytest.param(
                {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1400,
                 "reasoning_tokens": 300, "cached_prompt_text_tokens": 128},
                (1000, 400, 128, 0, 300, {}),
                id="xai's own sdk",
            ),
            # https://github.com/mozilla-ai/any-llm/issues/1290, https://github.com/Clarifai/clarifai-python/pull/978
            pytest.param(
                {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
                (20, 603, 0, 0, 405, {}),
                id="gemini through a gateway: thoughts are in the total only",
            ),
            pytest.param(
                {"prompt_tokens": 1000, "completion_tokens": 198, "total_tokens": 1603,
                 "prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens_details": None},
                (1000, 603, 400, 0, 405, {}),
                id="the same with cached tokens",
            ),
            # https://github.com/router-for-me/CLIProxyAPI/issues/5733
            pytest.param(
                {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81,
                 "completion_tokens_details": {"reasoning_tokens": 60}},
                (21, 60, 0, 0, 60, {}),
                id="the same, with the thoughts in the details",
            ),
            pytest.param(
                {"prompt_tokens": 33, "completion_tokens": 100, "total_tokens": 133, "citation_tokens": 20,
                 "num_search_queries": 18, "reasoning_tokens": 70},
                (33, 190, 0, 0, 70, {"output_citation_tokens": 20, "web_searches": 18}),
                id="perplexity bills citations and reasoning beside",
            ),
            pytest.param(
                {"prompt_tokens": 550, "completion_tokens": 20, "total_tokens": 570,
                 "prompt_tokens_details": {
                     "cached_tokens": 400, "cache_write_tokens": 50, "cache_creation_tokens": 50,
                     "cache_creation_token_details": {"ephemeral_5m_input_tokens": 20,
                                                      "ephemeral_1h_input_tokens": 30}},
                 "cache_read_input_tokens": 400, "cache_creation_input_tokens": 50},
                (550, 20, 400, 50, 0, {"cache_write_1h_tokens": 30}),
                id="litellm of anthropic",
            ),
            pytest.param(
                {"input_tokens": 28342, "output_tokens": 100, "total_tokens": 28442,
                 "input_token_details": {"cache_read": 20459, "cache_creation": 7882}},
                (28342, 100, 20459, 7882, 0, {}),
                id="langchain",
            ),
            pytest.param(
                {"input_tokens": 550, "output_tokens": 100, "total_tokens": 650,
                 "input_token_details": {"cache_read": 400, "cache_creation": 0,
                                         "ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}},
                (550, 100, 400, 50, 0, {"cache_write_1h_tokens": 30}),
                id="langchain of anthropic, split by lifetime",
            ),
            pytest.param(
                {"input_tokens": 1000, "output_tokens": 100,
                 "input_token_details": {"flex_cache_read": 400, "flex": 600},
                 "output_token_details": {"flex_reasoning": 60}},
                (1000, 100, 400, 0, 60, {}),
                id="langchain of tier flex",
            ),
            pytest.param(
                {"total_input_tokens": 100, "total_output_tokens": 20, "total_thought_tokens": 5,
                 "total_cached_tokens": 10, "total_tokens": 125},
                (100, 25, 10, 0, 5, {}),
                id="google interactions",
            ),
            pytest.param(
                {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 20,
                 "gen_ai.usage.cache_read.input_tokens": 10,
                 "gen_ai.usage.cache_creation.input_tokens": 5,
                 "gen_ai.usage.reasoning.output_tokens": 7},
                (100, 20, 10, 5, 7, {}),
                id="opentelemetry: cached tokens are inside",
            ),
            pytest.param(
                {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120, "cachedInputTokens": 40,
                 "reasoningTokens": 8},
                (100, 20, 40, 0, 8, {}),
                id="vercel's ai sdk: cached tokens are inside",
            ),
            pytest.param(
                {"input_tokens": 100, "output_tokens": 50,
                 "input_token_details": {"audio_tokens": 60, "cached_tokens": 20,
                                         "cached_tokens_details": {"audio_tokens": 10}},
                 "output_token_details": {"audio_tokens": 40}},
                (100, 50, 20, 0, 0, {"input_audio_tokens": 60, "cache_audio_read_tokens": 10,
                                     "output_audio_tokens": 40}),
                id="openai realtime",
            ),
            pytest.param(
                {"input_tokens": 100, "output_tokens": 100, "output_tokens_details": {"thinking_tokens": 60}},
                (100, 100, 0, 0, 60, {}),
                id="anthropic's thinking, without cache fields",
            ),
            pytest.param(
                {"input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 4, "cache_write_tokens": 3,
                 "reasoning_tokens": 1, "details": {"cache_write_1h_tokens": 2}},
                (10, 5, 4, 3, 1, {"cache_write_1h_tokens": 2}),
                id="our own",
            ),
        ],
    )  # fmt: skip
    def test_counts(self, usage: dict[str, Any], expected: tuple[Any, ...]) -> None:
        read = read_usage(usage)
        counts = (
            read["input_tokens"],
            read["output_tokens"],
            read["cache_read_tokens"],
            read["cache_write_tokens"],
            read["reasoning_tokens"],
            read.get("details", {}),
        )
        assert counts == expected

    def test_ollama_counts_beside_the_message(self) -> None:
        usage = usage_of({"message": {"content": "ok"}, "prompt_eval_count": 26, "eval_count": 298})
        assert usage is not None
        assert (usage["input_tokens"], usage["output_tokens"]) == (26, 298)

    def test_groq_s_last_chunk(self) -> None:
        usage = usage_of({"x_groq": {"usage": {"prompt_tokens": 11, "completion_tokens": 2}}})
        assert usage is not None
        assert usage["input_tokens"] == 11

    def test_a_usage_of_zeros_was_not_reported(self) -> None:
        assert usage_of({"usage": {"input_tokens": 0, "output_tokens": 0, "requests": 1}}) is None


@pytest.mark.skipif(not CASES.exists(), reason="the provider cases are not at hand")
class TestProviderCases:
    @staticmethod
    def cases() -> list[Any]:
        cases = json.loads(CASES.read_text())["cases"] if CASES.exists() else []
        return [
            pytest.param(case, id=case["name"])
            for case in cases
            if case["kind"] == "bill" and "chunks" not in case  # streams: test_answers
        ]

    @pytest.mark.parametrize("case", cases())
    def test_bill(self, case: dict[str, Any]) -> None:
        response = case.get("response") or {"usage": case["usage"]}
        model = case.get("model") or response["model"]
        paid = bill_of(response, model, case["provider"])
        for name, value in case["want"].items():
            said = getattr(paid, {"estimated_cost": "cost_usd"}.get(name, name))
            assert said == (about(value) if isinstance(value, float) else value), name
