"""What the default store holds."""

from __future__ import annotations

from typing import Any

from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.session_storage import get_backend


async def stored(session_id: str) -> Session[Any]:
    session = await get_backend().get(session_id)
    assert session is not None
    return session
