"""What a connection to a file knows of the logs that it appended to, and when it asks again."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from clocks import set_clock

from chuk_ai_session_manager import Session, SessionEvent
from chuk_ai_session_manager.exceptions import EventConflict, SessionNotFound, StorageError
from chuk_ai_session_manager.models import EventSource, TokenUsage
from chuk_ai_session_manager.stores import SqliteStore
from chuk_ai_session_manager.stores.codec import encode_events
from chuk_ai_session_manager.stores.sqlite.file import connect
from chuk_ai_session_manager.stores.sqlite.known_logs import Connection
from chuk_ai_session_manager.stores.sqlite.transactions import add_events


def said(text: str) -> SessionEvent[Any]:
    usage = TokenUsage(prompt_tokens=len(text), model="gpt-4o-mini", estimated_cost_usd=0.25)
    return SessionEvent(message=text, source=EventSource.USER, token_usage=usage)


@pytest.fixture
async def other(path: Path) -> AsyncIterator[SqliteStore]:
    """Another store with the same file, as another process has."""
    async with SqliteStore(path) as store:
        yield store


async def told(path: Path) -> list[tuple[list[str], int, float]]:
    """The messages, tokens and cost of each session, newest first, as a store that wrote nothing has them."""
    async with SqliteStore(path) as store:
        sessions = [await store.get(each) for each in await store.list_sessions()]
        return [
            ([event.message for event in each.events], each.total_tokens, each.total_cost)
            for each in sessions
            if each is not None
        ]


async def test_two_connections_append_in_turns(file: SqliteStore, other: SqliteStore, path: Path) -> None:
    session: Session[Any] = await Session.create("s", store=file)
    theirs = await other.get("s")
    assert theirs is not None
    for number in range(6):
        store, its_own = ((file, session), (other, theirs))[number % 2]
        await store.append(its_own, [said(f"{number}")])
    assert await told(path) == [([f"{number}" for number in range(6)], 6, 1.5)]


async def test_a_session_that_other_work_deleted_is_gone(file: SqliteStore, path: Path) -> None:
    session: Session[Any] = await Session.create("s", store=file)
    await file.append(session, [said("before")])
    await file.delete("s")
    with pytest.raises(SessionNotFound):
        await file.append(session, [said("late")])
    again: Session[Any] = await Session.create("s", store=file)
    await file.append(again, [said("after")])
    assert await told(path) == [(["after"], 5, 0.25)]


async def test_a_session_that_others_deleted_is_gone(
    file: SqliteStore, other: SqliteStore, path: Path
) -> None:
    session: Session[Any] = await Session.create("s", store=file)
    await file.append(session, [said("before")])
    await other.delete("s")
    with pytest.raises(SessionNotFound):
        await file.append(session, [said("late")])
    assert await told(path) == []


async def test_edits_between_appends_count(file: SqliteStore, path: Path) -> None:
    session: Session[Any] = await Session.create("s", store=file)
    await file.append(session, [said("one"), said("two")])
    session.events.pop()
    session.token_summary.subtract(said("two").token_usage or TokenUsage())
    await file.save(session)
    await file.append(session, [said("three")])
    assert await told(path) == [(["one", "three"], 8, 0.5)]


async def test_after_a_transaction_that_failed_the_file_is_asked(file: SqliteStore, path: Path) -> None:
    session: Session[Any] = await Session.create("s", store=file)
    await file.append(session, [said("one")])

    def limit(pages: int | None) -> Any:
        def work(db: sqlite3.Connection) -> None:
            now = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {now + 1 if pages is None else pages}")

        return file._worker.read(work)

    await limit(None)
    with pytest.raises(StorageError, match="full"):
        await file.append(session, [said("long " * 10_000)])
    await limit(1_000_000)
    await file.append(session, [said("two")])
    assert await told(path) == [(["one", "two"], 6, 0.5)]


async def test_lists_begin_with_the_session_that_was_written_to_last(
    file: SqliteStore, other: SqliteStore, path: Path
) -> None:
    sessions = {name: await Session.create(name, store=file) for name in "abc"}
    theirs = await other.get("a")
    assert theirs is not None
    for name in "abcab":
        await file.append(sessions[name], [said(name)])
    assert await file.list_sessions() == ["b", "a", "c"]
    await other.append(theirs, [said("a")])
    await file.append(sessions["c"], [said("c")])
    assert await file.list_sessions() == ["c", "a", "b"]
    await Session.create("new", store=file)
    await file.append(sessions["b"], [said("b")])
    assert await file.list_sessions() == ["b", "new", "c", "a"]


async def test_what_was_just_written_is_listed_first_though_the_clock_was_set_back(
    file: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = {name: await Session.create(name, store=file) for name in "ab"}
    set_clock(timedelta(hours=-1), monkeypatch)
    for name in "aba":
        await file.append(sessions[name], [said(name)])
        assert (await file.list_sessions())[0] == name


# -- statements -----------------------------------------------------------------------------------


@pytest.fixture
async def connection(file: SqliteStore, path: Path) -> AsyncIterator[Connection]:
    await Session.create("s", store=file)
    with closing(connect(str(path), 1.0)) as connection:
        yield connection


def append(connection: Connection, *events: SessionEvent[Any], sandbox: str) -> list[str]:
    """Append in one transaction; return the first word of each statement."""
    asked: list[str] = []
    connection.set_trace_callback(lambda statement: asked.append(statement.split()[0]))
    connection.begin(to_write=True)
    for each in encode_events(events):
        add_events(sandbox, "s", [each], "", None, None, connection)
    connection.execute("COMMIT")
    connection.set_trace_callback(None)
    return asked


def test_an_append_to_a_known_log_reads_nothing(connection: Connection, file: SqliteStore) -> None:
    sandbox = file.sandbox_id
    assert append(connection, said("one"), sandbox=sandbox).count("SELECT") == 2
    known = ["BEGIN", "PRAGMA", "INSERT", "UPDATE", "INSERT", "UPDATE", "COMMIT"]
    assert append(connection, said("two"), said("three"), sandbox=sandbox) == known


def test_an_event_that_is_known_changes_nothing(connection: Connection, file: SqliteStore) -> None:
    event = said("one")
    append(connection, event, sandbox=file.sandbox_id)
    assert "UPDATE" not in append(connection, event, sandbox=file.sandbox_id)
    with pytest.raises(EventConflict):
        append(connection, event.model_copy(update={"message": "two"}), sandbox=file.sandbox_id)


def test_after_a_rollback_the_file_is_asked(connection: Connection, file: SqliteStore) -> None:
    append(connection, said("one"), sandbox=file.sandbox_id)
    connection.begin(to_write=True)
    (lost,) = encode_events([said("lost")])
    add_events(file.sandbox_id, "s", [lost], "", None, None, connection)
    connection.rollback()
    append(connection, said("two"), sandbox=file.sandbox_id)
    assert connection.execute("SELECT number FROM events ORDER BY number").fetchall() == [(0,), (1,)]
