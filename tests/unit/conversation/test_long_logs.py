"""What is read of the end of a long log is what the whole log would give."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from itertools import chain, takewhile
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place, on_each

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.conversation.context.windows import truncate_prompt_to_token_limit
from chuk_ai_session_manager.exceptions import InvalidInput, SessionNotFound, TokenLimitExceeded
from chuk_ai_session_manager.models import EventSource, EventType, TokenUsage
from chuk_ai_session_manager.models.session import next_segment_id
from chuk_ai_session_manager.providers.messages import ChatMessage
from chuk_ai_session_manager.stores import EventStore, MemoryStore, open_store
from chuk_ai_session_manager.stores.durable import DurableStore
from chuk_ai_session_manager.stores.stored_data import StoredSession

MODEL = "gpt-4o-mini"

# -- conversations of any shape -----------------------------------------------------------------------


def said(source: EventSource, message: Any, tokens: int) -> SessionEvent[Any]:
    """A message, whose recorded length need not be true: it only tells how much to read."""
    usage = TokenUsage(total_tokens=tokens, model=MODEL, estimated_cost_usd=None) if tokens else None
    return SessionEvent(message=message, source=source, type=EventType.MESSAGE, token_usage=usage)


def asked(text: str, call_ids: Sequence[str], tokens: int) -> SessionEvent[Any]:
    calls = [
        {"id": each, "type": "function", "function": {"name": "look", "arguments": "{}"}} for each in call_ids
    ]
    return said(EventSource.LLM, {"role": "assistant", "content": text, "tool_calls": calls}, tokens)


def result(call_id: str | None, text: str) -> SessionEvent[Any]:
    message: ChatMessage = {"tool": "look", "arguments": {}, "result": text, "error": None, "success": True}
    metadata = {"tool_call_id": call_id} if call_id else {}
    return SessionEvent(
        message=message, source=EventSource.SYSTEM, type=EventType.TOOL_CALL, metadata=metadata
    )


def any_log(random: Random) -> list[SessionEvent[Any]]:
    """A log of any shape: with calls that are answered late, twice or never, and results without a call."""
    log = [said(EventSource.SYSTEM, "rule", 1) for _ in range(random.choice([0, 0, 1, 2, 30]))]
    open_calls: list[str] = []
    for _ in range(random.randrange(150)):
        text = "word " * random.randint(1, 6)
        # Not always true: by an application's own count, or none.
        tokens = random.choice([len(text) // 5, len(text) // 5, random.randint(0, 9)])
        match random.choices(["user", "model", "system", "calls", "result", "lone"], [5, 5, 1, 4, 4, 1])[0]:
            case "user":
                log.append(said(EventSource.USER, text, tokens))
            case "model":
                log.append(said(EventSource.LLM, text, tokens))
            case "system":
                log.append(said(EventSource.SYSTEM, text, tokens))
            case "calls":
                ids = [f"call-{random.randrange(40)}" for _ in range(random.randint(1, 2))]
                open_calls += ids
                log.append(asked(text, ids, tokens))
            case "result" if open_calls:
                log.append(result(open_calls.pop(random.randrange(len(open_calls))), text))
            case _:
                log.append(result(random.choice([None, f"call-{random.randrange(40)}"]), text))
    return log


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    max_tokens=st.integers(1, 150) | st.integers(150, 600),
    earlier=st.none() | st.integers(0, 60),
    include_system=st.booleans(),
    include_tools=st.booleans(),
    steady=st.booleans(),
)
def test_a_short_context_is_what_is_left_of_the_whole_one(
    seed: int,
    max_tokens: int,
    earlier: int | None,
    *,
    include_system: bool,
    include_tools: bool,
    steady: bool,
) -> None:
    log = any_log(Random(seed))  # noqa: S311  (no secrets)

    async def contexts(store: EventStore, fresh: EventStore) -> None:
        async with store, fresh:
            prompt = {"properties": {"system_prompt": "Be kind."}}
            session = await Session.create(session_id="s", metadata=prompt, store=store)
            await store.append(session, log[:earlier])
            if earlier is not None:
                next_id = next_segment_id("s")
                session = await Session.create(
                    session_id=next_id, parent_id="s", metadata=prompt, store=store
                )
                await store.append(session, log[earlier:])
            options: dict[str, Any] = {"include_system": include_system, "include_tools": include_tools}
            manager = SessionManager("s", store=fresh, model=MODEL, infinite_context=earlier is not None)
            cut: dict[str, Any] = {"max_tokens": max_tokens, "steady": steady, **options}
            short = await outcome(manager.get_messages_for_llm(**cut))
            holding = SessionManager("s", store=store, model=MODEL, infinite_context=earlier is not None)
            whole = await holding.get_messages_for_llm(**options)  # from now on, its object holds all
            assert short == await outcome(holding.get_messages_for_llm(**cut))
            if earlier is None:
                newest = await outcome(truncate_prompt_to_token_limit(whole, max_tokens, MODEL))
                if not steady or not isinstance(newest, list):
                    assert short == newest
                else:  # the same end, from a later beginning
                    assert isinstance(short, list)
                    front = len(list(takewhile(lambda row: row["role"] == "system", whole)))
                    assert short[:front] == whole[:front]
                    assert len(short) <= len(newest)
                    assert short[front:] == newest[len(newest) - len(short) + front :] or asks(short) == 1

    def asks(rows: list[ChatMessage]) -> int:
        """How many questions there are: only inside the newest exchange does something else go."""
        return [row["role"] for row in rows].count("user")

    async def outcome(rows: Any) -> list[ChatMessage] | float | None:
        try:
            return list(await rows)
        except TokenLimitExceeded as refused:
            return refused.actual

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/a.db"
        asyncio.run(contexts(open_store(url), open_store(url)))
    memory = MemoryStore()
    asyncio.run(contexts(memory, memory))


# -- the newest messages ------------------------------------------------------------------------------


@on_each
@pytest.mark.parametrize("infinite", [False, True])
async def test_the_newest_messages_of_a_conversation(place: Place, *, infinite: bool) -> None:
    async with place.store() as store, place.store() as other:
        sm = SessionManager("s", store=store, infinite_context=infinite, max_turns_per_segment=7)
        for at in range(20):
            await sm.user_says(f"question {at}")
            await sm.tool_used("look", {}, f"result {at}")
            await sm.ai_responds(f"answer {at}", model=MODEL)
        await sm.wait_for_summaries()
        whole = await sm.get_conversation()
        for fresh in (SessionManager("s", store=other, infinite_context=infinite), sm):
            for limit in (1, 2, 3, 8, 9, 39, 40, 41, 1_000):
                assert await fresh.get_conversation(limit=limit) == whole[-limit:]
            live = await fresh.get_conversation(include_all_segments=False)
            assert await fresh.get_conversation(include_all_segments=False, limit=5) == live[-5:]
            for limit in (0, -1):
                with pytest.raises(InvalidInput):
                    await fresh.get_conversation(limit=limit)


async def test_the_newest_messages_of_an_unknown_session_are_not_found() -> None:
    with pytest.raises(SessionNotFound):
        await SessionManager("nobody", store=MemoryStore()).get_conversation(limit=1)


# -- what is read -------------------------------------------------------------------------------------


class Reads:
    """Counts what a store reads of logs: events, and calls to the database."""

    def __init__(self, store: DurableStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events = self.calls = 0
        read = store._read

        async def counted(session_id: str, start: int | None, end: int | None = None) -> StoredSession | None:
            found = await read(session_id, start, end)
            self.calls += 1
            self.events += 0 if found is None else sum(body.count('"timestamp"') for body in found.bodies)
            return found

        monkeypatch.setattr(store, "_read", counted)


USES: dict[str, Callable[[SessionManager], Awaitable[Any]]] = {
    "context": lambda sm: sm.get_messages_for_llm(max_tokens=400),
    "context with tools": lambda sm: sm.get_messages_for_llm(max_tokens=400, include_tools=True),
    "newest messages": lambda sm: sm.get_conversation(limit=10),
    "newest messages of the segment": lambda sm: sm.get_conversation(False, limit=10),
    "a tracked request": lambda sm: sm.writer.add_new_messages([{"role": "user", "content": "New?"}]),
    "a late result": lambda sm: sm.add_messages(
        [{"role": "tool", "tool_call_id": "call-late", "content": "42"}]
    ),
    "a bill": lambda sm: sm.ai_responds("Yes.", model=MODEL),
}


@cache
def exchanges(number: int) -> list[list[SessionEvent[Any]]]:
    """So many exchanges, for the logs of all tests: the events are the costly part of each."""
    text = "word " * 20
    return [
        [
            said(EventSource.USER, f"Question {at}: {text}", 24),
            asked(text, [f"call-{at % 40}"], 24),
            result(f"call-{at % 40}", text),
            said(EventSource.LLM, f"Answer {at}: {text}", 24),
        ]
        for at in range(number)
    ]


@on_each
@pytest.mark.parametrize("infinite", [False, True])
@pytest.mark.parametrize("use", USES)
async def test_little_is_read_of_a_long_log(
    place: Place, use: str, monkeypatch: pytest.MonkeyPatch, *, infinite: bool
) -> None:
    async def reads_of(session_id: str, number: int) -> tuple[int, int]:
        async with place.store() as store:
            root = await Session.create(session_id=f"{session_id} root", store=store)
            first, *others = exchanges(number)
            await store.append(root, first)
            live_id = next_segment_id(root.id)
            live = await Session.create(session_id=live_id, parent_id=root.id, store=store)
            log = list(chain.from_iterable(others))
            log.insert(-40, asked("Wait.", ["call-late"], 4))  # the only call without a result
            await store.append(live, log)
        async with place.store() as fresh:
            assert isinstance(fresh, DurableStore)
            reads = Reads(fresh, monkeypatch)
            sm = SessionManager(
                live_id,
                store=fresh,
                infinite_context=infinite,
                token_threshold=10**9,
                max_turns_per_segment=10**9,
            )
            await USES[use](sm)
        return reads.events, reads.calls

    short_events, short_calls = await reads_of("short", 50)
    long_events, long_calls = await reads_of("long", 2_010)
    assert long_events <= short_events + 8
    assert long_events < 250
    assert long_calls <= short_calls < 16
