"""A result finds its call, however long ago that was asked for; and what tells which event goes where."""

from __future__ import annotations

from typing import Any

import pytest
from chat_rules import is_valid
from hypothesis import given, settings
from hypothesis import strategies as st
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.conversation.order import as_told
from chuk_ai_session_manager.models import EventSource, EventType, SessionEvent
from chuk_ai_session_manager.models.session_event import REPLACES
from chuk_ai_session_manager.stores import MemoryStore


def asks(call_id: str, number: int) -> dict[str, Any]:
    function = {"name": f"tool_{number}", "arguments": f'{{"n": {number}}}'}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def answers(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "found"}


async def tools_in(sm: SessionManager) -> list[Any]:
    """Of each result: the tool, and the arguments."""
    rows = await sm.get_conversation(include_tools=True)
    return [(row["name"], row["arguments"]) for row in rows if row["role"] == "tool"]


@in_memory_too
@pytest.mark.parametrize("turns", [4, 10_000], ids=["segments", "one segment"])
async def test_after_many_segments_or_messages(place: Place, turns: int) -> None:
    async with place.store() as store, place.store() as other:
        sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=turns,
                            token_threshold=10**9)  # fmt: skip
        await sm.add_messages([{"role": "user", "content": "go"}, asks("c", 1)])
        filling = [{"role": "user", "content": f"m{n}"} for n in range(1500 if turns > 4 else 14)]
        await sm.add_messages(filling)
        fresh = SessionManager("s", store=other)
        await fresh.add_messages([answers("c")])
        assert await tools_in(fresh) == [("tool_1", {"n": 1})]
        assert is_valid(await fresh.get_messages_for_llm(include_tools=True))


@in_memory_too
async def test_the_newest_call_of_an_id_that_has_none_yet(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=2)
        for number in (1, 2, 3):
            await sm.add_messages([{"role": "user", "content": "go"}, asks("c", number)])
            if number == 2:
                await sm.add_messages([answers("c")])
        for _ in range(3):
            await SessionManager("s", store=store).add_messages([answers("c")])
        assert await tools_in(sm) == [
            ("tool_2", {"n": 2}),
            ("tool_3", {"n": 3}),
            ("tool_1", {"n": 1}),
            ("unknown", None),
        ]


async def test_two_results_in_one_list() -> None:
    sm = SessionManager()
    await sm.add_messages([asks("c", 1), asks("c", 2)])
    await sm.add_messages([answers("c"), answers("c")])
    assert sorted(tool for tool, _ in await tools_in(sm)) == ["tool_1", "tool_2"]


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=25)


@settings(deadline=None, max_examples=40)
@given(STEPS, st.integers(1, 4))
async def test_any_calls_and_results_by_one_manager_or_many(
    steps: list[tuple[str, bool, bool]], turns: int
) -> None:
    """Each result takes the newest call of its id that has none: as a stack for each id says it."""
    store = MemoryStore()
    sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=turns)
    waiting: dict[str, list[int]] = {}
    expected: list[Any] = []
    for number, (call_id, is_call, is_fresh) in enumerate(steps):
        writer = SessionManager("s", store=store, infinite_context=True) if is_fresh else sm
        if is_call:
            await writer.add_messages([asks(call_id, number)])
            waiting.setdefault(call_id, []).append(number)
        else:
            await writer.add_messages([answers(call_id)])
            made = waiting[call_id].pop() if waiting.get(call_id) else None
            expected.append(("unknown", None) if made is None else (f"tool_{made}", {"n": made}))
    if steps:
        assert await tools_in(sm) == expected


# -- the order of events --------------------------------------------------------------------------


def said(text: str, source: EventSource, parent: SessionEvent[Any] | None = None) -> SessionEvent[Any]:
    return SessionEvent(
        message=text, source=source, type=EventType.MESSAGE, parent_event_id=parent.id if parent else None
    )


ANSWERS = st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), max_size=12)


@given(st.integers(1, 5), ANSWERS, st.randoms())
def test_each_answer_stands_with_its_question_and_nothing_is_lost(
    questions: int, answers: list[tuple[int, bool, bool]], random: Any
) -> None:
    asked = [said(f"q{number}", EventSource.USER) for number in range(questions)]
    events: list[SessionEvent[Any]] = list(asked)
    replaced = set()
    for number, (which, is_linked, replaces) in enumerate(answers):
        question = asked[which % questions]
        answer = said(f"a{number}", EventSource.LLM, question if is_linked else None)
        own = [each for each in events if each.parent_event_id == question.id and each.id not in replaced]
        if is_linked and replaces and own:
            answer.metadata[REPLACES] = own[-1].id
            replaced.add(own[-1].id)
        earliest = max(at for at, each in enumerate(events) if each is question or each in own) + 1
        events.insert(random.randint(earliest, len(events)), answer)
    told = as_told(events)
    assert sorted(each.id for each in told) == sorted({each.id for each in events} - replaced)
    assert [each for each in told if each.source == EventSource.USER] == asked
    question_of = None
    for each in told:
        if each.source == EventSource.USER:
            question_of = each.id
        elif each.parent_event_id is not None:
            assert each.parent_event_id == question_of
    assert as_told(told) == told


@given(st.lists(st.sampled_from(EventSource), max_size=12))
def test_what_came_in_order_stays_as_it_is(sources: list[EventSource]) -> None:
    events: list[SessionEvent[Any]] = []
    for number, source in enumerate(sources):
        asked = next((each for each in reversed(events) if each.source == EventSource.USER), None)
        events.append(said(f"m{number}", source, asked if source == EventSource.LLM else None))
    assert as_told(events) == events
