"""Tests that sessions of one sandbox do not exist in another."""

from __future__ import annotations

import pytest

from ..exceptions import SessionNotFound
from ..models import Session, SessionMetadata
from ..models.session import next_segment_id
from .base import Contract, Stores, in_a_loop
from .checks import check_is_unknown
from .readings import messages_in, read_session
from .samples import user_message


class Sandboxes(Contract):
    """Tests that sessions of one sandbox do not exist in another."""

    @in_a_loop
    async def test_a_session_of_another_sandbox_does_not_exist(self, stores: Stores) -> None:
        if not self.has_sandboxes:
            pytest.skip("declared: there are no sandboxes")
        here, there = stores.open(), stores.open(":other")
        session = await Session.create(session_id="s", events=[user_message("here")], store=here)
        await check_is_unknown(there, "s")
        with pytest.raises(SessionNotFound):
            await there.append(session, [user_message("there")])
        child = await Session.create(session_id="child", parent_id="s", store=there)
        following = await Session.create(session_id=next_segment_id("s"), parent_id="s", store=there)
        assert (await read_session(here, "s")).child_ids == []
        assert await here.list_sessions() == ["s"]
        assert await there.list_sessions() == [following.id, child.id]
        assert await there.delete_conversation(following.id) == 1
        assert messages_in(await read_session(here, "s")) == ["here"]

    @in_a_loop
    async def test_one_id_is_another_session_in_each_sandbox(self, stores: Stores) -> None:
        if not self.has_sandboxes:
            pytest.skip("declared: there are no sandboxes")
        places = [("", "x:s"), (":x", "s"), (":x:s", "s"), ("", "s"), ("", ":x:s"), (":X", "s"), ("%", "s")]
        opened = {sandbox: stores.open(sandbox) for sandbox, _ in places}
        user = SessionMetadata(properties={"user_id": "ann"})
        for sandbox, session_id in places:
            events = [user_message(f"{sandbox} {session_id}")]
            await Session.create(session_id=session_id, events=events, metadata=user, store=opened[sandbox])
        while places:
            for sandbox, store in opened.items():
                own = {session_id for place, session_id in places if place == sandbox}
                assert (
                    set(await store.list_sessions()) == set(await store.list_sessions(user_id="ann")) == own
                )
                for session_id in own:
                    assert messages_in(await read_session(store, session_id)) == [f"{sandbox} {session_id}"]
            sandbox, session_id = places.pop()
            await opened[sandbox].delete(session_id)
