"""Rows of the fault matrix: SQLite files that many write to, killed writers, files that cannot be written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from breakage import small_disk
from journal import conversation, name_of, named, names_in
from places import Place
from rig import Trial, check_wholeness, in_processes, judging, kill_writers, row, write_much

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.stores import EventStore, SqliteStore
from chuk_ai_session_manager.stores.changes import Appended
from chuk_ai_session_manager.stores.sqlite.known_logs import Connection
from chuk_ai_session_manager.stores.sqlite.worker import Worker
from chuk_ai_session_manager.stores.stored_data import EncodedEvent


@dataclass
class OnFile(Place):
    """A place in a file, for stores of a kind that is known to be bad."""

    kind: type[SqliteStore] = SqliteStore

    def store(self) -> EventStore:
        return self.kind(self.path, sandbox_id=self.sandbox)

    @property
    def path(self) -> Path:
        return Path(self.url.removeprefix("sqlite:///"))


def on_file(trial: Trial, bad_kind: type[SqliteStore]) -> OnFile:
    kind = bad_kind if trial.is_control else SqliteStore
    return OnFile(f"sqlite:///{trial.folder / 'sessions.db'}", kind=kind)


def check_integrity(path: Path) -> None:
    with judging(), closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# -- many processes -----------------------------------------------------------------------------


class _PlainConnection(Connection):
    """A connection whose transactions take the file for writing only when they write."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(statement.replace("BEGIN IMMEDIATE", "BEGIN"), *values)


class PlainStore(SqliteStore):
    """Known to be bad: its transactions are plain ones, which lose to "locked" where others wrote."""

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(path, **options)
        connect = self._worker._connect

        def connect_plainly() -> Connection:
            connection = connect()
            connection.__class__ = _PlainConnection
            return connection

        self._worker = Worker(connect_plainly, self._path)


@row("SQLite, many processes", control="transactions that begin without taking the file for writing")
async def many_processes(trial: Trial) -> None:
    place = on_file(trial, PlainStore)
    await trial.begin(place, "s")
    processes, tasks, events = trial.size((6, 2, 20), (50, 1, 40))
    of_each: list[tuple[Any, ...]] = [(place, trial.journal, "s", tasks, events, {})] * processes
    with judging():
        await in_processes(write_much, of_each)
    await trial.check(place)
    check_integrity(place.path)
    assert trial.is_control or len(trial.journal.read().acknowledged["s"]) == processes * tasks * events


# -- killed writers -----------------------------------------------------------------------------


class PiecemealStore(SqliteStore):
    """Known to be bad: what is appended together is committed one by one."""

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        appended = None
        for event in events:
            appended = await super()._add(session_id, [event], born, only_at)
        return appended


@row("SQLite writer SIGKILLed", control="what is appended together is committed one by one")
async def a_writer_is_killed(trial: Trial) -> None:
    place = on_file(trial, PiecemealStore)
    await trial.begin(place, "s")
    await kill_writers(trial, place, "s", trial.size(15, 300))
    check_integrity(place.path)
    await trial.check(place)
    async with place.store() as store:
        check_wholeness(event for one in await conversation(store, "s") for event in one.events)


# -- files that cannot be written -----------------------------------------------------------------


@row("disk full, read-only file, file that is no database")
async def the_file_cannot_be_written(trial: Trial) -> None:
    await the_file_may_not_grow(trial)
    with suppress(pytest.skip.Exception), small_disk(trial.folder) as disk:  # else only that much
        await the_disk_is_full(trial, disk)
        await the_disk_is_read_only(trial, disk)
    await the_file_is_read_only(trial)
    await the_file_is_no_database(trial)


async def the_file_may_not_grow(trial: Trial) -> None:
    place = trial.on_sqlite()
    await trial.begin(place, "bounded")
    store = place.store()
    assert isinstance(store, SqliteStore)

    async def allow(pages: int) -> None:
        await store._worker.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    async with store:
        await allow(60)
        await fill_up(trial, store, "bounded", partial(allow, 1_000_000))
    await trial.check(place)


async def the_disk_is_full(trial: Trial, disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(b"\0" * 500_000)
    place = OnFile(f"sqlite:///{disk / 'full.db'}")
    await trial.begin(place, "full")

    async def free() -> None:
        ballast.write_bytes(b"")

    async with place.store() as store:
        await fill_up(trial, store, "full", free)
    await trial.check(place)
    check_integrity(place.path)


async def fill_up(
    trial: Trial, store: EventStore, session_id: str, free: Callable[[], Awaitable[object]]
) -> None:
    """Append until it is refused; what was is not there, and goes through once there is room again."""
    session: Session[Any] = Session(id=session_id)
    event = named("0/0")
    with trial.refused("full"):
        for number in range(10_000):
            event = named(f"{session_id}/{number}", size=500)
            with trial.journal.writing(session_id, name_of(event)):
                await store.append(session, [event])
    big = named("refused/0", size=200_000)
    others: list[Callable[[], Awaitable[object]]] = [
        lambda: store.append(session, [big]),
        lambda: store.create(Session(id="new", events=[big])),
        lambda: SessionManager(session_id, store=store).user_says("word " * 200_000),
    ]
    for other in others:
        with trial.refused("full", "Nothing was written"):
            await other()
    assert await store.get("new") is None
    assert name_of(event) not in names_in(await conversation(store, session_id))
    await free()
    with trial.journal.writing(session_id, name_of(event)):
        await store.append(session, [event])
    with trial.journal.writing(session_id, "said/0"):
        await SessionManager(session_id, store=store).user_says("said/0")


async def the_disk_is_read_only(trial: Trial, disk: Path) -> None:
    (disk / "full.db").unlink()
    place = OnFile(f"sqlite:///{disk / 'mounted.db'}")

    @contextmanager
    def read_only() -> Iterator[None]:
        remount(disk, "ro")
        try:
            yield
        finally:
            remount(disk, "rw")

    await is_left_alone(trial, place, "mounted", read_only, "may this process write there")


def remount(disk: Path, how: str) -> None:
    subprocess.run(["/bin/mount", "-o", f"remount,{how}", str(disk)], check=True)


async def the_file_is_read_only(trial: Trial) -> None:
    place = OnFile(f"sqlite:///{trial.folder / 'protected.db'}")

    @contextmanager
    def opened_for_reading() -> Iterator[None]:
        """As by who may not write to it, which the tests' user may."""
        connect = partial(sqlite3.connect, uri=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda path, **given: connect(f"file:{path}?mode=ro", **given))
            yield

    await is_left_alone(trial, place, "protected", opened_for_reading, "read-only")


async def is_left_alone(
    trial: Trial,
    place: OnFile,
    session_id: str,
    protected: Callable[[], AbstractContextManager[None]],
    word: str,
) -> None:
    """What is read-only is read, not a byte of it changed, and written to when it is not any more."""
    await trial.begin(place, session_id)
    async with place.store() as store:
        with trial.journal.writing(session_id, "before/0"):
            await SessionManager(session_id, store=store).user_says("before/0")
    before = place.path.read_bytes()
    event = named("after/0")
    session: Session[Any] = Session(id=session_id)
    with protected():
        async with place.store() as store:
            attempts: list[Callable[[], Awaitable[object]]] = [
                lambda: store.append(session, [event]),
                lambda: store.create(Session(id="new")),
                lambda: SessionManager(session_id, store=store).user_says("lost/0"),
            ]
            for attempt in attempts:
                with trial.refused(str(place.path), word):
                    await attempt()
        assert place.path.read_bytes() == before
    async with place.store() as store:
        assert await store.get("new") is None
        with trial.journal.writing(session_id, "after/0"):
            await store.append(session, [event])
    await trial.check(place)


async def the_file_is_no_database(trial: Trial) -> None:
    foreign = trial.folder / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE theirs (a)")
    contents = [os.urandom(100), os.urandom(100_000), b"SQLite format 3\0" + os.urandom(5_000)]
    for number, content in enumerate([*contents, foreign.read_bytes()]):
        path = trial.folder / f"random-{number}.db"
        path.write_bytes(content)
        async with SqliteStore(path) as store:
            for attempt in (
                lambda: store.get("s"),
                lambda: store.create(Session(id="s")),
                lambda: SessionManager("s", store=store).user_says("hello"),
            ):
                with trial.refused(str(path)):
                    await attempt()
            assert path.read_bytes() == content
            path.unlink()  # somebody takes it away: then the store makes its own
            with trial.succeeds():
                await SessionManager("s", store=store).user_says("hello")
