from __future__ import annotations

import copy
import pickle

import pytest

from chuk_ai_session_manager import exceptions
from chuk_ai_session_manager.exceptions import (
    InvalidInput,
    InvalidSessionOperation,
    SessionAlreadyExists,
    SessionManagerError,
    SessionNotFound,
    StorageError,
    TokenLimitExceeded,
    ToolProcessingError,
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SessionManagerError("boom"), "boom"),
        (SessionNotFound(), "Session not found"),
        (SessionNotFound("s1"), "Session not found: s1"),
        (SessionNotFound("s1", "gone"), "gone"),
        (SessionAlreadyExists(), "Session already exists"),
        (SessionAlreadyExists("s1"), "Session already exists: s1"),
        (SessionAlreadyExists(message="taken"), "taken"),
        (InvalidSessionOperation(), "Invalid session operation"),
        (InvalidSessionOperation("cut"), "Invalid operation: cut"),
        (InvalidSessionOperation("cut", "no knife"), "Invalid operation 'cut': no knife"),
        (InvalidSessionOperation("cut", "no knife", "no"), "no"),
        (TokenLimitExceeded(), "Token limit exceeded"),
        (TokenLimitExceeded(10), "Token limit exceeded"),
        (TokenLimitExceeded(10, 12), "Token limit exceeded: 12 > 10"),
        (TokenLimitExceeded(0, 1), "Token limit exceeded: 1 > 0"),
        (TokenLimitExceeded(10, 12, "full"), "full"),
        (StorageError("down"), "down"),
        (ToolProcessingError(), "Tool processing error"),
        (ToolProcessingError("calc"), "Tool 'calc' processing error"),
        (ToolProcessingError("calc", "overflow"), "Tool 'calc' processing error: overflow"),
        (ToolProcessingError("calc", "overflow", "no"), "no"),
    ],
)
def test_texts(error: SessionManagerError, text: str) -> None:
    assert str(error) == text
    assert "None" not in str(error)
    assert isinstance(error, SessionManagerError)


def test_what_was_given_is_kept() -> None:
    assert TokenLimitExceeded(limit=10, actual=12).actual == 12
    assert SessionNotFound(session_id="s1").session_id == "s1"
    assert InvalidSessionOperation(operation="cut", reason="no knife").reason == "no knife"
    assert ToolProcessingError(tool_name="calc").tool_name == "calc"


def test_the_original_s_callers_still_catch_them() -> None:
    assert issubclass(SessionNotFound, ValueError)
    assert issubclass(SessionNotFound, LookupError)
    assert issubclass(InvalidInput, ValueError)
    assert str(exceptions.session_not_found("s1")) == "Session s1 not found"


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301
def test_exceptions_cross_process_borders(copied: object) -> None:
    error = copied(TokenLimitExceeded(10, 12))  # type: ignore[operator]
    assert (type(error), error.limit, error.actual, str(error)) == (
        TokenLimitExceeded,
        10,
        12,
        "Token limit exceeded: 12 > 10",
    )
