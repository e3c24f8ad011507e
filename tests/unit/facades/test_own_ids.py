"""Ids and times that an application gives to what it records."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine
from places import Place, in_another_process, in_memory_too

from chuk_ai_session_manager import SessionManager, SessionNotFound, TokenLimitExceeded
from chuk_ai_session_manager.exceptions import EventConflict, InvalidInput
from chuk_ai_session_manager.stores import EventStore

everywhere = pytest.mark.parametrize("place", ["memory", "sqlite", "redis", "cluster"], indirect=True)

ROWS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What time is it?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "12:30"},
    {"role": "assistant", "content": "12:30"},
]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgoA" + "AAAA" * 500}}
Tell = Callable[[SessionManager], Awaitable[str]]


async def said(sm: SessionManager) -> list[Any]:
    return [row["content"] for row in await sm.get_conversation()]


async def tell(place: Place, session_id: str, text: str, event_id: str, **settings: Any) -> str:
    async with place.store() as store:
        return await SessionManager(session_id, store=store, **settings).user_says(text, event_id=event_id)


def open_again(sm: SessionManager, store: EventStore, **settings: Any) -> SessionManager:
    return SessionManager(sm.conversation_id, store=store, **settings)


@everywhere
class TestEventIds:
    async def test_the_same_again_is_one_event(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store)
            calls: list[Tell] = [
                lambda sm: sm.user_says("one", event_id="q", channel="web"),
                lambda sm: sm.user_says([{"type": "text", "text": "two"}, PICTURE], event_id="p"),
                lambda sm: sm.ai_responds("1", model="gpt-4o", event_id="a"),
                lambda sm: sm.tool_used("clock", {"zone": "UTC"}, (12, 30), event_id="t", tool_call_id="c"),
                lambda sm: sm.add_messages(ROWS[1:], event_id="list"),
            ]
            for call in calls:
                for manager in (sm, sm, open_again(sm, store)):
                    assert await call(manager) == "s"
            session = await store.get("s")
            assert session is not None
            ids = [event.id for event in session.events]
            assert ids == ["q", "p", "a", "t", "list#3", "list#2", "list#1", "list"]
            stats = await sm.get_stats()
            assert (stats["total_events"], stats["llm_calls"]) == (8, 3)
            rows = await sm.get_conversation(with_ids=True)
            assert rows[0]["event_id"] == "q"
            await sm.edit("q", "uno")
            assert await said(sm) == ["uno"]

    async def test_other_content_is_a_conflict(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store)
            await sm.user_says("one", event_id="q")
            await sm.ai_responds("1", model="gpt-4o", event_id="a")
            await sm.tool_used("clock", {}, "12:30", event_id="t")
            await sm.add_messages(ROWS[1:3], event_id="list")
            others: list[Tell] = [
                lambda sm: sm.user_says("two", event_id="q"),
                lambda sm: sm.user_says("one", event_id="q", channel="web"),
                lambda sm: sm.ai_responds("one", event_id="q"),
                lambda sm: sm.ai_responds("1", model="gpt-4o-mini", event_id="a"),
                lambda sm: sm.tool_used("clock", {}, "12:31", event_id="t"),
                lambda sm: sm.add_messages(ROWS[1:2], event_id="list"),
                lambda sm: sm.add_messages(ROWS[1:4], event_id="list"),
                lambda sm: sm.add_messages([*ROWS[1:2], *ROWS[1:3]], event_id="list"),
            ]
            for call in others:
                for manager in (sm, open_again(sm, store)):
                    with pytest.raises(EventConflict, match="stored already") as caught:
                        await call(manager)
                    assert "12:31" not in str(caught.value)
            assert (await sm.get_stats())["total_events"] == 5

    async def test_long_after_and_in_other_segments(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=2)
            for number in range(12):
                await sm.user_says(f"{number}", event_id=f"q{number}")
            chain = await sm.get_session_chain()
            assert len(chain) > 5
            for number in (0, 5, 11):
                again = SessionManager(chain[3], store=store)
                assert await again.user_says(f"{number}", event_id=f"q{number}") == chain[-1]
                with pytest.raises(EventConflict):
                    await again.user_says("another", event_id=f"q{number}")
            assert await said(sm) == [str(number) for number in range(12)]

    async def test_ids_are_of_one_conversation(self, place: Place) -> None:
        async with place.store() as store:
            for name in ("one", "two"):
                await SessionManager(name, store=store).user_says(name, event_id="q")
            fork = await SessionManager("one", store=store).fork()
            await fork.user_says("another", event_id="q")
            assert await said(fork) == ["one", "another"]
            assert await said(SessionManager("two", store=store)) == ["two"]

    async def test_many_at_once(self, place: Place) -> None:
        async with place.store() as store:
            settings: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 2}
            managers = [SessionManager("s", store=store, **settings) for _ in range(4)]
            await managers[0].user_says("first")
            for number in range(6):
                await asyncio.gather(
                    *(sm.user_says(f"{number}", event_id=f"q{number}") for sm in managers),
                    *(sm.user_says(f"{number} beside") for sm in managers[:1]),
                )
            rows = await said(managers[0])
            assert sorted(row for row in rows if row.isdigit()) == [str(number) for number in range(6)]
            assert len(rows) == 13

    async def test_a_list_that_was_cut_off_is_completed(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=2)
            await sm.add_messages(ROWS, event_id="list")
            session = await store.get((await sm.get_session_chain())[-1])
            assert session is not None
            whole = await said(sm)
            session.events.pop()  # as if the program had ended before it
            await store.save(session)
            again = open_again(sm, store)
            for _ in range(2):
                await again.add_messages(ROWS, event_id="list")
                assert await said(again) == whole
            assert again.system_prompt == "Be brief."

    async def test_words_that_were_redacted_are_no_conflict(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store)
            await sm.user_says("my secret", event_id="q")
            await sm.tool_used("clock", {}, "secret", event_id="t")
            for event_id in ("q", "t"):
                await sm.redact(event_id)
            await sm.user_says("my secret", event_id="q")
            await sm.tool_used("clock", {}, "secret", event_id="t")
            with pytest.raises(EventConflict):
                await sm.ai_responds("my secret", event_id="q")
            assert (await sm.get_stats())["total_events"] == 2
            store.redact = lambda text: text.replace("secret", "***")
            for _ in range(2):
                await sm.user_says("another secret", event_id="r")
            hiding = SessionManager("s", store=store, redact=lambda text: text.replace("words", "***"))
            for _ in range(2):
                await hiding.user_says("words", event_id="w")
            assert await said(sm) == ["[redacted]", "another ***", "***"]

    async def test_a_message_that_is_recorded_again_may_be_pinned(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager(
                "s", store=store, infinite_context=True, max_turns_per_segment=2, token_limit=60
            )
            calls: list[Callable[..., Awaitable[str]]] = [
                lambda **to: sm.user_says("one", event_id="q", **to),
                lambda **to: sm.ai_responds("1", model="gpt-4o", event_id="a", **to),
                lambda **to: sm.tool_used("clock", {}, "12:30", event_id="t", **to),
            ]
            for call in calls:
                await call()
            for number in range(5):
                await sm.user_says(f"{number}")
            for call in calls:
                for _ in range(2):
                    await call(pinned=True)
            rows = await sm.get_conversation(with_ids=True, include_tools=True)
            assert [row["event_id"] for row in rows if row.get("pinned")] == ["q", "a", "t"]
            assert [row["event_id"] for row in rows].count("q") == 1
            await sm.user_says("long " * 30, event_id="long")
            with pytest.raises(TokenLimitExceeded, match="unpin some"):
                await sm.user_says("long " * 30, event_id="long", pinned=True)
            await sm.undo()
            await sm.user_says("long " * 30, event_id="long", pinned=True)
            rows = await sm.get_conversation(with_ids=True, include_tools=True)
            assert [row["event_id"] for row in rows if row.get("pinned")] == ["q", "a", "t"]

    async def test_a_limit_does_not_refuse_what_is_there(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store, token_limit=12)
            text = "one two three four five"
            await sm.user_says(text, event_id="q")
            await sm.ai_responds(text)
            await sm.user_says(text, event_id="q")
            with pytest.raises(TokenLimitExceeded):
                await sm.user_says(text, event_id="r")
            assert await said(sm) == [text, text]


@pytest.mark.parametrize("place", ["sqlite", "redis"], indirect=True)
def test_another_process(place: Place) -> None:
    async def here() -> list[Any]:
        async with place.store() as store:
            return await said(SessionManager("s", store=store))

    settings = {"infinite_context": True, "max_turns_per_segment": 1}
    for text in ("one", "two", "three"):
        asyncio.run(tell(place, "s", text, f"{text}-id", **settings))
    in_another_process(tell, place, "s", "one", "one-id")
    with pytest.raises(EventConflict):
        in_another_process(tell, place, "s", "four", "two-id")
    assert asyncio.run(here()) == ["one", "two", "three"]


@pytest.mark.parametrize("event_id", ["", "a\nb", "x" * 256, 7])
async def test_an_id_that_is_none(event_id: Any) -> None:
    sm = SessionManager("s")
    calls: list[Tell] = [
        lambda sm: sm.user_says("one", event_id=event_id),
        lambda sm: sm.ai_responds("one", event_id=event_id),
        lambda sm: sm.tool_used("one", {}, "", event_id=event_id),
        lambda sm: sm.add_messages(ROWS, event_id=event_id),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match="an event id"):
            await call(sm)
    with pytest.raises(SessionNotFound):  # nothing was written
        await sm.get_session_chain()


LONG_AGO = datetime(2024, 1, 31, 12, 0, tzinfo=timezone(timedelta(hours=2)))


@in_memory_too
class TestTimestamps:
    async def test_the_time_is_kept_and_the_order_is_the_logs(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store)
            await sm.user_says("now")
            await sm.user_says("long ago", timestamp=LONG_AGO)
            await sm.ai_responds("earlier", model="gpt-4o", timestamp=LONG_AGO - timedelta(days=1))
            await sm.tool_used("clock", {}, "12:30", timestamp=LONG_AGO)
            await sm.add_messages(ROWS[1:3], timestamp=LONG_AGO + timedelta(days=9000))
            await sm.user_says("after")
        async with place.store() as store:
            again = SessionManager("s", store=store)
            rows = await again.get_conversation(with_ids=True, include_tools=True)
            assert [row["content"] for row in rows][:3] == ["now", "long ago", "earlier"]
            times = [row["timestamp"] for row in rows]
            assert times[1:4] == [
                "2024-01-31T10:00:00+00:00",
                "2024-01-30T10:00:00+00:00",
                "2024-01-31T10:00:00+00:00",
            ]
            assert times[4] == times[5] == times[6] == "2048-09-21T10:00:00+00:00"  # never back by itself
            assert rows[2]["metadata"]["timestamp"] == times[2]
            session = await store.get("s")
            assert session is not None
            assert all(event.timestamp.utcoffset() == timedelta(0) for event in session.events)

    async def test_a_conversation_of_long_ago_stands_in_lists_by_its_newest_message(
        self, place: Place
    ) -> None:
        async with place.store() as store:
            await SessionManager("new", store=store).user_says("one")
            await SessionManager("old", store=store).user_says("one", timestamp=LONG_AGO)
            if place.url != "memory://":
                assert list(await store.list_sessions()) == ["new", "old"]
            assert (await SessionManager("old", store=store).get_stats())["last_update"] is not None


class TestTimes:
    async def test_a_time_without_a_zone_is_refused(self) -> None:
        sm = SessionManager("s")
        naive: Any = datetime(2024, 1, 31)
        calls: list[Callable[[Any], Awaitable[str]]] = [
            lambda time: sm.user_says("one", timestamp=time),
            lambda time: sm.ai_responds("one", timestamp=time),
            lambda time: sm.tool_used("one", {}, "", timestamp=time),
            lambda time: sm.add_messages(ROWS, timestamp=time),
        ]
        for call in calls:
            for time, said_why in (
                (naive, "time zone"),
                (naive.date(), "datetime"),
                (1700000000, "datetime"),
            ):
                with pytest.raises(InvalidInput, match=said_why):
                    await call(time)

    async def test_a_text_is_metadata_as_it_was(self) -> None:
        sm = SessionManager("s")
        await sm.ai_responds("one", timestamp="yesterday")
        await sm.user_says("two", timestamp="today")
        rows = await sm.get_conversation(with_ids=True)
        assert [row["metadata"]["timestamp"] for row in rows] == ["yesterday", "today"]

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
    async def test_all_times_are_utc(self, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", zone)
        with time_machine.travel(datetime(2026, 3, 1, 12, tzinfo=UTC), tick=False):
            sm = SessionManager("s")
            await sm.user_says("one")
            await sm.ai_responds("1")
            await sm.add_messages(ROWS)
            rows = await sm.get_conversation(with_ids=True)
            stats = await sm.get_stats()
        times = [row["timestamp"] for row in rows] + [stats["created_at"], stats["last_update"]]
        times += [row["metadata"]["timestamp"] for row in rows if row["role"] == "assistant"]
        assert set(times) == {"2026-03-01T12:00:00+00:00"}

    async def test_a_call_of_long_ago_costs_what_it_cost_then(self) -> None:
        sm = SessionManager("s")
        usage = {"input_tokens": 1_000_000, "output_tokens": 0}
        for time in (datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 6, 20, tzinfo=UTC)):
            await sm.ai_responds("one", model="o3", provider="openai", usage=usage, timestamp=time)
        session = await SessionManager("s")._conversation.current()
        costs = [event.usage.cost_usd for event in session[1].events if event.usage is not None]
        assert costs == [10.0, 2.0]
