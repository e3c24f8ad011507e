"""What the SDKs of late 2026 send and take that is new, each through the SDK itself and the local server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from shapes import (
    CLAUDE,
    GEMINI,
    GPT,
    bill_of,
    calls_in,
    events_of,
    exactly,
    message,
    response,
    response_events,
    said,
    the_answer,
    used,
    user,
)

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_client, track_llm_call
from chuk_ai_session_manager.cli.commands import run_command
from chuk_ai_session_manager.stores import open_store

pytestmark = [
    # google-genai makes a class of aiohttp's in a way that aiohttp warns of.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    # The SDKs' models of a response warn of items whose fields they do not know.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


# -- OpenAI's Responses ---------------------------------------------------------------------------


WAITING: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "shell_call": (
        {"id": "sh_1", "call_id": "call_1", "status": "completed", "action": {"commands": ["ls"]}},
        ("call_1", "shell"),
    ),
    "apply_patch_call": (
        {"id": "ap_1", "call_id": "call_1", "status": "completed",
         "operation": {"type": "delete_file", "path": "a.txt"}},
        ("call_1", "apply_patch"),
    ),
    "local_shell_call": (
        {"id": "ls_1", "call_id": "call_1", "status": "completed",
         "action": {"type": "exec", "command": ["ls"], "env": {}}},
        ("call_1", "local_shell"),
    ),
    "computer_call": (
        {"id": "cu_1", "call_id": "call_1", "status": "completed", "pending_safety_checks": [],
         "action": {"type": "screenshot"}},
        ("call_1", "computer"),
    ),
    "tool_search_call": (
        {"id": "ts_1", "call_id": "call_1", "status": "completed", "execution": "client",
         "arguments": {"query": "tide"}},
        ("call_1", "tool_search"),
    ),
    "mcp_approval_request": (
        {"id": "mcpr_1", "server_label": "shop", "name": "buy", "arguments": '{"of": "Ada"}'},
        ("mcpr_1", "buy"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("kind", WAITING)
async def test_items_that_ask_the_application_wait_under_their_ids(
    kind: str, streams: bool, gpt: AsyncOpenAI
) -> None:
    fields, expected = WAITING[kind]
    item = {"type": kind} | fields
    sm = SessionManager()
    client = track_client(gpt, sm)
    if streams:
        whole = {"type": "response.completed", "sequence_number": 1, "response": response(item)}
        stream: Any = await client.responses.create(model=GPT, input=exactly([whole]), stream=True)
        assert [event.type async for event in stream] == ["response.completed"]
    else:
        await client.responses.create(model=GPT, input=exactly(response(item)))
    answer = await the_answer(sm)
    assert calls_in(answer) == [expected]
    assert answer.native is not None
    assert answer.native["message"] == [item]
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert items[1] == item


RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "shell_call": (
        {"type": "shell_call_output", "call_id": "call_1",
         "output": [{"stdout": "a.txt", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
        "a.txt",
    ),
    "apply_patch_call": (
        {"type": "apply_patch_call_output", "call_id": "call_1", "status": "completed", "output": "deleted"},
        "deleted",
    ),
    "local_shell_call": (
        {"type": "local_shell_call_output", "id": "call_1", "output": "a.txt"},
        "a.txt",
    ),
    "computer_call": (
        {"type": "computer_call_output", "call_id": "call_1",
         "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,iVBORw0KGgo="}},
        "[image: image/png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RESULTS)
async def test_what_answers_them_is_kept_as_it_was_with_its_text_as_the_result(
    kind: str, gpt: AsyncOpenAI
) -> None:
    result, text = RESULTS[kind]
    item = {"type": kind} | WAITING[kind][0]
    sm = SessionManager()
    client = track_client(gpt, sm)
    first = await client.responses.create(model=GPT, input=exactly(response(item)))
    history: Any = [{"role": "user", "content": exactly(response(item))}, *first.output, result]
    history.append({"role": "user", "content": exactly(response(said("ok"), id="resp_2"))})
    await client.responses.create(model=GPT, input=history)
    _, session = await sm.writer._conversation.current()
    (recorded,) = [event for event in session.events if event.type == "tool_call"]
    assert str(recorded.message["result"]).startswith(text)
    assert recorded.message["tool"] == kind.removesuffix("_call")
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert result in items
    assert [each["content"] for each in items if each.get("role") == "user"] == [
        row["content"] for row in history if isinstance(row, dict) and row.get("role") == "user"
    ]


async def test_phases_are_messages_and_go_back(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()
    output = [said("I look.", "msg_1", phase="commentary"), said("At noon.", "msg_2", phase="final_answer")]
    await track_client(gpt, sm).responses.create(model=GPT, input=exactly(response(*output)))
    answer = await the_answer(sm)
    assert [(part["text"], part["phase"]) for part in answer.message["content"]] == [
        ("I look.", "commentary"),
        ("At noon.", "final_answer"),
    ]
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert items[1:] == output


async def test_fields_that_the_sdk_renames_are_as_the_api_knows_them(gpt: AsyncOpenAI) -> None:
    program = {"type": "program", "id": "pr_1", "call_id": "call_0", "code": "tide()", "fingerprint": "x"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "tide", "arguments": "{}",
            "status": "completed", "async": True, "namespace": "sea",
            "caller": {"type": "program", "caller_id": "call_0"}}  # fmt: skip
    sm = SessionManager()
    given = await gpt.responses.create(model=GPT, input=exactly(response(program, call)))
    assert "async" not in given.output[1].model_dump()
    await sm.user_says("When?")
    await sm.ai_responds(given)
    answer = await the_answer(sm)
    assert calls_in(answer) == [("call_1", "tide")]
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    assert items[1:3] == [program, call]


async def test_tokens_written_for_twelve_hours_cost_twice_the_others(gpt: AsyncOpenAI) -> None:
    usage = used(1000, 10, cached_tokens=400, cache_write_tokens=300,
                 cache_write_tokens_details={"ttl_30m_tokens": 100, "ttl_12h_tokens": 200})  # fmt: skip
    sm = SessionManager()
    whole = response(said("ok"), model="gpt-5.6", usage=usage)
    await track_client(gpt, sm).responses.create(model="gpt-5.6", input=exactly(whole))
    bill = await bill_of(sm)
    assert (bill.cache_read_tokens, bill.cache_write_tokens) == (400, 300)
    assert bill.cost_usd == pytest.approx(0.00406)


@pytest.mark.parametrize(
    ("tools", "used_by_tools", "more"),
    [
        ([], {"web_search": {"num_requests": 3}}, 0.03),
        (
            [{"type": "image_generation", "model": "gpt-image-1.5"}],
            {"image_gen": {"input_tokens": 50, "output_tokens": 1056, "total_tokens": 1106,
                           "input_tokens_details": {"image_tokens": 0, "text_tokens": 50}}},
            50 * 5e-6 + 1056 * 32e-6,
        ),
    ],
    ids=["searches", "an image"],
)  # fmt: skip
async def test_tools_of_a_response_are_billed(
    tools: Any, used_by_tools: Any, more: float, gpt: AsyncOpenAI
) -> None:
    costs = []
    for extra in ({}, {"tool_usage": used_by_tools}):
        sm = SessionManager()
        whole = response(said("ok"), model="gpt-5.1", tools=tools, **extra)
        await track_client(gpt, sm).responses.create(model="gpt-5.1", input=exactly(whole))
        costs.append((await bill_of(sm)).cost_usd or 0.0)
    assert costs[1] - costs[0] == pytest.approx(more)


async def test_what_xai_charged_is_believed(gpt: AsyncOpenAI) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "cost_in_usd_ticks": 12345678}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "grok-4", "choices": [choice]}
    sm = SessionManager()
    client = track_client(gpt, sm, provider="xai")
    await client.chat.completions.create(model="grok-4", messages=user(whole | {"usage": usage}))
    bill = await bill_of(sm)
    assert (bill.cost_usd, bill.cost_source) == (0.0012345678, "reported")


# -- Anthropic ------------------------------------------------------------------------------------


async def test_a_compaction_of_anthropic_is_billed_and_goes_back(claude: AsyncAnthropic) -> None:
    counts = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    iterations = [
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500, **counts},
        {"type": "message", "input_tokens": 100, "output_tokens": 50, **counts},
    ]
    block = {"type": "compaction", "content": "All of it."}
    whole = message(block, {"type": "text", "text": "ok"}, iterations=iterations)
    sm = SessionManager()
    await track_client(claude, sm).beta.messages.create(model=CLAUDE, max_tokens=9, messages=user(whole))
    assert (await bill_of(sm)).cost_usd == pytest.approx(0.59355)
    request: Any = await sm.get_messages_for_llm(format="anthropic")
    assert block in [each for row in request["messages"] for each in row["content"] if row["content"] != "ok"]


@pytest.mark.parametrize(
    ("terms", "cost"), [({"speed": "fast"}, 0.015), ({"inference_geo": "us"}, 0.00825), ({}, 0.0075)]
)
@pytest.mark.parametrize("streams", [False, True])
async def test_terms_of_anthropic_have_their_prices(
    terms: dict[str, Any], cost: float, streams: bool, claude: AsyncAnthropic
) -> None:
    model = "claude-opus-4-8"
    whole = message(model=model, input_tokens=1000, output_tokens=100, **terms)
    sm = SessionManager()
    create: Any = track_client(claude, sm).messages.create
    asked: Any = exactly(events_of(whole)) if streams else exactly(whole)
    messages = [{"role": "user", "content": asked}]
    given = await create(model=model, max_tokens=9, messages=messages, stream=streams)
    if streams:
        assert [event async for event in given]
    assert (await bill_of(sm)).cost_usd == pytest.approx(cost)


async def test_thinking_tokens_of_a_stream_and_a_whole_message_without_cache_fields(
    claude: AsyncAnthropic,
) -> None:
    sm = SessionManager()
    events = events_of(message(output_tokens=150), output_tokens_details={"thinking_tokens": 100})
    create: Any = track_client(claude, sm).messages.create
    stream = await create(
        model=CLAUDE, max_tokens=9, messages=[{"role": "user", "content": exactly(events)}], stream=True
    )
    assert [event async for event in stream]
    bill = await bill_of(sm)
    assert (bill.input_tokens, bill.output_tokens, bill.reasoning_tokens) == (100, 150, 100)

    sm = SessionManager()
    await track_client(claude, sm).messages.create(model=CLAUDE, max_tokens=9, messages=user(message()))
    bill = await bill_of(sm)
    assert (bill.input_tokens, bill.output_tokens) == (100, 50)
    assert (bill.cache_read_tokens, bill.cache_write_tokens, bill.estimated) == (0, 0, False)


# -- Google ---------------------------------------------------------------------------------------


async def test_a_call_of_gemini_in_pieces_is_one(gemini: Any) -> None:
    def piece(call: dict[str, Any], **more: Any) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"functionCall": call}]}
        return {"candidates": [{"content": content} | more], "modelVersion": GEMINI, "responseId": "r1"}

    chunks = [
        piece({"name": "weather", "id": "call_1", "willContinue": True}),
        piece({"partialArgs": [{"jsonPath": "$.city", "stringValue": "Ro"}], "willContinue": True}),
        piece({"partialArgs": [{"jsonPath": "$.city", "stringValue": "me"}], "willContinue": True}),
        piece({}, finishReason="STOP"),
    ]
    sm = SessionManager()

    async def ask(prompt: str) -> Any:
        return await gemini.models.generate_content_stream(model=GEMINI, contents=prompt)

    async for _ in stream_llm_call(exactly(chunks), ask, session_manager=sm):
        pass
    (call,) = (await the_answer(sm)).message["tool_calls"]
    assert call["id"] == "call_1"
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}


@pytest.mark.parametrize("as_dict", [False, True])
async def test_an_interaction_is_an_answer(as_dict: bool, gemini: Any) -> None:
    whole = {
        "id": "int_1", "object": "interaction", "model": GEMINI, "status": "requires_action",
        "steps": [{"type": "function_call", "id": "call_1", "name": "tide", "arguments": {"day": 1}}],
        "usage": {"total_input_tokens": 100, "total_output_tokens": 7, "total_tokens": 107},
    }  # fmt: skip
    sm = SessionManager()
    given = await gemini.interactions.create(model=GEMINI, input=exactly(whole))
    await sm.user_says("When?")
    await sm.ai_responds(given.model_dump() if as_dict else given)
    answer = await the_answer(sm)
    assert calls_in(answer) == [("call_1", "tide")]
    bill = await bill_of(sm)
    assert (bill.input_tokens, bill.output_tokens, bill.estimated) == (100, 7, False)


# -- what was right before, and stays so ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["chat", "responses", "anthropic"])
async def test_the_stream_helpers_of_the_sdks(kind: str, gpt: AsyncOpenAI, claude: AsyncAnthropic) -> None:
    sm = SessionManager()
    messages: Any = [{"role": "user", "content": "hello"}]
    options: Any = {"stream_options": {"include_usage": True}}

    async def ask(_: str) -> AsyncIterator[Any]:
        match kind:
            case "chat":
                manager: Any = gpt.chat.completions.stream(model=GPT, messages=messages, **options)
            case "responses":
                manager = gpt.responses.stream(model=GPT, input=exactly(response_events()))
            case _:
                manager = claude.messages.stream(model=CLAUDE, max_tokens=9, messages=messages)
        async with manager as stream:
            async for event in stream:
                yield event

    async for _ in stream_llm_call("hello", ask, session_manager=sm):
        pass
    assert (await the_answer(sm)).message == "You said: hello"
    bill = await bill_of(sm)
    assert (bill.input_tokens, bill.output_tokens, bill.estimated) == (1000, 3, False)


@pytest.mark.parametrize("last", [True, False], ids=["at the end", "in each piece"])
async def test_usage_that_grows_is_that_of_the_last_piece(
    last: bool, gpt: AsyncOpenAI, claude: AsyncAnthropic
) -> None:
    common = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": GPT}
    chunks: list[dict[str, Any]] = [
        common
        | {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
        | {"usage": {"prompt_tokens": 9, "completion_tokens": at, "total_tokens": 9 + at}}
        for at, text in enumerate("okay", 1)
    ]
    if last:
        chunks = [chunk | {"usage": None} for chunk in chunks[:3]] + [chunks[3]]
    sm = SessionManager()
    create: Any = track_client(gpt, sm).chat.completions.create
    stream = await create(model=GPT, messages=user(chunks), stream=True)
    assert [chunk async for chunk in stream]
    bill = await bill_of(sm)
    assert (bill.input_tokens, bill.output_tokens) == (9, 4)

    events = events_of(message(output_tokens=7))
    if not last:
        growing = [
            {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": at}}
            for at in (2, 5)
        ]
        events = [*events[:4], *growing, *events[4:]]
    sm = SessionManager()
    create = track_client(claude, sm).messages.create
    stream = await create(model=CLAUDE, max_tokens=9, messages=user(events), stream=True)
    assert [event async for event in stream]
    bill = await bill_of(sm)
    assert (bill.input_tokens, bill.output_tokens) == (100, 7)


@pytest.mark.parametrize("streams", [False, True])
async def test_ids_of_gemini_s_calls_are_kept(streams: bool, gemini: Any) -> None:
    parts = [{"functionCall": {"id": f"call_{day}", "name": "tide", "args": {"day": day}}} for day in (1, 2)]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    whole = {"candidates": [candidate], "modelVersion": GEMINI, "responseId": "r1"}
    sm = SessionManager()
    if streams:

        async def ask(prompt: str) -> Any:
            return await gemini.models.generate_content_stream(model=GEMINI, contents=prompt)

        async for _ in stream_llm_call(exactly([whole]), ask, session_manager=sm):
            pass
    else:
        await track_llm_call(
            exactly(whole),
            lambda prompt: gemini.models.generate_content(model=GEMINI, contents=prompt),
            session_manager=sm,
        )
    assert calls_in(await the_answer(sm)) == [("call_1", "tide"), ("call_2", "tide")]
    request: Any = await sm.get_messages_for_llm(format="google")
    calls = [part["functionCall"] for part in request["contents"][1]["parts"]]
    assert calls == [part["functionCall"] for part in parts]


# -- what nobody knows yet ------------------------------------------------------------------------


async def test_a_block_of_an_unknown_type_is_kept_shown_and_sent_back(
    claude: AsyncAnthropic, gpt: AsyncOpenAI, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/sessions.db"
    block = {"type": "hologram", "shape": {"sides": 7}, "signature": "AAAA"}
    item = {"type": "hologram", "id": "ho_1", "shape": {"sides": 7}}
    async with open_store(url) as store:
        one, two = (SessionManager(name, store=store) for name in ("claude", "gpt"))
        whole = message({"type": "text", "text": "Look."}, block, {"type": "text", "text": "ok"})
        given = await claude.messages.create(model=CLAUDE, max_tokens=9, messages=user(whole))
        assert [each.type for each in given.content] == ["text", "hologram", "text"]
        await one.user_says("Show me.")
        await one.ai_responds(given)
        request: Any = await one.get_messages_for_llm(format="anthropic")
        assert request["messages"][1]["content"] == whole["content"]

        answer = await gpt.responses.create(model=GPT, input=exactly(response(item, said("ok"))))
        await two.user_says("Show me.")
        await two.ai_responds(answer)
        items: Any = await two.get_messages_for_llm(format="openai-responses")
        assert items[1:] == [item, said("ok")]
    for name in ("claude", "gpt"):
        assert await asyncio.to_thread(run_command, ["show", name, "--all", "--store", url]) == 0
        assert "hologram" in capfd.readouterr().out
