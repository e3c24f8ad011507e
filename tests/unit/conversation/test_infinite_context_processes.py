"""Infinite context in several processes, and in one that is killed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import Any

import pytest
from places import FORKED, Place, everywhere, in_another_process, in_memory_too, on_each, run
from running import PATIENCE, wait_until
from segments import segments_of, summaries_in

from chuk_ai_session_manager import Session, SessionManager
from chuk_ai_session_manager.models.session import next_segment_id

RANDOM = Random()  # noqa: S311  (moments, not secrets)


# -- resuming -------------------------------------------------------------------------------------


async def resumed(place: Place, session_id: str) -> dict[str, Any]:
    """What a process sees of a conversation that it opens by the id of any segment."""
    async with place.store() as store:
        return await seen(SessionManager(session_id, store=store, infinite_context=True, create=False))


async def seen(sm: SessionManager) -> dict[str, Any]:
    return {
        "prompt": sm.system_prompt,
        "chain": await sm.get_session_chain(),
        "conversation": await sm.get_conversation(),
        "stats": await sm.get_stats(include_all_segments=True),
        "messages": await sm.get_messages_for_llm(),
        "with tools": await sm.get_messages_for_llm(include_tools=True),
    }


async def one_more(place: Place, session_id: str) -> str:
    async with place.store() as store:
        return await SessionManager(session_id, store=store, infinite_context=True).user_says(
            "One more thing"
        )


@on_each
async def test_any_segment_opens_the_whole_in_another_process(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager(
            "root",
            store=store,
            infinite_context=True,
            max_turns_per_segment=4,
            system_prompt="Be brief",
            user_id="ada",
            metadata={"plan": "free"},
        )
        for number in range(9):
            await sm.user_says(f"What is the number {number} good for?", channel="web")
            await sm.tool_used("look_up", {"number": number}, {"found": number})
            await sm.ai_responds(f"Number {number} is good.", model="gpt-4o", provider="openai")
        written = await seen(sm)
        live = await store.get(sm.session_id)
        assert live is not None
        assert live.metadata.properties == {"plan": "free", "user_id": "ada", "system_prompt": "Be brief"}
    chain = written["chain"]
    assert len(chain) == 5
    assert written["stats"]["tool_calls"] == 9
    assert written["stats"]["estimated_cost"] > 0
    assert written["conversation"][1]["model"] == "gpt-4o"
    for session_id in (chain[0], chain[2], chain[-1]):
        read = await asyncio.to_thread(in_another_process, resumed, place, session_id)
        assert read == written | {"prompt": None}  # of a manager that was only just made
    assert await asyncio.to_thread(in_another_process, one_more, place, chain[1]) == chain[-1]
    rows = (await resumed(place, chain[0]))["conversation"]
    assert [row["content"] for row in rows[-2:]] == ["Number 8 is good.", "One more thing"]


# -- many writers, and writers that are killed ----------------------------------------------------


_barrier: Barrier


def _meet(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603  (how a process pool hands it over)
    _barrier = barrier


async def write_together(place: Place, process: int) -> list[str]:
    said = []
    async with place.store() as store:
        managers = [
            SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=3)
            for _ in range(4)
        ]
        for number in range(12):
            await asyncio.to_thread(_barrier.wait, PATIENCE)
            texts = [f"{process}-{writer}-{number}" for writer in range(len(managers))]
            await asyncio.gather(*(sm.user_says(text) for sm, text in zip(managers, texts, strict=True)))
            said += texts
        for sm in managers:
            await sm.wait_for_summaries()
    return said


def write_in_pool(place: Place, process: int) -> list[str]:
    return asyncio.run(write_together(place, process))


@everywhere
async def test_one_next_segment_however_many_processes_cross_together(place: Place) -> None:
    async with place.store() as store:
        await SessionManager("root", store=store, infinite_context=True).user_says("first")
    with ProcessPoolExecutor(3, FORKED, _meet, (FORKED.Barrier(3),)) as pool:
        loop = asyncio.get_running_loop()
        works = [loop.run_in_executor(pool, write_in_pool, place, process) for process in range(3)]
        written = [text for said in await asyncio.gather(*works) for text in said]
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True)
        said = [row["content"] for row in await sm.get_conversation()]
        assert Counter(said) == Counter(["first", *written])
        segments = await segments_of(store, sm)
        assert set(await store.list_sessions()) == {segment.id for segment in segments}
        assert [segment.totals.messages for segment in segments] == [3] * 48 + [1]
        for segment in segments[:-1]:
            assert segment.child_ids == [next_segment_id(segment.id)]
            assert len(summaries_in(segment)) == 1


@in_memory_too
async def test_a_segment_that_others_fill_while_it_is_made_takes_no_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place.store() as store:
        first, *others = [
            SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=3)
            for _ in range(4)
        ]
        for text in ("one", "two", "three"):
            await first.user_says(text)
        create_next = store.create_next

        async def made_slowly(session: Session[Any], before: Session[Any]) -> bool:
            monkeypatch.undo()
            was_made = await create_next(session, before)
            for number, sm in enumerate(others):
                await sm.user_says(f"other {number}")
            return was_made

        monkeypatch.setattr(store, "create_next", made_slowly)
        await first.user_says("four")
        segments = await segments_of(store, first)
        assert [segment.totals.messages for segment in segments] == [3, 3, 1]
        assert [len(summaries_in(segment)) for segment in segments] == [1, 1, 0]
        assert [row["content"] for row in await first.get_conversation()] == [
            "one", "two", "three", "other 0", "other 1", "other 2", "four",
        ]  # fmt: skip


async def write_until_killed(place: Place, journal: Path) -> None:
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=1)
        with journal.open("a") as file:
            for number in range(100_000):
                text = f"{journal.stem}-{number}"
                await sm.user_says(text)
                file.write(f"{text}\n")
                file.flush()


def write_in_process(place: Place, journal: Path) -> None:
    run(write_until_killed, place, journal)


def has_lines(journal: Path) -> bool:
    return len(journal.read_text().splitlines()) > 5


@on_each
def test_a_writer_killed_in_mid_roll_over_leaves_a_conversation_that_goes_on(
    place: Place, tmp_path: Path
) -> None:
    written: list[str] = []
    for life in range(6):
        journal = tmp_path / f"life{life}"
        journal.touch()
        process = FORKED.Process(target=write_in_process, args=(place, journal))
        process.start()
        wait_until(partial(has_lines, journal), "the writer writes")
        time.sleep(RANDOM.uniform(0, 0.05))
        process.kill()
        process.join(PATIENCE)
        written += journal.read_text().splitlines()
        run(check_conversation, place, written)


async def check_conversation(place: Place, written: list[str]) -> None:
    async with place.store() as store:
        sm = SessionManager("root", store=store, infinite_context=True, max_turns_per_segment=1)
        said = Counter([row["content"] for row in await sm.get_conversation()])
        assert not Counter(written) - said  # what was acknowledged is there
        assert max(said.values()) == 1
        segments = await segments_of(store, sm)
        assert set(await store.list_sessions()) == {segment.id for segment in segments}
        assert len(await sm.get_messages_for_llm()) <= 3
        await sm.user_says("and on" + str(len(written)))
        assert (await sm.get_stats())["total_messages"] == sum(said.values()) + 1
        # One more, or the one that a killed writer opened and wrote nothing to.
        assert len(await sm.get_session_chain()) - len(segments) in {0, 1}
