"""Rows of the fault matrix: tasks that are cancelled, forks, and several event loops."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from breakage import RANDOM, Proxy
from journal import Journal, conversation, name_of, named, names_in
from places import InMemory, Place
from rig import OnRedis, Trial, in_processes, judging, row
from running import HOST, PATIENCE, in_time
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionManager, StorageError
from chuk_ai_session_manager.stores import EventStore

# -- cancellation -------------------------------------------------------------------------------


@types.coroutine
def cancelled_at(
    work: Coroutine[Any, Any, object], step: int, *, when_answered: bool
) -> Generator[Any, Any, bool]:
    """Run work, cancelling the task that awaits this where the work waits for the `step`-th time.

    It is cancelled as it begins to wait, or in the very moment in which what it waits for is there.
    Whether it came that far.
    """
    task = asyncio.current_task()
    assert task is not None
    go_on: Callable[[], Any] = partial(work.send, None)
    for number in count():
        try:
            waiting = go_on()
        except StopIteration:
            return number > step
        if number == step:
            if when_answered and waiting is not None:
                waiting.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        try:
            yield waiting
        except BaseException as problem:  # noqa: BLE001  (it is the work's)
            go_on = partial(work.throw, problem)
        else:
            go_on = partial(work.send, None)
    raise AssertionError


class Cancelling:
    """Two openings of a place, of which one is used by tasks that are cancelled."""

    def __init__(self, trial: Trial, place: Place) -> None:
        self.trial, self.place = trial, place
        self.session_id = f"s-{uuid4().hex}"
        self.other_id = f"other-{uuid4().hex}"
        self.cancelled = 0
        self._numbers = count()

    async def __aenter__(self) -> Self:
        await self.trial.begin(self.place, self.session_id, self.other_id)
        self.store, self.fresh = self.place.store(), self.place.store()
        session = await self.store.get(self.session_id)
        assert session is not None
        self.session = session
        self.manager = SessionManager(
            self.session_id, store=self.store, infinite_context=True, max_turns_per_segment=4
        )
        self.works: Sequence[Callable[[], Coroutine[Any, Any, object]]] = (
            self._append,
            self._say,
            lambda: self.store.get(self.session_id),
            lambda: self.store.create(Session(id=f"new-{uuid4().hex}")),
            lambda: self.store.segment_ids(self.session_id),
            self.store.list_sessions,
            self.manager.get_stats,
            self.manager.get_messages_for_llm,
            lambda: self.manager.update_system_prompt(f"prompt {next(self._numbers)}"),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.manager.wait_for_summaries()
            await self.look()
            await self.trial.check(self.place)
        for store in (self.store, self.fresh):
            await store.close()

    async def _append(self) -> None:
        writer = f"pair-{next(self._numbers)}"
        events = [named(f"{writer}/{number}") for number in range(2)]
        with self.trial.journal.writing(self.session_id, *map(name_of, events)):
            await self.store.append(self.session, events)

    async def _say(self) -> None:
        with self.trial.journal.writing(self.session_id, name := f"said-{next(self._numbers)}/0"):
            await self.manager.user_says(name)

    async def until_cancelled(self, task: asyncio.Task[bool]) -> bool:
        """Wait for a task that is cancelled at some time; whether it came that far."""
        done, _ = await asyncio.wait({task}, timeout=PATIENCE)
        assert done, "it does not end"
        self.cancelled += task.cancelled()
        return task.cancelled() or task.result()

    async def look(self) -> None:
        """The next commands get their own answers; what was cancelled is decided, all or nothing of it."""
        with judging():
            there, other, head = await asyncio.gather(
                self._names(self.fresh), self.store.get(self.other_id), self.store.head(self.session_id)
            )
            assert other is not None
            assert head is not None
            assert (other.id, other.events, head.id) == (self.other_id, [], self.session_id)
            assert await self._names(self.store) == there == await self._names(self.fresh)
            pairs = [name for name in there if name.startswith("pair-")]
            assert all(f"{name[:-1]}{1 - int(name[-1])}" in pairs for name in pairs)
        for each in await self.fresh.list_sessions("new-"):
            await self.fresh.delete(each)

    async def _names(self, store: EventStore) -> list[str]:
        return names_in(await conversation(store, self.session_id))


@row("task cancelled at every await", control="redis-py 4.5.1")
async def tasks_are_cancelled(trial: Trial) -> None:
    with RedisServer() as server:
        proxy = Proxy(server.port)
        proxy.delay = 0.005
        async with proxy.running() as port:
            if trial.is_control:
                await cancel_bare_client(trial, port, str(Path(sys.prefix) / "redis-4.5.1"))
                return
            await cancel_bare_client(trial, port, "")
            for place in (InMemory(), trial.on_sqlite(), OnRedis(server.url)):
                for _ in range(trial.size(1, 10)):
                    await cancel_at_every_await(trial, place.fresh())
            for _ in range(trial.size(1, 20)):
                await cancel_at_random(trial, OnRedis(f"redis://{HOST}:{port}"))


async def cancel_at_every_await(trial: Trial, place: Place) -> None:
    async with Cancelling(trial, place) as cancelling:
        for work in cancelling.works:
            for when_answered in (False, True):
                for step in count():
                    task = asyncio.create_task(_run(cancelled_at(work(), step, when_answered=when_answered)))
                    came_that_far = await cancelling.until_cancelled(task)
                    assert task.cancelled() or not came_that_far, "the cancellation was swallowed"
                    await cancelling.look()
                    if not came_that_far:
                        break


async def _run(work: Awaitable[bool]) -> bool:
    return await work


async def cancel_at_random(trial: Trial, place: Place) -> None:
    async with Cancelling(trial, place) as cancelling:
        for _ in range(20):
            tasks = [asyncio.create_task(_done(RANDOM.choice(cancelling.works)())) for _ in range(8)]
            for task in tasks:
                asyncio.get_running_loop().call_later(RANDOM.uniform(0, 0.03), task.cancel)
            await asyncio.gather(*map(cancelling.until_cancelled, tasks))
            await cancelling.look()
        assert cancelling.cancelled > 20


async def _done(work: Awaitable[object]) -> bool:
    await work
    return False


async def cancel_bare_client(trial: Trial, port: int, folder: str) -> None:
    """The same with nothing but the client, of the release in a folder, or the one that is installed."""
    program = str(Path(__file__).parent / "bare_client.py")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, program, str(port), str(trial.size(100, 1_000)), "0.01"),
        env={**os.environ, "PYTHONPATH": folder},
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    with judging():
        assert int(told) == 0, "crossed replies"


# -- forks and event loops ----------------------------------------------------------------------


async def use(store: EventStore, journal: Journal, name: str) -> str:
    """Write and read much at once, each answer being the right one; "ok", or a `StorageError`'s text."""

    async def one(number: int) -> None:
        session: Session[Any] = Session(id=f"{name}-{number}")
        await store.create(session)
        with journal.writing(session.id, f"{session.id}/0"):
            await store.append(session, [named(f"{session.id}/0")])
        read = await store.get(session.id)
        assert read is not None
        assert (read.id, names_in([read])) == (session.id, [f"{session.id}/0"])

    try:
        await in_time(asyncio.gather(*map(one, range(20))))
    except StorageError as problem:
        return str(problem)
    return "ok"


async def fork_and_use(place: Place, journal: Journal, run: str) -> list[str]:
    """Use a store, fork, and use it on both sides, here again after the other side has ended."""
    store = place.store()
    outcomes = [await use(store, journal, f"before-{run}")]
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(answer, asyncio.run(use_and_let_go(store, journal, f"child-{run}")).encode())
        finally:
            os._exit(0)
    os.close(answer)
    outcomes.append(await use(store, journal, f"parent-{run}"))
    with open(answers, encoding="utf-8") as told:  # noqa: ASYNC230, PTH123  (a pipe's end; nobody else waits)
        outcomes.append(told.read())
    os.waitpid(child, 0)  # noqa: ASYNC222  (it has ended)
    outcomes.append(await use(store, journal, f"parent-later-{run}"))
    return [*outcomes, await use(store, journal, f"parent-last-{run}")]


async def use_and_let_go(store: EventStore, journal: Journal, name: str) -> str:
    """The same, and then nothing is left of what is not in use any more, such as a parent's connections."""
    told = await use(store, journal, name)
    gc.collect()
    return told


async def use_in_loops(place: Place, journal: Journal, run: str) -> list[str]:
    """Use a store in several event loops one after the other, and in several at once."""
    store = place.store()
    names = [f"loop-{number}-{run}" for number in range(3)]
    outcomes = [await asyncio.to_thread(asyncio.run, use(store, journal, name)) for name in names]
    names = [f"thread-{number}-{run}" for number in range(3)]
    at_once = (asyncio.to_thread(asyncio.run, use(store, journal, name)) for name in names)
    return [*outcomes, *await asyncio.gather(*at_once)]


@row("fork; a second event loop")
async def stores_are_forked(trial: Trial) -> None:
    with RedisServer() as server:
        for place in (trial.on_sqlite(), OnRedis(server.url, timeout=5.0)):
            await trial.begin(place)
            for run in range(trial.size(1, 20)):
                name = f"{place.url[:5]}-{run}"
                arguments = [(place, trial.journal, name)]
                for work in (fork_and_use, use_in_loops):
                    (outcomes,) = await in_processes(work, arguments)
                    assert set(outcomes) == {"ok"}, outcomes
            async with place.store() as store:
                there = set(await store.list_sessions())
            told = {each for each in trial.journal.read().acknowledged if place.url[:5] in each}
            await trial.check(place, *(there | told))
