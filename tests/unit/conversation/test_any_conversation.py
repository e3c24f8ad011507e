"""Whatever a conversation goes through, each context of it is one that every provider takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import Any

from chat_rules import refused_by_anthropic, refused_by_openai
from hypothesis import given, settings
from hypothesis import strategies as st
from request_rules import check_request

from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.exceptions import TokenLimitExceeded
from chuk_ai_session_manager.providers.anthropic_messages import for_anthropic as request_for_anthropic
from chuk_ai_session_manager.stores import MemoryStore

# Looked into as JSON, not as what the SDK's types say of it.
for_anthropic: Any = request_for_anthropic

# Requests are checked by the SDKs' own types, too, where these are installed.
SDKS = {"openai": "openai", "openai-responses": "openai", "anthropic": "anthropic", "google": "google"}
FORMATS = [name for name, sdk in SDKS.items() if find_spec(sdk) is not None]
LIMITS = (12, 40, 200)
TEXTS = st.sampled_from(["", " ", "hello", "Once upon a time", "half \\ud83d"])
ARGUMENTS = st.sampled_from(["{}", '{"a": 1}', '{"city": "Lis', "[1]", "", "null", "NaN", '"x"', "{"])
IDS = st.sampled_from(["call_0", "call_1", "odd:id"])
STEPS = st.one_of(
    st.tuples(st.just("says"), TEXTS, st.booleans()),
    st.tuples(st.just("answers"), TEXTS),
    st.tuples(st.just("calls"), TEXTS, st.lists(st.tuples(IDS, ARGUMENTS), min_size=1, max_size=2)),
    st.tuples(st.just("result"), IDS),
    st.tuples(st.just("tool used"), ARGUMENTS),
    st.tuples(st.just("begins a stream"), st.lists(TEXTS, min_size=1, max_size=3), st.integers(1, 3)),
    st.tuples(st.just("reads on")),
)


class Playing:
    """A conversation, and the streams in it that are left open."""

    def __init__(self, turns: int) -> None:
        self.store = MemoryStore()
        self.sm = SessionManager(
            "s", "Be brief.", store=self.store, infinite_context=True, max_turns_per_segment=turns
        )
        self.streams: list[Any] = []

    async def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("says", text, True):
                mark = {"type": "text", "text": text or "x", "cache_control": {"type": "ephemeral"}}
                await self.sm.add_messages([{"role": "user", "content": [mark]}])
            case ("says", text, _):
                await self.sm.user_says(text)
            case ("answers", text):
                await self.sm.ai_responds(text)
            case ("calls", text, calls):
                asked = [
                    {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}
                    for call_id, arguments in calls
                ]
                row = {"role": "assistant", "content": text or None, "tool_calls": asked}
                await self.sm.add_messages([row])
            case ("result", call_id):
                await self.sm.add_messages([{"role": "tool", "tool_call_id": call_id, "content": "found"}])
            case ("tool used", arguments):
                await self.sm.tool_used("f", arguments, "found")
            case ("begins a stream", pieces, count):
                await self._begin(pieces, count)
            case ("reads on",) if self.streams:
                async for _ in self.streams.pop(0):
                    pass

    async def _begin(self, pieces: list[str], count: int) -> None:
        async def ask(prompt: str) -> AsyncIterator[str]:
            for piece in pieces:
                yield piece

        stream = stream_llm_call("Tell me.", ask, "gpt-4o", session_manager=self.sm)
        self.streams.append(stream)
        async for _ in stream:
            count -= 1
            if count == 0:
                break

    async def check(self) -> None:
        for reader in (self.sm, SessionManager("s", store=self.store)):
            plain = await reader.get_messages_for_llm()
            full = await reader.get_messages_for_llm(include_tools=True)
            for rows in (plain, full):
                assert refused_by_openai(rows) is None
                assert refused_by_anthropic(for_anthropic(rows)) is None
            request: Any = await reader.get_messages_for_llm(format="anthropic")
            assert refused_by_anthropic(request) is None
            for name in FORMATS:
                for limit in (None, *LIMITS):
                    options: Any = {"format": name, "include_tools": True, "max_tokens": limit}
                    try:
                        check_request(name, await reader.get_messages_for_llm(**options))
                    except TokenLimitExceeded:
                        assert limit is not None


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, min_size=1, max_size=14), st.sampled_from([1, 2, 3, 100]))
async def test_each_context_is_one_that_providers_take(steps: list[tuple[Any, ...]], turns: int) -> None:
    playing = Playing(turns)
    await playing.sm.user_says("Begin.")
    for step in steps:
        await playing.do(step)
    await playing.check()
