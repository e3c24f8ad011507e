"""Commands to Redis that are sent together: who waits for whom, and what a cancelled caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.crc import key_slot
from running import PATIENCE
from servers import SLOTS, RedisServer
from servers import RedisCluster as Cluster

from chuk_ai_session_manager import SessionManager, StorageError
from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.stores.redis import listing
from chuk_ai_session_manager.stores.redis.link import Link
from chuk_ai_session_manager.stores.redis.store import RedisStore


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[Link]:
    link = Link(server.url, PATIENCE)
    await asyncio.gather(
        link.read_together(("PING",)), link.call_together(("PING",))
    )  # connected from now on
    yield link
    await link.close()


class Paused:
    """A server that answers nobody during the block."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def __aenter__(self) -> None:
        self._server.pause()

    async def __aexit__(self, *_: object) -> None:
        self._server.resume()


@pytest.mark.parametrize("place", range(3))
async def test_a_cancelled_reader_goes_at_once_and_the_others_get_their_answers(
    server: RedisServer, link: Link, place: int
) -> None:
    async with Paused(server):
        readers = [asyncio.create_task(link.read_together(("ECHO", str(number)))) for number in range(3)]
        await asyncio.sleep(0.05)
        assert readers[place].cancel()
        done, _ = await asyncio.wait(readers, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert done == {readers[place]}
    answers = await asyncio.gather(*readers, return_exceptions=True)
    expected: list[Any] = [b"0", b"1", b"2"]
    assert isinstance(answers.pop(place), asyncio.CancelledError)
    assert answers == expected[:place] + expected[place + 1 :]
    assert await link.read_together(("ECHO", "after")) == b"after"


async def test_a_cancelled_writer_goes_with_the_answer(server: RedisServer, link: Link) -> None:
    async with Paused(server):
        writers = [asyncio.create_task(link.call_together(("SADD", "written", n))) for n in range(3)]
        await asyncio.sleep(0.05)
        for writer in writers:
            writer.cancel()
        await asyncio.sleep(0.05)
        assert not any(writer.done() for writer in writers)
    answers = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers)
    assert server.command("SCARD", "written") == 3


async def test_closing_leaves_no_connection_of_readers_that_were_cancelled(server: RedisServer) -> None:
    link = Link(server.url, PATIENCE)
    await link.read_together(("PING",))
    before = server.command("CLIENT", "LIST").count("\n")
    async with Paused(server):
        readers = [asyncio.create_task(link.read_together(("PING",))) for _ in range(3)]
        await asyncio.sleep(0.05)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
    await link.close()
    assert server.command("CLIENT", "LIST").count("\n") < before


async def test_a_read_that_takes_long_holds_up_no_write(server: RedisServer, link: Link) -> None:
    link._timeout = PATIENCE
    read = asyncio.create_task(link.read_together(("BLPOP", "never", 0)))  # an answer that does not come
    await asyncio.sleep(0.05)
    assert await link.call_together(("PING",)) == b"PONG"
    assert not read.done()
    server.command("LPUSH", "never", "now")
    assert await read == [b"never", b"now"]


async def test_an_error_is_that_of_its_own_command(link: Link) -> None:
    commands = [("SET", "text", "t"), ("HGET", "text", "field"), ("GET", "text")]
    answers = await asyncio.gather(*map(link.read_together, commands), return_exceptions=True)
    assert isinstance(answers[1], StorageError)
    assert answers[2] == b"t"


@pytest.mark.parametrize(("later", "is_sent_again"), [(0.0, False), (0.01, False), (0.05, True)])
async def test_a_command_is_sent_again_if_its_deadline_is_much_later_than_the_oldest_one_s(
    server: RedisServer, link: Link, later: float, is_sent_again: bool
) -> None:
    writes = link._here().writes
    send, sent = writes._send, list[list[str]]()

    async def noting(commands: Any, deadline: float, told: Any) -> None:
        sent.append([command[1] for command in commands])
        await send(commands, deadline, told)

    writes._send = noting
    loop = asyncio.get_running_loop()
    first = loop.time() + 0.1
    deadlines = {"first": first, "oldest": first + 0.1, "other": first + 0.1 + later}
    async with Paused(server):  # beyond all deadlines
        calls = [
            writes.call(("ECHO", name), loop.create_future(), deadline)
            for name, deadline in deadlines.items()
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(answer, StorageError) for answer in answers)
    assert sent == [["first"], ["oldest", "other"], *([["other"]] if is_sent_again else [])]


async def test_many_readers_share_few_connections(server: RedisServer) -> None:
    async with RedisStore(server.url, sandbox_id=uuid4().hex, timeout=PATIENCE) as store:
        managers = [SessionManager(store=store) for _ in range(40)]
        await asyncio.gather(*(each.user_says(f"Question {at}") for at, each in enumerate(managers)))
        contexts = await asyncio.gather(*(each.get_messages_for_llm() for each in managers))
        assert [rows[0]["content"] for rows in contexts] == [f"Question {at}" for at in range(40)]
        others = [line for line in server.command("CLIENT", "LIST").splitlines() if "cmd=client" not in line]
        assert len(others) < 20


async def test_many_new_sessions_share_few_connections(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_SWEEP_EVERY", 3)  # each third new session looks for expired ones
    async with RedisStore(server.url, sandbox_id=uuid4().hex, timeout=PATIENCE) as store:
        managers = [
            SessionManager(store=store, user_id=user_id) for user_id in ("ada", None) for _ in range(40)
        ]
        await asyncio.gather(*(each.user_says("Hello!") for each in managers))
        others = [line for line in server.command("CLIENT", "LIST").splitlines() if "cmd=client" not in line]
        assert len(others) < 15


async def test_a_server_of_a_cluster_that_hangs_holds_up_no_reads_from_the_others() -> None:
    with Cluster() as cluster:
        async with RedisStore(cluster.url, sandbox_id=uuid4().hex, timeout=PATIENCE) as store:
            nodes: dict[int, str] = {}  # a session on each of two servers
            for number in range(99):
                nodes.setdefault(key_slot(store._keys.of(str(number)).encode()) * 3 // SLOTS, str(number))
            hanging, other = (nodes[0], nodes[1])
            for session_id in (hanging, other):
                await Session.create(session_id, store=store)
            async with Paused(cluster.nodes[0]):
                reads = [asyncio.create_task(store.log_states(each)) for each in (hanging, other)]
                done, pending = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                assert (done, pending) == ({reads[1]}, {reads[0]})
            reads[0].cancel()
            await asyncio.wait(reads)
