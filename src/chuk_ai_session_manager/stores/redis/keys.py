"""The names of keys: for a session, a user's list, and a sandbox's index."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote


class Keys:
    """The keys of one sandbox.

    Sandbox and ids are percent-quoted: no id can end the part in braces, which decides on the Cluster's slot,
    and two ids never have the same key.
    """

    def __init__(self, sandbox_id: str, *, is_cluster: bool) -> None:
        self._sandbox = _quoted(sandbox_id)
        self._is_cluster = is_cluster
        self.index: str = f"casm:{{{self._sandbox}}}:index"
        """The index of all sessions of the sandbox, by the time of their newest message."""
        self.erasing: str = f"casm:{{{self._sandbox}}}:erasing"
        """Notes of erasures that are not complete."""
        self.bodies: str = f"casm:{{{self._sandbox}}}:bodies"
        """The key of the hashes of all bodies of the sandbox."""

    def of(self, session_id: str, kind: str = "") -> str:
        """The key of a session, or of a user's or a parent's list of sessions, as `kind` says."""
        return f"casm:{{{self._sandbox}:{kind}{_quoted(session_id)}}}"

    def with_index(self, key: str) -> list[str]:
        """A conversation's key, and the index if one script may write both, which a Cluster forbids."""
        return [key] if self._is_cluster else [key, self.index]


@lru_cache(maxsize=10_000)
def _quoted(text: str) -> str:
    return quote(text, safe="")
