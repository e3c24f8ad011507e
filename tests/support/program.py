"""The command line as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from places import Place
from running import PATIENCE

from chuk_ai_session_manager import SessionManager

PROGRAM = [sys.executable, "-W", "error", "-m", "chuk_ai_session_manager"]
# Not what the developer's own shell is set up for.
ENVIRONMENT = {
    key: value
    for key, value in os.environ.items()
    if key not in {"FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES"}
    and not key.startswith(("SESSION_", "REDIS_"))
} | {"PYTHONUTF8": "1", "TERM": "xterm-256color"}


def at(place: Place) -> list[str]:
    return ["--store", place.url, "--sandbox", place.sandbox]


def program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=ENVIRONMENT | options.pop("env", {}),
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )


async def answer(place: Place, session_id: str, response: Any, **settings: Any) -> None:
    async with place.store() as store:
        await SessionManager(session_id, store=store, **settings).ai_responds(response)


async def say(place: Place, session_id: str, texts: list[str], **settings: Any) -> None:
    async with place.store() as store:
        sm = SessionManager(session_id, store=store, **settings)
        for text in texts:
            await sm.user_says(text)
        await sm.wait_for_summaries()
