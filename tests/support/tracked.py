"""Model calls against the local server, and what was recorded of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.models import SessionEvent
from chuk_ai_session_manager.session_storage import get_backend

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


GPT = "gpt-4o-2024-08-06"


CLAUDE = "claude-sonnet-4-6"


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def events_of(sm: SessionManager) -> list[SessionEvent[Any]]:
    session = await get_backend().get(sm.session_id)
    assert session is not None
    return session.events


async def rows_of(sm: SessionManager) -> list[Any]:
    return [row["content"] for row in await sm.get_conversation()]
