"""Contexts in the four formats: what came from a provider goes back to it, and every API takes the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from request_rules import check_request
from turns import (
    SIGNATURE,
    anthropic_answer,
    chat_answer,
    google_answer,
    reasoning_item,
    response,
    responses_answer,
    said_item,
)

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.context_rows import context_rows
from chuk_ai_session_manager.providers.formats import FORMATS, written
from chuk_ai_session_manager.providers.messages import INTERRUPTED

Row = dict[str, Any]
CALL = ("call_1", "tide", {"day": 1})
ANSWERS: dict[str, Callable[..., Row]] = {
    "openai": chat_answer,
    "openai-responses": responses_answer,
    "anthropic": anthropic_answer,
    "google": google_answer,
}
SECRETS = {
    "openai": [],
    "openai-responses": ["ENC-77", "rs_0", "fc_0"],
    "anthropic": ["SIG-A", "RD-1", "Hm."],
    "google": [SIGNATURE],
}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


async def in_format(sm: SessionManager, name: str, **options: Any) -> Any:
    request = await sm.get_messages_for_llm(format=name, **options)  # type: ignore[call-overload]
    if name == "openai":
        request = await sm.get_messages_for_llm(format="openai", include_tools=True, **options)
    check_request(name, request)
    return request


async def asked_a_tool(answer: Row) -> SessionManager:
    sm = SessionManager(system_prompt="Be brief.")
    await sm.user_says("When is high water?")
    await sm.ai_responds(answer)
    await sm.add_messages([{"role": "tool", "tool_call_id": "call_1", "content": '{"at": "noon"}'}])
    return sm


@pytest.mark.parametrize("came_from", FORMATS)
@pytest.mark.parametrize("asked", FORMATS)
async def test_a_tool_loop_goes_on_with_any_provider(came_from: str, asked: str) -> None:
    sm = await asked_a_tool(ANSWERS[came_from]("Let me look.", [CALL]))
    request = await in_format(sm, asked)
    text = json.dumps(request, ensure_ascii=False)
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
    return request["contents"][1]


def own(answer: Row, name: str) -> Any:
    match name:
        case "openai":
            return answer["choices"][0]["message"]
        case "openai-responses":
            return [{k: v for k, v in item.items() if k != "created_by"} for item in answer["output"]]
        case "anthropic":
            return answer["content"]
    return answer["candidates"][0]["content"]


@pytest.mark.parametrize("name", FORMATS)
async def test_what_came_from_a_provider_goes_back_byte_for_byte(name: str) -> None:
    answer = ANSWERS[name]("Let me look.", [CALL])
    sm = await asked_a_tool(answer)
    assert json.dumps(only(await in_format(sm, name), name)) == json.dumps(own(answer, name))


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
async def test_items_that_answer_go_back_as_they_were(call: Row, output: Row, text: str) -> None:
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


# -- ids ------------------------------------------------------------------------------------------


async def test_ids_that_repeat_from_turn_to_turn() -> None:
    sm = SessionManager()
    for day in (1, 2, 3):
        await sm.user_says(f"{day}?")
        await sm.ai_responds(chat_answer("", [("call_0", "tide", {"day": day})]))
        await sm.tool_used("tide", {"day": day}, f"tide {day}", tool_call_id="call_0")
    for name in FORMATS:
        request = await in_format(sm, name)
        assert request == await in_format(sm, name)
        before = json.dumps(request)
        assert before.index("tide 1") < before.index("tide 2") < before.index("tide 3")


@pytest.mark.parametrize("ids", [("a", "a"), ("", ""), ("", "b"), ("é é", "x" * 90)])
async def test_ids_that_no_api_takes(ids: tuple[str, str]) -> None:
    sm = SessionManager()
    calls = [
        {"id": one, "type": "function", "function": {"name": f"f{at}", "arguments": "{}"}}
        for at, one in enumerate(ids)
    ]
    results = [{"role": "tool", "tool_call_id": one, "content": f"result {at}"} for at, one in enumerate(ids)]
    await sm.add_messages(
        [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            *results,
        ]
    )
    for name in FORMATS:
        request = await in_format(sm, name)
        text = json.dumps(request)
        assert "result 0" in text
        assert "result 1" in text
        assert INTERRUPTED not in text
        assert request == await in_format(sm, name)


async def test_a_tool_may_give_parts() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    sm = await asked_a_tool(chat_answer("", [CALL, ("call_2", "see", {})]))
    await sm.tool_used("see", {}, [{"type": "text", "text": "the sea"}, picture], tool_call_id="call_2")
    for name in FORMATS:
        text = json.dumps(await in_format(sm, name))
        assert "the sea" in text
        assert text.count(PNG) == (name != "openai")
    rows = await sm.get_messages_for_llm(include_tools=True)
    assert rows[-1]["content"][1] == picture


async def test_what_one_format_gives_another_takes() -> None:
    """An application that reads its own request back in, renamed ids and all."""
    sm = SessionManager()
    for day in (1, 2):
        await sm.user_says(f"{day}?")
        await sm.ai_responds(chat_answer("", [("call:0", "tide", {"day": day})]))
        await sm.tool_used("tide", {"day": day}, f"tide {day}", tool_call_id="call:0")
    again = SessionManager()
    await again.add_messages((await in_format(sm, "anthropic"))["messages"])
    for name in FORMATS:
        text = json.dumps(await in_format(again, name))
        assert "tide 1" in text
        assert "tide 2" in text
        assert INTERRUPTED not in text


async def test_a_result_recorded_twice_goes_once() -> None:
    sm = await asked_a_tool(chat_answer("", [CALL]))
    await sm.tool_used("tide", {"day": 1}, {"at": "noon"}, tool_call_id="call_1")
    for name in FORMATS:
        assert json.dumps(await in_format(sm, name)).count("noon") == 1


async def test_results_stand_in_the_order_of_their_calls() -> None:
    sm = SessionManager()
    await sm.user_says("?")
    await sm.ai_responds(chat_answer("", [("a", "f", {}), ("b", "g", {})]))
    for one in ("b", "a"):
        await sm.tool_used("f", {}, f"result {one}", tool_call_id=one)
    for name in FORMATS:
        text = json.dumps(await in_format(sm, name))
        assert text.index("result a") < text.index("result b")


@pytest.mark.parametrize(
    ("arguments", "given"), [('{"city": "Ro', {}), ("", {}), ("[1]", {"arguments": [1]})]
)
async def test_arguments_that_are_no_object_are_closed_to_one(arguments: str, given: Row) -> None:
    sm = SessionManager()
    answer = chat_answer("", [CALL])
    answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = arguments
    await sm.user_says("?")
    await sm.ai_responds(answer)
    messages = (await in_format(sm, "anthropic"))["messages"]
    assert messages[1]["content"][0]["input"] == given
    rows: Any = await in_format(sm, "openai")
    assert json.loads(rows[1]["tool_calls"][0]["function"]["arguments"]) == given


# -- Anthropic's messages in --------------------------------------------------------------------


async def test_anthropic_messages_come_back_equal() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    rows: list[Row] = [
        {"role": "user", "content": "When is high water?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "S"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "tide", "input": {"day": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "see", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "noon"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [{"type": "text", "text": "the sea"}, image],
                    "is_error": False,
                },
                {"type": "text", "text": "And?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "At noon."}]},
    ]
    sm = SessionManager()
    await sm.add_messages(rows)
    assert (await in_format(sm, "anthropic"))["messages"] == rows
    stats = await sm.get_stats()
    assert (stats["tool_calls"], stats["user_messages"], stats["ai_messages"]) == (2, 2, 2)
    assert PNG in json.dumps(await in_format(sm, "openai-responses"))
    assert PNG in json.dumps(await in_format(sm, "google"))
    chat = json.dumps(await in_format(sm, "openai"))
    assert PNG not in chat  # a chat's result takes texts only
    assert "the sea" in chat


# -- every direction ------------------------------------------------------------------------------

TEXTS = st.sampled_from(["", " ", "At noon.", "好的。", "a\n", "😀"])
IDS = st.sampled_from(["", "call_0", "call_0", "call_1", "toolu_01", "a:b é", "x" * 90, None])
CALLS = st.lists(st.tuples(IDS, st.sampled_from(["tide", "see"]), st.just({"day": 1})), max_size=3)
TURN = st.tuples(
    st.sampled_from([*FORMATS, "user", "picture", "lone", "system"]), TEXTS, CALLS, st.booleans()
)


async def say(sm: SessionManager, number: int, turn: tuple[str, str, list[Any], bool]) -> None:
    """Record a turn: what the user says, or an answer of one of the providers and (some of) its results."""
    kind, text, calls, is_answered = turn
    match kind:
        case "user":
            await sm.user_says(text)
        case "picture":
            image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
            await sm.user_says([{"type": "text", "text": text}, image])
        case "lone":
            await sm.tool_used("look", {"q": text}, text)
        case "system":
            await sm.add_messages([{"role": "system", "content": text}])
        case _:
            unique = [
                (f"call_{number}_{at}" if i is None else i, *rest) for at, (i, *rest) in enumerate(calls)
            ]
            await sm.ai_responds(ANSWERS[kind](text, unique))
            _, session = await sm._conversation.current()
            message = session.events[-1].message
            made = message.get("tool_calls", []) if isinstance(message, dict) else []
            image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
            results: list[Any] = [[text, number], [{"type": "text", "text": text}, image], text]
            for at, call in enumerate(reversed(made if is_answered else made[:1])):
                await sm.tool_used("look", {}, results[at], tool_call_id=call["id"] or "none")


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TURN, max_size=8), st.sampled_from([None, 2, 4]), st.sampled_from([None, 40, 400]))
async def test_a_conversation_moves_between_providers_in_every_direction(
    turns: list[Any], segment: int | None, max_tokens: int | None
) -> None:
    from chuk_ai_session_manager.exceptions import TokenLimitExceeded

    sm = SessionManager(
        system_prompt="Be brief.", infinite_context=segment is not None, max_turns_per_segment=segment or 20
    )
    await sm.user_says("Begin.")
    for number, turn in enumerate(turns):
        await say(sm, number, turn)
    for name in FORMATS:
        try:
            request = await in_format(sm, name, max_tokens=max_tokens)
        except TokenLimitExceeded:
            continue
        assert request == await in_format(sm, name, max_tokens=max_tokens)
