"""Which of what was said holds, for any log: against a model that keeps each path as a list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.conversation.path import EarlierNeededError, Paths, on_path
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.models import EventSource, EventType, SessionEvent
from chuk_ai_session_manager.models.choice import Choice, choice_in
from chuk_ai_session_manager.models.event_page import tokens_of
from chuk_ai_session_manager.models.session_totals import SessionTotals
from chuk_ai_session_manager.models.token_usage import TokenUsage

Event = SessionEvent[Any]


@dataclass
class Model:
    """A log, and the ids of what holds, kept as a list that is cut and added to."""

    log: list[Event] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    out: set[str] = field(default_factory=set)
    after: dict[str, str | None] = field(default_factory=dict)
    earlier: list[list[str]] = field(default_factory=list)
    """The paths that there were, before each choice of a place."""

    def say(self, source: EventSource) -> None:
        number = len(self.log)
        self.after[str(number)] = self.path[-1] if self.path else None
        usage = TokenUsage(prompt_tokens=number + 1, model="gpt-4o", estimated_cost_usd=None)
        self.log.append(SessionEvent(id=str(number), message="m", source=source, token_usage=usage))
        self.path.append(str(number))

    def store(self, choice: Choice, path: list[str]) -> None:
        self.log.append(choice.as_event())
        self.out |= set(choice.retracted)
        self.earlier.append(self.path)
        self.path = path

    def event(self, at: int) -> Event | None:
        events = [event for event in self.log if event.id in self.after]
        return events[at % len(events)] if events else None

    def alike(self, event: Event) -> list[str]:
        known = [each for each in self.log if each.id in self.after and each.source == event.source]
        return [each.id for each in known if self.after[each.id] == self.after[event.id]]

    def path_to(self, event_id: str | None) -> list[str]:
        for path in [self.path, *reversed(self.earlier)]:
            if event_id in path:
                return path[: path.index(event_id) + 1]
        return []

    def edit(self, at: int) -> None:
        event = self.event(at)
        if event is None:
            return
        assert ids(Paths(self.log).variants(event.id)) == self.alike(event)
        choice = Paths(self.log).before(event.id, "edit")
        path = self.path_to(self.after[event.id])
        assert (choice is None) == (path == self.path)
        if choice is not None:
            self.store(choice, path)
        self.say(event.source)

    def choose(self, at: int) -> None:
        event = self.event(at)
        if event is None:
            return
        before, others = self.after[event.id], self.alike(event)
        if event.id in self.out:
            choice = Paths(self.log).back_to(event.id)
            assert choice is not None
            assert choice.restored == [event.id]
            self.out.discard(event.id)
        elif len(others) == 1 if event.id in self.path else before not in {None, *self.path}:
            with pytest.raises(InvalidInput):
                Paths(self.log).back_to(event.id)
            return
        else:
            choice = Paths(self.log).back_to(event.id)
            assert (choice is None) == (event.id in self.path)
        if choice is not None:
            path = next(each for each in [self.path, *reversed(self.earlier)] if event.id in each)
            self.store(choice, path)

    @property
    def held(self) -> list[str]:
        return [each for each in self.path if each not in self.out]

    def undo(self) -> None:
        users = {event.id for event in self.log if event.source == EventSource.USER}
        asked = [at for at, each in enumerate(self.path) if each in users and each not in self.out]
        if not asked:
            with pytest.raises(InvalidInput):
                Paths(self.log).before_last_question()
            return
        found = Paths(self.log).before_last_question()
        assert found[0] == self.path[asked[-1]]
        path = self.path[: asked[-1]]
        while path and path[-1] in self.out:  # nothing follows those
            path.pop()
        self.store(found[1], path)

    def retract(self, at: int) -> None:
        if self.held:
            self.store(Paths(self.log).without(self.held[at % len(self.held)]), self.path)

    def clear(self) -> None:
        choice = Paths(self.log).beginning()
        assert (choice is None) == (not self.path)
        if choice is not None:
            self.store(choice, [])


STEPS = st.lists(
    st.one_of(
        st.sampled_from([EventSource.USER, EventSource.LLM]),
        st.sampled_from(["undo", "clear"]),
        st.tuples(st.sampled_from(["retract", "edit", "choose"]), st.integers(0, 20)),
    ),
    max_size=30,
)


def grown(steps: list[Any]) -> Model:
    model = Model()
    for step in steps:
        if isinstance(step, EventSource):
            model.say(step)
        elif isinstance(step, tuple):
            getattr(model, step[0])(step[1])
        else:
            getattr(model, step)()
    return model


def ids(events: Any) -> list[str]:
    return [event.id for event in events]


@given(STEPS)
def test_what_holds_is_what_the_model_kept(steps: list[Any]) -> None:
    model = grown(steps)
    assert ids(Paths(model.log).chosen()) == ids(on_path(model.log)) == model.held


@given(STEPS, st.integers(0, 30))
def test_the_end_of_a_log_tells_the_same_or_that_more_is_needed(steps: list[Any], start: int) -> None:
    model = grown(steps)
    start = min(start, len(model.log))
    end = model.log[start:]
    try:
        held = Paths(end, is_whole=start == 0).chosen()
    except EarlierNeededError:
        assert start > 0
        return
    known = {event.id for event in end}
    assert ids(held) == [each for each in model.held if each in known]


@given(STEPS, st.integers(0, 30))
def test_an_undo_leads_to_the_same_place_from_the_end_of_a_log(steps: list[Any], start: int) -> None:
    model = grown(steps)
    start = min(start, len(model.log))

    def undo(paths: Paths) -> object:
        try:
            return paths.before_last_question()
        except InvalidInput:
            return None

    try:
        assert undo(Paths(model.log[start:], is_whole=start == 0)) == undo(Paths(model.log))
    except EarlierNeededError:
        assert start > 0


@given(STEPS)
def test_totals_count_what_holds(steps: list[Any]) -> None:
    model = grown(steps)
    totals, of_path = SessionTotals(), SessionTotals()
    for event in model.log:
        totals.count(event)
    held = Paths(model.log).chosen()
    for event in held:
        of_path.count(event)
    assert tokens_of(model.log) - totals.tokens_off_path == tokens_of(held)
    assert (totals.messages, totals.user_messages, totals.ai_messages) == (
        of_path.messages,
        of_path.user_messages,
        of_path.ai_messages,
    )
    assert totals.choices == sum(choice_in(event) is not None for event in model.log)


def said(event_id: str, source: EventSource, **fields: Any) -> Event:
    return SessionEvent(id=event_id, message=event_id, source=source, **fields)


def test_an_answer_that_comes_late_stays_with_a_question_that_was_taken_back() -> None:
    log = [said("q1", EventSource.USER), said("q2", EventSource.USER)]
    found = Paths(log).before_last_question()
    log += [found[1].as_event(), said("q3", EventSource.USER)]
    log += [said("a2", EventSource.LLM, parent_event_id="q2")]
    log += [said("a3", EventSource.LLM, parent_event_id="q3")]
    assert ids(Paths(log).chosen()) == ["q1", "q3", "a3"]


def test_an_undo_keeps_the_late_answer_to_the_question_before() -> None:
    log = [said("q1", EventSource.USER), said("q2", EventSource.USER)]
    log += [said("a1", EventSource.LLM, parent_event_id="q1")]
    log += [said("a2", EventSource.LLM, parent_event_id="q2")]
    found = Paths(log).before_last_question()
    log.append(found[1].as_event())
    assert ids(Paths(log).chosen()) == ["q1", "a1"]


def test_a_result_stays_with_a_call_that_was_taken_back() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asking = SessionEvent[Any](
        id="a", message={"role": "assistant", "content": None, "tool_calls": [call]}, source=EventSource.LLM
    )
    result = SessionEvent[Any](
        id="r", message={"result": 1}, type=EventType.TOOL_CALL, metadata={"tool_call_id": "c1"}
    )
    log = [said("q", EventSource.USER), asking]
    found = Paths(log).before_last_question()
    assert Paths([*log, found[1].as_event(), said("q2", EventSource.USER), result]).off() == {"q", "a", "r"}
    retraction = Paths([*log, result]).without("a")
    assert retraction.retracted == ["a", "r"]


def test_a_choice_is_a_note_to_readers_that_know_none() -> None:
    event = Choice(moves=True, after=None, adds={"tokens": -3}).as_event()
    assert event.type == EventType.REFERENCE
    assert (event.token_usage, event.usage) == (None, None)
    assert choice_in(SessionEvent.model_validate_json(event.model_dump_json())) == choice_in(event)
    assert choice_in(SessionEvent(message={"path_choice": 1}, type=EventType.REFERENCE)) is None
    assert choice_in(SessionEvent(message={"path_choice": {}})) is None
