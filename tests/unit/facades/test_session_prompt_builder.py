"""None"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from prompt_rows import (
    NO_CONTENT,
    AnyEvent,
    AnySession,
    answer,
    assert_pairs_intact,
    call_row,
    events_of,
    result_row,
    row,
    session_with,
    tool_row,
    user,
    words,
)

from chuk_ai_session_manager.exceptions import InvalidInput, TokenLimitExceeded
from chuk_ai_session_manager.models import EventSource, EventType, SessionEvent, TokenUsage
from chuk_ai_session_manager.providers.messages import ChatMessage, tool_message
from chuk_ai_session_manager.session_prompt_builder import (
    PromptStrategy,
    _build_conversation_prompt,
    _build_minimal_prompt,
    _build_task_focused_prompt,
    _build_tool_focused_prompt,
    build_prompt_from_session,
)


def child(message: Any, parent: AnyEvent, kind: EventType = EventType.TOOL_CALL) -> AnyEvent:
    return SessionEvent(message=message, type=kind, metadata={"parent_event_id": parent.id})


def a_weather_session(*tool_messages: Any) -> AnySession:
    """Two questions, the second of them answered with the help of tools."""
    reply = answer({"role": "assistant", "content": "It is sunny."})
    tools = [child(message, reply) for message in tool_messages]
    return session_with(user("Hello"), answer("Hi!"), user({"content": "The weather?"}), reply, *tools)


@pytest.fixture
def in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the patches of the test itself, so that they are undone in their order."""
    monkeypatch.setattr(TokenUsage, "count_tokens", staticmethod(words))


# -- the five strategies of the original ---------------------------------------------------------


class TestMinimal:
    async def test_first_question_then_the_tools_of_the_latest_answer(self) -> None:
        session = a_weather_session(
            {"tool_name": "weather", "tool": "ignored", "result": {"degrees": 21}},
            {"tool": "clock", "result": None},
            {"result": "anonymous"},
        )
        assert await _build_minimal_prompt(session) == [
            row("user", "Hello"),
            NO_CONTENT,
            tool_row("weather", '{"degrees": 21}'),
            tool_row("clock", "null"),
            tool_row("unknown", '"anonymous"'),
        ]

    async def test_what_json_does_not_know_is_written_as_text(self) -> None:
        session = a_weather_session({"tool": "path", "result": Path("a/b")})
        assert (await _build_minimal_prompt(session))[-1] == tool_row("path", '"a/b"')

    async def test_a_tool_message_that_is_no_dict(self) -> None:
        session = a_weather_session("not a dict")
        assert (await _build_minimal_prompt(session))[-1] == tool_row("unknown", '"not a dict"')

    async def test_without_an_answer_only_the_question(self) -> None:
        assert await _build_minimal_prompt(session_with(user("one"), user("two"))) == [row("user", "one")]

    async def test_a_message_of_the_system_counts_as_an_answer(self) -> None:
        session = session_with(user("q"), answer("policy", EventSource.SYSTEM))
        assert await _build_minimal_prompt(session) == [row("user", "q"), NO_CONTENT]

    @pytest.mark.parametrize(
        ("message", "text"),
        [({"note": "noted", "content": "x"}, "noted"), ("plain", "plain"), ({"a": 1}, "{'a': 1}")],
    )
    async def test_the_latest_summary_stands_in_for_tools(self, message: Any, text: str) -> None:
        reply = answer("a")
        older, latest = (child(m, reply, EventType.SUMMARY) for m in ("older", message))
        session = session_with(user("q"), reply, older, latest)
        assert await _build_minimal_prompt(session) == [row("user", "q"), NO_CONTENT, row("system", text)]

    async def test_tools_come_before_a_summary(self) -> None:
        session = a_weather_session({"tool": "weather", "result": 1})
        reply = session.events[3]
        session.events.append(child("a summary", reply, EventType.SUMMARY))
        assert [r["role"] for r in await _build_minimal_prompt(session)] == ["user", "assistant", "tool"]

    async def test_tools_of_an_older_answer_are_left_out(self) -> None:
        session = a_weather_session({"tool": "weather", "result": 1})
        session.events.append(answer("Anything else?"))
        assert await _build_minimal_prompt(session) == [row("user", "Hello"), NO_CONTENT]


class TestTaskFocused:
    async def test_first_and_latest_question_and_the_tools_without_error(self) -> None:
        session = a_weather_session(
            {"tool": "a", "result": {"status": "error", "why": "no"}},
            {"tool": "b", "result": {"status": "ok"}},
            {"tool": "c", "result": "status: error"},
            "not a dict",
        )
        assert await _build_task_focused_prompt(session) == [
            row("user", "Hello"),
            row("user", "The weather?"),
            NO_CONTENT,
            tool_row("b", '{"status": "ok"}'),
            tool_row("c", '"status: error"'),
        ]

    async def test_one_question_is_there_once(self) -> None:
        session = session_with(user("only"), answer("a"))
        assert await _build_task_focused_prompt(session) == [row("user", "only"), NO_CONTENT]

    async def test_without_an_answer_only_the_questions(self) -> None:
        session = session_with(user("one"), user("two"), user("three"))
        assert await _build_task_focused_prompt(session) == [row("user", "one"), row("user", "three")]

    async def test_without_a_question_nothing(self) -> None:
        assert await _build_task_focused_prompt(session_with(answer("a"))) == []


class TestToolFocused:
    async def test_latest_question_and_every_tool_errors_with_details(self) -> None:
        session = a_weather_session(
            {"tool": "a", "result": {"status": "error"}, "error": None},
            {"tool_name": "b", "result": 3, "error": "timed out"},
            "not a dict",
        )
        assert await _build_tool_focused_prompt(session) == [
            row("user", "The weather?"),
            NO_CONTENT,
            tool_row("a", '{"status": "error"}'),
            tool_row("b", '{"error": "timed out", "details": 3}'),
        ]

    async def test_without_an_answer_only_the_question(self) -> None:
        session = session_with(user("one"), user("two"))
        assert await _build_tool_focused_prompt(session) == [row("user", "two")]


class TestConversation:
    async def test_the_last_answer_gives_way_to_its_tools(self) -> None:
        session = a_weather_session({"tool": "weather", "result": 1}, "not a dict")
        assert await _build_conversation_prompt(session) == [
            row("user", "Hello"),
            row("assistant", "Hi!"),
            row("user", "The weather?"),
            NO_CONTENT,
            tool_row("weather", "1"),
        ]

    async def test_ends_with_the_question_when_that_came_last(self) -> None:
        session = session_with(user("q1"), answer("a1"), user("q2"))
        expected = [row("user", "q1"), row("assistant", "a1"), row("user", "q2")]
        assert await _build_conversation_prompt(session) == expected

    async def test_goes_back_max_history_messages(self) -> None:
        session = session_with(*(user(str(number)) for number in range(9)))
        assert [r["content"] for r in await _build_conversation_prompt(session)] == list("45678")
        assert [r["content"] for r in await _build_conversation_prompt(session, 2)] == list("78")

    @pytest.mark.parametrize(
        ("message", "content"),
        [
            ({"content": [{"type": "text", "text": "t"}]}, [{"type": "text", "text": "t"}]),
            ({"text": 1}, "{'text': 1}"),
            (12, "12"),
            ({"role": "assistant", "content": None}, None),
        ],
    )
    async def test_what_a_message_says(self, message: Any, content: Any) -> None:
        session = session_with(answer(message), user("q"))
        assert (await _build_conversation_prompt(session))[0] == row("assistant", content)


# -- build_prompt_from_session -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "builder"),
    [
        (PromptStrategy.MINIMAL, _build_minimal_prompt),
        (PromptStrategy.TASK_FOCUSED, _build_task_focused_prompt),
        (PromptStrategy.TOOL_FOCUSED, _build_tool_focused_prompt),
        (PromptStrategy.CONVERSATION, _build_conversation_prompt),
        (PromptStrategy.HIERARCHICAL, _build_minimal_prompt),
    ],
)
async def test_each_strategy_has_its_builder_by_member_and_by_name(strategy: Any, builder: Any) -> None:
    session = a_weather_session({"tool": "weather", "result": {"status": "error"}, "error": "e"})
    expected = await builder(session)
    assert await build_prompt_from_session(session, strategy) == expected
    assert await build_prompt_from_session(session, strategy.value) == expected


async def test_the_default_strategy_is_minimal() -> None:
    session = a_weather_session({"tool": "weather", "result": 1})
    assert await build_prompt_from_session(session) == await _build_minimal_prompt(session)


async def test_an_unknown_strategy_warns_and_gives_minimal(caplog: pytest.LogCaptureFixture) -> None:
    session = a_weather_session()
    with caplog.at_level(logging.WARNING):
        prompt = await build_prompt_from_session(session, "my secret")
    assert prompt == await _build_minimal_prompt(session)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert all(strategy.value in caplog.text for strategy in PromptStrategy)
    assert "my secret" not in caplog.text


async def test_a_known_strategy_does_not_warn(caplog: pytest.LogCaptureFixture) -> None:
    await build_prompt_from_session(a_weather_session(), "task")
    assert caplog.records == []


@pytest.mark.parametrize("strategy", [None, 3, ["minimal"]])
async def test_what_is_no_strategy_is_refused(strategy: Any) -> None:
    with pytest.raises(InvalidInput, match="minimal, task, tool, conversation, hierarchical, chat"):
        await build_prompt_from_session(a_weather_session(), strategy)


@pytest.mark.parametrize("strategy", PromptStrategy)
@pytest.mark.parametrize("events", [[], None])
async def test_no_events_no_prompt(strategy: PromptStrategy, events: Any) -> None:
    session = session_with()
    session.metadata.properties["system_prompt"] = "Be kind."
    session.events = events
    assert await build_prompt_from_session(session, strategy) == []


@pytest.mark.parametrize("strategy", PromptStrategy)
@pytest.mark.parametrize("events", [[], None])
async def test_no_events_but_a_query(strategy: PromptStrategy, events: Any) -> None:
    session = session_with()
    session.events = events
    assert await build_prompt_from_session(session, strategy, current_query="q") == [row("user", "q")]


@pytest.mark.parametrize("bound", ["max_tokens", "max_history"])
@pytest.mark.parametrize("value", [0, -1, "5"])
async def test_a_bound_below_one_is_refused(bound: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=bound):
        await build_prompt_from_session(session_with(), **{bound: value})


class TestCurrentQuery:
    @pytest.mark.parametrize("strategy", PromptStrategy)
    async def test_is_the_last_row(self, strategy: PromptStrategy) -> None:
        session = a_weather_session({"tool": "weather", "result": 1})
        before = await build_prompt_from_session(session, strategy)
        prompt = await build_prompt_from_session(session, strategy, current_query="And tomorrow?")
        assert prompt == [*before, row("user", "And tomorrow?")]

    async def test_is_not_said_twice(self) -> None:
        session = session_with(user("q1"), answer("a1"), user("q2"))
        kinds = PromptStrategy.CONVERSATION, PromptStrategy.CHAT
        for kind in kinds:
            prompt = await build_prompt_from_session(session, kind, current_query="q2")
            assert [r["content"] for r in prompt] == ["q1", "a1", "q2"]

    async def test_an_earlier_question_may_be_asked_again(self) -> None:
        session = session_with(user("q1"), answer("a1"), user("q2"))
        prompt = await build_prompt_from_session(session, "conversation", current_query="q1")
        assert [r["content"] for r in prompt] == ["q1", "a1", "q2", "q1"]

    @pytest.mark.parametrize("blank", ["", " \n"])
    async def test_a_blank_one_is_none(self, blank: str) -> None:
        session = a_weather_session()
        assert await build_prompt_from_session(session, current_query=blank) == await _build_minimal_prompt(
            session
        )
        assert await build_prompt_from_session(session_with(), current_query=blank) == []

    async def test_must_be_text(self) -> None:
        query: Any = 5
        with pytest.raises(InvalidInput, match="current_query"):
            await build_prompt_from_session(session_with(), current_query=query)

    async def test_is_what_truncation_keeps(self, in_words: None) -> None:
        session = session_with(user("one two"), answer("three four"))
        prompt = await build_prompt_from_session(session, "chat", max_tokens=3, current_query="five six")
        assert prompt == [row("user", "five six")]


class TestMaxTokensAndModel:
    async def test_cuts_the_prompt(self, in_words: None) -> None:
        session = session_with(user("a b"), answer("c d"), user("e f"), answer("g h"), user("i j"))
        whole = await build_prompt_from_session(session, "conversation")
        assert await build_prompt_from_session(session, "conversation", max_tokens=10) == whole
        assert await build_prompt_from_session(session, "conversation", max_tokens=9) == whole[2:]
        with pytest.raises(TokenLimitExceeded):
            await build_prompt_from_session(session, "conversation", max_tokens=1)

    async def test_counts_for_the_model_once_a_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counted: list[tuple[str, str]] = []

        async def ten_for_big(*arguments: Any) -> int:  # two positionals: applications replace it so
            text, model = arguments
            counted.append((text, model))
            return 10 if model == "big" else 1

        monkeypatch.setattr(TokenUsage, "count_tokens", ten_for_big)
        session = session_with(user("q1"), answer("a1"), user("q2"))
        small = await build_prompt_from_session(session, "conversation", max_tokens=10, model="small")
        assert len(small) == 3
        counted.clear()
        big = await build_prompt_from_session(session, "conversation", max_tokens=10, model="big")
        assert big == [row("user", "q2")]
        assert counted == [("q2", "big"), ("a1", "big")]  # older ones cannot fit
        counted.clear()
        await build_prompt_from_session(session, "conversation", max_tokens=10)
        assert {model for _, model in counted} == {"gpt-3.5-turbo"}


# -- chat ----------------------------------------------------------------------------------------


def a_tool_session() -> AnySession:
    rows = [
        row("user", "q1"),
        row("assistant", "a1"),
        row("user", "q2"),
        call_row("c1", "c2"),
        result_row("c1", "r1"),
        result_row("c2", "r2"),
        row("assistant", "a2"),
    ]
    return session_with(*events_of(rows))


class TestChat:
    async def test_is_what_a_provider_accepts_after_the_system_prompt(self) -> None:
        session = a_tool_session()
        session.metadata.properties["system_prompt"] = "Be kind."
        assert await build_prompt_from_session(session, "chat", max_history=99) == [
            row("system", "Be kind."),
            row("user", "q1"),
            row("assistant", "a1"),
            row("user", "q2"),
            call_row("c1", "c2"),
            result_row("c1", "r1"),
            result_row("c2", "r2"),
            row("assistant", "a2"),
        ]

    @pytest.mark.parametrize("prompt", [None, "", "  ", 7])
    async def test_without_a_system_prompt_there_is_no_row(self, prompt: Any) -> None:
        session = a_tool_session()
        session.metadata.properties["system_prompt"] = prompt
        assert (await build_prompt_from_session(session, "chat", max_history=99))[0] == row("user", "q1")

    async def test_without_metadata(self) -> None:
        session = a_tool_session()
        nothing: Any = None
        session.metadata = nothing
        assert (await build_prompt_from_session(session, "chat", max_history=99))[0] == row("user", "q1")

    @pytest.mark.parametrize(
        ("max_history", "first"),
        [(1, row("assistant", "a2")), (2, call_row("c1", "c2")), (3, row("user", "q2"))],
    )
    async def test_goes_back_max_history_messages(self, max_history: int, first: ChatMessage) -> None:
        rows = await build_prompt_from_session(a_tool_session(), "chat", max_history=max_history)
        assert rows[0] == first
        assert sum(r["role"] != "tool" for r in rows) == max_history
        assert_pairs_intact(rows)

    async def test_goes_back_five_messages_by_default(self) -> None:
        session = session_with(*(user(str(number)) for number in range(9)))
        assert [r["content"] for r in await build_prompt_from_session(session, "chat")] == list("45678")

    async def test_a_late_result_goes_with_its_call(self) -> None:
        question, call, result, late = events_of(
            [row("user", "q"), call_row("c1"), result_row("c1", "r1"), row("user", "hurry up")]
        )
        session = session_with(question, call, late, result)
        assert await build_prompt_from_session(session, "chat", max_history=1) == [row("user", "hurry up")]
        rows = await build_prompt_from_session(session, "chat", max_history=2)
        assert rows == [call_row("c1"), result_row("c1", "r1"), row("user", "hurry up")]

    async def test_tools_without_a_call_are_no_messages(self) -> None:
        used: AnyEvent = SessionEvent(message=tool_message("clock", {}, "noon"), type=EventType.TOOL_CALL)
        session = session_with(user("q0"), user("q1"), used, answer("a1"))
        rows = await build_prompt_from_session(session, "chat", max_history=2)
        assert [r["role"] for r in rows] == ["user", "assistant", "tool", "assistant"]
        assert_pairs_intact(rows)

    async def test_the_first_query_has_its_system_prompt(self) -> None:
        session = session_with()
        session.metadata.properties["system_prompt"] = "Be kind."
        prompt = await build_prompt_from_session(session, "chat", current_query="q")
        assert prompt == [row("system", "Be kind."), row("user", "q")]
