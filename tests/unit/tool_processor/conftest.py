"""A session, and a processor that runs tools in it."""

from __future__ import annotations

from typing import Any

import pytest
from tools import Stage

from chuk_ai_session_manager.models import Session
from chuk_ai_session_manager.session_aware_tool_processor import SessionAwareToolProcessor
from chuk_ai_session_manager.stores import MemoryStore


@pytest.fixture(autouse=True)
def _stage() -> None:
    Stage.clear()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def session(store: MemoryStore) -> Session[Any]:
    return await Session.create("s", store=store)


@pytest.fixture
def processor(store: MemoryStore, session: Session[Any]) -> SessionAwareToolProcessor:
    return SessionAwareToolProcessor("s", store=store, retry_delay=0)
