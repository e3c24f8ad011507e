"""Records of chuk-sessions, as its own programs see them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from servers import RedisServer


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def record_of(server: RedisServer, session_id: str) -> dict[str, Any] | None:
    text = server.command("GET", f"session:{session_id}")
    return None if text is None else json.loads(text)
