"""Sending commands over the driver's connections: through its pool, or over one connection beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ResponseError

from .clients import Client
from .scripts import Command

# How many bytes are packed and sent at a time: more would block the event loop, and need as much memory
# again.
_ENOUGH_BYTES = 1_000_000


async def attempt(client: Client, commands: Sequence[Command], take: Callable[[Any], None]) -> None:
    """Send commands through the client's pool. `take` gets their answers in order, including errors."""
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


def lanes_of(client: Client) -> list[AbstractConnection]:
    """Two connections beside the client's pool, to write and to read; they save a third of a round trip.

    A Cluster cannot use them, because each command has its own server.
    """
    if isinstance(client, RedisCluster):
        return []
    pool = client.connection_pool
    return [pool.connection_class(**pool.connection_kwargs) for _ in range(2)]


async def exchange(
    lane: AbstractConnection, commands: Sequence[Command], take: Callable[[Any], None]
) -> None:
    """Send commands over one connection, and reconnect if it is lost. `take` gets the answers in order."""
    try:
        if not lane.is_connected:
            await lane.connect()  # type: ignore[no-untyped-call]
        for packed, count in _packed(commands):
            await lane.send_packed_command(packed)
            for _ in range(count):
                try:
                    answer = await lane.read_response()
                except ResponseError as refusal:
                    answer = refusal
                take(answer)
    except BaseException:  # including cancellation: nobody may get the replies that are still to come
        await lane.disconnect(nowait=True)
        raise


def _packed(commands: Sequence[Command]) -> Iterator[tuple[bytes, int]]:
    """Commands in the protocol's form, many at once, and their number; several times as fast as the driver.

    https://redis.io/docs/latest/develop/reference/protocol-spec/#sending-commands-to-a-redis-server
    """
    parts: list[str] = []
    count = sent = length = 0
    for count, command in enumerate(commands, start=1):
        parts.append(f"*{len(command)}\r\n")
        for word in command:
            text = word if type(word) is str else word.decode() if isinstance(word, bytes) else str(word)
            size = len(text) if text.isascii() else len(text.encode())  # in bytes
            length += size
            parts.append(f"${size}\r\n{text}\r\n")
        if length > _ENOUGH_BYTES:
            yield "".join(parts).encode(), count - sent
            parts, sent, length = [], count, 0
    if parts:
        yield "".join(parts).encode(), count - sent


async def look_around(client: Client) -> None:
    """Find out again where the servers are."""
    if isinstance(client, RedisCluster):
        await client.initialize()  # if the driver closed it, which the client would not notice otherwise
        await client.nodes_manager.initialize()
        return
    await client.connection_pool.disconnect(inuse_connections=False)


async def close_connections(client: Client, lanes: Sequence[AbstractConnection]) -> None:
    """Close everything that a client opened, and the connections beside its pool."""
    for lane in lanes:
        await lane.disconnect()
    await client.aclose()
    # The client leaves these open: nodes that it was about to look for again, and sentinels.
    if isinstance(client, RedisCluster):
        manager = client.nodes_manager
        for node in (*manager.nodes_cache.values(), *manager.startup_nodes.values()):
            await node.disconnect()
    elif isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()
