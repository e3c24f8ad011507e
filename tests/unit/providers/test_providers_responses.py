"""Answers of OpenAI's Responses API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from answers import asked, ids, in_pieces, native
from openai.types.responses import Response
from request_rules import check_request

from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers import read_answer

# -- OpenAI's Responses ---------------------------------------------------------------------------


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    common = {"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "status": "completed"}
    options = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return common | options | {"output": list(output)} | more


def said(text: str, **more: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": content,
    } | more


SHELL = {
    "type": "shell_call",
    "id": "sh_1",
    "call_id": "call_1",
    "status": "completed",
    "action": {"commands": ["ls"], "timeout_ms": 1000, "max_output_length": None},
}


ASKS: list[tuple[dict[str, Any], str, str, Any]] = [
    (SHELL, "call_1", "shell", {"action": SHELL["action"]}),
    (
        {
            "type": "apply_patch_call",
            "id": "ap_1",
            "call_id": "call_1",
            "status": "completed",
            "operation": {"type": "delete_file", "path": "a.txt"},
        },
        "call_1",
        "apply_patch",
        {"operation": {"type": "delete_file", "path": "a.txt"}},
    ),
    (
        {
            "type": "local_shell_call",
            "id": "ls_1",
            "call_id": "call_1",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}},
        },
        "call_1",
        "local_shell",
        {"action": {"type": "exec", "command": ["ls"], "env": {}}},
    ),
    (
        {
            "type": "computer_call",
            "id": "cu_1",
            "call_id": "call_1",
            "status": "completed",
            "pending_safety_checks": [],
            "action": {"type": "screenshot"},
        },
        "call_1",
        "computer",
        {"pending_safety_checks": [], "action": {"type": "screenshot"}},
    ),
    (
        {
            "type": "tool_search_call",
            "id": "ts_1",
            "call_id": "call_1",
            "status": "completed",
            "execution": "client",
            "arguments": {"goal": "tides"},
        },
        "call_1",
        "tool_search",
        {"goal": "tides"},
    ),
    (
        {
            "type": "mcp_approval_request",
            "id": "mcpr_1",
            "server_label": "s",
            "name": "drop",
            "arguments": '{"a":1}',
        },
        "mcpr_1",
        "drop",
        {"a": 1},
    ),
    (
        {"type": "a_new_kind_call", "id": "nk_1", "call_id": "call_1", "what": "x"},
        "call_1",
        "a_new_kind",
        {"what": "x"},
    ),
]


@pytest.mark.parametrize("as_object", [False, True])
@pytest.mark.parametrize(("item", "call_id", "name", "arguments"), ASKS, ids=lambda each: str(each)[:24])
def test_items_that_ask_the_application(
    item: dict[str, Any], call_id: str, name: str, arguments: Any, as_object: bool
) -> None:
    whole = response(item)
    answer = read_answer(Response.construct(**whole) if as_object else whole)
    assert ids(answer) == [call_id]
    assert [(tool, json.loads(given)) for tool, given in asked(answer)] == [(name, arguments)]
    assert native(answer)["message"] == [item]


def test_what_the_provider_ran_itself_does_not_wait() -> None:
    outcome = {"type": "shell_call_output", "id": "o_1", "call_id": "call_1", "output": []}
    items: list[dict[str, Any]] = [
        SHELL,
        outcome,
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"type": "search", "query": "x"},
        },
        {
            "type": "tool_search_call",
            "id": "t_1",
            "call_id": None,
            "execution": "server",
            "arguments": {},
            "status": "completed",
        },
        {
            "type": "mcp_call",
            "id": "mcp_1",
            "server_label": "s",
            "name": "f",
            "arguments": "{}",
            "output": "x",
        },
        {"type": "program", "id": "p_1", "call_id": "call_9", "code": "1"},
        said("Done."),
    ]
    answer = read_answer(response(*items))
    assert (answer.text, answer.tool_calls) == ("Done.", [])
    assert native(answer)["message"] == items


def test_fields_of_a_call_that_python_has_other_names_for() -> None:
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "f",
        "arguments": "{}",
        "status": "completed",
        "async": True,
        "namespace": "n",
        "caller": {"type": "program", "caller_id": "p"},
    }
    answer = read_answer(Response.model_validate(response(item)))
    assert native(answer)["message"] == [item]


async def test_phases_are_messages_of_their_own() -> None:
    whole = response(said("I look.", phase="commentary"), said("At noon.", id="msg_2", phase="final_answer"))
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(Response.model_validate(whole))
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["content"] for row in rows[1:]] == ["I look.", "At noon."]
    assert [row["content"] for row in (await sm.get_messages_for_llm())[1:]] == ["I look.", "At noon."]
    assert (await sm.get_stats())["ai_messages"] == 1
    (_, session) = await sm.writer._conversation.current()
    assert [item["phase"] for item in (session.events[1].native or {})["message"]] == [
        "commentary",
        "final_answer",
    ]


def events_of(whole: dict[str, Any]) -> list[dict[str, Any]]:
    begun = whole | {"status": "in_progress", "output": []}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}]
    for at, item in enumerate(whole["output"]):
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": at,
                "item": item | {"status": "in_progress"} | ({"content": []} if "content" in item else {}),
            }
        )
        for number, part in enumerate(item.get("content") or []):
            place = {"output_index": at, "content_index": number}
            delta = {"type": "response.output_text.delta"} | place
            events += [delta | {"delta": letter} for letter in part.get("text", "")]
        events.append({"type": "response.output_item.done", "output_index": at, "item": item})
    return [*events, {"type": "response.completed", "response": whole}]


REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ENC"}


def test_a_stream_of_items_whose_end_repeats_them_or_not() -> None:
    whole = response(REASONING, said("ok"), SHELL)
    events = events_of(whole)
    for pieces in (
        events,
        [*events[:-1], {"type": "response.completed", "response": whole | {"output": []}}],
    ):
        answer = in_pieces(pieces)
        assert (answer.text, ids(answer)) == ("ok", ["call_1"])
        assert native(answer)["message"] == whole["output"]


def test_a_stream_that_breaks_off_has_the_items_that_came() -> None:
    events = events_of(response(REASONING, said("ok"), SHELL))
    answer = in_pieces(events[:5])
    assert answer.text == "o"
    assert native(answer)["cut"] is True
    assert native(answer)["message"][0] == REASONING


def function_call(call_id: str, **more: Any) -> dict[str, Any]:
    common = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "status": "completed"}
    return common | {"name": "tide", "arguments": "{}"} | more


async def asked_for(*output: dict[str, Any]) -> SessionManager:
    sm = SessionManager()
    await sm.user_says("When is high water?")
    await sm.ai_responds(response(*output))
    return sm


async def input_of(sm: SessionManager) -> list[dict[str, Any]]:
    items: Any = await sm.get_messages_for_llm(format="openai-responses")
    check_request("openai-responses", items)
    return list(items)


async def test_a_program_is_told_the_results_of_its_calls() -> None:
    """https://developers.openai.com/api/docs/guides/tools-programmatic-tool-calling"""
    caller = {"type": "program", "caller_id": "prog_1"}
    program = {"type": "program", "id": "p", "call_id": "prog_1", "code": "x", "fingerprint": "fp"}
    sm = await asked_for(program, function_call("c1", caller=caller), function_call("c2"))
    await sm.add_messages(
        [{"role": "tool", "tool_call_id": each, "content": "noon"} for each in ("c1", "c2")]
    )
    results = (await input_of(sm))[-2:]
    assert [result.get("caller") for result in results] == [caller, None]
    output = {"type": "function_call_output", "call_id": "c1", "output": "noon", "caller": caller}
    assert results[0] == output


async def test_an_async_call_may_wait_for_its_result() -> None:
    """https://developers.openai.com/api/docs/guides/async-tool-calling"""
    sm = await asked_for(function_call("c1", **{"async": True}), said("I have begun."))
    await sm.user_says("Meanwhile, what is a tide?")
    kinds = [item.get("type", "message") for item in await input_of(sm)]
    assert kinds == ["message", "function_call", "message", "message"]
    await sm.ai_responds(response(said("Water that moves.", id="msg_2"), id="resp_2"))
    await sm.add_messages([{"role": "tool", "tool_call_id": "c1", "content": "noon"}])
    outputs = [item for item in await input_of(sm) if item.get("type") == "function_call_output"]
    assert outputs == [{"type": "function_call_output", "call_id": "c1", "output": "noon"}]


async def test_a_stream_that_failed_is_as_the_whole_response() -> None:
    error = {"code": "server_error", "message": "boom"}
    failed = response(status="failed", error=error, usage=None)
    whole, streamed = read_answer(failed), in_pieces([{"type": "response.failed", "response": failed}])
    assert native(streamed) == native(whole)
    assert (streamed.finish_reason, streamed.usage) == (whole.finish_reason, whole.usage)
    assert native(streamed)["response"]["error"] == error


RUNNING = [
    {"type": "web_search_call", "id": "ws_1", "status": "searching"},
    {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "in_progress",
        "container_id": "c",
        "code": None,
    },
    {"type": "image_generation_call", "id": "ig_1", "status": "generating", "result": None},
    {
        "type": "mcp_call",
        "id": "mcp_1",
        "status": "calling",
        "server_label": "s",
        "name": "t",
        "arguments": "",
    },
]


@pytest.mark.parametrize("item", RUNNING, ids=lambda item: str(item["type"]))
async def test_a_hosted_call_whose_stream_stopped_is_not_sent(item: dict[str, Any]) -> None:
    """The reasoning that belongs to such a call is not sent either."""
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ENC"}
    for text in (None, "Let me"):
        output = [reasoning, item, *([said(text)] if text else [])]
        begun = {"type": "response.created", "response": response(status="in_progress")}
        events = [
            {"type": "response.output_item.added", "output_index": at, "item": each}
            for at, each in enumerate(output)
        ]
        sm = SessionManager()

        async def stopped(_: Any, events: Any = (begun, *events)) -> AsyncIterator[Any]:
            for event in events:
                yield event

        async for _ in stream_llm_call("Draw it.", stopped, session_manager=sm):
            pass
        await sm.user_says("Well?")
        kinds = [each.get("type", "message") for each in await input_of(sm)]
        assert kinds == ["message"] * (3 if text else 2)


SPOKEN: dict[str, Any] = {
    "object": "realtime.response",
    "id": "resp_1",
    "status": "completed",
    "output": [
        {
            "id": "item_1",
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_audio", "transcript": "At noon."}],
        },
        function_call("c1"),
    ],
    "usage": {
        "input_tokens": 132,
        "output_tokens": 121,
        "total_tokens": 253,
        "input_token_details": {"text_tokens": 119, "audio_tokens": 13, "cached_tokens": 64},
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    },
}


async def test_an_answer_of_the_realtime_api_says_its_transcript() -> None:
    """https://platform.openai.com/docs/api-reference/realtime-server-events/response/done"""
    begun = SPOKEN | {"status": "in_progress", "output": [], "usage": None}
    delta = {"type": "response.output_audio_transcript.delta", "output_index": 0, "content_index": 0}
    pieces = [
        {"type": "response.created", "response": begun},
        delta | {"delta": "At "},
        delta | {"delta": "noon."},
        {"type": "response.done", "response": SPOKEN},
    ]
    assert in_pieces(pieces[:-1]).text == "At noon."
    for answer in (read_answer(SPOKEN), in_pieces(pieces)):
        assert (answer.text, ids(answer), answer.finish_reason) == ("At noon.", ["c1"], "completed")
        assert answer.usage is not None
        assert answer.usage["details"] == {"input_audio_tokens": 13, "output_audio_tokens": 91}
        sm = SessionManager()
        await sm.user_says("When?")
        await sm.ai_responds(native(answer)["response"] | {"output": native(answer)["message"]})
        kinds = [item.get("type", "message") for item in await input_of(sm)]
        assert kinds == ["message", "message", "function_call", "function_call_output"]


def test_a_list_of_texts_is_no_response() -> None:
    """Replicate's predictions have one as their `output`."""
    with pytest.raises(InvalidInput, match="dict is not a known response"):
        read_answer({"output": ["At ", "noon."], "status": "succeeded"})
