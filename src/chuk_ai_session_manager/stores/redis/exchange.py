"""Commands and replies over the driver's connections: through its pool, or over one connection beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ResponseError

from .clients import Client
from .scripts import Command

# Bytes that are packed and sent at a time: more would hold up the event loop, and take as much memory again.
_ENOUGH_BYTES = 1_000_000


async def attempt(client: Client, commands: Sequence[Command], take: Callable[[Any], None]) -> None:
    """Send commands through the client's pool; `take` gets their answers in order, errors among them."""
    if len(commands) == 1:
        try:
            take(await client.execute_command(*commands[0]))
        except ResponseError as refusal:
            take(refusal)
        return
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    for answer in await pipeline.execute(raise_on_error=False):
        take(answer)


def lane_of(client: Client) -> AbstractConnection | None:
    """A connection beside the client's pool, which is spared the way through it: a third of a round trip.

    It is of no use to a Cluster, where each command has its own server.
    """
    if isinstance(client, RedisCluster):
        return None
    pool = client.connection_pool
    lane: AbstractConnection = pool.connection_class(**pool.connection_kwargs)
    return lane


async def exchange(
    lane: AbstractConnection, commands: Sequence[Command], take: Callable[[Any], None]
) -> None:
    """Send commands over one connection, made anew where it is lost; `take` gets their answers in order."""
    try:
        if not lane.is_connected:
            await lane.connect()  # type: ignore[no-untyped-call]
        for packed, count in _packed(commands):
            await lane.send_packed_command(packed)
            for _ in range(count):
                take(await _reply(lane))
    except BaseException:  # cancelled, too: replies that are still to come must be nobody's
        await lane.disconnect(nowait=True)
        raise


def _packed(commands: Sequence[Command]) -> Iterator[tuple[bytes, int]]:
    """Commands as the protocol has them, many together, and how many; the driver's way takes thrice as long.

    https://redis.io/docs/latest/develop/reference/protocol-spec/#sending-commands-to-a-redis-server
    """
    parts: list[bytes] = []
    count = sent = length = 0
    for count, command in enumerate(commands, start=1):
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            data = word if isinstance(word, bytes) else str(word).encode()
            length += len(data)
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
        if length > _ENOUGH_BYTES:
            yield b"".join(parts), count - sent
            parts, sent, length = [], count, 0
    if parts:
        yield b"".join(parts), count - sent


async def _reply(lane: AbstractConnection) -> Any:
    try:
        return await lane.read_response()
    except ResponseError as refusal:
        return refusal


async def look_around(client: Client, lane: AbstractConnection | None) -> None:
    """Find out anew where the servers are."""
    if isinstance(client, RedisCluster):
        await client.initialize()  # where the driver closed it, which else it would still take it for
        await client.nodes_manager.initialize()
        return
    if lane is not None:
        await lane.disconnect(nowait=True)
    await client.connection_pool.disconnect(inuse_connections=False)


async def close_connections(client: Client, lane: AbstractConnection | None) -> None:
    """Close all that a client opened, and the connection beside its pool."""
    if lane is not None:
        await lane.disconnect()
    await client.aclose()
    # What the client does not close: nodes that it was about to look for anew, and sentinels.
    if isinstance(client, RedisCluster):
        manager = client.nodes_manager
        for node in (*manager.nodes_cache.values(), *manager.startup_nodes.values()):
            await node.disconnect()
    elif isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()
