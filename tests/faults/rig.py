"""The rig of the fault matrix: its rows, what each of them is run in, and one check of what comes of it.

A row does harm while sessions are written to. What was tried and what was acknowledged stands in a journal
outside the store. After it, of every session: nothing that was acknowledged is lost, nothing is doubled, the
order is gapless, what is counted is what the log comes to, each segment has one next at most, and nothing of
another session or sandbox is seen.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import multiprocessing
import os
import random
import subprocess
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count, groupby, pairwise, takewhile
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar
from uuid import uuid4

import pytest
from places import Place
from servers import HOST, PATIENCE

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, StorageError, TokenUsage
from chuk_ai_session_manager.models import EventSource, EventType
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.codec import EncodedEvent
from chuk_ai_session_manager.stores.durable import Appended
from chuk_ai_session_manager.stores.redis.store import RedisStore

P = ParamSpec("P")
T = TypeVar("T")

RANDOM = random.Random()  # noqa: S311  (moments, not secrets)

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


# -- the journal --------------------------------------------------------------------------------


class Written(NamedTuple):
    """What a journal holds: the names of events, by session, in the order in which they were noted."""

    tried: dict[str, dict[str, None]]
    acknowledged: dict[str, dict[str, None]]
    worst_delay: float


_noting = Lock()
os.register_at_fork(before=_noting.acquire, after_in_parent=_noting.release, after_in_child=_noting.release)


class Journal:
    """What was tried and what was acknowledged, in files: one for each process, a line for each event.

    It may be handed to other processes. A line is there once it was noted, whatever becomes of its process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = 0

    @contextmanager
    def writing(self, session_id: str, *names: str) -> Iterator[None]:
        """Note that events with these names are tried, and, if the block ends well, acknowledged."""
        self._note("tried", session_id, names, 0.0)
        begun, how = time.monotonic(), "failed"
        try:
            yield
            how = "acknowledged"
        finally:
            self._note(how, session_id, names, time.monotonic() - begun)

    def _note(self, what: str, session_id: str, names: Sequence[str], seconds: float) -> None:
        line = json.dumps([what, session_id, names, seconds]).encode() + b"\n"
        with _noting:  # of several threads, one opens the file
            if self._process != os.getpid():
                path = self._folder / f"{os.getpid()}-{uuid4().hex}.journal"
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                self._process = os.getpid()
            os.write(self._file, line)

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_process": 0}

    def read(self) -> Written:
        """All that is noted by now, by whomever."""
        written = Written(defaultdict(dict), defaultdict(dict), 0.0)
        worst = 0.0
        for line in self._lines():
            what, session_id, names, seconds = json.loads(line)
            worst = max(worst, seconds)
            if what == "tried":
                written.tried[session_id].update(dict.fromkeys(names))
            elif what == "acknowledged":
                written.acknowledged[session_id].update(dict.fromkeys(names))
        return written._replace(worst_delay=worst)

    def acknowledgements(self, process: int | None) -> int:
        """How many lines of a process say so."""
        lines = self._lines(f"{process}-")
        return sum(line.startswith(b'["ack') for line in lines)

    def _lines(self, begin: str = "") -> Iterator[bytes]:
        for path in sorted(self._folder.glob(f"{begin}*.journal")):
            yield from path.read_bytes().rpartition(b"\n")[0].splitlines()  # the last one may be cut


def named(name: str, *, size: int = 0) -> SessionEvent[Any]:
    """An event that counts for something and says its name first, and then as many words as `size`."""
    usage = TokenUsage(prompt_tokens=3, completion_tokens=2, model="gpt-4o")
    return SessionEvent(message=f"{name}{' word' * size}", source=EventSource.USER, token_usage=usage)


def name_of(event: SessionEvent[Any]) -> str:
    return str(event.message).partition(" ")[0]


def names_in(segments: Iterable[Session[Any]]) -> list[str]:
    """The names of all messages."""
    return [
        name_of(event) for segment in segments for event in segment.events if event.type == EventType.MESSAGE
    ]


# -- the check ----------------------------------------------------------------------------------


async def conversation(store: EventStore, session_id: str) -> list[Session[Any]]:
    """All segments of a conversation; none where it is gone."""
    segments = [await store.get(each) for each in await store.segment_ids(session_id)]
    assert None not in segments, "a segment is missing"
    return [segment for segment in segments if segment is not None]


class Sums(NamedTuple):
    """What a session says that its events come to."""

    events: int
    messages: int
    tokens: int
    cost: float
    newest: datetime


def sums_of(session: Session[Any]) -> Sums:
    totals = session.totals
    return Sums(
        totals.events, totals.messages, session.total_tokens, session.total_cost, session.last_update_time
    )


async def intact(store: EventStore, session_id: str) -> list[SessionEvent[Any]]:
    """A session's events, none of them doubled, and what is counted of them is what they come to.

    Where a store has an object of the session in use, that counts its events itself: what is stored of sums
    is seen in a store that has not read them yet.
    """
    head = await store.head(session_id)
    assert head is not None
    stored = sums_of(head)  # before its events are read
    session = await store.get(session_id)
    assert session is not None
    events = session.events
    assert len({event.id for event in events}) == len(events)
    messages = [event for event in events if event.type == EventType.MESSAGE]
    usages = [event.token_usage for event in events if event.token_usage]
    for sums in (stored, sums_of(session)):
        assert sums.events == len(events)
        assert sums.messages == len(messages)
        assert sums.tokens == sum(usage.total_tokens for usage in usages)
        assert sums.cost == pytest.approx(sum(usage.estimated_cost_usd or 0.0 for usage in usages))
        if events:
            assert sums.newest == max(event.timestamp for event in events)
    if not (session.parent_id or session.child_ids):
        stats = await SessionManager(session_id, store=store, create=False).get_stats()
        assert (stats["total_events"], stats["total_tokens"]) == (len(events), session.total_tokens)
        assert stats["estimated_cost"] == pytest.approx(session.total_cost)
    return events


def check_order(session_id: str, segments: Sequence[Session[Any]], written: Written) -> None:
    """Only what was tried in this session is there, and what each writer was told of is in its order."""
    names = names_in(segments)
    assert set(names) <= written.tried[session_id].keys(), f"events of others in {session_id}"
    acknowledged = written.acknowledged[session_id]
    there = by_writer(name for name in names if name in acknowledged)
    called = by_writer(name for name in written.tried[session_id] if name in acknowledged.keys() & set(names))
    assert there == called


def by_writer(names: Iterable[str]) -> dict[str, list[str]]:
    """Names in their order, of each writer for itself: they are "writer/number"."""
    of_each: dict[str, list[str]] = {}
    for name in names:
        of_each.setdefault(name.rpartition("/")[0], []).append(name)
    return of_each


def check_chain(segments: Sequence[Session[Any]]) -> None:
    """Each segment but the last has one child, the next one."""
    for segment, following in pairwise(segments):
        assert (segment.child_ids, following.parent_id) == ([following.id], segment.id)


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


# Processes begin in a few milliseconds, from one that has imported what is slow.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "pytest",
        "trustme",
        "chuk_ai_session_manager.session_manager",
        "chuk_ai_session_manager.session_aware_tool_processor",
        "redis.asyncio",
    ]
)

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


# -- harm ---------------------------------------------------------------------------------------


class Proxy:
    """Passes commands on to a server and its answers back: late, or not at all, as it is told.

    Args:
        target_port: the server's.
    """

    def __init__(self, target_port: int) -> None:
        self.lost = 0
        """How many answers were lost so far: the server had carried out what they answer."""
        self.losing = 0.0
        """The share of answers to `sign` that are lost, with their connections."""
        self.cuts = True
        """Whether the connection ends with a lost answer; else it stays open, and mute."""
        self.sign = b""
        """What is in the commands whose answers may be lost."""
        self.delay = 0.0
        """Seconds that an answer is late, up to."""
        self.target_port = target_port
        self._once = False

    def lose_next(self, sign: bytes) -> None:
        """Lose the next answer to a command with these bytes in it."""
        self.sign, self.losing, self._once = sign, 1.0, True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """The port that it listens on."""
        server = await asyncio.start_server(self._carry, HOST, 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        asked: list[bytes] = []
        with suppress(OSError, asyncio.CancelledError):  # cancelled it is only with the loop
            server, to_server = await asyncio.open_connection(HOST, self.target_port)
            ends = to_server.transport, to_client.transport
            await asyncio.gather(
                _until_either_ends(self._forth(client, to_server, asked), ends),
                _until_either_ends(self._back(server, to_client, asked), ends),
            )
        to_client.transport.abort()

    async def _forth(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        while command := await client.read(1 << 20):
            asked.append(command)
            to_server.write(command)

    async def _back(
        self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        while answer := await server.read(1 << 20):
            commands = b"".join(asked)
            asked.clear()
            was_done = b"NOSCRIPT" not in answer  # else it is sent in full after this
            if self.sign in commands and was_done and RANDOM.random() < self.losing:
                self.lost += 1
                if self._once:
                    self.losing = 0.0
                if self.cuts:
                    return
            else:
                await asyncio.sleep(RANDOM.uniform(0, self.delay))
                to_client.write(answer)


async def _until_either_ends(
    carrying: Coroutine[Any, Any, None], ends: Sequence[asyncio.WriteTransport]
) -> None:
    try:
        with suppress(OSError):
            await carrying
    finally:
        for end in ends:
            end.abort()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of a megabyte; skips the test for who may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mounting = ["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("only who may mount a small file system can fill one up")
    try:
        yield disk
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(disk)], check=True)


# -- places and what is known to be bad ---------------------------------------------------------


@dataclass
class OnRedis(Place):
    """A place in Redis, for stores with a deadline of their own, or of a kind that is known to be bad."""

    timeout: float = PATIENCE
    kind: type[RedisStore] = RedisStore

    def store(self) -> RedisStore:
        return self.kind(self.url, sandbox_id=self.sandbox, ttl_hours=self.ttl_hours, timeout=self.timeout)


class _FreshId(str):
    """Another id each time it is sent."""

    def __str__(self) -> str:
        return uuid4().hex


class BlindStore(RedisStore):
    """Known to be bad: its appends are not idempotent, and are sent again when the reply is lost."""

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        events = [event._replace(id=_FreshId(event.id)) for event in events]
        return await super()._add(session_id, events, born, only_at)
