"""What images, audio, files and long results cost in each store, and what is left of them after harm."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from leftovers import cut_after, holders
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.exceptions import SessionNotFound, StorageError, UnreadableData
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.stores import MemoryStore
from chuk_ai_session_manager.stores.bodies import take_out
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.sqlite.store import SqliteStore
from chuk_ai_session_manager.testing.bodies import EVENTS, picture

SIZE = 200_000


def seen(number: int = 0, size: int = SIZE) -> list[dict[str, Any]]:
    """What a user says with a picture."""
    url = f"data:image/png;base64,{picture(number, size)}"
    return [{"type": "text", "text": "Look!"}, {"type": "image_url", "image_url": {"url": url}}]


async def repeat(manager: SessionManager, turns: int) -> None:
    """Say the same picture again and again."""
    for _ in range(turns):
        await manager.user_says(seen())


# -- what they cost ---------------------------------------------------------------------------------


async def test_a_picture_that_is_repeated_is_in_the_file_once(tmp_path: Path) -> None:
    path, turns = tmp_path / "sessions.db", 50
    store = SqliteStore(path)
    await repeat(SessionManager("s", store=store), turns)
    await store.close()
    assert path.stat().st_size < SIZE + turns * 1_024 + 100_000  # the empty file


async def test_a_picture_that_is_repeated_is_in_redis_once(redis_server: RedisServer) -> None:
    turns = 50
    store = RedisStore(redis_server.url, sandbox_id="once")
    await repeat(SessionManager("s", store=store), turns)
    with redis_server.client() as client:
        used = sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter("casm:{once*"))
    assert used < SIZE * 4 / 3 * 1.3 + turns * 2_048 + 20_000
    await store.close()


async def test_a_picture_that_is_repeated_is_in_memory_once() -> None:
    store = MemoryStore()
    await repeat(SessionManager("s", store=store), 3)
    session = await store.get("s")
    assert session is not None
    urls = {id(event.message["content"][1]["image_url"]["url"]) for event in session.events}
    assert len(urls) == 1
    await repeat(SessionManager("t", store=store), 1)
    await store.delete("s")
    await store.delete("t")
    assert len(store._shared) == 0


async def test_what_leaves_the_row_leaves_it_by_its_type() -> None:
    for kind, make in EVENTS.items():
        taken = take_out(make())
        assert taken.bodies or kind.startswith("our own key"), kind
        left = json.dumps(taken.fields)
        assert kind == "odd base64" or not any(picture(number)[:100] in left for number in range(10)), kind
    tiny: SessionEvent[Any] = SessionEvent(message={"role": "user", "content": seen(size=3)})
    assert len(take_out(tiny).bodies) == 1
    for result, count in (("x" * 65_536, 0), ("x" * 65_537, 1), ([{"deep": "x" * 70_000}], 1)):
        event: SessionEvent[Any] = SessionEvent(
            message={"tool": "t", "arguments": {}, "result": result, "error": None}, type=EventType.TOOL_CALL
        )
        assert len(take_out(event).bodies) == count
    plain: SessionEvent[Any] = SessionEvent(message={"role": "user", "content": "x" * 70_000})
    assert take_out(plain).fields == {}


# -- old data -----------------------------------------------------------------------------------------


async def test_rows_with_inline_bodies_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(path)
    store.keeps_bodies = False  # type: ignore[misc]  # as releases before
    await SessionManager("s", store=store).user_says(seen(1))
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    store = SqliteStore(path)
    manager = SessionManager("s", store=store)
    await manager.user_says(seen(1))
    await manager.user_says(seen(2))
    assert [row["content"] for row in await manager.get_conversation()] == [seen(1), seen(1), seen(2)]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)  # earlier releases do not read it
        assert db.execute("SELECT count(*) FROM bodies").fetchone() == (2,)
    await store.close()


async def test_a_file_without_bodies_stays_one_of_earlier_releases(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sessions.db")
    await SessionManager("s", store=store).user_says("only words")
    await store.close()
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name LIKE 'bod%'").fetchone() == (0,)


async def test_a_body_that_is_missing_is_damage_and_named(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(path)
    await Session.create(session_id="s", events=[EVENTS["an image"]()], store=store)
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM bodies")
        db.commit()
    store = SqliteStore(path)
    with pytest.raises(UnreadableData, match="Session s is damaged"):
        await store.get("s")
    await store.close()


# -- harm ---------------------------------------------------------------------------------------------


async def test_no_byte_of_an_erased_picture_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    store = SqliteStore(path)
    marker = "bodies-marker-7f3a"
    for name in ("one", "two"):
        event: SessionEvent[Any] = SessionEvent(
            message={"tool": "t", "arguments": {}, "result": marker * 5_000, "error": None},
            type=EventType.TOOL_CALL,
        )
        await Session.create(session_id=name, events=[event], store=store)
    await store.erase_conversation("one")
    assert holders(path, marker)
    await store.erase_conversation("two")
    assert holders(path, marker) == []
    await store.close()


@pytest.mark.parametrize("step", ["append", "create", "edit", "delete", "erase"])
async def test_what_is_cut_off_anywhere_leaves_no_event_without_its_body(
    step: str, redis_server: RedisServer
) -> None:
    sandbox, steps, is_over = f"cut-{step}", 0, False
    while not is_over:
        store = RedisStore(redis_server.url, sandbox_id=sandbox)
        session = await Session.create(session_id="s", events=[EVENTS["an image"]()], store=store)
        cut = RedisStore(redis_server.url, sandbox_id=sandbox)
        cut_after(cut, steps)
        with suppress(StorageError):  # or what chuk-sessions makes of it
            if step == "append":
                await cut.append(await cut.head("s") or session, [EVENTS["an answer"]()])
            elif step == "create":
                await Session.create(session_id="t", events=[EVENTS["an answer"]()], store=cut)
            elif step == "edit":
                read = await cut.get("s")
                assert read is not None
                read.events[0] = read.events[0].model_copy(update={"message": "edited"})
                await cut.save(read)
            elif step == "delete":
                await cut.delete("s")
            else:
                await cut.erase_conversation("s")
            is_over = True
        await store._bodies.sweep(0)  # as if an hour had passed
        for each in ("s", "t"):
            there = await store.get(each)  # it is read with all its bodies, if it is there
            assert there is None or there.events
        for each in ("s", "t"):
            await store.erase_conversation(each)
        await store._bodies.sweep(0)
        with redis_server.client() as client:
            assert list(client.scan_iter(f"casm:{{{sandbox}*body*")) == [], steps
        await store.close()
        await cut.close()
        steps += 1
    assert steps > 3


async def test_bodies_live_as_long_as_their_conversation(redis_server: RedisServer) -> None:
    seconds = 1.0
    store = RedisStore(redis_server.url, sandbox_id="alive", ttl_hours=seconds / 3600)
    manager = SessionManager("s", store=store)
    await manager.user_says(seen(1, 1_000))
    for number in range(30):  # three lifetimes
        await asyncio.sleep(seconds / 10)
        await manager.user_says(f"word {number}")
    fresh = RedisStore(redis_server.url, sandbox_id="alive", ttl_hours=seconds / 3600)
    session = await fresh.get("s")
    assert session is not None
    assert session.events[0].message["content"] == seen(1, 1_000)
    await store.close()
    await fresh.close()


@pytest.mark.parametrize("is_infinite", [False, True])
@pytest.mark.parametrize("moment", [(1, "before"), (1, "after"), (2, "before"), (2, "after")])
async def test_no_body_is_left_of_a_conversation_that_is_erased_while_it_is_written(
    redis_server: RedisServer, moment: tuple[int, str], is_infinite: bool
) -> None:
    sandbox = f"while{moment[0]}{moment[1]}{is_infinite}"
    store, other = (RedisStore(redis_server.url, sandbox_id=sandbox) for _ in range(2))
    manager = SessionManager("s", store=store, infinite_context=is_infinite, max_turns_per_segment=2)
    for number in range(5):
        await manager.user_says(f"Message {number}.")
    await manager.wait_for_summaries()
    hold, calls = store._bodies.hold, 0

    async def interrupted(*args: Any, **options: Any) -> str | None:
        nonlocal calls
        calls += 1
        if moment == (calls, "before"):
            await other.erase_conversation("s")
        held = await hold(*args, **options)
        if moment == (calls, "after"):
            await other.erase_conversation("s")
        return held

    store._bodies.hold = interrupted  # type: ignore[method-assign]
    with suppress(SessionNotFound):
        await manager.user_says(seen())
    assert calls >= moment[0]
    assert await other.get("s") is None
    await store.close()
    await other.close()
    with redis_server.client() as client:
        left = [key for key in client.scan_iter("*") if sandbox in key and "bod" in key]
    assert not left


@pytest.mark.parametrize("way", ["deleted", "fork refused"])
async def test_no_list_of_children_is_left_of_a_conversation_that_is_deleted(
    redis_server: RedisServer, way: str
) -> None:
    sandbox = f"children-{way.partition(' ')[0]}"
    store = RedisStore(redis_server.url, sandbox_id=sandbox)
    manager = SessionManager("s", store=store, infinite_context=True, max_turns_per_segment=2)
    for number in range(5):
        await manager.user_says(f"Message {number}.")
    await manager.wait_for_summaries()
    if way == "deleted":
        await SessionManager("child", store=store).user_says("Hello.")
        await store.delete_conversation("s")
    else:
        create = store.create_next

        async def erased(*args: Any) -> bool:
            await store.erase_conversation("s")
            return await create(*args)

        store.create_next = erased  # type: ignore[method-assign,assignment]
        with pytest.raises(SessionNotFound):
            await manager.fork()
    await store.close()
    with redis_server.client() as client:
        left = [key for key in client.scan_iter("*") if f"{sandbox}:children:" in key]
    assert not left
