"""A SQLite file can be copied: by `backup` while others write, or the file alone once its program ended."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import Place

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidSessionOperation, StorageError
from chuk_ai_session_manager.stores import EventStore, MemoryStore, SqliteStore, open_store

WRITES_AND_ENDS = """
import asyncio, sys
from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import open_store

{kept}

async def main():
    global store
    store = open_store("sqlite:///" + sys.argv[1])
    for number in range(20):
        await SessionManager(f"s{{number}}", store=store).user_says("hello")

asyncio.run(main())
"""


async def said(store: EventStore, session_id: str) -> list[str]:
    async with store:
        return [row["content"] for row in await SessionManager(session_id, store=store).get_conversation()]


@pytest.mark.parametrize("kept", ["store = None", "del globals()['__doc__']"])
def test_the_file_alone_has_everything_once_its_program_ended(tmp_path: Path, kept: str) -> None:
    """Without `close`: where the store is held to the end, and where nothing holds it any more."""
    program = WRITES_AND_ENDS.format(kept=kept)
    if "del" in kept:
        program = program.replace("    global store\n", "")
    path, copy = tmp_path / "a.db", tmp_path / "copy.db"
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    shutil.copy(path, copy)
    for number in range(20):
        assert asyncio.run(said(open_store(f"sqlite:///{copy}"), f"s{number}")) == ["hello"]


def write_in_child(path: str) -> None:
    async def write() -> None:
        global kept_to_the_end  # noqa: PLW0603
        kept_to_the_end = open_store(f"sqlite:///{path}")
        await SessionManager("s", store=kept_to_the_end).user_says("hello")

    asyncio.run(write())


kept_to_the_end: EventStore | None = None


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_the_file_alone_has_everything_once_a_child_process_ended(tmp_path: Path, method: str) -> None:
    path, copy = tmp_path / "a.db", tmp_path / "copy.db"
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=write_in_child, args=(str(path),))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    shutil.copy(path, copy)
    assert asyncio.run(said(open_store(f"sqlite:///{copy}"), "s")) == ["hello"]


async def test_the_file_alone_has_everything_once_it_is_closed(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a.db") as store:
        await SessionManager("s", store=store).user_says("hello")
    shutil.copy(tmp_path / "a.db", tmp_path / "copy.db")
    assert await said(SqliteStore(tmp_path / "copy.db"), "s") == ["hello"]


async def test_a_backup_is_the_store_at_one_moment_while_others_write(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a.db") as store, SqliteStore(tmp_path / "a.db") as other:
        sm = SessionManager("s", store=store)
        await sm.user_says("0")
        done = False

        async def write() -> int:
            number = 0
            while not done:
                number += 1
                await SessionManager("s", store=other).user_says(str(number))
            return number

        writing = asyncio.create_task(write())
        copies = [tmp_path / f"copy-{number}.db" for number in range(5)]
        for copy in copies:
            acknowledged = len(await sm.get_conversation())
            await store.backup(copy)
            assert stat.S_IMODE(copy.stat().st_mode) == 0o600
            texts = await said(SqliteStore(copy), "s")
            assert len(texts) >= acknowledged
            assert texts == [str(number) for number in range(len(texts))]
        done = True
        written = await writing
        assert len(await sm.get_conversation()) == written + 1
    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("*.part")))


async def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "there"
    target.write_text("mine")
    async with SqliteStore(tmp_path / "a.db") as store:
        for path in (target, tmp_path / "a.db"):
            with pytest.raises(InvalidSessionOperation, match="name another one"):
                await store.backup(path)
        with pytest.raises(StorageError, match="could not copy"):
            await store.backup(tmp_path / "no folder" / "copy.db")
    assert target.read_text() == "mine"


@pytest.mark.parametrize("place", ["memory", "redis"], indirect=True)
async def test_other_stores_say_what_to_do_instead(place: Place, tmp_path: Path) -> None:
    async with place.store() as store:
        with pytest.raises(InvalidSessionOperation, match="export --all"):
            await store.backup(tmp_path / "copy.db")
    with pytest.raises(InvalidSessionOperation, match="export --all"):
        await MemoryStore().backup(tmp_path / "copy.db")
    with pytest.raises(InvalidSessionOperation, match=":memory:"):
        await SqliteStore(":memory:").backup(tmp_path / "copy.db")
    assert not await asyncio.to_thread(lambda: list(tmp_path.iterdir()))


def test_the_command(tmp_path: Path) -> None:
    async def begin() -> None:
        async with SqliteStore(tmp_path / "a.db") as store:
            await SessionManager("s", store=store).user_says("hello")

    asyncio.run(begin())
    command = [sys.executable, "-m", "chuk_ai_session_manager", "backup", str(tmp_path / "copy.db")]
    command += ["--store", f"sqlite:///{tmp_path / 'a.db'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Wrote the whole store" in done.stdout + done.stderr
    assert asyncio.run(said(SqliteStore(tmp_path / "copy.db"), "s")) == ["hello"]
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (again.returncode, "name another one" in again.stderr) == (2, True)
