"""The SDKs of Cohere, Ollama, Amazon and Mistral, whole and streaming, against servers of their protocols."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import other_providers
import pytest
from other_providers import BEDROCK, COHERE, OLLAMA, TEXT, THOUGHT
from shapes import bill_of, exactly, the_answer

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_llm_call


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with other_providers.running() as address:
        yield address


async def recorded(ask: Any, *, streams: bool, question: str = "When?") -> SessionManager:
    sm = SessionManager()
    if streams:
        async for _ in stream_llm_call(question, ask, session_manager=sm):
            pass
    else:
        await track_llm_call(question, ask, session_manager=sm)
    answer = await the_answer(sm)
    (call,) = answer.message["tool_calls"]
    assert answer.message["content"] == TEXT
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("tide", {"day": 1})
    assert answer.native is not None
    assert THOUGHT in json.dumps(answer.native["message"])
    assert "cut" not in answer.native
    return sm


MESSAGES: list[Any] = [{"role": "user", "content": "When?"}]


@pytest.mark.parametrize("streams", [False, True])
async def test_cohere(elsewhere: str, streams: bool) -> None:
    cohere = pytest.importorskip("cohere")
    client = cohere.AsyncClientV2(api_key="none", base_url=elsewhere)
    ask = client.chat_stream if streams else client.chat
    async with client:
        sm = await recorded(lambda _: ask(model="command-a-03-2025", messages=MESSAGES), streams=streams)
    answer, bill = await the_answer(sm), await bill_of(sm)
    assert answer.native is not None
    assert answer.native["message"]["content"] == COHERE["message"]["content"]
    assert answer.native["response"]["id"] == "co-1"
    assert (bill.provider, bill.input_tokens, bill.output_tokens) == ("cohere", 10, 5)  # what is billed
    assert answer.metadata["finish_reason"] == "TOOL_CALL"


@pytest.mark.parametrize("streams", [False, True])
async def test_ollama(elsewhere: str, streams: bool) -> None:
    ollama = pytest.importorskip("ollama")
    client = ollama.AsyncClient(host=elsewhere)
    sm = await recorded(
        lambda _: client.chat(model="llama3.3", messages=MESSAGES, stream=streams), streams=streams
    )
    await client._client.aclose()
    answer, bill = await the_answer(sm), await bill_of(sm)
    assert answer.message["tool_calls"][0]["id"]  # it gives calls no ids
    assert answer.native is not None
    assert answer.native["message"] == OLLAMA["message"]
    assert (bill.provider, bill.input_tokens, bill.output_tokens) == ("ollama", 26, 9)
    assert (bill.cost_usd, answer.metadata["finish_reason"]) == (0.0, "stop")


@pytest.mark.parametrize("streams", [False, True])
async def test_bedrock(elsewhere: str, streams: bool) -> None:
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=elsewhere,
        aws_access_key_id="none", aws_secret_access_key="none",
    )  # fmt: skip
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    ask = client.converse_stream if streams else client.converse
    messages = [{"role": "user", "content": [{"text": "When?"}]}]
    sm = SessionManager()
    options: dict[str, Any] = {"model": model, "provider": "bedrock", "session_manager": sm}
    if streams:
        async for _ in stream_llm_call("When?", lambda _: ask(modelId=model, messages=messages), **options):
            pass
    else:
        await track_llm_call("When?", lambda _: ask(modelId=model, messages=messages), **options)
    client.close()
    answer, bill = await the_answer(sm), await bill_of(sm)
    assert answer.native is not None
    assert answer.native["message"] == BEDROCK["output"]["message"]
    assert answer.metadata["finish_reason"] == "tool_use"
    assert (bill.input_tokens, bill.output_tokens) == (550, 20)
    assert (bill.cache_read_tokens, bill.cache_write_tokens) == (400, 50)
    assert bill.details == {"cache_write_1h_tokens": 30}
    assert (bill.cost_usd or 0) > 0
    if not streams:
        await sm.ai_responds(answer_again(answer.native))
        assert (await sm.get_stats())["llm_calls"] == 1


def answer_again(native: dict[str, Any]) -> dict[str, Any]:
    return {**native["response"], "output": {"message": native["message"]}}


@pytest.mark.parametrize("streams", [False, True])
async def test_mistral(address: str, streams: bool) -> None:
    mistral = pytest.importorskip("mistralai.client")
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}
    call = {"id": "call_1", "type": "function", "function": {"name": "tide", "arguments": '{"day": 1}'}}
    said = {"role": "assistant", "content": [thinking, {"type": "text", "text": TEXT}], "tool_calls": [call]}
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "num_cached_tokens": 4}
    common = {"id": "cmpl-1", "created": 1, "model": "mistral-medium-2508"}
    whole = common | {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "finish_reason": "tool_calls"}],
        "usage": usage,
    }
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": [thinking]}, {"content": TEXT[:3]}, {"content": TEXT[3:]},
        {"content": "", "tool_calls": [call | {"index": 0}]},
    ]  # fmt: skip
    chunks: list[dict[str, Any]] = [
        common
        | {"object": "chat.completion.chunk"}
        | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    chunks[-1]["choices"][0]["finish_reason"] = "tool_calls"
    chunks[-1]["usage"] = usage
    client = mistral.Mistral(api_key="none", server_url=address)
    ask = client.chat.stream_async if streams else client.chat.complete_async
    prompt = exactly(chunks if streams else whole)
    async with client:
        sm = await recorded(
            lambda _: ask(model="mistral-medium-2508", messages=[{"role": "user", "content": prompt}]),
            streams=streams,
        )
    bill = await bill_of(sm)
    assert (bill.provider, bill.input_tokens, bill.output_tokens) == ("mistral", 10, 5)
    assert bill.cache_read_tokens == 4
