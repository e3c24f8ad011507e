"""What responses are billed as the providers' SDKs give them; each test drives the SDK's own types."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.models import CallUsage
from chuk_ai_session_manager.providers.streamed_answers import AnswerInPieces
from chuk_ai_session_manager.stores import MemoryStore


async def bill_of(response: object, **told: Any) -> CallUsage:
    """What a response is billed that a manager was told of."""
    store = MemoryStore()
    sm = SessionManager(store=store)
    await sm.user_says("hello")
    session = await store.get(await sm.ai_responds(response, **told))
    assert session is not None
    usage: CallUsage | None = session.events[-1].usage
    assert usage is not None
    return usage


class TestOpenAI:
    async def test_tools_of_a_response(self) -> None:
        responses = pytest.importorskip("openai.types.responses")
        response = responses.Response.model_validate(
            {
                "id": "r1",
                "created_at": 1,
                "model": "gpt-5.1",
                "object": "response",
                "output": [
                    {
                        "type": "message",
                        "id": "m",
                        "role": "assistant",
                        "status": "completed",
                        "content": [{"type": "output_text", "text": "ok", "annotations": []}],
                    }
                ],
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [{"type": "image_generation", "model": "gpt-image-1.5"}],
                "status": "completed",
                "service_tier": "flex",
                "usage": {
                    "input_tokens": 1000,
                    "output_tokens": 100,
                    "total_tokens": 1100,
                    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                    "output_tokens_details": {"reasoning_tokens": 0},
                },
                "tool_usage": {
                    "web_search": {"num_requests": 3},
                    "image_gen": {
                        "input_tokens": 50,
                        "output_tokens": 1056,
                        "total_tokens": 1106,
                        "input_tokens_details": {"image_tokens": 0, "text_tokens": 50},
                    },
                },
            }
        )
        paid = await bill_of(response)
        half = (1000 * 1.25e-6 + 100 * 10e-6) / 2
        # The tier is the model's: images and searches cost what they cost.
        assert paid.cost_usd == pytest.approx(half + 0.03 + 50 * 5e-6 + 1056 * 32e-6)
        assert (paid.service_tier, paid.details["web_searches"]) == ("flex", 3)

    async def test_ticks_of_xai_through_openai_s_client(self) -> None:
        chat = pytest.importorskip("openai.types.chat")
        completion = chat.ChatCompletion.model_validate(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "grok-4",
                "choices": [
                    {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}
                ],
                "usage": {
                    "prompt_tokens": 1,
                    "completion_tokens": 1,
                    "total_tokens": 2,
                    "cost_in_usd_ticks": 12345678,
                },
            }
        )
        paid = await bill_of(completion)
        assert (paid.cost_usd, paid.cost_source) == (0.0012345678, "reported")


class TestAnthropic:
    @staticmethod
    def message(model: str, **usage: Any) -> Any:
        beta = pytest.importorskip("anthropic.types.beta")
        return beta.BetaMessage.model_validate(
            {
                "id": "m1",
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": [{"type": "text", "text": "ok"}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": usage,
            }
        )

    async def test_a_compaction(self) -> None:
        no_cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        iterations = [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500, **no_cache},
            {"type": "message", "input_tokens": 100, "output_tokens": 50, **no_cache},
        ]
        message = self.message("claude-sonnet-4-5", input_tokens=100, output_tokens=50, iterations=iterations)
        paid = await bill_of(message)
        assert paid.cost_usd == pytest.approx(0.59355)
        assert (paid.input_tokens, paid.output_tokens) == (180_100, 3_550)

    async def test_speed_and_place(self) -> None:
        usage = {"input_tokens": 1000, "output_tokens": 100}
        fast = self.message("claude-opus-4-8", **usage, speed="fast")
        there = self.message("claude-opus-4-8", **usage, inference_geo="us", service_tier="standard")
        assert (await bill_of(fast)).cost_usd == pytest.approx(0.015)
        assert (await bill_of(there)).cost_usd == pytest.approx(0.00825)

    def test_a_stream_whose_end_has_more_than_its_start(self) -> None:
        answer = AnswerInPieces()
        start = {
            "input_tokens": 500,
            "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1000},
            "cache_creation_input_tokens": 1000,
            "service_tier": "batch",
        }
        message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
        end = {"output_tokens": 150, "output_tokens_details": {"thinking_tokens": 100}}
        for piece in (
            {"type": "message_start", "message": message | {"content": [], "usage": start}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "ok"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end},
            {"type": "message_stop"},
        ):
            answer.add(piece)
        usage = answer.end().usage
        assert usage is not None
        assert (usage["output_tokens"], usage["reasoning_tokens"]) == (150, 100)
        assert (usage["cache_write_tokens"], usage["service_tier"]) == (1000, "batch")
        assert usage["details"] == {"cache_write_1h_tokens": 1000}


class TestOthers:
    async def test_langchain_of_tier_flex(self) -> None:
        messages = pytest.importorskip("langchain_core.messages")
        usage = {
            "input_tokens": 1000,
            "output_tokens": 100,
            "total_tokens": 1100,
            "input_token_details": {"flex_cache_read": 400, "flex": 600},
            "output_token_details": {"flex_reasoning": 60, "flex": 40},
        }
        about = {"model_name": "gpt-5.1"}
        message = messages.AIMessage(content="ok", usage_metadata=usage, response_metadata=about)
        paid = await bill_of(message, provider="openai")
        assert (paid.cache_read_tokens, paid.reasoning_tokens, paid.service_tier) == (400, 60, "flex")
        assert paid.cost_usd == pytest.approx((600 * 1.25e-6 + 400 * 0.125e-6 + 100 * 10e-6) / 2)

    async def test_gemini_s_audio(self) -> None:
        types = pytest.importorskip("google.genai.types")
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=1000,
            candidates_token_count=100,
            total_token_count=1100,
            prompt_tokens_details=[types.ModalityTokenCount(modality="AUDIO", token_count=900)],
            traffic_type="ON_DEMAND",
        )
        content = types.Content(role="model", parts=[types.Part(text="ok")])
        response = types.GenerateContentResponse(
            candidates=[types.Candidate(content=content)],
            model_version="gemini-2.5-flash",
            usage_metadata=usage,
        )
        assert (await bill_of(response)).cost_usd == pytest.approx(0.00118)
