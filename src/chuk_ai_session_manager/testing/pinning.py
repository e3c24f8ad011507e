"""Tests of a store with pinned messages: every context has them, whatever happened since."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ..api.transfer import export_conversation, import_sessions
from ..exceptions import InvalidInput, TokenLimitExceeded
from ..providers.formats import Format
from ..session_manager import SessionManager
from ..stores.base import EventStore
from .base import Contract, Stores, in_a_loop

FORMATS: Sequence[Format | None] = (None, "openai", "openai-responses", "anthropic", "google", "bedrock")
_RULE = "Never fly on Mondays."


def _manager(store: EventStore, *, infinite: bool = True, **options: Any) -> SessionManager:
    return SessionManager(
        "talk", "Be brief.", store=store, infinite_context=infinite, max_turns_per_segment=6, **options
    )


async def _exchanges(manager: SessionManager, count: int) -> None:
    for number in range(count):
        await manager.user_says(f"question-{number}? " + "word " * 10)
        await manager.ai_responds(f"answer-{number}. " + "word " * 10, model="gpt-4o")
    await manager.wait_for_summaries()


async def _pinned_in(manager: SessionManager, text: str = _RULE) -> list[int]:
    """How often a text occurs in each context: whole and cut, in every format."""
    get: Any = manager.get_messages_for_llm
    options: list[dict[str, Any]] = [
        {"include_tools": True, "max_tokens": most, "steady": steady}
        for most, steady in ((None, True), (400, True), (400, False))
    ]
    contexts = [await get(format=each, **option) for each in FORMATS for option in options]
    return [_without_summary(context).count(text) for context in contexts]


def _without_summary(context: Any) -> str:
    """A context as text, without the summary, which mentions pinned messages like all others."""
    before, opening, rest = repr(context).partition("<earlier_conversation>")
    return before + (rest.partition("</earlier_conversation>")[2] if opening else "")


class Pinning(Contract):
    """Tests of a store with pinned messages."""

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_a_pinned_message_is_in_every_context_once(self, stores: Stores, *, infinite: bool) -> None:
        manager = _manager(stores.open(), infinite=infinite)
        await manager.user_says("hello")
        await manager.ai_responds("hello")
        await manager.user_says(_RULE, pinned=True)
        for _ in range(4):
            await _exchanges(manager, 3)
            other = _manager(stores.open(), infinite=infinite)
            assert set(await _pinned_in(other)) == {1}
        rows = await other.get_conversation(with_ids=True)
        pinned = [row for row in rows if row.get("pinned")]
        assert [row["content"] for row in pinned] == [_RULE]
        await other.unpin(pinned[0]["event_id"])
        assert 0 in await _pinned_in(_manager(stores.open(), infinite=infinite))

    @in_a_loop
    async def test_a_result_is_pinned_with_its_call(self, stores: Stores) -> None:
        manager = _manager(stores.open())
        await manager.user_says("Look.")
        calls = [
            {"id": each, "type": "function", "function": {"name": "look", "arguments": "{}"}}
            for each in ("call_1", "call_2")
        ]
        await manager.add_messages(
            [
                {"role": "assistant", "content": None, "tool_calls": calls},
                *({"role": "tool", "tool_call_id": each["id"], "content": _RULE} for each in calls),
            ]
        )
        await manager.ai_responds("Done.", model="gpt-4o")
        rows = await manager.get_conversation(with_ids=True, include_tools=True)
        await manager.pin(next(row["event_id"] for row in rows if row["role"] == "tool"))
        await _exchanges(manager, 12)
        reader = _manager(stores.open())
        assert set(await _pinned_in(reader)) == {2}
        context: Any = await reader.get_messages_for_llm(include_tools=True, max_tokens=400)
        at = next(at for at, row in enumerate(context) if row.get("tool_calls"))
        assert [row["role"] for row in context[at : at + 3]] == ["assistant", "tool", "tool"]
        with pytest.raises(InvalidInput):
            await manager.pin("nowhere")

    @in_a_loop
    async def test_pins_go_over_to_forks_exports_and_imports(self, stores: Stores) -> None:
        store = stores.open()
        manager = _manager(store)
        await manager.user_says(_RULE, pinned=True)
        await manager.ai_responds("Noted.", model="gpt-4o")
        await _exchanges(manager, 9)
        lines = [line async for line in export_conversation(manager.session_id, store)]
        fork = await manager.fork(session_id="fork")
        await store.delete_conversation("talk")
        await _exchanges(fork, 5)
        assert set(await _pinned_in(SessionManager("fork", store=stores.open()))) == {1}
        await store.delete_conversation("fork")
        await import_sessions(lines, store)
        assert set(await _pinned_in(_manager(stores.open()))) == {1}

    @in_a_loop
    async def test_what_does_not_hold_any_more_is_in_no_context(self, stores: Stores) -> None:
        manager = _manager(stores.open())
        await manager.user_says(_RULE, pinned=True)
        await manager.ai_responds("Noted.", model="gpt-4o")
        await _exchanges(manager, 9)
        rows = await manager.get_conversation(with_ids=True)
        await manager.retract(rows[0]["event_id"])
        for reader in (manager, _manager(stores.open())):
            assert set(await _pinned_in(reader)) == {0}
        with pytest.raises(InvalidInput):
            await manager.pin(rows[0]["event_id"])

    @in_a_loop
    async def test_managers_that_pin_at_once_lose_no_pin(self, stores: Stores) -> None:
        manager = _manager(stores.open())
        await _exchanges(manager, 8)
        rows = await manager.get_conversation(with_ids=True)
        others = [_manager(stores.open()) for _ in range(4)]
        await asyncio.gather(
            *(other.pin(rows[at]["event_id"]) for at, other in enumerate(others)),
            others[0].user_says(_RULE, pinned=True),
        )
        pinned = [row for row in await manager.get_conversation(with_ids=True) if row.get("pinned")]
        assert len(pinned) == 5

    @in_a_loop
    async def test_pins_beyond_half_of_a_limit_are_refused(self, stores: Stores) -> None:
        manager = _manager(stores.open(), token_limit=100)
        with pytest.raises(TokenLimitExceeded, match="60 tokens, more than half of the limit of 100"):
            await manager.user_says("word " * 59, pinned=True)
        await manager.user_says("word " * 40, pinned=True)
        with pytest.raises(TokenLimitExceeded, match="more than half") as refused:
            await manager.ai_responds("word " * 20, model="gpt-4o", pinned=True)
        assert (refused.value.limit, refused.value.actual) == (50, 62)
        rows = await manager.get_conversation(with_ids=True)
        assert [row.get("pinned") for row in rows] == [True, None]
        get: Any = manager.get_messages_for_llm
        with pytest.raises(TokenLimitExceeded, match="more than half of the limit of 60"):
            await get(max_tokens=60)

    @pytest.mark.parametrize("infinite", [False, True])
    @in_a_loop
    async def test_what_replaces_a_pinned_message_is_pinned(self, stores: Stores, *, infinite: bool) -> None:
        manager = _manager(stores.open(), infinite=infinite)
        await _exchanges(manager, 2)
        await manager.user_says(_RULE, pinned=True)
        await manager.ai_responds("I see.", pinned=True)
        rule, answer = (
            row["event_id"] for row in await manager.get_conversation(with_ids=True) if "pinned" in row
        )
        other = _manager(stores.open(), infinite=infinite)
        await other.edit(rule, "Never fly on Sundays.")
        await other.ai_responds("I do.", model="gpt-4o")
        await _exchanges(other, 6)
        reader = _manager(stores.open(), infinite=infinite)
        assert set(await _pinned_in(reader, "Never fly on Sundays.")) == {1}
        assert set(await _pinned_in(reader)) == {0}
        await other.choose(rule)
        await _exchanges(other, 6)
        reader = _manager(stores.open(), infinite=infinite)
        assert set(await _pinned_in(reader)) == {1}
        assert set(await _pinned_in(reader, "Never fly on Sundays.")) == {0}
        await other.regenerate(answer)  # a model's new answer is another one: it is not pinned
        await other.ai_responds("As you like.", model="gpt-4o")
        rows = await other.get_conversation(with_ids=True)
        assert [row["content"] for row in rows if "pinned" in row] == [_RULE]

    @in_a_loop
    async def test_pins_of_variants_count_once(self, stores: Stores) -> None:
        manager = _manager(stores.open(), token_limit=1_000)
        await manager.user_says("word " * 300, pinned=True)
        ((first),) = [row["event_id"] for row in await manager.get_conversation(with_ids=True)]
        second = await manager.edit(first, "other " * 300)
        await manager.edit(second, "third " * 300)
        assert [row["pinned"] for row in await manager.get_conversation(with_ids=True)] == [True]
        with pytest.raises(TokenLimitExceeded):
            await manager.edit(second, "long " * 600)
        assert "third" in (await manager.get_conversation())[-1]["content"]
