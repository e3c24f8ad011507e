"""One manager, one store, and many threads with event loops of their own, at once or one after the other."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from places import InMemory, Place
from servers import PATIENCE

from chuk_ai_session_manager import (
    Session,
    SessionAwareToolProcessor,
    SessionManager,
    TokenLimitExceeded,
    configure_storage,
    track_conversation,
)
from chuk_ai_session_manager.api.simple_api import stream_llm_call, track_llm_call
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.session_storage import get_backend

THREADS = 4
EACH = 10

in_all_stores = pytest.mark.parametrize("place", ["memory", "sqlite", "redis", "cluster"], indirect=True)

Work = Callable[[], Coroutine[Any, Any, None]]


def at_once(work: Callable[[int], Coroutine[Any, Any, None]], threads: int = THREADS) -> None:
    """Do it in threads, each with an event loop of its own; it ends in all of them."""
    failures: list[BaseException] = []
    start = threading.Barrier(threads)

    def run(number: int) -> None:
        start.wait(PATIENCE)
        try:
            asyncio.run(asyncio.wait_for(work(number), PATIENCE))
        except BaseException as problem:  # noqa: BLE001  (told below)
            failures.append(problem)

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(2 * PATIENCE)
    assert failures == []
    assert not any(thread.is_alive() for thread in running), "a thread hangs"


def alone(work: Awaitable[Any]) -> Any:
    async def in_time() -> Any:
        return await asyncio.wait_for(work, PATIENCE)

    return asyncio.run(in_time())


def check_texts(texts: list[str], threads: int = THREADS, each: int = EACH) -> None:
    """Each thread's messages are there, once and in their order."""
    assert len(texts) == threads * each
    for thread in range(threads):
        own = [text for text in texts if text.startswith(f"{thread}/")]
        assert own == [f"{thread}/{number}" for number in range(each)]


async def texts_in(manager: SessionManager) -> list[str]:
    return [row["content"] for row in await manager.get_conversation()]


def read_elsewhere(place: Place, session_id: str, **options: Any) -> list[str]:
    """The messages, by a manager and a store that were opened for this."""

    async def read() -> list[str]:
        async with place.store() as store:
            return await texts_in(SessionManager(session_id, store=store, **options))

    texts: list[str] = alone(read())
    return texts


@in_all_stores
class TestAtOnce:
    def test_one_manager(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(manager)))
        check_texts(read_elsewhere(place, "shared"))

    def test_tasks_of_each_thread_at_once(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())

        async def write(thread: int) -> None:
            await asyncio.gather(*(manager.user_says(f"{thread}/{number}") for number in range(EACH)))

        at_once(write)
        check_texts(read_elsewhere(place, "shared"))

    def test_a_manager_for_each_thread_on_one_store(self, place: Place) -> None:
        store = place.store()

        async def write(thread: int) -> None:
            manager = SessionManager("shared", store=store)
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(read_elsewhere(place, "shared"))

    def test_some_read_what_others_write(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())
        alone(manager.user_says("first"))

        async def use(thread: int) -> None:
            for number in range(EACH):
                if thread < 2:
                    await manager.user_says(f"{thread}/{number}")
                    continue
                texts = await texts_in(manager)
                assert texts[0] == "first"
                assert len(texts) == len(set(texts))
                stats = await manager.get_stats()
                assert stats["total_messages"] >= len(texts)
                assert len(await manager.get_messages_for_llm()) >= len(texts)

        at_once(use)
        texts = read_elsewhere(place, "shared")
        check_texts(texts[1:], threads=2)
        assert alone(manager.get_stats())["total_messages"] == 2 * EACH + 1

    def test_limits_hold(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store(), token_limit=60)
        written: list[str] = []

        async def write(thread: int) -> None:
            for number in range(EACH):
                try:
                    await manager.user_says(f"{thread}/{number}")
                except TokenLimitExceeded:
                    return
                written.append(f"{thread}/{number}")

        at_once(write)
        texts = read_elsewhere(place, "shared")
        assert sorted(texts) == sorted(written)
        assert 0 < alone(manager.get_stats())["total_tokens"] <= 60

    @pytest.mark.parametrize("kind", ["built-in", "async", "blocking"])
    def test_infinite_context_with_summaries(self, place: Place, kind: str) -> None:
        async def summary(_: list[dict[str, Any]]) -> str:
            await asyncio.sleep(0.01)
            return "a summary"

        callbacks: dict[str, Any] = {"async": summary, "blocking": lambda _: "a summary", "built-in": None}
        options: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 5}
        store = place.store()
        manager = SessionManager("shared", store=store, summary_callback=callbacks[kind], **options)

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")
            await manager.wait_for_summaries()

        at_once(write)
        check_texts(read_elsewhere(place, "shared", **options))

        async def ends() -> list[Any]:
            segments = [await store.get(each) for each in await store.segment_ids("shared")]
            return [(segment.events[-1] if segment else None) for segment in segments]

        *closed, live = alone(ends())
        assert len(closed) == THREADS * EACH // 5 - 1
        assert {event.type for event in closed} == {EventType.SUMMARY}
        made_by = "built-in" if kind == "built-in" else "callback"
        assert {event.metadata["made_by"] for event in closed} == {made_by}
        assert live.type == EventType.MESSAGE

    def test_tracked_calls_and_streams(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())

        async def pieces(question: str) -> AsyncIterator[str]:
            for piece in ("an", "swer ", question):
                await asyncio.sleep(0)
                yield piece

        async def use(thread: int) -> None:
            for number in range(3):
                question = f"{thread}/{number}"
                if thread % 2:
                    await track_llm_call(question, lambda text: f"answer {text}", session_manager=manager)
                    continue
                stream = stream_llm_call(question, pieces, session_manager=manager)
                assert "".join([piece async for piece in stream]) == f"answer {question}"

        at_once(use)
        texts = read_elsewhere(place, "shared")
        check_texts([text for text in texts if not text.startswith("answer")], each=3)
        assert len(texts) == 2 * 3 * THREADS

    def test_a_tool_processor(self, place: Place) -> None:
        store = place.store()
        alone(store.create(Session(id="shared")))
        processor = SessionAwareToolProcessor("shared", store=store)

        async def use(thread: int) -> None:
            for number in range(3):
                function = {"name": "unknown_tool", "arguments": json.dumps({"of": f"{thread}/{number}"})}
                call = {"id": f"call-{thread}-{number}", "type": "function", "function": function}
                message = {"role": "assistant", "content": f"{thread}/{number}", "tool_calls": [call]}
                (result,) = await processor.process_llm_message(message)
                assert result.error

        at_once(use)
        session = alone(place.store().get("shared"))
        said = [event for event in session.events if event.type == EventType.MESSAGE]
        assert len(said) == 3 * THREADS
        assert len(session.events) == 2 * len(said)

    def test_closing_the_store_in_one_thread_stops_no_other(self, place: Place) -> None:
        store = place.store()
        manager = SessionManager("shared", store=store)

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")
                if thread == 0:
                    await store.close()

        at_once(write)
        check_texts(read_elsewhere(place, "shared"))


class CutOffError(Exception):
    """What ends an event loop's work in the middle."""


left_behind: list[Any] = []


def leave_behind(*things: Any) -> None:
    """Have them stay, as some list of an application's might hold them, without asyncio's telling of it."""
    for each in things:
        each._log_destroy_pending = False
    left_behind.extend(things)


@pytest.fixture
def nothing_stays() -> Iterator[None]:
    """What a test leaves behind goes with it, and the warnings about it too."""
    yield
    for each in left_behind:
        if isinstance(each, asyncio.AbstractEventLoop):
            each.close()
    left_behind.clear()
    gc.collect()


def is_cancelled(write: Work) -> None:
    async def main() -> None:
        task = asyncio.create_task(write())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())


def is_ended_by_an_exception(write: Work) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(write()) for _ in range(3)]
        await asyncio.sleep(0)
        assert tasks
        raise CutOffError

    with pytest.raises(CutOffError):
        asyncio.run(main())


def is_ended_by_system_exit(write: Work) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def main() -> None:
        await asyncio.gather(write(), leave(), write())

    with pytest.raises(SystemExit):
        asyncio.run(main())


def is_closed_in_the_middle(write: Work) -> None:
    """What becomes of tasks whose loop nobody runs to its end, as of a worker thread that dies."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(write()) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    leave_behind(*tasks)


def is_left_standing(write: Work) -> None:
    """The same, with a loop that is not closed either."""
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(write()) for _ in range(3)]
    loop.run_until_complete(asyncio.sleep(0))
    leave_behind(loop, *tasks)


CUTS = [
    is_cancelled,
    is_ended_by_an_exception,
    is_ended_by_system_exit,
    is_closed_in_the_middle,
    is_left_standing,
]


@in_all_stores
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__name__)
@pytest.mark.usefixtures("nothing_stays")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a loop that is left behind leaves its sockets
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestOneAfterTheOther:
    def test_a_manager_goes_on_after_a_loop_that_was_cut_off(
        self, place: Place, cut: Callable[[Work], None]
    ) -> None:
        manager = SessionManager(
            "shared", store=place.store(), infinite_context=True, max_turns_per_segment=4
        )
        acknowledged: list[str] = []
        numbers = count()

        async def write() -> None:
            text = f"cut off {next(numbers)}"
            await manager.user_says(text)
            acknowledged.append(text)

        for turn in range(3):
            cut(write)
            alone(manager.user_says(f"after {turn}"))
            acknowledged.append(f"after {turn}")
        texts = read_elsewhere(place, "shared", infinite_context=True)
        assert [text for text in texts if text.startswith("after")] == [f"after {turn}" for turn in range(3)]
        assert set(acknowledged) <= set(texts)
        assert len(texts) == len(set(texts))

    def test_other_threads_go_on_beside_it(self, place: Place, cut: Callable[[Work], None]) -> None:
        manager = SessionManager("shared", store=place.store())
        numbers = count()

        async def cut_off() -> None:
            await manager.user_says(f"cut off {next(numbers)}")

        async def write(thread: int) -> None:
            for number in range(EACH):
                if thread == 0 and number % 4 == 0:
                    await asyncio.to_thread(cut, cut_off)
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        texts = read_elsewhere(place, "shared")
        check_texts([text for text in texts if not text.startswith("cut off")])


class TestDefaultStore:
    @pytest.mark.parametrize("provider", ["memory", "sqlite"])
    def test_threads_that_come_first_at_once_get_one_store(
        self, provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SESSION_PROVIDER", provider)
        monkeypatch.setenv("SESSION_SQLITE_PATH", str(tmp_path / "default.db"))
        found: list[Any] = []

        async def write(thread: int) -> None:
            found.append(get_backend().store)
            await track_conversation(f"{thread}/0", "fine", session_id="first")

        for _ in range(10):
            monkeypatch.setattr("chuk_ai_session_manager.session_storage._backend", None)
            found.clear()
            at_once(write)
            assert all(store is found[0] for store in found)
            alone(get_backend().close())

    def test_managers_without_a_store_share_it(self) -> None:
        configure_storage("threads")
        manager = SessionManager()

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(manager)))


class Serialising:
    """A store of an application's own, with `get` and `save` alone."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    async def get(self, session_id: str) -> Session[Any] | None:
        row = self.rows.get(session_id)
        await asyncio.sleep(0)
        return None if row is None else Session.model_validate_json(row)

    async def save(self, session: Session[Any]) -> None:
        row = session.model_dump_json()
        await asyncio.sleep(0)
        self.rows[session.id] = row


class Live:
    """The same, which keeps the objects themselves."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session[Any]] = {}

    async def get(self, session_id: str) -> Session[Any] | None:
        return self.sessions.get(session_id)

    async def save(self, session: Session[Any]) -> None:
        await asyncio.sleep(0)
        self.sessions[session.id] = session


class Forgetful(Live):
    """A stand-in that finds nothing."""

    async def get(self, session_id: str) -> Session[Any] | None:
        return None


@pytest.mark.parametrize("kind", [Serialising, Live])
@pytest.mark.parametrize("options", [{}, {"infinite_context": True, "max_turns_per_segment": 5}], ids=str)
class TestStoresOfWholeSessions:
    def test_one_manager(self, kind: type[Any], options: dict[str, Any]) -> None:
        store = kind()
        manager = SessionManager("shared", store=store, **options)

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(SessionManager("shared", store=store, **options))))

    def test_a_manager_for_each_thread(self, kind: type[Any], options: dict[str, Any]) -> None:
        store = kind()

        async def write(thread: int) -> None:
            manager = SessionManager("shared", store=store, **options)
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(SessionManager("shared", store=store, **options))))


def test_a_stand_in_that_finds_nothing_serves_all_threads() -> None:
    manager = SessionManager("shared", store=Forgetful())

    async def write(thread: int) -> None:
        for number in range(EACH):
            await manager.user_says(f"{thread}/{number}")

    at_once(write)
    assert manager.session_id == "shared"


WEB_APPLICATION = """
import asyncio, json, sys
from concurrent.futures import ThreadPoolExecutor
from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import open_store

manager = SessionManager("of the module", store=open_store(sys.argv[1], sandbox_id=sys.argv[2]))

async def answered(question):
    await manager.user_says(question)
    context = await manager.get_messages_for_llm()
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    await manager.ai_responds(f"to {question}", model="gpt-4o", usage=usage)
    return len(context)

def request(question):
    return asyncio.run(answered(question))

async def killed():
    writing = asyncio.create_task(manager.user_says("cut off"))
    await asyncio.sleep(0)
    raise SystemExit(writing.done())

def cut_off(_):
    try:
        asyncio.run(killed())
    except SystemExit:
        pass

with ThreadPoolExecutor(4) as pool:
    if sys.argv[3] == "cut off before":
        list(pool.map(cut_off, range(8)))
    questions = [f"question {number}" for number in range(40)]
    lengths = list(pool.map(request, questions))
rows = asyncio.run(manager.get_conversation())
print(json.dumps([row["content"] for row in rows if row["content"] != "cut off"]))
"""


@pytest.mark.parametrize("place", ["memory", "sqlite", "redis"], indirect=True)
@pytest.mark.parametrize("before", ["nothing before", "cut off before"])
def test_a_web_application_with_a_manager_of_the_module(place: Place, before: str) -> None:
    """A pool of threads, an event loop for each request: what Flask does with async views."""
    words = [sys.executable, "-c", WEB_APPLICATION, place.url, place.sandbox, before]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    texts = json.loads(done.stdout)
    questions = {f"question {number}" for number in range(40)}
    assert sorted(texts) == sorted([*questions, *(f"to {question}" for question in questions)])
    for question in questions:
        assert texts.index(question) < texts.index(f"to {question}")
    if not isinstance(place, InMemory):
        stored = read_elsewhere(place, "of the module")
        assert [text for text in stored if text != "cut off"] == texts
