"""Tests of second thoughts on a store: exchanges are taken back, by many writers at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from ..exceptions import InvalidInput, SessionAlreadyExists, SessionNotFound
from ..providers.formats import Format
from ..session_manager import SessionManager
from ..stores.base import EventStore
from .base import PATIENCE, Contract, Stores, in_a_loop
from .checks import check_totals
from .readings import read_session

FORMATS: Sequence[Format | None] = (None, "openai", "openai-responses", "anthropic", "google", "bedrock")


def _manager(store: EventStore, session_id: str = "talk", *, infinite: bool = False) -> SessionManager:
    return SessionManager(session_id, store=store, infinite_context=infinite, max_turns_per_segment=4)


async def _talk(store: EventStore, exchanges: int, *, infinite: bool) -> SessionManager:
    manager = _manager(store, infinite=infinite)
    for number in range(exchanges):
        await manager.user_says(f"question-{number}?")
        await manager.ai_responds(f"answer-{number}.", model="gpt-4o")
    await manager.wait_for_summaries()
    return manager


async def _texts(manager: SessionManager) -> list[str]:
    return [row["content"] for row in await manager.get_conversation()]


async def _contexts(manager: SessionManager) -> list[Any]:
    """The next context in every format: whole and cut."""
    return [
        await manager.get_messages_for_llm(format=each, include_tools=True, max_tokens=most)
        for each in FORMATS
        for most in (None, 400)
    ]


def _same(one: Any, other: Any) -> bool:
    """Whether two contexts are sent as the same bytes."""
    return json.dumps(one) == json.dumps(other)


def _undo_in_a_loop(store: EventStore) -> str:
    """Take the last exchange back, in an event loop of this thread's own."""

    async def undo() -> str:
        async with asyncio.timeout(PATIENCE / 2):
            return await _manager(store).undo()

    return asyncio.run(undo())


class Rethinking(Contract):
    """Tests of second thoughts on a store."""

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_managers_that_undo_at_once_take_an_exchange_each(
        self, stores: Stores, *, infinite: bool
    ) -> None:
        first = await _talk(stores.open(), 7, infinite=infinite)
        spent = (await first.get_stats())["estimated_cost"]
        chain = await first.get_session_chain()
        managers = [_manager(stores.open(), chain[at % len(chain)]) for at in range(5)]
        undone = await asyncio.gather(*(manager.undo() for manager in managers))
        assert len(set(undone)) == 5
        left = ["question-0?", "answer-0.", "question-1?", "answer-1."]
        for manager in (*managers, _manager(stores.open())):
            assert await _texts(manager) == left
            stats = await manager.get_stats()
            figures = (stats["total_messages"], stats["llm_calls"], stats["estimated_cost"])
            assert figures == (4, 7, pytest.approx(spent))
        for session_id in chain:
            check_totals(await read_session(stores.open(), session_id))

    @in_a_loop
    async def test_threads_that_undo_at_once_take_an_exchange_each(self, stores: Stores) -> None:
        store = stores.open()
        first = await _talk(store, 6, infinite=False)
        undone = await asyncio.gather(*(asyncio.to_thread(_undo_in_a_loop, store) for _ in range(5)))
        assert len(set(undone)) == 5
        assert await _texts(first) == ["question-0?", "answer-0."]

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_what_was_taken_back_is_in_no_context(self, stores: Stores, *, infinite: bool) -> None:
        before: list[list[Any]] = []
        manager = _manager(stores.open(), infinite=infinite)
        await manager.update_system_prompt("Be brief.")
        for number in range(7):
            before.append(await _contexts(manager))
            await manager.user_says(f"question-{number}?")
            await manager.ai_responds(f"answer-{number}.", model="gpt-4o")
            await manager.wait_for_summaries()
        for number in reversed(range(7)):
            await manager.undo()
            told = await _contexts(_manager(stores.open()))
            assert not any(f"-{gone}" in repr(told) for gone in range(number, 7))
            if (
                not infinite or number % 2 or not number
            ):  # otherwise the earlier segment was live then, and has a summary now
                assert told == before[number]
        stats = await _manager(stores.open()).get_stats()
        assert (stats["total_messages"], stats["total_tokens"], stats["llm_calls"]) == (0, 0, 7)
        with pytest.raises(InvalidInput):
            await manager.undo()

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_a_message_that_is_retracted_is_in_no_context_and_summary(
        self, stores: Stores, *, infinite: bool
    ) -> None:
        manager = await _talk(stores.open(), 7, infinite=infinite)
        rows = await manager.get_conversation(with_ids=True)
        fresh = _manager(stores.open())
        for at in (3, 6):
            await fresh.retract(rows[at]["event_id"])
            with pytest.raises(InvalidInput):
                await fresh.retract(rows[at]["event_id"])
        for number in range(7, 11):
            await fresh.user_says(f"question-{number}?")
        await fresh.wait_for_summaries()
        for reader in (manager, fresh, _manager(stores.open())):
            told = repr([*await _contexts(reader), await _texts(reader)])
            assert "answer-1" not in told
            assert "question-3" not in told
            assert (await reader.get_stats())["total_messages"] == 16

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_switching_back_gives_equal_contexts(self, stores: Stores, *, infinite: bool) -> None:
        manager = await _talk(stores.open(), 7, infinite=infinite)
        rows = await manager.get_conversation(with_ids=True)
        for at in (1, 4, 11, 12):
            event_id, first = rows[at]["event_id"], await _contexts(manager)
            if at % 2:
                await manager.regenerate(event_id)
                await manager.ai_responds("variant-1.", model="gpt-4o")
            else:
                await manager.edit(event_id, "variant-1.")
            second = await _contexts(_manager(stores.open()))
            await manager.edit(event_id, "variant-2.")
            for number in range(3):
                await manager.user_says(f"gone on {number}")
            await manager.wait_for_summaries()
            variants = await _manager(stores.open()).variants(event_id)
            assert [row["is_chosen"] for row in variants] == [False, False, True]
            assert [row["content"] for row in variants[1:]] == ["variant-1.", "variant-2."]
            told = json.dumps([await _contexts(_manager(stores.open())), await _texts(manager)])
            assert "variant-1." not in told
            assert rows[at]["content"] not in told
            await _manager(stores.open()).choose(variants[1]["event_id"])
            assert _same(await _contexts(_manager(stores.open())), second)
            await manager.choose(event_id)
            assert _same(await _contexts(_manager(stores.open())), first)
            assert await _texts(manager) == [row["content"] for row in rows]
        assert (await manager.get_stats())["total_messages"] == 14
        for session_id in await manager.get_session_chain():
            check_totals(await read_session(stores.open(), session_id))

    @in_a_loop
    async def test_of_two_that_choose_at_once_one_holds_for_all(self, stores: Stores) -> None:
        manager = await _talk(stores.open(), 2, infinite=False)
        event_id = (await manager.get_conversation(with_ids=True))[-1]["event_id"]
        for text in ("variant-1.", "variant-2."):
            await manager.edit(event_id, text)
        variants = await manager.variants(event_id)
        chosen = [row["event_id"] for row in variants[:2]]
        await asyncio.gather(*(_manager(stores.open()).choose(each) for each in chosen))
        seen = [await _manager(stores.open()).variants(each) for each in chosen]
        assert seen[0] == seen[1]
        assert [row["is_chosen"] for row in seen[0]] in ([True, False, False], [False, True, False])

    @pytest.mark.parametrize("turns", [1, 2, 3])
    @in_a_loop
    async def test_a_question_is_asked_again_though_its_answer_began_a_segment(
        self, stores: Stores, turns: int
    ) -> None:
        store = stores.open()
        sm = SessionManager("talk", store=store, infinite_context=True, max_turns_per_segment=turns)
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        asking = {"role": "assistant", "content": None, "tool_calls": [call]}
        for number in range(2):
            await sm.user_says(f"question-{number}?")
            await sm.ai_responds(f"answer-{number}.", model="gpt-4o")
        await sm.user_says("last question?")
        for row in (asking, {"role": "tool", "tool_call_id": "c1", "content": "found"}):
            await sm.add_messages([row], model="gpt-4o")
        await sm.ai_responds("last answer.", model="gpt-4o")
        await sm.wait_for_summaries()
        rows = await sm.get_conversation(with_ids=True, include_tools=True)
        called, answered = [row["event_id"] for row in rows if row["role"] == "assistant"][-2:]
        for again, roles in ((answered, ["user", "assistant", "tool"]), (called, ["user"])):
            await sm.regenerate(again)
            other = SessionManager("talk", store=stores.open())
            for context in (
                await other.get_messages_for_llm(include_tools=True),
                await other.get_messages_for_llm(include_tools=True, max_tokens=400),
            ):
                assert [row["role"] for row in context][-len(roles) :] == roles
                assert context[-len(roles)]["content"].endswith("last question?")

    @in_a_loop
    async def test_a_choice_that_cannot_be_writes_nothing(self, stores: Stores) -> None:
        store = stores.open()
        manager = _manager(store)
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        await manager.add_messages(
            [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "1"},
                {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"},
            ]
        )
        await _manager(store, "other").user_says("two")
        elsewhere = (await _manager(store, "other").get_conversation(with_ids=True))[0]["event_id"]
        rows = await manager.get_conversation(with_ids=True, include_tools=True)
        ids = [row["event_id"] for row in rows]
        await manager.edit(ids[0], "other")
        before = await read_session(stores.open(), "talk")
        refused = [
            manager.edit(ids[2], "a result"),
            manager.regenerate(ids[0]),
            manager.regenerate(ids[2]),
            manager.choose(ids[4]),
            *(
                work
                for unknown in (elsewhere, "unknown", before.events[5].id)
                for work in (
                    manager.edit(unknown, "text"),
                    manager.regenerate(unknown),
                    manager.variants(unknown),
                    manager.choose(unknown),
                    manager.retract(unknown),
                )
            ),
            manager.retract(ids[4]),
        ]
        for work in refused:
            with pytest.raises(InvalidInput):
                await work
        assert (await read_session(stores.open(), "talk")).events == before.events

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_a_fork_goes_on_by_itself_and_survives_its_origin(
        self, stores: Stores, *, infinite: bool
    ) -> None:
        store = stores.open()
        manager = await _talk(store, 7, infinite=infinite)
        await manager.update_state(lambda state: state.update(n=1))
        await manager.update_system_prompt("Be brief.")
        rows = await manager.get_conversation(with_ids=True)
        await manager.retract(rows[2]["event_id"])
        end = await _contexts(manager)
        forks = [await manager.fork(session_id="end")]
        assert _same(await _contexts(forks[0]), end)
        forks += [await manager.fork(rows[at]["event_id"], f"at {at}") for at in (5, 8)]
        await manager.user_says("gone on")
        for fork, last in zip(forks, (13, 5, 8), strict=True):
            told = json.dumps(await _contexts(fork))
            assert rows[last]["content"] in told
            assert "gone on" not in told
            assert rows[2]["content"] not in told
            texts = [row["content"] for at, row in enumerate(rows) if at != 2 and at <= last]
            said = await _texts(fork)
            assert said == texts[-len(said) :]
            assert infinite or said == texts
            assert len(said) <= 4 or not infinite
            stats = await fork.get_stats()
            assert (stats["llm_calls"], stats["estimated_cost"], stats["total_messages"]) == (0, 0, len(said))
        chain = await manager.get_session_chain()
        await store.delete_conversation("talk")
        for session_id in chain:
            assert await store.get(session_id) is None
        fresh = [_manager(stores.open(), each.conversation_id) for each in forks]
        for fork, reader, last in zip(forks, fresh, (13, 5, 8), strict=True):
            assert _same(await _contexts(reader), await _contexts(fork))
            await reader.user_says("on and on")
            assert (await _texts(fork))[-1] == "on and on"
            await fork.undo()
            assert (await _texts(reader))[-1] == rows[last]["content"]
            session = await read_session(stores.open(), fork.session_id)
            origin = session.metadata.properties["forked_from"]
            expected = {"conversation_id": "talk", "event_id": rows[last]["event_id"]}
            assert origin | expected == origin
            assert origin["session_id"] in chain
            assert await reader.get_state() == {"n": 1}
            assert reader.system_prompt == "Be brief."

    @in_a_loop
    async def test_a_fork_that_cannot_be_writes_nothing(self, stores: Stores) -> None:
        store = stores.open()
        manager = await _talk(store, 3, infinite=True)
        rows = await manager.get_conversation(with_ids=True)
        undone = await manager.undo()
        before = await store.list_sessions()
        for event_id in (undone, "unknown", rows[-1]["event_id"]):
            with pytest.raises(InvalidInput):
                await manager.fork(event_id)
        with pytest.raises(SessionAlreadyExists):
            await manager.fork(rows[0]["event_id"], "talk")
        with pytest.raises(InvalidInput):
            await SessionManager(store=store).fork()
        assert await store.list_sessions() == before

    @in_a_loop
    async def test_a_conversation_begins_anew(self, stores: Stores) -> None:
        manager = await _talk(stores.open(), 5, infinite=True)
        await manager.clear()
        await manager.user_says("new")
        for reader in (manager, _manager(stores.open())):
            assert await reader.get_messages_for_llm() == [{"role": "user", "content": "new"}]
            assert await _texts(reader) == ["new"]
            stats = await reader.get_stats()
            assert (stats["total_messages"], stats["llm_calls"]) == (1, 5)

    @in_a_loop
    async def test_second_thoughts_about_nothing_write_nothing(self, stores: Stores) -> None:
        store = stores.open()
        with pytest.raises(SessionNotFound):
            await _manager(store).undo()
        with pytest.raises(InvalidInput):
            await SessionManager(store=store).undo()
        assert await store.list_sessions() == []
        manager = _manager(store)
        await manager.user_says("one")
        await _manager(store, "other").user_says("two")
        elsewhere = (await _manager(store, "other").get_conversation(with_ids=True))[0]["event_id"]
        for event_id in (elsewhere, "unknown"):
            with pytest.raises(InvalidInput):
                await manager.retract(event_id)
        assert len((await read_session(stores.open(), "talk")).events) == 1
