"""Whatever was taken back, and wherever segments end: a context ends with what waits for an answer."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import MemoryStore

SAYING = ("question", "answer", "call", "result")
THINKING_AGAIN = ("regenerate", "retract", "edit", "undo", "choose", "fork")
STEPS = st.lists(st.tuples(st.sampled_from(SAYING + THINKING_AGAIN), st.integers(0, 9)), max_size=16)


def calling(call_id: str) -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


async def rows_of(sm: SessionManager) -> list[dict[str, Any]]:
    return await sm.get_conversation(with_ids=True, include_tools=True)


async def take(sm: SessionManager, step: str, number: int, at: int) -> SessionManager:
    """Take one step, if the conversation allows it; return the manager of the conversation that goes on."""
    rows = await rows_of(sm) if number else []
    last: dict[str, Any] = rows[-1] if rows else {"role": "system"}
    row = rows[at % len(rows)] if rows else None
    asks = last["role"] in {"user", "tool"}
    if step == "question":
        await sm.user_says(f"question {number}")
    elif step == "answer" and asks:
        await sm.ai_responds(f"answer {number}", model="gpt-4o")
    elif step == "call" and asks:
        await sm.ai_responds(calling(f"c{number}"), model="gpt-4o")
    elif step == "result" and last.get("tool_calls"):
        call_id = last["tool_calls"][0]["id"]
        await sm.tool_used("f", {}, f"result of {call_id}", tool_call_id=call_id)
    elif step == "undo" and row is not None:
        await sm.undo()
    elif step == "fork" and row is not None:
        return await sm.fork(at=row["event_id"])
    elif step == "edit" and row is not None and row["role"] == "user":
        await sm.edit(row["event_id"], f"question {number}")
    elif step == "choose" and row is not None:
        variants = await sm.variants(row["event_id"])
        await sm.choose(variants[at % len(variants)]["event_id"])
    elif step in {"regenerate", "retract"} and row is not None:
        await getattr(sm, step)(row["event_id"])
    return sm


def check_end(rows: list[dict[str, Any]], context: list[dict[str, Any]]) -> None:
    last = rows[-1]
    if last["role"] == "user":
        assert context[-1]["role"] == "user"
        assert context[-1]["content"].endswith(last["content"])
    elif last["role"] == "tool" or last.get("tool_calls"):
        call_id = last["tool_call_id"] if last["role"] == "tool" else last["tool_calls"][0]["id"]
        assert (context[-1]["role"], context[-1]["tool_call_id"]) == ("tool", call_id)
        assert context[-2]["tool_calls"][0]["id"] == call_id


# An answer or a call that began a segment is taken back; a call waits at the end of a segment.
@example([("question", 0), ("answer", 0), ("regenerate", 1)], 1)
@example([("question", 0), ("call", 0), ("result", 0), ("answer", 0), ("regenerate", 3)], 1)
@example([("question", 0), ("call", 0), ("retract", 1)], 1)
@example([("question", 0), ("call", 0), ("question", 0), ("retract", 2)], 2)
@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 5))
def test_a_context_ends_with_what_waits(steps: list[tuple[str, int]], turns: int) -> None:
    async def play() -> None:
        store = MemoryStore()
        sm = SessionManager(store=store, infinite_context=True, max_turns_per_segment=turns)
        for number, (step, at) in enumerate(steps):
            with suppress(InvalidInput):  # nothing is left to be taken back, for instance
                sm = await take(sm, step, number, at)
            if not (rows := await rows_of(sm) if sm._initialized else []):
                continue
            check_end(rows, await sm.get_messages_for_llm(include_tools=True))
            anew = SessionManager((await sm.get_session_chain())[0], store=store)
            check_end(rows, await anew.get_messages_for_llm(include_tools=True, max_tokens=2_000))

    asyncio.run(play())
