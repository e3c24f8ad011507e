"""Arguments that must be `True` or `False` refuse all other values, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import MemoryStore

Use = Callable[[SessionManager, MemoryStore, Any], Any]

USES: dict[str, Use] = {
    "pinned": lambda sm, _, value: sm.user_says("Hi", pinned=value),
    "pinned answer": lambda sm, _, value: sm.ai_responds("Hi", pinned=value),
    "pinned tool": lambda sm, _, value: sm.tool_used("clock", {}, "12:30", pinned=value),
    "include_tools": lambda sm, _, value: sm.get_messages_for_llm(include_tools=value),
    "steady": lambda sm, _, value: sm.get_messages_for_llm(max_tokens=100, steady=value),
    "server_state": lambda sm, _, value: sm.get_messages_for_llm(
        format="openai-responses", server_state=value
    ),
    "cache": lambda sm, _, value: sm.get_messages_for_llm(format="anthropic", cache=value),
    "include_tools of rows": lambda sm, _, value: sm.get_conversation(include_tools=value),
    "with_ids": lambda sm, _, value: sm.get_conversation(with_ids=value),
    "include_origin": lambda sm, _, value: sm.get_conversation(include_origin=value),
    "of_user": lambda sm, _, value: sm.run_tool(
        {"name": "search_history", "arguments": {"query": "Hi"}}, of_user=value
    ),
    "dry_run": lambda _, store, value: store.prune("1d", dry_run=value),
}


@pytest.mark.parametrize("value", [0, 1, "no", "", None, [True]], ids=repr)
@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
async def test_other_values_are_refused(use: Use, value: Any) -> None:
    store = MemoryStore()
    sm = SessionManager("talk", store=store, user_id="ada")
    await sm.user_says("Hello")
    before = await sm.get_conversation(with_ids=True)
    with pytest.raises(InvalidInput, match="must be True"):
        await use(sm, store, value)
    assert await sm.get_conversation(with_ids=True) == before


@pytest.mark.parametrize("value", [0, 1, "no", None], ids=repr)
@pytest.mark.parametrize("name", ["create", "correct_counts"])
def test_a_manager_refuses_other_values(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{name} must be True or False"):
        SessionManager(**{name: value})
