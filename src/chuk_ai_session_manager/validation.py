"""What is refused before anything is written, and in which words.

Each check names the operation and the argument, never the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .exceptions import InvalidInput

MAX_ID_LENGTH = 255
# Deeper JSON than this no application means, and some parsers refuse it when it is read back.
MAX_JSON_DEPTH = 100


def check_session_id(session_id: object, operation: str = "use a session") -> str:
    """Refuse what cannot be a session's id, else give it back.

    An id goes into keys, listings and logs: 1 to 255 characters, all printable.

    Raises:
        InvalidInput: it is no such text.
    """
    if not isinstance(session_id, str) or not session_id:
        raise InvalidInput(operation, "a session id is a text that is not empty")
    if len(session_id) > MAX_ID_LENGTH:
        raise InvalidInput(
            operation, f"a session id has at most {MAX_ID_LENGTH} characters, not {len(session_id)}"
        )
    if not session_id.isprintable():
        raise InvalidInput(operation, "a session id holds no control or other unprintable characters")
    return session_id


def check_text(value: object, name: str, operation: str) -> None:
    """Refuse what is not text.

    Raises:
        InvalidInput: naming the type that came instead.
    """
    if not isinstance(value, str):
        raise InvalidInput(operation, f"{name} must be text (str), not {type(value).__name__}")


def check_name(value: object, name: str, operation: str) -> None:
    """Refuse what is not text, and empty text.

    Raises:
        InvalidInput: saying which of the two.
    """
    check_text(value, name, operation)
    if not value:
        raise InvalidInput(operation, f"{name} must not be empty")


def check_at_least(value: float | None, least: float, name: str, operation: str) -> None:
    """Refuse a number below `least`, or what is no number; `None` passes.

    Raises:
        InvalidInput: naming the bound.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise InvalidInput(operation, f"{name} must be a number, at least {least}")


def check_ttl_hours(value: float | None, operation: str) -> None:
    """Refuse a lifetime that is not above 0 hours; `None`, for ever, passes.

    Raises:
        InvalidInput: saying so.
    """
    if value is not None and not value > 0:
        raise InvalidInput(operation, "a lifetime in hours must be above 0, or None for ever")


def check_json_object(value: object, name: str, operation: str) -> None:
    """Refuse what JSON cannot hold as an object and give back equal.

    Raises:
        InvalidInput: naming the type that does not fit.
    """
    if value == {}:
        return
    if not isinstance(value, Mapping):
        raise InvalidInput(operation, f"{name} must be a dict, not {type(value).__name__}")
    misfit = json_misfit(value)
    if misfit:
        raise InvalidInput(operation, f"{name} must be JSON: {misfit}")


def json_misfit(value: Any, depth: int = 0) -> str | None:
    """Why JSON cannot hold a value and give it back equal, or `None` if it can."""
    if value is None or isinstance(value, str | bool | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"it holds {value}, which JSON has no number for"
    if depth >= MAX_JSON_DEPTH:
        return f"it is nested deeper than {MAX_JSON_DEPTH} levels"
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            return "its keys must be text"
        value = value.values()
    elif not isinstance(value, list | tuple):
        return f"it holds a {type(value).__name__}"
    return next((misfit for item in value if (misfit := json_misfit(item, depth + 1))), None)
