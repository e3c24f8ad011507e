"""Usages that the price list's own package can read too are read alike."""

from __future__ import annotations

from typing import Any

from genai_prices import extract_usage
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.accounts.price_list import usage_units
from chuk_ai_session_manager.providers.usage import read_usage

COUNT = st.integers(0, 100_000)


def alike(usage: dict[str, Any], provider: str, flavor: str = "default", root: str = "usage") -> None:
    theirs = extract_usage({"model": None, root: usage}, provider_id=provider, api_flavor=flavor).usage
    read = read_usage(usage)
    counts = {name: count for name, count in read.items() if isinstance(count, int)}
    ours = usage_units(counts, read.get("details", {}))
    for name in (
        "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
        "output_reasoning_tokens", "input_audio_tokens", "output_audio_tokens", "web_searches",
    ):  # fmt: skip
        assert ours.get(name, 0) == theirs.reported_value(name), name


@given(fresh=COUNT, cached=COUNT, said=COUNT, thought=COUNT, data=st.data())
def test_openai(fresh: int, cached: int, said: int, thought: int, data: st.DataObject) -> None:
    sent, answered = fresh + cached, said + thought
    parts = {"cached_tokens": cached, "audio_tokens": data.draw(st.integers(0, sent))}
    chat = {
        "prompt_tokens": sent,
        "completion_tokens": answered,
        "total_tokens": sent + answered,
        "prompt_tokens_details": parts,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    alike(chat, "openai", "chat")
    responses = {
        "input_tokens": sent,
        "output_tokens": answered,
        "total_tokens": sent + answered,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": thought},
    }
    alike(responses, "openai", "responses")
    # xAI's reasoning stands beside, as the total says. Told the wrong flavour, the package leaves it out.
    alike(
        chat | {"completion_tokens": said, "prompt_tokens_details": {"cached_tokens": cached}}, "x-ai", "chat"
    )


@given(fresh=COUNT, read=COUNT, short=COUNT, long=COUNT, said=COUNT, searches=st.integers(0, 9))
def test_anthropic(fresh: int, read: int, short: int, long: int, said: int, searches: int) -> None:
    usage = {
        "input_tokens": fresh,
        "output_tokens": said,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "server_tool_use": {"web_search_requests": searches},
    }
    alike(usage, "anthropic")


@given(fresh=COUNT, cached=COUNT, said=COUNT, thought=COUNT, tools=COUNT, data=st.data())
def test_google(fresh: int, cached: int, said: int, thought: int, tools: int, data: st.DataObject) -> None:
    audio = data.draw(st.integers(0, fresh))
    usage = {
        "promptTokenCount": fresh + cached,
        "cachedContentTokenCount": cached,
        "candidatesTokenCount": said,
        "thoughtsTokenCount": thought,
        "toolUsePromptTokenCount": tools,
        "totalTokenCount": fresh + cached + said + thought + tools,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": audio}],
    }
    alike(usage, "google", root="usageMetadata")


@given(fresh=COUNT, read=COUNT, short=COUNT, long=COUNT, said=COUNT)
def test_bedrock(fresh: int, read: int, short: int, long: int, said: int) -> None:
    usage = {
        "inputTokens": fresh,
        "outputTokens": said,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": short + long,
        "cacheDetails": [{"ttl": "5m", "inputTokens": short}, {"ttl": "1h", "inputTokens": long}],
    }
    alike(usage, "aws")
