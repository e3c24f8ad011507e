"""What each release left in its stores, kept as files, and how the next release's files are made.

A folder `tests/data/release_<version>` holds a SQLite file as SQL, the keys of a Redis server as JSON, and
what they say. When a release changes what is stored: let `write` use what is new in it, and run

    python tests/schemas.py <version>

in its first commit. The folders of earlier releases stay as they are, and are read by every later one.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import redis
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager, SessionMetadata, SessionRun
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.stores import EventStore, SqliteStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

DATA = Path(__file__).parents[1] / "data"
SANDBOX = "kept"
RELEASES = sorted(path.name for path in DATA.glob("release_*"))

TALK, PLAIN = "a talk", "ü{}:*%2F"
"""A conversation of three segments, and a session with all that one can have besides."""


async def write(store: EventStore) -> None:
    """All that a store can hold."""
    sm = SessionManager(
        TALK,
        system_prompt="Be brief.",
        metadata={"topic": "travel"},
        user_id="bob",
        store=store,
        infinite_context=True,
        max_turns_per_segment=4,
    )
    for number in range(5):
        await sm.user_says(f"Question {number}? My name is Bob and I fly to Oslo.", channel="web")
        if number == 1:
            await sm.tool_used("clock", {"zone": "UTC"}, {"hour": 12}, tool_call_id="call-1")
        usage = {"prompt_tokens": 1_000 + number, "completion_tokens": 20} if number else None
        await sm.ai_responds(f"Answer {number}.", "gpt-4o", "openai", usage=usage)
    await sm.wait_for_summaries()
    run = await SessionRun.create({"purpose": "demo"})
    await run.mark_failed("no battery")
    session = await Session.create(
        PLAIN,
        parent_id=TALK,
        store=store,
        state={"cart": [1, 2.5, None, True, 10**30, {"é": "\0 \u2028 😀"}]},
        metadata=SessionMetadata(properties={"user_id": "bob", "<|endoftext|>": {}}),
        runs=[run],
        task_ids=["task-1"],
    )
    await session.add_event_and_save(SessionEvent(message={"note": "ünï"}, type=EventType.SUMMARY))
    await session.add_event_and_save(SessionEvent(message=None, task_id="task-1", parent_event_id="none"))
    row = {"role": "user", "content": "<|endoftext|> \0 שלום"}
    await SessionManager(PLAIN, store=store).add_messages([row])


async def told(store: EventStore) -> dict[str, Any]:
    """What a store says of what `write` left there."""
    found: dict[str, Any] = {"sessions": await store.list_sessions(), "of": {}}
    for session_id in found["sessions"]:
        session = await store.get(session_id)
        assert session is not None
        sm = SessionManager(session_id, store=store, infinite_context=session_id != PLAIN, create=False)
        found["of"][session_id] = {
            **session.model_dump(mode="json"),
            "stats": await sm.get_stats(),
            "conversation": await sm.get_conversation(),
        }
    found["bob's"] = await store.list_sessions(user_id="bob")
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def holds(read: Any, kept: Any) -> bool:
    """Whether something is as it was; a later release may have more to say of it."""
    if isinstance(kept, Mapping) and isinstance(read, Mapping):
        return all(name in read and holds(read[name], value) for name, value in kept.items())
    if isinstance(kept, Sequence) and not isinstance(kept, str) and isinstance(read, Sequence):
        return len(read) == len(kept) and all(map(holds, read, kept))
    return bool(read == kept) and type(read) is type(kept)


# -- the files ----------------------------------------------------------------------------------


def kept(release: str) -> Any:
    """What the files of a release say."""
    return json.loads((DATA / release / "told.json").read_text(encoding="utf-8"))


def sqlite_file(release: str, path: Path) -> None:
    """Make a file again as it was."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DATA / release / "sqlite.sql").read_text(encoding="utf-8"))


def redis_keys(release: str, server: RedisServer, *, hashes: Mapping[str, str] | None = None) -> None:
    """Make keys again as they were; in each conversation with some fields changed, where they are given."""
    with redis.Redis.from_url(server.url) as client:
        for key, value in json.loads((DATA / release / "redis.json").read_text(encoding="utf-8")).items():
            if isinstance(value, str):
                client.set(key, value)
            elif isinstance(value, list):
                client.sadd(key, *value)
            elif key.endswith(":index"):
                client.zadd(key, value)
            else:
                client.hset(key, mapping=value | (dict(hashes or {}) if "schema" in value else {}))


def _dumped_file(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        pragmas = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("application_id", "user_version")
        ]
        return "\n".join([*pragmas, *connection.iterdump()]) + "\n"


def _dumped_keys(server: RedisServer) -> dict[str, Any]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        read: dict[str, Any] = {
            "string": client.get,
            "set": lambda key: sorted(client.smembers(key)),
            "zset": lambda key: dict(client.zrange(key, 0, -1, withscores=True)),
            "hash": client.hgetall,
        }
        return {key: read[client.type(key)](key) for key in sorted(client.keys())}


def make(folder: Path) -> None:
    """Write the files of this release: the same session ids and texts in each store."""
    folder.mkdir()
    path = folder / "sessions.db"
    said = {"sqlite": asyncio.run(_written(SqliteStore(path, sandbox_id=SANDBOX)))}
    (folder / "sqlite.sql").write_text(_dumped_file(path), encoding="utf-8")
    path.unlink()
    with RedisServer() as server:
        said["redis"] = asyncio.run(_written(RedisStore(server.url, sandbox_id=SANDBOX, ttl_hours=None)))
        _write_json(folder / "redis.json", _dumped_keys(server))
    _write_json(folder / "told.json", said)


async def _written(store: EventStore) -> dict[str, Any]:
    async with store:
        await write(store)
        return await told(store)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    (version,) = sys.argv[1:]
    make(DATA / f"release_{version.replace('.', '_')}")
