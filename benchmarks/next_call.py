"""What it costs a context to know which answers' signed thinking may go back: the fingerprint of its rows.

    python benchmarks/next_call.py    # milliseconds of CPU for 200 rows, with and without; their ratio

Both are measured in one process, by turns, so that what else the machine does meets both. Without: nothing is
hashed, and all thinking goes back.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any
from unittest.mock import patch

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.conversation.context import asking, chain
from chuk_ai_session_manager.providers.fingerprints import Chain

EXCHANGES, TURNS, CONTEXTS_A_TURN = 100, 30, 5
FORMATS = ("anthropic", "openai-responses", "openai")


def answer_in(format_name: str, number: int) -> dict[str, Any]:
    """An answer with signed thinking, or reasoning, of about 60 words."""
    text = f"Answer {number}: " + "word " * 60
    match format_name:
        case "anthropic":
            content = [{"type": "thinking", "thinking": "Hm.", "signature": f"S{number}"}]
            return {
                "id": f"msg_{number}",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-4-5",
                "content": [*content, {"type": "text", "text": text}],
                "stop_reason": "end_turn",
            }
        case "openai-responses":
            part = {"type": "output_text", "text": text, "annotations": []}
            said = {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [part]}
            thought = {"type": "reasoning", "id": f"rs_{number}", "summary": [], "encrypted_content": "E"}
            return {
                "id": f"resp_{number}",
                "object": "response",
                "status": "completed",
                "output": [thought, said],
            }
        case _:
            message = {"role": "assistant", "content": text}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return {"id": f"chatcmpl-{number}", "object": "chat.completion", "choices": choices}


async def conversation(format_name: str) -> SessionManager:
    """A conversation of 200 rows, each answer of which was given a context in this format."""
    sm = SessionManager(system_prompt="Be brief.")
    get: Any = sm.get_messages_for_llm
    for number in range(EXCHANGES):
        await sm.user_says(f"Question {number}: " + "word " * 40)
        await get(format=format_name, include_tools=True)
        await sm.ai_responds(answer_in(format_name, number))
    return sm


async def seconds(sm: SessionManager, format_name: str) -> float:
    """CPU seconds of a context, the least of a few."""
    get: Any = sm.get_messages_for_llm
    taken = []
    for _ in range(CONTEXTS_A_TURN):
        start = time.process_time()
        await get(format=format_name, include_tools=True)
        taken.append(time.process_time() - start)
    return min(taken)


async def nothing(*_: object) -> None:
    """In the place of looking for a tool loop that goes on."""


async def compare(format_name: str) -> tuple[float, float]:
    """Milliseconds of a context with fingerprints, and without."""
    sm = await conversation(format_name)
    pairs = []
    for _ in range(TURNS):
        with_it = await seconds(sm, format_name)
        with (
            patch.object(asking, "signing", lambda *_: lambda _: True),
            patch.object(asking, "unfinished_loop", nothing),
            patch.object(chain.Contexts, "hand_out", lambda *_: None),
            patch.object(Chain, "value", lambda _: ""),
        ):
            pairs.append((with_it, await seconds(sm, format_name)))
    return median(pair[0] for pair in pairs) * 1e3, median(pair[1] for pair in pairs) * 1e3


def main() -> None:
    """Print both, and their ratio, for each format."""
    for format_name in FORMATS:
        with_it, without = asyncio.run(compare(format_name))
        print(f"{format_name:18} {with_it:6.2f} ms, without {without:6.2f} ms: {with_it / without:.3f}")


if __name__ == "__main__":
    main()
