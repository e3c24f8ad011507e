"""Tests of a store under `SessionManager`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ..exceptions import EventConflict, SessionNotFound
from ..models import EventType
from ..session_manager import SessionManager
from ..stores.base import AnyEvent, AnySession
from .base import Contract, Stores, in_a_loop
from .checks import check_each_in_order, check_totals
from .readings import messages_in, read_session


class Managers(Contract):
    """Tests of a store under `SessionManager`."""

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_a_manager_goes_on_where_another_was(self, stores: Stores, *, infinite: bool) -> None:
        def manager(**arguments: Any) -> SessionManager:
            return SessionManager(
                "talk", store=stores.open(), infinite_context=infinite, max_turns_per_segment=3, **arguments
            )

        first = manager(system_prompt="Be brief", user_id="ann", metadata={"topic": "stores"})
        for number in range(3):
            await first.user_says(f"Question {number}?", number=number)
            usage = {"prompt_tokens": 10, "completion_tokens": 2}
            await first.ai_responds("Answer.", model="gpt-4o", provider="openai", usage=usage)
            await first.tool_used("clock", {"zone": "UTC"}, "12:00", tool_call_id=f"call {number}")
        fresh = manager(create=False)
        assert await fresh.get_stats() == await first.get_stats()
        assert (await fresh.get_stats())["input_tokens"] == 30
        assert await fresh.get_conversation() == await first.get_conversation()
        for include_tools in (False, True):
            messages = await fresh.get_messages_for_llm(include_tools=include_tools)
            assert messages == await first.get_messages_for_llm(include_tools=include_tools)
        await fresh.user_says("And on.")
        assert (await first.get_stats())["total_messages"] == 7

    @in_a_loop
    async def test_state_goes_over_roll_overs_and_is_merged_by_key(self, stores: Stores) -> None:
        store = stores.open()
        first = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=2)
        for number in range(5):
            await first.update_state(lambda state, key=f"key {number}": state.update({key: 1}))  # type: ignore[misc]
            await first.user_says(f"{number}?")
        counters = [SessionManager(each, store=stores.open()) for each in await first.get_session_chain()]
        await asyncio.gather(
            *(sm.update_state(lambda state: state.update(n=state.get("n", 0) + 1)) for sm in counters * 3)
        )
        again = stores.open()
        for session_id in await first.get_session_chain():
            state = await SessionManager(session_id, store=again).get_state()
            assert state == {"n": 9} | {f"key {number}": 1 for number in range(5)}

    @in_a_loop
    async def test_a_retry_with_the_application_s_id_is_one_event(self, stores: Stores) -> None:
        settings: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 2}
        managers = [SessionManager("s", store=stores.open(), **settings) for _ in range(3)]
        for number in range(5):
            await asyncio.gather(
                *(sm.user_says(f"{number}?", event_id=f"question {number}") for sm in managers)
            )
            await managers[0].ai_responds(f"{number}.", event_id=f"answer {number}")
        again = SessionManager("s", store=stores.open())
        await again.user_says("0?", event_id="question 0")
        await again.ai_responds("4.", event_id="answer 4")
        for event_id in ("question 0", "question 4"):
            with pytest.raises(EventConflict):
                await again.user_says("another", event_id=event_id)
        rows = await again.get_conversation(with_ids=True)
        told = [("question", "?"), ("answer", ".")]
        assert [(row["event_id"], row["content"]) for row in rows] == [
            (f"{kind} {number}", f"{number}{mark}") for number in range(5) for kind, mark in told
        ]

    @in_a_loop
    async def test_a_time_of_the_application_stays_and_the_order_is_the_log_s(self, stores: Stores) -> None:
        sm = SessionManager("s", store=stores.open())
        times = [datetime(2024, 5, day, tzinfo=UTC) for day in (3, 1, 2)]
        for time in times:
            await sm.user_says(time.isoformat(), timestamp=time)
        await sm.user_says("now")
        rows = await SessionManager("s", store=stores.open()).get_conversation()
        assert [row["timestamp"] for row in rows[:3]] == [row["content"] for row in rows[:3]]
        assert datetime.fromisoformat(rows[3]["timestamp"]) > max(times)

    @in_a_loop
    async def test_another_user_s_session_is_not_found(self, stores: Stores) -> None:
        store = stores.open()
        await SessionManager("s", store=store, user_id="ada").user_says("mine")
        stranger = SessionManager("s", store=stores.open(), user_id="bob")
        for use in (stranger.user_says("mine too"), stranger.get_conversation(), stranger.get_state()):
            with pytest.raises(SessionNotFound):
                await use
        await SessionManager("free", store=store).user_says("anybody's")
        await SessionManager("free", store=store).claim("ada")
        mine = SessionManager("free", store=stores.open(), user_id="ada")
        assert [row["content"] for row in await mine.get_conversation()] == ["anybody's"]
        assert len((await read_session(stores.open(), "s")).events) == 1

    @pytest.mark.parametrize("said_before_each_try", [(1, 1), (2,), (1, 1, 1, 1), (4,)])
    @in_a_loop
    async def test_no_message_goes_to_a_segment_that_was_closed_between_two_tries(
        self, stores: Stores, said_before_each_try: Sequence[int]
    ) -> None:
        store = stores.open()
        was_open = SessionManager("talk", store=store)
        await was_open.user_says("first")
        elsewhere = SessionManager(
            "talk", store=stores.open(), infinite_context=True, max_turns_per_segment=2
        )
        tries, said = list(said_before_each_try), ["first"]

        def after_others(append: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
            async def appended(session: AnySession, events: Sequence[AnyEvent], **options: bool) -> bool:
                if events[0].message == "mine" and tries:
                    for _ in range(tries.pop(0)):
                        said.append(f"beside {len(said)}")
                        await elsewhere.user_says(said[-1])
                return await append(session, events, **options)

            return appended

        store.append = after_others(store.append)  # type: ignore[method-assign,assignment]
        store.append_while_live = after_others(store.append_while_live)  # type: ignore[method-assign,assignment]
        await was_open.user_says("mine")
        said.append("mine")
        rows = await SessionManager("talk", store=stores.open()).get_conversation()
        assert [row["content"] for row in rows] == said
        segments = [await read_session(stores.open(), each) for each in await elsewhere.get_session_chain()]
        assert [("mine" in messages_in(each)) for each in segments] == [False] * (len(segments) - 1) + [True]

    @pytest.mark.parametrize("infinite_context", [False, True])
    @in_a_loop
    async def test_fifty_managers_write_to_one_conversation(
        self, stores: Stores, infinite_context: bool
    ) -> None:
        store, names = stores.open(), [str(number) for number in range(50)]

        async def say(name: str) -> None:
            manager = SessionManager("talk", store=store, infinite_context=infinite_context)
            for number in range(6):
                await manager.user_says(f"{name} {number}")

        await asyncio.gather(*map(say, names))
        fresh = SessionManager("talk", store=stores.open())
        check_each_in_order([row["content"] for row in await fresh.get_conversation()], names, 6)

    @in_a_loop
    async def test_managers_that_fill_a_segment_together_open_one_next(self, stores: Stores) -> None:
        store = stores.open()
        managers = [
            SessionManager("talk", store=stores.open(), infinite_context=True, max_turns_per_segment=4)
            for _ in range(4)
        ]
        names = [str(number) for number in range(len(managers))]
        await asyncio.gather(
            *(
                manager.user_says(f"{name} {number}")
                for name, manager in zip(names, managers, strict=True)
                for number in range(10)
            )
        )
        segments = [await read_session(store, each) for each in await store.list_sessions()]
        assert Counter(len(segment.child_ids) for segment in segments) == {1: len(segments) - 1, 0: 1}
        for segment in segments:
            assert sum(event.type == EventType.SUMMARY for event in segment.events) <= 1
            check_totals(segment)
        fresh = SessionManager("talk", store=stores.open(), infinite_context=True, max_turns_per_segment=4)
        check_each_in_order([row["content"] for row in await fresh.get_conversation()], names, 10)
