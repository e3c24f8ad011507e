"""Rows of the fault matrix: many writers at once, ids of others, clocks, lifetimes and late writes."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import time_machine
from breakage import RANDOM
from journal import Journal, conversation, named, names_in
from places import InMemory, Place
from rig import OnRedis, Trial, in_processes, judging, row, write_much
from running import in_time
from servers import RedisCluster, RedisServer

from chuk_ai_session_manager import (
    Session,
    SessionEvent,
    SessionManager,
    SessionManagerError,
    SessionNotFound,
    StorageError,
)
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

PROCESSES, TASKS = 5, 10


# -- many writers -------------------------------------------------------------------------------


class RacingStore(RedisStore):
    """Known to be bad: what it did not write, because another writer came first, it calls written."""

    async def append(
        self, session: Session[Any], events: Sequence[SessionEvent[Any]], *, only_if_current: bool = False
    ) -> bool:
        await super().append(session, events, only_if_current=True)
        return True


@row("50 writers on one session", control="calls written what another writer kept it from")
async def fifty_writers(trial: Trial) -> None:
    kind = RacingStore if trial.is_control else RedisStore
    with RedisServer() as server:
        await write_at_once(trial, OnRedis(server.url, kind=kind), "s", events=trial.size(10, 40))
    if not trial.is_small:
        with RedisCluster() as cluster:
            await write_at_once(trial, OnRedis(cluster.url), "in-a-cluster", events=40)


async def write_at_once(trial: Trial, place: Place, session_id: str, *, events: int, **options: Any) -> None:
    await trial.begin(place, session_id)
    arguments = (place, trial.journal, session_id, TASKS, events, options)
    await in_processes(write_much, [arguments] * PROCESSES)
    written = trial.journal.read()
    assert len(written.acknowledged[session_id]) == PROCESSES * TASKS * events
    await trial.check(place)


class ForkingStore(RedisStore):
    """Known to be bad: it looks whether an id is taken, and then writes."""

    async def create(self, session: Session[Any]) -> None:
        if await self.get(session.id) is None:
            await asyncio.sleep(0.001)
            await self.save(session)

    async def create_next(self, session: Session[Any], before: Session[Any]) -> bool:
        session.state, session.metadata.properties = dict(before.state), dict(before.metadata.properties)
        await self.create(session)
        return True


@row("all of them crossing token_threshold", control="looks whether there is a next segment, then makes it")
async def all_cross_the_threshold(trial: Trial) -> None:
    kind = ForkingStore if trial.is_control else RedisStore
    # Of about a dozen tokens each: five or six messages fill a segment.
    options = {"infinite_context": True, "token_threshold": 150}
    events = trial.size(4, 40)
    with RedisServer() as server:
        await write_at_once(trial, OnRedis(server.url, kind=kind), "in-redis", events=events, **options)
        await write_at_once(trial, trial.on_sqlite(), "in-a-file", events=events, **options)
    if not trial.is_small:
        with RedisCluster() as cluster:
            await write_at_once(trial, OnRedis(cluster.url), "in-a-cluster", events=events, **options)


# -- time ---------------------------------------------------------------------------------------


async def write_in_turn(
    place: Place, journal: Journal, session_id: str, hours: int, turn: int, turns: int
) -> None:
    """One of three that write after each other, each with its own idea of the time."""
    with time_machine.travel(time.time() + 3600 * hours, tick=True):
        async with place.store() as store:
            manager = SessionManager(session_id, store=store)
            for number in range(turn, 3 * turns, 3):
                while await message_count(store, session_id) != number:  # noqa: ASYNC110  (others write)
                    await asyncio.sleep(0.002)
                with journal.writing(session_id, name := f"{hours}/{number}"):
                    await manager.user_says(name)


async def message_count(store: EventStore, session_id: str) -> int:
    session = await store.head(session_id)
    assert session is not None, "gone: by whose clock?"
    return session.totals.messages


@row("clocks an hour apart")
async def clocks_differ(trial: Trial) -> None:
    turns = trial.size(5, 100)
    with RedisServer() as server:
        # A file's sessions live for ever, unless one is told otherwise: there, clients are the only clocks.
        for place in (OnRedis(server.url, ttl_hours=0.5), trial.on_sqlite()):
            session_id = f"in-{place.url[:5]}"
            await trial.begin(place, session_id)
            arguments = [
                (place, trial.journal, session_id, hours, turn, turns)
                for turn, hours in enumerate((1, -1, 0))
            ]
            await in_processes(write_in_turn, arguments)
            await trial.check(place)
            async with place.store() as store:
                names = names_in(await conversation(store, session_id))
                lives = await store.time_to_live(session_id)
            with judging():
                assert names == [f"{(1, -1, 0)[number % 3]}/{number}" for number in range(3 * turns)]
                assert lives is not None
                assert lives > 1_000 * 1.5 or lives == math.inf


@row("TTL running out in mid-conversation")
async def the_end_comes(trial: Trial) -> None:
    with RedisServer() as server:
        for place in (OnRedis(server.url), trial.on_sqlite()):
            for lifetime in LIFETIMES:
                outcomes: list[str] = []
                async with replace(place, ttl_hours=lifetime / 3600).store() as store:
                    for run in range(trial.size(1, 15)):  # more at once would be slower than they live
                        name = f"{place.url[:5]}-{lifetime:g}-{run}"
                        ends = [meet_the_end(trial, store, lifetime, f"{name}-{n}") for n in range(30)]
                        outcomes += await asyncio.gather(*ends)
                if set(outcomes) >= {"whole", "nothing"}:
                    break
            else:
                raise AssertionError("all at one side of the end")


# Seconds. The first is enough, but on a machine on which talking alone takes longer.
LIFETIMES = (2.0, 6.0, 20.0)


async def meet_the_end(trial: Trial, store: EventStore, lifetime: float, session_id: str) -> str:
    """What is left of a conversation that is gone on with when its time is over; it begins anew then."""
    try:
        manager = await talk(trial, store, session_id, f"{session_id}-first")
    except SessionNotFound:
        return "too slow to tell"
    # Most of them close to the end; on a slow machine they all come late, but for those that come early.
    await asyncio.sleep(lifetime * RANDOM.choice((0.4, 1.2, *(RANDOM.uniform(0.9, 1.1) for _ in range(4)))))
    try:
        with trial.journal.writing(session_id, f"{session_id}-first/5"):
            await manager.user_says(f"{session_id}-first/5")
    except SessionNotFound:
        with judging():
            assert await found(store, session_id) == set(), "some of it came back"
        with suppress(SessionNotFound):  # on a slow machine, its time is over too
            await talk(trial, store, session_id, f"{session_id}-second")
        names = await names_while_it_lives(store, session_id)
        with judging():
            assert names in (None, [f"{session_id}-second/{number}" for number in range(5)])
        return "nothing"
    names = await names_while_it_lives(store, session_id)
    if names is None:
        return "too slow to tell"
    wanted = [f"{session_id}-first/{number}" for number in range(6)]
    trial.outcome.lost += len(set(wanted) - set(names))
    with judging():
        assert names == wanted
    return "whole"


async def talk(trial: Trial, store: EventStore, session_id: str, writer: str) -> SessionManager:
    """Three segments of a new conversation."""
    manager = SessionManager(session_id, store=store, infinite_context=True, max_turns_per_segment=2)
    for number in range(5):
        with trial.journal.writing(session_id, name := f"{writer}/{number}"):
            await manager.user_says(name)
    return manager


async def names_while_it_lives(store: EventStore, session_id: str) -> list[str] | None:
    """What is in a conversation; `None` if it ended while that was read."""
    segments = [await store.get(each) for each in await store.segment_ids(session_id)]
    if await store.time_to_live(session_id) is None:
        return None
    assert None not in segments, "a segment is missing"
    return names_in(each for each in segments if each is not None)


async def found(store: EventStore, session_id: str) -> set[str]:
    """All ids of a conversation's segments under which anything is found, however it is looked for."""
    ids = [session_id]
    while len(ids) < 40:
        ids.append(next_segment_id(ids[-1]))
    there = {each for each in ids if await store.get(each) or await store.head(each)}
    for each in ids:
        there |= set(await store.segment_ids(each))
    return there | (set(ids) & set(await store.list_sessions()))


# -- deleting -----------------------------------------------------------------------------------


@row("delete against a late write")
async def writes_come_late(trial: Trial) -> None:
    with RedisServer() as server:
        for place in (InMemory(), trial.on_sqlite(), OnRedis(server.url)):
            async with place.store() as store, place.store() as other:
                for number in range(trial.size(40, 400)):
                    session_id = f"s{number}-{type(store).__name__}"
                    writers = [await a_writer(trial, store, session_id, which) for which in range(4)]
                    working = [asyncio.create_task(until_it_is_gone(write)) for write in writers]
                    await asyncio.sleep(RANDOM.uniform(0, 0.02))
                    await other.delete_conversation(session_id)
                    await in_time(asyncio.gather(*working))
                    with judging():
                        assert await found(other, session_id) == set(), "something came back from the dead"
            trial.outcome.window = "what was deleted"


async def a_writer(
    trial: Trial, store: EventStore, session_id: str, which: int
) -> Callable[[int], Awaitable[object]]:
    """What writes to a conversation that is there, in one of the ways to do so."""
    manager = SessionManager(session_id, store=store, infinite_context=True, max_turns_per_segment=3)
    await manager.user_says("it begins")
    first = await store.get(session_id)
    assert first is not None

    async def write(number: int) -> None:
        with trial.journal.writing(session_id, name := f"{session_id}-{which}/{number}"):
            if which == 0:
                await store.append(first, [named(name)])
            elif which == 1:
                first.metadata.properties["step"] = number
                await store.save(first)
            else:
                await manager.user_says(name)

    return write


async def until_it_is_gone(write: Callable[[int], Awaitable[object]]) -> None:
    with suppress(SessionNotFound):
        for number in count():
            try:
                await write(number)
            except StorageError as problem:  # of a save, before which others came each time
                if "Try again" not in str(problem):
                    raise
            await asyncio.sleep(0)


# -- sandboxes ----------------------------------------------------------------------------------


@row("another sandbox's id", control="one sandbox for all")
async def ids_of_others(trial: Trial) -> None:
    with RedisServer() as server:
        for place in (trial.on_sqlite(), OnRedis(server.url)):
            theirs = f"in-{place.url[:5]}"
            await trial.begin(place, theirs)
            async with place.store() as store:
                manager = SessionManager(theirs, store=store, infinite_context=True, max_turns_per_segment=3)
                for number in range(trial.size(10, 100)):
                    with trial.journal.writing(theirs, name := f"said/{number}"):
                        await manager.user_says(name, user_id="ada")
                last = (await manager.get_session_chain())[-1]
            intruder = place if trial.is_control else place.fresh()
            for session_id in (theirs, last):
                await intrude(trial, intruder, session_id)
            await trial.check(place)


async def intrude(trial: Trial, place: Place, theirs: str) -> None:
    """Whatever is done with another sandbox's id is as with one that there never was."""
    missing = "x" * len(theirs)
    async with place.store() as store:
        for attempt in ATTEMPTS:
            outcomes = []
            for session_id in (theirs, missing):
                with trial.succeeds():
                    outcomes.append(await outcome_of(attempt, store, session_id))
                for each in await store.list_sessions():
                    await store.delete(each)
            with judging():
                assert outcomes[0].replace(theirs, missing) == outcomes[1]


async def outcome_of(
    attempt: Callable[[EventStore, str], Awaitable[object]], store: EventStore, session_id: str
) -> str:
    try:
        return f"{await in_time(attempt(store, session_id))!r}"
    except SessionManagerError as problem:
        return f"{type(problem).__name__}: {problem}"


async def make_child(store: EventStore, session_id: str) -> object:
    child = await Session.create(session_id="child", parent_id=session_id, store=store)
    return child.parent_id, await child.ancestors()


async def speak(store: EventStore, session_id: str) -> object:
    manager = SessionManager(session_id, store=store, infinite_context=True)
    await manager.user_says("hello")
    return [row["content"] for row in await manager.get_conversation()]


ATTEMPTS: tuple[Callable[[EventStore, str], Awaitable[object]], ...] = (
    lambda store, each: store.get(each),
    lambda store, each: store.head(each),
    lambda store, each: store.segment_ids(each),
    lambda store, each: store.last_segment_id(each),
    lambda store, each: store.time_to_live(each),
    lambda store, each: store.extend_session_ttl(each, 1),
    lambda store, each: store.list_sessions(each[:3]),
    lambda store, each: store.list_sessions(parent_id=each),
    lambda store, each: store.list_sessions(user_id="ada"),
    lambda store, each: store.append(Session(id=each), [named("intruding/0")]),
    lambda store, each: store.delete(each),
    lambda store, each: store.delete_conversation(each),
    lambda store, each: store.create(Session(id=each)),
    lambda store, each: store.save(Session(id=each)),
    lambda store, each: SessionManager(each, store=store, create=False).get_stats(),
    lambda store, each: SessionManager(each, store=store, create=False).get_conversation(),
    make_child,
    speak,
)
