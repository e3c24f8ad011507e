"""Model calls tracked as they are made: whole, failing, streaming, and streaming but broken off.

The models here are plain functions, so that this runs offline; yours call a provider.

    python examples/05_model_calls.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from chuk_ai_session_manager import SessionManager, stream_llm_call, track_llm_call
from chuk_ai_session_manager.session_storage import get_backend

WORDS = ["Learning ", "with ", "many ", "layers."]


async def ask(question: str) -> dict[str, object]:
    """Answer as an API does: an OpenAI response, as an object or a dict, or a text."""
    return {
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"message": {"role": "assistant", "content": f"{question}: from examples."}}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 5},
    }


async def ask_in_vain(_: str) -> str:
    raise ConnectionError("the provider is down")


async def stream(_: str) -> AsyncIterator[str]:
    for word in WORDS:
        yield word


async def stream_in_part(_: str) -> AsyncIterator[str]:
    for word in WORDS[:2]:
        yield word
    raise ConnectionError("the connection was lost")


async def main() -> None:
    sm = SessionManager(model="gpt-4o-mini")
    answer, _ = await track_llm_call("Machine learning", ask, session_manager=sm)
    print(answer)
    try:
        await track_llm_call("And deep learning", ask_in_vain, session_manager=sm)
    except ConnectionError as error:  # it reaches you as it is
        print(f"failed: {error}")
    async for piece in stream_llm_call("Deep learning", stream, session_manager=sm):
        print(piece, end="", flush=True)
    try:
        async for piece in stream_llm_call("Again", stream_in_part, session_manager=sm):
            print(f"\n{piece}", end="")
    except ConnectionError as error:
        print(f"\nfailed: {error}")

    print("\nWhat the session holds:")
    session = await get_backend().store.get(sm.session_id)
    for event in session.events if session else []:
        notes = [name for name in ("failed", "interrupted") if event.metadata.get(name)]
        if event.usage:
            notes.append(f"{event.usage.input_tokens} tokens in, {event.usage.output_tokens} out")
        print(f"{event.source.value:>6} {event.type.value:9}  {event.message!s:33} {', '.join(notes)}")


if __name__ == "__main__":
    asyncio.run(main())
