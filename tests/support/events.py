"""An event."""

from __future__ import annotations

from typing import Any

from chuk_ai_session_manager.models import SessionEvent


def event(message: Any = "hi", **fields: Any) -> SessionEvent[Any]:
    return SessionEvent(message=message, **fields)
