"""What no provider accepts is found, and set aside by events; nothing is deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.models import EventSource, SessionEvent
from chuk_ai_session_manager.providers.messages import INTERRUPTED

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FORMATS: tuple[Any, ...] = ("openai", "openai-responses", "anthropic", "google")


def asking(call_id: str, name: str) -> dict[str, Any]:
    function = {"name": name, "arguments": "{}"}
    call = {"id": call_id, "type": "function", "function": function}
    return {"choices": [{"message": {"role": "assistant", "content": "I look.", "tool_calls": [call]}}]}


async def contexts(sm: SessionManager) -> list[str]:
    return [json.dumps(await sm.get_messages_for_llm(format=each, include_tools=True)) for each in FORMATS]


@in_memory_too
async def test_a_result_of_two_megabytes(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("s", store=store)
        await sm.user_says("Export it.")
        await sm.ai_responds(asking("call_0", "export_table"))
        await sm.tool_used("export_table", {}, "abcd " * 400_000, tool_call_id="call_0")
        await sm.ai_responds("Done.")
        await sm.user_says("Thank you.")
        before = await sm.get_stats()
        (fault,) = await sm.find_unsendable()
        assert fault["what"] == "result of export_table"
        assert fault["reason"].endswith(" tokens")
        await sm.set_aside(fault["event_id"])

        again = SessionManager("s", store=store)
        assert await again.find_unsendable() == []
        for text in await contexts(again):
            assert "set aside: a result of 2,000,000 characters" in text
            assert len(text) < 2_000
            assert INTERRUPTED not in text
        stats = await again.get_stats()
        assert stats["tool_calls"] == before["tool_calls"]
        assert stats["estimated_cost"] == before["estimated_cost"]
        session = await store.get("s")
        assert session is not None
        assert any(len(json.dumps(event.message)) > 2_000_000 for event in session.events)


@in_memory_too
async def test_what_is_said_and_broken_images(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("s", store=store, infinite_context=True, token_threshold=10**9)
        await sm.user_says("word " * 300_000)
        await sm.user_says("Look.")
        images = [f"data:image/png;base64,{data}" for data in (PNG, "!!!not base64!!!")]
        parts = [{"type": "image_url", "image_url": {"url": url}} for url in images]
        _, session = await sm._conversation.current()
        for part in parts:  # by the application itself: `user_says` takes no broken data
            row = {"role": "user", "content": [{"type": "text", "text": "This?"}, part]}
            await session.add_event_and_save(SessionEvent(message=row, source=EventSource.USER))
        faults = await sm.find_unsendable()
        assert [fault["what"] for fault in faults] == ["user's message"] * 2
        assert faults[1]["reason"] == "its image is not base64"
        for fault in faults:
            await sm.set_aside(fault["event_id"])
        assert await sm.find_unsendable() == []
        rows = await sm.get_messages_for_llm()
        assert len(rows) == 2
        assert "not base64" not in json.dumps(rows)
        with pytest.raises(InvalidInput):
            await sm.set_aside(faults[0]["event_id"])


async def test_the_limit_may_be_said() -> None:
    sm = SessionManager()
    await sm.user_says("word " * 100)
    assert await sm.find_unsendable() == []
    assert len(await sm.find_unsendable(largest=50)) == 1
    with pytest.raises(InvalidInput):
        await sm.find_unsendable(largest=0)
    assert await SessionManager().find_unsendable() == []


async def test_what_cannot_be_set_aside_is_refused_by_the_name_of_the_call() -> None:
    sm = SessionManager()
    await sm.user_says("Hello", event_id="hello")
    await sm.set_aside("hello")
    for event_id in ("nobody", "hello"):  # the second one was set aside before
        with pytest.raises(InvalidInput, match="'set aside'"):
            await sm.set_aside(event_id)
