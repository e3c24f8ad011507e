"""Records that chuk-sessions keeps: other tools see our sessions there, and we what the original wrote."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from lifecycles import moment, record_of
from running import PATIENCE
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionManager, StorageError
from chuk_ai_session_manager.session_storage import SessionStorage
from chuk_ai_session_manager.stores import MemoryStore
from chuk_ai_session_manager.stores.lifecycle import Lifecycle, SessionRecords
from chuk_ai_session_manager.stores.redis.store import RedisStore

SECOND = 1 / 3600


# -- another process with nothing but chuk-sessions ---------------------------------------------


def ask_chuk(sandbox: str, ids: list[str]) -> dict[str, Any]:
    """What a chuk-sessions manager of this process's own says of sessions; it has asked nobody before."""
    import chuk_sessions

    async def ask() -> dict[str, Any]:
        manager = chuk_sessions.SessionManager(sandbox_id=sandbox)
        infos = {each: await manager.get_session_info(each) for each in ids}
        assert {each for each, info in infos.items() if info} == {
            each for each in ids if await manager.validate_session(each)
        }
        return infos

    return asyncio.run(ask())


class Observer:
    """A process in which nobody knows of this library; chuk-sessions there reads what is in the server."""

    def __init__(self, pool: ProcessPoolExecutor, sandbox: str) -> None:
        self._pool = pool
        self._sandbox = sandbox

    async def see(self, *ids: str) -> dict[str, Any]:
        """The records of sessions, by id; of each that is none, `None`."""
        return await asyncio.wrap_future(self._pool.submit(ask_chuk, self._sandbox, list(ids)))

    async def sees(self, session_id: str) -> bool:
        return (await self.see(session_id))[session_id] is not None


@pytest.fixture
def server(empty_server: RedisServer) -> RedisServer:
    return empty_server


@pytest.fixture(scope="module")
def observing(watched_server: RedisServer) -> Iterator[ProcessPoolExecutor]:
    with pytest.MonkeyPatch.context() as patch:
        # chuk-sessions reads them when it is imported.
        patch.setenv("SESSION_PROVIDER", "redis")
        patch.setenv("SESSION_REDIS_URL", watched_server.url)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(ask_chuk, "nobody", []).result(PATIENCE)
            yield pool


@pytest.fixture
def sandbox() -> str:
    return uuid4().hex


@pytest.fixture
def observer(observing: ProcessPoolExecutor, sandbox: str) -> Observer:
    return Observer(observing, sandbox)


@pytest.fixture
async def store(server: RedisServer, sandbox: str) -> AsyncIterator[RedisStore]:
    async with RedisStore(server.url, sandbox_id=sandbox, timeout=PATIENCE) as store:
        yield store


async def until(happens: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as it happens."""
    async with asyncio.timeout(PATIENCE):
        while not await happens():  # noqa: ASYNC110  (nothing tells)
            await asyncio.sleep(0.05)


class TestSeenByOthers:
    async def test_another_process_sees_whose_session_it_is_and_until_when(
        self, store: RedisStore, observer: Observer, sandbox: str
    ) -> None:
        begun = datetime.now(UTC)
        sm = SessionManager(store=store, user_id="bob")
        await sm.user_says("hello")
        (info,) = (await observer.see(sm.session_id)).values()
        assert (info["session_id"], info["user_id"]) == (sm.session_id, "bob")
        assert (info["sandbox_id"], info["status"]) == (sandbox, "active")
        assert info["custom_metadata"]["session_type"] == "ai_session_manager"
        assert begun <= moment(info["created_at"]) <= datetime.now(UTC)
        lives = await store.time_to_live(sm.session_id)
        assert lives is not None
        ends = datetime.now(UTC) + timedelta(seconds=lives)
        assert ends <= moment(info["expires_at"]) <= ends + timedelta(hours=12)

    async def test_each_segment_and_child_has_its_record_and_nothing_else_has(
        self, store: RedisStore, observer: Observer
    ) -> None:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=2)
        for _ in range(5):
            await sm.user_says("hello")
        child = await Session.create(parent_id="root", store=store)
        chain = await sm.get_session_chain()
        assert len(chain) == 3
        seen = await observer.see(*chain, child.id, "nobody")
        assert [each for each, info in seen.items() if info is None] == ["nobody"]

    async def test_what_others_keep_in_a_record_stays(
        self, store: RedisStore, observer: Observer, sandbox: str
    ) -> None:
        chuk = store.lifecycle.manager()
        await chuk.allocate_session(session_id="s", user_id="ann", custom_metadata={"theirs": 1})
        await SessionManager("s", store=store, user_id="bob").user_says("hello")
        (info,) = (await observer.see("s")).values()
        assert (info["user_id"], info["custom_metadata"]["theirs"]) == ("ann", 1)

    async def test_a_deleted_session_is_gone_for_them_too(
        self, store: RedisStore, observer: Observer
    ) -> None:
        for session_id in ("one", "two"):
            await SessionManager(session_id, store=store).user_says("hello")
        sm = SessionManager("long", store=store, infinite_context=True, max_turns_per_segment=2)
        for _ in range(5):
            await sm.user_says("hello")
        chain = await sm.get_session_chain()
        await store.delete("one")
        assert await store.delete_conversation(chain[-1]) == 3
        seen = await observer.see("one", "two", *chain)
        assert [each for each, info in seen.items() if info] == ["two"]

    async def test_another_sandbox_s_record_is_not_ours_to_delete(
        self, server: RedisServer, store: RedisStore, observer: Observer
    ) -> None:
        await SessionManager("shared-id", store=store).user_says("hello")
        async with RedisStore(server.url, sandbox_id=uuid4().hex) as other:
            await other.delete("shared-id")
            assert await other.delete_conversation("shared-id") == 0
        assert await observer.sees("shared-id")
        await store.delete("shared-id")

    async def test_life_goes_on_with_each_message_and_ends_for_all(
        self, server: RedisServer, observer: Observer, sandbox: str
    ) -> None:
        async with RedisStore(server.url, sandbox_id=sandbox, ttl_hours=3 * SECOND) as store:
            sm = SessionManager("s", store=store)
            begun = datetime.now(UTC)
            while datetime.now(UTC) < begun + timedelta(seconds=4):
                await sm.user_says("hello")
                assert await observer.sees("s")
                await asyncio.sleep(0.1)
            assert await store.get("s") is not None

            async def is_over() -> bool:
                return await store.get("s") is None

            async def is_unseen() -> bool:
                return not await observer.sees("s")

            await until(is_over)
            await until(is_unseen)
            assert record_of(server, "s") is None

    async def test_a_record_never_ends_before_its_session(self, server: RedisServer, sandbox: str) -> None:
        def left(key: str) -> int:
            return int(server.command("PTTL", key))

        async with RedisStore(server.url, sandbox_id=sandbox, ttl_hours=3 * SECOND) as store:
            sm = SessionManager("short", store=store)
            for _ in range(20):
                await sm.user_says("hello")
                assert left("session:short") >= left(store._keys.of("short"))  # in this order: time passes
                await asyncio.sleep(0.05)

    async def test_a_longer_life_is_a_longer_record(self, store: RedisStore, observer: Observer) -> None:
        await SessionManager("s", store=store).user_says("hello")
        before = (await observer.see("s"))["s"]
        assert await store.extend_session_ttl("s", 100)
        after = (await observer.see("s"))["s"]
        lives = await store.time_to_live("s")
        assert lives is not None
        assert lives > 123 * 3600
        assert moment(after["expires_at"]) >= datetime.now(UTC) + timedelta(seconds=lives)
        assert moment(after["expires_at"]) > moment(before["expires_at"]) + timedelta(hours=90)
        assert not await store.extend_session_ttl("nobody", 1)
        assert not await observer.sees("nobody")

    async def test_for_ever_is_for_ever(self, server: RedisServer, observer: Observer, sandbox: str) -> None:
        async with RedisStore(server.url, sandbox_id=sandbox, ttl_hours=None) as store:
            await SessionManager("s", store=store).user_says("hello")
            assert await store.time_to_live("s") == math.inf
        info = (await observer.see("s"))["s"]
        assert moment(info["expires_at"]) > datetime.now(UTC) + timedelta(days=30_000)

    async def test_a_session_lives_without_a_record_that_somebody_deleted(
        self, server: RedisServer, store: RedisStore, observer: Observer
    ) -> None:
        sm = SessionManager("s", store=store)
        await sm.user_says("hello")
        assert await store.lifecycle.manager().delete_session("s")
        await sm.user_says("more")
        async with RedisStore(server.url, sandbox_id=store.sandbox_id) as fresh:
            session = await fresh.get("s")
            assert session is not None
            assert len(session.events) == 2


class Failing:
    """A place for records of which one reading fails."""

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.fails = False

    async def get(self, key: str) -> Any:
        if self.fails:
            self.fails = False
            raise ConnectionResetError
        return await self.provider.get(key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.provider, name)


class TestRecordsThatWereNotRead:
    async def test_a_deleted_session_does_not_come_back_by_a_manager_that_knew_it(
        self, server: RedisServer, store: RedisStore, observer: Observer, sandbox: str
    ) -> None:
        await SessionManager("s", store=store, user_id="ann").user_says("hello")
        chuk = store.lifecycle.manager()
        assert await chuk.validate_session("s")
        await store.delete_conversation("s")
        assert not await chuk.validate_session("s")
        assert await chuk.get_session_info("s") is None
        assert not await observer.sees("s")

    async def test_a_record_that_could_not_be_read_is_left_alone(
        self, store: RedisStore, observer: Observer, sandbox: str
    ) -> None:
        await SessionManager("s", store=store, user_id="ann").user_says("hello")
        (before,) = (await observer.see("s")).values()
        assert store.record_provider is not None
        failing = Failing(store.record_provider)
        lifecycle = Lifecycle(failing, sandbox, 24)
        failing.fails = True
        with pytest.raises(StorageError, match="could not be read"):
            await lifecycle.enter("s", None)
        (after,) = (await observer.see("s")).values()
        assert after | {"last_accessed": before["last_accessed"]} == before
        await lifecycle.enter("s", None)  # it can be read again, and stays
        (after,) = (await observer.see("s")).values()
        assert after["user_id"] == "ann"

    async def test_what_is_assumed_of_chuk_sessions(self) -> None:
        """That it keeps copies, unless there is no room for one; and takes a failed reading for no record."""
        import chuk_sessions

        kept = Failing(SessionRecords(MemoryStore(), "s"))

        @asynccontextmanager
        async def factory() -> AsyncIterator[Any]:
            yield kept

        manager = chuk_sessions.SessionManager(sandbox_id="s", session_factory=factory)
        await manager.allocate_session(session_id="s", user_id="ann")
        assert manager.get_cache_stats()["cached_sessions"] == 1
        manager._max_cache_size = 0
        await manager.validate_session("s")
        manager._session_cache.clear()
        await manager.validate_session("s")
        assert manager.get_cache_stats()["cached_sessions"] == 0
        kept.fails = True
        await manager.allocate_session(session_id="s")
        info = await manager.get_session_info("s")
        assert info is not None
        assert info["user_id"] is None


@pytest.mark.parametrize("provider", ["memory", "sqlite"])
class TestSeenThroughTheStorage:
    """Stores that no other process reads records from show them through `SessionStorage.chuk`."""

    @pytest.fixture(autouse=True)
    def environment(self, provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SESSION_PROVIDER", provider)
        monkeypatch.setenv("SESSION_SQLITE_PATH", str(tmp_path / "sessions.db"))

    async def test_a_session_and_its_user_and_expiry_are_seen(self) -> None:
        storage = SessionStorage("box", default_ttl_hours=24)
        await SessionManager("s", store=storage, user_id="bob").user_says("hello")
        info = await storage.chuk.get_session_info("s")
        assert info is not None
        assert (info["session_id"], info["sandbox_id"], info["user_id"]) == ("s", "box", "bob")
        lives = moment(info["expires_at"]) - datetime.now(UTC)
        assert timedelta(hours=23) < lives <= timedelta(hours=36)
        assert await storage.chuk.validate_session("s")
        assert not await storage.chuk.validate_session("nobody")
        assert await storage.chuk.get_session_info("nobody") is None
        await storage.close()

    async def test_a_deleted_one_is_not_seen(self) -> None:
        storage = SessionStorage("box")
        await SessionManager("s", store=storage).user_says("hello")
        await storage.delete("s")
        assert not await storage.chuk.validate_session("s")
        assert await storage.chuk.get_session_info("s") is None
        await SessionManager("t", store=storage).user_says("hello")
        assert await storage.chuk.validate_session("t")
        await storage.delete("t")
        fresh = SessionStorage("box")
        fresh.__dict__["store"] = storage.store
        assert not await fresh.chuk.validate_session("t")
        await storage.close()

    async def test_an_expired_one_is_not_seen(self) -> None:
        storage = SessionStorage("box", default_ttl_hours=SECOND)
        await SessionManager("s", store=storage).user_says("hello")
        assert await storage.chuk.validate_session("s")

        async def is_over() -> bool:
            return await storage.get("s") is None

        async def is_unseen() -> bool:
            return not await storage.chuk.validate_session("s")

        await until(is_over)
        await until(is_unseen)
        await storage.close()

    async def test_a_longer_life_is_seen(self) -> None:
        storage = SessionStorage("box", default_ttl_hours=24)
        await SessionManager("s", store=storage).user_says("hello")
        assert await storage.extend_session_ttl("s", 100)
        info = await storage.chuk.get_session_info("s")
        assert info is not None
        assert moment(info["expires_at"]) > datetime.now(UTC) + timedelta(hours=123)
        assert not await storage.extend_session_ttl("nobody", 1)
        await storage.close()

    async def test_what_an_application_keeps_there_stays_and_is_no_session(self) -> None:
        storage = SessionStorage("box")
        await storage.chuk.allocate_session(session_id="s", custom_metadata={"theirs": 1})
        assert await storage.get("s") is None
        await SessionManager("s", store=storage).user_says("hello")
        assert await storage.chuk.update_session_metadata("s", {"more": 2})
        info = await storage.chuk.get_session_info("s")
        assert info is not None
        assert info["custom_metadata"].items() >= {"theirs": 1, "more": 2}.items()
        await storage.close()
