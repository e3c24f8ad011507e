"""What is read of the end of a long log is what the whole log would give."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.conversation.context.windows import truncate_prompt_to_token_limit
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.models import EventSource, EventType, TokenUsage
from chuk_ai_session_manager.providers.messages import ChatMessage
from chuk_ai_session_manager.stores import EventStore, MemoryStore, open_store

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


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    max_tokens=st.integers(1, 150),
    include_system=st.booleans(),
    include_tools=st.booleans(),
)
def test_a_short_context_is_what_is_left_of_the_whole_one(
    seed: int,
    max_tokens: int,
    *,
    include_system: bool,
    include_tools: bool,
) -> None:
    log = any_log(Random(seed))  # noqa: S311  (no secrets)

    async def contexts(store: EventStore, fresh: EventStore) -> None:
        async with store, fresh:
            session = await Session.create(
                session_id="s", metadata={"properties": {"system_prompt": "Be kind."}}, store=store
            )
            await store.append(session, log)
            options: dict[str, Any] = {"include_system": include_system, "include_tools": include_tools}
            manager = SessionManager("s", store=fresh, model=MODEL)
            short = await outcome(manager.get_messages_for_llm(max_tokens=max_tokens, **options))
            whole = await manager.get_messages_for_llm(**options)
            assert short == await outcome(truncate_prompt_to_token_limit(whole, max_tokens, MODEL))

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
