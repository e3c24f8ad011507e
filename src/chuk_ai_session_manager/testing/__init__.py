"""What a store promises, as tests that the author of a store runs on it.

In a test module::

    from functools import partial

    import pytest
    from chuk_ai_session_manager.testing import StoreContract
    from my_package import MyStore

    class TestMyStore(StoreContract):
        @pytest.fixture
        def opener(self, tmp_path):
            return partial(MyStore, tmp_path / "sessions")

and in `conftest.py`, so that failures show what differs::

    pytest.register_assert_rewrite("chuk_ai_session_manager.testing")

The tests are plain functions that bring their event loop along: no plugin is needed, and none is in the
way. Nothing of this package imports this module, which needs pytest.
"""

# ruff: noqa: D102, S101, PLR2004  (tests: their names say what they check, and `assert` checks it)
# ruff: noqa: SIM905  (of many short words, a text is easier to read than a list)
from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial, wraps
from itertools import product
from multiprocessing import get_context
from typing import Any, ClassVar, TypeAlias, TypeVar
from uuid import uuid4

import pytest

from ..exceptions import EventConflict, InvalidInput, SessionAlreadyExists, SessionNotFound, StorageError
from ..models import (
    CallUsage,
    EventSource,
    EventType,
    Session,
    SessionEvent,
    SessionMetadata,
    SessionRun,
    TokenUsage,
)
from ..models.event_page import EventPage
from ..models.session import next_segment_id
from ..session_manager import SessionManager
from ..stores.base import AnyEvent, AnySession, EventStore, SessionPage

__all__ = ["Opener", "StoreContract", "Stores"]

T = TypeVar("T")

Opener: TypeAlias = Callable[..., EventStore]
"""Opens a store; called with `sandbox_id` and `ttl_hours` where the store knows them."""

# Seconds for one test, also in its other processes: only ever used up where something hangs.
_PATIENCE = 60.0

HOSTILE_IDS = (
    *"a A a: :a : a:b a:b:c {a} {a a} }{ {} * a* ? [a] % %% a% _ __ %7Ba%7D %25 ' '' \" ';-- \"a\"".split(),
    *r"\ \\ a\n a/b ../a .. ~ $a ${a} # a#1 a:1 1:a s:a user:a children:a in index 0 00 -1 [] null".split(),
    *"None true not-found é e\u0301 \u0430 \uff41 ß ss \ufb01 fi \u0130 \u0131 i I".split(),
    *(" ", "a ", " a", "a b", "session not found"),
    *("x" * 255, "x" * 254 + "y", "x" * 254, "界" * 255, "😀" * 255),
)
"""Ids that may be told apart badly: by patterns, separators, quotes, letter case, or cutting them off."""

INVALID_IDS = ("", "\n", "a\nb", "a\0", "\x7f", "\u200b", "\u2028", "x" * 256, "\ud800")
"""What is no id: nothing, what is not printable, and more than 255 characters."""

ODD_TEXTS = (
    *r"""<|endoftext|> \u0000 "}], {{}} %s ';DROP--""".split(),
    *("", "\0", "a\0b", "😀👨\u200d👩\u200d👧", "שלום \u202e עולם", "\u2028\u2029", "\r\n\t "),
    *("\ufeff", "\uffff", "\x7f\x80", "\U0010ffff"),
)
"""Texts that come back exactly, wherever they stand."""


class Stores:
    """The stores of one test. All that it opens are in one place, and closed in the end."""

    def __init__(self, contract: StoreContract, opener: Opener) -> None:
        self._contract = contract
        self._opener = opener
        self._sandbox = f"contract-{uuid4().hex}"
        self._opened: list[EventStore] = []

    def opener(self, sandbox: str = "", *, ttl_hours: float | None = None) -> Opener:
        """What opens the test's place, here or in another process; `sandbox` names another one beside it."""
        options: dict[str, Any] = {}
        if self._contract.has_sandboxes:
            options["sandbox_id"] = self._sandbox + sandbox
        if ttl_hours is not None:
            options["ttl_hours"] = ttl_hours
        return partial(self._opener, **options)

    def open(self, sandbox: str = "", *, ttl_hours: float | None = None) -> EventStore:
        """A store of the test's place: another one each time, where that can be."""
        if self._opened and not self._contract.survives_the_process:
            return self._opened[0]
        store = self.opener(sandbox, ttl_hours=ttl_hours)()
        self._opened.append(store)
        return store

    async def elsewhere(self, *uses: Callable[[EventStore], Awaitable[T]]) -> list[T]:
        """What each of some uses of a store gives, each in a process of its own, all at the same time."""
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(len(uses), mp_context=get_context("spawn")) as pool:
            running = (loop.run_in_executor(pool, _used, self.opener(), use) for use in uses)
            return await asyncio.gather(*running)

    async def close(self) -> None:
        """Close all that is open; the next use opens it again."""
        for store in self._opened:
            await store.close()


def _used(opener: Opener, use: Callable[[EventStore], Awaitable[T]]) -> T:
    """Open a store, use it and close it."""

    async def opened() -> T:
        async with asyncio.timeout(_PATIENCE), opener() as store:
            return await use(store)

    return asyncio.run(opened())


def _in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test as a plain function, which runs it in an event loop of its own and closes its stores there."""

    @wraps(test)
    def run(self: StoreContract, stores: Stores, **parameters: Any) -> None:
        async def tested() -> None:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await test(self, stores, **parameters)
            finally:
                await stores.close()

        # A factory of its own, or the thread's current event loop would be another one afterwards.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(tested())

    return run


class StoreContract:
    """The tests. Subclass it in a test module, with a fixture `opener` that gives an `Opener`.

    The opener has to be picklable, of what another process can import: `functools.partial(MyStore, path)`,
    no lambda. Where the store has sandboxes, each test takes one that is new, and leaves there what it
    wrote; where it has none, the fixture has to name a new place for each test.
    """

    survives_the_process: ClassVar[bool] = True
    """Sessions outlive the store's object: what is opened with the same words, anywhere, has them too."""

    has_sandboxes: ClassVar[bool] = True
    """The opener takes `sandbox_id`: sessions of one sandbox do not exist in another."""

    expires: ClassVar[bool] = True
    """The opener takes `ttl_hours`: sessions that nobody writes to for so long are gone."""

    largest_message: ClassVar[int] = 5_000_000
    """Characters of the longest message that is tried."""

    @pytest.fixture
    def stores(self, opener: Opener) -> Stores:
        """The stores of one test."""
        return Stores(self, opener)

    # -- write, reopen, read --------------------------------------------------------------------

    @_in_a_loop
    async def test_what_is_written_is_read_in_another_process(self, stores: Stores) -> None:
        if not self.survives_the_process:
            pytest.skip("declared: sessions do not survive the process")
        written = await _everything(stores.open())
        await stores.close()
        assert await stores.elsewhere(partial(_contents_of, "everything")) == [written]

    @_in_a_loop
    async def test_what_is_written_is_read_after_closing(self, stores: Stores) -> None:
        store = stores.open()
        written = await _everything(store)
        await store.close()
        await store.close()
        assert await _contents_of("everything", store) == written
        assert await _contents_of("everything", stores.open()) == written

    @_in_a_loop
    async def test_what_is_read_carries_its_store(self, stores: Stores) -> None:
        store = stores.open()
        await store.save(Session(id="s"))
        for read in (await store.get("s"), await store.head("s")):
            assert read is not None
            assert read.is_bound
            await read.add_event_and_save(_message("from an object that knows where it lives"))
        assert (await _read(store, "s")).totals.events == 2

    @_in_a_loop
    async def test_a_session_that_is_not_there_is_none(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="somebody", store=store)
        for unknown in ("nobody", "some", "somebody ", "not-found"):
            await _check_is_unknown(store, unknown)
        assert await store.list_sessions() == ["somebody"]

    # -- creating -------------------------------------------------------------------------------

    @_in_a_loop
    async def test_a_taken_id_is_refused_and_what_is_there_stays(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        written = await _everything(store)
        await Session.create(session_id="parent", store=store)
        for parent_id in (None, "parent"):
            with pytest.raises(SessionAlreadyExists):
                await other.create(Session(id="everything", parent_id=parent_id, events=[_message("mine")]))
        assert await _contents_of("everything", stores.open()) == written
        assert (await _read(other, "parent")).child_ids == []

    @_in_a_loop
    async def test_of_many_who_create_one_id_at_once_one_does(self, stores: Stores) -> None:
        opened = [stores.open() for _ in range(4)]

        async def create(number: int) -> int | None:
            try:
                await opened[number % 4].create(Session(id="s", state={"made by": number}))
            except SessionAlreadyExists:
                return None
            return number

        done = await asyncio.gather(*(create(number) for number in range(8)))
        (winner,) = (number for number in done if number is not None)
        assert (await _read(opened[0], "s")).state == {"made by": winner}

    @_in_a_loop
    async def test_a_new_session_is_entered_with_its_parent(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        parent = await Session.create(session_id="parent", store=store)
        await Session.create(session_id="child", parent_id="parent", store=other)
        orphan = await Session.create(session_id="orphan", parent_id="nobody", store=other)
        assert orphan.parent_id == "nobody"
        assert (await _latest(store, parent)).child_ids == ["child"]
        assert await store.get("nobody") is None

    @_in_a_loop
    async def test_children_that_are_entered_at_once_are_all_there(self, stores: Stores) -> None:
        opened = [stores.open() for _ in range(4)]
        await Session.create(session_id="parent", store=opened[0])
        parents = [await _read(store, "parent") for store in opened]
        await asyncio.gather(
            *(
                Session.create(session_id=f"child {at} {number}", parent_id="parent", store=store)
                for at, store in enumerate(opened)
                for number in range(4)
            ),
            *(parent.add_child(f"child {at} added") for at, parent in enumerate(parents)),
            *(parent.add_child("child of all") for parent in parents),
        )
        names = {f"child {at} {name}" for at in range(4) for name in (0, 1, 2, 3, "added")}
        children = (await _read(opened[0], "parent")).child_ids
        assert Counter(children) == Counter(names | {"child of all"})

    @_in_a_loop
    async def test_ids_that_are_none_are_refused_and_never_found(self, stores: Stores) -> None:
        store = stores.open()
        for invalid in INVALID_IDS:
            with pytest.raises(InvalidInput):
                await store.create(Session(id=invalid))
            with pytest.raises(InvalidInput):
                await store.save(Session(id=invalid))
            await _check_is_unknown(store, invalid)
            found = await store.list_sessions(prefix=invalid)
            assert [found, await store.list_sessions(parent_id=invalid)] == [[], []]
            assert await store.list_sessions(user_id=invalid) == []

    @_in_a_loop
    async def test_any_other_id_is_told_from_all_others(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        for each in HOSTILE_IDS:
            properties = SessionMetadata(properties={"user_id": each})
            session = await Session.create(session_id=each, metadata=properties, parent_id=each, store=store)
            await session.add_event_and_save(_message(each))
        assert Counter(await other.list_sessions()) == Counter(HOSTILE_IDS)
        for each in HOSTILE_IDS:
            assert _said(await _read(other, each)) == [each]
            assert await other.list_sessions(user_id=each) == [each]
            assert await other.list_sessions(parent_id=each) == [each]
            beginning = {one for one in HOSTILE_IDS if one.startswith(each)}
            assert set(await other.list_sessions(each)) == beginning
        for each in HOSTILE_IDS[::2]:
            await other.delete(each)
        assert Counter(await store.list_sessions()) == Counter(HOSTILE_IDS[1::2])
        for each in HOSTILE_IDS[::2]:
            assert await store.get(each) is None

    # -- appending ------------------------------------------------------------------------------

    @_in_a_loop
    async def test_events_are_read_in_the_order_of_their_appending(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        for batch in ("a", "bc", "", "d", "efgh"):
            assert await store.append(session, [_message(letter) for letter in batch])
        assert _said(session) == list("abcdefgh")
        assert _said(await _read(other, "s")) == list("abcdefgh")

    @_in_a_loop
    async def test_a_batch_with_a_conflict_is_not_stored_at_all(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        first = _message("first", token_usage=TokenUsage(prompt_tokens=3))
        unaware = await _head(other, "s")
        await store.append(session, [first])
        conflicts = (
            [_message("other", id=first.id)],
            [_message("one", id="twice"), _message("two", id="twice")],
        )
        for conflicting in conflicts:
            batch = [_message("before"), *conflicting, _message("after")]
            for where, through in ((store, session), (other, unaware)):
                with pytest.raises(EventConflict):
                    await where.append(through, batch)
        assert _said(await _read(other, "s")) == ["first"]
        assert (await _read(other, "s")).total_tokens == 3
        await other.append(unaware, [_message("next")])
        assert _said(await _latest(other, unaware)) == ["first", "next"]
        assert _said(await _latest(store, session)) == ["first", "next"]

    @_in_a_loop
    async def test_an_event_that_is_stored_already_changes_nothing(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        before = await _read_by_another(other, session)
        event = _message("once", token_usage=TokenUsage(prompt_tokens=5), usage=_call())
        await store.append(session, [event])
        copied = event.model_copy(deep=True)
        head, whole = await _head(other, "s"), await _read(stores.open(), "s")
        for where, through in ((store, session), (other, before), (other, head), (store, whole)):
            assert await where.append(through, [event])
            assert await where.append(through, [copied, copied.model_copy(deep=True)])
        await store.append(session, [copied, _message("new")])
        stored = await _read(stores.open(), "s")
        assert _said(stored) == ["once", "new"]
        _check_totals(stored)
        for where, through in ((store, session), (other, before), (other, head), (store, whole)):
            latest = await _latest(where, through)
            assert _said(latest) == ["once", "new"]
            _check_totals(latest)

    @_in_a_loop
    async def test_an_append_to_a_session_that_was_never_stored_makes_none(self, stores: Stores) -> None:
        store = stores.open()
        with pytest.raises(SessionNotFound):
            await store.append(Session(id="never"), [_message("lost")])
        assert await store.get("never") is None
        assert await store.list_sessions() == []

    @_in_a_loop
    async def test_an_append_only_if_current_is_refused_after_another_s(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        theirs = await Session.create(session_id="s", store=other)
        mine = await _read_by_another(store, theirs)
        await other.append(theirs, [_message("theirs")])
        assert not await store.append(mine, [_message("mine")], only_if_current=True)
        assert _said(await _read(other, "s")) == ["theirs"]
        mine = await _latest(store, mine)
        assert await store.append(mine, [_message("mine")], only_if_current=True)
        assert await store.append(mine, [_message("mine too")], only_if_current=True)
        assert _said(await _latest(other, theirs)) == ["theirs", "mine", "mine too"]

    @_in_a_loop
    async def test_what_an_object_wrote_itself_leaves_it_current(self, stores: Stores) -> None:
        store = stores.open()
        session = await Session.create(session_id="s", store=store)
        session.state["phase"] = 1
        await session.add_event_and_save(_message("1"))
        assert await store.append(session, [_message("2")], only_if_current=True)
        session.state["phase"] = 2
        await store.save(session)
        assert await store.append(session, [_message("3")], only_if_current=True)
        assert _said(await _read(stores.open(), "s")) == list("123")

    @_in_a_loop
    async def test_a_retry_of_what_is_stored_says_so_however_old_the_object(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        retrying = await _read_by_another(other, session)
        event = _message("once")
        await store.append(session, [event])
        await store.append(session, [_message("later")])
        assert await other.append(retrying, [event.model_copy(deep=True)], only_if_current=True)
        assert _said(await _read(store, "s")) == ["once", "later"]

    @_in_a_loop
    async def test_adding_an_event_stores_what_was_only_in_memory_too(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        await session.add_event(_message("in memory"))
        await session.set_state("phase", 2)
        await session.metadata.set_property("topic", "stores")
        await session.add_event_and_save(_message("stored"))
        read = await _read(stores.open(), "s")
        assert _said(read) == ["in memory", "stored"]
        assert (read.state, read.metadata.properties) == ({"phase": 2}, {"topic": "stores"})

    @_in_a_loop
    async def test_many_writers_make_one_order_without_gaps(self, stores: Stores) -> None:
        await Session.create(session_id="s", store=stores.open())
        opened = [stores.open() for _ in range(4)]

        async def write(store: EventStore, name: str) -> AnySession:
            session = await _head(store, "s")
            for number in range(10):
                await store.append(session, [_message(f"{name} {number}", usage=_call())])
            return session

        writers = [(store, f"{at} {task}") for at, store in enumerate(opened) for task in range(5)]
        written = await asyncio.gather(*(write(store, name) for store, name in writers))
        stored = await _read(stores.open(), "s")
        _check_all_in_order(stored, [name for _, name in writers], 10)
        for (store, _), session in zip(writers, written, strict=True):
            latest = await _latest(store, session)
            assert latest.events == stored.events
            assert latest.totals == stored.totals

    @_in_a_loop
    async def test_writers_in_other_processes_lose_nothing(self, stores: Stores) -> None:
        if not self.survives_the_process:
            pytest.skip("declared: sessions are in one process only")
        store, names = stores.open(), ["one", "two", "three"]
        session = await Session.create(session_id="s", store=store)
        seen = await stores.elsewhere(*(partial(_write_beside, names, name, 30) for name in names))
        session = await _latest(store, session)
        _check_all_in_order(session, names, 31)
        for contents in seen:  # each process saw one beginning of the one order
            assert contents == _said(session)[: len(contents)]

    @_in_a_loop
    async def test_threads_with_event_loops_of_their_own_share_a_store(self, stores: Stores) -> None:
        manager = SessionManager("threads", store=stores.open())
        said = [[f"{thread}/{number}" for number in range(10)] for thread in range(4)]
        await asyncio.gather(*(asyncio.to_thread(_say_in_a_loop, manager, texts) for texts in said))
        written = [row["content"] for row in await manager.get_conversation()]
        assert [[text for text in written if text[0] == texts[0][0]] for texts in said] == said
        assert len(written) == 40

    @_in_a_loop
    async def test_a_store_is_used_in_one_event_loop_after_the_other(self, stores: Stores) -> None:
        manager = SessionManager("loops", store=stores.open())
        for number in range(3):
            await asyncio.to_thread(_cut_off_in_the_middle, manager)
            await asyncio.to_thread(_say_in_a_loop, manager, [f"whole {number}"])
        texts = [row["content"] for row in await manager.get_conversation()]
        assert [text for text in texts if text != "cut off"] == ["whole 0", "whole 1", "whole 2"]

    # -- reading what others wrote --------------------------------------------------------------

    @_in_a_loop
    async def test_the_latest_has_what_others_wrote(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", store=store)
        await mine.add_event_and_save(_message("mine"))
        theirs = await _read(other, "s")
        await theirs.metadata.set_property("topic", "stores")
        await theirs.add_event_and_save(_message("theirs"))
        await Session.create(session_id="child", parent_id="s", store=other)
        await mine.set_state("unsaved", value=True)
        latest = await _latest(store, mine)
        assert _said(latest) == ["mine", "theirs"]
        assert (latest.metadata.properties, latest.child_ids) == ({"topic": "stores"}, ["child"])
        _check_totals(latest)
        assert mine.state == {"unsaved": True}, "what the application changed stays in its object"
        await store.save(mine)
        read = await _read(other, "s")
        assert (read.state, read.metadata.properties) == ({"unsaved": True}, {"topic": "stores"})
        assert (_said(read), read.child_ids) == (["mine", "theirs"], ["child"])

    @_in_a_loop
    async def test_the_latest_of_what_was_deleted_is_none(self, stores: Stores) -> None:
        store = stores.open()
        session = await Session.create(session_id="s", store=store)
        await stores.open().delete("s")
        assert await store.latest(session) is None
        assert await store.latest(session, with_events=False) is None

    @_in_a_loop
    async def test_a_head_is_enough_to_write_to(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", state={"phase": 1}, store=store)
        for number in range(3):
            await session.add_event_and_save(_message(str(number), usage=_call()))
        head = await _head(other, "s")
        assert (head.totals, head.total_tokens) == (session.totals, session.total_tokens)
        assert (head.last_update_time, head.state) == (session.last_update_time, {"phase": 1})
        await other.append(head, [_message("3", usage=_call())])
        assert (_said(head)[-1], head.totals.events) == ("3", 4)
        await session.add_event_and_save(_message("4", usage=_call()))
        counted = await other.latest(head, with_events=False)
        assert counted is not None
        assert (counted.totals.events, counted.totals.llm_calls) == (5, 5)
        whole = await _latest(other, head)
        assert _said(whole) == list("01234")
        _check_totals(whole)

    @_in_a_loop
    async def test_totals_are_those_of_the_events_whoever_wrote_them(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", store=store)
        for number, event in enumerate(_events()):
            theirs = await _head(other, "s")
            await store.append(mine, [event.model_copy(update={"id": f"mine {number}"})])
            await other.append(theirs, [event.model_copy(update={"id": f"theirs {number}"})])
            await other.append(theirs, [event.model_copy(update={"id": f"mine {number}"})])
            with suppress(EventConflict):
                await other.append(theirs, [_message("conflict", id="mine 0", usage=_call())])
        for session in (await _latest(store, mine), await _read(other, "s"), await _read(stores.open(), "s")):
            assert session.totals.events == 2 * len(_events())
            _check_totals(session)
        head = await _head(stores.open(), "s")
        assert head.totals == (await _read(store, "s")).totals
        assert head.total_cost == pytest.approx((await _read(store, "s")).total_cost)

    # -- reading the end of a log ---------------------------------------------------------------

    @_in_a_loop
    async def test_the_newest_events_are_read_by_number_page_by_page(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[_message(n) for n in range(10)], store=store)
        head = await _head(other, "s")
        assert await _log_pages(other, head, limit=4) == [(6, [6, 7, 8, 9]), (2, [2, 3, 4, 5]), (0, [0, 1])]
        assert await _log_pages(other, head, limit=10) == [(0, list(range(10)))]
        assert (
            await _log_pages(other, head, limit=99) == await _log_pages(other, head) == [(0, list(range(10)))]
        )
        for before, numbers in ((0, []), (1, [0]), (3, [1, 2]), (10, [8, 9]), (99, [8, 9])):
            page = await _newest(other, head, before=before, limit=2)
            assert ([event.message for event in page.events], page.has_more) == (numbers, before > 2)

    @_in_a_loop
    async def test_the_newest_events_are_read_by_content_tokens(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        lengths = [500, 1, 0, 7, 3, 0, 10]
        events = [_message(at, token_usage=_tokens(length)) for at, length in enumerate(lengths)]
        await Session.create(session_id="s", events=events, store=store)
        head = await _head(other, "s")
        for tokens, first in ((0, 6), (1, 6), (10, 6), (11, 4), (13, 4), (14, 3), (21, 1), (22, 0), (999, 0)):
            page = await _newest(other, head, tokens=tokens)
            assert (page.first, page.tokens) == (first, sum(lengths[first:])), tokens
            assert [event.message for event in page.events] == list(range(first, 7))
        assert (await _newest(other, head, tokens=20, limit=2)).first == 5
        assert (await _newest(other, head, tokens=3, limit=3)).first == 6
        assert (await _newest(other, head, tokens=3, limit=3, before=6)).first == 4

    @_in_a_loop
    async def test_the_newest_events_of_a_log_of_many_lengths(self, stores: Stores) -> None:
        store = stores.open()
        lengths = [900] * 300 + [1] * 700  # the average says little of the end
        events = [_message(at, token_usage=_tokens(length)) for at, length in enumerate(lengths)]
        session = await Session.create(session_id="s", store=store)
        await store.append(session, events)
        page = await _newest(stores.open(), await _head(stores.open(), "s"), tokens=1_000)
        assert [event.message for event in page.events] == list(range(299, 1_000))
        assert page.tokens == 1_600
        assert session.total_tokens - page.tokens == 299 * 900

    @_in_a_loop
    async def test_reading_the_newest_events_leaves_the_session_as_it_is(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[_message(n) for n in range(5)], store=store)
        head = await _head(other, "s")
        held, totals = list(head.events), head.totals.as_dict()
        assert (await _newest(other, head, limit=2)).first == 3
        assert (head.events, head.totals.as_dict()) == (held, totals)
        await other.append(head, [_message(5)])
        assert [event.message for event in (await _newest(store, head, limit=2)).events] == [4, 5]
        assert _said(await _read(stores.open(), "s")) == list(range(6))

    @_in_a_loop
    async def test_of_a_deleted_session_there_are_no_newest_events(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[_message("here")], store=store)
        head = await _head(other, "s")
        await store.delete("s")
        assert await other.newest_events(head, limit=1) is None

    @_in_a_loop
    async def test_a_page_of_no_events_is_refused(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        for limit in (0, -1):
            with pytest.raises(InvalidInput):
                await stores.open().newest_events(session, limit=limit)
        assert (await _newest(stores.open(), session, limit=1)).events == []

    # -- saving ---------------------------------------------------------------------------------

    @_in_a_loop
    async def test_saving_keeps_what_others_appended_since(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", events=[_message("first")], store=store)
        theirs = await _read(other, "s")
        await theirs.add_event_and_save(_message("theirs"))
        await mine.add_event(_message("mine"))
        await mine.set_state("phase", 2)
        await store.save(mine)
        read = await _read(stores.open(), "s")
        assert (_said(read), read.state) == (["first", "theirs", "mine"], {"phase": 2})
        assert _said(await _latest(other, theirs)) == ["first", "theirs", "mine"]
        assert _said(await _latest(store, mine)) == ["first", "theirs", "mine"]

    @_in_a_loop
    async def test_saving_a_head_keeps_the_events_that_it_lacks(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        events = [_message("one", usage=_call()), _message("two")]
        await Session.create(session_id="s", events=events, store=store)
        head = await _head(other, "s")
        await (await _head(store, "s")).add_event_and_save(_message("theirs"))
        await head.add_event(_message("mine"))
        await head.set_state("phase", 2)
        await other.save(head)
        for read in (await _read(store, "s"), await _latest(other, head)):
            assert (_said(read), read.state) == (["one", "two", "theirs", "mine"], {"phase": 2})
            assert (read.totals.events, read.totals.llm_calls) == (4, 1)

    @_in_a_loop
    async def test_saving_keeps_edits_of_earlier_events(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        events = [_message(text) for text in ("one", "two", "three")]
        session = await Session.create(session_id="s", events=events, store=store)
        reader, head = await _read(other, "s"), await _head(other, "s")
        session.events[1].message = "edited"
        await session.events[1].set_metadata("by", "me")
        await store.save(session)
        for read in (await _read(other, "s"), await _latest(other, reader), await _latest(other, head)):
            assert _said(read) == ["one", "edited", "three"]
            assert read.events[1].metadata == {"by": "me"}
        await other.append(reader, [_message("four")])
        assert _said(await _latest(store, session)) == ["one", "edited", "three", "four"]

    @_in_a_loop
    async def test_saving_a_shorter_log_makes_it_shorter(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", events=list(map(_message, "abcd")), store=store)
        reader = await _read(other, "s")
        session.events = session.events[:2]
        await store.save(session)
        read = await _read(stores.open(), "s")
        assert (_said(read), read.totals.events) == (["a", "b"], 2)
        await other.append(await _latest(other, reader), [_message("e")])
        assert _said(await _latest(store, session)) == ["a", "b", "e"]
        session = await _read(store, "s")
        session.events = []
        await store.save(session)
        read = await _read(stores.open(), "s")
        assert (_said(read), read.totals.events) == ([], 0)

    @_in_a_loop
    async def test_saving_keeps_what_others_changed_besides(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine = await Session.create(session_id="s", store=store)
        theirs = await _read(other, "s")
        await mine.set_state("phase", 2)
        await theirs.metadata.set_property("topic", "stores")
        await store.save(mine)
        await other.save(theirs)
        mine.task_ids.append("task")
        await mine.add_event_and_save(_message("task begins"))
        theirs.runs.append(SessionRun(id="run"))
        await theirs.add_event_and_save(_message("run begins"))
        read = await _read(stores.open(), "s")
        assert (read.state, read.metadata.properties) == ({"phase": 2}, {"topic": "stores"})
        assert (read.task_ids, [run.id for run in read.runs]) == (["task"], ["run"])
        assert _said(read) == ["task begins", "run begins"]

    @_in_a_loop
    async def test_an_update_changes_what_is_stored_and_what_is_here(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        mine, theirs = await Session.create(session_id="s", store=store), await _read(other, "s")
        await theirs.add_event_and_save(_message("theirs"))
        await store.update(mine, lambda session: session.state.update(phase=2))
        await other.update(theirs, lambda session: session.task_ids.append("task"))
        assert (mine.state, theirs.task_ids) == ({"phase": 2}, ["task"])
        read = await _read(stores.open(), "s")
        assert (read.state, read.task_ids, _said(read)) == ({"phase": 2}, ["task"], ["theirs"])

    # -- deleting -------------------------------------------------------------------------------

    @pytest.mark.parametrize("write", ["append", "add_event_and_save", "save", "update", "add_child"])
    @_in_a_loop
    async def test_nothing_comes_back_from_the_dead(self, stores: Stores, write: str) -> None:
        store, other = stores.open(), stores.open()
        made = await Session.create(session_id="s", events=[_message("first")], store=store)
        read, head = await _read(store, "s"), await _head(store, "s")
        await other.delete("s")
        for session in (made, read, head):
            session.state["changed"] = write
            with pytest.raises(SessionNotFound):
                await _WRITES[write](store, session)
            assert await store.get("s") is None
            assert await other.list_sessions() == []

    @_in_a_loop
    async def test_an_id_can_be_used_again_and_what_was_deleted_stays_away(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        old = await Session.create(session_id="s", events=[_message("deleted")], state={"a": 1}, store=store)
        await other.delete("s")
        await Session.create(session_id="s", events=[_message("new")], store=other)
        old.state["a"] = 2
        with pytest.raises(SessionNotFound):  # what the store handed out was deleted since
            await store.save(old)
        read = await _read(other, "s")
        assert (_said(read), read.state) == (["new"], {})

    @_in_a_loop
    async def test_an_object_of_a_deleted_session_never_shows_it_under_a_new_one_s_id(
        self, stores: Stores
    ) -> None:
        store, other = stores.open(), stores.open()
        old = await Session.create(session_id="s", events=[_message("deleted")], store=store)
        await other.delete("s")
        await Session.create(session_id="s", events=[_message("new")], store=other)
        with suppress(SessionNotFound):  # or it goes to the new one
            await store.append(old, [_message("late")])
        stored = _said(await _read(other, "s"))
        assert stored in (["new"], ["new", "late"])
        latest = await store.latest(old)
        assert latest is None or _said(latest) == stored

    @_in_a_loop
    async def test_parents_and_children_of_a_deleted_session_stay(self, stores: Stores) -> None:
        store = stores.open()
        ids = ["first", next_segment_id("first"), next_segment_id(next_segment_id("first")), "child"]
        for session_id, parent_id in zip(ids, [None, *ids], strict=False):
            await Session.create(
                session_id=session_id, parent_id=parent_id, events=[_message(session_id)], store=store
            )
        for deleted in (ids[1], ids[0]):
            await stores.open().delete(deleted)
            await store.delete(deleted)  # one that is not there is no error
            assert await store.get(deleted) is None
            ids.remove(deleted)
            for kept in ids:
                assert _said(await _read(store, kept)) == [kept]
        assert set(await store.list_sessions()) == set(ids)

    @pytest.mark.parametrize("segment", [0, 1, 2])
    @_in_a_loop
    async def test_a_conversation_is_deleted_whole_and_nothing_else(
        self, stores: Stores, segment: int
    ) -> None:
        store = stores.open()
        await Session.create(session_id="parent", store=store)
        segments = await _conversation(store, "first", parent_id="parent")
        await Session.create(session_id="child", parent_id=segments[1], store=store)
        others = [*await _conversation(store, "other"), "parent", "child"]
        assert await stores.open().delete_conversation(segments[segment]) == 3
        assert set(await store.list_sessions()) == set(others)
        for deleted in segments:
            assert await store.get(deleted) is None
        assert await store.delete_conversation(segments[segment]) == 0
        for kept in others:
            await store.append(await _head(store, kept), [_message("goes on")])

    @_in_a_loop
    async def test_the_segments_of_a_conversation_in_their_order(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="parent", store=store)
        segments = await _conversation(store, "first", parent_id="parent")
        await Session.create(session_id="child", parent_id=segments[1], store=store)
        other = await _conversation(store, "other")
        await store.append(await _head(store, segments[0]), [_message("written to last")])
        for segment in segments:
            assert await stores.open().segment_ids(segment) == segments
        assert await store.segment_ids(other[-1]) == other
        assert await store.segment_ids("child") == ["child"]
        assert await store.segment_ids("nobody") == []
        await store.delete(segments[-1])
        assert await stores.open().segment_ids(segments[0]) == segments[:-1]

    # -- listing --------------------------------------------------------------------------------

    @_in_a_loop
    async def test_the_session_written_to_last_is_listed_first(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        for name in ("user-1", "user-2", "admin-1", "user-3"):
            await Session.create(session_id=name, store=store)
        await (await _head(other, "user-2")).add_event_and_save(_message("hello"))
        await (await _head(store, "user-1")).add_event_and_save(_message("hello"))
        assert await store.list_sessions() == ["user-1", "user-2", "user-3", "admin-1"]
        assert await other.list_sessions("user-") == ["user-1", "user-2", "user-3"]
        assert await other.list_sessions("nobody") == []
        await other.delete("user-2")
        assert await store.list_sessions("user-") == ["user-1", "user-3"]

    @_in_a_loop
    async def test_sessions_are_listed_by_parent_and_by_user(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        for number in range(6):
            user = SessionMetadata(properties={"user_id": "ann" if number % 2 else "bob"})
            await Session.create(
                session_id=f"s{number}", parent_id="p" if number < 4 else "q", metadata=user, store=store
            )
        assert await other.list_sessions(parent_id="p") == ["s3", "s2", "s1", "s0"]
        assert await other.list_sessions(user_id="ann") == ["s5", "s3", "s1"]
        assert await other.list_sessions("s", user_id="ann", parent_id="p") == ["s3", "s1"]
        assert await other.list_sessions("s1", user_id="ann") == ["s1"]
        assert await other.list_sessions(user_id="an") == []
        assert await other.list_sessions(parent_id="s0") == []
        assert await other.list_sessions(user_id="ann", parent_id="nobody") == []
        moved = await _read(store, "s1")
        moved.metadata.properties["user_id"] = "bob"
        await store.save(moved)
        assert set(await other.list_sessions(user_id="bob")) == {"s0", "s1", "s2", "s4"}
        assert await other.list_sessions(user_id="ann") == ["s5", "s3"]

    @_in_a_loop
    async def test_pages_have_no_gap_and_no_repeat(self, stores: Stores) -> None:
        store = stores.open()
        names = await _numbered(store, 25)
        for limit in (1, 5, 10, 24, 25, 26):
            assert await _pages(store, limit) == names[::-1]
        for limit in (5, 10):
            assert await _pages(store, limit, user_id="ann") == names[::-2]
            beginning = [name for name in names[::-1] if name.startswith("s1")]
            assert await _pages(store, limit, prefix="s1") == beginning

    @_in_a_loop
    async def test_pages_go_on_where_they_were_while_others_write(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        names = await _numbered(store, 25)

        async def write(page: SessionPage) -> None:
            for name in (page[0], page[-1]):  # what was listed moves to the front
                await (await _head(other, name)).add_event_and_save(_message("hello"))
            await Session.create(session_id=f"new since {page[-1]}", store=other)

        assert await _pages(store, 10, between=write) == names[::-1]

    @_in_a_loop
    async def test_pages_are_whole_though_the_next_session_is_written_to(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        names = await _numbered(store, 25)
        first = await store.list_sessions(limit=10)
        written, deleted = names[3], names[5]
        await (await _head(other, written)).add_event_and_save(_message("hello"))
        await other.delete(deleted)
        listed = [*first, *await _pages(store, 10, cursor=first.next_cursor)]
        # The one that was written to is the newest now: it may come, or have gone to the front.
        others = [name for name in names[::-1] if name not in {written, deleted}]
        assert [name for name in listed if name != written] == others
        assert listed.count(written) <= 1

    @_in_a_loop
    async def test_limits_below_1_and_cursors_that_no_page_gave_are_refused(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="s", store=store)
        for limit in (0, -1, True, 1.5):
            with pytest.raises(InvalidInput):
                await store.list_sessions(limit=limit)  # type: ignore[arg-type]
        for cursor in ("nonsense", "", ":", "x:y", "-1:s", "1.5:s", "1e3:s", " 1:s"):
            with pytest.raises(InvalidInput):
                await store.list_sessions(cursor=cursor)

    @_in_a_loop
    async def test_a_cursor_beyond_all_sessions_is_refused_or_a_page(self, stores: Stores) -> None:
        store = stores.open()
        await Session.create(session_id="s", store=store)
        for digits in (1, 18, 19, 20, 400, 5000):
            with suppress(InvalidInput):
                assert await store.list_sessions(cursor=f"{'9' * digits}:s") in ([], ["s"])

    # -- what is kept ---------------------------------------------------------------------------

    @_in_a_loop
    async def test_any_text_comes_back_exactly(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        for text in ODD_TEXTS:
            usage = TokenUsage(prompt_tokens=1, model=text, estimated_cost_usd=0.5)
            named = {"id": f"id {text}", "task_id": text, "parent_event_id": text, "token_usage": usage}
            row = {"role": "user", "content": text, text: [text]}
            await session.add_event_and_save(_message(row, metadata={text: text}, **named))
        texts = {text: [text] for text in ODD_TEXTS}
        session.state, session.metadata.properties, session.task_ids = texts, texts, list(ODD_TEXTS)
        await stores.open().save(session)
        read = await _read(stores.open(), "s")
        assert _contents(read) == _contents(session)
        _check_totals(read)

    @pytest.mark.parametrize("field", ["message", "metadata", "state", "properties", "runs"])
    @_in_a_loop
    async def test_what_is_not_json_is_refused_or_comes_back(self, stores: Stores, field: str) -> None:
        store, other = stores.open(), stores.open()
        await Session.create(session_id="s", events=[_message("first")], state={"phase": 1}, store=store)
        for value in _odd_values():
            before = _contents(await _read(other, "s"))
            try:
                await _write_odd(store, await _read(store, "s"), field, value)
            except InvalidInput:
                assert _contents(await _read(other, "s")) == before
            else:
                assert _odd_in(await _read(other, "s"), field) == repr(value)

    @_in_a_loop
    async def test_a_new_session_that_is_not_json_is_refused_or_comes_back(self, stores: Stores) -> None:
        store = stores.open()
        for number, value in enumerate(_odd_values()):
            try:
                await Session.create(session_id=f"s{number}", state={"odd": value}, store=store)
            except InvalidInput:
                assert await store.get(f"s{number}") is None
            else:
                assert repr((await _read(store, f"s{number}")).state["odd"]) == repr(value)

    @_in_a_loop
    async def test_a_cost_that_is_no_number_is_refused_or_comes_back(self, stores: Stores) -> None:
        store, other = stores.open(), stores.open()
        session = await Session.create(session_id="s", store=store)
        for cost in (math.inf, math.nan):
            length, call = TokenUsage(model="m", estimated_cost_usd=cost), CallUsage(model="m", cost_usd=cost)
            for event in (_message("long", token_usage=length), _message("dear", usage=call)):
                with suppress(InvalidInput):
                    await store.append(session, [event])
                    assert repr((await _read(other, "s")).events[-1]) == repr(event)

    @_in_a_loop
    async def test_a_big_message_comes_back(self, stores: Stores) -> None:
        session = await Session.create(session_id="s", store=stores.open())
        big = "0123456789 é 界 😀 " * (self.largest_message // 16)
        for text in ("small", big, "small again"):
            await session.add_event_and_save(_message(text))
        is_same = _said(await _read(stores.open(), "s")) == ["small", big, "small again"]
        assert is_same, "no diff: it would be as big"

    # -- sandboxes ------------------------------------------------------------------------------

    @_in_a_loop
    async def test_a_session_of_another_sandbox_does_not_exist(self, stores: Stores) -> None:
        if not self.has_sandboxes:
            pytest.skip("declared: there are no sandboxes")
        here, there = stores.open(), stores.open(":other")
        session = await Session.create(session_id="s", events=[_message("here")], store=here)
        await _check_is_unknown(there, "s")
        with pytest.raises(SessionNotFound):
            await there.append(session, [_message("there")])
        child = await Session.create(session_id="child", parent_id="s", store=there)
        following = await Session.create(session_id=next_segment_id("s"), parent_id="s", store=there)
        assert (await _read(here, "s")).child_ids == []
        assert await here.list_sessions() == ["s"]
        assert await there.list_sessions() == [following.id, child.id]
        assert await there.delete_conversation(following.id) == 1
        assert _said(await _read(here, "s")) == ["here"]

    @_in_a_loop
    async def test_one_id_is_another_session_in_each_sandbox(self, stores: Stores) -> None:
        if not self.has_sandboxes:
            pytest.skip("declared: there are no sandboxes")
        places = [("", "x:s"), (":x", "s"), (":x:s", "s"), ("", "s"), ("", ":x:s"), (":X", "s"), ("%", "s")]
        opened = {sandbox: stores.open(sandbox) for sandbox, _ in places}
        user = SessionMetadata(properties={"user_id": "ann"})
        for sandbox, session_id in places:
            events = [_message(f"{sandbox} {session_id}")]
            await Session.create(session_id=session_id, events=events, metadata=user, store=opened[sandbox])
        while places:
            for sandbox, store in opened.items():
                own = {session_id for place, session_id in places if place == sandbox}
                assert (
                    set(await store.list_sessions()) == set(await store.list_sessions(user_id="ann")) == own
                )
                for session_id in own:
                    assert _said(await _read(store, session_id)) == [f"{sandbox} {session_id}"]
            sandbox, session_id = places.pop()
            await opened[sandbox].delete(session_id)

    # -- lifetimes ------------------------------------------------------------------------------

    @_in_a_loop
    async def test_a_conversation_lives_as_long_as_it_is_written_to(self, stores: Stores) -> None:
        if not self.expires:
            pytest.skip("declared: sessions never expire")
        lifetime = 0.6
        store = stores.open(ttl_hours=lifetime / 3600)
        segments = await _conversation(store, "first")
        last = await _head(store, segments[-1])
        for _ in range(3):  # longer than a lifetime, all in all
            written = time.monotonic()
            await store.append(last, [_message("still here")])
            await asyncio.sleep(0.5 * lifetime)
            there = [await store.get(each) is not None for each in segments]
            if time.monotonic() - written < lifetime:  # else the machine was too slow to say
                assert all(there)
        await asyncio.sleep(0.5 * lifetime + 0.2)
        for expired in segments:
            await _check_is_unknown(store, expired)
        assert await store.list_sessions() == []
        with pytest.raises(SessionNotFound):
            await store.append(last, [_message("too late")])
        with pytest.raises(SessionNotFound):
            await store.save(last)
        assert await store.list_sessions() == []

    @_in_a_loop
    async def test_no_write_makes_a_life_shorter(self, stores: Stores) -> None:
        if not self.expires:
            pytest.skip("declared: sessions never expire")
        store = stores.open(ttl_hours=1)
        segments = await _conversation(store, "first")
        assert await _hours_left(store, segments) == pytest.approx([1, 1, 1], abs=0.02)
        assert await store.extend_session_ttl(segments[1], 2)
        assert await _hours_left(store, segments) == pytest.approx([3, 3, 3], abs=0.02)
        session = await _read(stores.open(ttl_hours=1), segments[2])
        for write in _WRITES.values():
            session.state["changed"] = session.state.get("changed", 0) + 1
            await write(store, session)
        await Session.create(session_id="child", parent_id=segments[0], store=store)
        await store.delete(segments[2])
        assert await _hours_left(store, segments[:2]) == pytest.approx([3, 3], abs=0.02)
        assert await _hours_left(store, ["child"]) == pytest.approx([1], abs=0.02)

    @_in_a_loop
    async def test_any_write_lets_a_conversation_live_as_long_as_its_writer_s_do(
        self, stores: Stores
    ) -> None:
        if not (self.expires and self.survives_the_process):
            pytest.skip("declared: sessions never expire, or there is only one store")
        short = stores.open(ttl_hours=1)
        segments = await _conversation(short, "first")
        for hours, write in enumerate(_WRITES.values(), start=2):
            longer = stores.open(ttl_hours=hours)
            session = await _head(longer, segments[2])
            session.state["changed"] = hours
            await write(longer, session)
            assert await _hours_left(short, segments) == pytest.approx([hours] * 3, abs=0.02)
        following = next_segment_id(segments[2])
        await Session.create(
            session_id=following, parent_id=segments[2], store=stores.open(ttl_hours=hours + 1)
        )
        assert await _hours_left(short, [*segments, following]) == pytest.approx([hours + 1] * 4, abs=0.02)
        await short.append(await _head(short, segments[0]), [_message("makes it no shorter")])
        assert await _hours_left(short, segments) == pytest.approx([hours + 1] * 3, abs=0.02)

    @_in_a_loop
    async def test_a_life_is_extended_by_any_hours_but_negative_ones(self, stores: Stores) -> None:
        store = stores.open(ttl_hours=1) if self.expires else stores.open()
        await Session.create(session_id="s", store=store)
        before = await store.time_to_live("s")
        assert before is not None
        assert await store.extend_session_ttl("s", 0)
        for hours in (-1, -0.001, -math.inf, math.nan):
            with pytest.raises(InvalidInput):
                await store.extend_session_ttl("s", hours)
        assert await store.time_to_live("s") == pytest.approx(before, abs=60)
        for hours in (1e6, 1e100, math.inf):  # as far as the store can count
            with suppress(InvalidInput, StorageError):
                assert await store.extend_session_ttl("s", hours)
            left = await store.time_to_live("s")
            assert left is not None
            assert left >= before - 60

    @_in_a_loop
    async def test_what_never_expires_says_so(self, stores: Stores) -> None:
        if self.expires:
            pytest.skip("declared: sessions expire")
        store = stores.open()
        await Session.create(session_id="s", store=store)
        assert await store.time_to_live("s") == math.inf

    # -- with the facade ------------------------------------------------------------------------

    @pytest.mark.parametrize("infinite", [False, True])
    @_in_a_loop
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

    @_in_a_loop
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

    @_in_a_loop
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
        assert len((await _read(stores.open(), "s")).events) == 1

    @_in_a_loop
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
        segments = [await _read(store, each) for each in await store.list_sessions()]
        assert Counter(len(segment.child_ids) for segment in segments) == {1: len(segments) - 1, 0: 1}
        for segment in segments:
            assert sum(event.type == EventType.SUMMARY for event in segment.events) <= 1
            _check_totals(segment)
        fresh = SessionManager("talk", store=stores.open(), infinite_context=True, max_turns_per_segment=4)
        _check_each_in_order([row["content"] for row in await fresh.get_conversation()], names, 10)

    # -- what is said of the store --------------------------------------------------------------

    @_in_a_loop
    async def test_figures_name_the_provider_and_tell_no_secrets(self, stores: Stores) -> None:
        store = stores.open()
        at_hand = json.dumps(store.get_stats())
        await Session.create(session_id="s", events=[_message("what was said")], store=store)
        stats = store.get_stats()
        assert isinstance(stats["provider"], str)
        assert stats["provider"]
        for shown in (at_hand, json.dumps(stats), repr(store)):
            assert "://" not in shown
            assert "password" not in shown.lower()
            assert "what was said" not in shown


# -- what the tests write -----------------------------------------------------------------------


def _say_in_a_loop(manager: SessionManager, texts: Iterable[str]) -> None:
    """Record messages in an event loop of this thread's own."""

    async def say() -> None:
        async with asyncio.timeout(_PATIENCE / 2):
            for text in texts:
                await manager.user_says(text)

    asyncio.run(say())


def _cut_off_in_the_middle(manager: SessionManager) -> None:
    """Have an event loop end while a message is being recorded in it."""

    async def end() -> None:
        saying = asyncio.create_task(manager.user_says("cut off"))
        await asyncio.sleep(0)
        saying.get_name()  # it goes on until the loop is ended, which cancels it

    asyncio.run(end())


_WRITES: dict[str, Callable[[EventStore, AnySession], Awaitable[object]]] = {
    "append": lambda store, session: store.append(session, [_message("late")]),
    "add_event_and_save": lambda _, session: session.add_event_and_save(_message("late")),
    "save": lambda store, session: store.save(session),
    "update": lambda store, session: store.update(session, lambda stored: stored.task_ids.append("late")),
    "add_child": lambda _, session: session.add_child("late"),
}


def _message(message: Any, **fields: Any) -> AnyEvent:
    return SessionEvent(message=message, source=EventSource.USER, **fields)


def _tokens(count: int) -> TokenUsage | None:
    """What an event says of so many content tokens; nothing where it has none."""
    return TokenUsage(total_tokens=count, model="m", estimated_cost_usd=None) if count else None


def _call() -> CallUsage:
    return CallUsage(model="m", provider="p", input_tokens=7, output_tokens=3, cost_usd=0.5)


def _events() -> list[AnyEvent]:
    """Events of every type and source, with all that an event can have."""
    zone = timezone(timedelta(hours=5.5))
    lengths = [
        TokenUsage(prompt_tokens=3, completion_tokens=4, model="m", estimated_cost_usd=0.25),
        TokenUsage(prompt_tokens=5, total_tokens=9, model="m", estimated=True, estimated_cost_usd=None),
        TokenUsage(completion_tokens=6),
        None,
        TokenUsage(prompt_tokens=1, model="n", estimated_cost_usd=1.5),
    ]
    calls = [
        _call(),
        CallUsage(model="m", input_tokens=9, cache_read_tokens=8, cache_write_tokens=1, reasoning_tokens=2),
        CallUsage(model="n", output_tokens=1, cost_usd=0.0, estimated=True),
        None,
    ]
    return [
        SessionEvent(
            id=f"{kind.value} {source.value}",
            message=[f"said {number}", {"role": "user", "content": [number, None, 0.1, True]}][number % 2],
            timestamp=datetime(2030, 1, 2, 3, 4, number, 678901, zone),
            type=kind,
            source=source,
            metadata={"number": number, "nested": {"empty": [], "none": None}} if number % 3 else {},
            parent_event_id="message user" if number % 4 else None,
            task_id=f"task {number}" if number % 5 else None,
            token_usage=lengths[number % len(lengths)],
            usage=calls[number % len(calls)],
        )
        for number, (kind, source) in enumerate(product(EventType, EventSource))
    ]


async def _everything(store: EventStore) -> dict[str, Any]:
    """Write a session that has all that a session can have; what it holds."""
    run = SessionRun(metadata={"step": [1, 2.5, None]}, tool_calls=["message user"])
    await run.mark_failed("no answer")
    session = await Session.create(
        session_id="everything",
        parent_id="not there",
        store=store,
        metadata=SessionMetadata(properties={"user_id": "ann", "nested": {"a": [1, 2.5, None, True, "é"]}}),
        task_ids=["task 1", "task 2"],
        runs=[run, SessionRun()],
        state={"phase": 2, "big": 2**60, "none": None, "": {"deep": [[]]}},
    )
    await Session.create(session_id="child", parent_id="everything", store=store)
    first, second, *rest = _events()
    await session.add_event_and_save(first)
    await session.set_state("phase", 3)
    await session.add_event_and_save(second)
    await store.append(session, rest)
    session = await _latest(store, session)
    assert session.child_ids == ["child"]
    assert (session.totals.events, session.total_cost) == (len(_events()), 5.25)
    _check_totals(session)
    return _contents(session)


async def _conversation(store: EventStore, first: str, parent_id: str | None = None) -> list[str]:
    """Write a conversation of three segments; their ids."""
    ids: list[str] = []
    for session_id in (first, next_segment_id(first), next_segment_id(next_segment_id(first))):
        before = ids[-1] if ids else parent_id
        await Session.create(
            session_id=session_id, parent_id=before, events=[_message(session_id)], store=store
        )
        ids.append(session_id)
    return ids


async def _numbered(store: EventStore, count: int) -> list[str]:
    """Write so many sessions, every other one of Ann's; their ids, the oldest first."""
    names = [f"s{number}" for number in range(count)]
    for number, name in enumerate(names):
        user = SessionMetadata(properties={"user_id": "bob" if number % 2 else "ann"})
        await Session.create(session_id=name, metadata=user, store=store)
    return names


def _odd_values() -> list[Any]:
    """Values that JSON cannot hold, or not every writer of it."""
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    texts = ["\ud800", "a\udfffb", {"\ud800": 1}, ["😀", "\udc00\ud83d"]]
    return [*texts, math.nan, math.inf, -math.inf, {1: 2}, {1, 2}, b"x", object(), 10**4000, deep]


async def _write_odd(store: EventStore, session: AnySession, field: str, value: Any) -> None:
    """Write a value that is not JSON, somewhere, after what is in order."""
    if field in {"message", "metadata"}:
        odd = {"odd": value}
        last = _message(odd) if field == "message" else _message("", metadata=odd)
        await store.append(session, [_message("in order"), last])
        return
    if field == "runs":
        session.runs = [SessionRun(metadata={"odd": value})]
    else:
        {"state": session.state, "properties": session.metadata.properties}[field]["odd"] = value
    await session.add_event(_message("in order"))
    await store.save(session)


def _odd_in(session: AnySession, field: str) -> str:
    """What came back of it. As text: not even the same NaN is equal to itself."""
    places = {
        "message": session.events[-1].message,
        "metadata": session.events[-1].metadata,
        "state": session.state,
        "properties": session.metadata.properties,
        "runs": session.runs[0].metadata if session.runs else {},
    }
    return repr(places[field]["odd"])


async def _write_beside(names: Sequence[str], name: str, count: int, store: EventStore) -> list[str]:
    """Append so many events beside other processes, once all of them are at it; what was seen in the end."""
    session = await _head(store, "s")
    await store.append(session, [_message(f"{name} 0", usage=_call())])
    beginnings = {f"{each} 0" for each in names}
    while not beginnings <= set(_said(await _latest(store, session))):  # noqa: ASYNC110  (no event is shared)
        await asyncio.sleep(0.01)
    for number in range(1, count + 1):
        await store.append(session, [_message(f"{name} {number}", usage=_call())])
    return _said(await _latest(store, session))


# -- what the tests read ------------------------------------------------------------------------


async def _read(store: EventStore, session_id: str) -> AnySession:
    session = await store.get(session_id)
    assert session is not None
    assert session.id == session_id
    return session


async def _head(store: EventStore, session_id: str) -> AnySession:
    session = await store.head(session_id)
    assert session is not None
    return session


async def _latest(store: EventStore, session: AnySession) -> AnySession:
    latest = await store.latest(session)
    assert latest is not None
    return latest


async def _newest(store: EventStore, session: AnySession, **asked_for: int) -> EventPage:
    page = await store.newest_events(session, **asked_for)
    assert page is not None
    return page


async def _log_pages(store: EventStore, session: AnySession, **asked_for: int) -> list[tuple[int, list[Any]]]:
    """The first number and the messages of each page of a log, from its end to its beginning."""
    pages = [await _newest(store, session, **asked_for)]
    while pages[-1].has_more:
        pages.append(await _newest(store, session, before=pages[-1].first, **asked_for))
    return [(page.first, [event.message for event in page.events]) for page in pages]


async def _read_by_another(store: EventStore, session: AnySession) -> AnySession:
    """The session as another object, which is not told what happens to this one."""
    read = await _read(store, session.id)
    return read.model_copy(deep=True) if read is session else read


async def _pages(
    store: EventStore,
    limit: int,
    *,
    between: Callable[[SessionPage], Awaitable[object]] | None = None,
    **filters: Any,
) -> list[str]:
    """All that is listed, page by page; `between` the pages, others do something."""
    page = await store.list_sessions(limit=limit, **filters)
    listed = list(page)
    while page.next_cursor is not None:
        assert len(page) == limit
        if between is not None:
            await between(page)
        page = await store.list_sessions(limit=limit, **filters | {"cursor": page.next_cursor})
        assert page, "a cursor leads on to something"
        assert not set(page) & set(listed), "no page repeats what was on one before"
        listed += page
    return listed


async def _hours_left(store: EventStore, session_ids: Iterable[str]) -> list[float]:
    return [(await store.time_to_live(session_id) or 0) / 3600 for session_id in session_ids]


def _said(session: AnySession) -> list[Any]:
    return [event.message for event in session.events]


def _contents(session: AnySession) -> dict[str, Any]:
    """All that a session holds, and what it adds up to, as plain values that another process can send."""
    summed = {"totals": session.totals.as_dict(), "cost": session.total_cost, "tokens": session.total_tokens}
    return session.model_dump() | summed | {"changed": session.last_update_time}


async def _contents_of(session_id: str, store: EventStore) -> dict[str, Any]:
    return _contents(await _read(store, session_id))


# -- what the tests check -----------------------------------------------------------------------


async def _check_is_unknown(store: EventStore, session_id: str) -> None:
    """A session is not there, whatever is asked about it."""
    assert await store.get(session_id) is None
    assert await store.head(session_id) is None
    assert await store.time_to_live(session_id) is None
    assert await store.extend_session_ttl(session_id, 1) is False
    assert await store.delete_conversation(session_id) == 0
    assert await store.segment_ids(session_id) == []
    await store.delete(session_id)


def _check_totals(session: AnySession) -> None:
    """What a session says that it adds up to is what its events add up to."""
    anew: AnySession = Session()
    anew.record(*session.events)
    assert session.totals == anew.totals
    assert session.newest_event_time == anew.newest_event_time
    assert _summed(session) == pytest.approx(_summed(anew))


def _summed(session: AnySession) -> dict[str, Any]:
    """The token summary, flat, as approximate comparison needs it."""
    summary = session.token_summary.model_dump()
    by_model = summary.pop("usage_by_model")
    return summary | {f"{model} {name}": v for model, usage in by_model.items() for name, v in usage.items()}


def _check_all_in_order(session: AnySession, names: Sequence[str], count: int) -> None:
    """Each writer's events are there, once, in the order of its writing; and the totals are theirs."""
    assert len({event.id for event in session.events}) == len(session.events)
    _check_each_in_order(_said(session), names, count)
    _check_totals(session)


def _check_each_in_order(said: Sequence[str], names: Sequence[str], count: int) -> None:
    assert len(said) == len(names) * count
    for name in names:
        assert [text for text in said if text.rpartition(" ")[0] == name] == [
            f"{name} {number}" for number in range(count)
        ]
