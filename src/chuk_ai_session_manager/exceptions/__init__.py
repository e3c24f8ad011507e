"""All errors that this library raises on purpose.

::

    SessionManagerError
    ├── SessionNotFound            (also ValueError, LookupError)
    ├── SessionAlreadyExists
    ├── InvalidSessionOperation
    │   └── InvalidInput           (also ValueError): refused before anything was written
    ├── TokenLimitExceeded
    ├── StorageError
    │   ├── EventConflict          the same event id, with other content
    │   └── UnreadableData         damaged, or written by a newer release
    └── ToolProcessingError

No error's text contains the content of a message, a tool's arguments, or a password.
"""

from __future__ import annotations

from typing import Any


class SessionManagerError(Exception):
    """The base class of all errors of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the text: it is not the argument that the subclasses are made from."""
        return _restored, (type(self), self.args, self.__dict__)


class SessionNotFound(SessionManagerError, ValueError, LookupError):
    """A successful read found no such session: it never existed, expired, or was deleted.

    An outage never raises this error, but a `StorageError`.
    """

    def __init__(self, session_id: str | None = None, message: str | None = None) -> None:
        self.session_id = session_id
        self.message = message
        super().__init__(_join("Session not found", session_id) if message is None else message)


def session_not_found(session_id: str) -> SessionNotFound:
    """The error of a read that found nothing, with the original's text, which applications match on."""
    return SessionNotFound(session_id, f"Session {session_id} not found")


class SessionAlreadyExists(SessionManagerError):
    """The id of a new session is taken; the stored session was not changed."""

    def __init__(self, session_id: str | None = None, message: str | None = None) -> None:
        self.session_id = session_id
        self.message = message
        super().__init__(_join("Session already exists", session_id) if message is None else message)


class InvalidSessionOperation(SessionManagerError):
    """The operation makes no sense for this session, or not at this time."""

    def __init__(
        self, operation: str | None = None, reason: str | None = None, message: str | None = None
    ) -> None:
        self.operation = operation
        self.reason = reason
        self.message = message
        super().__init__(self._default_text() if message is None else message)

    def _default_text(self) -> str:
        if self.operation and self.reason:
            return f"Invalid operation '{self.operation}': {self.reason}"
        return f"Invalid operation: {self.operation}" if self.operation else "Invalid session operation"


class InvalidInput(InvalidSessionOperation, ValueError):
    """An argument is invalid; nothing was written. `reason` says which argument, and why."""


class TokenLimitExceeded(SessionManagerError):
    """A limit in tokens, or for `cost_limit` and budgets in USD, is reached; the question was not written."""

    def __init__(
        self, limit: float | None = None, actual: float | None = None, message: str | None = None
    ) -> None:
        self.limit = limit
        self.actual = actual
        self.message = message
        known = limit is not None and actual is not None
        default = f"Token limit exceeded: {actual} > {limit}" if known else "Token limit exceeded"
        super().__init__(default if message is None else message)


class StorageError(SessionManagerError):
    """The store failed: it is unreachable, full, damaged or misconfigured, or refused the operation.

    The driver's own error is the `__cause__`.
    """


class EventConflict(StorageError):
    """An event with this id is stored already, with other content; the stored event was not changed."""


class UnreadableData(StorageError):
    """Stored data cannot be read: it is damaged, or a newer release wrote it. It was not changed.

    Trying again does not help.
    """


class ToolProcessingError(SessionManagerError):
    """A tool call could not be handled at all. A tool that merely fails gives a result with an error."""

    def __init__(
        self, tool_name: str | None = None, reason: str | None = None, message: str | None = None
    ) -> None:
        self.tool_name = tool_name
        self.reason = reason
        self.message = message
        super().__init__(self._default_text() if message is None else message)

    def _default_text(self) -> str:
        if not self.tool_name:
            return "Tool processing error"
        return _join(f"Tool '{self.tool_name}' processing error", self.reason)


def _join(text: str, detail: str | None) -> str:
    return f"{text}: {detail}" if detail else text


def _restored(
    kind: type[SessionManagerError], args: tuple[Any, ...], fields: dict[str, Any]
) -> SessionManagerError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
