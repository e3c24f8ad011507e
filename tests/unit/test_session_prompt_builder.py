from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from contexts import apart
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager import session_prompt_builder, session_storage
from chuk_ai_session_manager.exceptions import InvalidInput, StorageError, TokenLimitExceeded
from chuk_ai_session_manager.models import EventSource, EventType, Session, SessionEvent, TokenUsage
from chuk_ai_session_manager.providers.messages import (
    ChatMessage,
    calls_of,
    check_chat_messages,
    event_of,
    text_of,
    tool_message,
)
from chuk_ai_session_manager.providers.sendable import says_nothing
from chuk_ai_session_manager.session_prompt_builder import (
    PromptStrategy,
    _build_conversation_prompt,
    _build_hierarchical_prompt,
    _build_minimal_prompt,
    _build_task_focused_prompt,
    _build_tool_focused_prompt,
    build_prompt_from_session,
    truncate_prompt_to_token_limit,
)
from chuk_ai_session_manager.stores import MemoryStore

AnySession = Session[Any]
AnyEvent = SessionEvent[Any]

LEGACY = [strategy for strategy in PromptStrategy if strategy is not PromptStrategy.CHAT]
NO_CONTENT = {"role": "assistant", "content": None}


# -- sessions to build from ----------------------------------------------------------------------


def user(text: Any) -> AnyEvent:
    return SessionEvent(message=text, source=EventSource.USER)


def answer(text: Any, source: EventSource = EventSource.LLM) -> AnyEvent:
    return SessionEvent(message=text, source=source)


def child(message: Any, parent: AnyEvent, kind: EventType = EventType.TOOL_CALL) -> AnyEvent:
    return SessionEvent(message=message, type=kind, metadata={"parent_event_id": parent.id})


def summary(message: Any) -> AnyEvent:
    return SessionEvent(message=message, type=EventType.SUMMARY)


def session_with(*events: AnyEvent, **fields: Any) -> AnySession:
    session: AnySession = Session(**fields)
    session.events.extend(events)
    return session


def a_weather_session(*tool_messages: Any) -> AnySession:
    """Two questions, the second of them answered with the help of tools."""
    reply = answer({"role": "assistant", "content": "It is sunny."})
    tools = [child(message, reply) for message in tool_messages]
    return session_with(user("Hello"), answer("Hi!"), user({"content": "The weather?"}), reply, *tools)


def row(role: str, content: Any) -> ChatMessage:
    return {"role": role, "content": content}


def tool_row(name: str, content: str) -> ChatMessage:
    return {"role": "tool", "name": name, "content": content}


def call_row(*call_ids: str, content: str | None = None) -> ChatMessage:
    calls = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in call_ids]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def result_row(call_id: str, content: str) -> ChatMessage:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


async def words(text: str, model: str) -> int:
    return len(text.split())


@contextmanager
def counted_in_words() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenUsage, "count_tokens", staticmethod(words))
        yield


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


def events_of(rows: Sequence[ChatMessage]) -> list[AnyEvent]:
    checked = check_chat_messages(rows, "test")
    calls = {call["id"]: call for row in checked for call in calls_of(row)}
    return [event_of(row, calls) for row in checked]


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


# -- the ancestors' context ----------------------------------------------------------------------


async def a_family(store: MemoryStore) -> tuple[AnySession, AnySession, AnySession]:
    grandparent: AnySession = await Session.create(store=store)
    parent: AnySession = await Session.create(parent_id=grandparent.id, store=store)
    grandchild: AnySession = await Session.create(parent_id=parent.id, store=store)
    for event in summary("outdated"), summary({"note": "They met."}):
        await grandparent.add_event_and_save(event)
    for event in summary({"content": "They talked."}), user("not a summary"):
        await parent.add_event_and_save(event)
    for event in user("q"), answer("a"):
        await grandchild.add_event_and_save(event)
    return grandparent, parent, grandchild


CONTEXT = row("system", "Context from previous conversation: They met. They talked.")


class TestParentContext:
    @pytest.mark.parametrize("strategy", LEGACY)
    async def test_is_in_front_for_every_strategy(self, strategy: PromptStrategy) -> None:
        *_, session = await a_family(MemoryStore())
        without = await build_prompt_from_session(session, strategy)
        prompt = await build_prompt_from_session(session, strategy, include_parent_context=True)
        assert CONTEXT not in without
        assert prompt == [CONTEXT, *without]

    async def test_begins_the_first_user_row_of_a_chat(self) -> None:
        *_, session = await a_family(MemoryStore())
        session.metadata.properties["system_prompt"] = "Be kind."
        prompt = await build_prompt_from_session(session, "chat", include_parent_context=True)
        told = row("earlier", "They met. They talked.")
        assert apart(prompt) == [row("system", "Be kind."), told, row("user", "q"), row("assistant", "a")]
        asked = await build_prompt_from_session(
            session, "chat", include_parent_context=True, current_query="q", max_history=1, max_tokens=60
        )
        assert apart(asked) == [row("system", "Be kind."), told, row("assistant", "a"), row("user", "q")]

    async def test_the_private_builder_includes_it_by_default(self) -> None:
        *_, session = await a_family(MemoryStore())
        minimal = await _build_minimal_prompt(session)
        assert await _build_hierarchical_prompt(session) == [CONTEXT, *minimal]
        assert await _build_hierarchical_prompt(session, include_parent_context=False) == minimal

    async def test_a_query_to_a_new_child_has_it(self) -> None:
        store = MemoryStore()
        *_, session = await a_family(store)
        session.events.clear()
        prompt = await build_prompt_from_session(session, include_parent_context=True, current_query="q")
        assert prompt == [CONTEXT, row("user", "q")]

    async def test_no_ancestors_no_row(self) -> None:
        session = session_with(user("q"))
        assert await build_prompt_from_session(session, include_parent_context=True) == [row("user", "q")]

    async def test_ancestors_without_summary_no_row(self) -> None:
        store = MemoryStore()
        parent: AnySession = await Session.create(store=store)
        session: AnySession = await Session.create(parent_id=parent.id, store=store)
        await session.add_event_and_save(user("q"))
        assert await build_prompt_from_session(session, include_parent_context=True) == [row("user", "q")]

    async def test_a_session_of_no_store_asks_the_default_one(self) -> None:
        backend = session_storage.get_backend()
        parent = session_with(summary("They met."))
        await backend.save(parent)
        session = session_with(user("q"), parent_id=parent.id)
        prompt = await build_prompt_from_session(session, include_parent_context=True)
        assert prompt[0] == row("system", "Context from previous conversation: They met.")

    @pytest.mark.parametrize("swapped", ["get_backend", "ChukSessionsStore"])
    async def test_the_names_here_can_be_swapped(self, swapped: str, monkeypatch: pytest.MonkeyPatch) -> None:
        parent = session_with(summary("They met."))
        store = OnlyGet(parent)
        monkeypatch.setattr(session_prompt_builder, swapped, lambda *_: store)
        session = session_with(user("q"), parent_id=parent.id)
        prompt = await build_prompt_from_session(session, include_parent_context=True)
        assert prompt[0] == row("system", "Context from previous conversation: They met.")

    @pytest.mark.parametrize("bound", [True, False])
    async def test_a_circle_of_parents_ends(self, bound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        session = session_with(user("q"), id="a", parent_id="b")
        other = session_with(summary("They met."), id="b", parent_id="a")
        store = OnlyGet(session, other)
        if bound:
            memory = MemoryStore()
            await memory.save(session)
            await memory.save(other)
        else:
            monkeypatch.setattr(session_prompt_builder, "get_backend", lambda: store)
        prompt = await build_prompt_from_session(session, include_parent_context=True)
        assert prompt[0] == row("system", "Context from previous conversation: They met.")

    @pytest.mark.parametrize("bound", [True, False])
    async def test_an_outage_is_not_an_absent_parent(
        self, bound: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = session_with(user("q"), parent_id="p")
        store = Down()
        if bound:
            session.bind(store)
        else:
            monkeypatch.setattr(session_prompt_builder, "get_backend", lambda: store)
        with pytest.raises(StorageError):
            await build_prompt_from_session(session, include_parent_context=True)
        assert await build_prompt_from_session(session) == [row("user", "q")]


class OnlyGet:
    """The least of a store that an application may put in place."""

    def __init__(self, *sessions: AnySession) -> None:
        self.sessions = {session.id: session for session in sessions}

    async def get(self, session_id: str) -> AnySession | None:
        return self.sessions.get(session_id)


class Down(MemoryStore):
    async def get(self, session_id: str) -> AnySession | None:
        raise StorageError("down")


# -- truncation: examples ------------------------------------------------------------------------


@pytest.mark.usefixtures("in_words")
class TestTruncation:
    async def test_nothing_stays_nothing(self) -> None:
        assert await truncate_prompt_to_token_limit([], 5) == []

    async def test_what_fits_is_given_back_itself(self) -> None:
        prompt = [row("user", "one two three")]
        assert await truncate_prompt_to_token_limit(prompt, 3) is prompt

    async def test_the_prompt_given_is_not_changed(self) -> None:
        prompt = [row("user", "q"), row("assistant", "a b c"), row("user", "q")]
        before = json.dumps(prompt)
        assert await truncate_prompt_to_token_limit(prompt, 2) == [row("user", "q")]
        assert json.dumps(prompt) == before

    @pytest.mark.parametrize("limit", [0, -5])
    async def test_a_limit_below_one_is_refused(self, limit: int) -> None:
        with pytest.raises(InvalidInput, match="max_tokens"):
            await truncate_prompt_to_token_limit([], limit)

    async def test_whole_exchanges_go_first(self) -> None:
        prompt = [
            row("system", "be kind"),
            row("assistant", "welcome"),
            row("user", "one"),
            row("assistant", "two"),
            row("user", "three"),
            row("assistant", "four"),
        ]
        assert await truncate_prompt_to_token_limit(prompt, 6) == [prompt[0], *prompt[2:]]
        assert await truncate_prompt_to_token_limit(prompt, 5) == [prompt[0], *prompt[4:]]

    async def test_then_the_newest_exchanges_older_answers(self) -> None:
        prompt = [
            row("user", "question"),
            call_row("c1"),
            result_row("c1", "r r r"),
            row("system", "note"),
            call_row("c2", "c3"),
            result_row("c2", "r"),
            result_row("c3", "r"),
        ]
        # A call of the helper is two words: its name and its arguments.
        assert await truncate_prompt_to_token_limit(prompt, 12) == [prompt[0], *prompt[3:]]
        assert await truncate_prompt_to_token_limit(prompt, 7) == [prompt[0], *prompt[4:]]
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 6)
        assert (caught.value.limit, caught.value.actual) == (6, 7)

    async def test_a_question_that_waits_for_its_answer_is_kept_alone(self) -> None:
        prompt = [row("user", "one"), row("assistant", "two"), row("user", "three four")]
        assert await truncate_prompt_to_token_limit(prompt, 2) == [row("user", "three four")]
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 1)
        assert (caught.value.limit, caught.value.actual) == (1, 2)
        assert "three" not in str(caught.value)

    async def test_system_rows_alone_that_do_not_fit(self) -> None:
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit([row("system", "a b"), row("developer", "c")], 2)
        assert (caught.value.limit, caught.value.actual) == (2, 3)

    async def test_without_a_user_the_last_answer_is_kept(self) -> None:
        prompt = [row("assistant", "a b"), call_row("c1"), result_row("c1", "r")]
        assert await truncate_prompt_to_token_limit(prompt, 3) == prompt[1:]

    async def test_results_without_a_call_go_one_by_one(self) -> None:
        prompt = [row("user", "q"), NO_CONTENT, *(tool_row("t", f"{n} {n}") for n in range(4))]
        assert await truncate_prompt_to_token_limit(prompt, 5) == [*prompt[:2], *prompt[4:]]
        assert await truncate_prompt_to_token_limit(prompt, 3) == [*prompt[:2], prompt[5]]
        assert await truncate_prompt_to_token_limit(prompt, 1) == prompt[:2]

    async def test_an_answer_in_words_takes_room_from_its_results(self) -> None:
        prompt = [row("user", "q"), row("assistant", "a a"), tool_row("t", "x x"), tool_row("t", "y y")]
        assert await truncate_prompt_to_token_limit(prompt, 6) == [*prompt[:2], prompt[3]]
        assert await truncate_prompt_to_token_limit(prompt, 4) == prompt[:2]
        with pytest.raises(TokenLimitExceeded):
            await truncate_prompt_to_token_limit(prompt, 2)

    async def test_results_behind_no_answer_go_one_by_one_too(self) -> None:
        prompt = [row("user", "q"), tool_row("t", "old"), tool_row("t", "new")]
        assert await truncate_prompt_to_token_limit(prompt, 2) == [prompt[0], prompt[2]]

    @pytest.mark.parametrize("limit", range(2, 40))
    async def test_what_the_original_promised_of_an_aggressive_cut(self, limit: int) -> None:
        tools = [tool_row("t", "result " * 20) for _ in range(5)]
        prompt = [row("user", "a question"), NO_CONTENT, *tools]
        roles = [r["role"] for r in await truncate_prompt_to_token_limit(prompt, limit)]
        assert roles[:2] == ["user", "assistant"]
        assert roles[2:] == ["tool"] * (limit >= 22)

    async def test_what_the_original_promised_of_a_basic_cut(self) -> None:
        prompt = [row(role, f"{role} " * 10) for role in ("user", "assistant") * 3]
        cut = await truncate_prompt_to_token_limit(prompt, 30)
        assert cut == prompt[4:]

    async def test_the_default_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def model_length(text: str, model: str) -> int:
            return len(model)

        monkeypatch.setattr(TokenUsage, "count_tokens", model_length)
        prompt = [row("user", "q")]
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 1)
        assert caught.value.actual == len("gpt-3.5-turbo")
        with pytest.raises(TokenLimitExceeded) as caught:
            await truncate_prompt_to_token_limit(prompt, 1, "gpt-4")
        assert caught.value.actual == len("gpt-4")


# -- truncation: properties ----------------------------------------------------------------------


TEXTS = st.integers(0, 12).map(lambda count: " ".join(["word"] * count))


@st.composite
def an_answer(draw: st.DrawFn, legacy: bool = False) -> list[ChatMessage]:
    kind = draw(st.sampled_from(["text", "system", "legacy"] if legacy else ["text", "system", "calls"]))
    if kind in {"text", "system"}:
        return [row("assistant" if kind == "text" else "system", draw(TEXTS))]
    results = draw(st.lists(TEXTS, min_size=1, max_size=3))
    if kind == "legacy":
        return [row("assistant", draw(st.none() | TEXTS)), *(tool_row("t", text) for text in results)]
    ids = [draw(st.uuids()).hex for _ in results]
    content = draw(st.none() | TEXTS)
    return [call_row(*ids, content=content), *map(result_row, ids, results)]


@st.composite
def prompts(draw: st.DrawFn, legacy: bool = False) -> list[ChatMessage]:
    """System rows, what the assistant says unasked, and exchanges."""
    answers = st.lists(an_answer(legacy), max_size=4)
    rows = [
        row(draw(st.sampled_from(["system", "developer"])), text)
        for text in draw(st.lists(TEXTS, max_size=2))
    ]
    # What comes before the first question must not begin like one of the leading system rows.
    unasked = [part for part in draw(answers) if part[0]["role"] == "assistant"]
    rows += [r for part in unasked for r in part]
    for question in draw(st.lists(TEXTS, max_size=4)):
        rows += [row("user", question), *(r for part in draw(answers) for r in part)]
    return rows


LIMITS = st.integers(1, 120)


def tokens(rows: Sequence[ChatMessage]) -> int:
    return sum(len(text_of(r).split()) for r in rows)


def leading_system(rows: Sequence[ChatMessage]) -> list[ChatMessage]:
    return list(takewhile(lambda r: r["role"] in {"system", "developer"}, rows))


def newest_exchange(rows: Sequence[ChatMessage]) -> list[ChatMessage]:
    after = list(rows[len(leading_system(rows)) :])
    last = max((at for at, r in enumerate(after) if r["role"] == "user"), default=0)
    return after[last:]


def the_least(rows: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The rows that no truncation may drop: written as the rule reads, apart from how it is built."""
    exchange = newest_exchange(rows)
    question = exchange[:1] if exchange and exchange[0]["role"] == "user" else []
    answers = exchange[len(question) :]
    begins = max((at for at, r in enumerate(answers) if r["role"] != "tool"), default=0)
    last = [r for r in answers[begins:] if r["role"] != "tool" or "tool_call_id" in r]
    return [*leading_system(rows), *question, *last]


def assert_pairs_intact(rows: Sequence[ChatMessage]) -> None:
    """Each call is directly followed by its results, and no result is anywhere else."""
    waiting: list[str] = []
    for each in rows:
        if each["role"] == "tool":
            assert each["tool_call_id"] in waiting
            waiting.remove(each["tool_call_id"])
        else:
            assert not waiting
            waiting = [call["id"] for call in calls_of(each)]
    assert not waiting


def positions(part: Sequence[ChatMessage], whole: Sequence[ChatMessage]) -> list[int]:
    where = {id(r): at for at, r in enumerate(whole)}
    return [where[id(r)] for r in part]


async def cut(rows: list[ChatMessage], limit: int) -> list[ChatMessage] | None:
    """What fits, or `None` where the least does not."""
    with counted_in_words():
        try:
            return await truncate_prompt_to_token_limit(rows, limit, "any")
        except TokenLimitExceeded as error:
            numbers = error.limit, error.actual
    assert numbers == (limit, tokens(the_least(rows)))
    return None


@given(prompts() | prompts(legacy=True), LIMITS)
async def test_it_fits_or_it_cannot(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is None:
        assert tokens(the_least(rows)) > limit
    else:
        assert tokens(kept) <= limit


@given(prompts() | prompts(legacy=True), LIMITS)
async def test_cutting_again_changes_nothing(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is not None:
        assert await cut(kept, limit) is kept


@given(prompts(), LIMITS)
async def test_calls_and_results_stay_together(rows: list[ChatMessage], limit: int) -> None:
    assert_pairs_intact(await cut(rows, limit) or [])


@given(prompts() | prompts(legacy=True), LIMITS)
async def test_the_least_is_kept_and_nothing_moves(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is None:
        return
    at = positions(kept, rows)
    assert at == sorted(at)
    assert set(positions(the_least(rows), rows)) <= set(at)


@given(prompts(), LIMITS)
async def test_what_is_dropped_is_the_oldest(rows: list[ChatMessage], limit: int) -> None:
    """Behind the system rows and the last question, what is left is the end of the prompt."""
    kept = await cut(rows, limit)
    if kept is None:
        return
    system = leading_system(rows)
    assert kept[: len(system)] == system
    rest = kept[len(system) :]
    whole_exchanges = positions(rest, rows) == list(range(len(rows) - len(rest), len(rows)))
    assert whole_exchanges or positions(rest[1:], rows) == list(range(len(rows) - len(rest) + 1, len(rows)))
    assert whole_exchanges or rest[0] is newest_exchange(rows)[0]


@given(prompts(), LIMITS)
async def test_older_exchanges_stay_or_go_as_wholes(rows: list[ChatMessage], limit: int) -> None:
    kept = await cut(rows, limit)
    if kept is None or kept is rows:
        return
    rest = kept[len(leading_system(rows)) :]
    has_user = any(r["role"] == "user" for r in rows)
    assert not has_user or rest[0]["role"] == "user"


@given(prompts() | prompts(legacy=True), LIMITS, LIMITS)
async def test_more_room_never_keeps_less(rows: list[ChatMessage], one: int, other: int) -> None:
    small, large = await cut(rows, min(one, other)), await cut(rows, max(one, other))
    if small is not None:
        assert large is not None
        assert set(map(id, small)) <= set(map(id, large))


@given(prompts(), st.integers(0, 60), st.integers(1, 12))
async def test_a_chat_of_any_length_keeps_its_pairs(
    rows: list[ChatMessage], late: int, max_history: int
) -> None:
    events = events_of(rows)
    results = [event for event in events if event.type is EventType.TOOL_CALL]
    if results:  # a result may be recorded at any time after its call
        events.remove(moved := results[late % len(results)])
        events.append(moved)
    chat = await build_prompt_from_session(session_with(*events), "chat", max_history=max_history)
    assert_pairs_intact(chat)
    spoken = [r for r in rows if r["role"] != "tool" and not says_nothing(r)][-max_history:]
    assert [r for r in chat if r["role"] != "tool"] == spoken


# -- real conversations --------------------------------------------------------------------------


@pytest.mark.usefixtures("exact_counting")
async def test_real_conversations_fit(chats: list[dict[str, Any]]) -> None:
    assert chats
    for conversation in chats:
        session, model = session_with(*events_of(conversation["messages"])), conversation["model"]
        whole = await build_prompt_from_session(session, "chat", max_history=10_000)
        assert whole == conversation["messages"]
        sizes = {id(r): await TokenUsage.count_tokens(text_of(r), model) for r in whole}
        least = sum(sizes[id(r)] for r in the_least(whole))
        assert least < 8000  # else nothing below would ever be kept
        for limit in range(200, 8001, 400):
            if least > limit:
                with pytest.raises(TokenLimitExceeded, match=f"{least} > {limit}"):
                    await truncate_prompt_to_token_limit(whole, limit, model)
                continue
            kept = await truncate_prompt_to_token_limit(whole, limit, model)
            assert sum(sizes[id(r)] for r in kept) <= limit
            assert_pairs_intact(kept)
            assert (kept[0], kept[-1]) == (whole[0], whole[-1])
            assert newest_exchange(kept)[0] == newest_exchange(whole)[0]
