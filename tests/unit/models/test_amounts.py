"""Tests of token usages and bills that are made when somebody looks at them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import TypeAdapter

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.models import CallUsage, EventSource, EventType, SessionEvent, TokenUsage
from chuk_ai_session_manager.models.amounts import (
    BILLED,
    billed_in,
    counted_in,
    fields_of,
    put_billed,
    put_counted,
)
from chuk_ai_session_manager.models.session_event import new_event

COUNTED = (0, 7, 7, "gpt-4o-mini", 0.25, True)
BILL = ("gpt-4o-mini", "openai", 100, 7, 40, 0, 3, 0.25, True, "priced", 0.5, "tools_changed", 99, False)


def unseen() -> SessionEvent[Any]:
    """An answer whose counts and bill nobody has looked at."""
    event = new_event("Yes.", EventSource.LLM, EventType.MESSAGE, {"k": 1})
    put_counted(event, COUNTED)
    put_billed(event, BILL)
    return event


def is_unseen(event: SessionEvent[Any]) -> bool:
    return "token_usage" not in fields_of(event)


def made(event: SessionEvent[Any]) -> SessionEvent[Any]:
    """The same event as pydantic makes it."""
    return SessionEvent(
        id=event.id,
        message="Yes.",
        timestamp=event.timestamp,
        source=EventSource.LLM,
        metadata={"k": 1},
        token_usage=TokenUsage(
            completion_tokens=7, model="gpt-4o-mini", estimated_cost_usd=0.25, estimated=True
        ),
        usage=CallUsage(**dict(zip(BILLED, BILL, strict=True))),
    )


WAYS: list[Callable[[SessionEvent[Any]], object]] = [
    lambda event: event.model_dump(),
    lambda event: event.model_dump(mode="json", exclude_none=True),
    lambda event: event.model_dump_json(),
    lambda event: TypeAdapter(list[SessionEvent[Any]]).dump_json([event]),
    lambda event: Session(id="s", events=[event]).model_dump(include={"events"}),
    lambda event: pickle.loads(pickle.dumps(event)),  # noqa: S301
    copy.copy,
    copy.deepcopy,
    lambda event: event.model_copy(update={"message": "No."}),
    lambda event: event.model_copy(deep=True),
    lambda event: vars(event) | {},
    dict,
    repr,
    lambda event: (event.token_usage, event.usage),
    lambda event: SessionEvent.model_validate(event, from_attributes=True),
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_look_at_an_event_shows_its_counts_and_its_bill(
    way: Callable[[SessionEvent[Any]], object],
) -> None:
    event = unseen()
    assert is_unseen(event)
    assert way(event) == way(made(event))


def test_the_tuples_have_all_fields_that_plain_counts_and_bills_have() -> None:
    rare = {"details", "service_tier", "speed", "inference_geo", "iterations"}
    assert CallUsage.model_fields.keys() - set(BILLED) == rare
    assert len(BILLED) == len(BILL)
    assert len(TokenUsage.model_fields) == len(COUNTED)
    assert [*vars(made(unseen()).token_usage)] == [*TokenUsage.model_fields]


def test_an_event_is_equal_to_the_same_one_that_somebody_has_looked_at() -> None:
    event = unseen()
    other = made(event)
    assert event == other
    other.token_usage = None
    assert event != other


def test_the_records_are_made_once_and_keep_changes() -> None:
    event = unseen()
    usage = event.token_usage
    assert isinstance(usage, TokenUsage)
    assert isinstance(event.usage, CallUsage)
    usage.prompt_tokens = 5
    assert event.token_usage is usage
    assert event.usage is event.usage
    assert counted_in(event) == (5, *COUNTED[1:])
    assert billed_in(event) == BILL


def test_fields_can_be_set_and_removed_before_they_were_looked_at() -> None:
    event = unseen()
    event.usage = None
    assert event.usage is None
    assert billed_in(event) is None
    event.token_usage = TokenUsage(prompt_tokens=1)
    assert counted_in(event) == (1, 0, 1, "", None, False)
    for name in ("usage", "token_usage"):
        other = unseen()
        delattr(other, name)
        assert not hasattr(other, name)
    with pytest.raises(AttributeError):
        _ = event.tokens  # type: ignore[attr-defined]


def test_threads_that_look_at_the_same_time_see_the_same_records() -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            event = unseen()
            seen = list(pool.map(lambda _, event=event: (event.usage, event.token_usage), range(8)))
            assert len({id(usage) for usage, _ in seen}) == 1
            assert len({id(usage) for _, usage in seen}) == 1


async def test_recording_and_reading_messages_makes_no_records() -> None:
    sm = SessionManager()
    for _ in range(3):
        await sm.user_says("How are you?")
        await sm.ai_responds("Fine.", model="gpt-4o-mini", provider="openai")
    await sm.get_stats()
    await sm.get_messages_for_llm()
    session = sm._conversation.session
    assert session is not None
    assert all(map(is_unseen, session.events))
    usage = session.events[-1].usage
    assert usage is not None
    assert usage.cost_usd
    assert usage.output_tokens == session.events[-1].token_usage.total_tokens  # type: ignore[union-attr]
