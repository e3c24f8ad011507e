"""Rows of the fault matrix: big messages, odd texts, unknown models, no vocabulary, summaries gone wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from places import InMemory, Place
from rig import OnRedis, Trial, judging, row
from running import PATIENCE
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.exceptions.validation import MAX_LENGTH
from chuk_ai_session_manager.models import EventType
from chuk_ai_session_manager.providers.messages import tool_message
from chuk_ai_session_manager.stores import EventStore
from chuk_ai_session_manager.stores.changes import Appended
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.stored_data import EncodedEvent
from chuk_ai_session_manager.testing import ODD_TEXTS


@contextmanager
def each_place(trial: Trial) -> Iterator[list[Place]]:
    """A place on each store."""
    with RedisServer() as server:
        kind = TrimmingStore if trial.is_control else RedisStore
        yield [InMemory(), trial.on_sqlite(), OnRedis(server.url, kind=kind)]


# -- big messages -------------------------------------------------------------------------------


class Stall:
    """How long, at most, the event loop was at one thing, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        watcher = asyncio.create_task(self._watch())
        await asyncio.sleep(0.01)
        try:
            yield
        finally:
            await asyncio.sleep(0.01)
            watcher.cancel()

    async def _watch(self) -> None:
        step = 0.001
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(step)
            self.longest = max(self.longest, time.perf_counter() - begun - step)


def big_text(size: int) -> str:
    """A text of so many bytes, at most."""
    phrase = "It is noon. Where is the train? Blåbær, 好的 😀, <|endoftext|> ".encode()
    return (phrase * (size // len(phrase) + 1))[:size].decode(errors="ignore")


@row("10 MB message; message over the limit")
async def messages_are_big(trial: Trial) -> None:
    text = big_text(trial.size(2_000_000, 10_000_000))
    await warm_up()
    stalls = {}
    with each_place(trial) as places:
        for place in places:
            async with place.store() as store, place.store() as other:
                stall = Stall()
                sm = SessionManager("s", store=store)
                await sm.user_says("small")
                async with stall.watching():
                    with trial.succeeds():
                        await sm.user_says(text)
                    with trial.succeeds():
                        await sm.tool_used("t", {"a": "b"}, {"c": [text]})
                    rows = await SessionManager("s", store=other, create=False).get_conversation()
                same = [each["content"] for each in rows] == ["small", text]
                assert same, "the contents differ"
                stalls[type(store).__name__] = stall.longest
                if not trial.is_small:
                    await the_biggest_is_stored(trial, store, other)
                await too_long_is_refused(trial, store)
    trial.outcome.note = "loop stall " + ", ".join(
        f"{name} {1000 * each:.0f} ms" for name, each in stalls.items()
    )


async def warm_up() -> None:
    """Load what is loaded at first use."""
    sm = SessionManager(store=InMemory().store())
    await sm.user_says(big_text(100_000))


async def the_biggest_is_stored(trial: Trial, store: EventStore, other: EventStore) -> None:
    session = await Session.create("biggest", store=store)
    event: SessionEvent[Any] = SessionEvent(message="x" * MAX_LENGTH)
    with trial.succeeds():
        await store.append(session, [event])
        read = await other.get("biggest")
        assert read is not None
        assert read.events[0].message == event.message, "the contents differ"


async def too_long_is_refused(trial: Trial, store: EventStore) -> None:
    """In words that name the limit, before anything is written: no session is made for it either."""
    over = "x" * (MAX_LENGTH + 1)
    sm = SessionManager("new", store=store)
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: sm.user_says(over),
        lambda: sm.user_says("hello", more=over),
        lambda: sm.ai_responds(over),
        lambda: sm.tool_used("t", {"a": over}, None),
        lambda: sm.tool_used("t", {}, [over[1:], over[:1]]),
        lambda: sm.add_messages([{"role": "user", "content": over}]),
        lambda: sm.update_system_prompt(over),
        lambda: SessionManager("new", store=store, metadata={"a": over}).user_says("hello"),
    ]
    if not isinstance(store, type(InMemory().store())):  # which keeps any object as it is
        session: Session[Any] = Session(id="s")
        attempts += [
            lambda: store.append(session, [SessionEvent(message=over)]),
            lambda: store.create(Session(id="new", state={"a": over})),
            lambda: store.create(Session(id="new", events=[SessionEvent(message=over)])),
        ]
    for attempt in attempts:
        with trial.refused(f"{MAX_LENGTH:,}", error=InvalidInput):
            await attempt()
    assert await store.get("new") is None
    with trial.succeeds():
        await sm.user_says("hello")


# -- odd text -----------------------------------------------------------------------------------

HALVES = ("\ud800", "a\udfffb", "\udc00\ud800")


_NUL = re.compile(r"(?<!\\)\\u0000")


class TrimmingStore(RedisStore):
    """Known to be bad: it leaves out what texts in C end at."""

    async def _add(
        self, session_id: str, events: Sequence[EncodedEvent], born: str, only_at: int | None
    ) -> Appended | None:
        events = [event._replace(body=_NUL.sub("", event.body)) for event in events]
        return await super()._add(session_id, events, born, only_at)


@row("odd text", control="leaves out what texts in C end at")
async def texts_are_odd(trial: Trial) -> None:
    every = range(0, 0x3000, trial.size(97, 8))
    texts = [*ODD_TEXTS, *map(chr, every), *map(chr, range(0xE000, 0x10FFFF, trial.size(65_537, 1_025)))]
    told = []
    with each_place(trial) as places:
        for place in places:
            async with place.store() as store:
                for text in texts:
                    with trial.succeeds():
                        await say_everywhere(store, text)
                for half in HALVES:
                    await halves_are_refused_or_readable(trial, store, half)
            async with place.store() as other:
                session = await other.get("s")
                assert session is not None
                told.append([(event.message, event.metadata.get("note")) for event in session.events])
    with judging():
        assert told[0] == told[1] == told[2], "stores differ"
        tools = [tool_message("t", {text: text}, text, None) for text in texts]
        exact = [each for text, tool in zip(texts, tools, strict=True) for each in said(text, tool)]
        halves = (r"\ud800", r"a\udfffb", r"\udc00\ud800")
        mended = [row for half in halves for row in (tool_message("t", {}, half, None), half)]
        assert told[0] == exact + [(message, None) for message in mended]


def said(text: str, tool: object) -> list[tuple[object, object]]:
    """What `say_everywhere` says, as it is read."""
    return [(text, {text: [text]}), (text, None), (tool, None)]


async def say_everywhere(store: EventStore, text: str) -> None:
    sm = SessionManager("s", store=store)
    await sm.user_says(text, note={text: [text]})
    await sm.ai_responds(text, "gpt-4o", "openai")
    await sm.tool_used("t", {text: text}, text)


async def halves_are_refused_or_readable(trial: Trial, store: EventStore, half: str) -> None:
    """Half of a pair is refused where a person says it, written out where a model or a tool does."""
    sm = SessionManager("s", store=store)
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: sm.user_says(half),
        lambda: sm.user_says("hello", more=[{"a": half}]),
        lambda: sm.update_system_prompt(half),
        lambda: sm.add_messages([{"role": "user", "content": half}]),
        lambda: SessionManager(half, store=store).user_says("hello"),
    ]
    for attempt in attempts:
        with trial.refused(error=InvalidInput):
            await attempt()
    with trial.succeeds():
        await sm.tool_used("t", {}, half)
    with trial.succeeds():
        await sm.ai_responds(half)  # it was paid for


# -- counting and prices ------------------------------------------------------------------------

# In a process of its own: what was loaded there once, stays.
COUNT = """
import asyncio, json, sys, time
sys.path[:0] = {path!r}
sys.modules["splintr"] = None  # which brings its vocabularies along
from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.accounts import tokens
tokens.VOCABULARY_WAIT_SECONDS = 1.5

async def main():
    slowest = 0.0
    sm = SessionManager()
    for text in [*{texts!r}, "word " * {long}]:
        begun = time.perf_counter()
        await sm.user_says(text)
        await sm.ai_responds(text, "gpt-4o", "openai")
        slowest = max(slowest, time.perf_counter() - begun)
    events = (await sm._conversation.current())[1].events
    stats = await sm.get_stats()
    marked = all(event.token_usage.estimated for event in events)
    counts = [event.token_usage.total_tokens for event in events]
    print(json.dumps([marked, counts == [tokens.estimate_tokens(each.message) for each in events],
        stats["total_tokens"] == sum(counts), stats["usage_source"], slowest]))

asyncio.run(main())
"""


@row("no network for tiktoken")
async def there_is_no_network(trial: Trial) -> None:
    """Neither where connecting is refused, nor where whoever answers stays silent."""
    cache = trial.folder / "empty"
    cache.mkdir()
    texts = [text for text in ODD_TEXTS if text]
    long = trial.size(2_000, 200_000)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (9, silent.getsockname()[1]):
            proxy = f"http://127.0.0.1:{port}"
            environment = os.environ | {
                "TIKTOKEN_CACHE_DIR": str(cache),
                **dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), proxy),
                **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
            }
            with trial.succeeds():
                counted = await asyncio.to_thread(
                    subprocess.run,
                    [sys.executable, "-c", COUNT.format(path=sys.path, texts=texts, long=long)],
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=60,
                    check=True,
                )
                *facts, slowest = json.loads(counted.stdout)
                assert facts == [True, True, True, "estimated"]
                trial.outcome.note = f"slowest exchange {slowest:.1f} s"


@row("unknown model")
async def the_model_is_unknown(trial: Trial) -> None:
    models = ["no-such-model", "unknown", "gpt-99 (mine)", "a:b/c@d", "模型", *(f"m{at}" for at in range(20))]
    with each_place(trial) as places:
        for place in places:
            async with place.store() as store:
                sm = SessionManager("s", store=store)
                for number, model in enumerate(models):
                    with trial.succeeds():
                        await sm.user_says("What is the time?")
                        usage = {"prompt_tokens": 100, "completion_tokens": 10} if number % 2 else None
                        await sm.ai_responds("It is noon.", model, "mine", usage=usage)
                usage = {"prompt_tokens": 1_000, "completion_tokens": 0}
                await sm.ai_responds("Anything else?", "gpt-4o", "openai", usage=usage)
            async with place.store() as other:
                stats = await SessionManager("s", store=other, create=False).get_stats()
                session = await other.get("s")
                assert session is not None
                calls = [event.usage for event in session.events if event.usage]
                assert [call.cost_usd for call in calls] == [None] * len(models) + [0.0025]
                assert (stats["unpriced_calls"], stats["llm_calls"]) == (len(models), len(models) + 1)
                assert stats["estimated_cost"] == session.total_cost == pytest.approx(0.0025)


# -- summaries ----------------------------------------------------------------------------------

TURNS = 6


class LoudError(Exception):
    pass


async def raises(*_: Any) -> str:
    raise LoudError("no summary today")


async def hangs(*_: Any) -> str:
    await asyncio.sleep(3_600)
    return "late"


def blocks(*_: Any) -> str:
    time.sleep(2)
    return "late"


def gives(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


@row("summary callback")
async def the_callback_fails(trial: Trial) -> None:
    huge = "word " * (trial.size(100_000_000, 1_000_000_000) // 5)
    callbacks: dict[str, Callable[[Any], Any]] = {
        "raises": raises,
        "hangs": hangs,
        "blocks": blocks,
        "None": gives(None),
        "bytes": gives(b"a summary"),
        "blank": gives("  "),
        "number": gives(7),
        "huge": gives(huge),
        "half": gives("a summary \ud800"),
    }
    with each_place(trial) as places:
        for number, place in enumerate(places):
            sessions = [f"{number}-{name}" for name in (*callbacks, "talks")]
            await trial.begin(place, *sessions)
            async with place.store() as store:
                for (name, callback), session_id in zip(callbacks.items(), sessions, strict=False):
                    await talk(trial, store, session_id, callback)
                    await check_summaries(store, session_id, name)
                await talk(trial, store, sessions[-1], None)
            await trial.check(place)


async def talk(
    trial: Trial, store: EventStore, session_id: str, callback: Callable[[Any], Any] | None
) -> None:
    """Say something over several segments; without a callback, one that says something there itself."""
    patience = 0.2 if callback in {None, blocks, hangs} else PATIENCE  # the others are to be waited for
    sm = SessionManager(
        session_id, store=store, infinite_context=True, max_turns_per_segment=2, summary_timeout=patience
    )
    told = iter(range(1_000_000))

    async def talks(_: Any) -> str:
        name = f"callback/{next(told)}"
        with trial.journal.writing(session_id, name):
            await sm.user_says(name)
        return "a summary"

    sm.set_summary_callback(callback or talks)
    for number in range(TURNS):
        with trial.journal.writing(session_id, f"said/{number}"):
            await sm.user_says(f"said/{number}")
        assert any(row["content"].endswith(f"said/{number}") for row in await sm.get_messages_for_llm())
    await sm.wait_for_summaries()


async def check_summaries(store: EventStore, session_id: str, name: str) -> None:
    """Each closed segment ends in one summary, which says what was wrong with the callback's."""
    ids = await store.segment_ids(session_id)
    assert len(ids) == TURNS // 2
    for each in ids[:-1]:
        segment = await store.get(each)
        assert segment is not None
        (summary,) = (event for event in segment.events if event.type == EventType.SUMMARY)
        is_usable = name in {"huge", "half"}
        assert summary.metadata["made_by"] == ("callback" if is_usable else "built-in")
        assert ("callback_failure" in summary.metadata) != is_usable
        assert len(summary.message) < 10_000
