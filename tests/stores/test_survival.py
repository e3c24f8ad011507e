"""What was acknowledged is there: after crashes, for other processes, among many writers, when cancelled."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
from breakage import RANDOM
from fault_rows_tasks import use
from journal import Journal, intact
from places import FORKED, Place, everywhere, in_another_process, on_each, run_work
from running import PATIENCE
from servers import RedisServer

from chuk_ai_session_manager import (
    Session,
    SessionEvent,
    SessionManager,
    SessionMetadata,
    SessionRun,
    TokenUsage,
    get_conversation_history,
    get_session_stats,
    track_conversation,
)
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import SqliteStore
from chuk_ai_session_manager.stores.redis.store import RedisStore


@pytest.fixture
def durable_server() -> Iterator[RedisServer]:
    """A server that has on disk what it acknowledged."""
    with RedisServer(aof=True) as server:
        yield server


def priced(message: str, event_id: str) -> SessionEvent[Any]:
    """An event that counts for something."""
    usage = TokenUsage(prompt_tokens=3, completion_tokens=2, model="gpt-4o")
    return SessionEvent(id=event_id, message=message, source=EventSource.USER, token_usage=usage)


# -- one process after the other ----------------------------------------------------------------


async def write_everything() -> dict[str, Any]:
    """One session with all that a session can have; how the process that wrote it sees it."""
    storage = get_backend()
    assert await track_conversation("Hello!", "Hi!", "gpt-4o", "openai", session_id="talk") == "talk"
    properties = {"user_id": "bob", "nested": {"a": [1, None, 2.5]}, "unicode": "blåbær ✓ 好"}
    await Session.create(session_id="s", metadata=SessionMetadata(properties=properties))
    for child_id in ("child-1", "child-2"):
        await Session.create(session_id=child_id, parent_id="s")
    sm = SessionManager("s", system_prompt="Be brief.")
    await sm.user_says("What time is it?", channel="web")
    await sm.tool_used("clock", {"zone": "UTC"}, {"hour": 12}, tool_call_id="call-1")
    await sm.ai_responds(
        "It is noon.", "gpt-4o", "openai", usage={"prompt_tokens": 100, "completion_tokens": 20}
    )
    session = await storage.get("s")
    assert session is not None
    run = await SessionRun.create({"purpose": "demo"})
    await run.mark_running()
    await run.add_tool_call(session.events[1].id)
    await run.mark_failed("no battery")
    session.runs += [run, await SessionRun.create()]
    session.task_ids.append("task-1")
    await session.set_state("cart", {"eggs": 3})
    await session.metadata.set_property("topic", "time")
    await session.add_event_and_save(SessionEvent(message={"note": "ünï"}, type=EventType.SUMMARY))
    return await everything(session)


async def read_everything() -> dict[str, Any]:
    session = await get_backend().get("s")
    assert session is not None
    assert await get_backend().list_sessions() == ["s", "child-2", "child-1", "talk"]
    await intact(get_backend().store, "s")
    read = await everything(session)
    await go_on()
    return read


async def go_on() -> None:
    """Go on with a conversation by the one-liners."""
    before = await get_session_stats("talk")
    assert (before["total_messages"], before["llm_calls"]) == (2, 1)
    assert await track_conversation("Bye!", "So long!", session_id="talk") == "talk"
    history = await get_conversation_history("talk")
    assert [row["content"] for row in history] == ["Hello!", "Hi!", "Bye!", "So long!"]
    after = await get_session_stats("talk")
    assert (after["total_messages"], after["created_at"]) == (4, before["created_at"])
    assert after["total_tokens"] > before["total_tokens"]


async def everything(session: Session[Any]) -> dict[str, Any]:
    return session.model_dump(mode="json") | {
        "totals": session.totals.as_dict(),
        "stats": await get_session_stats(session.id),
        "history": await get_conversation_history(session.id),
        "family": sorted(each.id for each in await session.descendants()),
        "messages": await SessionManager(session.id, create=False).get_messages_for_llm(),
    }


def check_everything(read: dict[str, Any], written: dict[str, Any]) -> None:
    assert read == written
    assert (read["state"], read["task_ids"]) == ({"cart": {"eggs": 3}}, ["task-1"])
    assert read["child_ids"] == read["family"] == ["child-1", "child-2"]
    assert read["metadata"]["properties"] == {
        "user_id": "bob",
        "nested": {"a": [1, None, 2.5]},
        "unicode": "blåbær ✓ 好",
        "topic": "time",
    }
    assert [run["status"] for run in read["runs"]] == ["failed", "pending"]
    assert [event["message"] for event in read["events"][::3]] == ["What time is it?", {"note": "ünï"}]
    assert [row["content"] for row in read["history"]] == ["What time is it?", "It is noon."]
    assert (read["totals"]["events"], read["totals"]["input_tokens"]) == (4, 100)
    assert read["stats"]["estimated_cost"] == pytest.approx(100 * 2.5e-6 + 20 * 10e-6)


def name_by_environment(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name the place, for this process and those that it starts."""
    monkeypatch.setenv("SESSION_PROVIDER", place.url.partition(":")[0])
    monkeypatch.setenv("SESSION_REDIS_URL", place.url)
    monkeypatch.setenv("SESSION_SQLITE_PATH", place.url.removeprefix("sqlite:///"))
    monkeypatch.setenv("CHUK_SANDBOX_ID", place.sandbox)


@on_each
def test_another_process_reads_everything_that_one_wrote_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_by_environment(place, monkeypatch)
    written = in_another_process(write_everything)
    check_everything(in_another_process(read_everything), written)


# -- a server that crashes ----------------------------------------------------------------------


class TestCrashingServer:
    def test_everything_is_there_after_a_crash(
        self, durable_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name_by_environment(Place(durable_server.url, "box"), monkeypatch)
        written = in_another_process(write_everything)
        durable_server.kill()
        durable_server.start()
        check_everything(in_another_process(read_everything), written)


# -- many writers -------------------------------------------------------------------------------


_meeting: Barrier | None = None


def meet(at: Barrier) -> None:
    """What a process is begun with: where it waits for the others before they write."""
    global _meeting  # noqa: PLW0603  (its own, for its whole life)
    _meeting = at


@pytest.fixture(scope="module")
def five_processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(5, FORKED, initializer=meet, initargs=(FORKED.Barrier(5),)) as pool:
        yield pool


async def write_much(place: Place, process: int) -> list[str]:
    """5 tasks say 40 messages each through one manager, 5 append as many; what was said, in call order."""
    called: list[str] = []

    async def say(sm: SessionManager, task: int) -> None:
        for number in range(40):
            text = f"{process}/said/{task}/{number}"
            called.append(text)
            await sm.user_says(text)

    async def append(task: int) -> None:
        session = await store.head("s")
        assert session is not None
        for number in range(40):
            name = f"{process}/appended/{task}/{number}"
            await store.append(session, [priced(name, name)])

    assert _meeting is not None
    _meeting.wait(PATIENCE)
    async with place.store() as store:
        sm = SessionManager("s", store=store)
        await asyncio.gather(*(say(sm, task) for task in range(5)), *(append(task) for task in range(5)))
    return called


class TestManyWriters:
    @everywhere
    async def test_all_events_are_there_once_and_in_one_order(
        self, place: Place, five_processes: ProcessPoolExecutor
    ) -> None:
        async with place.store() as store:
            await store.create(Session(id="s"))
            working = [
                five_processes.submit(run_work, partial(write_much, place, process)) for process in range(5)
            ]
            called = await asyncio.gather(*map(asyncio.wrap_future, working))
            events = await intact(store, "s")
        texts = [str(event.message) for event in events]
        assert len(set(texts)) == len(texts) == 5 * 10 * 40
        for process in range(5):
            assert [text for text in texts if text.startswith(f"{process}/said/")] == called[process]
            for task in range(5):
                name = f"{process}/appended/{task}"
                appended = [text for text in texts if text.startswith(f"{name}/")]
                assert appended == [f"{name}/{number}" for number in range(40)]
        changes = sum(one[0] != other[0] for one, other in pairwise(texts))
        assert changes > 5, "the processes did not write at the same time"


async def test_a_client_of_another_event_loop_is_refused_in_words(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    async with redis.asyncio.Redis.from_url(redis_server.url) as client:
        store = RedisStore(client, sandbox_id=uuid4().hex)
        assert await use(store, Journal(tmp_path), "here") == "ok"
        outcome = await asyncio.to_thread(asyncio.run, use(store, Journal(tmp_path), "there"))
        assert "another event loop" in outcome
        assert await use(store, Journal(tmp_path), "here-again") == "ok"


# -- cancellation -------------------------------------------------------------------------------


async def read_intact(place: Place) -> list[SessionEvent[Any]]:
    async with place.store() as store:
        return await intact(store, "s")


@on_each
async def test_what_comes_while_a_session_is_first_stored_is_not_counted_as_stored(place: Place) -> None:
    session: Session[Any] = Session(id="s", events=[SessionEvent(message="hello") for _ in range(3_000)])
    async with place.store() as store:
        creating = asyncio.create_task(store.create(session))
        await asyncio.sleep(0.001)
        session.events.append(SessionEvent(message="late"))
        await creating
        assert len(await read_intact(place)) in {3_000, 3_001}
        await store.save(session)
        assert len(await read_intact(place)) == 3_001


def test_a_fork_takes_nothing_out_of_memory() -> None:
    assert in_another_process(_write_and_fork) == ["hello"]


async def _write_and_fork() -> list[object]:
    """What a database in memory holds after a fork."""
    async with SqliteStore(":memory:") as store:
        await Session.create("s", store=store)
        await store.append(Session(id="s"), [SessionEvent(message="hello")])
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222  (nobody else waits here)
        read = await store.get("s")
        return [event.message for event in read.events] if read else []


class Cancelling:
    """Cancels work: after some steps of the event loop, or at random within the time it usually takes."""

    def __init__(self) -> None:
        self.cancelled = 0
        self._number = 0
        self._usual = 0.001

    async def learn(self, work: Callable[[], Awaitable[object]]) -> None:
        """See how long such work takes."""
        times = []
        for _ in range(9):
            begun = time.perf_counter()
            await work()
            times.append(time.perf_counter() - begun)
        self._usual = statistics.median(times)

    async def cancel(self, work: Coroutine[Any, Any, object]) -> bool:
        """Begin it and cancel it; whether it was done before."""
        task = asyncio.create_task(work)
        self._number += 1
        # By a thread: the event loop itself waits no less than a millisecond.
        cancel = asyncio.get_running_loop().call_soon_threadsafe, [task.cancel]
        timer = threading.Timer(RANDOM.uniform(0, 1.2 * self._usual), *cancel)
        if self._number % 2:
            for _ in range(self._number % 8):
                await asyncio.sleep(0)
            task.cancel()
        else:
            timer.start()
        try:
            await task
        except asyncio.CancelledError:
            self.cancelled += 1
            return False
        finally:
            timer.cancel()
        return True


@on_each
class TestCancellation:
    async def test_a_cancelled_append_is_wholly_there_or_absent(self, place: Place) -> None:
        store, fresh = place.store(), place.store()
        for session_id in ("s", "other"):
            await store.create(Session(id=session_id, state={"of": session_id}))
        session = await store.get("s")
        assert session is not None
        expected: list[str] = []
        maybe: set[str] = set()

        def pair(name: str) -> list[SessionEvent[Any]]:
            return [priced(name, f"{name}-{index}") for index in range(2)]

        async def append(name: str) -> None:
            await store.append(session, pair(name))
            expected.append(name)

        cancelling = Cancelling()
        numbers = iter(range(1_000))
        await cancelling.learn(lambda: append(f"whole-{next(numbers)}"))
        for number in range(50):
            name = f"cut-{number}"
            if not await cancelling.cancel(store.append(session, pair(name))):
                maybe.add(name)
            else:
                expected.append(name)
            # What follows gets its own answers, and finds the cancelled one decided.
            other, read, _ = await asyncio.gather(
                store.get("other"), fresh.get("s"), append(f"next-{number}")
            )
            assert other is not None
            assert other.state == {"of": "other"}
            assert read is not None
            at = [event.message for event in read.events].count(name)
            assert at == 2 or (at == 0 and name in maybe)
            if at:
                maybe.discard(name)
                expected += [name] * (name not in expected)
        assert cancelling.cancelled > 5
        texts = [event.message for event in await intact(fresh, "s")]
        assert sorted(texts) == sorted(expected * 2)
        assert [event.id for event in session.events] == [event.id for event in await intact(store, "s")]
        for each in (store, fresh):
            await each.close()

    async def test_a_retry_after_it_does_not_double(self, place: Place) -> None:
        async with place.store() as store:
            session: Session[Any] = Session(id="s")
            await store.create(session)
            cancelling = Cancelling()
            events = [priced("hello", f"event-{number}") for number in range(50)]
            for event in events:
                await cancelling.cancel(store.append(session, [event]))
                await store.append(session, [event])
            assert session.totals.events == len(session.events) == 50
        assert [event.id for event in await read_intact(place)] == [event.id for event in events]

    async def test_a_manager_goes_on_after_it(self, place: Place) -> None:
        async with place.store() as store:
            sm = SessionManager("s", store=store)
            cancelling = Cancelling()
            await cancelling.learn(lambda: sm.user_says("whole"))
            said = ["whole"] * 9
            for number in range(50):
                if await cancelling.cancel(sm.user_says(f"cut-{number}")):
                    said.append(f"cut-{number}")
                await sm.user_says(f"next-{number}")
                said.append(f"next-{number}")
            texts = [str(event.message) for event in await intact(store, "s")]
            assert cancelling.cancelled > 5
            assert [text for text in texts if text in said] == said
            assert all(text.startswith("cut-") for text in texts if text not in said)
            assert [row["content"] for row in await sm.get_conversation()] == texts

    async def test_a_cancelled_reading_leaves_the_next_its_own_answer(self, place: Place) -> None:
        async with place.store() as store:
            for number in range(3):
                events = [SessionEvent(message=f"{number}" * 20_000) for _ in range(50)]
                await store.create(Session(id=f"s{number}", events=events))
            cancelling = Cancelling()
            await cancelling.learn(lambda: store.get("s0"))
            for number in range(50):
                await cancelling.cancel(store.get(f"s{number % 3}"))
                session_id = f"s{(number + 1) % 3}"
                read = await store.get(session_id)
                assert read is not None
                assert (read.id, read.events[0].message[0], len(read.events)) == (
                    session_id,
                    session_id[1],
                    50,
                )
            assert cancelling.cancelled > 5
