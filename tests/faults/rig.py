"""The rig of the fault matrix: its rows, what each of them is run in, and one check of what comes of it.

A row does harm while sessions are written to. What was tried and what was acknowledged stands in a journal
outside the store. After it, of every session: nothing that was acknowledged is lost, nothing is doubled, the
order is gapless, what is counted is what the log comes to, each segment has one next at most, and nothing of
another session or sandbox is seen.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, groupby, takewhile
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar
from uuid import uuid4

import pytest
from breakage import RANDOM
from journal import Journal, Written, check_chain, check_order, conversation, intact, name_of, named, names_in
from places import FORKED, Place
from running import PATIENCE

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, StorageError
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

P = ParamSpec("P")


T = TypeVar("T")


# -- rows ---------------------------------------------------------------------------------------

MATRIX = (
    "reply lost, CLIENT KILL",
    "writer SIGKILLed in mid-append",
    "Redis SIGKILLed and restarted, AOF on",
    "Redis paused, asleep, stopped",
    "Redis out of memory",
    "Redis evicting keys",
    "Cluster failover, slot move, READONLY, LOADING",
    "Sentinel failover",
    "task cancelled at every await",
    "50 writers on one session",
    "all of them crossing token_threshold",
    "clocks an hour apart",
    "TTL running out in mid-conversation",
    "foreign or damaged data",
    "older and newer schema",
    "data written by the original",
    "10 MB message; message over the limit",
    "odd text",
    "no network for tiktoken",
    "unknown model",
    "hostile session ids",
    'ids with "not-found" in them',
    "another sandbox's id",
    "store down when a session is opened",
    "summary callback",
    "SQLite, many processes",
    "SQLite writer SIGKILLed",
    "disk full, read-only file, file that is no database",
    "delete against a late write",
    "fork; a second event loop",
    "a long log, a short context",
    "a replica is asked",
    "a demoted master is asked",
    "Redis 7 and later, as distributions ship it",
    "one manager, several threads",
    "one manager, loops one after the other",
    "a worker SIGKILLed in a tool call, and started again",
    "old ids and open managers after a roll-over, and between two tries",
    "a stream is left, and the user goes on",
    "state changed by many processes",
    "a program ends without close, its file alone is copied",
)


class Row(NamedTuple):
    """One scenario of the matrix."""

    scenario: str
    work: Callable[[Trial], Awaitable[None]]
    control: str
    """What is known to be bad and must be caught when the row is run with it; "" where there is none."""


ROWS: dict[str, Row] = {}


def row(
    scenario: str, *, control: str = ""
) -> Callable[[Callable[[Trial], Awaitable[None]]], Callable[[Trial], Awaitable[None]]]:
    """Register a row under the matrix's words for it; with `control`, it does so if `trial.is_control`."""

    def register(work: Callable[[Trial], Awaitable[None]]) -> Callable[[Trial], Awaitable[None]]:
        assert scenario not in ROWS, scenario
        ROWS[scenario] = Row(scenario, work, control)
        return work

    return register


def all_rows() -> dict[str, Row]:
    """Those of all modules beside this one that hold rows, by their scenarios."""
    for path in sorted(Path(__file__).parent.glob("fault_rows_*.py")):
        importlib.import_module(path.stem)
    return ROWS


class CheckFailed(AssertionError):  # noqa: N818 - said as it is
    """What a place holds is not what it must hold."""


@contextmanager
def judging() -> Iterator[None]:
    """What is wrong here is wrong with what a place holds, not with the row."""
    try:
        yield
    except (AssertionError, StorageError, pytest.fail.Exception) as problem:
        raise CheckFailed(str(problem)) from problem


@dataclass
class Outcome:
    """What came of a row."""

    row: str
    tried: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    worst_delay: float = 0.0
    """Seconds that the slowest write or attempt took, failed ones too."""
    window: str = ""
    """What of acknowledged events may be lost here, as documented."""
    note: str = ""
    """What else was measured."""

    @property
    def is_broken(self) -> bool:
        return bool(self.doubled or (self.lost and not self.window))


@dataclass
class Trial:
    """One run of a row, in a folder of its own."""

    folder: Path
    outcome: Outcome
    is_small: bool = True
    is_control: bool = False
    journal: Journal = field(init=False)
    _neighbours: dict[str, tuple[Place, Sequence[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.journal = Journal(self.folder)

    def size(self, small: T, large: T) -> T:
        """How much, in this run."""
        return small if self.is_small else large

    def on_sqlite(self, *, ttl_hours: float | None = None) -> Place:
        """A place in a file of its own."""
        return Place(f"sqlite:///{self.folder / uuid4().hex}.db", ttl_hours=ttl_hours)

    async def begin(self, place: Place, *session_ids: str) -> None:
        """Make these sessions, empty, and ones with the same ids in a sandbox beside, which hold an event."""
        async with place.store() as store:
            for session_id in session_ids:
                await store.create(Session(id=session_id))
        known = {each for _, of_place in self._neighbours.values() for each in of_place}
        assert place.sandbox not in self._neighbours, "begin all sessions of a place at once"
        assert not known & set(session_ids), "the journal tells sessions apart by their ids alone"
        beside = place.fresh()
        self._neighbours[place.sandbox] = (beside, session_ids)
        async with beside.store() as store:
            for session_id in session_ids:
                await store.create(Session(id=session_id, events=[named(f"beside/{session_id}")]))

    @contextmanager
    def succeeds(self) -> Iterator[None]:
        """The block goes through; it counts as one attempt."""
        with self._timed():
            yield
        self.outcome.acknowledged += 1

    @contextmanager
    def refused(self, *words: str, error: type[Exception] = StorageError) -> Iterator[None]:
        """The block ends in this error, whose text has these words; it counts as one attempt."""
        with self._timed(), ending_in(error, *words):
            yield

    @contextmanager
    def _timed(self) -> Iterator[None]:
        self.outcome.tried += 1
        begun = time.monotonic()
        try:
            yield
        finally:
            self.outcome.worst_delay = max(self.outcome.worst_delay, time.monotonic() - begun)

    async def check(self, place: Place, *session_ids: str) -> None:
        """Hold a place's conversations, read by a fresh store, against the journal: all that were begun.

        With `session_ids`, these are all that there have to be; those begun keep to be looked for beside.

        Raises:
            CheckFailed: something else than lost or doubled events, which the outcome counts, is wrong.
        """
        beside, begun = self._neighbours[place.sandbox]
        with judging():
            await self._check(place, session_ids or begun)
            async with beside.store() as store:
                for session_id in begun:
                    assert names_in(await conversation(store, session_id)) == [f"beside/{session_id}"]

    async def _check(self, place: Place, session_ids: Sequence[str]) -> None:
        written = self.journal.read()
        async with place.store() as store, place.store() as fresh:
            logs = {each: await conversation(store, each) for each in session_ids}
            for session_id, segments in logs.items():
                self._compare(session_id, segments, written)
            for session_id, segments in logs.items():
                check_order(session_id, segments, written)
                check_chain(segments)
                for segment in segments:
                    await intact(fresh, segment.id)
            known = {segment.id for segments in logs.values() for segment in segments}
            assert set(await store.list_sessions()) == known, "sessions that nobody made, or not all"

    def _compare(self, session_id: str, segments: Sequence[Session[Any]], written: Written) -> None:
        names = names_in(segments)
        self.outcome.lost += len(written.acknowledged[session_id].keys() - set(names))
        self.outcome.doubled += len(names) - len(set(names))

    def finish(self) -> None:
        """Add what the journal holds to the outcome."""
        written = self.journal.read()
        self.outcome.tried += sum(map(len, written.tried.values()))
        self.outcome.acknowledged += sum(map(len, written.acknowledged.values()))
        self.outcome.worst_delay = max(self.outcome.worst_delay, written.worst_delay)


async def run_row(
    one: Row, folder: Path, outcome: Outcome, *, is_small: bool = True, is_control: bool = False
) -> None:
    """Run a row to its end, in an empty folder; the outcome is told whatever becomes of it.

    Raises:
        AssertionError: what came of it is not what must.
    """
    trial = Trial(folder, outcome, is_small, is_control)
    try:
        await one.work(trial)
    finally:
        trial.finish()


@contextmanager
def ending_in(error: type[Exception], *words: str) -> Iterator[None]:
    """The block ends in this error, whose text has these words."""
    with pytest.raises(error) as caught:
        yield
    for word in words:
        assert word in str(caught.value)


# -- writers ------------------------------------------------------------------------------------


class Writers:
    """Tasks that write on and on while harm is done; each waits for its answer and goes on.

    A failed append is done again under its event's id until it goes through; what a manager failed to say
    is left: nobody can tell whether it was said.
    """

    def __init__(self, trial: Trial) -> None:
        self.acknowledged = 0
        self._trial = trial
        self._over = False
        self._more = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def append(self, store: EventStore, session_id: str, *, size: int = 0) -> None:
        """One more, that appends to the session itself."""
        self._tasks.append(asyncio.create_task(self._append(store, session_id, size)))

    def say(self, manager: SessionManager, session_id: str) -> None:
        """One more, that speaks through a manager, which others may share."""
        self._tasks.append(asyncio.create_task(self._say(manager, session_id)))

    async def _append(self, store: EventStore, session_id: str, size: int) -> None:
        session: Session[Any] = Session(id=session_id)
        for name in self._names("appended"):
            event = named(name, size=size)  # once: made anew, it would be another one
            was_written = False
            while not was_written:
                was_written = await self._write(session_id, name, partial(store.append, session, [event]))

    async def _say(self, manager: SessionManager, session_id: str) -> None:
        for name in self._names("said"):
            await self._write(session_id, name, partial(manager.user_says, name))

    def _names(self, kind: str) -> Iterator[str]:
        writer = f"{kind}-{uuid4().hex}"
        return (f"{writer}/{number}" for number in takewhile(lambda _: not self._over, count()))

    async def _write(self, session_id: str, name: str, write: Callable[[], Awaitable[object]]) -> bool:
        try:
            with self._trial.journal.writing(session_id, name):
                await write()
        except StorageError:
            return False
        self.acknowledged += 1
        self._more.set()
        await asyncio.sleep(0)  # others take their turns, where a store awaits nothing
        return True

    async def go_on(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        enough = self.acknowledged + more
        async with asyncio.timeout(PATIENCE):
            while self.acknowledged < enough:
                for task in self._tasks:
                    if task.done():
                        task.result()
                self._more.clear()
                await self._more.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Let each finish what it is at."""
        self._over = True
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=kind is not None)
        assert len(outcomes) == len(self._tasks)


_meeting: Barrier | None = None


def _meet(at: Barrier) -> None:
    """What a process is begun with: where it waits for the others before it works."""
    global _meeting  # noqa: PLW0603  (its own, for its whole life)
    _meeting = at


async def in_processes(
    work: Callable[P, Coroutine[Any, Any, T]], argument_lists: Sequence[tuple[Any, ...]]
) -> list[T]:
    """What `work` gives in several processes that begin it at once, each with its arguments."""
    meeting = FORKED.Barrier(len(argument_lists))
    with ProcessPoolExecutor(len(argument_lists), FORKED, initializer=_meet, initargs=(meeting,)) as pool:
        working = [pool.submit(_at_once, work, arguments) for arguments in argument_lists]
        return await asyncio.gather(*map(asyncio.wrap_future, working))


def _at_once(work: Callable[..., Coroutine[Any, Any, T]], arguments: tuple[Any, ...]) -> T:
    assert _meeting is not None
    _meeting.wait(PATIENCE)
    return asyncio.run(work(*arguments))


async def write_much(
    place: Place, journal: Journal, session_id: str, tasks: int, events: int, options: dict[str, Any]
) -> None:
    """In one of `in_processes`: half the tasks speak through one manager, and the others append.

    With options for the manager, all speak: who appends to a session itself opens no next segment.
    """

    async def say(manager: SessionManager, writer: str) -> None:
        for number in range(events):
            with journal.writing(session_id, f"{writer}/{number}"):
                await manager.user_says(f"{writer}/{number}")

    async def append(writer: str) -> None:
        session: Session[Any] = Session(id=session_id)
        for number in range(events):
            event = named(f"{writer}/{number}")
            with journal.writing(session_id, f"{writer}/{number}"):
                await store.append(session, [event])

    process = f"process-{os.getpid()}-{uuid4().hex}"
    async with place.store() as store:
        manager = SessionManager(session_id, store=store, **options)
        await asyncio.gather(
            *(
                say(manager, f"{process}-said-{task}") if task % 2 or options else append(f"{process}-{task}")
                for task in range(tasks)
            )
        )


async def kill_writers(trial: Trial, place: Place, session_id: str, times: int) -> None:
    """SIGKILL, at random moments, as many processes that append to a session, two at a time.

    Each appends three times at once, up to three events together: see `check_wholeness`.
    """
    writers = [_begin_writer(trial, place, session_id) for _ in range(2)]
    for number in range(times):
        async with asyncio.timeout(PATIENCE):
            while trial.journal.acknowledgements(writers[0].pid) < 2:
                assert all(writer.is_alive() for writer in writers), "a writer ended"
                await asyncio.sleep(0.002)
        await asyncio.sleep(RANDOM.uniform(0, 0.02))
        writers[0].kill()
        await asyncio.to_thread(writers.pop(0).join)
        if number + 2 < times:
            writers.append(_begin_writer(trial, place, session_id))
    for writer in writers:  # none, but where only one was asked for
        writer.kill()
        writer.join()


def _begin_writer(trial: Trial, place: Place, session_id: str) -> BaseProcess:
    writer = FORKED.Process(target=_write_until_killed, args=(place, trial.journal, session_id), daemon=True)
    writer.start()
    return writer


def _write_until_killed(place: Place, journal: Journal, session_id: str) -> None:
    asyncio.run(_append_on_and_on(place, journal, session_id))


async def _append_on_and_on(place: Place, journal: Journal, session_id: str) -> None:
    store, session = place.store(), Session[Any](id=session_id)

    async def append() -> None:
        writer = uuid4().hex
        for number in count():
            parts = RANDOM.randint(1, 3)
            events = [named(f"{writer}/{number}.{part}.{parts}", size=100) for part in range(parts)]
            with journal.writing(session_id, *map(name_of, events)):
                await store.append(session, events)

    await asyncio.gather(*(append() for _ in range(3)))


def check_wholeness(events: Iterable[SessionEvent[Any]]) -> None:
    """What `kill_writers` let be appended together is all there, one after the other, or not at all."""
    parts = [name_of(event).split(".") for event in events]
    with judging():
        for name, together in groupby(parts, key=lambda each: each[0]):
            group = list(together)
            assert [part for _, part, _ in group] == [str(at) for at in range(int(group[0][2]))], name


# -- places and what is known to be bad ---------------------------------------------------------


@dataclass
class OnRedis(Place):
    """A place in Redis, for stores with a deadline of their own, or of a kind that is known to be bad."""

    timeout: float = PATIENCE
    kind: type[RedisStore] = RedisStore

    def store(self) -> RedisStore:
        return self.kind(self.url, sandbox_id=self.sandbox, ttl_hours=self.ttl_hours, timeout=self.timeout)
