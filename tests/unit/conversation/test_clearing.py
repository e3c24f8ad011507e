"""Old results of tools give way to a line, in steps; the log keeps them whole."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from counting import o200k_tokens
from request_rules import check_request

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.providers.formats import FORMATS, Format
from chuk_ai_session_manager.stores import MemoryStore

Row = dict[str, Any]


def look(number: int) -> list[Row]:
    call = {"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": f"found-{number} " + "word " * 80},
    ]


async def talk(results: int, *, asks: bool = True) -> SessionManager:
    sm = SessionManager(store=MemoryStore(), system_prompt="Be brief.", model="gpt-4o")
    await sm.user_says("Look around.")
    for number in range(results):
        if asks and number:
            await sm.user_says(f"And {number}?")
        await sm.add_messages(look(number))
    await sm.user_says("Well?")
    return sm


async def context(sm: SessionManager, format_name: Format | None = "openai", **options: Any) -> Any:
    get: Any = sm.get_messages_for_llm
    return await get(format=format_name, include_tools=True, **options)


def whole_in(request: Any) -> list[int]:
    """Which results are whole."""
    text = json.dumps(request)
    return [number for number in range(60) if f"found-{number} word" in text]


@pytest.mark.parametrize("format_name", [None, *FORMATS])
async def test_the_newest_results_stay_whole_in_every_format(format_name: Format | None) -> None:
    sm = await talk(9)
    request = await context(sm, format_name, keep_tool_results=2)
    assert whole_in(request) == [6, 7, 8]
    if format_name is not None:
        check_request(format_name, request)
    rows = await sm.get_conversation(include_tools=True, with_ids=True)
    results = [row for row in rows if row["role"] == "tool"]
    text = json.dumps(request, ensure_ascii=False)
    for row in results[:6]:
        assert row["event_id"] in text
    assert f"the result of look, {len(results[0]['content'])} characters" in text
    assert "read_history" in text
    assert len(whole_in(await context(sm, format_name))) == 9
    assert all(row["content"].startswith("found-") for row in results)


async def test_the_line_moves_in_steps() -> None:
    kept = []
    for results in range(1, 16):
        whole = whole_in(await context(await talk(results), keep_tool_results=3))
        assert whole == list(range(results))[-len(whole) :]
        kept.append(whole[0])
        assert min(3, results) <= len(whole) <= 5
    assert sorted(set(kept)) == [0, 3, 6, 9, 12]
    assert kept == sorted(kept)


async def test_short_results_and_pinned_ones_stay() -> None:
    sm = await talk(6)
    await sm.add_messages(
        [
            look(6)[0],
            {"role": "tool", "tool_call_id": "call_6", "content": "ok"},
            *look(7),
            *look(8),
            *look(9),
            *look(10),
        ]
    )
    rows = await sm.get_conversation(include_tools=True, with_ids=True)
    pinned = next(row["event_id"] for row in rows if row["content"].startswith("found-2"))
    await sm.pin(pinned)
    request = await context(sm, keep_tool_results=2)
    assert whole_in(request) == [2, 9, 10]
    assert [row["content"] for row in request if row["content"] == "ok"] == ["ok"]
    for wrong in (0, -1, True, "2"):
        with pytest.raises(InvalidInput, match="keep_tool_results"):
            await context(sm, keep_tool_results=wrong)


@pytest.mark.parametrize("asks", [True, False])
async def test_more_of_the_conversation_has_room(*, asks: bool) -> None:
    sm = SessionManager(store=MemoryStore(), system_prompt="Be brief.", model="gpt-4o")
    await sm.user_says("Look around.")
    starts = []
    before: list[str] = []
    changes = 0
    for number in range(50):
        if asks and number:
            await sm.user_says(f"And {number}?")
        await sm.add_messages(look(number))
        rows = await context(sm, max_tokens=1_000, keep_tool_results=2)
        assert sum(o200k_tokens(str(row["content"])) + 3 for row in rows) + 3 <= 1_000
        assert {number - 1, number} - {-1} <= set(whole_in(rows))
        now = [json.dumps(row) for row in rows]
        changes += now[: len(before)] != before
        before = now
        starts.append(next(row["tool_call_id"] for row in rows if row["role"] == "tool"))
    plain = await context(sm, max_tokens=1_000)
    assert len(rows) > 1.3 * len(plain)
    assert len(set(starts)) <= 12
    assert changes <= 34
    moved = [int(each.removeprefix("call_")) for each in starts]
    assert all(one <= other for one, other in pairwise(moved))


async def test_a_tool_loop_with_signed_thinking_waits() -> None:
    sm = await talk(4)
    for number in range(4, 9):
        row = look(number)
        call = {"type": "tool_use", "id": f"call_{number}", "name": "look", "input": {}}
        thinking = {"type": "thinking", "thinking": "Hm.", "signature": "S"}
        await context(sm, "anthropic", keep_tool_results=1)
        await sm.ai_responds(
            {
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-4-5",
                "content": [thinking, call],
                "stop_reason": "tool_use",
            }
        )
        await sm.add_messages(row[1:])
        assert whole_in(await context(sm, "anthropic", keep_tool_results=1)) == [3, *range(4, number + 1)]
    await sm.ai_responds("Done.", model="claude-sonnet-4-5")
    await sm.user_says("And?")
    assert whole_in(await context(sm, "anthropic", keep_tool_results=1)) == [8]
