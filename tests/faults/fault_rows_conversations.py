"""Rows of the fault matrix: conversations that go on elsewhere or are changed by many; programs that end."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from itertools import product
from typing import Any

from places import Place
from rig import OnRedis, Trial, in_processes, judging, row
from servers import RedisServer

from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.stores import EventStore, SqliteStore, open_store
from chuk_ai_session_manager.stores.base import AnyEvent, AnySession

INFINITE: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 2}


class LooksAtNothing(SqliteStore):
    """Known to be bad: it appends whether or not somebody wrote to the session meanwhile."""

    async def append(
        self,
        session: AnySession,
        events: Sequence[AnyEvent],
        *,
        only_if_current: bool = False,
    ) -> bool:
        """Append in any case."""
        return await super().append(session, events)


@row(
    "old ids and open managers after a roll-over, and between two tries",
    control="appends whatever was written meanwhile",
)
async def written_by_old_ids(trial: Trial) -> None:
    rounds = trial.size(3, 50)
    with RedisServer() as server:
        for place in (OnRedis(server.url), trial.on_sqlite()):
            for number in range(rounds):
                await _go_on_by_old_ids(trial, place, f"{place.url[:5]}-{number}")
                await _roll_over_between_tries(trial, place, f"{place.url[:5]}-{number}-raced")


async def _go_on_by_old_ids(trial: Trial, place: Place, session_id: str) -> None:
    said: list[str] = []

    async def say(sm: SessionManager) -> None:
        with trial.succeeds():
            await sm.user_says(f"{session_id}/{len(said)}")
        said.append(f"{session_id}/{len(said)}")

    path = place.url.removeprefix("sqlite:///")
    is_bad = trial.is_control and path != place.url
    here: EventStore = LooksAtNothing(path, sandbox_id=place.sandbox) if is_bad else place.store()
    async with here, place.store() as there:
        was_open = SessionManager(session_id, store=here)
        await say(was_open)
        elsewhere = SessionManager(session_id, store=there, **INFINITE)
        for _ in range(4):
            await say(elsewhere)
        await say(was_open)
        await say(SessionManager(session_id, store=here))
        await say(elsewhere)
    await _judge(place, session_id, said)


async def _roll_over_between_tries(trial: Trial, place: Place, session_id: str) -> None:
    """Another manager writes before each try of one that knows of no segments."""
    said = ["first"]
    async with place.store() as here, place.store() as there:
        was_open = SessionManager(session_id, store=here)
        await was_open.user_says("first")
        elsewhere = SessionManager(session_id, store=there, **INFINITE)
        append, append_while_live = here.append, here.append_while_live

        async def another_says() -> None:
            if len(said) < 4:
                said.append(f"beside {len(said)}")
                with trial.succeeds():
                    await elsewhere.user_says(said[-1])

        async def first_try(
            session: AnySession, events: Sequence[AnyEvent], *, only_if_current: bool = False
        ) -> bool:
            await another_says()
            return await append(session, events, only_if_current=only_if_current)

        async def second_try(session: AnySession, events: Sequence[AnyEvent]) -> bool:
            await another_says()
            # Known to be bad: the second try is made in any case.
            again = append if trial.is_control else append_while_live
            return await again(session, events)

        here.append = first_try  # type: ignore[method-assign]
        here.append_while_live = second_try  # type: ignore[method-assign]
        with trial.succeeds():
            await was_open.user_says("mine")
        said.append("mine")
    await _judge(place, session_id, said)


async def _judge(place: Place, session_id: str, said: Sequence[str]) -> None:
    """Whether all was stored in order, and nothing in a segment that was closed."""
    with judging():
        async with place.store() as store:
            rows = await SessionManager(session_id, store=store).get_conversation()
            assert [each["content"] for each in rows] == list(said)
            for each in (await store.segment_ids(session_id))[:-1]:
                closed = await store.get(each)
                assert closed is not None
                assert closed.totals.messages <= INFINITE["max_turns_per_segment"]


LEAVES = ("left by break", "held in a variable", "its task cancelled", "its reader raises", "never read on")


@row("a stream is left, and the user goes on", control="nobody looks for streams that were left")
async def streams_left(trial: Trial) -> None:
    rounds = trial.size(1, 40)
    with RedisServer() as server:
        for place in (OnRedis(server.url), trial.on_sqlite()):
            for number, how, infinite in product(range(rounds), LEAVES, (False, True)):
                await _leave_and_look(trial, place, f"{number} {how} {infinite}", how, infinite=infinite)


async def _leave_and_look(trial: Trial, place: Place, session_id: str, how: str, *, infinite: bool) -> None:
    before = asyncio.all_tasks()
    async with place.store() as store, place.store() as other:
        sm = SessionManager(session_id, store=store, infinite_context=infinite)
        reading = await _leave_a_stream(trial, sm, how)
        trial.outcome.tried += 1
        trial.outcome.acknowledged += 1
        readers = (sm, SessionManager(session_id, store=other))
        trial.outcome.lost += not all([await _has_the_part(reader) for reader in readers])
        reading.cancel()
        await asyncio.wait([reading])
        del reading  # an exception holds the stream
        gc.collect()
        await asyncio.sleep(0)
        while closing := asyncio.all_tasks() - before:  # what the event loop closes of a stream
            await asyncio.wait(closing, timeout=0.1)


async def _leave_a_stream(trial: Trial, sm: SessionManager, how: str) -> asyncio.Task[None]:
    """Ask, read a part of the answer, and ask again at once; what goes on reading, or holds the stream."""
    has_part = asyncio.Event()
    reading = asyncio.create_task(_read_a_part(sm, how, has_part))
    await has_part.wait()
    if how == "its task cancelled":
        reading.cancel()
    elif how in {"left by break", "its reader raises"}:
        await asyncio.wait([reading])
        assert isinstance(reading.exception(), LookupError | None)
    if trial.is_control:
        sm.writer.unfinished.clear()
    await sm.user_says("And then?")
    return reading


async def _read_a_part(sm: SessionManager, how: str, has_part: asyncio.Event) -> None:
    is_over = asyncio.Event()

    async def model(_: str) -> AsyncIterator[str]:
        yield "one "
        yield "two "
        await is_over.wait()

    stream = stream_llm_call("Count.", model, "gpt-4o", session_manager=sm)
    pieces = 0
    async for _ in stream:
        pieces += 1
        if pieces < 2:
            continue
        has_part.set()
        if how == "its reader raises":
            raise LookupError
        if how != "never read on":
            break
    if how == "held in a variable":
        await is_over.wait()
        await stream.aclose()


async def _has_the_part(reader: SessionManager) -> bool:
    """Whether what came of the answer stands beside its question, in the context and in the conversation."""
    told = ["Count.", "one two ", "And then?"]
    context = [row["content"] for row in await reader.get_messages_for_llm()]
    conversation = [row["content"] for row in await reader.get_conversation(include_all_segments=True)]
    return conversation == told and context[-3:] == told


async def count_up(place: Place, key: int, times: int, is_bad: bool) -> None:
    """Raise one counter, and set a key of one's own, again and again."""
    async with place.store() as store:
        sm = SessionManager("s", store=store)
        for number in range(times):
            if is_bad:
                count = (await sm.get_state()).get("count", 0) + 1
                await sm.update_state(lambda state, count=count: state.update(count=count))  # type: ignore[misc]
            else:
                await sm.update_state(lambda state: state.update(count=state.get("count", 0) + 1))
            session = await store.get(sm.session_id)
            assert session is not None
            session.state[f"of {key}"] = number
            await store.save(session)
            if number % 5 == 0:
                await SessionManager("s", store=store, **INFINITE).user_says(f"{key}/{number}")


@row("state changed by many processes", control="it is read, and written later")
async def state_of_many(trial: Trial) -> None:
    processes, times = 3, trial.size(10, 200)
    with RedisServer() as server:
        for place in (OnRedis(server.url), trial.on_sqlite()):
            async with place.store() as store:
                await SessionManager("s", store=store, **INFINITE).user_says("hello")
            await in_processes(count_up, [(place, key, times, trial.is_control) for key in range(processes)])
            async with place.store() as store:
                state = await SessionManager("s", store=store).get_state()
            trial.outcome.tried += processes * times
            trial.outcome.acknowledged += processes * times
            trial.outcome.lost += processes * times - state["count"]
            with judging():
                assert all(state[f"of {key}"] == times - 1 for key in range(processes))


WRITES_AND_ENDS = """
import asyncio, sys
from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.stores import open_store

async def write():
    store = open_store("sqlite:///" + sys.argv[1])
    for number in range(int(sys.argv[2])):
        await SessionManager(f"s{number}", store=store).user_says("hello")

asyncio.run(write())
"""
# Known to be bad: it ends as a killed one does, so that nobody moves the write-ahead log into the file.
ENDS_AT_ONCE = WRITES_AND_ENDS + "import os; os._exit(0)"


@row("a program ends without close, its file alone is copied", control="it ends without clearing up")
async def file_is_copied(trial: Trial) -> None:
    sessions = 5
    for number in range(trial.size(2, 20)):
        path, copy = trial.folder / f"{number}.db", trial.folder / f"copy-{number}.db"
        text = ENDS_AT_ONCE if trial.is_control else WRITES_AND_ENDS
        words = [sys.executable, "-c", text, str(path), str(sessions)]
        await asyncio.to_thread(subprocess.run, words, check=True, timeout=60)
        shutil.copy(path, copy)
        trial.outcome.tried += sessions
        trial.outcome.acknowledged += sessions
        async with open_store(f"sqlite:///{copy}") as store:
            with judging():
                trial.outcome.lost += sessions - len(await store.list_sessions())
