"""Rows of the fault matrix: what may happen to one Redis server, and to who writes to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, suppress
from functools import partial
from typing import Any
from uuid import uuid4

import redis
from breakage import BlindStore, Proxy
from journal import conversation, name_of, named, names_in
from rig import OnRedis, Trial, Writers, check_wholeness, ending_in, judging, kill_writers, row
from running import HOST, in_time
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, SessionNotFound, StorageError
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.changes import Appended
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.stored_data import EncodedEvent

# What an error says where nobody can know whether what was sent arrived.
UNKNOWN = "may have been stored or not"


@row("reply lost, CLIENT KILL", control="appends that are not idempotent, sent again")
async def replies_are_lost(trial: Trial) -> None:
    kind = BlindStore if trial.is_control else RedisStore
    session_ids = [f"s{number}" for number in range(3)]
    with RedisServer() as server:
        proxy = Proxy(server.port)
        proxy.sign = b"EVAL"
        async with proxy.running() as port, AsyncExitStack() as stack:
            place = OnRedis(f"redis://{HOST}:{port}", kind=kind)
            await trial.begin(place, *session_ids)
            stores = [await stack.enter_async_context(place.store()) for _ in range(2)]
            proxy.losing = 0.05
            async with Writers(trial) as writers:
                for store in stores:
                    for session_id in session_ids:
                        writers.append(store, session_id)
                        writers.say(SessionManager(session_id, store=store), session_id)
                for _ in range(trial.size(20, 200)):
                    await writers.go_on(20)
                    await asyncio.to_thread(
                        server.command, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"
                    )
            proxy.losing = 0.0
            assert proxy.lost > 5
            await answers_do_not_come(
                trial, proxy, OnRedis(place.url, place.sandbox, timeout=0.5), session_ids[0]
            )
            await trial.check(place)


async def answers_do_not_come(trial: Trial, proxy: Proxy, place: OnRedis, session_id: str) -> None:
    """The connection stays open and mute: an error says so, and doing it again does it once."""
    proxy.cuts = False
    async with place.store() as store:
        session: Session[Any] = Session(id=session_id)
        for number in range(trial.size(3, 30)):
            event = named(f"muted/{number}")
            proxy.lose_next(event.id.encode())
            with (
                ending_in(StorageError, UNKNOWN, event.id),
                trial.journal.writing(session_id, name_of(event)),
            ):
                await store.append(session, [event])
            with trial.journal.writing(session_id, name_of(event)):
                await store.append(session, [event])


class PiecemealStore(RedisStore):
    """Known to be bad: what is appended together goes one by one."""

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        appended = [
            await super(PiecemealStore, self)._add(session_id, [each], born, only_at) for each in events
        ]
        first, last = appended[0], appended[-1]
        if first is None or last is None:
            return None
        return Appended(first.count, last.revision, sum(each.added for each in appended if each))


@row("writer SIGKILLed in mid-append", control="what is appended together goes one by one")
async def a_writer_is_killed(trial: Trial) -> None:
    with RedisServer() as server:
        place = OnRedis(server.url, kind=PiecemealStore if trial.is_control else RedisStore)
        on_sqlite = trial.on_sqlite()
        for each, session_id in ((place, "in-redis"), (on_sqlite, "in-a-file")):
            await trial.begin(each, session_id)
            await kill_writers(trial, each, session_id, trial.size(10, 150))
            await trial.check(each)
            async with each.store() as store:
                check_wholeness(
                    event for one in await conversation(store, session_id) for event in one.events
                )


class EagerStore(RedisStore):
    """Known to be bad: it acknowledges first and stores then."""

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        self._chores.do(self._store_later(Session(id=session.id), events), "an event was lost")
        await asyncio.sleep(0.005)
        return True

    async def _store_later(self, session: Session[Any], events: Sequence[SessionEvent[Any]]) -> None:
        await super().append(session, events)


@row("Redis SIGKILLed and restarted, AOF on", control="acknowledges first and stores then")
async def the_server_is_killed(trial: Trial) -> None:
    deadline = 1.0
    with RedisServer(aof=True) as server:
        place = OnRedis(server.url, timeout=deadline, kind=EagerStore if trial.is_control else RedisStore)
        await trial.begin(place, "s")
        stores = [place.store() for _ in range(5)]
        async with Writers(trial) as writers:
            for store in stores:
                manager = SessionManager("s", store=store)
                for number in range(10):
                    if number % 2:
                        writers.append(store, "s")
                    else:
                        writers.say(manager, "s")
            for number in range(trial.size(2, 20)):
                await writers.go_on(200)
                await asyncio.to_thread(server.kill)
                await asyncio.sleep(1.5 * deadline * (number % 2))  # or but as long as it takes to start
                await asyncio.to_thread(server.start)
            await writers.go_on(200)
        for store in stores:
            await store.close()
        await trial.check(place)


@contextmanager
def client_pause(server: RedisServer, seconds: float) -> Iterator[None]:
    """The server takes commands and carries none out."""
    server.command("CLIENT", "PAUSE", int(1_000 * seconds), "ALL")
    yield


@contextmanager
def stopped(server: RedisServer, _: float) -> Iterator[None]:
    """Its process is stopped, as on a machine that swaps."""
    server.pause()
    yield
    server.resume()


@contextmanager
def asleep(server: RedisServer, seconds: float) -> Iterator[None]:
    """It is at something that takes long."""
    with server.client(timeout=0.1) as client, suppress(redis.TimeoutError):
        client.execute_command("DEBUG", "SLEEP", seconds)
    yield


@contextmanager
def in_a_script(server: RedisServer, _: float) -> Iterator[None]:
    """It is at a script that does not end, and says so."""
    server.command("CONFIG", "SET", "lua-time-limit", 100)
    with server.client(timeout=0.3) as client, suppress(redis.TimeoutError):
        client.execute_command("EVAL", "while true do end", 0)
    yield
    server.command("SCRIPT", "KILL")


@row("Redis paused, asleep, stopped")
async def the_server_hangs(trial: Trial) -> None:
    deadline = trial.size(1.0, 5.0)
    with RedisServer(aof=True) as server:
        place = OnRedis(server.url)
        hasty = OnRedis(server.url, place.sandbox, timeout=deadline)
        await trial.begin(place, "s")
        async with place.store() as patient, hasty.store() as store:
            manager = SessionManager("s", store=store)
            for harm in (client_pause, stopped, asleep, in_a_script):
                await hang(trial, partial(harm, server, deadline + 3), store, manager, patient)
        await trial.check(place)


async def hang(
    trial: Trial,
    harm: Callable[[], AbstractContextManager[None]],
    store: EventStore,
    manager: SessionManager,
    patient: EventStore,
) -> None:
    """What is written while a server hangs ends in an error, and is there once when it is done again."""
    session: Session[Any] = Session(id="s")
    run = uuid4().hex

    async def append(event: SessionEvent[Any]) -> None:
        with ending_in(StorageError, UNKNOWN, event.id), trial.journal.writing("s", name_of(event)):
            await in_time(store.append(session, [event]))

    async def say(name: str) -> None:
        with trial.journal.writing("s", name):
            await in_time(manager.user_says(name))

    async def say_in_vain(name: str) -> None:
        with ending_in(StorageError, UNKNOWN):
            await say(name)

    events = [named(f"{run}-{number}/0") for number in range(trial.size(10, 50))]
    await say(f"{run}-said/0")
    with harm():
        await asyncio.gather(say_in_vain(f"{run}-said/1"), *map(append, events))
    for event in events:
        with trial.journal.writing("s", name_of(event)):
            await patient.append(session, [event])
    await say(f"{run}-said/2")


@row("Redis out of memory")
async def the_server_is_full(trial: Trial) -> None:
    with RedisServer() as server:
        place = OnRedis(server.url)
        await trial.begin(place, "s")
        async with place.store() as store:
            session: Session[Any] = Session(id="s")
            for fill in range(trial.size(2, 10)):
                used = server.command("INFO", "memory")["used_memory"]
                server.command("CONFIG", "SET", "maxmemory", used + 500_000)
                writing = (fill_up(trial, store, f"fill-{fill}-{number}") for number in range(10))
                did_not_fit = await asyncio.gather(*writing)
                server.command("CONFIG", "SET", "maxmemory", 1)
                for attempt in others_of(store):
                    with trial.refused("full"):
                        await in_time(attempt())
                await trial.check(place)
                there = names_in(await conversation(store, "s"))
                assert not set(map(name_of, did_not_fit)) & set(there), "refused, and yet stored"
                server.command("CONFIG", "SET", "maxmemory", 0)
                for event in did_not_fit:
                    with trial.journal.writing("s", name_of(event)):
                        await store.append(session, [event])
        await trial.check(place)


async def fill_up(trial: Trial, store: EventStore, writer: str) -> SessionEvent[Any]:
    """Append until it is refused; what did not fit."""
    session: Session[Any] = Session(id="s")
    number = 0
    while True:
        event = named(f"{writer}/{number}", size=1_000)
        try:
            with trial.journal.writing("s", name_of(event)):
                await in_time(store.append(session, [event]))
        except StorageError as problem:
            assert "full" in str(problem)  # noqa: PT017  (how it ends)
            return event
        number += 1


def others_of(store: EventStore) -> Iterator[Callable[[], Any]]:
    """What else writes."""
    yield lambda: store.create(Session(id="new", events=[named("new/0")]))
    yield lambda: store.create(Session(id="child", parent_id="s"))
    yield lambda: store.save(Session(id="new"))
    yield lambda: SessionManager("s", store=store).user_says("more")
    yield lambda: SessionManager("s", store=store, system_prompt="Be brief.").user_says("more")
    yield lambda: SessionManager(store=store).user_says("new")


@row("Redis evicting keys", control="an event is missing in the midst, and nobody says so")
async def the_server_evicts(trial: Trial) -> None:
    with RedisServer(options={"maxmemory-policy": "allkeys-lru"}) as server:
        place = OnRedis(server.url)
        used = server.command("INFO", "memory")["used_memory"]
        server.command("CONFIG", "SET", "maxmemory", used + trial.size(1_500_000, 10_000_000))
        async with place.store() as store:
            report = await store.durability_report()
            (warning,) = report.warnings
            assert "whole conversations are evicted" in warning
            trial.outcome.window = warning
            session_ids = [f"s{number}" for number in range(trial.size(60, 400))]
            for session_id in session_ids:
                await talk_until_evicted(trial, store, session_id)
            evicted = server.command("INFO", "stats")["evicted_keys"]
            assert evicted > 10
            # Which keys Redis evicts is chance, and reading takes memory too. From here on, none is evicted.
            server.command("CONFIG", "SET", "maxmemory", 0)
            session_ids.append("kept")
            await talk_until_evicted(trial, store, "kept")
        place.kind = ForgetfulStore if trial.is_control else RedisStore
        async with place.store() as fresh:
            kept = [each for each in session_ids if await is_kept_whole(trial, fresh, each)]
        assert 0 < len(kept) < len(session_ids)


class ForgetfulStore(RedisStore):
    """Known to be bad: of what it reads, an event is missing."""

    async def get(self, session_id: str) -> Session[Any] | None:
        session = await super().get(session_id)
        return session and Session(id=session.id, parent_id=session.parent_id, events=session.events[:-1])


async def talk_until_evicted(trial: Trial, store: EventStore, session_id: str) -> None:
    """Some segments of a conversation; it ends early where it is evicted meanwhile."""
    manager = SessionManager(session_id, store=store, infinite_context=True, max_turns_per_segment=4)
    with suppress(SessionNotFound):
        for number in range(12):
            with trial.journal.writing(session_id, name := f"{session_id}/{number}"):
                await manager.user_says(f"{name} {'word ' * 1_000}")
    await manager.wait_for_summaries()


async def is_kept_whole(trial: Trial, store: EventStore, session_id: str) -> bool:
    """Whether a conversation is there: then it is whole; else all of it is gone, if only while it is read."""
    written = trial.journal.read().acknowledged[session_id]
    manager = SessionManager(session_id, store=store, infinite_context=True, create=False)
    try:
        names = [row["content"].partition(" ")[0] for row in await manager.get_conversation()]
        total = (await manager.get_stats())["total_messages"]
    except SessionNotFound:
        trial.outcome.lost += len(written)
        assert (await store.get(session_id), await store.head(session_id)) == (None, None)
        assert await store.segment_ids(session_id) == []
        assert session_id not in await store.list_sessions()
        return False
    with judging():
        assert names == list(written), f"{session_id} is not what was written: {names}, not {list(written)}"
        assert total == len(written)
    return True


@row("store down when a session is opened")
async def the_server_is_down(trial: Trial) -> None:
    with RedisServer(aof=True) as server:
        place = OnRedis(server.url)
        await trial.begin(place, "s")
        for number in range(trial.size(2, 10)):
            async with place.store() as store:
                with trial.journal.writing("s", name := f"said/{number}"):
                    await SessionManager("s", store=store).user_says(name)
            server.stop()
            async with OnRedis(server.url, place.sandbox, timeout=0.5).store() as hasty:
                await asyncio.gather(*(opened_in_vain(trial, hasty, each) for each in ("s", "new", None)))
            server.start()
            async with place.store() as store:
                assert await store.get("new") is None
            await trial.check(place)


async def opened_in_vain(trial: Trial, store: EventStore, session_id: str | None) -> None:
    """However a session is opened, there is an error, and not that there is none."""
    known = session_id or "new"

    def manager(**options: Any) -> SessionManager:
        return SessionManager(session_id, store=store, **options)

    attempts: list[Callable[[], Any]] = [
        lambda: manager().user_says("hello"),
        lambda: manager(infinite_context=True).user_says("hello"),
        lambda: manager().ai_responds("hello", "gpt-4o", "openai"),
        lambda: manager(system_prompt="Be brief.").user_says("hello"),
        lambda: Session.create(session_id=session_id, store=store),
        lambda: store.get(known),
        lambda: store.head(known),
        lambda: store.segment_ids(known),
        lambda: store.append(Session(id=known), [named("lost/0")]),
        lambda: manager(create=False).get_stats(),
        lambda: manager(create=False).get_messages_for_llm(),
        store.list_sessions,
    ]

    async def fails(attempt: Callable[[], Any]) -> None:
        with trial.refused("Redis did not answer"):
            await in_time(attempt())

    await asyncio.gather(*map(fails, attempts))
