"""None"""

from __future__ import annotations

import asyncio
import copy
import os
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from clocks import Clock

from chuk_ai_session_manager import SessionManager, get_storage_info, session_storage
from chuk_ai_session_manager.exceptions import (
    InvalidInput,
    SessionAlreadyExists,
    StorageError,
    TokenLimitExceeded,
)
from chuk_ai_session_manager.models import EventType, Session, SessionEvent
from chuk_ai_session_manager.session_storage import (
    ChukSessionsStore,
    SessionStorage,
    configure_storage,
    get_backend,
    setup_chuk_sessions_storage,
)
from chuk_ai_session_manager.stores import MemoryStore, open_store, without_password


def event(message: str = "hi", **fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=message, **fields)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class SerialisingStore:
    """A store of an application's own: only `get` and `save`, and nothing kept alive."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.fails = False

    async def get(self, session_id: str) -> Session[Any] | None:
        row = self.rows.get(session_id)
        return None if row is None else Session.model_validate_json(row)

    async def save(self, session: Session[Any]) -> None:
        if self.fails:
            raise OSError("disk on fire")
        self.rows[session.id] = session.model_dump_json()


class DictStore(dict[str, Session[Any]]):
    """A store of an application's own that keeps live objects; empty, it is false."""

    fails = False

    async def get(self, session_id: str) -> Session[Any] | None:  # type: ignore[override]
        return dict.get(self, session_id)

    async def save(self, session: Session[Any]) -> None:
        if self.fails:
            raise OSError("disk on fire")
        self[session.id] = session


class TestStoresOfOthers:
    async def test_everything_written_goes_through_it(self) -> None:
        store = SerialisingStore()
        sm = SessionManager("mine", system_prompt="Be brief", store=store)
        await sm.user_says("hello")
        await sm.ai_responds("hi", model="gpt-4o", usage={"prompt_tokens": 10, "completion_tokens": 2})
        await sm.tool_used("clock", {}, "12:00")
        await sm.update_system_prompt("Be briefer")
        again = SessionManager("mine", store=store, create=False)
        assert await again.get_messages_for_llm() == [
            {"role": "system", "content": "Be briefer"},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
        ]
        assert await again.get_stats() == await sm.get_stats()
        assert (await again.get_stats())["input_tokens"] == 10
        assert session_storage._backend is None  # the default store was not even made

    async def test_infinite_context_works_on_it(self) -> None:
        store = SerialisingStore()
        sm = SessionManager("mine", store=store, infinite_context=True, max_turns_per_segment=2)
        for number in range(4):
            await sm.user_says(f"Where is the city number {number}?")
            await sm.ai_responds("There.")
        again = SessionManager("mine", store=store, infinite_context=True, max_turns_per_segment=2)
        assert await again.get_stats() == await sm.get_stats()
        assert len(store.rows) == 4

    async def test_what_could_not_be_saved_is_not_remembered(self) -> None:
        store = SerialisingStore()
        sm = SessionManager(store=store)
        await sm.user_says("first")
        store.fails = True
        with pytest.raises(StorageError, match=r"save session .* \(OSError\)") as caught:
            await sm.user_says("second")
        assert isinstance(caught.value.__cause__, OSError)
        session = sm._session
        assert session is not None
        assert session.total_tokens == Session(events=session.events).events[0].token_usage.total_tokens  # type: ignore[union-attr]
        store.fails = False
        await sm.user_says("third")
        assert [row["content"] for row in await sm.get_conversation()] == ["first", "third"]
        assert (await sm.get_stats())["total_messages"] == 2

    async def test_creating_over_a_stored_session_is_refused(self) -> None:
        store = SerialisingStore()
        await SessionManager("mine", store=store).user_says("hello")
        with pytest.raises(SessionAlreadyExists):
            await Session.create(session_id="mine", store=session_storage.event_store(store))

    async def test_several_managers_of_one_store_lose_nothing(self) -> None:
        store = SerialisingStore()
        a, b = SessionManager("mine", store=store), SessionManager("mine", store=store)
        for number, sm in enumerate((a, b, a, b)):
            await sm.user_says(str(number))
        await asyncio.gather(*(sm.user_says("more") for sm in (a, b) for _ in range(5)), a.get_stats())
        said = [row["content"] for row in await a.get_conversation()]
        assert said == ["0", "1", "2", "3", *["more"] * 10]
        assert (await b.get_stats())["total_messages"] == 14

    @pytest.mark.parametrize("infinite", [False, True])
    async def test_whatever_managers_do_at_once_no_message_is_lost(self, infinite: bool) -> None:
        class YieldingStore(SerialisingStore):
            async def get(self, session_id: str) -> Session[Any] | None:
                await asyncio.sleep(0)
                return await super().get(session_id)

            async def save(self, session: Session[Any]) -> None:
                await asyncio.sleep(0)
                await super().save(session)

        store = YieldingStore()
        managers = [
            SessionManager("mine", store=store, infinite_context=infinite, max_turns_per_segment=4)
            for _ in range(4)
        ]
        await asyncio.gather(
            *(sm.user_says(f"{at}-{n}") for at, sm in enumerate(managers) for n in range(10)),
            *(sm.update_system_prompt("p") for sm in managers),
        )
        said = [row["content"] for row in await managers[0].get_conversation()]
        assert sorted(said) == sorted(f"{at}-{n}" for at in range(4) for n in range(10))
        summaries = [
            sum(event.type == EventType.SUMMARY for event in Session.model_validate_json(row).events)
            for row in store.rows.values()
        ]
        assert max(summaries) <= 1

    async def test_a_manager_sees_what_another_wrote_before_it(self) -> None:
        store = SerialisingStore()
        a, b = (
            SessionManager("mine", store=store, infinite_context=True, max_turns_per_segment=2)
            for _ in range(2)
        )
        for sm in (a, b, a):
            await sm.user_says("hello")
        assert len(await a.get_session_chain()) == 2
        limited = [SessionManager("other", store=store, token_limit=8) for _ in range(2)]
        writing = (limited[number % 2].user_says("hello there") for number in range(20))
        refused = [await asyncio.gather(each, return_exceptions=True) for each in writing]
        assert isinstance(refused[-1][0], TokenLimitExceeded)
        assert (await limited[0].get_stats())["total_tokens"] <= 8

    async def test_reading_beside_writing_loses_nothing(self) -> None:
        class SlowStore(SerialisingStore):
            async def get(self, session_id: str) -> Session[Any] | None:
                found = await super().get(session_id)
                await asyncio.sleep(0.001)
                return found

        sm = SessionManager("mine", store=SlowStore())
        await sm.user_says("0")
        for number in range(1, 6):
            await asyncio.gather(
                sm.user_says(str(number)), sm.get_stats(), sm.update_system_prompt(f"p{number}")
            )
        assert [row["content"] for row in await sm.get_conversation()] == list("012345")
        assert sm.system_prompt == "p5"

    async def test_a_store_that_is_false_is_a_store(self) -> None:
        store = DictStore()
        await SessionManager("mine", store=store).user_says("hello")
        assert set(store) == {"mine"}

    async def test_a_store_of_live_objects_forgets_what_it_could_not_save(self) -> None:
        store = DictStore()
        sm = SessionManager("mine", store=store)
        await sm.ai_responds("first", model="gpt-4")
        before = store["mine"].model_dump_json()
        store.fails = True
        with pytest.raises(StorageError, match="OSError"):
            await sm.ai_responds("second", model="gpt-4o")
        store.fails = False
        after = Session.model_validate_json(before)
        assert store["mine"].events == after.events
        assert store["mine"].total_tokens == after.total_tokens
        assert store["mine"].total_cost == pytest.approx(after.total_cost)
        await sm.user_says("third")
        assert (await sm.get_stats())["total_messages"] == 2

    async def test_a_stand_in_that_answers_anything_ends(self) -> None:
        store = AsyncMock()
        store.get.return_value = Session(id="the only answer")
        sm = SessionManager(store=store, infinite_context=True, max_turns_per_segment=2)
        async with asyncio.timeout(20):
            for _ in range(3):
                await sm.user_says("hello")


class TestSessionsOfOnesOwn:
    async def test_a_session_that_was_never_stored_is_saved_whole(self) -> None:
        session: Session[Any] = Session()
        await session.add_event_and_save(event())
        read = Session.model_validate_json(session.model_dump_json())
        read.id = "renamed"
        await read.add_event_and_save(event())
        renamed = await get_backend().get("renamed")
        assert renamed is not None
        assert (len(session.events), len(renamed.events)) == (1, 2)

    async def test_a_deep_copy_under_another_id_is_stored_too(self) -> None:
        session = await Session.create(session_id="one")
        copied = session.model_copy(update={"id": "two"}, deep=True)
        await copied.add_event_and_save(event())
        assert sorted(await get_backend().list_sessions()) == ["one", "two"]

    async def test_an_event_that_could_not_be_stored_is_not_there(self) -> None:
        session: Session[Any] = Session()
        session.id = "not\nprintable"
        with pytest.raises(InvalidInput):
            await session.add_event_and_save(event())
        assert session.events == []


class TestDefaultStore:
    async def test_the_default_store_is_made_once(self) -> None:
        assert session_storage._backend is None
        assert get_backend() is get_backend()
        assert get_backend().sandbox_id == "chuk-ai-session-manager"

    def test_the_environment_names_the_sandbox(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHUK_SANDBOX_ID", "tenant-7")
        assert get_backend().sandbox_id == "tenant-7"

    def test_setting_it_up_constructs_the_class_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[dict[str, Any]] = []

        class Fake:
            def __init__(self, **keywords: Any) -> None:
                calls.append(keywords)

        monkeypatch.setattr(session_storage, "SessionStorage", Fake)
        made = setup_chuk_sessions_storage("box", 12)
        assert calls == [{"sandbox_id": "box", "default_ttl_hours": 12}]
        assert session_storage._backend is made

    async def test_configuring_replaces_it(self) -> None:
        await ChukSessionsStore().save(Session(id="s"))
        assert configure_storage(sandbox_id="other", default_ttl_hours=1) is True
        assert await ChukSessionsStore().get("s") is None
        assert get_backend().get_stats()["store"]["ttl_hours"] == 1

    @pytest.mark.parametrize("arguments", [("", 24), ("box", 0), ("box", -1)])
    def test_configuration_that_cannot_be_right(self, arguments: tuple[str, float]) -> None:
        with pytest.raises(InvalidInput):
            configure_storage(*arguments)

    async def test_stats(self) -> None:
        storage = SessionStorage()
        assert storage._cache == {}
        await storage.save(Session())
        stats = storage.get_stats()
        assert (stats["backend"], stats["sandbox_id"]) == ("chuk_sessions", "ai-session-manager")
        assert stats["cached_ai_sessions"] == 1
        assert stats["chuk_sessions_stats"]["sandbox_id"] == "ai-session-manager"

    def test_chuk_s_own_manager_can_be_swapped_and_leaves_the_environment_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert SessionStorage("mine").chuk.sandbox_id == "mine"
        assert "CHUK_SANDBOX_ID" not in os.environ
        monkeypatch.setenv("CHUK_SANDBOX_ID", "before")
        assert SessionStorage("mine").chuk.sandbox_id == "mine"
        assert os.environ["CHUK_SANDBOX_ID"] == "before"
        monkeypatch.setattr(session_storage, "ChukSessionManager", lambda **keywords: keywords, raising=False)
        made: Any = SessionStorage("box", 2).chuk
        assert (made["sandbox_id"], made["default_ttl_hours"]) == ("box", 2)

    async def test_the_whole_of_the_interface(self) -> None:
        storage = get_backend()
        store = ChukSessionsStore(storage)
        session = Session(id="a")
        await store.save(session)
        assert await store.get("a") is session
        assert await store.list_sessions() == ["a"]
        assert await storage.extend_session_ttl("a", 1)
        await store.delete("a")
        await store.delete("a")
        assert await store.list_sessions("") == []

    @pytest.mark.parametrize("provider", ["redsi", "memory2", "redsi://:secret@host", ""])
    async def test_unknown_providers_are_named_with_the_known_ones(
        self, provider: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SESSION_PROVIDER", provider)
        if not provider:  # unset, in effect
            await SessionManager().user_says("hello")
            return
        with pytest.raises(StorageError, match=f"provider '{provider[:5]}.*': known are memory"):
            await SessionManager().user_says("hello")
        info = get_storage_info()
        assert "secret" not in str(info)
        assert info["provider"] == provider.partition(":")[0]
        assert "memory" in info["error"]

    async def test_a_swapped_store_is_used_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = SerialisingStore()
        monkeypatch.setattr(session_storage, "ChukSessionsStore", lambda backend: fake)
        await Session().add_event_and_save(event())
        assert len(fake.rows) == 1

    async def test_the_information_holds_no_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert get_storage_info()["redis_url"] == "not_set"
        monkeypatch.setenv("SESSION_REDIS_URL", "redis://me:hunter2@db:6379/0?password=hunter2")
        info = get_storage_info()
        assert "hunter2" not in str(info)
        assert info["redis_url"] == "redis://***@db:6379/0"
        assert info["provider"] == "memory"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://db:6379/0", "redis://db:6379/0"),
        ("rediss://:p%40w@a:1,b:2/0", "rediss://***@a:1,b:2/0"),
        ("redis://u:p@ss@h", "redis://***@h"),
        ("redis://:pa/ss@host:6379/0", "redis://***@host:6379/0"),
        ("redis://:pw?x@host", "***"),
        ("redis://h/0?password=a@b", "***"),
        ("u:secret@host:6379", "***"),
        ("redis://u:secret@h1:1,redis://:secret@h2", "***"),
        ("redis://:s#secret@h1,redis://:x@h", "***"),
        ("h:6379,password=secret", "***"),
    ],
)
def test_urls_without_passwords(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_open_store() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    with pytest.raises(StorageError, match="known are"):
        open_store("carrier-pigeon://coop")
    with pytest.raises(StorageError, match="missing its scheme: memory://"):
        open_store("memory")
    with pytest.raises(InvalidInput, match="sandbox_id"):  # nobody's sessions are not the usual sandbox's
        open_store("sqlite:///sessions.db", sandbox_id="")


async def test_a_copied_session_keeps_its_store_and_copies_it_not() -> None:
    store = MemoryStore()
    session: Session[Any] = Session()
    await store.save(session)
    copied = copy.deepcopy(session)
    await asyncio.gather(*(one.add_event_and_save(event()) for one in (session, copied)))
    assert len(session.events) == 2
    assert len(store.sessions) == 1


async def test_a_new_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """Whoever sees another's tables half made would take them for somebody else's."""
    for number in range(20):
        stores = [open_store(f"sqlite:///{tmp_path / f'{number}.db'}") for _ in range(6)]
        assert await asyncio.gather(*(store.list_sessions() for store in stores)) == [[]] * 6
        for store in stores:
            await store.close()
