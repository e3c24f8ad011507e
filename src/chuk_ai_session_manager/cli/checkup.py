"""Checks of a store and of the installed packages. No message is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..api.installed import get_version
from ..exceptions import StorageError
from ..stores import EventStore
from ..stores.durability import DurabilityReport
from ..stores.stored_data import SCHEMA
from .listing import all_ids

_PACKAGES = (
    "pydantic",
    "genai-prices",
    "chuk-sessions",
    "chuk-tool-processor",
    "redis",
    "splintr-rs",
    "tiktoken",
    "toktok-rs",
    "typer",
    "rich",
    "jinja2",
)


@dataclass
class Checkup:
    """The results of a check."""

    durability: DurabilityReport
    server_version: str | None
    sessions: int = 0
    events: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    """The problems, by the session's id."""
    schema: int = SCHEMA
    release: str = field(default_factory=get_version)
    packages: dict[str, str | None] = field(default_factory=lambda: installed(_PACKAGES))
    """The versions of packages; `None` for a package that is not installed."""

    def as_json(self) -> dict[str, Any]:
        """Return the results by name."""
        return asdict(self)


async def check_up(store: EventStore) -> Checkup:
    """Check a store's settings, and read every session in it.

    Raises:
        StorageError: the store failed. (A session that cannot be read is a result, not an error.)
    """
    found = Checkup(await store.durability_report(), await store.server_version())
    async for session_id in all_ids(store):
        await _check_session(session_id, store, found)
    return found


async def _check_session(session_id: str, store: EventStore, found: Checkup) -> None:
    try:
        session = await store.get(session_id)
    except StorageError as problem:
        await store.durability_report()  # raises if the store failed, not only this session
        found.sessions += 1
        found.damaged[session_id] = str(problem)
        return
    if session is not None:  # otherwise, it expired meanwhile
        found.sessions += 1
        found.events += len(session.events)


def installed(packages: Sequence[str]) -> dict[str, str | None]:
    """The versions of packages; `None` for a package that is not installed."""
    return {name: _version_of(name) for name in packages}


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
