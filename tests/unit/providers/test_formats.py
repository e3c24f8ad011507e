"""Contexts in all formats: what came from a provider goes back to it, and every API takes the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from formats import ANSWERS, CALL, PNG, Row, asked_a_tool, in_format
from request_rules import check_request
from turns import SIGNATURE, anthropic_answer, chat_answer, reasoning_item, response, said_item

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.context_rows import context_rows
from chuk_ai_session_manager.providers.formats import FORMATS, written

SECRETS = {
    "openai": [],
    "openai-responses": ["ENC-77", "rs_0", "fc_0"],
    "anthropic": ["SIG-A", "RD-1", "Hm."],
    "google": [SIGNATURE],
    "bedrock": ["SIG-B", "RD-1", "Hm."],
}


@pytest.mark.parametrize("came_from", FORMATS)
@pytest.mark.parametrize("asked", FORMATS)
async def test_a_tool_loop_goes_on_with_any_provider(came_from: str, asked: str) -> None:
    sm = await asked_a_tool(ANSWERS[came_from]("Let me look.", [CALL]))
    request = await in_format(sm, asked)
    text = json.dumps(request, ensure_ascii=False, default=str)
    assert all(part in text for part in ("Be brief.", "Let me look.", "tide", "noon"))
    if asked != came_from:
        assert not any(secret in text for secret in SECRETS[came_from])


def only(request: Any, name: str) -> Any:
    """The answer in a request of one exchange with a tool."""
    match name:
        case "openai":
            return request[2]
        case "openai-responses":
            return request[2:-1]
        case "anthropic":
            return request["messages"][1]["content"]
        case "bedrock":
            return request["messages"][1]
    return request["contents"][1]


def own(answer: Row, name: str) -> Any:
    match name:
        case "openai":
            return answer["choices"][0]["message"]
        case "openai-responses":
            return [{k: v for k, v in item.items() if k != "created_by"} for item in answer["output"]]
        case "anthropic":
            return answer["content"]
        case "bedrock":
            return answer["output"]["message"]
    return answer["candidates"][0]["content"]


@pytest.mark.parametrize("model", ["Qwen/Qwen3-8B", "openai/gpt-oss-120b"])
async def test_openai_gets_no_fields_of_a_server_of_one_s_own(model: str) -> None:
    """vLLM's answers look like OpenAI's; OpenAI refuses a `reasoning_content`."""
    answer = chat_answer("Noon.", [], model=model, reasoning_content="Hm.")
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(answer)
    for asked, reasoning in ((None, "Hm."), (model, "Hm."), ("gpt-5", None)):
        request = await in_format(sm, "openai", model=asked)
        assert request[-1].get("reasoning_content") == reasoning
    await sm.ai_responds(chat_answer("At noon.", []))
    assert "Hm." not in json.dumps(await in_format(sm, "openai"))


async def test_models_of_one_maker_get_each_other_s_fields() -> None:
    """Gemini's compatible endpoint, which looks like OpenAI's API."""
    signed = {"google": {"thought_signature": SIGNATURE}}
    sm = SessionManager()
    for at, model in enumerate(("gemini-3-pro", "gemini-3-flash")):
        await sm.user_says("When?")
        answer = chat_answer("", [(f"call_{at}", "tide", {})], model=model) | {"id": f"chatcmpl-{at}"}
        answer["choices"][0]["message"]["tool_calls"][0]["extra_content"] = signed
        await sm.ai_responds(answer)
        await sm.tool_used("tide", {}, "noon", tool_call_id=f"call_{at}")
    rows: Any = await in_format(sm, "openai")
    calls = [row["tool_calls"][0] for row in rows if row["role"] == "assistant"]
    assert [call.get("extra_content") for call in calls] == [signed, signed]


@pytest.mark.parametrize("calls", [None, []])
async def test_an_answer_without_calls_says_nothing_of_them(calls: Any) -> None:
    """vLLM's answers have `"tool_calls": []`; OpenAI refuses that ("[] is too short"), and `null`."""
    answer = chat_answer("Noon.", [])
    answer["choices"][0]["message"] |= {"tool_calls": calls, "reasoning_content": "Hm."}
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(answer)
    request = await in_format(sm, "openai")
    assert "tool_calls" not in request[-1]
    assert (request[-1]["content"], request[-1]["reasoning_content"]) == ("Noon.", "Hm.")


@pytest.mark.parametrize("name", FORMATS)
async def test_what_came_from_a_provider_goes_back_byte_for_byte(name: str) -> None:
    answer = ANSWERS[name]("Let me look.", [CALL])
    sm = await asked_a_tool(answer)
    sent = only(await in_format(sm, name), name)
    assert json.dumps(sent, default=str) == json.dumps(own(answer, name), default=str)


@pytest.mark.parametrize("name", FORMATS)
async def test_signed_parts_can_be_left_out(name: str) -> None:
    sm = await asked_a_tool(ANSWERS[name]("Let me look.", [CALL]))
    _, session = await sm._conversation.current()
    rows = context_rows(session.events)
    request = written(rows, name, may_sign=lambda row: False)  # type: ignore[arg-type]
    check_request(name, request)
    text = json.dumps(request)
    assert "Let me look." in text
    assert not any(secret in text for secret in SECRETS[name])


async def test_an_answer_in_another_s_terms_is_signed_by_nobody_but_passes() -> None:
    sm = await asked_a_tool(anthropic_answer("Let me look.", [CALL]))
    part = (await in_format(sm, "google"))["contents"][1]["parts"][1]
    assert part["thought_signature"] == "skip_thought_signature_validator"
    plain = await sm.get_messages_for_llm(format="google", model="gemini-2.5-flash")
    assert "thought_signature" not in json.dumps(plain)


async def test_deepseek_has_its_reasoning_back_and_others_have_not() -> None:
    answer = chat_answer("", [CALL], model="deepseek-chat", reasoning_content="It is about the tide.")
    sm = await asked_a_tool(answer)
    rows: Any = await in_format(sm, "openai")
    assert rows[2]["reasoning_content"] == "It is about the tide."
    other: Any = await in_format(sm, "openai", model="gpt-5")
    assert "reasoning_content" not in other[2]


async def test_mistral_gets_ids_of_nine_characters() -> None:
    sm = await asked_a_tool(chat_answer("", [CALL]))
    rows: Any = await in_format(sm, "openai", model="mistral-large-latest")
    (call,) = rows[2]["tool_calls"]
    assert len(call["id"]) == 9
    assert call["id"].isalnum()
    assert rows[3]["tool_call_id"] == call["id"]
    assert rows == await in_format(sm, "openai", model="mistral-large-latest")


async def test_spoken_answers_go_back_by_their_id() -> None:
    sm = SessionManager()
    await sm.user_says("Hello?")
    audio = {"id": "audio_1", "data": "AAAA", "expires_at": 1, "transcript": "Hello there."}
    await sm.ai_responds(chat_answer("", [], audio=audio))
    rows: Any = await in_format(sm, "openai")
    assert rows[1]["audio"] == {"id": "audio_1"}
    assert (await in_format(sm, "anthropic"))["messages"][1]["content"] == "Hello there."


async def test_a_refused_answer_is_not_sent_to_anthropic_again() -> None:
    sm = SessionManager()
    await sm.user_says("one")
    await sm.ai_responds(anthropic_answer("I beg", [], reason="refusal"))
    await sm.user_says("two")
    (turn,) = (await in_format(sm, "anthropic"))["messages"]
    assert [block["text"] for block in turn["content"]] == ["one", "two"]


async def test_unknown_blocks_go_back_and_their_owner_only_has_them() -> None:
    answer = anthropic_answer("See.", [])
    block = {"type": "hologram", "rays": [1, 2]}
    answer["content"].insert(0, block)
    sm = SessionManager()
    await sm.user_says("Show me.")
    await sm.ai_responds(answer)
    request = await sm.get_messages_for_llm(format="anthropic")
    assert request["messages"][1]["content"][0] == block  # type: ignore[index]
    for name in ("openai", "openai-responses", "google"):
        assert "hologram" not in json.dumps(await in_format(sm, name))


async def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InvalidInput, match="openai, openai-responses, anthropic, google"):
        await SessionManager().get_messages_for_llm(format="cobol")  # type: ignore[call-overload]


# -- Responses' own calls -------------------------------------------------------------------------

OWN_CALLS: list[tuple[Row, Row, str]] = [
    (
        {"id": "sh_1", "type": "shell_call", "call_id": "call_1", "status": "completed",
         "action": {"commands": ["ls"], "timeout_ms": None, "max_output_length": None}},
        {"type": "shell_call_output", "call_id": "call_1", "max_output_length": 100,
         "output": [{"stdout": "a.txt", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
        "a.txt",
    ),
    (
        {"id": "cu_1", "type": "computer_call", "call_id": "call_1", "status": "completed",
         "pending_safety_checks": [], "action": {"type": "screenshot"}},
        {"type": "computer_call_output", "call_id": "call_1",
         "output": {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{PNG}"}},
        "[image: image/png, 68 bytes]",
    ),
    (
        {"id": "ap_1", "type": "apply_patch_call", "call_id": "call_1", "status": "completed",
         "operation": {"type": "delete_file", "path": "a.txt"}},
        {"type": "apply_patch_call_output", "call_id": "call_1", "status": "failed",
         "output": "no such file"},
        "no such file",
    ),
    (
        {"id": "ls_1", "type": "local_shell_call", "call_id": "call_1", "status": "completed",
         "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "local_shell_call_output", "id": "call_1", "output": "a.txt"},
        "a.txt",
    ),
    (
        {"id": "mcpr_1", "type": "mcp_approval_request", "server_label": "s", "name": "buy",
         "arguments": "{}"},
        {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
        '{"approve": true}',
    ),
    (
        {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": "SELECT 1"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "1"},
        "1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("call", "output", "text"), OWN_CALLS, ids=lambda each: str(each)[:24])
async def test_items_that_answer_go_back_unchanged(call: Row, output: Row, text: str) -> None:
    from chuk_ai_session_manager.providers.requests import asked_rows

    sm = SessionManager()
    await sm.user_says("Do it.")
    await sm.ai_responds(response(reasoning_item(), call))
    items = [{"role": "user", "content": "Do it."}, reasoning_item(), call, output]
    await sm.writer.add_new_messages(asked_rows({"input": items}))
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool"]
    assert rows[2]["content"] == text
    assert await in_format(sm, "openai-responses") == items
    for name in FORMATS:
        assert "call_1" in json.dumps(await in_format(sm, name)) or "mcpr_1" in json.dumps(items)


@pytest.mark.parametrize(("call", "output", "text"), OWN_CALLS, ids=lambda each: str(each)[:24])
async def test_results_of_them_that_came_as_text_have_their_type(call: Row, output: Row, text: str) -> None:
    sm = SessionManager()
    await sm.user_says("Do it.")
    await sm.ai_responds(response(reasoning_item(), call))
    call_id = call.get("call_id", call["id"])
    await sm.tool_used("x", {}, "done", tool_call_id=call_id)
    items = await in_format(sm, "openai-responses")
    assert items[-1]["type"] == output["type"]


async def test_the_input_of_a_custom_tool_is_in_every_format() -> None:
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    answer = chat_answer("", [CALL])
    answer["choices"][0]["message"]["tool_calls"] = [custom]
    for each in (answer, response(OWN_CALLS[-1][0])):
        sm = await asked_a_tool(each)
        for name in FORMATS:
            text = json.dumps(await in_format(sm, name))
            assert "SELECT 1" in text
            assert "sql" in text


async def test_what_a_server_ran_itself_goes_back_without_what_the_api_refuses() -> None:
    pieces = [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]
    ran: list[Row] = [
        {"id": "ws_1", "type": "web_search_call", "status": "completed",
         "action": {"type": "search", "query": "tide"}},
        {"id": "sh_1", "type": "shell_call", "call_id": "s1", "status": "completed",
         "action": {"commands": ["ls"]}},
        {"id": "so_1", "type": "shell_call_output", "call_id": "s1", "status": "completed", "output": pieces},
        said_item("At noon."),
    ]  # fmt: skip
    came = [item | {"created_by": "agent_1"} for item in ran]
    came[2]["output"] = [piece | {"created_by": "agent_1"} for piece in pieces]
    sm = SessionManager()
    await sm.user_says("?")
    await sm.ai_responds(response(reasoning_item(), *came))
    assert (await in_format(sm, "openai-responses"))[1:] == [reasoning_item(), *ran]


async def test_an_answer_that_was_cut_while_it_was_thinking() -> None:
    sm = SessionManager()
    await sm.user_says("one")
    await sm.ai_responds(response(reasoning_item()))
    thinking = anthropic_answer("At", [])
    del thinking["content"][0]["signature"]
    await sm.ai_responds(thinking)
    await sm.user_says("two")
    for name in FORMATS:
        await in_format(sm, name)


async def test_messages_keep_their_phase() -> None:
    items = [
        said_item("First I look.", "msg_1", phase="commentary"),
        said_item("At noon.", "msg_2", phase="final_answer"),
    ]
    sm = SessionManager()
    await sm.user_says("When?")
    await sm.ai_responds(response(*items))
    assert (await in_format(sm, "openai-responses"))[1:] == items
    for name in FORMATS:
        assert "At noon." in json.dumps(await in_format(sm, name))
