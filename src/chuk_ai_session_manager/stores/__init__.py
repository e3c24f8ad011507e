"""Where sessions live."""

from __future__ import annotations

import re

from ..exceptions import StorageError
from .base import EventStore, SessionStore, WholeSessionStore, store_of_sessions
from .memory import DEFAULT_TTL_HOURS, MemoryStore

__all__ = [
    "DEFAULT_TTL_HOURS",
    "PROVIDERS",
    "EventStore",
    "MemoryStore",
    "SessionStore",
    "WholeSessionStore",
    "open_store",
    "store_of_sessions",
    "without_password",
]

PROVIDERS = {"memory": MemoryStore}
"""The store of each provider's name, which is also its URL's scheme."""


def open_store(url: str, *, ttl_hours: float | None = DEFAULT_TTL_HOURS) -> EventStore:
    """Open the store that a URL names: `memory://`. A store connects when it is first used.

    Raises:
        StorageError: no provider has that scheme; the text lists those that there are.
    """
    scheme = url.partition("://")[0]
    provider = PROVIDERS.get(scheme)
    if provider is None:
        raise StorageError(f"Unknown session provider {scheme!r}: known are {', '.join(sorted(PROVIDERS))}")
    return provider(ttl_hours=ttl_hours)


def without_password(url: str) -> str:
    """A URL as logs and listings may show it: scheme, hosts and database, or, in doubt, nothing."""
    found = re.fullmatch(r"(\w+)://(.*@)?([\w.:\[\],-]+(?:/\d*)?)(\?[^@]*)?", url)
    if found is None or "://" in (found[2] or "") or "?" in (found[2] or ""):
        return "***"
    return f"{found[1]}://{'***@' if found[2] else ''}{found[3]}"
