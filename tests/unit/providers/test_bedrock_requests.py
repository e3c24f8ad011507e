"""Requests for Amazon Bedrock's Converse, checked with botocore's own model of the service."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from bedrock_rules import check_converse
from formats import CALL, PNG
from turns import anthropic_answer, bedrock_answer

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.accounts.tokens import count_tokens
from chuk_ai_session_manager.api.simple_api import stream_llm_call
from chuk_ai_session_manager.providers.registry import read_answer

CHATS = Path(os.environ.get("CHATS", "airline_chats.jsonl"))
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
POINT = {"cachePoint": {"type": "default"}}


async def asked(sm: SessionManager, **options: Any) -> Any:
    """A context for Converse, which the API would take."""
    request: Any = await sm.get_messages_for_llm(format="bedrock", **options)
    check_converse(request)
    return request


async def test_media_are_given_as_bytes() -> None:
    pdf = b64encode(b"%PDF-1.4 /Type /Page").decode()
    sm = SessionManager()
    document = {"filename": "the_bill (May).pdf", "file_data": f"data:application/pdf;base64,{pdf}"}
    await sm.user_says([{"type": "file", "file": document}])
    await sm.ai_responds("A bill.")
    await sm.user_says(
        [
            {"type": "text", "text": "And these?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
            {"type": "file", "file": document},
            {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
        ]
    )
    first, _, last = (await asked(sm))["messages"]
    assert first["content"][0]["document"] == {
        "format": "pdf",
        "name": "the bill (May)",
        "source": {"bytes": b"%PDF-1.4 /Type /Page"},
    }
    kinds = [next(iter(block)) for block in last["content"]]
    assert kinds == ["text", "image", "text", "document", "audio"]
    assert last["content"][1]["image"]["source"]["bytes"].startswith(b"\x89PNG")
    assert last["content"][3]["document"]["name"] == "the bill (May) (2)"


async def test_results_say_whether_they_failed_and_may_have_images() -> None:
    sm = SessionManager()
    await sm.user_says("Look.")
    calls = [(f"call.{at}:{'x' * 70 * at}", "look", {"bytes": "aGk=", "at": at}) for at in range(3)]
    await sm.ai_responds(bedrock_answer("", calls))
    await sm.tool_used("look", {}, None, error="no light", tool_call_id=calls[0][0])
    image = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    await sm.tool_used("look", {}, image, tool_call_id=calls[1][0])
    await sm.tool_used("look", {}, "", tool_call_id=calls[2][0])
    _, answer, results = (await asked(sm))["messages"]
    used = [block["toolUse"] for block in answer["content"] if "toolUse" in block]
    assert used[0] == {"toolUseId": "call.0:", "name": "look", "input": {"bytes": "aGk=", "at": 0}}
    assert [block["toolResult"].get("status") for block in results["content"]] == ["error", None, None]
    assert "image" in results["content"][1]["toolResult"]["content"][0]


async def test_a_stream_goes_back_as_it_came() -> None:
    pieces = [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "SIG"}}}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "Let me "}}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "look."}}},
        {
            "contentBlockStart": {
                "contentBlockIndex": 2,
                "start": {"toolUse": {"toolUseId": "t1", "name": "tide"}},
            }
        },
        {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"day"'}}}},
        {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": ": 1}"}}}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}}},
    ]
    sm = SessionManager()

    async def model(_: str) -> Any:
        async def events() -> Any:
            for piece in pieces:
                yield piece

        return events()

    async for _ in stream_llm_call("When?", model, session_manager=sm):
        pass
    await sm.tool_used("tide", {"day": 1}, "noon", tool_call_id="t1")
    assert (await asked(sm))["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "SIG"}}},
        {"text": "Let me look."},
        {"toolUse": {"toolUseId": "t1", "name": "tide", "input": {"day": 1}}},
    ]


async def test_signed_reasoning_goes_back_where_all_before_it_is_the_same() -> None:
    sm = SessionManager("s", "Be brief.")
    await sm.user_says("When is high water?")
    await asked(sm)
    await sm.ai_responds(bedrock_answer("Let me look.", [CALL]))
    await sm.tool_used("tide", {"day": 1}, "noon", tool_call_id="call_1")
    assert "SIG-B" in str(await asked(sm))
    await sm.ai_responds(bedrock_answer("At noon.", []))
    await sm.user_says("And tomorrow?")
    assert str(await asked(sm)).count("SIG-B") == 2
    await sm.update_system_prompt("Be long.")
    changed = str(await asked(sm))
    assert "SIG-B" not in changed
    assert "redactedContent" not in changed
    assert "Let me look." in changed
    assert str(await sm.get_messages_for_llm(format="anthropic")).count("SIG-B") == 0


async def test_reasoning_without_a_signature_stays_here() -> None:
    answer = bedrock_answer("At noon.", [])
    answer["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"].pop("signature")
    del answer["output"]["message"]["content"][1]
    assert read_answer(answer).text == "At noon."
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(answer)
    assert (await asked(sm))["messages"][1]["content"] == [{"text": "At noon."}]


@pytest.mark.parametrize("is_whole", [True, False])
async def test_calls_of_tools_that_the_server_runs_go_back_with_their_results(is_whole: bool) -> None:
    answer = bedrock_answer("At noon.", [])
    used = {"toolUseId": "s1", "name": "web_search", "input": {}, "type": "server_tool_use"}
    found = [{"toolResult": {"toolUseId": "s1", "content": [{"text": "noon"}], "type": "search"}}]
    answer["output"]["message"]["content"] += [{"toolUse": used}, *(found if is_whole else [])]
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(answer)
    request = await sm.get_messages_for_llm(format="bedrock")
    kinds = [next(iter(block)) for block in request["messages"][1]["content"]]
    assert kinds == ["text", *(["toolUse", "toolResult"] if is_whole else [])]


async def test_answers_of_others_are_sent_in_the_common_form() -> None:
    sm = SessionManager()
    await sm.ai_responds("Good morning. ")
    assert (await asked(sm))["messages"][-1]["content"] == [{"text": "Good morning."}]
    await sm.user_says("When?", name="Ada")
    await sm.ai_responds(anthropic_answer("Let me look.", [CALL]))
    messages = (await asked(sm))["messages"]  # the call was interrupted
    assert messages[0] == {"role": "user", "content": [{"text": "[The conversation goes on from here.]"}]}
    assert messages[-1]["content"][0]["toolResult"]["status"] == "error"


@pytest.mark.parametrize(
    ("model", "ttl", "point"),
    [
        (None, True, POINT),
        (MODEL, "1h", {"cachePoint": {"type": "default", "ttl": "1h"}}),
        ("amazon.nova-pro-v1:0", "1h", POINT),
        ("arn:aws:bedrock:eu-west-1:1:application-inference-profile/x", "5m", POINT),
        ("meta.llama3-1-70b-instruct-v1:0", True, None),
    ],
)
async def test_marks_are_blocks(model: str | None, ttl: Any, point: Any) -> None:
    sm = SessionManager(system_prompt="Be brief.")
    for number in range(3):
        await sm.user_says(f"question {number}")
        await sm.ai_responds(f"answer {number}")
    await sm.user_says("last")
    request = await asked(sm, cache=ttl, model=model)
    marked = [turn["content"][-1] == point for turn in request["messages"] if turn["role"] == "user"]
    assert marked == ([False, False, True, True] if point else [False] * 4)
    assert request["system"] == [{"text": "Be brief."}, *([point] if point else [])]
    assert str(request).count("cachePoint") == (3 if point else 0)
    tools = [{"toolSpec": {"name": "t", "inputSchema": {"json": {}}}}, POINT, POINT]
    request = await asked(sm, cache=ttl, model=model, tools=tools)
    assert str(request).count("cachePoint") == (2 if point else 0)


async def test_history_tools_are_offered_and_run() -> None:
    sm = SessionManager(infinite_context=True)
    await sm.user_says("The code word is heron.")
    tools = sm.tools("bedrock")
    request: Any = await sm.get_messages_for_llm(format="bedrock")
    check_converse(request, toolConfig={"tools": tools})
    call = {"toolUse": {"toolUseId": "t", "name": "search_history", "input": {"query": "code word"}}}
    assert "heron" in await sm.run_tool(call)


def _chats(count: int) -> list[Any]:
    return [json.loads(line)["messages"] for line in CHATS.read_text("utf-8").splitlines()[:count]]


@pytest.mark.skipif(not CHATS.exists(), reason="no conversations")
async def test_real_conversations_keep_their_beginnings_and_their_limit() -> None:
    chats = _chats(4)
    sm = SessionManager(system_prompt=chats[0][0]["content"])
    before: list[Any] = []
    kept = calls = 0
    waiting: list[Any] = []
    for row in (row for chat in chats for row in chat if row["role"] != "system"):
        if row["role"] == "assistant":
            await sm.add_messages(waiting)
            waiting = []
            context = await asked(sm, max_tokens=4_000, model="gpt-4o")
            assert await count_tokens(json.dumps(context["messages"]), "gpt-4o") < 4_800  # with JSON around
            messages = context["messages"]
            kept += messages[: len(before) - 1] == before[:-1]
            calls += 1
            before = messages
        waiting.append(row)
    assert kept / calls > 0.8
