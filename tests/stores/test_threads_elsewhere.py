"""Threads on the default store, on an application's own stores, and in a web application."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import InMemory, Place
from running import PATIENCE
from threads import EACH, alone, at_once, check_texts, read_elsewhere, texts_in

from chuk_ai_session_manager import Session, SessionManager, configure_storage, track_conversation
from chuk_ai_session_manager.session_storage import get_backend


class TestDefaultStore:
    @pytest.mark.parametrize("provider", ["memory", "sqlite"])
    def test_threads_that_come_first_at_once_get_one_store(
        self, provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SESSION_PROVIDER", provider)
        monkeypatch.setenv("SESSION_SQLITE_PATH", str(tmp_path / "default.db"))
        found: list[Any] = []

        async def write(thread: int) -> None:
            found.append(get_backend().store)
            await track_conversation(f"{thread}/0", "fine", session_id="first")

        for _ in range(10):
            monkeypatch.setattr("chuk_ai_session_manager.session_storage._backend", None)
            found.clear()
            at_once(write)
            assert all(store is found[0] for store in found)
            alone(get_backend().close())

    def test_managers_without_a_store_share_it(self) -> None:
        configure_storage("threads")
        manager = SessionManager()

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(manager)))


class Serialising:
    """A store of an application's own, with `get` and `save` alone."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    async def get(self, session_id: str) -> Session[Any] | None:
        row = self.rows.get(session_id)
        await asyncio.sleep(0)
        return None if row is None else Session.model_validate_json(row)

    async def save(self, session: Session[Any]) -> None:
        row = session.model_dump_json()
        await asyncio.sleep(0)
        self.rows[session.id] = row


class Live:
    """The same, which keeps the objects themselves."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session[Any]] = {}

    async def get(self, session_id: str) -> Session[Any] | None:
        return self.sessions.get(session_id)

    async def save(self, session: Session[Any]) -> None:
        await asyncio.sleep(0)
        self.sessions[session.id] = session


class Forgetful(Live):
    """A stand-in that finds nothing."""

    async def get(self, session_id: str) -> Session[Any] | None:
        return None


@pytest.mark.parametrize("kind", [Serialising, Live])
@pytest.mark.parametrize("options", [{}, {"infinite_context": True, "max_turns_per_segment": 5}], ids=str)
class TestStoresOfWholeSessions:
    def test_one_manager(self, kind: type[Any], options: dict[str, Any]) -> None:
        store = kind()
        manager = SessionManager("shared", store=store, **options)

        async def write(thread: int) -> None:
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(SessionManager("shared", store=store, **options))))

    def test_a_manager_for_each_thread(self, kind: type[Any], options: dict[str, Any]) -> None:
        store = kind()

        async def write(thread: int) -> None:
            manager = SessionManager("shared", store=store, **options)
            for number in range(EACH):
                await manager.user_says(f"{thread}/{number}")

        at_once(write)
        check_texts(alone(texts_in(SessionManager("shared", store=store, **options))))


def test_a_stand_in_that_finds_nothing_serves_all_threads() -> None:
    manager = SessionManager("shared", store=Forgetful())

    async def write(thread: int) -> None:
        for number in range(EACH):
            await manager.user_says(f"{thread}/{number}")

    at_once(write)
    assert manager.session_id == "shared"


WEB_APPLICATION = """
import asyncio, json, sys
from concurrent.futures import ThreadPoolExecutor
from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.stores import open_store

manager = SessionManager("of the module", store=open_store(sys.argv[1], sandbox_id=sys.argv[2]))

async def answered(question):
    await manager.user_says(question)
    context = await manager.get_messages_for_llm()
    usage = {"prompt_tokens": 9, "completion_tokens": 3}
    await manager.ai_responds(f"to {question}", model="gpt-4o", usage=usage)
    return len(context)

def request(question):
    return asyncio.run(answered(question))

async def killed():
    writing = asyncio.create_task(manager.user_says("cut off"))
    await asyncio.sleep(0)
    raise SystemExit(writing.done())

def cut_off(_):
    try:
        asyncio.run(killed())
    except SystemExit:
        pass

with ThreadPoolExecutor(4) as pool:
    if sys.argv[3] == "cut off before":
        list(pool.map(cut_off, range(8)))
    questions = [f"question {number}" for number in range(40)]
    lengths = list(pool.map(request, questions))
rows = asyncio.run(manager.get_conversation())
print(json.dumps([row["content"] for row in rows if row["content"] != "cut off"]))
"""


@pytest.mark.parametrize("place", ["memory", "sqlite", "redis"], indirect=True)
@pytest.mark.parametrize("before", ["nothing before", "cut off before"])
def test_a_web_application_with_a_manager_of_the_module(place: Place, before: str) -> None:
    """A pool of threads, an event loop for each request: what Flask does with async views."""
    words = [sys.executable, "-c", WEB_APPLICATION, place.url, place.sandbox, before]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    texts = json.loads(done.stdout)
    questions = {f"question {number}" for number in range(40)}
    assert sorted(texts) == sorted([*questions, *(f"to {question}" for question in questions)])
    for question in questions:
        assert texts.index(question) < texts.index(f"to {question}")
    if not isinstance(place, InMemory):
        stored = read_elsewhere(place, "of the module")
        assert [text for text in stored if text != "cut off"] == texts
