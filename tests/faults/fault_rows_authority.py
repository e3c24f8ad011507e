"""Rows of the fault matrix: servers that have no say on what exists, and yet answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from breakage import Proxy
from journal import name_of, named
from rig import CheckFailed, OnRedis, Trial, Writers, judging, row
from running import HOST, in_time, wait_until
from servers import RedisServer, has_all_of, redis_server_path, redis_version

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import SessionNotFound
from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.stores.redis.store import RedisStore

# Known to be bad: a replica that takes writes, which are lost, is taken for a master.
WRITABLE = {"replica-read-only": "no"}


def questions(store: RedisStore) -> list[Callable[[], Awaitable[object]]]:
    """What asks for a session that such a server does not have."""
    return [
        partial(store.get, "s"),
        partial(store.head, "s"),
        partial(store.append, Session(id="s"), [named("nobody/0")]),
        partial(store.list_sessions),
        partial(store.list_sessions, user_id="ada"),
        partial(store.list_sessions, parent_id="s"),
        partial(store.segment_ids, "s"),
        partial(store.last_segment_id, "s"),
        partial(store.time_to_live, "s"),
        partial(store.delete, "s"),
        partial(store.delete_conversation, "s"),
        partial(store.lifecycle.original, "s"),
        SessionManager("s", store=store, create=False).get_conversation,
        partial(SessionManager("s", store=store).user_says, "hello"),
    ]


@row("a replica is asked", control="a replica that takes writes")
async def a_replica_is_asked(trial: Trial) -> None:
    with RedisServer() as gone:
        port = gone.port
    harm = {"replicaof": f"{HOST} {port}"} | (WRITABLE if trial.is_control else {})
    with RedisServer(options=harm) as replica:
        for _ in range(trial.size(1, 20)):
            async with OnRedis(replica.url, timeout=1.0).store() as store:
                await asyncio.gather(*(ask_in_vain(trial, ask) for ask in questions(store)))


async def ask_in_vain(trial: Trial, ask: Callable[[], Awaitable[object]]) -> None:
    """Ask; that something is not there is wrong, whichever way it is said."""
    with judging(), trial.refused("is not a master"):
        try:
            await ask()
        except SessionNotFound as problem:
            raise CheckFailed(str(problem)) from problem


@row("a demoted master is asked", control="a demoted master that takes writes")
async def a_demoted_master_is_asked(trial: Trial) -> None:
    """A name leads to it for a while, then to the promoted one; every other time, it is empty meanwhile."""
    options = WRITABLE if trial.is_control else {}
    with (
        RedisServer() as empty,
        RedisServer(options=options) as first,
        RedisServer(options=options | {"replicaof": f"{HOST} {first.port}"}) as second,
    ):
        master, replica, proxy = first, second, Proxy(first.port)
        async with proxy.running() as port:
            place = OnRedis(f"redis://{HOST}:{port}", timeout=5.0)
            await trial.begin(place, "s")
            async with place.store() as store, place.store() as other:
                for number in range(trial.size(10, 200)):
                    await act_until(has_all_of, replica, master)
                    replica.command("REPLICAOF", "NO", "ONE")
                    if number % 2:
                        master.command("REPLICAOF", HOST, empty.port)
                        await act_until(is_empty, master)
                    else:
                        master.command("REPLICAOF", HOST, replica.port)
                    await ask_while_it_moves(trial, store, other, number, proxy, replica)
                    master.command("REPLICAOF", HOST, replica.port)
                    master, replica = replica, master
            await trial.check(place)


async def ask_while_it_moves(
    trial: Trial, store: RedisStore, other: RedisStore, number: int, proxy: Proxy, promoted: RedisServer
) -> None:
    """Append, read and list through the name, which leads to the promoted one soon."""

    async def append() -> None:
        event = named(f"appended/{number}")
        with trial.journal.writing("s", name_of(event)):
            await store.append(Session(id="s"), [event])

    async def ask(question: Callable[[], Awaitable[Any]]) -> None:
        with trial.succeeds():
            answer = await question()
        if not answer:
            raise CheckFailed("what is there was not found")

    asking = asyncio.gather(
        append(),
        ask(partial(other.get, "s")),
        ask(other.list_sessions),
        ask(partial(other.segment_ids, "s")),
        ask(partial(other.time_to_live, "s")),
    )
    await asyncio.sleep(number % 10 / 200)
    proxy.target_port = promoted.port
    try:
        await in_time(asking)
    except SessionNotFound as problem:
        raise CheckFailed(str(problem)) from problem


async def act_until(happened: Callable[..., bool], *args: Any) -> None:
    await asyncio.to_thread(wait_until, partial(happened, *args), "servers that are as they shall be")


def is_empty(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(
            client.info("replication")["master_link_status"] == "up" and client.execute_command("DBSIZE") == 0
        )


@row("Redis 7 and later, as distributions ship it")
async def as_shipped(trial: Trial) -> None:
    """A server that allows nothing beyond its defaults suffices for the library; no DEBUG, no CONFIG."""
    forbidden = {"rename-command": 'CONFIG ""'}
    if redis_version(redis_server_path()) >= (7,):
        forbidden["enable-debug-command"] = "no"
    with RedisServer(options=forbidden) as server:
        place = OnRedis(server.url)
        await trial.begin(place, "s")
        async with place.store() as store:
            assert (await store.durability_report()).loss_window.startswith("unknown")
            async with Writers(trial) as writers:
                manager = SessionManager("s", store=store)
                for _ in range(5):
                    writers.append(store, "s")
                    writers.say(manager, "s")
                await writers.go_on(trial.size(200, 5_000))
        await trial.check(place)
