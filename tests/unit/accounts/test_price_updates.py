"""Newer prices: of the package's own mechanism, and of a file; and what the list's package really does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from genai_prices import Usage, calc_price, data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.accounts import pricing
from chuk_ai_session_manager.accounts.price_list import listed_rates
from chuk_ai_session_manager.accounts.pricing import call_cost, context_window, load_price_file, set_price
from chuk_ai_session_manager.exceptions import InvalidInput

MILLION = 1_000_000


class Prices(BaseHTTPRequestHandler):
    """A server of a price list, as the package fetches it."""

    body: ClassVar[bytes] = b"[]"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Prices)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    data_snapshot.set_custom_snapshot(None)


def a_list(price: float) -> bytes:
    model = {"id": "gpt-4o", "match": {"equals": "gpt-4o"}, "prices": {"input_mtok": price, "output_mtok": 1}}
    provider = {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": "x",
        "model_match": {"starts_with": "gpt-"},
        "models": [model],
    }
    return json.dumps([provider]).encode()


def fetched(url: str) -> None:
    with pricing.keep_prices_updated(3600, url=url) as updates:
        updates.wait(10)


@pytest.mark.filterwarnings("ignore")
def test_a_new_price_holds_from_the_next_call_on(url: str) -> None:
    assert call_cost("gpt-4o", input_tokens=MILLION) == 2.5
    Prices.body = a_list(7)
    fetched(url)
    assert call_cost("gpt-4o", input_tokens=MILLION) == 7
    Prices.body = b"[]"
    fetched(url)
    assert call_cost("gpt-4o", input_tokens=MILLION) == 7  # an empty list changes nothing
    data_snapshot.set_custom_snapshot(None)
    assert call_cost("gpt-4o", input_tokens=MILLION) == 2.5


@pytest.mark.parametrize("broken", [b"{", b"[1]", a_list(-1)])
@pytest.mark.filterwarnings("ignore")
def test_a_broken_list_changes_nothing(url: str, broken: bytes) -> None:
    Prices.body = broken
    with suppress(Exception):  # as the package tells those who wait for it
        fetched(url)
    assert call_cost("gpt-4o", input_tokens=MILLION) == 2.5


class TestFiles:
    def test_json_and_toml(self, tmp_path: Path) -> None:
        as_json, as_toml = tmp_path / "prices.json", tmp_path / "prices.toml"
        price = {"input": 3, "output": 15, "tiers": {"1000": {"input": 6}}, "service_tiers": {"batch": 0.5}}
        as_json.write_text(json.dumps({"mine": price}))
        as_toml.write_text('["yours"]\ninput = 1\noutput = 2\ncontext_window = 9000\n')
        assert (load_price_file(as_json), load_price_file(str(as_toml))) == (1, 1)
        assert call_cost("mine", input_tokens=1000) == pytest.approx(1000 * 3e-6)
        assert call_cost("mine", input_tokens=1001) == pytest.approx(1001 * 6e-6)
        assert call_cost("mine", input_tokens=1000, service_tier="batch") == pytest.approx(1000 * 1.5e-6)
        assert call_cost("mine", input_tokens=1000, service_tier="flex") is None
        assert context_window("yours") == 9000

    @pytest.mark.parametrize(
        "text",
        ["[]", "{", '{"a": 1}', '{"ok": {"input": 1, "output": 1}, "a": {"input": -1, "output": 1}}',
         '{"a": {"input": 1, "output": 1, "colour": 3}}', '{"a": {"input": 1}}'],
    )  # fmt: skip
    def test_what_cannot_be_right_changes_nothing(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "prices.json"
        file.write_text(text)
        before = dict(pricing._own_prices)
        with pytest.raises(InvalidInput, match="load a price file"):
            load_price_file(file)
        assert pricing._own_prices == before


class TestOwnPrices:
    def test_all_parts(self) -> None:
        set_price(
            "mine", input=1, output=2, cache_read=0.1, cache_write=1.25, cache_write_1h=2, input_audio=10,
            output_image=40, reasoning=3, web_search=0.01, request=0.5,
        )  # fmt: skip
        cost = call_cost(
            "mine",
            input_tokens=1000,
            output_tokens=300,
            cache_read_tokens=100,
            cache_write_tokens=200,
            reasoning_tokens=50,
            details={
                "cache_write_1h_tokens": 80,
                "input_audio_tokens": 10,
                "output_image_tokens": 30,
                "web_searches": 2,
            },
        )
        tokens = 690 * 1 + 100 * 0.1 + 120 * 1.25 + 80 * 2 + 10 * 10 + 220 * 2 + 30 * 40 + 50 * 3
        assert cost == pytest.approx(tokens / MILLION + 0.02 + 0.5)

    def test_of_one_provider_alone(self) -> None:
        set_price("ollama/llama3", input=1, output=1)
        assert call_cost("llama3", "ollama", input_tokens=MILLION) == 1
        assert call_cost("llama3", "lmstudio", input_tokens=MILLION) == 0

    def test_a_part_that_there_is_not(self) -> None:
        with pytest.raises(InvalidInput, match="no part 'colour'"):
            set_price("mine", input=1, output=1, colour=3)


class TestNames:
    @pytest.mark.parametrize(
        ("model", "provider", "same_as"),
        [
            ("publishers/google/models/gemini-2.5-pro", "vertex_ai", ("gemini-2.5-pro", "google")),
            ("models/gemini-2.5-flash", None, ("gemini-2.5-flash", "google")),
            ("azure/eu/gpt-4o", None, ("gpt-4o", "azure")),
            ("gpt-4o", "azure-openai", ("gpt-4o", "azure")),
            ("openrouter/anthropic/claude-sonnet-4.5", None, ("anthropic/claude-sonnet-4.5", "openrouter")),
            ("gpt-5.2-20251211", "litellm", ("gpt-5.2-2025-12-11", "openai")),
            ("openai:gpt-4o", None, ("gpt-4o", "openai")),
            ("google-gla:gemini-2.5-pro", None, ("gemini-2.5-pro", "google")),
            ("vertex_ai/claude-sonnet-4-5@20250929", None, ("claude-sonnet-4-5", "google")),
            ("bedrock/us-east-1/anthropic.claude-sonnet-4-5-20250929-v1:0", None,
             ("anthropic.claude-sonnet-4-5-20250929-v1:0", "aws")),
            ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/"
             "us.anthropic.claude-sonnet-4-5-20250929-v1:0", None,
             ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws")),
            ("deepseek-chat", "openai", ("deepseek-chat", "deepseek")),  # OpenAI's client, another's model
            ("claude-sonnet-4-5-20250929", "anthropic", ("claude-sonnet-4-5", "anthropic")),
            ("claude-sonnet-4-5[1m]", "anthropic", ("claude-sonnet-4-5", "anthropic")),
            ("claude-sonnet-4-5-20250929[1M]", None, ("claude-sonnet-4-5", "anthropic")),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0[1m]", "bedrock",
             ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws")),
            *((f"openai/gpt-4o{words}", "openrouter", ("openai/gpt-4o", "openrouter"))
              for words in (":nitro", ":floor", ":exacto", ":online", ":thinking", ":beta", ":online:nitro")),
            ("openrouter/meta-llama/llama-3.3-70b-instruct:nitro", None,
             ("meta-llama/llama-3.3-70b-instruct", "openrouter")),
            # These have prices of their own.
            ("openai/gpt-4o:extended:online", "openrouter", ("openai/gpt-4o:extended", "openrouter")),
            ("google/gemini-2.5-flash-preview:thinking", "openrouter",
             ("google/gemini-2.5-flash-preview:thinking", "openrouter")),
        ],
    )  # fmt: skip
    def test_what_gateways_put_around_a_name(
        self, model: str, provider: str | None, same_as: tuple[str, str]
    ) -> None:
        usage = Usage(input_tokens=MILLION // 10, output_tokens=1000)
        expected = calc_price(usage, same_as[0], provider_id=same_as[1]).total_price
        ours = call_cost(model, provider, input_tokens=MILLION // 10, output_tokens=1000)
        assert ours == pytest.approx(float(expected))

    @pytest.mark.parametrize(
        ("model", "provider"),
        [
            ("gpt-5-nano-foo", None),
            ("deepseek-r1:8b", None),
            ("ft:gpt-4o-mini:acme::abc", "openai"),
            ("ft:gpt-4-0613:acme::abc", None),
            ("my-gpt-4o-deployment", "azure"),
            ("tunedModels/mine", "google"),
            ("arn:aws:bedrock:us-east-1:123456789012:custom-model/mine", "bedrock"),
            ("zai-org/GLM-4.7", "deepinfra"),
            ("openai/gpt-oss-120b", "replicate"),
            ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock"),
            ("gpt-oss:120b-cloud", "ollama"),
            ("mistralai/mistral-large:extended", "openrouter"),
            ("gpt-5-nano-foo:online", "openrouter"),
            ("openai/gpt-oss-120b:nitro", "replicate"),
            ("claude-sonnet-4-5[new]", "anthropic"),
            (":online", None),
            ("[1m]", "anthropic"),
        ],
    )
    def test_never_at_another_model_s_price(self, model: str, provider: str | None) -> None:
        assert call_cost(model, provider, input_tokens=1000, output_tokens=10) is None

    @pytest.mark.parametrize(
        ("model", "provider"),
        [
            ("deepseek-r1:8b", "ollama"),
            ("ollama/llama3", None),
            ("gpt-4o", "LM Studio".replace(" ", "_").lower()),
            ("hosted_vllm/gpt-4o", "litellm"),
            ("deepseek/deepseek-chat-v3.1:free", "openrouter"),
            ("deepseek/deepseek-chat-v3.1:free:online", "openrouter"),
        ],
    )
    def test_what_costs_nothing(self, model: str, provider: str | None) -> None:
        assert call_cost(model, provider, input_tokens=1000, output_tokens=10) == 0

    @given(
        name=st.sampled_from(["gpt-4o", "gpt-5-nano", "claude-sonnet-4-5", "gemini-2.5-pro", "deepseek-r1"]),
        word=st.from_regex(r"\A[-:/_.][a-z]{3,8}\Z"),
    )
    def test_a_name_with_a_word_more_is_another_model(self, name: str, word: str) -> None:
        ours = call_cost(name + word, input_tokens=MILLION, output_tokens=1)
        listed = call_cost(name, input_tokens=MILLION, output_tokens=1)
        same = {"latest", "preview", "exp", "free", "nitro", "floor", "exacto", "online", "thinking", "beta"}
        assert ours is None or ours == 0 or word[1:] in same or ours != listed

    def test_a_price_of_the_application_holds_with_a_gateway_s_words_behind_the_name(self) -> None:
        pricing.set_price("acme/writer", input=1, output=2)
        pricing.set_price("acme/writer:online", input=3, output=4)
        try:
            costs = [
                call_cost(name, "openrouter", input_tokens=MILLION)
                for name in ("acme/writer:nitro", "acme/writer[1m]", "acme/writer:online", "acme/writer:free")
            ]
        finally:
            pricing.remove_price("acme/writer")
            pricing.remove_price("acme/writer:online")
        assert costs == [1, 1, 3, 0]

    def test_a_name_may_ask_for_a_longer_context(self) -> None:
        assert pricing.context_window("claude-sonnet-4-5[1m]", "anthropic") == MILLION
        assert pricing.context_window("claude-sonnet-4-5[400k]", "anthropic") == 400_000
        assert pricing.context_window("openai/gpt-4o:online", "openrouter") == pricing.context_window(
            "openai/gpt-4o", "openrouter"
        )


class TestWhatThePackageReallyDoes:
    """Assumptions of ours about genai-prices: each fails when the package changes."""

    def test_a_context_that_a_model_does_not_have_is_the_standard_price_without_a_word(self) -> None:
        usage = Usage(input_tokens=1000, output_tokens=1000)
        standard = calc_price(usage, "gpt-5.1", provider_id="openai").total_price
        for context in ({"service_tier": "batch"}, {"processing": "flex"}, {"tier": "flex"}):
            told = calc_price(usage, "gpt-5.1", provider_id="openai", price_context=context)
            assert told.total_price == standard

    def test_a_name_that_only_begins_like_a_listed_one_has_its_price(self) -> None:
        found = calc_price(Usage(input_tokens=1), "gpt-5-nano-foo", provider_id="openai")
        assert found.model.id == "gpt-5-nano"

    def test_tokens_of_a_model_that_is_priced_by_the_hour_cost_nothing(self) -> None:
        usage = Usage(input_tokens=1000, output_tokens=50)
        assert calc_price(usage, "whisper-1", provider_id="openai").total_price == 0

    def test_the_prices_of_a_model_that_was_found_are_read_once_a_list(self) -> None:
        assert listed_rates("gpt-4o", "openai") is listed_rates("gpt-4o", "openai")
