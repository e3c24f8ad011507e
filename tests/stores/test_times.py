"""Times in a conversation never go backwards; lists go by the newest message, after an import too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from places import Place, in_memory_too, on_each

from chuk_ai_session_manager import Session, SessionEvent, SessionManager


@in_memory_too
async def test_times_do_not_go_back_with_the_clock(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    async with place.store() as store:
        sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=3)
        for hours in (0, -1, 1, -5, 0, 2, -3):
            moment = now + timedelta(hours=hours)
            monkeypatch.setitem(
                SessionEvent.model_fields, "timestamp", SessionEvent.model_fields["timestamp"]
            )
            with monkeypatch.context() as patch:
                patch.setattr(SessionEvent.model_fields["timestamp"], "default_factory", lambda at=moment: at)
                SessionEvent.model_rebuild(force=True)
                await sm.user_says(f"{hours}?")
            SessionEvent.model_rebuild(force=True)
    async with place.store() as store:
        rows = await SessionManager("s", store=store).get_conversation()
        times = [datetime.fromisoformat(row["timestamp"]) for row in rows]
        assert times == sorted(times)
        assert times[0] == now
        assert times[-1] == now + timedelta(hours=2)


@on_each
async def test_what_is_imported_stands_where_its_messages_do(place: Place) -> None:
    async with place.store() as store:
        await SessionManager("today", store=store).user_says("hello")
        last_year = datetime.now(UTC) - timedelta(days=365)
        events: list[SessionEvent[Any]] = [SessionEvent(message="old", timestamp=last_year)]
        await store.create(Session(id="imported", events=events))
        assert await store.list_sessions() == ["today", "imported"]
        await SessionManager("imported", store=store).user_says("again")
        assert await store.list_sessions() == ["imported", "today"]
