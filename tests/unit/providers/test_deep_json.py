"""Texts of tools that look like JSON without end are sent as any other text, in every format."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.providers.formats import FORMATS, Format

DEEP = "[" * 200_000


def call(arguments: str) -> dict[str, Any]:
    asked = {"id": "c", "type": "function", "function": {"name": "look", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [asked]}


@pytest.mark.parametrize("format_name", [None, *FORMATS])
async def test_a_function_s_result_and_arguments(format_name: Format | None) -> None:
    sm = SessionManager()
    await sm.user_says("Look")
    for arguments, result in (("{}", f'{{"error": {DEEP}'), ('{"a": ' + DEEP, "done"), (DEEP, DEEP)):
        await sm.add_messages([call(arguments), {"role": "tool", "tool_call_id": "c", "content": result}])
    sent = await sm.get_messages_for_llm(format=format_name, include_tools=True)
    assert str(sent).count(DEEP) >= 2
    rows = await sm.get_conversation(include_tools=True)
    assert [row["role"] for row in rows].count("tool") == 3


async def test_results_for_openai_s_own_items() -> None:
    sm = SessionManager()
    await sm.user_says("Look")
    asked = [
        {"type": "tool_search_call", "id": "s", "call_id": "s", "execution": "client", "arguments": {}},
        {"type": "mcp_approval_request", "id": "m", "name": "look", "arguments": "{}", "server_label": "x"},
    ]
    response = {"object": "response", "id": "r", "status": "completed", "model": "gpt-5", "output": asked}
    await sm.ai_responds(response)
    for call_id in ("s", "m"):
        await sm.tool_used("look", {}, DEEP, tool_call_id=call_id)
    items: list[Any] = await sm.get_messages_for_llm(format="openai-responses")
    found = {item["type"]: item for item in items[-2:]}
    assert found["tool_search_output"]["tools"] == []
    assert found["mcp_approval_response"]["approve"] is False
