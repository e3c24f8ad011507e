"""Things that break on purpose: connections, a full disk, a store that forgets ids."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from running import HOST

from chuk_ai_session_manager.stores.changes import Appended
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.stored_data import EncodedEvent

RANDOM = random.Random()  # noqa: S311  (moments, not secrets)


# -- harm ---------------------------------------------------------------------------------------


class Proxy:
    """Passes commands on to a server and its answers back: late, or not at all, as it is told.

    Args:
        target_port: the server's.
    """

    def __init__(self, target_port: int) -> None:
        self.lost = 0
        """How many answers were lost so far: the server had carried out what they answer."""
        self.losing = 0.0
        """The share of answers to `sign` that are lost, with their connections."""
        self.cuts = True
        """Whether the connection ends with a lost answer; else it stays open, and mute."""
        self.sign = b""
        """What is in the commands whose answers may be lost."""
        self.delay = 0.0
        """Seconds that an answer is late, up to."""
        self.target_port = target_port
        self._once = False

    def lose_next(self, sign: bytes) -> None:
        """Lose the next answer to a command with these bytes in it."""
        self.sign, self.losing, self._once = sign, 1.0, True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        """The port that it listens on."""
        server = await asyncio.start_server(self._carry, HOST, 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        asked: list[bytes] = []
        with suppress(OSError, asyncio.CancelledError):  # cancelled it is only with the loop
            server, to_server = await asyncio.open_connection(HOST, self.target_port)
            ends = to_server.transport, to_client.transport
            await asyncio.gather(
                _until_either_ends(self._forth(client, to_server, asked), ends),
                _until_either_ends(self._back(server, to_client, asked), ends),
            )
        to_client.transport.abort()

    async def _forth(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        while command := await client.read(1 << 20):
            asked.append(command)
            to_server.write(command)

    async def _back(
        self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, asked: list[bytes]
    ) -> None:
        while answer := await server.read(1 << 20):
            commands = b"".join(asked)
            asked.clear()
            was_done = b"NOSCRIPT" not in answer  # else it is sent in full after this
            if self.sign in commands and was_done and RANDOM.random() < self.losing:
                self.lost += 1
                if self._once:
                    self.losing = 0.0
                if self.cuts:
                    return
            else:
                await asyncio.sleep(RANDOM.uniform(0, self.delay))
                to_client.write(answer)


async def _until_either_ends(
    carrying: Coroutine[Any, Any, None], ends: Sequence[asyncio.WriteTransport]
) -> None:
    try:
        with suppress(OSError):
            await carrying
    finally:
        for end in ends:
            end.abort()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of a megabyte; skips the test for who may not mount one."""
    disk = folder / "disk"
    disk.mkdir()
    mounting = ["/bin/mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("only who may mount a small file system can fill one up")
    try:
        yield disk
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(disk)], check=True)


class _FreshId(str):
    """Another id each time it is sent."""

    def __str__(self) -> str:
        return uuid4().hex


class BlindStore(RedisStore):
    """Known to be bad: its appends are not idempotent, and are sent again when the reply is lost."""

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        events = [event._replace(id=_FreshId(event.id)) for event in events]
        return await super()._add(session_id, events, born, only_at)
