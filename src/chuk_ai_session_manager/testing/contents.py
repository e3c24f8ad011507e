"""Tests that contents come back exactly, or are refused; and that secrets are not shown."""

from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest

from ..exceptions import InvalidInput
from ..models import CallUsage, Session, TokenUsage
from .base import Contract, Stores, in_a_loop
from .checks import check_totals
from .hostile import ODD_TEXTS, odd_in, odd_values, write_odd
from .readings import messages_in, plain_contents, read_session
from .samples import user_message


class Contents(Contract):
    """Tests that contents come back exactly, or are refused; and that secrets are not shown."""

    @in_a_loop
    async def test_any_text_comes_back_exactly(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        for text in ODD_TEXTS:
            usage = TokenUsage(prompt_tokens=1, model=text, estimated_cost_usd=0.5)
            named = {"id": f"id {text}", "task_id": text, "parent_event_id": text, "token_usage": usage}
            row = {"role": "user", "content": text, text: [text]}
            await session.add_event_and_save(user_message(row, metadata={text: text}, **named))
        texts = {text: [text] for text in ODD_TEXTS}
        session.state, session.metadata.properties, session.task_ids = texts, texts, list(ODD_TEXTS)
        await stores.open().save(session)
        read = await read_session(stores.open(), "s")
        assert plain_contents(read) == plain_contents(session)
        check_totals(read)

    @pytest.mark.parametrize("field", ["message", "metadata", "state", "properties", "runs"])
    @in_a_loop
    async def test_what_is_not_json_is_refused_or_comes_back(self, stores: Stores, field: str) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[user_message("first")], state={"phase": 1}, store=store)
        for value in odd_values():
            before = plain_contents(await read_session(other, "s"))
            try:
                await write_odd(store, await read_session(store, "s"), field, value)
            except InvalidInput:
                assert plain_contents(await read_session(other, "s")) == before
            else:
                assert odd_in(await read_session(other, "s"), field) == repr(value)

    @in_a_loop
    async def test_a_new_session_that_is_not_json_is_refused_or_comes_back(self, stores: Stores) -> None:
        store = stores.open()
        for number, value in enumerate(odd_values()):
            try:
                await Session.create(session_id=f"s{number}", state={"odd": value}, store=store)
            except InvalidInput:
                assert await store.get(f"s{number}") is None
            else:
                assert repr((await read_session(store, f"s{number}")).state["odd"]) == repr(value)

    @in_a_loop
    async def test_a_cost_that_is_no_number_is_refused_or_comes_back(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        for cost in (math.inf, math.nan):
            length, call = TokenUsage(model="m", estimated_cost_usd=cost), CallUsage(model="m", cost_usd=cost)
            for event in (user_message("long", token_usage=length), user_message("dear", usage=call)):
                with suppress(InvalidInput):
                    await store.append(session, [event])
                    assert repr((await read_session(other, "s")).events[-1]) == repr(event)

    @in_a_loop
    async def test_a_big_message_comes_back(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        big = "0123456789 é 界 😀 " * (self.largest_message // 16)
        for text in ("small", big, "small again"):
            await session.add_event_and_save(user_message(text))
        is_same = messages_in(await read_session(stores.open(), "s")) == ["small", big, "small again"]
        assert is_same, "the contents differ"

    @in_a_loop
    async def test_figures_name_the_provider_and_tell_no_secrets(self, stores: Stores) -> None:
        store = stores.open()
        at_hand = json.dumps(store.get_stats())
        await Session.create(session_id="s", events=[user_message("what was said")], store=store)
        stats = store.get_stats()
        assert isinstance(stats["provider"], str)
        assert stats["provider"]
        for shown in (at_hand, json.dumps(stats), repr(store)):
            assert "://" not in shown
            assert "password" not in shown.lower()
            assert "what was said" not in shown
