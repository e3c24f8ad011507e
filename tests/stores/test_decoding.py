"""Garbage collections are off while many events are decoded, and on afterwards and in forked processes."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Iterator

import pytest
from running import PATIENCE, wait_until

from chuk_ai_session_manager.exceptions import UnreadableData
from chuk_ai_session_manager.models import SessionEvent
from chuk_ai_session_manager.stores.codec import decode_events, encode_event
from chuk_ai_session_manager.stores.stored_data import StoredSession

BODY = encode_event(SessionEvent(message="word " * 30_000))


def _stored(bodies: list[str]) -> StoredSession:
    return StoredSession("s", "born", {}, {}, count=len(bodies), bodies=bodies)


class _Halting(list[str]):
    """JSON of events, of which the last one is there once somebody lets the reader go on."""

    def __init__(self, bodies: list[str]) -> None:
        super().__init__(bodies)
        self.is_reached, self.may_go_on = threading.Event(), threading.Event()
        self._reads = 0

    def __iter__(self) -> Iterator[str]:
        self._reads += 1
        yield from super().__iter__()
        if self._reads == 2:  # the first one measures the length, in the event loop
            self.is_reached.set()
            assert self.may_go_on.wait(PATIENCE)


async def _decoding(bodies: _Halting) -> asyncio.Task[list[SessionEvent[object]]]:
    """A task that is amid decoding."""
    task = asyncio.create_task(decode_events(_stored(bodies)))
    assert await asyncio.to_thread(bodies.is_reached.wait, PATIENCE)
    return task


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_process_that_is_forked_meanwhile_collects_garbage() -> None:
    bodies = _Halting([BODY])
    task = await _decoding(bodies)
    assert not gc.isenabled()
    child = os.fork()
    if child == 0:
        os._exit(0 if gc.isenabled() else 1)
    bodies.may_go_on.set()
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]) == 0
    assert len(await task) == 1
    assert gc.isenabled()


async def test_of_two_readers_the_last_one_leaves_collections_on_and_so_do_failures() -> None:
    first, second = _Halting([BODY]), _Halting([BODY])
    tasks = [await _decoding(first), await _decoding(second)]
    for each in (first, second):
        each.may_go_on.set()
    await asyncio.gather(*tasks)
    assert gc.isenabled()
    with pytest.raises(UnreadableData):
        await decode_events(_stored([BODY, BODY[:-1]]))
    assert gc.isenabled()


async def test_a_reader_that_is_cancelled_leaves_collections_on() -> None:
    bodies = _Halting([BODY])
    task = await _decoding(bodies)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bodies.may_go_on.set()
    last = _Halting([BODY])
    last.may_go_on.set()
    await asyncio.to_thread(wait_until, gc.isenabled, "the thread ends by itself")
    assert len(await decode_events(_stored(last))) == 1
    assert gc.isenabled()


async def test_an_application_that_switched_collections_off_keeps_them_off() -> None:
    gc.disable()
    try:
        await decode_events(_stored([BODY]))
        assert not gc.isenabled()
    finally:
        gc.enable()


class _Cycle:
    """An object that refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.me = self


async def test_read_events_are_old_at_once_and_earlier_garbage_is_not_kept() -> None:
    gc.disable()  # so that nothing but the decoding collects
    try:
        garbage = weakref.ref(_Cycle())
        gc.enable()
        [event] = await decode_events(_stored([BODY]))
        gc.disable()
        assert garbage() is None
        assert any(each is event for each in gc.get_objects(generation=2))
    finally:
        gc.enable()


async def test_objects_that_an_application_froze_stay_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        await decode_events(_stored([BODY]))
        # Some are freed meanwhile, as objects are that nothing refers to any more.
        assert frozen / 2 < gc.get_freeze_count() <= frozen
    finally:
        gc.unfreeze()
