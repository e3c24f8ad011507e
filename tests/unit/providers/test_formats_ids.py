"""Formats: ids of calls, results, and conversations that change their provider."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

import pytest
from formats import ANSWERS, CALL, PNG, Row, asked_a_tool, in_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from turns import chat_answer

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.providers.formats import FORMATS
from chuk_ai_session_manager.providers.messages import INTERRUPTED

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


@pytest.mark.parametrize("ids", [(None, None), (0, 1), (7, None)])
async def test_calls_with_ids_that_are_no_texts_are_taken(ids: tuple[Any, Any]) -> None:
    """Servers that count calls with numbers, or give them no ids, in histories and in answers."""
    calls = [
        {"id": one, "type": "function", "function": {"name": f"f{at}", "arguments": "{}"}}
        for at, one in enumerate(ids)
    ]
    results = [{"role": "tool", "tool_call_id": one, "content": f"result {at}"} for at, one in enumerate(ids)]
    answer: Row = {"role": "assistant", "content": None, "tool_calls": calls}
    of_history, of_answers = SessionManager(), SessionManager()
    await of_history.add_messages([{"role": "user", "content": "?"}, answer, *results])
    await of_answers.user_says("?")
    await of_answers.ai_responds({"choices": [{"index": 0, "message": answer}]})
    if None not in ids:
        await of_answers.add_messages(results)
    for sm, name in ((sm, name) for sm in (of_history, of_answers) for name in FORMATS):
        text = json.dumps(await in_format(sm, name))
        if sm is of_history or None not in ids:
            assert text.index("result 0") < text.index("result 1")
            assert INTERRUPTED not in text


@pytest.mark.parametrize("asked", FORMATS)
@pytest.mark.parametrize("came_from", FORMATS)
async def test_a_tool_s_name_is_written_as_the_api_takes_it(came_from: str, asked: str) -> None:
    """OpenAI and Anthropic refuse a name that is not `^[a-zA-Z0-9_-]+$`; Google takes dots and colons."""
    names = ["files.read:all", "f" * 70]
    calls: list[Any] = [(f"call_{at}", name, {}) for at, name in enumerate(names)]
    sm = SessionManager()
    await sm.user_says("Read it.")
    await sm.ai_responds(ANSWERS[came_from]("", calls))
    request = await in_format(sm, asked)
    found = set(re.findall(r'"name": "([^"]*)"', json.dumps(request, default=str)))
    if came_from == asked != "bedrock":  # the provider made them itself
        assert found == set(names)
    elif asked == "google":
        assert "files.read:all" in found
        assert all(re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", name) for name in found)
    else:
        assert "files_read_all" in found
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in found)


async def test_a_call_of_moonshot_s_own_tools_is_a_call() -> None:
    """Moonshot's own tools: https://platform.moonshot.ai/docs/guide/use-web-search"""
    function = {"name": "$web_search", "arguments": '{"query": "tide"}'}
    call = {"id": "call_1", "type": "builtin_function", "function": function}
    answer: Row = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call_1", "name": "$web_search", "content": "{}"}
    of_history, of_answers = SessionManager(), SessionManager()
    await of_history.add_messages([{"role": "user", "content": "?"}, answer, result])
    await of_answers.user_says("?")
    await of_answers.ai_responds({"model": "kimi-k2", "choices": [{"index": 0, "message": answer}]})
    await of_answers.add_messages([result])
    for sm in (of_history, of_answers):
        rows: Any = await sm.get_messages_for_llm(include_tools=True)
        assert rows[1]["tool_calls"] == [call]
        request: Any = await in_format(sm, "anthropic")
        assert request["messages"][1]["content"][0]["name"] == "_web_search"


async def test_a_tool_may_give_parts() -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    sm = await asked_a_tool(chat_answer("", [CALL, ("call_2", "see", {})]))
    await sm.tool_used("see", {}, [{"type": "text", "text": "the sea"}, picture], tool_call_id="call_2")
    for name in FORMATS:
        text = json.dumps(await in_format(sm, name), default=lambda data: b64encode(data).decode())
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
