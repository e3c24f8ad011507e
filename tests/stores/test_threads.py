"""One manager, one store, and many threads with event loops of their own, at once or one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from places import Place
from threads import EACH, THREADS, alone, at_once, check_texts, in_all_stores, read_elsewhere, texts_in

from chuk_ai_session_manager import Session, SessionAwareToolProcessor, SessionManager, TokenLimitExceeded
from chuk_ai_session_manager.api.simple_api import stream_llm_call, track_llm_call
from chuk_ai_session_manager.models import EventType


@in_all_stores
class TestAtOnce:
    def test_one_manager(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(manager)))
        check_texts(read_elsewhere(place, "shared"))

    def test_tasks_of_each_thread_at_once(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())

        async def write(thread: int) -> None:
            await asyncio.gather(*(manager.user_says(f"{thread}/{number}") for number in range(EACH)))

        at_once(write)
        check_texts(read_elsewhere(place, "shared"))

    def test_a_manager_for_each_thread_on_one_store(self, place: Place) -> None:
        store = place.store()

        async def write(thread: int) -> None:
            manager = SessionManager("shared", store=store)
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(read_elsewhere(place, "shared"))

    def test_some_read_what_others_write(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())
        alone(manager.user_says("first"))

        async def use(thread: int) -> None:
            for number in range(EACH):
                if thread < 2:
                    await manager.user_says(f"{thread}/{number}")
                    continue
                texts = await texts_in(manager)
                assert texts[0] == "first"
                assert len(texts) == len(set(texts))
                stats = await manager.get_stats()
                assert stats["total_messages"] >= len(texts)
                assert len(await manager.get_messages_for_llm()) >= len(texts)

        at_once(use)
        texts = read_elsewhere(place, "shared")
        check_texts(texts[1:], threads=2)
        assert alone(manager.get_stats())["total_messages"] == 2 * EACH + 1

    def test_limits_hold(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store(), token_limit=60)
        written: list[str] = []

        async def write(thread: int) -> None:
            for number in range(EACH):
                try:
                    await manager.user_says(f"{thread}/{number}")
                except TokenLimitExceeded:
                    return
                written.append(f"{thread}/{number}")

        at_once(write)
        texts = read_elsewhere(place, "shared")
        assert sorted(texts) == sorted(written)
        assert 0 < alone(manager.get_stats())["total_tokens"] <= 60

    @pytest.mark.parametrize("kind", ["built-in", "async", "blocking"])
    def test_infinite_context_with_summaries(self, place: Place, kind: str) -> None:
        async def summary(_: list[dict[str, Any]]) -> str:
            await asyncio.sleep(0.01)
            return "a summary"

        callbacks: dict[str, Any] = {"async": summary, "blocking": lambda _: "a summary", "built-in": None}
        options: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 5}
        store = place.store()
        manager = SessionManager("shared", store=store, summary_callback=callbacks[kind], **options)

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")
            await manager.wait_for_summaries()

        at_once(write)
        check_texts(read_elsewhere(place, "shared", **options))

        async def ends() -> list[Any]:
            segments = [await store.get(each) for each in await store.segment_ids("shared")]
            return [(segment.events[-1] if segment else None) for segment in segments]

        *closed, live = alone(ends())
        assert len(closed) == THREADS * EACH // 5 - 1
        assert {event.type for event in closed} == {EventType.SUMMARY}
        made_by = "built-in" if kind == "built-in" else "callback"
        assert {event.metadata["made_by"] for event in closed} == {made_by}
        assert live.type == EventType.MESSAGE

    def test_tracked_calls_and_streams(self, place: Place) -> None:
        manager = SessionManager("shared", store=place.store())

        async def pieces(question: str) -> AsyncIterator[str]:
            for piece in ("an", "swer ", question):
                await asyncio.sleep(0)
                yield piece

        async def use(thread: int) -> None:
            for number in range(3):
                question = f"{thread}/{number}"
                if thread % 2:
                    await track_llm_call(question, lambda text: f"answer {text}", session_manager=manager)
                    continue
                stream = stream_llm_call(question, pieces, session_manager=manager)
                assert "".join([piece async for piece in stream]) == f"answer {question}"

        at_once(use)
        texts = read_elsewhere(place, "shared")
        check_texts([text for text in texts if not text.startswith("answer")], each=3)
        assert len(texts) == 2 * 3 * THREADS

    def test_a_tool_processor(self, place: Place) -> None:
        store = place.store()
        alone(store.create(Session(id="shared")))
        processor = SessionAwareToolProcessor("shared", store=store)

        async def use(thread: int) -> None:
            for number in range(3):
                function = {"name": "unknown_tool", "arguments": json.dumps({"of": f"{thread}/{number}"})}
                call = {"id": f"call-{thread}-{number}", "type": "function", "function": function}
                message = {"role": "assistant", "content": f"{thread}/{number}", "tool_calls": [call]}
                (result,) = await processor.process_llm_message(message)
                assert result.error

        at_once(use)
        session = alone(place.store().get("shared"))
        said = [event for event in session.events if event.type == EventType.MESSAGE]
        assert len(said) == 3 * THREADS
        assert len(session.events) == 2 * len(said)

    def test_closing_the_store_in_one_thread_stops_no_other(self, place: Place) -> None:
        store = place.store()
        manager = SessionManager("shared", store=store)

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")
                if thread == 0:
                    await store.close()

        at_once(write)
        check_texts(read_elsewhere(place, "shared"))
