from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
from chat_rules import is_valid
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.models import EventSource, EventType, SessionEvent
from chuk_ai_session_manager.providers.common import readable_json
from chuk_ai_session_manager.providers.messages import (
    INTERRUPTED,
    calls_of,
    check_chat_messages,
    event_of,
    full_messages,
    plain_messages,
    text_of,
    tool_message,
)

Row = dict[str, Any]


def call(call_id: str, name: str = "look_up", arguments: str = '{"q": "x"}') -> Row:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def asks(*call_ids: str) -> Row:
    return {"role": "assistant", "content": None, "tool_calls": [call(call_id) for call_id in call_ids]}


def answers(call_id: str, content: Any = "found") -> Row:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def recorded(rows: list[Row]) -> list[SessionEvent[Any]]:
    calls: dict[str, Row] = {}
    events = []
    for row in check_chat_messages(rows, "test"):
        events.append(event_of(row, calls))
        calls |= {one["id"]: one for one in calls_of(row)}
    return events


PLAIN = st.builds(lambda role, text: [{"role": role, "content": text}],
                  st.sampled_from(["user", "assistant", "system", "developer"]), st.text())  # fmt: skip
PARTS = st.builds(
    lambda text: [{"role": "user", "content": [{"type": "text", "text": text}, {"type": "image_url"}]}],
    st.text(),
)
NAMED = st.builds(lambda text: [{"role": "user", "content": text, "name": "Ada"}], st.text())


@st.composite
def tool_use(draw: st.DrawFn) -> list[Row]:
    ids = draw(st.lists(st.uuids().map(str), min_size=1, max_size=3, unique=True))
    request = asks(*ids) | draw(st.sampled_from([{}, {"content": "Let me see."}, {"refusal": None}]))
    rows = [answers(one, draw(st.text() | st.just([{"type": "text", "text": "part"}]))) for one in ids]
    named = [row | draw(st.sampled_from([{}, {"name": "look_up"}])) for row in rows]
    return [request, *draw(st.permutations(named))]


CONVERSATION = st.lists(PLAIN | PARTS | NAMED | tool_use(), max_size=8).map(
    lambda parts: list(chain.from_iterable(parts))
)


@given(CONVERSATION)
def test_what_goes_in_comes_out_equal(rows: list[Row]) -> None:
    said = [
        row
        for row in rows
        if row != {"role": "assistant", "content": row["content"]} or row["content"].strip()
    ]
    assert full_messages(recorded(rows)) == said


def test_real_conversations_come_out_equal(chats: list[dict[str, Any]]) -> None:
    for chat in chats:
        assert full_messages(recorded(chat["messages"])) == chat["messages"]


@given(CONVERSATION, st.data())
def test_whatever_is_missing_providers_accept_the_rest(rows: list[Row], data: st.DataObject) -> None:
    kept = [row for row in rows if data.draw(st.booleans())]
    assert is_valid(full_messages(recorded(kept)))


def test_a_call_without_a_result_was_interrupted() -> None:
    rows = full_messages(recorded([{"role": "user", "content": "?"}, asks("a", "b"), answers("b")]))
    assert rows[2:] == [answers("b"), answers("a", INTERRUPTED)]


def test_a_late_result_goes_where_its_call_is() -> None:
    rows = full_messages(recorded([asks("a"), {"role": "user", "content": "still there?"}, answers("a")]))
    assert [row["role"] for row in rows] == ["assistant", "tool", "user"]


def test_ids_used_again_answer_their_own_call() -> None:
    rows = [asks("call_0"), answers("call_0", "one"), asks("call_0"), answers("call_0", "two")]
    assert full_messages(recorded(rows)) == rows


def test_ids_used_again_before_they_were_answered() -> None:
    rows = full_messages(recorded([asks("call_0"), asks("call_0"), answers("call_0", "late")]))
    assert is_valid(rows)
    assert [row["content"] for row in rows if row["role"] == "tool"] == [INTERRUPTED, "late"]


def test_a_result_without_a_call_gets_one() -> None:
    event: SessionEvent[Any] = SessionEvent(
        message=tool_message("add", {"a": 1}, {"sum": 3}), source=EventSource.SYSTEM, type=EventType.TOOL_CALL
    )
    request, answer = full_messages([event])
    assert request["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert answer["tool_call_id"] == request["tool_calls"][0]["id"]
    assert json.loads(answer["content"]) == {"sum": 3}


def test_an_error_is_what_the_model_is_told() -> None:
    event: SessionEvent[Any] = SessionEvent(
        message=tool_message("add", {}, None, "overflow"), source=EventSource.SYSTEM, type=EventType.TOOL_CALL
    )
    assert json.loads(full_messages([event])[1]["content"]) == {"error": "overflow"}


def test_a_tool_event_knows_what_was_asked() -> None:
    event = recorded([asks("a"), answers("a", "42")])[1]
    assert (event.source, event.type) == (EventSource.SYSTEM, EventType.TOOL_CALL)
    assert event.message == {
        "tool": "look_up",
        "arguments": {"q": "x"},
        "result": "42",
        "error": None,
        "success": True,
    }
    broken = recorded([asks("a") | {"tool_calls": [call("a", arguments="{broken")]}, answers("a")])[1]
    assert broken.message["arguments"] == "{broken"


def test_plain_messages_are_what_was_said() -> None:
    rows = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        asks("a"),
        answers("a"),
        {"role": "assistant", "content": "a"},
    ]
    assert plain_messages(recorded(rows)) == [rows[1], rows[4]]


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}])
def test_a_request_for_tools_without_words_says_nothing(content: Row) -> None:
    row = {"role": "assistant", "tool_calls": [call("a")]} | content
    assert plain_messages(recorded([row])) == []


def test_system_messages_can_stay_out() -> None:
    rows = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert full_messages(recorded(rows), include_system=False) == rows[1:]


CUSTOM = {"id": "c", "type": "custom", "custom": {"name": "n", "input": "i"}}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"role": "user", "content": "hello"}, "hello"),
        ({"role": "assistant", "content": None}, ""),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, "b"]}, "a\nb"),
        (asks("a"), 'look_up\n{"q": "x"}'),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "1", "function": None}]}, "x"),
        (
            {"role": "assistant", "content": "x", "tool_calls": [CUSTOM]},
            "x\nn\ni",
        ),
    ],
)  # fmt: skip
def test_text_that_counts(row: Row, text: str) -> None:
    assert text_of(row) == text


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("hello", "a list of dicts, not str"),
        ({"role": "user"}, "a list of dicts, not dict"),
        ([1], r"messages\[0\] must be a dict"),
        ([{"content": "x"}], r"messages\[0\] needs a role"),
        ([{"role": "user", "content": "x"}, {"role": "bot", "content": "x"}], r"messages\[1\] needs a role"),
        ([{"role": "user", "content": None}], "needs a content"),
        ([{"role": "user", "content": 5}], "needs a content"),
        ([{"role": ["user"], "content": "x"}], "needs a role"),
        ([{"role": "assistant", "content": "x", "tool_calls": [{"id": "a", "type": ["f"]}]}], "tool_calls"),
        ([{"role": "tool", "content": "x"}], "tool_call_id"),
        ([{"role": "tool", "content": "x", "tool_call_id": ""}], "tool_call_id"),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}], "tool_calls"),
        ([{"role": "assistant", "content": None, "tool_calls": "a"}], "tool_calls"),
        ([{"role": "user", "content": "x", "at": {1}}], "must be JSON"),
    ],
)
def test_what_is_no_chat_message_is_refused(rows: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_chat_messages(rows, "add_messages")


def test_readable_json() -> None:
    kept = {"a": [1, "x", None]}
    assert readable_json(kept) == kept
    assert readable_json(kept) is not kept
    assert readable_json({"when": {1}, "who": object}) == {"when": [1], "who": str(object)}
    assert readable_json(float("nan")) == "NaN"
    endless: list[Any] = []
    endless.append(endless)
    assert isinstance(readable_json(endless), str)
