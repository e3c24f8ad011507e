"""SQLite files that are full, locked or protected: an error that says so, and nothing is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from breakage import small_disk
from discretion import CANARY, each_refused, logs_without_secrets, refused
from running import PATIENCE

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.stores import SqliteStore

__all__ = ["logs_without_secrets"]  # for each test here

from outages import begin, content, messages, replace_content, said, stored

# -- SQLite -------------------------------------------------------------------------------------


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes to a file and does not end."""
    holder = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()


class TestSqliteOutages:
    async def test_a_missing_folder_is_told_of_and_used_once_it_is_there(self, tmp_path: Path) -> None:
        path = tmp_path / "folder" / "sessions.db"
        async with SqliteStore(path) as store:
            sm = SessionManager("s", store=store)
            await each_refused(
                [str(path), "Does its folder exist"],
                lambda: sm.user_says(CANARY),
                lambda: store.get("s"),
                store.list_sessions,
            )
            tmp_path.joinpath("folder").mkdir()  # so it was not made, nor anything in its place
            await sm.user_says("hello")
            assert await messages(store) == ["hello"]

    async def test_a_folder_in_the_place_of_the_file_is_told_of(self, tmp_path: Path) -> None:
        async with SqliteStore(tmp_path) as store:
            with refused(str(tmp_path), "cannot be opened"):
                await store.get("s")

    async def test_a_lock_held_too_long_is_told_of_and_waited_for_anew(
        self, path: Path, file: SqliteStore
    ) -> None:
        session = await begin(file)
        sm = SessionManager("s", store=file)
        event = said()
        with locked(path):
            await each_refused(
                [str(path), "locked"],
                lambda: file.append(session, [event]),
                lambda: file.create(Session(id="new")),
                lambda: sm.user_says(CANARY),
            )
            assert await stored(file) == ["e0", "e1", "e2"]  # readers do not wait
        await file.append(session, [event])
        await sm.user_says("hello")
        assert await file.get("new") is None
        assert [*(await stored(file))[:-1]] == ["e0", "e1", "e2", event.id]

    async def test_a_lock_on_a_new_file_is_told_of_after_the_same_time(
        self, path: Path, file: SqliteStore
    ) -> None:
        with locked(path):
            async with asyncio.timeout(5):  # not the 0.2 s of the store's, but not a time of its own either
                with refused(str(path), "locked"):
                    await SessionManager("s", store=file).user_says(CANARY)
        await SessionManager("s", store=file).user_says("hello")
        assert await messages(file) == ["hello"]

    async def test_a_file_that_may_not_grow_is_told_of_and_keeps_what_it_has(self, file: SqliteStore) -> None:
        session = await begin(file)
        pages = await file._worker.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await file._worker.read(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 20}").fetchone())
        await self._fill_up(
            file,
            session,
            lambda: file._worker.read(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchone()),
        )

    async def test_a_full_disk_is_told_of_and_keeps_what_it_has(self, tmp_path: Path) -> None:
        with small_disk(tmp_path) as disk:
            ballast = disk / "ballast"
            replace_content(ballast, b"\0" * 500_000)

            async def free() -> None:
                replace_content(ballast, b"")

            async with SqliteStore(disk / "sessions.db") as store:
                await self._fill_up(store, await begin(store), free)
            with closing(sqlite3.connect(disk / "sessions.db")) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    async def _fill_up(
        self, store: SqliteStore, session: Session[Any], free: Callable[[], Awaitable[object]]
    ) -> None:
        acknowledged = await stored(store)
        event = said()
        with refused("full"):
            for _ in range(1_000):
                event = said(CANARY * 100)
                await store.append(session, [event])
                acknowledged.append(event.id)
        big = said(CANARY * 20_000)
        sm = SessionManager("s", store=store)
        await each_refused(
            ["full"],
            lambda: store.append(session, [big]),
            lambda: store.create(Session(id="new", events=[big])),
            lambda: sm.user_says(CANARY * 20_000),
        )
        assert await stored(store) == acknowledged
        assert await store.get("new") is None
        await free()
        await store.append(session, [event])
        assert await stored(store) == [*acknowledged, event.id]
        await sm.user_says("hello")
        assert (await messages(store))[-1] == "hello"

    @pytest.mark.parametrize(
        "protected", [["."], ["sessions.db"], [".", "sessions.db"]], ids=["folder", "file", "both"]
    )
    def test_what_is_read_only_is_told_of_and_used_once_it_is_not(self, protected: list[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if os.geteuid() == 0:
                os.chown(folder, NOBODY, NOBODY)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                pool.submit(use_protected, Path(folder), protected).result(PATIENCE)


NOBODY = 65534


def use_protected(folder: Path, protected: Sequence[str]) -> None:
    """Use a store as somebody who keeps to the files' modes, which root does not."""
    asyncio.run(_warm_up())
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    asyncio.run(_use_protected(folder, protected))


async def _warm_up() -> None:
    """Import all that is imported at first use: the other user may not be let to where it is."""
    async with SqliteStore(":memory:") as store:
        await begin(store)
        await SessionManager("s", store=store).user_says("hello")
        assert len(await messages(store)) == 4
    async with SqliteStore("/no/such/folder/sessions.db") as store:
        with refused("folder"):
            await store.get("s")


async def _use_protected(folder: Path, protected: Sequence[str]) -> None:
    path = folder / "sessions.db"
    async with SqliteStore(path) as store:
        session = await begin(store)
    before = content(path)
    for name in reversed(protected):
        allow(folder / name, writing=False)
    async with SqliteStore(path) as store:
        sm = SessionManager("s", store=store)
        await each_refused(
            [str(path), "read-only"],
            lambda: store.append(session, [said()]),
            lambda: store.create(Session(id="new", events=[said()])),
            lambda: sm.user_says(CANARY),
        )
        for name in protected:
            allow(folder / name, writing=True)
        assert await store.get("new") is None
        assert await stored(store) == ["e0", "e1", "e2"]
        assert content(path) == before
        await sm.user_says("hello")
        assert (await messages(store))[-1] == "hello"


def allow(path: Path, *, writing: bool) -> None:
    path.chmod(0o700 if writing else 0o500)
