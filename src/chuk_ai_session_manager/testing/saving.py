"""Tests of `save` and `update` beside other writers."""

from __future__ import annotations

from ..models import Session, SessionRun, TokenUsage
from .base import Contract, Stores, in_a_loop
from .readings import messages_in, read_head, read_latest, read_session
from .samples import sample_bill, user_message


class Saving(Contract):
    """Tests of `save` and `update` beside other writers."""

    @in_a_loop
    async def test_saving_keeps_what_others_appended_since(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", events=[user_message("first")], store=store)
        theirs = await read_session(other, "s")
        await theirs.add_event_and_save(user_message("theirs"))
        await mine.add_event(user_message("mine"))
        await mine.set_state("phase", 2)
        await store.save(mine)
        read = await read_session(stores.open(), "s")
        assert (messages_in(read), read.state) == (["first", "theirs", "mine"], {"phase": 2})
        assert messages_in(await read_latest(other, theirs)) == ["first", "theirs", "mine"]
        assert messages_in(await read_latest(store, mine)) == ["first", "theirs", "mine"]

    @in_a_loop
    async def test_saving_counts_what_others_appended_once(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", events=[user_message("first")], store=store)
        bill = sample_bill().model_copy(update={"cache_miss_reason": "tools_changed", "cache_saved_usd": 0.1})
        usage = TokenUsage(prompt_tokens=3, model="m", estimated_cost_usd=0.25)
        await other.append(
            await read_head(other, "s"), [user_message("theirs", usage=bill, token_usage=usage)]
        )
        await mine.set_state("phase", 2)
        await store.save(mine)
        for read in (await read_session(stores.open(), "s"), await read_head(stores.open(), "s")):
            assert read.totals.cache_misses == {"tools_changed": 1}
            assert read.token_summary.usage_by_model["m"].prompt_tokens == 3
            assert read.total_cost == 0.25

    @in_a_loop
    async def test_saving_a_head_keeps_the_events_that_it_lacks(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        events = [user_message("one", usage=sample_bill()), user_message("two")]
        await Session.create(session_id="s", events=events, store=store)
        head = await read_head(other, "s")
        await (await read_head(store, "s")).add_event_and_save(user_message("theirs"))
        await head.add_event(user_message("mine"))
        await head.set_state("phase", 2)
        await other.save(head)
        for read in (await read_session(store, "s"), await read_latest(other, head)):
            assert (messages_in(read), read.state) == (["one", "two", "theirs", "mine"], {"phase": 2})
            assert (read.totals.events, read.totals.llm_calls) == (4, 1)

    @in_a_loop
    async def test_saving_keeps_edits_of_earlier_events(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        events = [user_message(text) for text in ("one", "two", "three")]
        session = await Session.create(session_id="s", events=events, store=store)
        reader, head = await read_session(other, "s"), await read_head(other, "s")
        session.events[1].message = "edited"
        await session.events[1].set_metadata("by", "me")
        await store.save(session)
        for read in (
            await read_session(other, "s"),
            await read_latest(other, reader),
            await read_latest(other, head),
        ):
            assert messages_in(read) == ["one", "edited", "three"]
            assert read.events[1].metadata == {"by": "me"}
        await other.append(reader, [user_message("four")])
        assert messages_in(await read_latest(store, session)) == ["one", "edited", "three", "four"]

    @in_a_loop
    async def test_saving_a_shorter_log_makes_it_shorter(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", events=list(map(user_message, "abcd")), store=store)
        reader = await read_session(other, "s")
        session.events = session.events[:2]
        await store.save(session)
        read = await read_session(stores.open(), "s")
        assert (messages_in(read), read.totals.events) == (["a", "b"], 2)
        await other.append(await read_latest(other, reader), [user_message("e")])
        assert messages_in(await read_latest(store, session)) == ["a", "b", "e"]
        session = await read_session(store, "s")
        session.events = []
        await store.save(session)
        read = await read_session(stores.open(), "s")
        assert (messages_in(read), read.totals.events) == ([], 0)

    @in_a_loop
    async def test_saving_keeps_what_others_changed_besides(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", store=store)
        theirs = await read_session(other, "s")
        await mine.set_state("phase", 2)
        await theirs.metadata.set_property("topic", "stores")
        await store.save(mine)
        await other.save(theirs)
        mine.task_ids.append("task")
        await mine.add_event_and_save(user_message("task begins"))
        theirs.runs.append(SessionRun(id="run"))
        await theirs.add_event_and_save(user_message("run begins"))
        read = await read_session(stores.open(), "s")
        assert (read.state, read.metadata.properties) == ({"phase": 2}, {"topic": "stores"})
        assert (read.task_ids, [run.id for run in read.runs]) == (["task"], ["run"])
        assert messages_in(read) == ["task begins", "run begins"]

    @in_a_loop
    async def test_an_update_changes_what_is_stored_and_what_is_here(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine, theirs = await Session.create(session_id="s", store=store), await read_session(other, "s")
        await theirs.add_event_and_save(user_message("theirs"))
        await store.update(mine, lambda session: session.state.update(phase=2))
        await other.update(theirs, lambda session: session.task_ids.append("task"))
        assert (mine.state, theirs.task_ids) == ({"phase": 2}, ["task"])
        read = await read_session(stores.open(), "s")
        assert (read.state, read.task_ids, messages_in(read)) == ({"phase": 2}, ["task"], ["theirs"])
