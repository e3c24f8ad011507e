"""What a prompt says of the sessions above its own."""

from __future__ import annotations

from typing import Any

import pytest
from prompt_rows import AnyEvent, AnySession, answer, row, session_with, user
from told_apart import apart

from chuk_ai_session_manager import session_prompt_builder, session_storage
from chuk_ai_session_manager.exceptions import StorageError
from chuk_ai_session_manager.models import EventType, Session, SessionEvent
from chuk_ai_session_manager.session_prompt_builder import (
    PromptStrategy,
    _build_hierarchical_prompt,
    _build_minimal_prompt,
    build_prompt_from_session,
)
from chuk_ai_session_manager.stores import MemoryStore

LEGACY = [strategy for strategy in PromptStrategy if strategy is not PromptStrategy.CHAT]


def summary(message: Any) -> AnyEvent:
    return SessionEvent(message=message, type=EventType.SUMMARY)


# -- the ancestors' context ----------------------------------------------------------------------


async def a_family(store: MemoryStore) -> tuple[AnySession, AnySession, AnySession]:
    grandparent: AnySession = await Session.create(store=store)
    parent: AnySession = await Session.create(parent_id=grandparent.id, store=store)
    grandchild: AnySession = await Session.create(parent_id=parent.id, store=store)
    for event in summary("outdated"), summary({"note": "They met."}):
        await grandparent.add_event_and_save(event)
    for event in summary({"content": "They talked."}), user("not a summary"):
        await parent.add_event_and_save(event)
    for event in user("q"), answer("a"):
        await grandchild.add_event_and_save(event)
    return grandparent, parent, grandchild


CONTEXT = row("system", "Context from previous conversation: They met. They talked.")


class TestParentContext:
    @pytest.mark.parametrize("strategy", LEGACY)
    async def test_is_in_front_for_every_strategy(self, strategy: PromptStrategy) -> None:
        *_, session = await a_family(MemoryStore())
        without = await build_prompt_from_session(session, strategy)
        prompt = await build_prompt_from_session(session, strategy, include_parent_context=True)
        assert CONTEXT not in without
        assert prompt == [CONTEXT, *without]

    async def test_begins_the_first_user_row_of_a_chat(self) -> None:
        *_, session = await a_family(MemoryStore())
        session.metadata.properties["system_prompt"] = "Be kind."
        prompt = await build_prompt_from_session(session, "chat", include_parent_context=True)
        told = row("earlier", "They met. They talked.")
        assert apart(prompt) == [row("system", "Be kind."), told, row("user", "q"), row("assistant", "a")]
        asked = await build_prompt_from_session(
            session, "chat", include_parent_context=True, current_query="q", max_history=1, max_tokens=60
        )
        assert apart(asked) == [row("system", "Be kind."), told, row("assistant", "a"), row("user", "q")]

    async def test_the_private_builder_includes_it_by_default(self) -> None:
        *_, session = await a_family(MemoryStore())
        minimal = await _build_minimal_prompt(session)
        assert await _build_hierarchical_prompt(session) == [CONTEXT, *minimal]
        assert await _build_hierarchical_prompt(session, include_parent_context=False) == minimal

    async def test_a_query_to_a_new_child_has_it(self) -> None:
        store = MemoryStore()
        *_, session = await a_family(store)
        session.events.clear()
        prompt = await build_prompt_from_session(session, include_parent_context=True, current_query="q")
        assert prompt == [CONTEXT, row("user", "q")]

    async def test_no_ancestors_no_row(self) -> None:
        session = session_with(user("q"))
        assert await build_prompt_from_session(session, include_parent_context=True) == [row("user", "q")]

    async def test_ancestors_without_summary_no_row(self) -> None:
        store = MemoryStore()
        parent: AnySession = await Session.create(store=store)
        session: AnySession = await Session.create(parent_id=parent.id, store=store)
        await session.add_event_and_save(user("q"))
        assert await build_prompt_from_session(session, include_parent_context=True) == [row("user", "q")]

    async def test_a_session_of_no_store_asks_the_default_one(self) -> None:
        backend = session_storage.get_backend()
        parent = session_with(summary("They met."))
        await backend.save(parent)
        session = session_with(user("q"), parent_id=parent.id)
        prompt = await build_prompt_from_session(session, include_parent_context=True)
        assert prompt[0] == row("system", "Context from previous conversation: They met.")

    @pytest.mark.parametrize("swapped", ["get_backend", "ChukSessionsStore"])
    async def test_the_names_here_can_be_swapped(self, swapped: str, monkeypatch: pytest.MonkeyPatch) -> None:
        parent = session_with(summary("They met."))
        store = OnlyGet(parent)
        monkeypatch.setattr(session_prompt_builder, swapped, lambda *_: store)
        session = session_with(user("q"), parent_id=parent.id)
        prompt = await build_prompt_from_session(session, include_parent_context=True)
        assert prompt[0] == row("system", "Context from previous conversation: They met.")

    @pytest.mark.parametrize("bound", [True, False])
    async def test_a_circle_of_parents_ends(self, bound: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        session = session_with(user("q"), id="a", parent_id="b")
        other = session_with(summary("They met."), id="b", parent_id="a")
        store = OnlyGet(session, other)
        if bound:
            memory = MemoryStore()
            await memory.save(session)
            await memory.save(other)
        else:
            monkeypatch.setattr(session_prompt_builder, "get_backend", lambda: store)
        prompt = await build_prompt_from_session(session, include_parent_context=True)
        assert prompt[0] == row("system", "Context from previous conversation: They met.")

    @pytest.mark.parametrize("bound", [True, False])
    async def test_an_outage_is_not_an_absent_parent(
        self, bound: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        session = session_with(user("q"), parent_id="p")
        store = Down()
        if bound:
            session.bind(store)
        else:
            monkeypatch.setattr(session_prompt_builder, "get_backend", lambda: store)
        with pytest.raises(StorageError):
            await build_prompt_from_session(session, include_parent_context=True)
        assert await build_prompt_from_session(session) == [row("user", "q")]


class OnlyGet:
    """The least of a store that an application may put in place."""

    def __init__(self, *sessions: AnySession) -> None:
        self.sessions = {session.id: session for session in sessions}

    async def get(self, session_id: str) -> AnySession | None:
        return self.sessions.get(session_id)


class Down(MemoryStore):
    async def get(self, session_id: str) -> AnySession | None:
        raise StorageError("down")
