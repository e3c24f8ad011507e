"""Rows of the fault matrix: what may happen to a Cluster, or to a pair with Sentinels, that is written to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any
from uuid import uuid4

import redis
from redis.crc import key_slot
from rig import OnRedis, Trial, Writers, row
from running import HOST, wait_until
from servers import RedisCluster, RedisSentinel, RedisServer, is_master

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores.durability import redis_report

# Of a failover; the report says it where there are replicas.
(WINDOW,) = redis_report({"replicas": "1"}).warnings


class Busy:
    """Writers that go on in several conversations, on all masters, while something is done to the servers."""

    def __init__(self, trial: Trial, place: OnRedis, sessions: int = 6) -> None:
        self.trial, self.place = trial, place
        self.session_ids = [f"{number}-{uuid4().hex}" for number in range(sessions)]

    async def __aenter__(self) -> Writers:
        await self.trial.begin(self.place, *self.session_ids)
        self._stack = AsyncExitStack()
        stores = [await self._stack.enter_async_context(self.place.store()) for _ in range(2)]
        writers = await self._stack.enter_async_context(Writers(self.trial))
        for store in stores:
            for session_id in self.session_ids:
                writers.append(store, session_id)
            manager = SessionManager(self.session_ids[0], store=store)
            writers.say(manager, self.session_ids[0])
        await writers.go_on(200)
        return writers

    async def __aexit__(self, *exception: Any) -> None:
        await self._stack.__aexit__(*exception)
        if exception[0] is None:
            await self.trial.check(self.place)


@row("Cluster failover, slot move, READONLY, LOADING")
async def clusters_change(trial: Trial) -> None:
    times = trial.size(1, 5)
    for _ in range(times):
        await demote(trial)
        await restart_with_much(trial)
    with RedisCluster(replicas=1, options={"cluster-node-timeout": "1500"}) as cluster:
        busy = Busy(trial, OnRedis(cluster.url, timeout=5.0))
        async with busy as writers:
            for _ in range(times):
                for session_id in busy.session_ids[:2]:
                    await move_slot(cluster, busy.place, session_id, writers)
                await take_over(cluster, writers)
        assert not trial.outcome.lost, "where all servers are well, nothing is lost"
        async with Busy(trial, OnRedis(cluster.url, timeout=5.0)) as writers:
            for _ in range(times):
                await suspend_two(cluster, writers)
                await kill_a_master(cluster, writers)
        trial.outcome.window = WINDOW


async def act(work: Callable[..., Any], *args: Any) -> Any:
    """Do something to the servers while writers go on."""
    return await asyncio.to_thread(work, *args)


async def move_slot(cluster: RedisCluster, place: OnRedis, session_id: str, writers: Writers) -> None:
    """Reshard: the slot of a conversation that is written to moves, with all that is in it."""
    async with place.store() as store:
        slot = key_slot(store._keys.of(session_id).encode())
    masters = await act(masters_of, cluster)
    (source,) = (node for node in masters if owns(node, slot))
    target = next(node for node in masters if node is not source)
    source_id, target_id = (node.command("CLUSTER", "MYID") for node in (source, target))
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
    await writers.go_on(100)  # while it is between the two
    for key in source.command("CLUSTER", "GETKEYSINSLOT", slot, 1_000):
        source.command("MIGRATE", HOST, target.port, key, 0, 5_000)
    await writers.go_on(100)  # its keys are where nobody looks for them first
    for node in (target, source, *masters):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    await writers.go_on(100)


def masters_of(cluster: RedisCluster) -> list[RedisServer]:
    return [node for node in cluster.nodes if is_master(node)]


def owns(node: RedisServer, slot: int) -> bool:
    """Whether a master answers for a slot."""
    (mine,) = (line for line in node.command("CLUSTER", "NODES").splitlines() if "myself" in line)
    ranges = [part.split("-") for part in mine.split(" ")[8:] if not part.startswith("[")]
    return any(int(first) <= slot <= int(last[0] if last else first) for first, *last in ranges)


async def take_over(cluster: RedisCluster, writers: Writers) -> None:
    """A master is demoted while it is written to: its replica takes over and it becomes that one's."""
    master = masters_of(cluster)[0]
    replica = replica_of(cluster, master)
    await act(replica.command, "CLUSTER", "FAILOVER")
    await act(wait_until, lambda: is_master(replica) and not is_master(master), "a replica that took over")
    await writers.go_on(100)
    await act(cluster.settle)


def replica_of(cluster: RedisCluster, master: RedisServer) -> RedisServer:
    return next(node for node in cluster.nodes if node.command("ROLE")[:3] == ["slave", HOST, master.port])


async def suspend_two(cluster: RedisCluster, writers: Writers) -> None:
    """A master and its replica hang, so that slots are not served, and CLUSTERDOWN is what all answer."""
    master = masters_of(cluster)[0]
    pair = (master, replica_of(cluster, master))
    (other, *_) = (node for node in cluster.nodes if node not in pair)
    for node in pair:
        node.pause()
    await act(wait_until, lambda: "cluster_state:fail" in other.command("CLUSTER", "INFO"), "CLUSTERDOWN")
    await asyncio.sleep(0.5)
    for node in pair:
        node.resume()
    await act(cluster.settle)
    await writers.go_on(100)


async def kill_a_master(cluster: RedisCluster, writers: Writers) -> None:
    """A master is killed; its replica takes over, and it comes back empty, as that one's replica."""
    master = masters_of(cluster)[0]
    replica = replica_of(cluster, master)
    await act(master.kill)
    await act(wait_until, lambda: is_master(replica), "a replica that took over")
    await writers.go_on(100)
    await act(master.start)
    await act(cluster.settle)
    await act(wait_until, lambda: is_in_step(master, replica), "a replica that has all again")
    await writers.go_on(100)


def is_in_step(replica: RedisServer, master: RedisServer) -> bool:
    role = replica.command("ROLE")
    return bool(role[0] == "slave" and role[2] == master.port and role[3] == "connected")


async def demote(trial: Trial) -> None:
    """A master that clients know by its address is demoted (READONLY), and made master again."""
    with RedisServer() as first, RedisServer(options={"replicaof": f"{HOST} {first.port}"}) as second:
        await act(wait_until, lambda: is_in_step(second, first), "a first copy")
        async with Busy(trial, OnRedis(first.url, timeout=5.0), sessions=2) as writers:
            await act(hand_over, first, second)
            with suppress(redis.ReadOnlyError):
                await act(first.command, "SET", "key", "value")
                raise AssertionError("it is not read-only")
            await asyncio.sleep(0.5)
            await act(hand_over, second, first)
            await writers.go_on(100)


def hand_over(master: RedisServer, replica: RedisServer) -> None:
    """Let a replica be master that has all that its master acknowledged."""
    master.command("FAILOVER", "TO", HOST, replica.port)
    wait_until(lambda: is_master(replica) and is_in_step(master, replica), "the end of a failover")


async def restart_with_much(trial: Trial) -> None:
    """A server is killed and started again, and has much to load, with LOADING as its answer meanwhile."""
    options = {
        "key-load-delay": "1",
        "rdbcompression": "no",
    }  # each key takes it a moment, 20 MB some seconds
    with RedisServer(aof=True, options=options) as server:
        await act(server.command, "DEBUG", "POPULATE", 40_000, "key", 500)
        await act(server.command, "BGREWRITEAOF")
        await act(wait_until, lambda: not is_rewriting(server), "the end of the rewriting")
        async with Busy(trial, OnRedis(server.url, timeout=5.0), sessions=2) as writers:
            await act(server.kill)
            starting = asyncio.create_task(act(server.start))
            await act(wait_until, lambda: is_loading(server), "LOADING")
            await starting
            await writers.go_on(100)


def is_rewriting(server: RedisServer) -> bool:
    with server.client() as client:
        info = client.info("persistence")
    return bool(info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])


def is_loading(server: RedisServer) -> bool:
    try:
        server.command("GET", "key")
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.ConnectionError:
        return False
    raise AssertionError("it had nothing to load")


@row("Sentinel failover")
async def sentinels_choose(trial: Trial) -> None:
    for _ in range(trial.size(1, 5)):
        with RedisSentinel() as rig:
            async with Busy(trial, OnRedis(rig.url, timeout=5.0), sessions=3) as writers:
                await act(rig.master.kill)
                await act(wait_until, lambda rig=rig: is_master(rig.replica), "a replica that took over")
                await writers.go_on(200)
    trial.outcome.window = WINDOW
