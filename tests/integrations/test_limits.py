"""Limits stop the next call, never the record of the last: by every way in, on every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_client, track_llm_call
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.models import EventType

GPT = "gpt-4o-2024-08-06"
CLAUDE = "claude-sonnet-4-6"
LIMITS: list[dict[str, Any]] = [{"token_limit": 5}, {"cost_limit": 1e-7}]

Ask = Callable[[SessionManager, str], Awaitable[object]]


class Ways:
    """Ways to ask a model; `made` counts the calls that reached it."""

    def __init__(self, address: str) -> None:
        self.made = 0
        self._gpt = AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        self._claude = AsyncAnthropic(base_url=address, api_key="none", max_retries=0)
        for client in (self._gpt, self._claude):
            client._client.event_hooks["request"].append(self._count)

    async def _count(self, request: object) -> None:
        self.made += 1

    async def _chat(self, prompt: str, **options: Any) -> Any:
        messages: Any = [{"role": "user", "content": prompt}]
        return await self._gpt.chat.completions.create(model=GPT, messages=messages, **options)

    async def track(self, sm: SessionManager, text: str) -> None:
        answer, _ = await track_llm_call(text, self._chat, session_manager=sm)
        assert answer == f"You said: {text}"

    async def stream(self, sm: SessionManager, text: str) -> None:
        stream = stream_llm_call(text, lambda p: self._chat(p, stream=True), session_manager=sm)
        assert [piece async for piece in stream]
        assert stream.text == f"You said: {text}"

    async def by_hand(self, sm: SessionManager, text: str) -> None:
        await sm.user_says(text)
        await sm.ai_responds(await self._chat(text))

    async def rows(self, sm: SessionManager, text: str) -> None:
        await sm.add_messages([{"role": "user", "content": text}])
        answer = (await self._chat(text)).choices[0].message.content
        await sm.add_messages([{"role": "assistant", "content": answer}], model="gpt-4")

    async def chat_client(self, sm: SessionManager, text: str) -> None:
        messages: Any = [{"role": "user", "content": text}]
        await track_client(self._gpt, sm).chat.completions.create(model=GPT, messages=messages)

    async def client_after_user_says(self, sm: SessionManager, text: str) -> None:
        await sm.user_says(text)
        await self.chat_client(sm, text)

    async def responses_client(self, sm: SessionManager, text: str) -> None:
        await track_client(self._gpt, sm).responses.create(model=GPT, input=text)

    async def messages_client(self, sm: SessionManager, text: str) -> None:
        messages: Any = [{"role": "user", "content": text}]
        await track_client(self._claude, sm).messages.create(model=CLAUDE, max_tokens=9, messages=messages)

    async def streaming_client(self, sm: SessionManager, text: str) -> None:
        messages: Any = [{"role": "user", "content": text}]
        client = track_client(self._claude, sm)
        async for _ in await client.messages.create(
            model=CLAUDE, max_tokens=9, messages=messages, stream=True
        ):
            pass


WAYS = [name for name in vars(Ways) if not name.startswith("_")]


@pytest.fixture
async def ways(address: str) -> AsyncIterator[Ways]:
    ways = Ways(address)
    yield ways
    await ways._gpt.close()
    await ways._claude.close()


@in_memory_too
@pytest.mark.parametrize("limit", LIMITS, ids=["tokens", "cost"])
async def test_one_call_is_made_and_kept_then_the_model_is_not_asked(
    place: Place, limit: dict[str, Any], ways: Ways
) -> None:
    async with place.store() as store, place.store() as other:
        for name in WAYS:
            for infinite in (False, True):
                ask: Ask = getattr(ways, name)
                ways.made = 0
                sm = SessionManager(f"{name}-{infinite}", store=store, infinite_context=infinite, **limit)
                await ask(sm, "hello")
                before = await sm.get_stats()
                assert (before["llm_calls"], before["total_events"]) == (1, 2), name
                assert before["estimated_cost"] > 0
                for manager in (sm, SessionManager(sm.session_id, store=other, **limit)):
                    for text in ("hello", "again"):
                        with pytest.raises(TokenLimitExceeded):
                            await ask(manager, text)
                assert ways.made == 1, name
                assert await sm.get_stats() == before
                said = await SessionManager(sm.session_id, store=other).get_conversation()
                assert [row["content"] for row in said] == ["hello", "You said: hello"]


async def test_a_loop_of_tools_is_stopped_too(ways: Ways) -> None:
    """What a tool gave is no question; the call that would send it to the model is one."""
    sm = SessionManager(cost_limit=0.0005)
    await ways.chat_client(sm, "hello")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    await sm.ai_responds(asked)
    await sm.tool_used("f", {}, "found", tool_call_id="c")
    messages: Any = [asked, {"role": "tool", "tool_call_id": "c", "content": "found"}]
    with pytest.raises(TokenLimitExceeded):
        await track_client(ways._gpt, sm).chat.completions.create(model=GPT, messages=messages)
    assert ways.made == 1
    assert (await sm.get_stats())["tool_calls"] == 1


@pytest.mark.parametrize("limit", LIMITS, ids=["tokens", "cost"])
@pytest.mark.parametrize("way", ["track", "chat_client", "messages_client"])
async def test_tasks_at_once_make_one_call(way: str, limit: dict[str, Any], ways: Ways) -> None:
    sm = SessionManager(**limit)
    asking = [getattr(ways, way)(sm, "hello") for _ in range(8)]
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in outcomes].count(TokenLimitExceeded) == 7
    assert ways.made == 1
    stats = await sm.get_stats()
    assert (stats["llm_calls"], stats["total_events"]) == (1, 2)


async def test_a_call_inside_of_a_call_waits_for_nobody() -> None:
    sm = SessionManager(cost_limit=1.0)

    async def inner(prompt: str) -> str:
        return "inner"

    async def outer(prompt: str) -> str:
        both = (track_llm_call("in", inner, session_manager=sm) for _ in range(2))
        return "; ".join(text for text, _ in await asyncio.gather(*both))

    async with asyncio.timeout(20):
        text, _ = await track_llm_call("out", outer, session_manager=sm)
    assert text == "inner; inner"


async def test_without_limits_calls_are_made_at_once() -> None:
    sm = SessionManager()
    together = asyncio.Barrier(4)

    async def ask(prompt: str) -> str:
        await together.wait()
        return "answer"

    async with asyncio.timeout(20):
        await asyncio.gather(*(track_llm_call("q", ask, session_manager=sm) for _ in range(4)))


async def test_a_failed_call_lets_the_next_one_begin(ways: Ways) -> None:
    sm = SessionManager(cost_limit=1.0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            await track_llm_call("q", lambda _: 1 / 0, session_manager=sm)
    await ways.track(sm, "hello")
    session = sm._session
    assert session is not None
    assert [event.type for event in session.events].count(EventType.REFERENCE) == 2
