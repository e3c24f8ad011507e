"""The floor under every store: a dict, one INSERT a commit, one RPUSH a message or pipelines of them.

What is written is as long as an event of the project, and made already.
"""

from __future__ import annotations

import json
import os
import sqlite3
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import count
from typing import Any
from uuid import uuid4

from driver import Append, Driver, serve
from redis.asyncio import Redis
from workload import Message, messages

RECORD = 400  # bytes that an event has beside its text
_numbers = count()


class BareDriver(Driver):
    """Writes text to what a key stands for."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[Append, str] = {}

    def ready(self, message: Message) -> str:
        return json.dumps({"message": message.text, "rest": "x" * RECORD})

    async def open(self, length: int = 0) -> Append:
        key = f"bare-{os.getpid()}-{next(_numbers)}"
        for start in range(0, length, 1_000):
            await self.add(key, [self.ready(each) for each in messages(min(1_000, length - start))])

        async def append(record: str) -> None:
            await self.add(key, [record])

        self.keys[append] = key
        return append

    @abstractmethod
    async def add(self, key: str, records: list[str]) -> None:
        """Write to the end of one session, in one step."""


class DictDriver(BareDriver):
    """A dict of lists, each entry with the id that an event has."""

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, list[tuple[str, str]]] = {}

    async def add(self, key: str, records: list[str]) -> None:
        self.log.setdefault(key, []).extend((str(uuid4()), record) for record in records)


class InsertDriver(BareDriver):
    """As durable as the project's store, without a thread in between."""

    @cached_property
    def database(self) -> sqlite3.Connection:
        database = sqlite3.connect(os.environ["SESSION_SQLITE_PATH"], isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, session TEXT, record TEXT)"
        )
        return database

    async def add(self, key: str, records: list[str]) -> None:
        words = [word for record in records for word in (key, record)]
        rows = ", ".join(["(?, ?)"] * len(records))
        self.database.execute(f"INSERT INTO log (session, record) VALUES {rows}", words)  # noqa: S608


class PushDriver(BareDriver):
    """By the project's client: one writer by RPUSH, several in one pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.client = Redis.from_url(os.environ["SESSION_REDIS_URL"], max_connections=5_000)

    async def add(self, key: str, records: list[str]) -> None:
        await self.client.rpush(key, *records)

    async def write(self, appends: Sequence[Append], items: Sequence[Sequence[Any]]) -> None:
        if len(appends) == 1:
            await super().write(appends, items)
            return
        keys = [self.keys[append] for append in appends]
        for row in zip(*items, strict=True):
            pipeline = self.client.pipeline(transaction=False)
            for key, record in zip(keys, row, strict=True):
                pipeline.rpush(key, record)
            await pipeline.execute()


if __name__ == "__main__":
    kinds = {"memory": DictDriver, "sqlite": InsertDriver, "redis": PushDriver}
    serve(kinds[os.environ["SESSION_PROVIDER"]])
