"""What runs beside a test, on free ports of 127.0.0.1, and waiting for it."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

T = TypeVar("T")


HOST = "127.0.0.1"


PATIENCE = 60.0  # seconds; only ever used up where something is broken


# Redis puts the port of a cluster's bus so far above the port for clients.
BUS = 10_000


async def in_time(work: Awaitable[T]) -> T:
    """What is awaited, which ends far sooner than this."""
    async with asyncio.timeout(PATIENCE / 2):
        return await work


def wait_until(happened: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Return as soon as it happened; TimeoutError with `what` if it does not."""
    end = time.monotonic() + timeout
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A port that is free, and the one for a cluster's bus with it."""
    # Below the range systems take the ports of outgoing connections from: there, a client that keeps
    # trying to reach a stopped server can get the server's own port, and the server cannot start again.
    while True:
        port = 10_000 + secrets.randbelow(12_000)
        if _is_free(port) and _is_free(port + BUS):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Running(ABC):
    """What has to be closed in the end, at best by a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove what it left; harmless when done before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
