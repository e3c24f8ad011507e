"""What the tests of the contract check in several places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ..models import Session
from ..stores.base import AnySession, EventStore
from .readings import messages_in


async def check_is_unknown(store: EventStore, session_id: str) -> None:
    """A session is not there, whatever is asked about it."""
    assert await store.get(session_id) is None
    assert await store.head(session_id) is None
    assert await store.time_to_live(session_id) is None
    assert await store.extend_session_ttl(session_id, 1) is False
    assert await store.delete_conversation(session_id) == 0
    assert await store.segment_ids(session_id) == []
    await store.delete(session_id)


def check_totals(session: AnySession) -> None:
    """What a session says that it adds up to is what its events add up to."""
    anew: AnySession = Session()
    anew.record(*session.events)
    assert session.totals == anew.totals
    assert session.newest_event_time == anew.newest_event_time
    assert _summed(session) == pytest.approx(_summed(anew))


def _summed(session: AnySession) -> dict[str, Any]:
    """The token summary, flat, as approximate comparison needs it."""
    summary = session.token_summary.model_dump()
    by_model = summary.pop("usage_by_model")
    return summary | {f"{model} {name}": v for model, usage in by_model.items() for name, v in usage.items()}


def check_all_in_order(session: AnySession, names: Sequence[str], count: int) -> None:
    """Check that each writer's events are there once, in the order of writing, and that the totals agree."""
    assert len({event.id for event in session.events}) == len(session.events)
    check_each_in_order(messages_in(session), names, count)
    check_totals(session)


def check_each_in_order(said: Sequence[str], names: Sequence[str], count: int) -> None:
    assert len(said) == len(names) * count
    for name in names:
        assert [text for text in said if text.rpartition(" ")[0] == name] == [
            f"{name} {number}" for number in range(count)
        ]
