"""Rows of the fault matrix: what may happen to one Redis server, and to who writes to it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from rig import BlindStore, OnRedis, Proxy, Trial, Writers, row
from servers import RedisServer

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores.redis import RedisStore


@row("reply lost, CLIENT KILL", control="appends that are not idempotent, sent again")
async def replies_are_lost(trial: Trial) -> None:
    kind = BlindStore if trial.is_control else RedisStore
    session_ids = [f"s{number}" for number in range(3)]
    with RedisServer() as server:
        proxy = Proxy(server.port)
        proxy.sign = b"EVAL"
        async with proxy.running() as port, AsyncExitStack() as stack:
            place = OnRedis(f"redis://127.0.0.1:{port}", kind=kind)
            await trial.begin(place, *session_ids)
            stores = [await stack.enter_async_context(place.store()) for _ in range(2)]
            proxy.losing = 0.05
            async with Writers(trial) as writers:
                for store in stores:
                    for session_id in session_ids:
                        writers.append(store, session_id)
                        writers.say(SessionManager(session_id, store=store), session_id)
                for _ in range(trial.size(20, 200)):
                    await writers.go_on(20)
                    await asyncio.to_thread(
                        server.command, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"
                    )
            proxy.losing = 0.0
            assert proxy.lost > 5
            await trial.check(place)
