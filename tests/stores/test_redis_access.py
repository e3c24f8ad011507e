"""How a Redis is reached: sockets, users who may do little, passwords that change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis import CredentialProvider
from redis.asyncio import Redis
from running import HOST, PATIENCE
from servers import RedisCluster, RedisServer

from chuk_ai_session_manager import SessionManager, StorageError, get_storage_info
from chuk_ai_session_manager.models import Session, SessionEvent
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.session_storage import get_backend
from chuk_ai_session_manager.stores import EventStore, open_store, without_password
from chuk_ai_session_manager.stores.redis.store import RedisStore

DOCS = Path(__file__).parents[2] / "docs" / "storage.md"
PASSWORD = "p@ss/w:rd"
SECOND = 1 / 3600


def event(message: str = "hi") -> SessionEvent[Any]:
    return SessionEvent(message=message)


@pytest.fixture(scope="module")
def socket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, Path]]:
    """A server with a password that also listens on a socket."""
    path = tmp_path_factory.mktemp("s") / "r.sock"
    with RedisServer(password=PASSWORD, options={"unixsocket": str(path)}) as server:
        yield server, path


class TestSockets:
    @pytest.mark.parametrize("scheme", ["unix", "redis+unix"])
    @pytest.mark.parametrize(
        "form", ["{scheme}://:{password}@{path}?db=1", "{scheme}://{path}?db=1&password={password}"]
    )
    async def test_a_url_names_a_socket(
        self,
        socket_server: tuple[RedisServer, Path],
        monkeypatch: pytest.MonkeyPatch,
        scheme: str,
        form: str,
    ) -> None:
        server, path = socket_server
        url = form.format(scheme=scheme, path=path, password=quote(PASSWORD, safe=""))
        async with open_store(url, sandbox_id=scheme + str(len(form))) as store:
            await SessionManager("s", store=store).user_says("hello")
            assert await store.list_sessions() == ["s"]
        monkeypatch.setenv("SESSION_PROVIDER", "redis")
        monkeypatch.setenv("SESSION_REDIS_URL", url)
        await SessionManager("s").user_says("hello")
        assert PASSWORD not in str(get_storage_info())
        assert quote(PASSWORD, safe="") not in str(get_storage_info())
        await get_backend().close()
        keyspace = server.client().info("keyspace")
        assert set(keyspace) == {"db1"}

    @pytest.mark.parametrize(
        "url", ["unix://", "unix://secret", "unix://u:secret@", "unix:///a.sock?db=secret"]
    )
    def test_what_names_none_is_refused_without_repeating_it(self, url: str) -> None:
        with pytest.raises(StorageError, match="looks like") as caught:
            open_store(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("unix:///run/r.sock?db=1", "unix:///run/r.sock"),
            ("redis+unix://u:secret@/run/r.sock", "redis+unix://***@/run/r.sock"),
            ("unix:///run/r.sock?password=sec@ret", "***"),
        ],
    )
    def test_how_it_is_shown(self, url: str, shown: str) -> None:
        assert without_password(url) == shown


def rule(name: str) -> list[str]:
    """The words of an ACL rule that the documentation gives."""
    (found,) = re.findall(r"^ACL SETUSER sessions (.*)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return ["ACL", "SETUSER", name, *found.replace(">password", f">{PASSWORD}").split()]


async def use_all(store: RedisStore) -> None:
    """Do all that a store does."""
    assert await store.get("s") is None
    metadata = {"properties": {"user_id": "ada"}}
    session = await Session.create("s", store=store, metadata=metadata)
    await store.append(session, [event("1"), event("2")])
    second = next_segment_id("s")
    await Session.create(second, "s", store=store)
    await Session.create("child", "s", store=store)
    session.state["a"] = 1
    await store.save(session)
    assert set(await store.list_sessions()) == {"s", second, "child"}
    assert await store.list_sessions(user_id="ada") == ["s"]
    assert set(await store.list_sessions(parent_id="s")) == {second, "child"}
    assert await store.segment_ids("s") == ["s", second]
    assert await store.last_segment_id("s") == second
    assert await store.extend_session_ttl("s", 1)
    assert await store.time_to_live("s")
    await store._listing._sweep()
    store._lifetimes.renew_soon("s")
    await store._chores.finish()
    await SessionManager("talk", store=store, infinite_context=True, max_turns_per_segment=2).user_says("hi")
    await store.delete(second)
    assert await store.delete_conversation("s") >= 1
    assert await store.get("s") is None
    await store.durability_report()


class TestUsersWhoMayDoLittle:
    async def test_the_documented_rule_suffices(self) -> None:
        with RedisServer() as server:
            server.command(*rule("little"))
            url = f"redis://little:{quote(PASSWORD, safe='')}@{HOST}:{server.port}"
            async with RedisStore(url, timeout=PATIENCE) as store:
                await use_all(store)
            refused = {entry[7] for entry in server.command("ACL", "LOG")}
            assert {str(each).lower().partition("|")[0] for each in refused} <= {"info", "config", "client"}

    async def test_these_rights_suffice_in_a_cluster(self) -> None:
        with RedisCluster() as cluster:
            for node in cluster.nodes:
                node.command(*rule("little"), "+cluster|slots", "+command", "+readonly", "+asking")
            hosts = ",".join(f"{HOST}:{port}" for port in cluster.ports)
            async with RedisStore(f"redis://little:{quote(PASSWORD, safe='')}@{hosts}") as store:
                await use_all(store)

    async def test_a_user_with_too_few_rights_gets_an_error_that_says_so(self) -> None:
        with RedisServer() as server:
            server.command(*rule("little"), "-hset")
            server.command(*rule("elsewhere"), "resetkeys", "~other:*")
            for user in ("little", "elsewhere"):
                url = f"redis://{user}:{quote(PASSWORD, safe='')}@{HOST}:{server.port}"
                async with RedisStore(url, timeout=PATIENCE) as store:
                    with pytest.raises(StorageError, match="refused the user"):
                        await store.create(Session(id="s"))


class Rotating(CredentialProvider):
    """Gives a password that was told to it, behind the server's for a while."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.asked = 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        return "default", self.password


class TestPasswordsThatChange:
    async def test_the_provider_is_asked_for_each_connection(self) -> None:
        with RedisServer(password="first") as server:
            provider = Rotating("first")
            url = f"redis://{HOST}:{server.port}"
            async with open_store(url, credential_provider=provider) as store:
                session = await Session.create("s", store=store)
                for number in range(3):
                    server.command("CONFIG", "SET", "requirepass", f"password-{number}")
                    server.password = f"password-{number}"
                    server.command("CLIENT", "KILL", "TYPE", "normal")
                    writing = asyncio.create_task(store.append(session, [event(str(number))]))
                    await asyncio.sleep(0.1)
                    provider.password = f"password-{number}"  # a little later than the server
                    assert await writing
                await self._check(store, 3)
            assert provider.asked > 3

    @staticmethod
    async def _check(store: EventStore, events: int) -> None:
        read = await store.get("s")
        assert read is not None
        assert len(read.events) == events

    async def test_a_password_that_stays_wrong_is_an_error_by_the_deadline(self) -> None:
        with RedisServer(password="first") as server:
            url = f"redis://{HOST}:{server.port}"
            async with RedisStore(url, timeout=0.3, credential_provider=Rotating("wrong")) as store:
                with pytest.raises(StorageError, match="refused the user or the password"):
                    await store.get("s")

    def test_there_is_one_source_of_passwords(self, tmp_path: Path) -> None:
        provider = Rotating("first")
        for url in (f"redis://:pw@{HOST}", f"redis://ada@{HOST}", "unix:///r.sock?password=pw"):
            with pytest.raises(StorageError, match="credential provider gives them"):
                open_store(url, credential_provider=provider)
        with pytest.raises(StorageError, match="client"):
            RedisStore(Redis(), credential_provider=provider)
        for url in ("memory://", f"sqlite:///{tmp_path / 'a.db'}"):
            with pytest.raises(StorageError, match="is for Redis"):
                open_store(url, credential_provider=provider)
