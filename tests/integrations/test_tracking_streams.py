"""Tracked streams: read to the end, or broken off."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.stores import open_store

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import local_llm
from running import PATIENCE, in_time
from tracked import CLAUDE, GPT, events_of, rows_of, said

# -- streams ----------------------------------------------------------------------------------------


async def plain(prompt: str) -> AsyncIterator[str]:
    for piece in local_llm.answer_to({"input": prompt}):
        yield piece


def streaming(client: Any, prompt: str) -> Any:
    """What OpenAI's client gives, async or not, for an answer that streams, usage included."""
    options = {"include_usage": True}
    return client.chat.completions.create(
        model=GPT, messages=said(prompt), stream=True, stream_options=options
    )


class TestStreams:
    async def check(self, sm: SessionManager, usage_source: str = "reported") -> None:
        question, answer = await events_of(sm)
        assert answer.message == "You said: hello"
        assert answer.parent_event_id == question.id
        assert "interrupted" not in answer.metadata
        stats = await sm.get_stats()
        assert stats["usage_source"] == usage_source
        if usage_source == "reported":
            assert stats["input_tokens"] == 1000

    async def test_openai_s_chunks(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()

        stream = stream_llm_call("hello", partial(streaming, gpt), session_manager=sm)
        pieces = [piece.choices[0].delta.content async for piece in stream if piece.choices]
        assert pieces == ["You", " said:", " hello", None]
        assert (stream.text, stream.session_id) == ("You said: hello", sm.session_id)
        await self.check(sm)
        assert (await events_of(sm))[1].metadata["finish_reason"] == "stop"

    async def test_openai_s_response_events(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()
        ask = partial(gpt.responses.create, model=GPT, stream=True)
        kinds = [
            event.type async for event in stream_llm_call("hello", lambda p: ask(input=p), session_manager=sm)
        ]
        assert kinds[-1] == "response.completed"
        await self.check(sm)

    async def test_anthropic_s_events(self, claude: AsyncAnthropic) -> None:
        sm = SessionManager()

        async def ask(prompt: str) -> Any:
            return await claude.messages.create(
                model=CLAUDE, max_tokens=10, messages=said(prompt), stream=True
            )

        async for _ in stream_llm_call("hello", ask, session_manager=sm):
            pass
        await self.check(sm)
        assert (await sm.get_stats())["cache_write_tokens"] == 300

    async def test_anthropic_s_stream_manager(self, claude: AsyncAnthropic) -> None:
        sm = SessionManager()

        def ask(prompt: str) -> Any:
            return claude.messages.stream(model=CLAUDE, max_tokens=10, messages=said(prompt))

        async for _ in stream_llm_call("hello", ask, session_manager=sm):
            pass
        await self.check(sm)

    @pytest.mark.parametrize("kind", ["async", "sync", "list", "whole"])
    async def test_plain_texts(self, kind: str) -> None:
        sm = SessionManager()
        pieces = local_llm.answer_to({"input": "hello"})
        functions: dict[str, Any] = {
            "async": plain,
            "sync": lambda prompt: iter(pieces),
            "list": lambda prompt: pieces,
            "whole": lambda prompt: "You said: hello",
        }
        got = [piece async for piece in stream_llm_call("hello", functions[kind], GPT, session_manager=sm)]
        assert "".join(got) == "You said: hello"
        await self.check(sm, "estimated")

    async def test_a_client_that_blocks(self, address: str) -> None:
        with OpenAI(base_url=f"{address}/v1", api_key="none") as client:
            sm = SessionManager()
            async for _ in stream_llm_call("hello", partial(streaming, client), session_manager=sm):
                pass
            await self.check(sm)


class TestInterrupted:
    """The text so far is kept, and said to be no more than that."""

    async def check(self, sm: SessionManager, text: str, *failure: str) -> None:
        events = await events_of(sm)
        assert events[1].message == text
        assert events[1].metadata["interrupted"] is True
        assert events[1].parent_event_id == events[0].id
        assert [event.message for event in events[2:]] == [{"error": name} for name in failure]

    async def test_the_stream_breaks(self) -> None:
        sm = SessionManager()

        async def ask(prompt: str) -> AsyncIterator[str]:
            yield "Once upon"
            yield " a time"
            raise ConnectionError("cut")

        with pytest.raises(ConnectionError, match="cut"):
            async for _ in stream_llm_call("hello", ask, GPT, session_manager=sm):
                pass
        await self.check(sm, "Once upon a time", "ConnectionError")

    async def test_the_connection_is_closed_as_if_that_were_the_end(
        self, gpt: AsyncOpenAI, claude: AsyncAnthropic
    ) -> None:
        for ask in (
            lambda prompt: gpt.chat.completions.create(model=GPT, messages=said(prompt), stream=True),
            lambda prompt: claude.messages.create(
                model=CLAUDE, max_tokens=9, messages=said(prompt), stream=True
            ),
        ):
            sm = SessionManager()
            async for _ in stream_llm_call("cut", ask, session_manager=sm):
                pass
            await self.check(sm, "You said: cut", "ConnectionResetError")
            assert (await sm.get_stats())["usage_source"] == "estimated"

    async def test_the_reader_goes_away(self) -> None:
        sm = SessionManager()
        async for _ in stream_llm_call("hello there", plain, GPT, session_manager=sm):
            break
        gc.collect()
        async with asyncio.timeout(PATIENCE):
            while len(await events_of(sm)) < 2:  # noqa: ASYNC110  (no event says that the part is stored)
                await asyncio.sleep(0.01)
        await self.check(sm, "You")

    async def test_the_reader_closes_it(self) -> None:
        sm = SessionManager()
        stream = stream_llm_call("hello there", plain, GPT, session_manager=sm)
        async with aclosing(stream):
            async for _ in stream:
                break
        await self.check(sm, "You")

    async def test_the_reader_is_cancelled(self) -> None:
        sm = SessionManager()
        has_begun = asyncio.Event()

        async def hang(prompt: str) -> AsyncIterator[str]:
            yield "Once"
            has_begun.set()
            await asyncio.sleep(3_600)
            yield " more"

        async def read() -> None:
            async for _ in stream_llm_call("hello", hang, GPT, session_manager=sm):
                pass

        task = asyncio.create_task(read())
        await in_time(has_begun.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.check(sm, "Once", "CancelledError")

    async def test_leaving_a_stream_after_its_last_event_interrupts_nothing(self, gpt: AsyncOpenAI) -> None:
        sm = SessionManager()

        async def ask(prompt: str) -> Any:
            return await gpt.chat.completions.create(model=GPT, messages=said(prompt), stream=True)

        stream = stream_llm_call("hello", ask, session_manager=sm)
        async with aclosing(stream):
            async for piece in stream:
                if piece.choices[0].finish_reason:
                    break
        assert "interrupted" not in (await events_of(sm))[1].metadata

    async def test_a_stream_of_what_is_not_understood(self) -> None:
        sm = SessionManager()
        with pytest.raises(InvalidInput, match="object is not a known response"):
            async for _ in stream_llm_call("hello", lambda p: [object()], session_manager=sm):
                pass
        assert await rows_of(sm) == ["hello"]


class Blocking:
    """A stream that blocks until the event loop runs, and notes whether it was closed."""

    def __init__(self, pieces: list[str], loop: asyncio.AbstractEventLoop) -> None:
        self._pieces = iter(pieces)
        self._loop = loop
        self.is_closed = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        has_run = threading.Event()
        self._loop.call_soon_threadsafe(has_run.set)
        assert has_run.wait(PATIENCE), "the event loop is blocked"
        return next(self._pieces)

    def close(self) -> None:
        self.is_closed = True


async def test_a_stream_that_blocks_does_not_block_the_event_loop_and_is_closed() -> None:
    source = Blocking(["a", "b"], asyncio.get_running_loop())
    stream = stream_llm_call("hello", lambda _: source, session_manager=SessionManager())
    async with aclosing(stream):
        async for piece in stream:
            assert piece == "a"
            break
    assert source.is_closed


async def test_an_async_stream_is_closed_when_its_reader_goes() -> None:
    closed = asyncio.Event()

    async def source(prompt: str) -> AsyncIterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.set()

    stream = stream_llm_call("hello", source, session_manager=SessionManager())
    async with aclosing(stream):
        async for _ in stream:
            break
    assert closed.is_set()


async def test_a_whole_response_where_a_stream_was_meant_keeps_its_bill(gpt: AsyncOpenAI) -> None:
    sm = SessionManager()

    async def ask(prompt: str) -> Any:
        return await gpt.chat.completions.create(model=GPT, messages=said(prompt))

    assert [piece async for piece in stream_llm_call("hello", ask, session_manager=sm)] == ["You said: hello"]
    assert (await sm.get_stats())["input_tokens"] == 1000


LEAVES_A_STREAM = """
import asyncio, sys
from chuk_ai_session_manager import SessionManager, stream_llm_call
from chuk_ai_session_manager.stores import open_store

HELD = []

async def model(prompt):
    for word in ("one ", "two ", "three"):
        yield word

async def main(how, url):
    sm = SessionManager("s", store=open_store(url))
    stream = stream_llm_call("Count.", model, session_manager=sm)
    if how != "dropped":
        HELD.append(stream)
    async for piece in stream:
        if how == "raises":
            sys.exit(3)
        break

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("how", ["dropped", "held", "raises"])
async def test_a_stream_that_is_left_as_a_program_s_last_act(how: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sessions.db"
    words = [sys.executable, "-c", LEAVES_A_STREAM, how, url]
    ended = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3 if how == "raises" else 0, "", "")
    async with open_store(url) as store:
        rows = await SessionManager("s", store=store).get_conversation()
    assert [row["content"] for row in rows] == ["Count.", "one "]
