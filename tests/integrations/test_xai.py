"""xAI's own SDK, which speaks gRPC, against a server of its protocol in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_llm_call
from chuk_ai_session_manager.models import SessionEvent

grpc = pytest.importorskip("grpc")
xai_sdk = pytest.importorskip("xai_sdk")
from xai_sdk import chat  # noqa: E402
from xai_sdk.proto import chat_pb2, chat_pb2_grpc, usage_pb2  # noqa: E402

GROK = "grok-4-0709"
USAGE = {
    "prompt_tokens": 1000, "completion_tokens": 100, "reasoning_tokens": 300, "total_tokens": 1400,
    "cached_prompt_text_tokens": 400, "cost_in_usd_ticks": 12345678,
}  # fmt: skip


def call(call_id: str, name: str, kind: str = "TOOL_CALL_TYPE_CLIENT_SIDE_TOOL") -> Any:
    function = chat_pb2.FunctionCall(name=name, arguments='{"day": 1}')
    return chat_pb2.ToolCall(id=call_id, type=kind, function=function)


def whole() -> Any:
    said = chat_pb2.CompletionMessage(
        content="I look.",
        reasoning_content="Noon?",
        encrypted_content="AAAA",
        role="ROLE_ASSISTANT",
        tool_calls=[
            call("call_0", "x_search", "TOOL_CALL_TYPE_X_SEARCH_TOOL"),
            call("call_1", "tide"),
            call("call_2", "tide"),
        ],
    )
    output = chat_pb2.CompletionOutput(index=0, finish_reason="REASON_TOOL_CALLS", message=said)
    about = {"id": "resp-1", "model": GROK, "citations": ["https://example.org"]}
    return chat_pb2.GetChatCompletionResponse(
        outputs=[output], usage=usage_pb2.SamplingUsage(**USAGE), **about
    )


def chunks() -> Sequence[Any]:
    (output,) = whole().outputs
    deltas = [
        {"role": "ROLE_ASSISTANT", "reasoning_content": "No"},
        {"role": "ROLE_ASSISTANT", "reasoning_content": "on?"},
        {"role": "ROLE_ASSISTANT", "content": "I lo"},
        {"role": "ROLE_ASSISTANT", "content": "ok."},
        {"role": "ROLE_ASSISTANT", "tool_calls": output.message.tool_calls[:2]},
        {
            "role": "ROLE_ASSISTANT",
            "tool_calls": output.message.tool_calls[2:],
            "encrypted_content": "AAAA",
        },
    ]
    outputs = [chat_pb2.CompletionOutputChunk(index=0, delta=chat_pb2.Delta(**delta)) for delta in deltas]
    outputs[-1].finish_reason = output.finish_reason
    usages = [{"prompt_tokens": 1000, "completion_tokens": at} for at in range(5)]
    return [
        chat_pb2.GetChatCompletionChunk(
            id="resp-1", model=GROK, outputs=[each], usage=usage_pb2.SamplingUsage(**usage)
        )
        for each, usage in zip(outputs, [*usages, USAGE], strict=True)
    ]


class Server(chat_pb2_grpc.ChatServicer):  # type: ignore[misc]
    """Answers every request with the same."""

    async def GetCompletion(self, request: Any, context: Any) -> Any:  # noqa: N802
        return whole()

    async def GetCompletionChunk(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for each in chunks():
            yield each


@pytest.fixture
async def talk() -> AsyncIterator[Any]:
    server = grpc.aio.server()
    chat_pb2_grpc.add_ChatServicer_to_server(Server(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = xai_sdk.AsyncClient("none", api_host=f"127.0.0.1:{port}", use_insecure_channel=True)
    yield client.chat.create(model=GROK, messages=[chat.user("When is high water?")])
    await client.close()
    await server.stop(None)


async def told(sm: SessionManager) -> SessionEvent[Any]:
    _, session = await sm.writer._conversation.current()
    (answer,) = [event for event in session.events if event.source == "llm"]
    return answer


@pytest.mark.parametrize("streams", [False, True])
async def test_nothing_of_an_answer_is_lost(talk: Any, streams: bool) -> None:
    sm = SessionManager()
    if streams:
        async for response, _ in stream_llm_call("When?", lambda _: talk.stream(), session_manager=sm):
            last = response
    else:
        _, _ = await track_llm_call("When?", lambda _: talk.sample(), session_manager=sm)
        last = await talk.sample()
    answer = await told(sm)
    assert answer.message["content"] == "I look."
    assert [each["id"] for each in answer.message["tool_calls"]] == ["call_1", "call_2"]
    assert answer.metadata["finish_reason"] == "tool_calls"
    assert answer.native is not None
    assert (answer.native["format"], "cut" in answer.native) == ("xai", False)
    (output,) = answer.native["message"]
    said = output["message"]
    assert (said["reasoning_content"], said["encrypted_content"]) == ("Noon?", "AAAA")
    assert [each["function"]["name"] for each in said["tool_calls"]] == ["x_search", "tide", "tide"]
    assert answer.native["response"]["id"] == "resp-1"
    usage = answer.usage
    assert usage is not None
    assert (usage.model, usage.provider) == (GROK, "xai")
    assert (usage.input_tokens, usage.output_tokens) == (1000, 400)
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (400, 300)
    assert (usage.cost_usd, usage.cost_source) == (0.0012345678, "reported")
    await sm.ai_responds(last)  # seen again
    assert (await sm.get_stats())["llm_calls"] == 1


async def test_a_stream_that_is_left_has_what_came(talk: Any) -> None:
    sm = SessionManager()
    stream = stream_llm_call("When?", lambda _: talk.stream(), session_manager=sm)
    async for _, chunk in stream:
        if chunk.content:
            break
    await stream.aclose()
    answer = await told(sm)
    assert (answer.message, answer.metadata["interrupted"]) == ("I lo", True)
    assert (answer.native or {})["cut"] is True


async def test_what_xai_did_in_between_is_kept(talk: Any) -> None:
    response = whole()
    del response.outputs[0].message.tool_calls[1:]
    found = chat_pb2.CompletionMessage(role="ROLE_TOOL", content="three posts")
    end = chat_pb2.CompletionMessage(role="ROLE_ASSISTANT", content="At noon.")
    response.outputs.extend(
        [
            chat_pb2.CompletionOutput(index=1, message=found),
            chat_pb2.CompletionOutput(index=2, message=end, finish_reason="REASON_STOP"),
        ]
    )
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(chat.Response(response, None))
    answer = await told(sm)
    assert (answer.message, answer.metadata["finish_reason"]) == ("I look.\n\nAt noon.", "stop")
    assert len((answer.native or {})["message"]) == 3
