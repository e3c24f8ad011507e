"""What each provider's usage comes to in the end: parts, tiers, names and money, to the cent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bills import about, bill_of
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.accounts.price_list import usage_units
from chuk_ai_session_manager.accounts.pricing import call_cost, set_price
from chuk_ai_session_manager.models import CallUsage, TokenUsage
from chuk_ai_session_manager.providers.usage import read_usage, usage_of


def cost(model: str, provider: str, usage: dict[str, Any], **beside: Any) -> float | None:
    return bill_of({"usage": usage, **beside}, model, provider).cost_usd


class TestParts:
    def test_audio_of_openai(self) -> None:
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "prompt_tokens_details": {"audio_tokens": 900},
            "completion_tokens_details": {"audio_tokens": 80},
        }
        assert cost("gpt-audio", "openai", usage) == about(0.03437)

    def test_an_image_of_gemini(self) -> None:
        usage = {
            "promptTokenCount": 100,
            "candidatesTokenCount": 1290,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
        }
        assert cost("gemini-2.5-flash-image", "google", usage) == about(0.03873)

    def test_audio_of_gemini_from_its_sdk(self) -> None:
        types = pytest.importorskip("google.genai.types")
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=1000,
            candidates_token_count=100,
            total_token_count=1100,
            prompt_tokens_details=[
                types.ModalityTokenCount(modality=types.MediaModality.AUDIO, token_count=900),
                types.ModalityTokenCount(modality=types.MediaModality.TEXT, token_count=100),
            ],
        )
        paid = bill_of(SimpleNamespace(usage_metadata=usage), "gemini-2.5-flash", "google")
        assert paid.details == {"input_audio_tokens": 900}
        assert paid.cost_usd == about(0.00118)

    @pytest.mark.parametrize(("searches", "expected"), [(3, 0.0327075), (0, 0.0027075)])
    def test_hour_long_cache_writes_and_searches_of_anthropic(self, searches: int, expected: float) -> None:
        usage = {
            "input_tokens": 100,
            "output_tokens": 20,
            "cache_read_input_tokens": 400,
            "cache_creation_input_tokens": 350,
            "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 300},
            "server_tool_use": {"web_search_requests": searches},
        }
        assert cost("claude-sonnet-4-5", "anthropic", usage) == about(expected)

    @pytest.mark.parametrize(
        ("split", "hour_long"),
        [((1000, 0), 0), ((0, 1000), 6000), ((400, 600), 600), ((0, 0), 0), ((0, 6000), 6000)],
    )
    def test_a_split_that_does_not_sum_to_what_was_written(
        self, split: tuple[int, int], hour_long: int
    ) -> None:
        short, long = split
        usage = {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 6000,
            "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        }
        read = read_usage(usage)
        assert read["cache_write_tokens"] == 6000
        assert read.get("details", {}).get("cache_write_1h_tokens", 0) == hour_long

    def test_twelve_hour_writes_cost_twice_the_others(self) -> None:
        usage: dict[str, Any] = {
            "input_tokens": 1000,
            "output_tokens": 10,
            "total_tokens": 1010,
            "input_tokens_details": {"cached_tokens": 400, "cache_write_tokens": 300},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        assert cost("gpt-5.6", "openai", usage) == about(0.00306)
        usage["input_tokens_details"]["cache_write_tokens_details"] = {
            "ttl_30m_tokens": 100,
            "ttl_12h_tokens": 200,
        }
        assert cost("gpt-5.6", "openai", usage) == about(0.00406)

    def test_searches_of_a_response_stand_beside_its_usage(self) -> None:
        usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
        without = cost("gpt-5.1", "openai", usage)
        assert without is not None
        tools = {"web_search": {"num_requests": 3}, "image_gen": {"input_tokens": 0, "output_tokens": 0}}
        assert cost("gpt-5.1", "openai", usage, tool_usage=tools) == about(without + 0.03)

    def test_images_of_a_response_are_billed_at_their_model_s_price(self) -> None:
        usage = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
        tools = {
            "web_search": {"num_requests": 0},
            "image_gen": {
                "input_tokens": 50,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": 50},
                "output_tokens": 1056,
                "total_tokens": 1106,
            },
        }
        request = [{"type": "image_generation", "model": "gpt-image-1.5"}]
        paid = bill_of({"usage": usage, "tool_usage": tools, "tools": request}, "gpt-5.1", "openai")
        alone = call_cost("gpt-5.1", "openai", input_tokens=1000, output_tokens=100)
        assert alone is not None
        assert paid.cost_usd == about(alone + 50 * 5e-6 + 1056 * 32e-6)
        assert (paid.input_tokens, paid.output_tokens) == (1050, 1156)
        assert [call.model for call in paid.iterations] == ["gpt-image-1.5"]

    def test_a_search_without_a_price_leaves_the_call_unpriced(self) -> None:
        assert call_cost("deepseek-chat", input_tokens=10, details={"web_searches": 1}) is None

    @pytest.mark.parametrize(
        "model", ["whisper-1", "tts-1", "tts-1-hd", "gpt-transcribe", "mistral-ocr-latest"]
    )
    def test_tokens_of_a_model_that_is_priced_by_the_hour_or_page(self, model: str) -> None:
        assert call_cost(model, input_tokens=1000, output_tokens=50) is None

    def test_audio_seconds_of_mistral(self) -> None:
        usage = {"prompt_tokens": 0, "completion_tokens": 50, "prompt_audio_seconds": 60}
        paid = bill_of({"usage": usage}, "voxtral-small-24b-2507", "mistral")
        assert paid.details == {"input_audio_seconds": 60}
        assert paid.cost_usd is not None
        assert paid.cost_usd > 0


class TestHabits:
    """What contains what is told by the total, not by a name."""

    def test_reasoning_beside_the_completion(self) -> None:
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "total_tokens": 1400,
            "completion_tokens_details": {"reasoning_tokens": 300},
        }
        assert read_usage(usage)["output_tokens"] == 400
        assert cost("grok-4", "xai", usage) == about(0.009)

    def test_reasoning_inside_the_completion(self) -> None:
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 400,
            "total_tokens": 1400,
            "completion_tokens_details": {"reasoning_tokens": 300},
        }
        assert read_usage(usage)["output_tokens"] == 400

    def test_thoughts_that_another_library_put_inside_gemini_s_candidates(self) -> None:
        inside = {
            "prompt_token_count": 100,
            "candidates_token_count": 50,
            "thoughts_token_count": 30,
            "total_token_count": 150,
        }
        assert read_usage(inside)["output_tokens"] == 50
        assert read_usage(inside | {"total_token_count": 180})["output_tokens"] == 80

    def test_cached_tokens_outside_an_input_of_openai_s_form(self) -> None:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 510,
            "prompt_tokens_details": {"cached_tokens": 400},
        }
        assert read_usage(usage)["input_tokens"] == 500


class TestTiers:
    @pytest.mark.parametrize(
        ("tier", "expected"),
        [
            (None, 0.01125),
            ("default", 0.01125),
            ("auto", 0.01125),
            ("flex", 0.005625),
            ("batch", 0.005625),
            ("priority", 0.0225),
            ("scale", None),
            ("a tier of next year", None),
        ],
    )
    def test_of_openai(self, tier: str | None, expected: float | None) -> None:
        usage = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
        paid = bill_of({"usage": usage, "service_tier": tier}, "gpt-5.1", "openai")
        assert paid.cost_usd == (None if expected is None else about(expected))
        assert paid.cost_source == ("unpriced" if expected is None else "priced")
        assert paid.service_tier == tier

    def test_flex_of_a_model_whose_entry_does_not_say_it(self) -> None:
        full = call_cost("gpt-4o", "openai", input_tokens=1000, output_tokens=100)
        assert full is not None
        flex = call_cost("gpt-4o", "openai", input_tokens=1000, output_tokens=100, service_tier="flex")
        assert flex == about(full / 2)

    @pytest.mark.parametrize(
        ("model", "provider"), [("claude-3-haiku", "anthropic"), ("claude-sonnet-4-5", "")]
    )
    def test_a_batch_of_anthropic_costs_half(self, model: str, provider: str) -> None:
        full = call_cost(model, provider, input_tokens=1000, output_tokens=100)
        assert full is not None
        half = call_cost(model, provider, input_tokens=1000, output_tokens=100, service_tier="batch")
        assert half == about(full / 2)

    @pytest.mark.parametrize(
        ("model", "provider", "tier"),
        [
            ("claude-sonnet-4-5", "anthropic", "priority"),
            ("gpt-4o", "azure", "batch"),
            ("gemini-2.5-flash", "google", "ON_DEMAND_OFFPEAK"),
            ("gemini-2.5-flash", "google", "PROVISIONED_THROUGHPUT"),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock", "reserved"),
        ],
    )
    def test_a_tier_of_unknown_price_is_unpriced(self, model: str, provider: str, tier: str) -> None:
        assert call_cost(model, provider, input_tokens=1000) is not None
        assert call_cost(model, provider, input_tokens=1000, service_tier=tier) is None

    def test_the_tier_of_anthropic_is_in_its_usage(self) -> None:
        usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}
        assert cost("claude-sonnet-4-5", "anthropic", usage) == about(0.00225)

    def test_the_tier_of_bedrock_and_langchain(self) -> None:
        bedrock = usage_of({"usage": {"inputTokens": 1, "outputTokens": 1}, "serviceTier": {"type": "flex"}})
        assert bedrock is not None
        assert bedrock["service_tier"] == "flex"
        usage = {"input_tokens": 10, "output_tokens": 1, "input_token_details": {"flex": 10}}
        assert read_usage(usage)["service_tier"] == "flex"

    def test_the_tier_of_google_is_its_traffic(self) -> None:
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 1, "trafficType": "ON_DEMAND"}
        assert read_usage(usage)["service_tier"] == "ON_DEMAND"
        assert cost("gemini-2.5-flash", "google", usage) == about(0.0003025)

    def test_speed_and_place_of_anthropic(self) -> None:
        usage = {"input_tokens": 1000, "output_tokens": 100}
        assert cost("claude-opus-4-8", "anthropic", usage) == about(0.0075)
        assert cost("claude-opus-4-8", "anthropic", usage | {"speed": "standard"}) == about(0.0075)
        assert cost("claude-opus-4-8", "anthropic", usage | {"speed": "fast"}) == about(0.015)
        assert cost("claude-opus-4-8", "anthropic", usage | {"inference_geo": "us"}) == about(0.00825)
        assert cost("claude-opus-4-8", "anthropic", usage | {"inference_geo": "moon"}) is None
        both = usage | {"speed": "fast", "service_tier": "batch"}
        assert cost("claude-opus-4-8", "anthropic", both) is None

    async def test_told_by_the_application(self) -> None:
        sm = SessionManager()
        await sm.user_says("a batch file")
        usage = {"prompt_tokens": 1000, "completion_tokens": 1000}
        await sm.ai_responds("ok", model="gpt-5.1", provider="openai", usage=usage, service_tier="batch")
        assert (await sm.get_stats())["estimated_cost"] == about(0.005625)


class TestReportedCosts:
    def test_what_openrouter_charged(self) -> None:
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.0123}
        paid = bill_of({"usage": usage}, "anthropic/claude-sonnet-4.5", "openrouter")
        assert (paid.cost_usd, paid.cost_source) == (0.0123, "reported")

    def test_openrouter_with_a_key_of_one_s_own(self) -> None:
        usage = {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "cost": 0.001,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.02},
        }
        assert cost("m", "openrouter", usage) == about(0.021)

    def test_ticks_of_xai(self) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost_in_usd_ticks": 12345678}
        assert cost("grok-99", "xai", usage) == 0.0012345678

    def test_perplexity_says_it_in_parts(self) -> None:
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": {"total_cost": 0.5, "request_cost": 0.4}}
        assert cost("sonar", "perplexity", usage) == 0.5

    def test_litellm_says_it_beside_the_response(self) -> None:
        response = SimpleNamespace(
            usage={"prompt_tokens": 1, "completion_tokens": 1}, _hidden_params={"response_cost": 0.25}
        )
        assert bill_of(response, "gpt-4o", "openai").cost_usd == 0.25
        response._hidden_params["response_cost"] = 0.0  # of a stream's wrapper, which does not know
        assert bill_of(response, "gpt-4o", "openai").cost_usd == about(12.5e-6)

    @pytest.mark.parametrize("odd", [-1, "free", True, float("nan"), {"a": 1}, None])
    def test_what_is_no_amount_is_not_believed(self, odd: Any) -> None:
        usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "cost": odd}
        paid = bill_of({"usage": usage}, "gpt-4o", "openai")
        assert (paid.cost_usd, paid.cost_source) == (2.5, "priced")

    def test_the_order_of_trust(self) -> None:
        usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
        set_price("gpt-4o", input=9, output=9)
        assert bill_of({"usage": usage}, "gpt-4o").cost_source == "application"
        assert bill_of({"usage": usage | {"cost": 1.5}}, "gpt-4o").cost_source == "reported"
        assert bill_of({"usage": usage}, "gpt-5.1").cost_source == "priced"
        nobody = bill_of({"usage": usage}, "nobody-knows-it")
        assert (nobody.cost_usd, nobody.cost_source) == (None, "unpriced")


class TestIterations:
    @staticmethod
    def usage(sent: int, answered: int, *iterations: dict[str, Any]) -> dict[str, Any]:
        return {"input_tokens": sent, "output_tokens": answered, "iterations": list(iterations)}

    @staticmethod
    def call(kind: str, sent: int, answered: int, **more: Any) -> dict[str, Any]:
        return {"type": kind, "input_tokens": sent, "output_tokens": answered, **more}

    @pytest.mark.parametrize(("top", "expected"), [((23_000, 1_000), 0.6765), ((100, 50), 0.59355)])
    def test_a_compaction_is_a_call_beside(self, top: tuple[int, int], expected: float) -> None:
        usage = self.usage(*top, self.call("compaction", 180_000, 3_500), self.call("message", *top))
        paid = bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic")
        assert paid.cost_usd == about(expected)
        assert paid.input_tokens == 180_000 + top[0]

    def test_an_advisor_is_billed_at_its_own_model_s_price(self) -> None:
        usage = self.usage(
            1000,
            100,
            self.call("message", 1000, 100),
            self.call("advisor_message", 2000, 200, model="claude-opus-4-8"),
        )
        paid = bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic")
        assert paid.cost_usd == about(0.0045 + 2000 * 5e-6 + 200 * 25e-6)

    def test_calls_of_a_tool_loop_are_priced_by_their_own_lengths(self) -> None:
        loop = [self.call("message", 150_000, 100), self.call("message", 150_000, 100)]
        paid = bill_of({"usage": self.usage(300_000, 200, *loop)}, "claude-sonnet-4-5", "anthropic")
        assert paid.cost_usd == about(2 * (150_000 * 3e-6 + 100 * 15e-6))

    def test_a_fallback_is_billed_at_the_model_that_ran_it(self) -> None:
        declined = self.call("message", 1000, 10, model="claude-opus-4-8")
        served = self.call("fallback_message", 1000, 100, model="claude-sonnet-4-5")
        for top in ((2000, 110), (1000, 100)):  # with the declined one, and without it
            paid = bill_of({"usage": self.usage(*top, declined, served)}, "claude-sonnet-4-5", "anthropic")
            assert paid.cost_usd == about(1000 * 5e-6 + 10 * 25e-6 + 0.0045)
            assert paid.input_tokens == 2000

    def test_several_compactions_are_calls_of_their_own(self) -> None:
        compaction = self.call("compaction", 100_000, 1_000)
        usage = self.usage(10_000, 500, compaction, compaction, self.call("message", 10_000, 500))
        assert bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic").cost_usd == about(0.6675)

    def test_a_compaction_reads_from_the_cache(self) -> None:
        compaction = self.call("compaction", 20_000, 2_000, cache_read_input_tokens=160_000)
        usage = self.usage(12_000, 300, compaction, self.call("message", 12_000, 300))
        paid = bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic")
        assert paid.cost_usd == about(0.06 + 0.048 + 0.03 + 0.036 + 0.0045)
        assert paid.cache_read_tokens == 160_000

    def test_what_an_iteration_writes_into_the_cache_has_its_lifetime_s_price(self) -> None:
        written = {
            "cache_creation_input_tokens": 10_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 4_000, "ephemeral_1h_input_tokens": 6_000},
        }
        advisor = self.call("advisor_message", 500, 50, model="claude-haiku-4-5")
        usage = self.usage(1_000, 100, self.call("message", 1_000, 100, **written), advisor) | written
        paid = bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic")
        assert paid.cost_usd == about(0.003 + 0.015 + 0.036 + 0.0015 + 0.00075)

    def test_a_long_compaction_has_the_price_of_a_long_context_and_the_answer_has_not(self) -> None:
        compaction = self.call("compaction", 250_000, 2_000)
        usage = self.usage(20_000, 400, compaction, self.call("message", 20_000, 400))
        paid = bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic")
        assert paid.cost_usd == about(1.5 + 0.045 + 0.06 + 0.006)

    def test_kinds_of_iterations_add_up(self) -> None:
        advisor = self.call("advisor_message", 3_000, 300, model="claude-opus-4-8")
        compaction = self.call("compaction", 50_000, 1_000)
        usage = self.usage(2_000, 100, compaction, self.call("message", 2_000, 100), advisor)
        paid = bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic")
        assert paid.cost_usd == about(0.165 + 0.0225 + 0.0075)

    def test_an_iteration_without_a_price_leaves_the_whole_unpriced(self) -> None:
        usage = self.usage(1000, 100, self.call("advisor_message", 1, 1, model="claude-of-tomorrow"))
        assert bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic").cost_usd is None

    def test_a_bill_is_read_back_as_it_was_written(self) -> None:
        usage = self.usage(100, 50, self.call("compaction", 180_000, 3_500))
        paid = bill_of({"usage": usage}, "claude-sonnet-4-5", "anthropic")
        assert CallUsage.model_validate_json(paid.model_dump_json()) == paid


def test_a_bill_without_parts_is_written_as_before_there_were_any() -> None:
    assert set(CallUsage(model="m").model_dump()) == {
        "model", "provider", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
        "reasoning_tokens", "cost_usd", "estimated",
    }  # fmt: skip


async def test_each_call_of_a_sum_costs_what_it_costs_alone() -> None:
    usage = TokenUsage(model="claude-sonnet-4-5", prompt_tokens=150_000)
    await usage.update(150_000)
    assert usage.estimated_cost_usd == about(0.9)
    assert usage.total_tokens == 300_000


COUNT = st.integers(0, 400_000)


PRICED = st.sampled_from(
    [
        ("gpt-4o", "openai"),
        ("gpt-5.6", "openai"),
        ("gpt-audio", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("claude-opus-4-8", "anthropic"),
        ("gemini-2.5-flash", "google"),
        ("gemini-2.5-pro", "google"),
        ("gemini-2.5-flash-image", "google"),
        ("grok-4", "x-ai"),
        ("sonar-deep-research", "perplexity"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "aws"),
        ("deepseek-chat", "deepseek"),
        ("mistral-large-latest", "mistral"),
    ]
)


@given(named=PRICED, fresh=COUNT, read=COUNT, write=COUNT, said=COUNT, thought=COUNT, data=st.data())
def test_a_cost_is_what_genai_prices_makes_of_the_parts_times_the_tier(
    named: tuple[str, str], fresh: int, read: int, write: int, said: int, thought: int, data: st.DataObject
) -> None:
    model, provider = named
    counts: dict[str, Any] = {
        "input_tokens": fresh + read + write,
        "output_tokens": said + thought,
        "cache_read_tokens": read,
        "cache_write_tokens": write,
        "reasoning_tokens": thought,
    }
    details = {
        "cache_write_1h_tokens": data.draw(st.integers(0, write)),
        "input_audio_tokens": data.draw(st.integers(0, fresh)),
        "output_audio_tokens": data.draw(st.integers(0, said)),
    }
    details = {name: count for name, count in details.items() if count}
    tier = data.draw(st.sampled_from([None, "flex", "batch", "priority"]))
    context = {} if tier is None else {("processing" if tier == "batch" else "service_tier"): tier}
    usage = Usage(**usage_units(counts, details))
    full = float(calc_price(usage, model, provider_id=provider).total_price)
    told = calc_price(usage, model, provider_id=provider, price_context=context)
    ours = call_cost(model, provider, **counts, details=details, service_tier=tier)
    variants = told.model.price_variants or ()
    if tier is None:
        assert ours == about(full)
    elif any(variant.when == context for variant in variants):
        assert ours == about(float(told.total_price))
    elif (provider, tier) in {
        ("openai", "flex"),
        ("openai", "batch"),
        ("anthropic", "batch"),
        ("google", "batch"),
    }:
        assert ours == about(full / 2)
    else:
        assert ours is None
