"""Tracked clients of SDKs that block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from anthropic import Anthropic
from anthropic import Stream as AnthropicStream
from openai import AsyncOpenAI, OpenAI, Stream
from tracked import CLAUDE, GPT, said

from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.sync import SessionManager, track_client


@pytest.fixture
def gpt(address: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(address: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=address, api_key="none", max_retries=0) as client:
        yield client


def rows_of(sm: SessionManager) -> list[Any]:
    return [row["content"] for row in sm.get_conversation()]


def test_whole_answers(gpt: OpenAI, claude: Anthropic) -> None:
    sm = SessionManager()
    completion = track_client(gpt, sm).chat.completions.create(model=GPT, messages=said("one"))
    assert completion.choices[0].message.content == "You said: one"
    track_client(gpt, sm).responses.create(model=GPT, input="two")
    message = track_client(claude, sm).messages.create(model=CLAUDE, max_tokens=9, messages=said("three"))
    assert message.content[0].type == "text"
    assert rows_of(sm) == ["one", "You said: one", "two", "You said: two", "three", "You said: three"]
    assert sm.get_stats()["usage_source"] == "reported"


def test_raw_responses(gpt: OpenAI, claude: Anthropic) -> None:
    sm = SessionManager()
    raw = track_client(gpt, sm).chat.completions.with_raw_response.create(model=GPT, messages=said("one"))
    assert raw.parse().choices[0].message.content == "You said: one"
    of_claude = track_client(claude, sm).messages.with_raw_response
    stream = of_claude.create(model=CLAUDE, max_tokens=9, messages=said("two"), stream=True).parse()
    assert isinstance(stream, AnthropicStream)
    assert [event.type for event in stream][-1] == "message_stop"
    assert rows_of(sm) == ["one", "You said: one", "two", "You said: two"]
    assert sm.get_stats()["usage_source"] == "reported"


def test_streams(gpt: OpenAI, claude: Anthropic) -> None:
    sm = SessionManager()
    stream = track_client(gpt, sm).chat.completions.create(model=GPT, messages=said("one"), stream=True)
    assert isinstance(stream, Stream)
    with stream:
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == "You said: one"
    events = track_client(claude, sm).messages.create(
        model=CLAUDE, max_tokens=9, messages=said("two"), stream=True
    )
    assert next(events).type == "message_start"
    assert [event.type for event in events][-1] == "message_stop"
    assert rows_of(sm) == ["one", "You said: one", "two", "You said: two"]


def test_a_stream_that_is_left(gpt: OpenAI) -> None:
    sm = SessionManager()
    with track_client(gpt, sm).chat.completions.create(
        model=GPT, messages=said("one"), stream=True
    ) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                break
    question, part = sm.get_conversation(with_ids=True)
    assert question["content"] == "one"
    assert part["metadata"]["interrupted"] is True


def test_a_failure_is_the_sdks_own(gpt: OpenAI) -> None:
    sm = SessionManager()
    client = track_client(gpt.with_options(base_url="http://127.0.0.1:9"), sm)
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model=GPT, messages=said("one"))
    assert rows_of(sm) == ["one"]


def test_a_tracked_client_passes_for_the_client(gpt: OpenAI) -> None:
    sm = SessionManager()
    client = track_client(gpt, sm)
    assert isinstance(client, OpenAI)
    assert isinstance(client.chat.completions, type(gpt.chat.completions))
    assert repr(client) == f"tracked(OpenAI, {sm!r})"
    with client.with_options(timeout=9) as other:
        other.chat.completions.create(model=GPT, messages=said("one"))
    assert rows_of(sm) == ["one", "You said: one"]
    with pytest.raises(InvalidInput, match="not tracked"):
        client.responses.stream(model=GPT, input="two")


def test_an_async_client_is_for_the_async_api() -> None:
    with pytest.raises(InvalidInput, match="async client"):
        track_client(AsyncOpenAI(api_key="none"), SessionManager())
