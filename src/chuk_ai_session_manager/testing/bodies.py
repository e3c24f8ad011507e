"""Tests of images, audio, files and long results: they come back to the byte, and go with their events."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from ..api.transfer import export_conversation, import_sessions
from ..exceptions import SessionNotFound
from ..models import EventSource, EventType, Session, SessionEvent
from ..session_manager import SessionManager
from ..stores.base import AnyEvent, EventStore
from .base import Contract, Stores, in_a_loop
from .checks import check_totals
from .readings import read_head, read_latest, read_session
from .samples import user_message


def picture(number: int = 0, size: int = 3_000) -> str:
    """The bytes of a picture in base64, other ones for each number."""
    return b64encode(Random(number).randbytes(size)).decode()  # noqa: S311  (no secret)


def _png(number: int) -> str:
    """The same as a list of images has it, which names no types: with the first bytes of a PNG."""
    return b64encode(b"\x89PNG\r\n\x1a\n\0").decode() + picture(number)


def _url(number: int = 0, size: int = 3_000) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture(number, size)}"}}


def _said(*parts: Any, **fields: Any) -> AnyEvent:
    return user_message({"role": "user", "content": list(parts)}, **fields)


_LONG = "A long result. é\n" * 20_000
_ODD = ["", "=", "AAAA=", "not base64!", "QUJD\n", "QUI=", "QUJ=", picture()[:-1], "data:,x"]
_ODD += ["data:image/png;base64,"]
EVENTS: dict[str, Callable[[], AnyEvent]] = {
    "an image": lambda: _said({"type": "text", "text": "Look!"}, _url()),
    "the same image twice": lambda: _said(_url(1), _url(1)),
    "audio": lambda: _said({"type": "input_audio", "input_audio": {"data": picture(2), "format": "wav"}}),
    "a file": lambda: _said({"type": "file", "file": {"filename": "a.pdf", "file_data": picture(3)}}),
    "Anthropic's": lambda: _said(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture(4)}}
    ),
    "an answer": lambda: SessionEvent(
        message={"role": "assistant", "content": [{"type": "text", "text": "Here."}, _url(5)]},
        source=EventSource.LLM,
        native={
            "format": "google",
            "message": {
                "parts": [
                    {"inlineData": {"mimeType": "image/png", "data": picture(5)}},
                    {"inlineData": {"mimeType": "image/png", "data": picture(6)}, "thoughtSignature": "c2ln"},
                ]
            },
        },
    ),
    "Ollama's images": lambda: SessionEvent(
        message={
            "role": "assistant",
            "content": "Here.",
            "images": [_png(1), "a.png", {"images": [_png(2)]}],
        },
        source=EventSource.LLM,
        native={"format": "ollama", "message": {"content": "Here.", "images": [_png(1), _png(3), ["", 7]]}},
    ),
    "spoken words": lambda: SessionEvent(
        message={"role": "assistant", "content": "Hello, as it was spoken; and it was spoken at length."},
        source=EventSource.LLM,
        native={
            "format": "openai",
            "message": {
                "content": None,
                "audio": {"id": "a", "data": picture(7), "expires_at": 1, "transcript": "Hello"},
            },
        },
    ),
    "a tool's picture": lambda: SessionEvent(
        message={
            "tool": "draw",
            "arguments": {},
            "result": {"content": [{"type": "image", "data": picture(8), "mimeType": "image/png"}]},
            "error": None,
        },
        type=EventType.TOOL_CALL,
    ),
    "a long result": lambda: SessionEvent(
        message={"tool": "read", "arguments": {}, "result": _LONG, "error": None},
        type=EventType.TOOL_CALL,
        metadata={"row": {"content": [{"type": "text", "text": _LONG}]}},
    ),
    "odd base64": lambda: _said(
        *({"type": "input_audio", "input_audio": {"data": text, "format": "wav"}} for text in _ODD),
        *({"type": "image_url", "image_url": {"url": text}} for text in _ODD),
    ),
    "our own key": lambda: _said(
        {"$body": "x", "size": 1, "inner": {"$body": None, "image": _url(9)}}, {"$body": {"data": [1]}}
    ),
    "our own key in metadata": lambda: user_message(
        "Hello", metadata={"$body": None, "more": {"$body": "x"}}
    ),
    "our own key in a call's metadata": lambda: SessionEvent(
        message="as a text", type=EventType.TOOL_CALL, metadata={"$body": None, "more": {"$body": "x"}}
    ),
}


def _as_json(event: AnyEvent) -> str:
    return json.dumps(event.model_dump(mode="json"))


async def _events(store: EventStore, session_id: str) -> list[AnyEvent]:
    return (await read_session(store, session_id)).events


class Bodies(Contract):
    """Tests of bodies: they come back to the byte, and go with their events."""

    @pytest.mark.parametrize("kind", EVENTS)
    @in_a_loop
    async def test_bodies_come_back_to_the_byte_by_any_way(self, stores: Stores, kind: str) -> None:
        store, event = stores.open(), EVENTS[kind]()
        said = _as_json(event)
        session = await Session.create(session_id="s", events=[user_message("first"), event], store=store)
        more = event.model_copy(update={"id": "more"})
        await store.append(await read_head(store, "s"), [more, user_message("last")])
        await store.append(await read_head(store, "s"), [more])  # again: it is one event
        for opened in (store, stores.open()):
            read = await read_session(opened, "s")
            assert [_as_json(each) for each in read.events[1:3]] == [
                said,
                said.replace(f'"{event.id}"', '"more"'),
            ]
            check_totals(read)
            page = await opened.newest_events(await read_head(opened, "s"), limit=2)
            assert page is not None
            assert _as_json(page.events[0]) == said.replace(f'"{event.id}"', '"more"')
        session = await read_latest(store, session)
        session.events[0] = session.events[0].model_copy(update={"message": "edited"})
        await store.save(session)
        assert _as_json((await _events(stores.open(), "s"))[1]) == said

    @in_a_loop
    async def test_an_answer_with_pictures_goes_back_as_it_came(self, stores: Stores) -> None:
        manager = SessionManager("s", store=stores.open())
        await manager.user_says([{"type": "text", "text": "Draw it like this."}, _url(1)])
        parts = [
            {"text": "Here."},
            {"inlineData": {"mimeType": "image/png", "data": picture(2)}, "thoughtSignature": "c2ln"},
        ]
        await manager.ai_responds(
            {"candidates": [{"content": {"role": "model", "parts": parts}}], "modelVersion": "gemini-3"}
        )
        here = await manager.get_messages_for_llm(format="google")
        there = await SessionManager("s", store=stores.open()).get_messages_for_llm(format="google")
        assert json.dumps(there) == json.dumps(here)
        assert json.dumps(there["contents"][1]["parts"]) == json.dumps(parts)
        assert picture(1) in json.dumps(there["contents"][0])

    @in_a_loop
    async def test_what_is_exported_is_imported_with_its_bodies(self, stores: Stores) -> None:
        store = stores.open()
        events = [make() for make in EVENTS.values()]
        await Session.create(session_id="s", events=events, store=store)
        lines = [line async for line in export_conversation("s", store)]
        await store.delete_conversation("s")
        await import_sessions(lines, store)
        assert list(map(_as_json, await _events(stores.open(), "s"))) == list(map(_as_json, events))

    @pytest.mark.parametrize("way", ["delete", "delete_conversation", "erase", "edit", "redact"])
    @in_a_loop
    async def test_a_body_goes_with_the_last_event_that_has_it(self, stores: Stores, way: str) -> None:
        store = stores.open()
        for name in ("one", "two"):
            manager = SessionManager(name, store=store)
            await manager.user_says([_url(1), _url(2 if name == "one" else 3)])
        for name, others in (("one", ["two"]), ("two", [])):
            (event,) = await _events(store, name)
            if way == "redact":
                await SessionManager(name, store=store).redact(event.id)
            elif way == "edit":
                session = await read_session(store, name)
                session.events[0] = session.events[0].model_copy(update={"message": "edited"})
                await store.save(session)
            else:
                go = {"delete": store.delete, "delete_conversation": store.delete_conversation}
                await go.get(way, store.erase_conversation)(name)
            for other in others:
                assert picture(1) in _as_json((await _events(stores.open(), other))[0])
        count = await self.count_bodies(store)
        assert count in (None, 0)

    @in_a_loop
    async def test_a_body_is_kept_once(self, stores: Stores) -> None:
        store = stores.open()
        for name in ("one", "two"):
            manager = SessionManager(name, store=store, infinite_context=True, max_turns_per_segment=3)
            for _ in range(5):
                await manager.user_says([_url(1)])
            await manager.wait_for_summaries()
        assert await self.count_bodies(store) in (None, 1)
        await store.erase_conversation("one")
        assert await self.count_bodies(store) in (None, 1)
        rows = await SessionManager("two", store=stores.open()).get_conversation(include_all_segments=True)
        assert [row["content"] for row in rows] == [[_url(1)]] * 5

    @in_a_loop
    async def test_writers_erasers_and_readers_of_one_body_never_miss_it(self, stores: Stores) -> None:
        store = stores.open()

        async def write(name: str) -> None:
            opened = stores.open()
            for number in range(6):
                manager = SessionManager(f"{name} {number % 2}", store=opened)
                try:
                    await manager.user_says([_url(1), _url(number)])
                    for row in await manager.get_conversation():
                        assert row["content"][0] == _url(1)
                    if number % 3 == 2:
                        await stores.open().erase_conversation(f"{name} {number % 2}")
                except SessionNotFound:  # erased by the other writer of this name
                    continue

        await asyncio.gather(*(write(name) for name in ("a", "b", "a", "c")))
        for session_id in list(await store.list_sessions()):
            for event in await _events(stores.open(), session_id):
                assert event.message["content"][0] == _url(1)
            await store.erase_conversation(session_id)
        assert await self.count_bodies(store) in (None, 0)

    async def count_bodies(self, store: EventStore) -> int | None:  # noqa: ARG002  (of those that can)
        """How many bodies the store keeps in the sandbox; `None` where that cannot be told. Override it."""
        return None
