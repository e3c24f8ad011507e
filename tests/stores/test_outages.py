"""Redis that is down, slow or full: an error that says so, nothing lost or given away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from breakage import Proxy
from discretion import CANARY, PASSWORD, each_refused, logs_without_secrets, refused, shows_no_secret
from running import HOST, PATIENCE, in_time
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, SessionNotFound
from chuk_ai_session_manager import get_storage_info as storage_info
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

__all__ = ["logs_without_secrets"]  # for each test here

from outages import at_last, begin, contents, messages, said, stored

# What a store says when it cannot know whether what it sent arrived.
UNKNOWN = "may have been stored or not"


@pytest.fixture
async def hasty(server: RedisServer) -> AsyncIterator[RedisStore]:
    """A store of the same sessions that soon gives up."""
    async with RedisStore(server.url, timeout=0.5) as store:
        yield store


def uses(store: EventStore, session: Session[Any]) -> dict[str, Callable[[], Awaitable[object]]]:
    """Everything that reaches the server, on the session and on others."""
    return {
        "get": lambda: store.get("s"),
        "head": lambda: store.head("s"),
        "get what is not there": lambda: store.get("new"),
        "create": lambda: store.create(Session(id="new", events=[said()])),
        "save": lambda: store.save(Session(id="new", events=[said()])),
        "append": lambda: store.append(session, [said()]),
        "list": store.list_sessions,
        "delete": lambda: store.delete("s"),
        "delete_conversation": lambda: store.delete_conversation("s"),
        "extend": lambda: store.extend_session_ttl("s", 1),
        "time_to_live": lambda: store.time_to_live("s"),
        "user_says": lambda: SessionManager("s", store=store).user_says(CANARY),
        "user_says, anew": lambda: SessionManager(store=store).user_says(CANARY),
        "get_stats": lambda: SessionManager("s", store=store).get_stats(),
        "get_messages_for_llm": lambda: SessionManager("s", store=store).get_messages_for_llm(),
    }


class TestDown:
    async def test_an_outage_is_an_error_and_no_empty_session(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore
    ) -> None:
        session = await begin(store)
        before = contents(server)
        server.stop()
        # At once, because each of them takes all its time.
        failing = (each_refused(["Redis did not answer"], use) for use in uses(hasty, session).values())
        await asyncio.gather(*failing)
        server.start()
        assert contents(server) == before
        assert await at_last(hasty.list_sessions) == ["s"]
        assert await at_last(lambda: hasty.get("new")) is None
        assert await at_last(lambda: stored(hasty)) == ["e0", "e1", "e2"]

    async def test_the_same_objects_work_again_when_it_is_over(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore
    ) -> None:
        session = await begin(store)
        sm, other = SessionManager("s", store=hasty), SessionManager(store=hasty)
        server.stop()
        event = said("later")
        await each_refused(
            ["Redis did not answer"],
            lambda: hasty.append(session, [event]),
            lambda: sm.user_says("lost"),
            lambda: other.user_says("lost"),
        )
        server.start()
        await at_last(lambda: hasty.append(session, [event]))
        assert await at_last(lambda: sm.user_says("said")) == "s"
        new_id = await at_last(lambda: other.user_says("hello"))
        assert [text for text in await messages(store) if text != CANARY] == ["later", "said"]
        assert "lost" not in await messages(store, new_id)
        assert sorted(await store.list_sessions()) == sorted(["s", new_id])

    async def test_a_restart_between_two_appends_goes_unnoticed(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        sm = SessionManager("s", store=store)
        for number in range(3):
            await store.append(session, [said(id=f"{number}")])
            await sm.user_says("hello")
            if number % 2:
                server.stop()
            else:
                server.kill()
            server.start()
        assert [one for one in await stored(store) if len(one) == 1] == ["0", "1", "2"]
        assert (await sm.get_stats())["total_events"] == 9

    async def test_a_connection_that_the_server_cuts_goes_unnoticed(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        for number in range(20):
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await store.append(session, [said(id=f"{number}")])
            server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert (await stored(store))[3:] == [f"{each}" for each in range(number + 1)]

    async def test_scripts_that_the_server_forgot_are_sent_again(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        for number in range(3):
            server.command("SCRIPT", "FLUSH")
            await asyncio.gather(*(store.append(session, [said(id=f"{number}-{at}")]) for at in range(5)))
            server.command("SCRIPT", "FLUSH")
            assert len(await stored(store)) == 3 + 5 * (number + 1)
        server.command("SCRIPT", "FLUSH")
        assert await store.list_sessions() == ["s"]

    async def test_a_session_that_the_server_lost_is_not_found_and_not_made_anew(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        sm = SessionManager("s", store=store)
        await sm.user_says("hello")
        server.command("FLUSHALL")
        for write in (store.append(session, [said()]), store.save(session), sm.user_says("more")):
            with pytest.raises(SessionNotFound, match="s not found"):
                await write
        assert await store.get("s") is None
        assert await store.list_sessions() == []
        await SessionManager("s", store=store).user_says("anew")
        assert await messages(store) == ["anew"]


class TestPaused:
    async def test_an_append_says_that_its_outcome_is_unknown_and_a_retry_does_it_once(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore, fresh: RedisStore
    ) -> None:
        session = await begin(store)
        await at_last(lambda: hasty.append(session, [said(id="warm")]))
        events = [said(id=f"paused-{uuid4()}") for _ in range(3)]
        server.pause()
        for event in events[:2]:
            with refused(UNKNOWN, event.id):
                await in_time(hasty.append(session, [event]))
        with refused(UNKNOWN, events[1].id, events[2].id):
            await in_time(hasty.append(session, events[1:]))
        server.resume()
        await at_last(lambda: hasty.append(session, events))
        await store.append(session, events)
        assert sorted(await stored(fresh)) == sorted(["e0", "e1", "e2", "warm", *(one.id for one in events)])

    async def test_a_manager_says_so_too_and_goes_on(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore, fresh: RedisStore
    ) -> None:
        sm = SessionManager("s", store=hasty)
        await at_last(lambda: sm.user_says("first"))
        server.pause()
        with refused(UNKNOWN):
            await in_time(sm.user_says(CANARY))
        with refused():
            await in_time(sm.get_messages_for_llm())
        server.resume()
        await at_last(lambda: sm.user_says("last"))
        texts = await messages(fresh)
        assert texts.count(CANARY) <= 1
        assert [text for text in dict.fromkeys(texts) if text != CANARY] == ["first", "last"]
        await stored(fresh)

    async def test_what_waits_together_is_told_each_for_itself(
        self, server: RedisServer, store: RedisStore, hasty: RedisStore, fresh: RedisStore
    ) -> None:
        session = await begin(store)
        events = [said(id=f"paused-{number}") for number in range(20)]
        server.pause()

        async def fail(event: SessionEvent[Any]) -> None:
            with refused(UNKNOWN, event.id):
                await in_time(hasty.append(session, [event]))

        await asyncio.gather(*map(fail, events))
        server.resume()
        for event in events:
            await at_last(lambda event=event: hasty.append(session, [event]))  # type: ignore[misc]
        assert len(await stored(fresh)) == 3 + 20


class TestLostReplies:
    @pytest.mark.parametrize(
        "use", ["append", "only_if_current", "save", "create", "state", "says", "delete"]
    )
    async def test_what_was_done_already_is_done_once_and_succeeds(
        self, server: RedisServer, store: RedisStore, fresh: RedisStore, use: str
    ) -> None:
        session = await begin(store)
        proxy = Proxy(server.port)
        async with proxy.running() as port:
            url = server.url.replace(f":{server.port}", f":{port}")
            async with RedisStore(url, timeout=PATIENCE) as far:
                mine = await far.get("s")
                assert mine is not None
                await in_time(self._use(use, far, mine, proxy))
                assert proxy.lost
        read = await fresh.get("new" if use == "create" else "s")
        if use == "delete":
            assert read is None
            return
        assert read is not None
        expected = {"create": 1, "state": 3}.get(use, 4)
        assert len(await stored(fresh, read.id)) == expected
        assert read.state == ({"step": 1} if use == "state" else {})
        assert [event.message for event in read.events] == [CANARY] * expected
        assert await fresh.get("s") == (session if use == "create" else read)

    async def _use(self, use: str, far: RedisStore, mine: Session[Any], proxy: Proxy) -> None:
        match use:
            case "append":
                proxy.lose_next(b"doctor")
                await far.append(mine, [said()])
            case "only_if_current":
                proxy.lose_next(b"doctor")
                assert await far.append(mine, [said()], only_if_current=True)
            case "save":
                proxy.lose_next(b"doctor")
                mine.record(said())
                await far.save(mine)
            case "create":
                proxy.lose_next(b"doctor")
                await far.create(Session(id="new", events=[said()]))
            case "state":
                proxy.lose_next(b'"step":1')
                await mine.set_state("step", 1)
                await far.save_header(mine)
            case "says":
                proxy.lose_next(b"doctor")
                await SessionManager("s", store=far).user_says(CANARY)
            case _:
                proxy.lose_next(b"casm:")
                await far.delete("s")


class TestPasswords:
    @pytest.mark.parametrize(
        "login", ["", ":wr0ng@", "default:wr0ng@", f"nobody:{quote(PASSWORD, safe='')}@"], ids=range(4)
    )
    async def test_a_client_without_the_password_is_refused_with_a_message(
        self, server: RedisServer, store: RedisStore, login: str
    ) -> None:
        session = await begin(store)
        before = contents(server)
        async with RedisStore(f"redis://{login}{HOST}:{server.port}", timeout=PATIENCE) as stranger:
            await each_refused(["password"], *uses(stranger, session).values())
            assert "wr0ng" not in repr(stranger)
        assert contents(server) == before

    @pytest.mark.parametrize("user", ["", "default"])
    async def test_any_right_password_is_accepted(self, server: RedisServer, user: str) -> None:
        login = f"{user}:{quote(PASSWORD, safe='')}@"
        async with RedisStore(f"redis://{login}{HOST}:{server.port}", timeout=PATIENCE) as store:
            await begin(store)
            assert await stored(store) == ["e0", "e1", "e2"]

    @pytest.mark.parametrize("state", ["running", "down", "wrong password"])
    async def test_what_is_told_of_the_default_store_has_none_in_it(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch, state: str
    ) -> None:
        monkeypatch.setenv("SESSION_PROVIDER", "redis")
        monkeypatch.setenv("SESSION_REDIS_URL", server.url)
        if state == "down":
            server.stop()
        elif state == "wrong password":
            server.command("CONFIG", "SET", "requirepass", "another")
            server.password = "another"
        info = storage_info()
        assert info["provider"] == "redis"
        assert f"***@{HOST}:{server.port}" in info["redis_url"]
        assert shows_no_secret(f"{info}")
        sm = SessionManager("s")
        if state == "running":
            await sm.user_says(CANARY)
        elif state == "wrong password":
            with refused("password"):
                await in_time(sm.user_says(CANARY))
        from chuk_ai_session_manager.session_storage import get_backend

        assert shows_no_secret(
            f"{get_backend()!r} {get_backend().get_stats()} {get_backend().store!r} {sm!r}"
        )
        await get_backend().close()

    @pytest.mark.parametrize(
        "url",
        [
            f"redis://:{PASSWORD}@{HOST}",  # not encoded
            f"redis://:{quote(PASSWORD, safe='')}@{HOST}:port",
            f"redis://:{quote(PASSWORD, safe='')}@{HOST}:6379/zero",
            f"redis://:{quote(PASSWORD, safe='')}@{HOST}?socket_timeout=soon",
            f"redis+sentinel://:{quote(PASSWORD, safe='')}@{HOST}",
            f"redis://:{quote(PASSWORD, safe='')}@",
        ],
        ids=range(6),
    )
    def test_a_url_that_is_none_is_not_repeated(self, url: str) -> None:
        with refused("URL"):
            RedisStore(url)


class TestWrongType:
    async def test_what_lies_under_our_key_is_left_and_the_session_named(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        key = store._keys.of("s")
        server.command("DEL", key)
        server.command("SET", key, "somebody else's")
        sm = SessionManager("s", store=store)
        await each_refused(
            ["wrong type", "ession s "],
            lambda: store.get("s"),
            lambda: store.head("s"),
            lambda: store.append(session, [said()]),
            lambda: store.create(Session(id="s", events=[said()])),
            lambda: store.save(Session(id="s", events=[said()])),
            lambda: store.delete_conversation("s"),
            lambda: store.delete("s"),
            lambda: sm.user_says(CANARY),
            sm.get_stats,
        )
        assert server.command("GET", key) == "somebody else's"
        await SessionManager("other", store=store).user_says("hello")
        assert await messages(store, "other") == ["hello"]
        assert list(await store.list_sessions()) == ["other", "s"]
        assert not await store.list_sessions(parent_id="nobody")


class TestFull:
    async def test_what_does_not_fit_is_refused_whole_and_fits_later(
        self, server: RedisServer, store: RedisStore
    ) -> None:
        session = await begin(store)
        sm = SessionManager("s", store=store)
        await sm.user_says("hello")
        used = server.command("INFO", "memory")["used_memory"]
        server.command("CONFIG", "SET", "maxmemory", used + 1_000_000)
        acknowledged = await stored(store)
        events: list[SessionEvent[Any]] = []
        with refused("full"):
            for _ in range(1_000):
                events = [said(CANARY * 1_000) for _ in range(2)]
                await in_time(store.append(session, events))
                acknowledged += [event.id for event in events]
        server.command("CONFIG", "SET", "maxmemory", 1)
        before = contents(server)
        await store.append(session, session.events[:2])  # stored already: nothing to be done
        await each_refused(
            ["full"],
            lambda: store.append(session, events),
            lambda: store.create(Session(id="new", events=[said()])),
            lambda: store.create(Session(id="child", parent_id="s")),
            lambda: sm.user_says(CANARY),
            lambda: sm.update_system_prompt(CANARY),
            lambda: SessionManager(store=store).user_says(CANARY),
        )
        assert contents(server) == before
        assert await stored(store) == acknowledged
        server.command("CONFIG", "SET", "maxmemory", 0)
        await store.append(session, events)
        assert await stored(store) == [*acknowledged, *(event.id for event in events)]
        await sm.user_says("bye")
        assert (await messages(store))[-1] == "bye"
