"""Prices agree with genai-prices to the last digit that a float has."""

from __future__ import annotations

from typing import Any

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.accounts.pricing import call_cost, load_prices, remove_price, set_price
from chuk_ai_session_manager.exceptions import InvalidInput

COUNT = st.integers(0, 300_000)
MODELS = (
    "gpt-4",
    "gpt-4o",
    "gpt-4o-2024-08-06",
    "gpt-4o-mini",
    "gpt-3.5-turbo",
    "o1",
    "gpt-5",
    "claude-3-5-sonnet-20241022",
    "claude-3-haiku",
    "gemini-2.5-pro",  # tiers
    "deepseek-chat",  # prices by the hour
)


@given(model=st.sampled_from(MODELS), fresh=COUNT, read=COUNT, write=COUNT, out=COUNT)
def test_as_genai_prices_has_it(model: str, fresh: int, read: int, write: int, out: int) -> None:
    usage = Usage(
        input_tokens=fresh + read + write, output_tokens=out, cache_read_tokens=read, cache_write_tokens=write
    )
    ours = call_cost(
        model,
        input_tokens=fresh + read + write,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_tokens=write,
    )
    assert ours == pytest.approx(float(calc_price(usage, model).total_price), rel=1e-12)


def test_a_cached_prompt_of_openai_is_billed_once() -> None:
    cost = call_cost("gpt-4o", "openai", input_tokens=1000, output_tokens=100, cache_read_tokens=400)
    assert cost == pytest.approx(600 * 2.5e-6 + 400 * 1.25e-6 + 100 * 10e-6)


@pytest.mark.parametrize("model", ["", "unknown", "my-local-model", "no/such/model"])
@pytest.mark.parametrize("provider", [None, "unknown", "openai", "nobody"])
def test_unknown_models_have_no_price(model: str, provider: str | None) -> None:
    assert call_cost(model, provider, input_tokens=1000) is None


@pytest.mark.parametrize("provider", ["litellm", "my-gateway", "unknown", None])
def test_a_provider_that_nobody_knows_leaves_the_model_s_price(provider: str | None) -> None:
    assert call_cost("gpt-4o", provider, input_tokens=1_000_000) == pytest.approx(2.5)


def test_provider_slash_model_is_understood() -> None:
    assert call_cost("openai/gpt-4o", input_tokens=1_000_000) == pytest.approx(2.5)


def test_own_prices_win_and_can_be_taken_back() -> None:
    set_price("GPT-4o", input=1, output=2, cache_read=0.5)
    own = call_cost("gpt-4o", input_tokens=1_000_000, output_tokens=1_000_000, cache_read_tokens=500_000)
    assert own == pytest.approx(0.5 + 0.25 + 2)
    remove_price("gpt-4O")
    assert call_cost("gpt-4o", input_tokens=1_000_000) == pytest.approx(2.5)
    remove_price("never set")


def test_cached_tokens_without_a_price_of_their_own_cost_as_input() -> None:
    set_price("mine", input=1, output=2)
    cost = call_cost("mine", input_tokens=100, cache_read_tokens=40, cache_write_tokens=40)
    assert cost == pytest.approx(100e-6)


@pytest.mark.parametrize(
    ("model", "price"), [("", 1.0), (5, 1.0), ("mine", -1.0), ("mine", float("nan")), ("mine", "1")]
)
def test_prices_that_cannot_be_right(model: Any, price: Any) -> None:
    with pytest.raises(InvalidInput, match="set_price"):
        set_price(model, input=price, output=1)


async def test_loading_twice_is_loading_once() -> None:
    await load_prices()
    await load_prices()
    assert call_cost("gpt-4", input_tokens=1000) == pytest.approx(0.03)
