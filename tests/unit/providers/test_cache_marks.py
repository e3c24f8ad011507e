"""Where the provider's cache is to end: marks for each way of saying so, and what answers say of caches."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from request_rules import check_request

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.models import SessionEvent
from chuk_ai_session_manager.providers.answers import Answer
from chuk_ai_session_manager.providers.anthropic import AnthropicStream
from chuk_ai_session_manager.providers.registry import read_answer
from chuk_ai_session_manager.stores import MemoryStore

Row = dict[str, Any]
CALL = {"id": "call_1", "type": "function", "function": {"name": "tide", "arguments": "{}"}}


async def talk(turns: int = 4) -> SessionManager:
    sm = SessionManager(store=MemoryStore(), system_prompt="Be brief.")
    for number in range(turns):
        await sm.user_says(f"Question {number}?")
        await sm.add_messages(
            [
                {"role": "assistant", "content": None, "tool_calls": [CALL | {"id": f"call_{number}"}]},
                {"role": "tool", "tool_call_id": f"call_{number}", "content": "noon"},
            ]
        )
        await sm.ai_responds(f"Answer {number}.")
    await sm.user_says("And now?")
    return sm


async def asked(sm: SessionManager, format_name: str | None, **options: Any) -> Any:
    get: Any = sm.get_messages_for_llm
    return await get(format=format_name, include_tools=True, **options)


def marks(value: Any) -> list[Any]:
    """All marks in a request, in their order."""
    if isinstance(value, dict):
        own = [value[name] for name in ("cache_control", "prompt_cache_breakpoint") if name in value]
        return [*(mark for each in value.values() for mark in marks(each)), *own]
    return [mark for each in value for mark in marks(each)] if isinstance(value, list) else []


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        names = {"cache_control", "prompt_cache_breakpoint"}
        return {name: without_marks(each) for name, each in value.items() if name not in names}
    return [without_marks(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("cache", "mark"),
    [
        (True, {"type": "ephemeral"}),
        ("5m", {"type": "ephemeral"}),
        ("1h", {"type": "ephemeral", "ttl": "1h"}),
    ],
)
async def test_anthropic_is_told_where_its_cache_ends(cache: Any, mark: Row) -> None:
    sm = await talk()
    request = await asked(sm, "anthropic", cache=cache)
    assert request["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert request["messages"][-1]["content"][-1]["cache_control"] == mark
    assert request["messages"][-3]["content"][-1]["cache_control"] == mark  # where the call before ended
    assert marks(request) == [mark] * 3
    check_request("anthropic", request)
    assert marks(await asked(sm, "anthropic")) == []


@pytest.mark.parametrize(
    ("format_name", "model"),
    [
        ("anthropic", None),
        ("openai", "anthropic/claude-sonnet-4.5"),
        ("openai", "gpt-5.6"),
        (None, "gpt-5.6"),
        ("openai-responses", "gpt-6-mini"),
    ],
)
async def test_marks_change_nothing_that_the_next_call_repeats(
    format_name: str | None, model: str | None
) -> None:
    sm = await talk()
    requests = []
    for number in range(3):
        request = await asked(sm, format_name, model=model, cache=True)
        assert 2 <= len(marks(request)) <= 4
        if format_name is not None:
            check_request(format_name, request)
        rows = request["messages"] if format_name == "anthropic" else request
        requests.append([json.dumps(without_marks(row)) for row in rows])
        await sm.ai_responds(f"Yes, {number}.")
        await sm.user_says("And then?")
    for before, after in pairwise(requests):
        assert after[: len(before)] == before


@pytest.mark.parametrize(
    ("format_name", "model", "mark"),
    [
        ("openai", "anthropic/claude-sonnet-4.5", {"type": "ephemeral", "ttl": "1h"}),
        ("openai", "gpt-5.6-mini", {"mode": "explicit", "ttl": "12h"}),
        ("openai", "openrouter/openai/gpt-6", {"mode": "explicit", "ttl": "12h"}),
        ("openai-responses", "gpt-5.6", {"mode": "explicit", "ttl": "12h"}),
        ("openai", "gpt-5.1", None),
        ("openai", "o3", None),
        ("openai", None, None),
        ("openai-responses", "gpt-5", None),
        ("google", "gemini-3-pro-preview", None),
    ],
)
async def test_each_maker_is_told_in_its_own_way(
    format_name: str, model: str | None, mark: Row | None
) -> None:
    sm = await talk()
    request = await asked(sm, format_name, model=model, cache="1h")
    plain = await asked(sm, format_name, model=model)
    if mark is None:
        assert request == plain
    else:
        assert marks(request) == [mark] * 3


async def test_there_are_never_more_than_four_marks() -> None:
    sm = await talk()
    mark = {"type": "ephemeral"}
    for text in ("one", "two", "three"):
        part = {"type": "text", "text": text, "cache_control": mark}
        await sm.add_messages([{"role": "user", "content": [part, dict(part)]}])
    for marked in range(5):
        tools = [{"name": f"t{at}", "cache_control": mark} for at in range(marked)]
        request = await asked(sm, "anthropic", cache=True, tools=tools)
        assert len(marks(request)) == min(3, 4 - marked)
    with pytest.raises(InvalidInput, match="cache must be"):
        await asked(sm, "anthropic", cache="12h")


async def test_marks_do_not_break_the_fingerprint() -> None:
    sm = await talk(1)
    request = await asked(sm, "anthropic", cache=True)
    await sm.ai_responds(signed("Noon."))
    await sm.user_says("And tomorrow?")
    later = await asked(sm, "anthropic", cache=True)
    assert later["messages"][len(request["messages"])]["content"][0]["type"] == "thinking"
    assert later == await asked(sm, "anthropic", cache=True)


def signed(text: str) -> Row:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "S"}
    return {
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "stop_reason": "end_turn",
        "content": [thinking, {"type": "text", "text": text}],
    }


async def test_the_key_of_a_conversation_is_the_same_in_all_its_segments() -> None:
    store = MemoryStore()
    sm = SessionManager("a user's own id", store=store, infinite_context=True, max_turns_per_segment=2)
    key = sm.prompt_cache_key
    for number in range(4):
        await sm.user_says(f"Question {number}?")
        await sm.ai_responds("Yes.")
    other = SessionManager(sm.session_id, store=store)
    await other.get_stats()
    assert other.prompt_cache_key == sm.prompt_cache_key == key
    assert len(key) <= 64
    assert "own" not in key
    assert SessionManager("another").prompt_cache_key != key


def reason_of(answer: Answer) -> Any:
    """Why the cache missed, as an answer says it."""
    return dict(answer.usage or {}).get("cache_miss_reason")


# -- what answers say ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            {"type": "cache_miss", "reason": "prompt_cache_key_changed", "cache_missed_tokens": 9},
            "prompt_cache_key_changed",
        ),
        ({"type": "comparison_response_not_found"}, "comparison_response_not_found"),
        ({"type": "cache_hit"}, None),
        ({"type": "cache_miss", "reason": "Something: else"}, "other"),
        (None, None),
    ],
)
async def test_why_openais_cache_missed(said: Row | None, reason: str | None) -> None:
    response = {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5.6",
        "status": "completed",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
        ],
        "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
        "prompt_cache_diagnostics": said,
    }
    assert reason_of(read_answer(response)) == reason
    sm = SessionManager(store=MemoryStore())
    await sm.user_says("Well?")
    await sm.ai_responds(response)
    assert (await sm.get_stats())["cache_misses"] == ({} if reason is None else {reason: 1})


async def test_what_writing_to_a_cache_costs_is_taken_off() -> None:
    sm = SessionManager(store=MemoryStore())
    await sm.user_says("Well?")
    usage = {"input_tokens": 100, "cache_creation_input_tokens": 1_000, "output_tokens": 1}
    await sm.ai_responds("Yes.", model="claude-sonnet-4-5", provider="anthropic", usage=usage)
    assert (await sm.get_stats())["cache_saved_usd"] == pytest.approx(-1_000 * 0.75e-6)
    plain = SessionEvent(message="x")
    assert "cache_saved_usd" not in plain.model_dump_json()


async def test_a_stream_says_why_the_cache_missed() -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "diagnostics": {"cache_miss_reason": {"type": "system_changed", "cache_missed_input_tokens": 7}},
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    events: list[Row] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yes."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    stream = AnthropicStream()
    for event in events:
        stream.add(event)
    assert stream.end().billed["cache_miss_reason"] == "system_changed"
