"""The connection to Redis: waiting commands are sent together, within a deadline, and again if lost."""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.credentials import CredentialProvider
from redis.exceptions import NoScriptError

from ...exceptions import StorageError
from ...models.guard import guard
from ..changes import Outcome
from .clients import Client, checked_access, make_client
from .errors import as_cause, explained, is_no_master, is_refused_login, may_pass
from .exchange import attempt, close_connections, exchange, lanes_of, look_around
from .limit import Limit
from .scripts import Command, in_full
from .together import Together

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
# The most commands that are sent together: beyond some hundred, sharing a round trip saves little more. Fewer
# reads, because their answers may be long, and must all be there before the next commands are sent.
_MOST_WRITES, _MOST_READS = 500, 64


@dataclass(slots=True, eq=False)
class _Here:
    """An event loop's own client, and its commands that wait to be sent together."""

    client: Client
    lanes: list[AbstractConnection]
    """Connections for commands that are sent together; without any, the client's connections are used."""
    closing: AsyncGenerator[None, None] | None
    """Closes all of them when it is closed; `None` if they belong to the application."""
    stale: list[AbstractConnection] = field(default_factory=list)
    """Those that may lead to a former master: they are made anew before they are used again."""
    writes: Together = field(init=False)
    reads: Together = field(init=False)
    under_way: set[asyncio.Future[None]] = field(default_factory=set)
    """One for each exchange that runs beside that of the waiting commands; done when the exchange is."""

    async def renew(self, lane: AbstractConnection | None, *, is_lost: bool) -> None:
        """Leave connections to a former master; if the servers are lost, find out again where they are."""
        if is_lost:
            await look_around(self.client)
            self.stale = list(self.lanes)  # not closed now, because others may wait for answers
        if lane in self.stale:
            self.stale.remove(lane)
            await lane.disconnect(nowait=True)

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Mark an exchange as running during the block."""
        over = asyncio.get_running_loop().create_future()
        self.under_way.add(over)
        try:
            yield
        finally:
            self.under_way.remove(over)
            over.set_result(None)


class Link:
    """Sends commands within a deadline, and again if the connection or the server failed.

    So all commands must be harmless if they are run twice. There is one pooled client for each event loop;
    an application's own client is used as it is, and never closed.
    """

    def __init__(
        self, address: str | Client, timeout: float, credential_provider: CredentialProvider | None = None
    ) -> None:
        if isinstance(address, str):
            self.is_cluster: bool = checked_access(address, credential_provider).is_cluster
        elif credential_provider is None:
            self.is_cluster = isinstance(address, RedisCluster)
        else:
            raise StorageError("Give the credential provider to the Redis client: it makes the connections")
        self._address = address
        self._credential_provider = credential_provider
        self._timeout = timeout
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, _Here] = WeakKeyDictionary()
        _links.add(self)

    async def call(self, command: Command) -> Any:
        """Return the answer to one command.

        Raises:
            StorageError: there is no answer before the deadline, or it is an error; the text says what to do.
        """
        (answer,) = await self.call_all([command])
        return answer

    async def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers to several commands in one round trip, in their order.

        Raises:
            StorageError: as for `call`, if any answer is an error.
        """
        answers: list[Any] = [None] * len(commands)
        if commands:
            here = self._here()
            with here.marked():
                deadline = asyncio.get_running_loop().time() + self._timeout
                await self._send(here, None, asyncio.timeout_at, commands, deadline, answers.__setitem__)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise explained(answer) from as_cause(answer)
        return answers

    async def call_together(self, command: Command) -> Any:
        """Return the answer to a short command that writes. It is sent with all others that wait.

        A caller that is cancelled is released when the answer is there.
        """
        loop = asyncio.get_running_loop()
        answer: Outcome[Any] = Outcome(loop=loop)
        return await self._here().writes.call(command, answer, loop.time() + self._timeout)

    async def call_short(self, command: Command) -> Any:
        """Return the answer to a short command as `call_together` does, but as `call` does in a Cluster.

        There, a server that hangs would hold up the answers of the others.
        """
        return await (self.call(command) if self.is_cluster else self.call_together(command))

    async def read_together(self, command: Command) -> Any:
        """Return the answer to a command that reads. It is sent with others that wait, except in a Cluster.

        Writes do not wait for reads, whose answers may be long.
        """
        if self.is_cluster:
            return await self.call(command)
        loop = asyncio.get_running_loop()
        return await self._here().reads.call(command, loop.create_future(), loop.time() + self._timeout)

    async def close(self) -> None:
        """Wait for running exchanges and close this loop's connections, except the application's own.

        The next use opens new ones.
        """
        loop = asyncio.get_running_loop()
        here = self._places.get(loop)
        if here is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):  # other tasks may keep adding exchanges
                    # If it were cut off, it would connect again, and leave that connection open.
                    while pending := [*here.under_way, *here.writes.pending, *here.reads.pending]:
                        await asyncio.wait(pending)
        finally:
            with guard:
                if self._places.get(loop) is here:
                    del self._places[loop]
            if here.closing is not None:
                await here.closing.aclose()

    def leave_to_parent(self) -> None:
        """In the child of a fork: do not touch the parent's connections."""
        if isinstance(self._address, str):  # the parent's use of the application's client forbids the child's
            _of_parents.extend(self._places.items())
            self._places = WeakKeyDictionary()

    def _here(self) -> _Here:
        loop = asyncio.get_running_loop()
        here = self._places.get(loop)
        if here is None:
            with guard:  # another thread's loop may call this at the same time
                for other in [each for each in self._places if each.is_closed()]:
                    del self._places[other]  # its client refers to the loop, which would keep it for ever
                client = self._client()
                if client is self._address:
                    here = _Here(client, [], None)
                else:
                    lanes = lanes_of(client)
                    here = _Here(client, lanes, _closing(client, lanes))
                writing, reading = here.lanes or (None, None)
                here.writes = self._together(here, writing, _MOST_WRITES)
                here.reads = self._together(here, reading, _MOST_READS)
                self._places[loop] = here
        return here

    def _together(self, here: _Here, lane: AbstractConnection | None, most: int) -> Together:
        return Together(partial(self._send, here, lane, Limit()), self._may_pass, most)

    def _client(self) -> Client:
        if isinstance(self._address, str):
            return make_client(self._address, self._timeout, self._credential_provider)
        if any(not loop.is_closed() for loop in self._places):
            raise StorageError(
                "This Redis client is in use in another event loop: give the store a URL, or its own client"
            )
        return self._address

    def _may_pass(self, answer: Any) -> bool:
        """Whether sending the same again may have another outcome; a provider may give a newer password."""
        return may_pass(answer) or (self._credential_provider is not None and is_refused_login(answer))

    async def _send(
        self,
        here: _Here,
        lane: AbstractConnection | None,
        limit: Callable[[float], AbstractAsyncContextManager[Any]],
        commands: Sequence[Command],
        deadline: float,
        told: Callable[[int, Any], None],
    ) -> None:
        """Get commands answered. Temporary errors are tried again until the deadline.

        Args:
            here: the place of this event loop.
            lane: the connection; `None` for one of the client's.
            limit: ends a block of code at a deadline.
            commands: the commands.
            deadline: in the event loop's time.
            told: gets each command's number with its answer or error.
        """
        client = here.client
        clock = asyncio.get_running_loop().time
        open_ones = deque(range(len(commands)))
        again: dict[int, BaseException] = {}
        reasons: dict[int, BaseException] = {}
        is_lost, pause = False, _FIRST_PAUSE

        def take(answer: Any) -> None:
            at = open_ones.popleft()
            if isinstance(answer, BaseException) and self._may_pass(answer):
                again[at] = answer
            else:
                told(at, answer)

        while True:
            batch = [commands[at] for at in open_ones]
            try:
                async with limit(deadline):
                    if is_lost or here.stale:
                        await here.renew(lane, is_lost=is_lost)
                    await (attempt(client, batch, take) if lane is None else exchange(lane, batch, take))
            except Exception as problem:  # noqa: BLE001  (whatever the driver raises, the waiting tasks get it)
                while open_ones:
                    take(problem)
            # The time is random to spread the load.
            if not again or clock() + (rest := pause * random.uniform(0.5, 1.5)) >= deadline:  # noqa: S311
                for at, error in again.items():
                    told(at, _telling(error, reasons.get(at)))
                return
            if any(isinstance(error, NoScriptError) for error in again.values()):
                commands = list(map(in_full, commands))
            else:
                # A Cluster's pipelines keep asking a node that is gone, however often they fail; and a
                # connection to a former master stays there, even if another server has its name now.
                is_lost = isinstance(client, RedisCluster) or any(map(is_no_master, again.values()))
                await asyncio.sleep(rest)
                pause = min(2 * pause, _LONGEST_PAUSE)
            reasons |= {at: error for at, error in again.items() if not isinstance(error, _TELL_NOTHING)}
            open_ones.extend(again)
            again.clear()


async def _closed_in_the_end(
    client: Client, lanes: Sequence[AbstractConnection]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close_connections(client, lanes)


def _closing(client: Client, lanes: Sequence[AbstractConnection]) -> AsyncGenerator[None, None]:
    """Closes connections when it is closed, which `asyncio.run` does with generators before a loop ends.

    So an application that runs a loop for each request need not close the store in each of them.
    """
    generator = _closed_in_the_end(client, lanes)
    with suppress(StopIteration):
        anext(generator).__await__().send(None)  # up to its `yield`, where nothing is awaited
    return generator


# Errors that do not say why the attempts failed.
_TELL_NOTHING = (TimeoutError, NoScriptError)


def _telling(error: BaseException, reason: BaseException | None) -> BaseException:
    """The error to report: if the deadline cut off the last attempt, an earlier error says more."""
    return reason if reason is not None and isinstance(error, TimeoutError) else error


# Connections that a child inherited are never closed: closing one there would remove it from the
# selector that both processes share, and the parent would wait for its answers in vain.
_of_parents: list[Any] = []
_links: WeakSet[Link] = WeakSet()


def _leave_to_parent() -> None:
    for link in list(_links):
        link.leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_leave_to_parent)
