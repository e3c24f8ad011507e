"""Whatever was recorded, what is sent is what providers take; what is stored stays as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_rules import is_valid
from places import Place, in_memory_too

from chuk_ai_session_manager import PromptStrategy, SessionManager, build_prompt_from_session
from chuk_ai_session_manager.api.transfer import export_chat
from chuk_ai_session_manager.models import EventSource, EventType, Session, SessionEvent
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic as request_for_anthropic
from chuk_ai_session_manager.providers.messages import full_messages
from chuk_ai_session_manager.stores import MemoryStore

# Looked into as JSON, not as what the SDK's types say of it.
for_anthropic: Any = request_for_anthropic

Row = dict[str, Any]


def asks(arguments: Any, call_id: str = "c", name: str = "weather") -> Row:
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def answers(call_id: str = "c", content: str = "found") -> Row:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def said(message: Any, source: EventSource = EventSource.LLM) -> SessionEvent[Any]:
    return SessionEvent(message=message, source=source, type=EventType.MESSAGE)


def arguments_in(rows: list[Row]) -> list[Any]:
    return [json.loads(call["function"]["arguments"]) for row in rows for call in row.get("tool_calls") or []]


BROKEN = {
    '{"city": "Lis': {},
    "": {},
    " ": {},
    "{": {},
    '{"city": "Lisbon"} and more': {},
    '{"degrees": NaN}': {},
    "[" * 100_000: {},
    "null": {},
    '["Lisbon"]': {"arguments": ["Lisbon"]},
    '"Lisbon"': {"arguments": "Lisbon"},
    "17": {"arguments": 17},
    '"{\\"city\\": \\"Lisbon\\"}"': {"city": "Lisbon"},  # encoded twice, as by vLLM's parsers
    '"{city}"': {"arguments": "{city}"},
}


@in_memory_too
async def test_arguments_that_are_no_object_become_one_in_every_context(place: Place) -> None:
    async with place.store() as store, place.store() as other:
        for number, (arguments, expected) in enumerate(BROKEN.items()):
            sm = SessionManager(f"s{number}", store=store)
            await sm.user_says("How warm is it?")
            await sm.ai_responds(asks(arguments))
            await sm.tool_used("weather", arguments, "found", tool_call_id="c")
            await sm.tool_used("weather", arguments, "of no call")
            for reader in (sm, SessionManager(f"s{number}", store=other)):
                rows = await reader.get_messages_for_llm(include_tools=True)
                assert is_valid(rows)
                assert arguments_in(rows) == [expected] * 2
                blocks = [block for row in for_anthropic(rows)["messages"] for block in row["content"]]
                inputs = [block["input"] for block in blocks if "input" in block]
                assert inputs == [expected] * 2
            stored = await other.get(f"s{number}")
            assert stored is not None
            assert stored.events[1].message["tool_calls"][0]["function"]["arguments"] == (arguments or "{}")
            prompt = await build_prompt_from_session(stored, PromptStrategy.CHAT)
            assert arguments_in(prompt) == [expected] * 2
            assert arguments_in((await export_chat(f"s{number}", other))["messages"]) == [expected] * 2


@pytest.mark.parametrize("arguments", ["{}", " { } ", '{"b": 1,\n "a": 1.0}', '{"a": "\\ud83d"}'])
def test_arguments_that_are_an_object_stay_letter_for_letter(arguments: str) -> None:
    assert full_messages([said(asks(arguments))])[0] == asks(arguments)


@pytest.mark.parametrize("arguments", [None, {"a": 1}])
def test_arguments_that_are_no_text_become_one(arguments: Any) -> None:
    row = full_messages([said(asks(arguments))])[0]
    assert json.loads(row["tool_calls"][0]["function"]["arguments"]) == (arguments or {})


def test_for_anthropic_takes_rows_whose_arguments_are_broken() -> None:
    request = for_anthropic([{"role": "user", "content": "?"}, asks('{"city": "Lis'), answers()])
    assert request["messages"][1]["content"][0]["input"] == {}


def test_an_anthropic_answer_that_was_cut_inside_of_its_arguments() -> None:
    block = {"type": "tool_use", "id": "t", "name": "weather", "input": '{"city": "Lis'}
    rows = full_messages([said({"role": "assistant", "content": [block]})])
    assert arguments_in(rows) == [{}]


def test_a_legacy_call_and_one_without_an_id() -> None:
    legacy = {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "weather", "arguments": '{"a'},
    }
    assert full_messages([said(legacy)])[0]["function_call"]["arguments"] == "{}"
    nameless = asks("{}")
    del nameless["tool_calls"][0]["id"]
    event = said(nameless)
    assert is_valid(full_messages([event]))
    assert full_messages([event]) == full_messages([event])
    assert (
        "tool_calls" not in full_messages([said({"role": "assistant", "content": "hi", "tool_calls": []})])[0]
    )


# -- answers without words ------------------------------------------------------------------------

BLANK: list[Any] = [
    "",
    " \n",
    {"role": "assistant", "content": None},
    {"role": "assistant", "content": [{"type": "text", "text": " "}]},
    {"role": "assistant", "content": "", "tool_calls": []},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}]},
]


@pytest.mark.parametrize("answer", BLANK)
@pytest.mark.parametrize("infinite", [False, True])
async def test_an_answer_without_words_is_kept_and_billed_but_not_sent(answer: Any, infinite: bool) -> None:
    store = MemoryStore()
    sm = SessionManager(model="gpt-4o", infinite_context=infinite, store=store)
    await sm.user_says("one")
    if isinstance(answer, str):
        await sm.ai_responds(answer)
    else:
        await sm.add_messages([answer])
    await sm.user_says("two")
    expected = [{"role": "user", "content": text} for text in ("one", "two")]
    assert await sm.get_messages_for_llm() == expected
    assert await sm.get_messages_for_llm(include_tools=True) == expected
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["ai_messages"]) == (1, 1)
    assert stats["estimated_cost"] > 0
    session = await store.get(sm.session_id)
    assert session is not None
    assert len(session.events) == 3
    assert await build_prompt_from_session(session, PromptStrategy.CHAT) == expected
    assert (await export_chat(sm.session_id, store))["messages"] == expected
    rows = [{"role": "user", "content": "one"}, {"role": "assistant", "content": " "}, expected[1]]
    assert [row["role"] for row in for_anthropic(rows)["messages"]] == ["user"]


@pytest.mark.parametrize(
    "answer",
    [
        {"role": "assistant", "content": None, "refusal": "I cannot."},
        {"role": "assistant", "content": None, "audio": {"id": "a"}},
        {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "u"}}]},
    ],
)
def test_an_answer_that_is_no_text_is_sent(answer: Row) -> None:
    assert full_messages([said(answer)]) == [answer]


# -- cache marks ----------------------------------------------------------------------------------

MARK = {"type": "ephemeral"}


def marked(text: str) -> Row:
    return {"role": "user", "content": [{"type": "text", "text": text, "cache_control": MARK}]}


def marks_in(value: Any) -> list[str]:
    """The texts that carry a mark."""
    if isinstance(value, list):
        return [text for each in value for text in marks_in(each)]
    if not isinstance(value, dict):
        return []
    inner = [text for each in value.values() for text in marks_in(each)]
    return inner + ([str(value.get("text", value.get("content")))] if "cache_control" in value else [])


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("infinite", [False, True])
async def test_the_four_newest_cache_marks_are_sent(tools: bool, infinite: bool) -> None:
    sm = SessionManager(system_prompt="Be brief", infinite_context=infinite)
    for number in range(6):
        await sm.add_messages([marked(f"q{number}")])
        await sm.ai_responds("a")
    rows = await sm.get_messages_for_llm(include_tools=tools)
    assert len(rows) == 13
    newest = ["q2", "q3", "q4", "q5"]
    assert marks_in(rows) == newest
    assert marks_in(for_anthropic(rows)["messages"]) == newest
    session = Session[Any](events=[said(marked(f"q{number}"), EventSource.USER) for number in range(6)])
    for strategy in PromptStrategy:
        assert len(marks_in(await build_prompt_from_session(session, strategy, max_history=9))) <= 4
    assert marks_in([event.message for event in session.events]) == [f"q{number}" for number in range(6)]


def test_marks_in_results_and_on_rows_count_too() -> None:
    result = answers() | {"content": [{"type": "text", "text": "r", "cache_control": MARK}]}
    rows = [marked("q0"), asks("{}"), result, marked("q1"), marked("q2"), marked("q3")]
    assert marks_in(for_anthropic(rows)["messages"]) == ["r", "q1", "q2", "q3"]
    of_litellm = {"role": "user", "content": "whole", "cache_control": MARK}
    shown = full_messages([said(row, EventSource.USER) for row in (marked("q0"), *[of_litellm] * 4)])
    assert marks_in(shown) == ["whole"] * 4


# -- ids that are used again ----------------------------------------------------------------------


def test_anthropic_gets_no_id_twice() -> None:
    rows = [row for turn in ("one", "two") for row in (marked(turn), asks("{}"), answers(content=turn))]
    twice = asks("{}") | {"tool_calls": asks("{}")["tool_calls"] * 2}
    rows += [twice, answers(content="three"), answers(content="four")]
    blocks = [block for row in for_anthropic(rows)["messages"] for block in row["content"]]
    asked = [block["id"] for block in blocks if block["type"] == "tool_use"]
    results = {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}
    assert len(set(asked)) == 4
    assert [results[each] for each in asked] == ["one", "two", "three", "four"]


def test_a_result_belongs_to_the_newest_call_that_has_none() -> None:
    def result(text: str) -> SessionEvent[Any]:
        message: Any = {"tool": "weather", "arguments": {}, "result": text, "error": None}
        return SessionEvent(
            message=message,
            source=EventSource.SYSTEM,
            type=EventType.TOOL_CALL,
            metadata={"tool_call_id": "c"},
        )

    rows = full_messages([said(asks('{"n": 1}')), said(asks('{"n": 2}')), result("of 2"), result("of 1")])
    assert [row.get("content") for row in rows] == [None, "of 1", None, "of 2"]
