"""What a provider said stays with its event: stored once, read whole, shown, exported and imported."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import Place, in_memory_too, on_each

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.api.transfer import export_conversation, import_sessions
from chuk_ai_session_manager.exceptions import InvalidInput, UnreadableData
from chuk_ai_session_manager.models import SessionEvent
from chuk_ai_session_manager.providers.details import details_of
from chuk_ai_session_manager.stores import open_store
from chuk_ai_session_manager.stores.codec import decode_events, encode_event
from chuk_ai_session_manager.stores.folding import folded, unfolded
from chuk_ai_session_manager.stores.stored_data import StoredSession

LONG = "High water at the old harbour is at noon, and again a little after midnight. "
ANSWER: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "Let me think about the tides of the old harbour.", "signature": "S" * 300},
        {"type": "text", "text": LONG},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "text", "text": "ok " + LONG},
        {"type": "tool_use", "id": "t1", "name": "tide", "input": {"harbour": "the old one, in the north of the town", "day": 1}},
    ],
    "usage": {"input_tokens": 10, "output_tokens": 5},
}  # fmt: skip


def json_values() -> st.SearchStrategy[Any]:
    words = st.sampled_from(
        ["$said", "$folded", "native", "input", "text", "a", LONG, LONG * 2, LONG[:50], ""]
    )
    leaves = st.none() | st.integers(-3, 3) | words
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
        max_leaves=12,
    )


@given(
    json_values(), st.dictionaries(st.sampled_from(["format", "message", "$said", "$folded"]), json_values())
)
def test_folding_changes_nothing(message: Any, native: dict[str, Any]) -> None:
    stored = json.loads(json.dumps(folded(message, native)))
    assert unfolded(message, stored) == native


async def recorded() -> SessionEvent[Any]:
    sm = SessionManager()
    await sm.ai_responds(ANSWER)
    _, session = await sm.writer._conversation.current()
    return session.events[0]


async def test_texts_are_stored_once() -> None:
    event = await recorded()
    body = encode_event(event)
    assert body.count("old harbour is at noon") == 2  # as often as it was said
    assert body.count("S" * 300) == body.count("think about the tides") == body.count("in the north") == 1
    without = encode_event(event.model_copy(update={"native": None}))
    assert len(body) - len(without) < 900
    (read,) = await decode_events(StoredSession("s", "", {}, {}, count=1, bodies=[body]))
    assert read == event
    assert (read.native or {})["message"]["content"] == ANSWER["content"]


async def test_a_mark_of_another_message_is_damage() -> None:
    event = await recorded()
    body = json.loads(encode_event(event)) | {"message": "short"}
    with pytest.raises(UnreadableData):
        await decode_events(StoredSession("s", "", {}, {}, count=1, bodies=[json.dumps(body)]))


async def test_events_without_it_are_read() -> None:
    body = json.loads(encode_event(SessionEvent(message="x"), complete=True))
    del body["native"]
    (read,) = await decode_events(StoredSession("s", "", {}, {}, count=1, bodies=[json.dumps(body)]))
    assert read.native is None


@in_memory_too
async def test_a_native_answer_is_stored_and_read_again(place: Place) -> None:
    async with place.store() as store:
        await SessionManager("root", store=store).ai_responds(ANSWER)
    async with place.store() as store:
        session = await store.get("root")
        assert session is not None
        assert (session.events[0].native or {})["message"]["content"] == ANSWER["content"]
        assert session.total_tokens == (await SessionManager("root", store=store).get_stats())["total_tokens"]


@on_each
async def test_export_and_import_keep_it(place: Place) -> None:
    async with place.store() as store, open_store("memory://") as other:
        await SessionManager("root", store=store).ai_responds(ANSWER)
        (line,) = [line async for line in export_conversation("root", store)]
        assert "$said" not in line
        await import_sessions([line async for line in export_conversation("root", store)], other)
        there, here = await other.get("root"), await store.get("root")
        assert there is not None
        assert here is not None
        assert there.events[0].native == here.events[0].native is not None


@on_each
async def test_what_no_store_can_hold_is_refused(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("root", store=store)
        await sm.user_says("x")
        session = await store.get("root")
        assert session is not None
        for native in ({"message": "half \ud83d"}, {"message": float("nan")}, {"message": "x" * 50_000_001}):
            with pytest.raises(InvalidInput):
                await session.add_event_and_save(SessionEvent(message="m", native=native))
        assert len((await store.get("root") or session).events) == 1


def test_details_of_answers() -> None:
    completion = {
        "format": "openai",
        "message": {"role": "assistant", "content": None, "refusal": "No.", "x_new": 1,
                    "annotations": [{"type": "url_citation", "url": "u"}]},
        "response": {"id": "chatcmpl-1", "request_id": "req_1", "service_tier": "flex",
                     "choices": [{"native_finish_reason": "SAFETY"}, {"message": {"content": "Other."}}]},
    }  # fmt: skip
    assert details_of(completion) == [
        ("format", "openai"),
        ("response id", "chatcmpl-1"),
        ("request id", "req_1"),
        ("service tier", "flex"),
        ("parts", "refusal, x_new, annotations"),
        ("refusal", "No."),
        ("native_finish_reason", "SAFETY"),
        ("annotation", '{"type": "url_citation", "url": "u"}'),
        ("other choice", "Other."),
    ]
    items = [
        {"type": "reasoning"},
        {"type": "a_new_kind"},
        {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]},
    ]
    found = dict(
        details_of(
            {
                "format": "openai-responses",
                "message": items,
                "response": {"incomplete_details": {"reason": "x"}},
                "cut": True,
            }
        )
    )
    assert found == {
        "format": "openai-responses, cut off", "parts": "reasoning, a_new_kind, message", "refusal": "No.",
        "incomplete_details": '{"reason": "x"}',
    }  # fmt: skip
    parts = [{"text": "a", "thought": True}, {"text": "b"}, {"thoughtSignature": "S", "functionCall": {}}]
    google = {"format": "google", "message": {"role": "model", "parts": parts},
              "response": {"responseId": "r", "candidates": [{"finishMessage": "m", "groundingMetadata": {"q": 1}}]}}  # fmt: skip
    assert dict(details_of(google)) == {
        "format": "google", "response id": "r", "parts": "thought, text, functionCall", "finishMessage": "m",
        "annotation": '{"q": 1}',
    }  # fmt: skip
