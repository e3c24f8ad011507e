"""Arguments of the wrong kind are refused before anything is written, and the error names the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from chuk_ai_session_manager import (
    SessionManager,
    stream_llm_call,
    track_conversation,
    track_llm_call,
    usage_report,
)
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import MemoryStore, open_store


@pytest.mark.parametrize(
    ("store", "kind"),
    [("sqlite:///chat.db", "str"), (MemoryStore, "MemoryStore"), (open_store, "function")],
)
async def test_what_is_no_store(store: Any, kind: str) -> None:
    said = rf"store must be a store, not {kind}: open_store\(url\) opens one"
    with pytest.raises(InvalidInput, match=said):
        SessionManager(store=store)
    with pytest.raises(InvalidInput, match=said):
        await track_conversation("Hello", "Hi", store=store)
    with pytest.raises(InvalidInput, match=said):
        await usage_report(store)


async def test_what_is_no_function() -> None:
    wrong: Any = "summarise"
    with pytest.raises(InvalidInput, match="summary_callback must be a function, not str"):
        SessionManager(summary_callback=wrong)
    sm = SessionManager(store=MemoryStore())
    with pytest.raises(InvalidInput, match="callback must be a function, not str"):
        sm.set_summary_callback(wrong)
    with pytest.raises(InvalidInput, match="change must be a function, not str"):
        await sm.update_state(wrong)


async def test_an_answer_in_place_of_the_function_that_gets_it() -> None:
    async def ask() -> str:
        return "Hi"

    sm = SessionManager(store=MemoryStore())
    asked: Any = ask()
    with pytest.raises(InvalidInput, match="llm_function must be a function, not coroutine"):
        await track_llm_call("Hello", asked, session_manager=sm)
    with pytest.raises(InvalidInput, match="llm_function must be a function, not coroutine"):
        stream_llm_call("Hello", asked, session_manager=sm)
    assert await asked == "Hi"
    await sm.user_says("Hello")
    assert len(await sm.get_conversation()) == 1
