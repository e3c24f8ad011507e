"""A dashboard over all sessions of a user: listed by page, counted without reading what they hold.

python examples/13_monitoring.py
"""

from __future__ import annotations

import asyncio

from chuk_ai_session_manager import SessionManager, get_session_stats, get_storage_info, track_llm_call
from chuk_ai_session_manager.session_storage import get_backend

MODELS = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-6", "my-local-model"]


async def ask(question: str) -> str:
    return f"That is a good question: {question}"


async def main() -> None:
    for number, model in enumerate(MODELS, start=1):
        sm = SessionManager(f"chat-{number}", user_id="ada", infinite_context=True, max_turns_per_segment=4)
        for turn in range(number):
            await track_llm_call(f"What about number {turn}?", ask, model, session_manager=sm)
        await sm.tool_used("search", {"query": "numbers"}, ["0", "1"])

    print(f"{'Session':38}{'Segments':>8}{'Messages':>9}{'Tools':>6}{'Tokens':>7}{'Billed':>7}{'USD':>10}")
    store = get_backend().store
    page = await store.list_sessions(user_id="ada", limit=2)
    total = 0.0
    while True:
        for session_id in page:
            if (await store.last_segment_id(session_id)) != session_id:
                continue  # a conversation is shown once, under its last segment's id
            stats = await get_session_stats(session_id, include_all_segments=True)
            billed = stats["input_tokens"] + stats["output_tokens"]
            cost = "unknown" if stats["unpriced_calls"] else f"{stats['estimated_cost']:.6f}"
            total += stats["estimated_cost"]
            print(
                f"{session_id:38}{stats['session_segments']:8}{stats['total_messages']:9}"
                f"{stats['tool_calls']:6}{stats['total_tokens']:7}{billed:7}{cost:>10}"
            )
        if not page.next_cursor:
            break
        page = await store.list_sessions(user_id="ada", limit=2, cursor=page.next_cursor)
    print(f"\nTotal: ${total:.6f}, in the {get_storage_info()['provider']} store")
    report = await store.durability_report()
    print(f"May be lost: {report.loss_window}")


if __name__ == "__main__":
    asyncio.run(main())
