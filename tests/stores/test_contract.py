"""The contract of stores, on each of ours and on one as an application would write it."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from running import PATIENCE
from schemas import sqlite_file
from servers import RedisCluster, RedisServer

from chuk_ai_session_manager.exceptions import (
    InvalidInput,
    SessionAlreadyExists,
    session_not_found,
)
from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.stores import EventStore, MemoryStore, SessionPage, open_store
from chuk_ai_session_manager.stores.base import AnyEvent, AnySession, check_page, page_of
from chuk_ai_session_manager.stores.redis import RedisStore
from chuk_ai_session_manager.stores.redis.replies import name_of
from chuk_ai_session_manager.testing import Opener, StoreContract
from chuk_ai_session_manager.testing.appending import Appending
from chuk_ai_session_manager.testing.bodies import Bodies
from chuk_ai_session_manager.testing.deleting import Deleting
from chuk_ai_session_manager.testing.erasing import Erasing
from chuk_ai_session_manager.testing.redacting import Redacting
from chuk_ai_session_manager.testing.reopening import Reopening
from chuk_ai_session_manager.testing.saving import Saving


async def bodies_in_redis(store: EventStore) -> int:
    """How many bodies a store keeps in its sandbox, and that its list of them is right."""
    assert isinstance(store, RedisStore)
    listed = await store._link.call(("SMEMBERS", store._keys.bodies))
    there = await store._fetch([name_of(each) for each in listed])
    assert len(there) == len(listed)
    return len(there)


class TestMemory(StoreContract):
    calls_redact_hooks: ClassVar[bool] = True
    survives_the_process: ClassVar[bool] = False
    has_sandboxes: ClassVar[bool] = False

    @pytest.fixture
    def opener(self) -> Opener:
        return MemoryStore


class TestSqlite(StoreContract):
    calls_redact_hooks: ClassVar[bool] = True

    async def count_bodies(self, store: EventStore) -> int:
        with closing(sqlite3.connect(store.get_stats()["path"])) as db:
            count: int = db.execute("SELECT count(*) FROM bodies").fetchone()[0]
        return count

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return partial(open_store, f"sqlite:///{tmp_path}/sessions.db")


class TestSqliteOfAnEarlierRelease(Reopening, Appending, Saving, Deleting, Erasing, Redacting, Bodies):
    """A file that the first release made: this one uses its table of events as it is."""

    calls_redact_hooks: ClassVar[bool] = True
    count_bodies = TestSqlite.count_bodies

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Iterator[Opener]:
        path = tmp_path / "sessions.db"
        sqlite_file("release_1_0_0", path)
        yield partial(open_store, f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as db:
            made = db.execute("SELECT sql FROM sqlite_master WHERE name = 'events'").fetchone()
        assert "WITHOUT ROWID" in made[0]


class TestRedis(StoreContract):
    calls_redact_hooks: ClassVar[bool] = True

    async def count_bodies(self, store: EventStore) -> int:
        return await bodies_in_redis(store)

    @pytest.fixture
    def opener(self, redis_server: RedisServer) -> Opener:
        return partial(RedisStore, redis_server.url, timeout=PATIENCE)


class TestRedisCluster(StoreContract):
    calls_redact_hooks: ClassVar[bool] = True

    async def count_bodies(self, store: EventStore) -> int:
        return await bodies_in_redis(store)

    @pytest.fixture
    def opener(self, redis_cluster: RedisCluster) -> Opener:
        return partial(RedisStore, redis_cluster.url, timeout=PATIENCE)


class TestStoreOfAnApplication(StoreContract):
    has_sandboxes: ClassVar[bool] = False
    expires: ClassVar[bool] = False

    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        return partial(JsonFileStore, tmp_path / "sessions.json")


Rows = dict[str, dict[str, Any]]

HEADER = ("metadata", "parent_id", "child_ids", "task_ids", "runs", "state")


@dataclass(frozen=True)
class AsRead:
    """A session as an object last took it over from the file."""

    born: str
    revision: int
    text: str

    @cached_property
    def session(self) -> AnySession:
        return Session.model_validate_json(self.text)


class JsonFileStore(EventStore):
    """All sessions in one JSON file: whoever reads or writes it locks it, and awaits nothing meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def _rows(self) -> Iterator[Rows]:
        """The sessions, written back if nothing was raised."""
        with self._path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = file.read() or "{}"
            rows: Rows = json.loads(before)
            yield rows
            after = json.dumps(rows)
            if after != before:
                file.truncate(0)
                file.write(after)

    def _put(self, rows: Rows, session: AnySession, *, moves: bool = True) -> None:
        if not (0 < len(session.id) < 256 and session.id.isprintable()):
            raise InvalidInput("store a session", "this is no id")
        row = rows.get(session.id) or {"born": uuid4().hex, "revision": 0, "written": 0}
        newest = max((each["written"] for each in rows.values()), default=0)
        row |= {"session": text_of(session), "revision": row["revision"] + 1}
        rows[session.id] = row | ({"written": newest + 1} if moves else {})

    def _bind(self, session: AnySession, rows: Rows) -> AnySession:
        row = rows[session.id]
        session.bind(self, AsRead(row["born"], row["revision"], row["session"]))
        return session

    def _stored(self, session_id: str, rows: Rows) -> AnySession | None:
        if session_id not in rows:
            return None
        return self._bind(Session.model_validate_json(rows[session_id]["session"]), rows)

    def _as_read(self, session: AnySession, rows: Rows) -> AsRead | None:
        mark = session.mark_of(self)
        if not isinstance(mark, AsRead):
            return None
        if rows.get(session.id, {}).get("born") != mark.born:
            raise session_not_found(session.id)
        return mark

    async def get(self, session_id: str) -> AnySession | None:
        with self._rows() as rows:
            return self._stored(session_id, rows)

    async def save(self, session: AnySession) -> None:
        with self._rows() as rows:
            read, stored = self._as_read(session, rows), self._stored(session.id, rows)
            if read and stored:
                merge(session, read.session, stored)
            self._put(rows, session)
            self._bind(session, rows)

    async def create(self, session: AnySession) -> None:
        with self._rows() as rows:
            if session.id in rows:
                raise SessionAlreadyExists(session.id)
            self._put(rows, session)
            self._bind(session, rows)
            parent = self._stored(session.parent_id or "", rows)
            if parent is not None and parent.id != session.id:
                parent.enter_child(session.id)
                self._put(rows, parent, moves=False)

    async def append(
        self, session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
    ) -> bool:
        session.check_new(events)
        with self._rows() as rows:
            read, stored = self._as_read(session, rows), self._stored(session.id, rows)
            if stored is None:
                raise session_not_found(session.id)
            known = {event.id for event in read.session.events} if read else set()
            new = stored.record(*(event for event in session.events if event.id not in known), *events)
            is_current = read is not None and read.revision == rows[session.id]["revision"]
            if new and only_if_current and not is_current:
                return False
            if new:
                self._put(rows, stored)
            if read:
                merge(session, read.session, stored)
                self._bind(session, rows)
        return True

    async def delete(self, session_id: str) -> None:
        with self._rows() as rows:
            rows.pop(session_id, None)

    async def list_sessions(
        self,
        prefix: str = "",
        *,
        parent_id: str | None = None,
        user_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> SessionPage:
        before = check_page(limit, cursor)
        with self._rows() as rows:
            found = [(row["written"], Session.model_validate_json(row["session"])) for row in rows.values()]
        found.sort(key=lambda one: -one[0])
        fitting = (
            (written, session.id)
            for written, session in found
            if session.id.startswith(prefix)
            and parent_id in {None, session.parent_id}
            and user_id in {None, session.user_id}
            and (before is None or written < before[0])
        )
        return page_of(fitting, limit)

    async def extend_session_ttl(self, session_id: str, additional_hours: float) -> bool:
        if not additional_hours >= 0:
            raise InvalidInput("extend a session's life", "not by less than 0 hours")
        return await self.get(session_id) is not None

    def get_stats(self) -> dict[str, Any]:
        return {"provider": "json file"}


def text_of(session: AnySession) -> str:
    """The session as JSON, if it is the same when it is read."""
    with suppress(ValueError):
        text = session.model_dump_json()
        if Session.model_validate_json(text) == session:
            return text
    raise InvalidInput("store a session", "it holds what JSON cannot")


def merge(mine: AnySession, read: AnySession, stored: AnySession) -> None:
    """Let an object have what others changed since it was read, but for what was changed in it too."""
    for name in HEADER:
        if getattr(mine, name) == getattr(read, name):
            setattr(mine, name, getattr(stored, name))
    known, theirs = ({event.id for event in one.events} for one in (read, stored))
    kept = [event for event in mine.events if event.id in known]
    new = [event for event in mine.events if event.id not in known | theirs]
    if kept == read.events:
        mine.events, mine.token_summary = stored.events, stored.token_summary
    else:
        mine.events = kept
        mine.record(*(event for event in stored.events if event.id not in known))
    mine.record(*new)
