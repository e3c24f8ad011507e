"""The way to a Redis: clients from URLs, one deadline with retries, and errors that say what to do."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..exceptions import StorageError
from .durable import decided, settled

Client: TypeAlias = "Redis | RedisCluster"
Command: TypeAlias = "tuple[Any, ...]"

# Answers of a server that starts, fails over, moves slots or runs a long script: soon it will do better.
_PASSING = (
    "LOADING",
    "READONLY",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "NOREPLICAS",
    "BUSY",
)
_PASSING_ERRORS = (NoScriptError, ReadOnlyError, TryAgainError, MasterDownError, ClusterDownError)
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
# Commands in one pipeline: beyond some hundred, sharing a round trip saves little more.
_MOST_AT_ONCE = 500


class Script:
    """A Lua script of this package, sent by its hash, in full where the server does not know it yet."""

    def __init__(self, name: str) -> None:
        self.text = files(__package__).joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
        self.hash = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: Sequence[str], *arguments: Any) -> Command:
        """The command that runs it."""
        return ("EVALSHA", self, len(keys), *keys, *arguments)


def _as_sent(command: Command, *, in_full: bool) -> Command:
    if command[0] != "EVALSHA":
        return command
    script = command[1]
    return ("EVAL", script.text, *command[2:]) if in_full else ("EVALSHA", script.hash, *command[2:])


class _Waiting(NamedTuple):
    """A command that waits to be sent with others, until when, in the event loop's time."""

    command: Command
    answer: asyncio.Future[Any]
    deadline: float


@dataclass(slots=True, eq=False)
class _Here:
    """What belongs to one event loop: its client, and the commands that wait to be sent together."""

    client: Client
    waiting: list[_Waiting] = field(default_factory=list)
    is_sending: bool = False
    sender: asyncio.Task[None] | None = None
    crowd: int = 0
    """How many commands went together the last time."""


class Link:
    """Sends commands, within a deadline, again where the connection or the server failed.

    So all commands must be such that doing them twice does no harm. There is one pooled client for each
    event loop; a client that was handed over is used as it is, and never closed.
    """

    def __init__(self, address: str | Client, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._process = os.getpid()
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, _Here] = WeakKeyDictionary()
        self.is_cluster = (
            checked_url(address).is_cluster if isinstance(address, str) else isinstance(address, RedisCluster)
        )

    async def call(self, command: Command) -> Any:
        """The answer to one command.

        Raises:
            StorageError: there is none within the deadline, or it is an error; it says what to do.
        """
        (answer,) = await self._send([command], self._deadline())
        if isinstance(answer, BaseException):
            raise explained(answer) from answer
        return answer

    async def call_all(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to several commands in one round trip, in their order.

        Raises:
            StorageError: as for `call`, if any of them is an error.
        """
        answers = await self._send(commands, self._deadline()) if commands else []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise explained(answer) from answer
        return answers

    async def call_together(self, command: Command) -> Any:
        """The answer to a command that goes with all others that wait now; decided before it is cancelled.

        Who comes while nothing is under way sends what waits; who comes meanwhile waits for that.
        """
        here = self._here()
        answer = asyncio.get_running_loop().create_future()
        here.waiting.append(_Waiting(command, answer, self._deadline()))
        if not here.is_sending:
            here.is_sending = True
            try:
                if here.crowd > 1:
                    await asyncio.sleep(0)  # others of this moment come too, as they did the last time
                await self._send_batch(here)
            except BaseException:  # cancelled
                self._hand_on(here)
                await decided(answer)
                raise
            self._hand_on(here)
        return await settled(answer)

    def _hand_on(self, here: _Here) -> None:
        """Let a task send what waits: what came meanwhile, or all, where the sending task was cancelled."""
        here.is_sending = bool(here.waiting)
        if here.waiting:
            here.sender = asyncio.create_task(self._send_waiting(here))

    async def _send_waiting(self, here: _Here) -> None:
        try:
            while here.waiting:
                await self._send_batch(here)
        finally:  # also where the event loop ends
            here.is_sending, here.sender = False, None
            abandoned, here.waiting = here.waiting, []
            for waiting in abandoned:
                waiting.answer.cancel()

    async def _send_batch(self, here: _Here) -> None:
        batch = here.waiting[:_MOST_AT_ONCE]
        answers = await self._send([waiting.command for waiting in batch], batch[0].deadline)
        now = asyncio.get_running_loop().time()
        again = []
        for waiting, answer in zip(batch, answers, strict=True):
            if _may_pass(answer) and waiting.deadline > now:
                again.append(waiting)  # the oldest one's deadline is over, not this one's
            elif isinstance(answer, BaseException):
                error = explained(answer)
                error.__cause__ = answer
                waiting.answer.set_exception(error)
            else:
                waiting.answer.set_result(answer)
        here.waiting[: len(batch)] = again
        here.crowd = len(batch)

    async def close(self) -> None:
        """Close this loop's connections, unless they are somebody else's; the next use makes new ones."""
        here = self._places.pop(asyncio.get_running_loop(), None)
        if here is not None and here.client is not self._address:
            await here.client.aclose()
            pool = getattr(here.client, "connection_pool", None)  # a Cluster's client has none
            if isinstance(pool, SentinelConnectionPool):
                for sentinel in pool.sentinel_manager.sentinels:  # which the client does not close
                    await sentinel.aclose()

    def _here(self) -> _Here:
        if self._process != os.getpid():  # a fork must not share sockets with its parent
            self._process, self._places = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        here = self._places.get(loop)
        if here is None:
            for other in [each for each in self._places if each.is_closed()]:
                del self._places[other]  # its client holds the loop, which would hold its place for ever
            here = self._places[loop] = _Here(self._client())
        return here

    def _client(self) -> Client:
        if isinstance(self._address, str):
            return make_client(self._address, self._timeout)
        if any(not loop.is_closed() for loop in self._places):
            raise StorageError(
                "This Redis client is in use in another event loop: give the store a URL, or its own client"
            )
        return self._address

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout

    async def _send(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Answers or errors, in order; what may pass is sent again until the deadline."""
        client = self._here().client
        clock = asyncio.get_running_loop().time
        answers: list[Any] = [None] * len(commands)
        open_ones, in_full, pause = list(range(len(commands))), False, _FIRST_PAUSE
        has_moved = False
        while True:
            batch = [_as_sent(commands[at], in_full=in_full) for at in open_ones]
            try:
                async with asyncio.timeout_at(deadline):
                    if has_moved and isinstance(client, RedisCluster):
                        # Its pipelines go on asking a node that is gone, however often they fail.
                        await client.nodes_manager.initialize()
                    got = await _attempt(client, batch)
            except Exception as problem:  # noqa: BLE001  (whatever the driver raises, those who wait are told)
                got = [problem] * len(batch)
            for at, answer in zip(open_ones, got, strict=True):
                answers[at] = answer
            knew_none = any(isinstance(answers[at], NoScriptError) for at in open_ones)
            open_ones = [at for at in open_ones if _may_pass(answers[at])]
            rest = pause * random.uniform(0.5, 1.5)  # noqa: S311  (to spread the load)
            if not open_ones or clock() + rest >= deadline:
                return answers
            if knew_none:
                in_full = True
            else:
                has_moved = True
                await asyncio.sleep(rest)
                pause = min(2 * pause, _LONGEST_PAUSE)


async def _attempt(client: Client, commands: Sequence[Command]) -> list[Any]:
    if len(commands) == 1:
        try:
            return [await client.execute_command(*commands[0])]
        except ResponseError as refusal:
            return [refusal]
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = await pipeline.execute(raise_on_error=False)
    return answers


# -- errors -------------------------------------------------------------------------------------


def _may_pass(answer: Any) -> bool:
    """Whether sending the same again may be answered otherwise."""
    if isinstance(answer, _PASSING_ERRORS):
        return True
    if isinstance(answer, AuthenticationError | NoPermissionError) or _is_distrust(answer):
        return False
    if isinstance(answer, RedisConnectionError | RedisTimeoutError | RedisClusterException | OSError):
        return True
    if isinstance(answer, ResponseError):
        return any(word in str(answer).partition(" ")[0] or f" {word} " in str(answer) for word in _PASSING)
    if isinstance(answer, AttributeError):  # the driver's, of a connection closed while another task made it
        return "'NoneType'" in str(answer)
    return isinstance(answer, TimeoutError | asyncio.IncompleteReadError)


def _is_distrust(answer: Any) -> bool:
    """Whether the server's certificate was refused, which the driver takes for a lost connection."""
    problem = answer if isinstance(answer, BaseException) else None
    while problem is not None and not isinstance(problem, ssl.SSLCertVerificationError):
        problem = problem.__cause__ or problem.__context__
    return problem is not None


def explained(problem: BaseException) -> StorageError:  # noqa: PLR0911  (one for each fault)
    """A driver's error as ours, saying what to do; never with a password or what was to be stored."""
    text = str(problem)
    if (
        isinstance(problem, AuthenticationError | NoPermissionError)
        or "NOAUTH" in text
        or "WRONGPASS" in text
    ):
        return StorageError("Redis refused the user or the password: check the URL's credentials")
    if _is_distrust(problem):
        return StorageError(
            "Redis shows a certificate that is not trusted, or is another server's: name its authority in "
            "the URL (ssl_ca_certs=), and the host as the certificate does"
        )
    if isinstance(problem, OutOfMemoryError) or "OOM" in text:
        return StorageError("Redis is full (maxmemory): nothing was stored; free memory or raise the limit")
    if "WRONGTYPE" in text:
        return StorageError(
            "Redis holds something else under the session's key (wrong type); it was left as it is"
        )
    if isinstance(problem, ResponseError) and not _may_pass(problem):
        return StorageError(f"Redis refused a command: {text.partition(':')[0][:200]}")
    if not _may_pass(problem):
        return StorageError(f"The Redis client failed ({type(problem).__name__}); the cause says how")
    return StorageError(
        "Redis did not answer within the deadline. What was being stored may have been stored or not: "
        f"doing it again does it once ({type(problem).__name__})"
    )


# -- clients ------------------------------------------------------------------------------------

_URL = re.compile(
    r"(?P<scheme>rediss?)(?P<sentinel>\+sentinel)?://(?:(?P<user>.*)@)?"
    r"(?P<hosts>[^@/?#]+)(?P<path>(?:/[^/?#]*){0,2})(?P<query>\?.*)?"
)


@dataclass(frozen=True, slots=True)
class _Parsed:
    options: dict[str, Any]
    hosts: list[tuple[str, int]]
    tls: bool
    service: str | None

    @property
    def is_cluster(self) -> bool:
        """Whether it names several servers that are one Cluster."""
        return self.service is None and len(self.hosts) > 1


def checked_url(url: str) -> _Parsed:
    """What a Redis URL says; what is none is refused without repeating it: there may be a password in it.

    Raises:
        StorageError: saying what such a URL looks like.
    """
    try:
        return _parsed(url)
    except ValueError:
        raise StorageError(
            "The Redis URL is none. It looks like redis://user:password@host:6379/0, with more hosts after "
            "commas for a Cluster, rediss:// for TLS, or redis+sentinel://host:26379,host:26379/service/0"
        ) from None


def _parsed(url: str) -> _Parsed:
    # Several URLs after commas count as several hosts.
    found = _URL.fullmatch(re.sub(r",rediss?://(?:[^,@/]*@)?", ",", url))
    if found is None:
        raise ValueError("not a Redis URL")
    path = found["path"].strip("/").split("/")
    database, service = path[-1], None
    if found["sentinel"]:
        service, database = path[0], path[1] if len(path) > 1 else ""
        if not service:
            raise ValueError("a Sentinel URL names the service")
    user = f"{found['user']}@" if found["user"] else ""
    hosts = found["hosts"].split(",")
    options: dict[str, Any] = dict(parse_url(f"{found['scheme']}://{user}{hosts[0]}{found['query'] or ''}"))
    tls = options.pop("connection_class", None) is not None
    port = 26379 if service else 6379
    places = [parse_url(f"redis://{host}") for host in hosts]
    for name in ("host", "port", "db"):
        options.pop(name, None)
    if database:
        options["db"] = int(database)
    return _Parsed(
        options,
        [(place.get("host") or "localhost", place.get("port") or port) for place in places],
        tls,
        service,
    )


def make_client(url: str, timeout: float) -> Client:
    """A pooled client for a URL: of one server, of a Cluster, or of the master that Sentinel names."""
    parsed = checked_url(url)
    # Retrying is the link's task, within its deadline: the driver would only stretch it.
    options: dict[str, Any] = {
        "socket_timeout": None,  # the link's deadline holds for all; a second one costs time
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        **parsed.options,
    }
    if parsed.tls:
        options["ssl"] = True
    if parsed.service:
        watching = {name: value for name, value in options.items() if name.startswith("ssl")}
        # Asked in turn: one that hangs must leave time for the others.
        each = timeout / (len(parsed.hosts) + 1)
        watching |= {"socket_timeout": each, "socket_connect_timeout": each, "retry": Retry(NoBackoff(), 0)}
        sentinel = Sentinel(parsed.hosts, sentinel_kwargs=watching, **options)  # type: ignore[no-untyped-call]
        master: Redis = sentinel.master_for(parsed.service)
        return master
    if parsed.is_cluster:
        options.pop("db", None)  # a Cluster has only one
        # Only by its own timeout does the client learn that a node hangs, and look for another master.
        options["socket_timeout"] = timeout / 2
        return RedisCluster(startup_nodes=[ClusterNode(*host) for host in parsed.hosts], **options)
    host, port = parsed.hosts[0]
    return Redis(host=host, port=port, **options)
