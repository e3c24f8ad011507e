"""Peers that take turns: each a process in an environment of its own, spoken to through pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from environments import FOLDER, ROOT, python_of, variables

sys.path.insert(0, str(ROOT / "tests" / "support"))
from servers import RedisServer

Key = TypeVar("Key")
Value = TypeVar("Value")
DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True)
class Peer:
    """A way to store conversations: a driver, the environment that it runs in, and how tables call it."""

    name: str
    environment: str
    driver: str


PROJECT = Peer("SessionManager", "project", "session_manager.py")
SPLINTR = Peer("SessionManager, tokenizers", "project-tokenizers", "session_manager.py")
APPEND = Peer("store.append", "project", "store_append.py")
ORIGINAL = Peer("original 0.7.1", "original-0.7.1", "session_manager.py")
NEWEST = Peer("original 0.11", "original-0.11", "session_manager.py")
AGENTS = Peer("OpenAI Agents SDK", "agents-sdk", "agents_sdk.py")
BARE = Peer("bare", "project", "bare.py")

PEERS = {
    "memory": [PROJECT, APPEND, ORIGINAL, NEWEST, AGENTS, BARE],
    "SQLite": [PROJECT, APPEND, AGENTS, BARE],
    "Redis": [PROJECT, APPEND, ORIGINAL, NEWEST, AGENTS, BARE],
}
"""Who can store where."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    rounds: int = 7
    session: int = 1_600  # events
    few: int = 200  # events of one writer in a round, where a session's length does not matter
    each: int = 20  # events of each of the sessions at once
    lengths: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    growth_rounds: int = 15
    longest_of_originals: int = 10_000  # where one event takes them 0.1 s
    reopened: int = 10_000
    logs: tuple[int, ...] = (200, 20_000, 100_000)  # events of sessions that a short context is made of
    listed: int = 10_000  # sessions
    endless: int = 100_000
    megabytes: float = 10
    fresh_processes: int = 7
    few_rounds: int = 3  # where a round takes seconds
    shared_seconds: float = 0.7  # for which several processes write
    held: int = 10_000  # sessions
    burst: int = 1_000


QUICK = Scale(
    rounds=2,
    session=400,
    few=50,
    each=10,
    lengths=(100, 1_000, 10_000),
    growth_rounds=5,
    longest_of_originals=1_000,
    reopened=2_000,
    logs=(200, 4_000),
    listed=1_000,
    endless=4_000,
    megabytes=2,
    fresh_processes=2,
    few_rounds=1,
    shared_seconds=0.3,
    held=1_000,
    burst=200,
)


class Worker:
    """A peer's process."""

    def __init__(self, peer: Peer, settings: dict[str, str]) -> None:
        self.peer = peer
        words = [str(python_of(peer.environment)), str(DRIVERS / peer.driver)]
        self._process = subprocess.Popen(  # noqa: S603  (our own words)
            words,
            env=variables() | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCHMARK_LOGS") else subprocess.DEVNULL,
            text=True,
        )
        assert self._answer() == "ready"

    def __call__(self, job: str, **arguments: Any) -> Any:
        """Have it do a job; what it answers.

        Raises:
            RuntimeError: it could not; with what happened there.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"job": job, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended; BENCHMARK_LOGS=1 shows what it says"}
        if "error" in answer:
            raise RuntimeError(f"{self.peer.name}: {answer['error']}")
        return answer["answer"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass
class Bench:
    """What a run has: how much to measure, a Redis server, and a folder on a disk."""

    scale: Scale
    redis: RedisServer
    folder: Path
    chats: str | None
    databases: dict[Peer, int] = field(default_factory=dict)

    def worker(self, peer: Peer, place: str) -> Worker:
        """A new process of a peer. All of one peer share their data, and share it with no other peer."""
        return Worker(peer, self.settings(peer, place))

    def settings(self, peer: Peer, place: str) -> dict[str, str]:
        """The environment variables that say where a peer stores its sessions."""
        number = self.databases.setdefault(peer, len(self.databases))
        return {
            "SESSION_PROVIDER": place.lower(),
            "SESSION_REDIS_URL": f"{self.redis.url}/{number}",
            "SESSION_SQLITE_PATH": str(self.folder / f"{number}.db"),
        }

    @contextmanager
    def workers(self, place: str, peers: list[Peer]) -> Iterator[dict[Peer, Worker]]:
        """A process for each of some peers."""
        with ExitStack() as stack:
            yield {peer: stack.enter_context(self.worker(peer, place)) for peer in peers}


@contextmanager
def bench_of(scale: Scale) -> Iterator[Bench]:
    """All that a run needs, until the end of the `with` block."""
    FOLDER.mkdir(exist_ok=True)
    with RedisServer() as redis, tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        yield Bench(scale, redis, Path(folder), os.environ.get("CHATS"))


def interleaved(rounds: int, turns: Mapping[Key, Callable[[], Value]]) -> dict[Key, list[Value]]:
    """What each measured in each round, in which they took turns; one round before warms up.

    Another one begins each round: whom something else on the machine disturbs is not always the same.
    """
    values: dict[Key, list[Value]] = {key: [] for key in turns}
    order = deque(turns)
    for number in range(rounds + 1):
        for key in order:
            value = turns[key]()
            if number:
                values[key].append(value)
        order.rotate(1)
    return values
