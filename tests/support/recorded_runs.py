"""Runs of agents that are recorded in a store, as another manager reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from places import Place

from chuk_ai_session_manager import SessionManager, track_llm_call


async def recorded_run(
    place: Place, ask: Callable[[Any], Any]
) -> tuple[list[dict[str, Any]], tuple[int, int, int]]:
    """The messages of a run that answers "At noon."; and its calls, input tokens and output tokens."""
    sm = SessionManager(store=place.store())
    said, session_id = await track_llm_call("When is high water?", ask, session_manager=sm)
    assert said == "At noon."
    elsewhere = SessionManager(session_id, store=place.store())
    rows = await elsewhere.get_messages_for_llm(include_tools=True)
    assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
    stats = await elsewhere.get_stats()
    return rows, (stats["llm_calls"], stats["input_tokens"], stats["output_tokens"])
