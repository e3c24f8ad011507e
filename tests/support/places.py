"""Where stores are, for tests that open them again: in this process, or in another one."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import pytest
from running import PATIENCE

from chuk_ai_session_manager.stores import DEFAULT_TTL_HOURS, EventStore, MemoryStore, open_store

P = ParamSpec("P")
T = TypeVar("T")

# Processes begin in a few milliseconds, from one that has imported the slow packages. They share nothing
# with the process of the tests but what is handed over, and have the environment of the first one's start.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    [
        "pytest",
        "trustme",
        "redis.asyncio.cluster",
        "chuk_ai_session_manager.session_manager",
        "chuk_ai_session_manager.session_aware_tool_processor",
        "chuk_ai_session_manager.stores.redis.store",
        "chuk_ai_session_manager.stores.sqlite.store",
        "chuk_ai_session_manager.testing",
    ]
)


@dataclass
class Place:
    """Where a store is, for processes that each open it for themselves."""

    url: str
    sandbox: str = field(default_factory=lambda: uuid4().hex)
    ttl_hours: float | None = DEFAULT_TTL_HOURS

    def store(self) -> EventStore:
        return open_store(self.url, sandbox_id=self.sandbox, ttl_hours=self.ttl_hours)

    def fresh(self) -> Place:
        """Another place of the same kind, with nothing in it."""
        return replace(self, sandbox=uuid4().hex)


class InMemory(Place):
    """The memory of this process, which each opening finds again."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self._memory = MemoryStore()

    def store(self) -> EventStore:
        return self._memory

    def fresh(self) -> Place:
        return type(self)()


def place_on(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    """A place of one test's own on a kind of store."""
    match kind:
        case "memory":
            return InMemory()
        case "sqlite":
            return Place(f"sqlite:///{folder / 'sessions.db'}")
        case _:
            return Place(request.getfixturevalue(f"redis_{'cluster' if kind == 'cluster' else 'server'}").url)


on_each = pytest.mark.parametrize("place", ["sqlite", "redis"], indirect=True)
everywhere = pytest.mark.parametrize("place", ["sqlite", "redis", "cluster"], indirect=True)
in_memory_too = pytest.mark.parametrize("place", ["memory", "sqlite", "redis"], indirect=True)


def in_another_process(work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` gives in a process that begins and ends with it, in this one's environment."""
    with ProcessPoolExecutor(1, FORKED) as pool:
        return pool.submit(_run_in, dict(os.environ), partial(work, *args, **kwargs)).result()


def _run_in(environment: Mapping[str, str], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    os.environ.clear()
    os.environ.update(environment)
    return run_work(work)


def run(work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    return run_work(partial(work, *args, **kwargs))


def run_work(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(asyncio.wait_for(work(), PATIENCE))
