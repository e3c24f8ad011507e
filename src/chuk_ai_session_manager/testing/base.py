"""The stores of one test, and how the tests of the contract run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from functools import partial, wraps
from multiprocessing import get_context, get_start_method
from typing import Any, ClassVar, TypeAlias, TypeVar
from uuid import uuid4

import pytest

from ..stores.base import EventStore

T = TypeVar("T")

Opener: TypeAlias = Callable[..., EventStore]
"""Opens a store; called with `sandbox_id` and `ttl_hours` where the store knows them."""

# The seconds that one test may take, with its other processes. Only a test that hangs takes so long.
PATIENCE = 60.0


class Stores:
    """The stores of one test: all hold the same sessions, and all are closed when the test ends."""

    def __init__(self, contract: Contract, opener: Opener) -> None:
        self._contract = contract
        self._opener = opener
        self._sandbox = f"contract-{uuid4().hex}"
        self._opened: list[EventStore] = []

    def opener(self, sandbox: str = "", *, ttl_hours: float | None = None) -> Opener:
        """Give an opener of this test's stores, for any process; `sandbox` names another sandbox."""
        options: dict[str, Any] = {}
        if self._contract.has_sandboxes:
            options["sandbox_id"] = self._sandbox + sandbox
        if ttl_hours is not None:
            options["ttl_hours"] = ttl_hours
        return partial(self._opener, **options)

    def open(self, sandbox: str = "", *, ttl_hours: float | None = None) -> EventStore:
        """Open another store on the same sessions; one that does not survive the process is opened once."""
        if self._opened and not self._contract.survives_the_process:
            return self._opened[0]
        store = self.opener(sandbox, ttl_hours=ttl_hours)()
        self._opened.append(store)
        return store

    async def elsewhere(self, *uses: Callable[[EventStore], Awaitable[T]]) -> list[T]:
        """Run each use of a store in a process of its own, all at the same time; return their results."""
        loop = asyncio.get_running_loop()
        # A fork of this process would take over connections and threads; one of a fork server takes none.
        method = "forkserver" if get_start_method(allow_none=True) == "forkserver" else "spawn"
        with ProcessPoolExecutor(len(uses), mp_context=get_context(method)) as pool:
            running = (loop.run_in_executor(pool, _used, self.opener(), use) for use in uses)
            return await asyncio.gather(*running)

    async def close(self) -> None:
        """Close all stores; the next use of a store opens it again."""
        for store in self._opened:
            await store.close()


def _used(opener: Opener, use: Callable[[EventStore], Awaitable[T]]) -> T:
    """Open a store, use it and close it."""

    async def opened() -> T:
        async with asyncio.timeout(PATIENCE), opener() as store:
            return await use(store)

    return asyncio.run(opened())


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test a plain function, which runs in an event loop of its own and closes its stores there."""

    @wraps(test)
    def run(self: Contract, stores: Stores, **parameters: Any) -> None:
        async def tested() -> None:
            try:
                async with asyncio.timeout(PATIENCE):
                    await test(self, stores, **parameters)
            finally:
                await stores.close()

        # With a loop factory, `Runner` leaves the thread's current event loop as it was.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(tested())

    return run


class Contract:
    """The base of each topic: the abilities of the store, and the stores of a test."""

    survives_the_process: ClassVar[bool] = True
    """Sessions outlive the store object: another store, opened with the same arguments, has them too."""

    has_sandboxes: ClassVar[bool] = True
    """The opener takes `sandbox_id`: sessions of one sandbox do not exist in another."""

    expires: ClassVar[bool] = True
    """The opener takes `ttl_hours`: a session is gone when nobody wrote to it for that long."""

    calls_redact_hooks: ClassVar[bool] = False
    """The store calls its `redact` hook with each text before the text is written."""

    largest_message: ClassVar[int] = 5_000_000
    """The length of the longest message that a test writes, in characters."""

    @pytest.fixture
    def stores(self, opener: Opener) -> Stores:
        """The stores of one test."""
        return Stores(self, opener)
