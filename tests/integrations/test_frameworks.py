"""Answers through LangChain and LiteLLM, each over the local server."""

from __future__ import annotations

import asyncio
import functools
import json
import operator
import os
from typing import Any

import anthropic
import openai
import pytest
from shapes import CLAUDE, bill_of, events_of, exactly, message, the_answer

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_llm_call


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_usage_of_a_tier_through_langchain(address: str) -> None:
    langchain_openai = pytest.importorskip("langchain_openai")
    usage = {
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 60},
    }  # fmt: skip
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-5.1", "choices": [choice],
             "service_tier": "flex", "usage": usage}  # fmt: skip
    client = openai.DefaultAsyncHttpxClient()  # else all models of the process share one
    model = langchain_openai.ChatOpenAI(
        model="gpt-5.1", base_url=f"{address}/v1", api_key="none", max_retries=0, service_tier="flex",
        http_async_client=client,
    )  # fmt: skip
    sm = SessionManager()
    await track_llm_call(exactly(whole), model.ainvoke, session_manager=sm)
    await client.aclose()
    bill = await bill_of(sm)
    assert (bill.cache_read_tokens, bill.reasoning_tokens, bill.service_tier) == (400, 60, "flex")
    assert bill.cost_usd == pytest.approx((600 * 1.25e-6 + 400 * 0.125e-6 + 100 * 10e-6) / 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_cache_writes_by_lifetime_through_langchain(address: str) -> None:
    langchain_anthropic = pytest.importorskip("langchain_anthropic")
    split = {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}
    whole = message(cache_read_input_tokens=400, cache_creation_input_tokens=50, cache_creation=split)
    counts = {"input_tokens": 100, "cache_read_input_tokens": 400, "cache_creation_input_tokens": 50}
    model = langchain_anthropic.ChatAnthropic(
        model=CLAUDE, base_url=address, api_key="none", max_retries=0, max_tokens=9
    )
    whole_one, streamed = SessionManager(), SessionManager()
    await track_llm_call(exactly(whole), model.ainvoke, session_manager=whole_one)
    asked = exactly(events_of(whole, **counts))
    async for _ in stream_llm_call(asked, model.astream, session_manager=streamed):
        pass
    await model._async_client.close()
    for sm, an_hour in ((whole_one, 30), (streamed, None)):  # a stream's last piece has no split
        bill = await bill_of(sm)
        assert (bill.input_tokens, bill.output_tokens) == (550, 50)
        assert (bill.cache_read_tokens, bill.cache_write_tokens) == (400, 50)
        assert bill.details.get("cache_write_1h_tokens") == an_hour


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("blocks", ["v0", "v1"])
async def test_thinking_through_langchain_goes_back_to_anthropic(
    streams: bool, blocks: str, address: str
) -> None:
    langchain_anthropic = pytest.importorskip("langchain_anthropic")
    thinks: Any = {"type": "enabled", "budget_tokens": 1024}
    model = langchain_anthropic.ChatAnthropic(
        model=CLAUDE, base_url=address, api_key="none", max_retries=0, max_tokens=2048, thinking=thinks,
        output_version=blocks,
    )  # fmt: skip
    sm = SessionManager(system_prompt="Be brief.")
    await sm.user_says("Hello")
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    rows = [{"role": "system", "content": request["system"]}, *request["messages"]]
    if streams:
        pieces = await asyncio.to_thread(lambda: list(model.stream(rows)))
        await sm.ai_responds(functools.reduce(operator.add, pieces))
    else:
        await sm.ai_responds(await asyncio.to_thread(model.invoke, rows))
    await sm.user_says("And now?")
    request = await sm.get_messages_for_llm(format="anthropic")
    kinds = [block["type"] for block in request["messages"][1]["content"]]
    assert kinds == ["thinking", "text"]
    assert request["messages"][1]["content"][0]["signature"]
    assert "Hello" in request["messages"][1]["content"][1]["text"]
    async with anthropic.AsyncAnthropic(base_url=address, api_key="none", max_retries=0) as client:
        # The server refuses a signature where anything before it differs.
        await client.messages.create(model=CLAUDE, max_tokens=2048, thinking=thinks, **request)


@pytest.fixture(scope="module")
def litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import asks the network
    return pytest.importorskip("litellm")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_litellm(provider: str, streams: bool, litellm: Any, address: str) -> None:
    """Its counts contain the cached tokens of Anthropic, once; its calls and thinking are kept."""
    sm = SessionManager()
    if provider == "openai":
        model, options = "openai/gpt-4o-mini", {"api_base": f"{address}/v1"}
    else:
        model, options = f"anthropic/{CLAUDE}", {"api_base": address}
    if streams:
        options["stream_options"] = {"include_usage": True}  # type: ignore[assignment]

    async def ask(prompt: str) -> Any:
        messages = [{"role": "user", "content": prompt}]
        return await litellm.acompletion(
            model=model, messages=messages, api_key="none", stream=streams, max_retries=0, **options
        )

    asked = "what is the weather" if streams else "hello"
    if streams:
        async for _ in stream_llm_call(asked, ask, session_manager=sm):
            pass
    else:
        await track_llm_call(asked, ask, session_manager=sm)
    await litellm.close_litellm_async_clients()
    answer = await the_answer(sm)
    text = answer.message if isinstance(answer.message, str) else answer.message["content"]
    assert text == f"You said: {asked}"
    if streams:
        (call,) = answer.message["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "Lisbon"}
    bill = await bill_of(sm)
    assert (bill.input_tokens, bill.estimated) == (1000, False)
    assert bill.cache_read_tokens == (400 if provider == "openai" else 600)
    assert bill.cache_write_tokens == (0 if provider == "openai" else 300)
    assert (bill.cost_usd or 0) > 0
    assert (answer.native or {})["format"] == "openai"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_transcript_of_langchain_s_is_known(address: str) -> None:
    """Answers that were recorded when they came, whole and streamed, are given again."""
    langchain_openai = pytest.importorskip("langchain_openai")
    messages = pytest.importorskip("langchain_core.messages")
    client = openai.DefaultAsyncHttpxClient()
    model = langchain_openai.ChatOpenAI(
        model="gpt-5-mini", base_url=f"{address}/v1", api_key="none", max_retries=0, stream_usage=True,
        http_async_client=client,
    )  # fmt: skip
    sm = SessionManager()
    transcript: list[Any] = []

    async def ask(prompt: str) -> Any:
        transcript.extend([messages.HumanMessage(prompt), await model.ainvoke([*transcript, prompt])])
        return transcript[-1]

    for prompt in ("one", "two"):
        await track_llm_call(prompt, ask, session_manager=sm)
    stream = stream_llm_call("three", lambda _: model.astream(transcript), session_manager=sm)
    chunks = [chunk async for chunk in stream]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    transcript.append(whole)
    await client.aclose()
    for each in transcript:
        if each.type != "human":
            await sm.ai_responds(each)
            await sm.ai_responds(messages.message_to_dict(each))
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["total_messages"]) == (3, 6)
