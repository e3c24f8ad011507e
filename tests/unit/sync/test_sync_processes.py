"""The blocking API in scripts, in programs that are interrupted, and in forked processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import PATIENCE

from chuk_ai_session_manager import sync
from chuk_ai_session_manager.sync import SessionManager


def in_python(code: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    settings = {"SESSION_PROVIDER": "sqlite", "SESSION_SQLITE_PATH": str(folder / "chats.db")}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | settings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stored_in(folder: Path, session_id: str) -> list[Any]:
    with sync.open_store(f"sqlite:///{folder / 'chats.db'}") as store:
        session = store.get(session_id)
        assert session is not None
        return [event.message for event in session.events]


class TestProcesses:
    def test_a_script_ends_by_itself_and_nothing_is_lost(self, tmp_path: Path) -> None:
        code = """
from chuk_ai_session_manager.sync import SessionManager, stream_llm_call
sm = SessionManager("a")
sm.user_says("one")
stream = stream_llm_call("two", lambda question: iter("abc"), session_manager=sm)
print(next(iter(stream)))
"""
        script = in_python(code, tmp_path)
        assert script.communicate(timeout=PATIENCE) == ("a\n", "")
        assert script.returncode == 0
        assert stored_in(tmp_path, "a")[:2] == ["one", "two"]
        assert [path.name for path in tmp_path.iterdir()] == ["chats.db"]  # checkpointed

    def test_an_interrupted_call_is_cancelled_and_recorded(self, tmp_path: Path) -> None:
        code = """
import asyncio, signal, time
from chuk_ai_session_manager.sync import SessionManager, track_llm_call

async def slow(question):
    print("asked", flush=True)
    await asyncio.sleep(600)

sm = SessionManager("a")
try:
    track_llm_call("one", slow, session_manager=sm)
except KeyboardInterrupt:
    sm.user_says("two")
    print("interrupted", flush=True)
    raise
"""
        script = in_python(code, tmp_path)
        assert script.stdout is not None
        assert script.stdout.readline() == "asked\n"
        script.send_signal(signal.SIGINT)
        out, err = script.communicate(timeout=PATIENCE)
        assert out == "interrupted\n"
        assert "KeyboardInterrupt" in err.splitlines()[-1]
        assert script.returncode == -signal.SIGINT
        assert stored_in(tmp_path, "a") == ["one", {"error": "CancelledError"}, "two"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    @pytest.mark.parametrize("provider", ["sqlite", "redis"])
    def test_a_forked_child_has_a_loop_of_its_own(
        self, provider: str, tmp_path: Path, request: pytest.FixtureRequest
    ) -> None:
        code = """
import multiprocessing, os
from chuk_ai_session_manager.sync import SessionManager
sm = SessionManager("a")
sm.user_says("parent")

def work(name):
    sm.user_says(name)
    SessionManager("a").user_says(name)
    assert len(sm.get_conversation()) >= 3

children = [multiprocessing.get_context("fork").Process(target=work, args=(str(n),)) for n in range(3)]
for child in children:
    child.start()
sm.user_says("parent")
for child in children:
    child.join()
pid = os.fork()
if pid == 0:
    work("3")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(sorted(row["content"] for row in sm.get_conversation()), [child.exitcode for child in children])
"""
        url = request.getfixturevalue("redis_server").url if provider == "redis" else ""
        script = in_python(
            code, tmp_path, SESSION_PROVIDER=provider, SESSION_REDIS_URL=url, CHUK_SANDBOX_ID=tmp_path.name
        )
        out, err = script.communicate(timeout=PATIENCE)
        names = sorted([*"00112233", "parent", "parent"])
        assert (out, err) == (f"{names} [0, 0, 0]\n", "")

    def test_a_spawned_child_can_be_handed_ids(self, tmp_path: Path) -> None:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            ids = pool.map(_told, [str(tmp_path / "chats.db")] * 2)
        assert all(stored_in(tmp_path, session_id) == ["one"] for session_id in ids)


def _told(path: str) -> str:
    with sync.open_store(f"sqlite:///{path}") as store:
        return SessionManager(store=store).user_says("one")
