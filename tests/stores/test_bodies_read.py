"""Which images, audio, files and long results are read from a store: those that are given, and no others."""

from __future__ import annotations

import asyncio
import json
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from servers import RedisServer

from chuk_ai_session_manager import Session, SessionEvent, SessionManager
from chuk_ai_session_manager.conversation.absent import fill
from chuk_ai_session_manager.conversation.usage_report import usage_report
from chuk_ai_session_manager.exceptions import InvalidSessionOperation
from chuk_ai_session_manager.models.absent_text import AbsentText
from chuk_ai_session_manager.providers.parts import media_length, media_of, shown_content
from chuk_ai_session_manager.stores import bodies
from chuk_ai_session_manager.stores.bodies import take_out, without_measures
from chuk_ai_session_manager.stores.durable import DurableStore
from chuk_ai_session_manager.stores.redis.store import RedisStore
from chuk_ai_session_manager.stores.sqlite.store import SqliteStore
from chuk_ai_session_manager.testing.bodies import EVENTS, picture

Open = Callable[[], DurableStore]


@pytest.fixture(params=["sqlite", "redis"])
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[Open]:
    stores: list[DurableStore] = []

    def open_one() -> DurableStore:
        if request.param == "sqlite":
            stores.append(SqliteStore(tmp_path / "sessions.db"))
        else:
            stores.append(RedisStore(redis_server.url, sandbox_id=tmp_path.name))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


def fetched_by(store: DurableStore) -> list[str]:
    """The hashes of the bodies that a store reads from now on, each time that it does."""
    fetched: list[str] = []
    fetch = store._fetch

    async def counted(hashes: Collection[str]) -> Mapping[str, bytes]:
        fetched.extend(hashes)
        return await fetch(hashes)

    store._fetch = counted  # type: ignore[method-assign]
    return fetched


def png(number: int, width: int = 640, height: int = 480) -> str:
    """A picture of a certain size, as far as its header tells."""
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    return b64encode(header + number.to_bytes(4, "big") + bytes(600)).decode()


def seen(number: int, text: str = "Look!", **size: int) -> list[dict[str, Any]]:
    url = f"data:image/png;base64,{png(number, **size)}"
    return [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]


def drawn(number: int) -> dict[str, Any]:
    """An answer with a picture, which its native form has too."""
    parts = [{"text": "Here."}, {"inlineData": {"mimeType": "image/png", "data": png(1_000 + number)}}]
    return {"candidates": [{"content": {"role": "model", "parts": parts}}], "modelVersion": "gemini-3"}


async def talk(manager: SessionManager, turns: int) -> None:
    for number in range(turns):
        await manager.user_says(seen(number, f"Picture {number}"))
        result: Any = seen(2_000 + number, "Seen.")
        if number % 4 == 1:  # in the form of MCP
            picture = {"type": "image", "data": png(2_000 + number), "mimeType": "image/png"}
            result = {"content": [{"type": "text", "text": "Seen."}, picture], "isError": False}
        await manager.tool_used("look", {"at": number}, result)
        await manager.ai_responds(drawn(number) if number % 2 else f"Picture {number}.", model="gpt-4o")


@pytest.mark.parametrize("format_name", [None, "openai", "openai-responses", "anthropic", "google"])
@pytest.mark.parametrize("include_tools", [False, True])
async def test_a_context_reads_the_bytes_that_it_sends(
    opened: Open, format_name: Any, include_tools: bool
) -> None:
    writer = SessionManager("s", store=opened())
    await talk(writer, 60)
    store = opened()
    fetched = fetched_by(store)
    reader = SessionManager("s", store=store, model="gpt-4o")
    asked = {"max_tokens": 9_000, "format": format_name, "include_tools": include_tools, "model": "gpt-4o"}
    context = json.dumps(await reader.get_messages_for_llm(**asked))
    sent = {name for name, data in all_bodies(60).items() if data in context}
    assert len(sent) >= 5
    assert len(fetched) == len(set(fetched))
    assert sent <= set(fetched)
    # Chat messages as they were recorded describe images of MCP, whose form no API of this format takes.
    described = {png(2_000 + number) for number in range(1, 60, 4)} if format_name is None else set()
    assert {data for name, data in all_bodies(60).items() if name in set(fetched) - sent} <= described
    store = opened()
    whole = await store.get("s")  # this object has all events, with their bytes
    assert whole is not None
    held = await SessionManager("s", store=store).get_messages_for_llm(**asked)
    assert json.dumps(held) == context


def all_bodies(turns: int) -> dict[str, str]:
    events = [
        SessionEvent[Any](message={"role": "user", "content": seen(at)})
        for at in (*range(turns), *range(1_000, 1_000 + turns), *range(2_000, 2_000 + turns))
    ]
    return {
        name: b64encode(data).decode() for event in events for name, data in take_out(event).bodies.items()
    }


async def test_a_limited_conversation_reads_the_bytes_that_it_gives(opened: Open) -> None:
    await talk(SessionManager("s", store=opened()), 40)
    whole = await SessionManager("s", store=opened()).get_conversation(include_tools=True, with_ids=True)
    for tools, count in ((False, 7), (True, 11)):
        store = opened()
        fetched = fetched_by(store)
        rows = await SessionManager("s", store=store).get_conversation(
            include_tools=tools, with_ids=True, limit=8
        )
        wanted = [row for row in whole if tools or row["role"] != "tool"][-8:]
        assert json.dumps(rows) == json.dumps(wanted)
        given = {name for name, data in all_bodies(40).items() if data in json.dumps(rows)}
        assert set(fetched) == given
        assert len(fetched) <= count


async def test_figures_choices_and_recall_read_no_bytes(opened: Open) -> None:
    await talk(SessionManager("s", store=opened(), user_id="u"), 40)
    store = opened()
    fetched = fetched_by(store)
    manager = SessionManager("s", store=store)
    await manager.get_stats()
    await manager.user_says("And now?")
    await usage_report(store)
    await manager.undo()
    await manager.undo()
    assert (await manager.recall("Picture 3")).turns
    assert fetched == []


async def test_recall_in_earlier_segments_reads_no_bytes(opened: Open) -> None:
    settings: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 6}
    async with SessionManager("s", store=opened(), **settings) as writer:
        await talk(writer, 20)
    store = opened()
    fetched = fetched_by(store)
    found = await SessionManager("s", store=store, **settings).recall("Picture 3")
    assert "Picture 3" in found.text
    assert fetched == []


async def test_a_summary_reads_no_bytes(opened: Open) -> None:
    settings: dict[str, Any] = {"infinite_context": True, "max_turns_per_segment": 6}
    writer = SessionManager("s", store=opened(), **settings)
    for number in range(6):
        await writer.user_says(seen(number, f"Picture {number}"))
    await writer.wait_for_summaries()
    store = opened()
    fetched = fetched_by(store)
    async with SessionManager("s", store=store, **settings) as manager:
        await manager.user_says("The seventh.")
    assert len(await manager.get_session_chain()) == 2
    context = await manager.get_messages_for_llm(max_tokens=4_000)
    assert "Picture 5" in str(context)
    assert fetched == []


async def test_what_marks_of_earlier_releases_do_not_tell_is_read(opened: Open) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "_measure", lambda _: {})
        marked = bodies._Taking._mark
        patch.setattr(bodies._Taking, "_mark", lambda *args, **kw: without_measures(marked(*args, **kw)))
        await talk(SessionManager("s", store=opened()), 5)
    await talk(SessionManager("s", store=opened()), 5)
    store = opened()
    fetched = fetched_by(store)
    asked: dict[str, Any] = {"max_tokens": 100_000, "format": "openai", "model": "gpt-4o"}
    context = await SessionManager("s", store=store).get_messages_for_llm(**asked)
    assert fetched
    whole = await SessionManager("s", store=opened()).get_messages_for_llm(format="openai", model="gpt-4o")
    assert json.dumps(context) == json.dumps(whole)
    event = (await store.get("s")).events[0]  # type: ignore[union-attr]
    await store.append(await store.head("s"), [event])  # type: ignore[arg-type]  # the same, of this release


async def test_a_context_goes_on_while_others_take_bytes_away(opened: Open) -> None:
    await talk(SessionManager("s", store=opened()), 12)
    ids = [
        row["event_id"] for row in await SessionManager("s", store=opened()).get_conversation(with_ids=True)
    ]

    async def redact() -> None:
        manager = SessionManager("s", store=opened())
        for event_id in ids:
            await manager.redact(event_id)

    async def read() -> None:
        manager = SessionManager("s", store=opened())
        for _ in range(30):
            context = await manager.get_messages_for_llm(max_tokens=50_000, format="openai", model="gpt-4o")
            assert context

    await asyncio.gather(redact(), read(), read())
    left = await SessionManager("s", store=opened()).get_messages_for_llm(max_tokens=50_000)
    assert "base64" not in json.dumps(left)


async def test_a_limited_conversation_is_read_again_if_its_bytes_were_deleted_meanwhile(opened: Open) -> None:
    await SessionManager("s", store=opened()).user_says(seen(1))
    store, other = opened(), SessionManager("s", store=opened())
    fetch, waiting = store._fetch, await other.get_conversation(with_ids=True)

    async def fetched_after_a_redaction(hashes: Collection[str]) -> Mapping[str, bytes]:
        while waiting:
            await other.redact(waiting.pop()["event_id"])
        return await fetch(hashes)

    store._fetch = fetched_after_a_redaction  # type: ignore[method-assign]
    (row,) = await SessionManager("s", store=store).get_conversation(limit=1)
    assert not waiting
    assert "base64" not in json.dumps(row["content"])


@pytest.mark.parametrize("kind", EVENTS)
async def test_outlines_are_what_whole_events_are_when_their_bytes_are_put_in(
    opened: Open, kind: str
) -> None:
    store, event = opened(), EVENTS[kind]()
    await Session.create(session_id="s", events=[event], store=store)
    page = await store.newest_outlines(await store.head("s"))  # type: ignore[arg-type]
    assert page is not None
    (outline,) = page.events
    absent = [each for each in _texts(outline.model_dump()) if isinstance(each, AbsentText)]
    assert not absent or len(json.dumps(outline.model_dump(mode="json"))) < len(
        json.dumps(event.model_dump(mode="json"))
    )
    if absent:
        with pytest.raises(InvalidSessionOperation):
            take_out(outline)
    await fill([outline], store)
    assert json.dumps(outline.model_dump(mode="json")) == json.dumps(event.model_dump(mode="json"))


def _texts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [each for item in value.values() for each in _texts(item)]
    if isinstance(value, list):
        return [each for item in value for each in _texts(item)]
    return [value]


async def test_sounds_films_and_documents_count_the_same_without_their_bytes(opened: Open) -> None:
    pdf = b64encode(b"%PDF-1.4 /Type /Page /Type /Page ." + bytes(500)).decode()
    wav = struct.pack("<4sI8sIHHIIHH", b"RIFF", 36, b"WAVEfmt ", 16, 1, 1, 8_000, 4_000, 2, 16)
    said = [
        {
            "type": "input_audio",
            "input_audio": {"data": b64encode(wav + bytes(9_000)).decode(), "format": "wav"},
        },
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{pdf}", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": f"data:video/mp4;base64,{picture(1, 90_000)}"}},
        {"type": "file", "file": {"file_data": picture(2, 4_000), "filename": "a.txt"}},
        *seen(1, width=1_900, height=200)[1:],
    ]
    await SessionManager("s", store=opened()).user_says(said)
    for model in ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"):
        store = opened()
        page = await store.newest_outlines(await store.head("s"))  # type: ignore[arg-type]
        assert page is not None
        content = page.events[0].message["content"]
        assert await media_length(media_of(content), model) == await media_length(media_of(said), model)
        assert shown_content(content) == shown_content(said)
