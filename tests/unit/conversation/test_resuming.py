"""A manager made afresh for every call gives what one long-lived manager gives."""

from __future__ import annotations

import asyncio
from typing import Any

from chat_rules import is_valid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import Place, in_memory_too

from chuk_ai_session_manager import SessionManager

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["user", "assistant", "tool", "use", "rows", "prompt"]),
        st.sampled_from(["Why?", "What is the meaning of all this?", "word " * 12, "好的。明天见。"]),
    ),
    max_size=14,
)
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}


async def take(sm: SessionManager, kind: str, text: str) -> None:
    match kind:
        case "user":
            await sm.user_says(text)
        case "assistant":
            await sm.ai_responds(text, model="gpt-4o")
        case "tool":
            await sm.tool_used("look_up", {"q": text}, text)
        case "use":
            await sm.add_messages([{"role": "tool", "tool_call_id": "c1", "content": text}])
        case "rows":
            await sm.add_messages(
                [
                    {"role": "user", "content": text},
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c1", "content": text},
                ]
            )
        case "prompt":
            await sm.update_system_prompt(text)
            await sm.user_says(text)


async def seen(sm: SessionManager) -> dict[str, Any]:
    dates = {"created_at", "last_update"}
    conversation = await sm.get_conversation()
    return {
        "chain": await sm.get_session_chain(),
        "conversation": [
            {name: row[name] for name in row.keys() - {"timestamp", "session_id"}} for row in conversation
        ],
        "messages": await sm.get_messages_for_llm(),
        "stats": {name: value for name, value in (await sm.get_stats()).items() if name not in dates},
    }


async def fold(messages: list[dict[str, Any]]) -> str:
    """A summary that shows what it was made of."""
    return " | ".join(str(row["content"])[-20:] for row in messages)


@in_memory_too
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.booleans(), st.integers(1, 60), st.integers(1, 6), st.sampled_from([None, fold]))
def test_resuming_changes_nothing(
    place: Place,
    steps: list[tuple[str, str]],
    infinite: bool,
    token_threshold: int,
    max_turns: int,
    callback: Any,
) -> None:
    options: dict[str, Any] = {
        "infinite_context": infinite,
        "token_threshold": token_threshold,
        "max_turns_per_segment": max_turns,
        "summary_callback": callback,
    }
    # The same id, so that the segments have the same ones; and each of them in a store of its own.
    first, second = place.fresh(), place.fresh()

    async def compare() -> None:
        async with first.store() as store, second.store() as last:
            long_lived = SessionManager("same", store=store, **options)
            await long_lived.user_says("first")
            await SessionManager("same", store=last, **options).user_says("first")
            for kind, text in steps:
                await take(long_lived, kind, text)
                async with second.store() as opened:
                    await take(SessionManager("same", store=opened, **options), kind, text)
                assert is_valid(await long_lived.get_messages_for_llm(include_tools=True))
            chain = await long_lived.get_session_chain()
            for session_id in {chain[0], chain[len(chain) // 2], chain[-1]}:
                if infinite or session_id == "same":
                    fresh = SessionManager(session_id, store=last, create=False, **options)
                    assert await seen(fresh) == await seen(long_lived)

    asyncio.run(compare())
