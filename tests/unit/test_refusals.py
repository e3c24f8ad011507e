"""Refusals, callbacks, tools and reprs do not repeat what was said."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from chuk_tool_processor import ToolProcessor, create_registry
from discretion import CANARY, PASSWORD, check_error, logs_without_secrets, shows_no_secret
from pydantic import ValidationError
from running import HOST

import chuk_ai_session_manager as public
from chuk_ai_session_manager import (
    Budget,
    InfiniteConversationManager,
    Recalled,
    RecalledTurn,
    Session,
    SessionEvent,
    SessionManager,
    SessionManagerError,
    SessionMetadata,
    SessionRun,
    TokenUsage,
    build_prompt_from_session,
    track_llm_call,
)
from chuk_ai_session_manager.accounts.pricing import set_price
from chuk_ai_session_manager.api.clients import track_client
from chuk_ai_session_manager.api.streams import LLMStream
from chuk_ai_session_manager.api.tracking import Exchange
from chuk_ai_session_manager.models import CallUsage, EventSource, EventType
from chuk_ai_session_manager.models.record import utc_now
from chuk_ai_session_manager.providers.answers import Answer
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.session_storage import ChukSessionsStore, SessionStorage
from chuk_ai_session_manager.stores import EventStore, MemoryStore, SqliteStore
from chuk_ai_session_manager.stores.redis.store import RedisStore

__all__ = ["logs_without_secrets"]  # for each test here

from secret_rows import SECRET_ROWS, LoudError, Use, begin, raise_it, said


class Loud:
    """A value that is no JSON, and says the canary whoever asks."""

    def __repr__(self) -> str:
        return CANARY


# -- what is refused ----------------------------------------------------------------------------

ODD = [Loud(), {CANARY: Loud()}, [Loud()], b"canary", CANARY + "\ud800", {CANARY: math.nan}, {1: CANARY}]


def refusals(value: Any) -> dict[str, Use]:
    """Calls that cannot take such a value, or take it as it is."""
    sm = SessionManager(store=MemoryStore())
    store = SqliteStore(":memory:")

    async def make(kind: Callable[..., object], **fields: Any) -> None:
        kind(**fields)

    async def stored(**fields: Any) -> None:
        async with store:
            await Session.create(store=store, **fields)

    return {
        "message": lambda: sm.user_says(value),
        "metadata": lambda: sm.user_says("hello", more=value),
        "answer": lambda: sm.ai_responds(value),
        "model": lambda: sm.ai_responds("hi", value),
        "usage": lambda: sm.ai_responds("hi", usage=value),
        "count": lambda: sm.ai_responds("hi", usage={"prompt_tokens": value}),
        "tool": lambda: sm.tool_used(value, value, value),
        "call id": lambda: sm.tool_used("t", value, value, tool_call_id=value),
        "rows": lambda: sm.add_messages(value),
        "row": lambda: sm.add_messages([value]),
        "role": lambda: sm.add_messages([{"role": value, "content": CANARY}]),
        "content": lambda: sm.add_messages([{"role": "user", "content": value}]),
        "prompt": lambda: sm.update_system_prompt(value),
        "limit": lambda: make(SessionManager, token_limit=value),
        "properties": lambda: make(SessionManager, metadata=value),
        "prompt given": lambda: make(SessionManager, system_prompt=value),
        "user": lambda: make(SessionManager, user_id=value),
        "event": lambda: make(SessionEvent, message=CANARY, timestamp=value),
        "kind": lambda: make(SessionEvent, message=CANARY, type=value, source=value),
        "event's metadata": lambda: make(SessionEvent, message=CANARY, metadata=value),
        "token usage": lambda: make(TokenUsage, prompt_tokens=value, model=CANARY),
        "call usage": lambda: make(CallUsage, model=value, input_tokens=value),
        "session": lambda: make(Session, events=value, state=value, metadata=value),
        "run": lambda: make(SessionRun, status=value, metadata=value),
        "stored event": lambda: stored(events=[SessionEvent(message=value)]),
        "stored state": lambda: stored(state={"a": value}),
        "stored property": lambda: stored(metadata=SessionMetadata(properties={"a": value})),
        "cursor": lambda: store.list_sessions(cursor=value),
        "page": lambda: store.list_sessions(limit=value),
        "life": lambda: store.extend_session_ttl("s", value),
        "price": lambda: make(set_price, model=value, input_per_million=value, output_per_million=value),
        "strategy": lambda: build_prompt_from_session(Session(events=[said()]), value),
    }


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
async def test_what_is_refused_is_not_repeated(value: Any) -> None:
    refused = 0
    for name, use in refusals(value).items():
        try:
            await use()
        except (SessionManagerError, ValidationError) as problem:
            check_error(problem)
            refused += 1
        except (TypeError, AttributeError) as problem:  # Python's own, for what is no argument at all
            assert name in {"strategy", "cursor", "price"}, (name, problem)  # noqa: PT017  (where there is one)
    assert refused > 12


async def test_conflicts_limits_and_unknown_ids() -> None:
    store = MemoryStore()
    session = await begin(store)
    sm = SessionManager("s", store=store, token_limit=1, cost_limit=0.0)
    failing: list[Use] = [
        lambda: store.append(session, [SessionEvent(id="e0", message=f"{CANARY}!")]),
        lambda: Session.create("s", store=store, state={"a": CANARY}),
        lambda: sm.user_says(CANARY),
        lambda: SessionManager("s", store=store).get_messages_for_llm(max_tokens=1),
        lambda: SessionManager("unknown", store=store, create=False).user_says(CANARY),
        lambda: SessionManager("unknown", store=store).get_conversation(),
        lambda: SessionAwareToolProcessor.create("unknown", store=store),
    ]
    await SessionManager("s", store=store).user_says(CANARY)
    for use in failing:
        with pytest.raises(SessionManagerError) as caught:
            await use()
        check_error(caught.value)


# -- an application's own code -------------------------------------------------------------------


async def test_a_summary_callback_and_a_model_call_that_raise() -> None:
    store = MemoryStore()
    options: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 2}
    sm = SessionManager(store=store, summary_callback=raise_it, **options)
    for _ in range(6):
        await sm.user_says(CANARY)
    await sm.wait_for_summaries()
    with pytest.raises(LoudError):
        await track_llm_call(CANARY, raise_it, session_manager=sm)
    stream = LLMStream(Exchange(sm), CANARY, raise_it)
    with pytest.raises(LoudError):
        async for _ in stream:
            pass
    other = InfiniteConversationManager(token_threshold=1)
    other = InfiniteConversationManager(token_threshold=1)  # in the default store
    session_id = (await Session.create()).id
    for _ in range(3):
        session_id = await other.process_message(session_id, CANARY, EventSource.USER, raise_it)
    summaries = [
        event
        for each in await store.list_sessions()
        for event in (await store.get(each) or Session()).events
        if event.type == EventType.SUMMARY
    ]
    assert summaries
    assert all(shows_no_secret(str(event.metadata.get("callback_failure", ""))) for event in summaries)


async def test_a_tool_that_raises() -> None:
    class Telling:
        async def execute(self, **_: Any) -> str:
            raise LoudError

    registry = create_registry()
    await registry.register_tool(Telling, name="t")
    store = MemoryStore()
    await begin(store)
    processor = await SessionAwareToolProcessor.create(
        "s", store=store, processor=ToolProcessor(registry), max_retries=0
    )
    (result,) = await processor.process_llm_message(SECRET_ROWS[1], None)
    assert result.error is not None
    assert "doctor" in result.error  # what a tool says of its failure is for the model


# -- what is shown of objects --------------------------------------------------------------------


async def test_no_repr_shows_it(tmp_path: Path) -> None:
    stores: list[EventStore] = [
        MemoryStore(),
        SqliteStore(tmp_path / "sessions.db"),
        RedisStore(f"redis://:{quote(PASSWORD, safe='')}@{HOST}"),
    ]
    shown: list[object] = [
        Budget(usd=1, per="day"),
        CallUsage(model="m"),
        TokenUsage(model="m"),
        Answer(CANARY, [{"content": CANARY}], thinking=[{"thinking": CANARY}]),
        (turn := RecalledTurn("e", "s", utc_now(), "user", CANARY, 1.0)),
        Recalled([turn], CANARY, 1),
        SessionStorage(),
        ChukSessionsStore(SessionStorage()),
        InfiniteConversationManager(),
        await stores[0].durability_report(),
        *stores,
    ]
    session = await begin(stores[0])
    sm = SessionManager(
        "s", store=stores[0], system_prompt=CANARY, metadata={"a": CANARY}, summary_callback=raise_it
    )
    await sm.user_says(CANARY)
    shown += [sm, session, *session.events, *session.runs, session.metadata, session.token_summary]
    shown += [await SessionAwareToolProcessor.create("s", store=stores[0]), Exchange(sm)]
    shown += [LLMStream(Exchange(sm), CANARY, raise_it), await stores[0].list_sessions()]

    class Client:
        async def __aenter__(self) -> Client:
            return self

        def __repr__(self) -> str:
            return CANARY

    shown.append(track_client(Client(), sm))
    for each in shown:
        assert shows_no_secret(repr(each) + str(each)), type(each)
        held = getattr(each, "__dict__", {})
        assert shows_no_secret(repr([value for value in held.values() if isinstance(value, asyncio.Future)]))
    made = {type(each).__name__ for each in shown}
    classes = {name for name in public.__all__ if isinstance(getattr(public, name), type)}
    plain = {name for name in classes if issubclass(getattr(public, name), Exception | str)}
    assert classes - plain <= made
    for store in stores:
        await store.close()
