"""Checks of arguments, which raise `InvalidInput` before anything is written.

Each error names the operation and the argument, never the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from . import InvalidInput

MAX_ID_LENGTH = 255
# No application means deeper JSON, and some parsers refuse it when it is read back.
MAX_JSON_DEPTH = 100
# Characters in one event, or in one field of a session: many times what the largest models read at once. As
# JSON (mostly up to 4 bytes each), this is still below the stores' limits: Redis 512 MB, SQLite 1 GB a text.
MAX_LENGTH = 50_000_000
# Python itself refuses to read numbers of more than 4,300 digits.
MAX_INTEGER_BITS = 13_000
# A hundred years: every store and clock can count that.
MAX_HOURS = 876_000


def check_session_id(session_id: object, operation: str = "use a session") -> str:
    """Return the session id, or raise if it cannot be one.

    An id is used in keys, listings and logs: it has 1 to 255 characters, all printable.

    Raises:
        InvalidInput: the id is not such a text.
    """
    return _checked_id(session_id, "a session id", operation)


def check_event_id(event_id: object, operation: str) -> str:
    """Return an event id of the application, or raise if it cannot be one. It has the form of a session id.

    Raises:
        InvalidInput: the id is not such a text.
    """
    return _checked_id(event_id, "an event id", operation)


def _checked_id(value: object, name: str, operation: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput(operation, f"{name} must be a text that is not empty")
    if len(value) > MAX_ID_LENGTH:
        raise InvalidInput(operation, f"{name} has at most {MAX_ID_LENGTH} characters, not {len(value)}")
    if not value.isprintable():
        raise InvalidInput(operation, f"{name} must not contain control or other unprintable characters")
    return value


def check_moment(value: object, name: str, operation: str) -> datetime:
    """Return a time in UTC, or raise if the value is not a time with a zone.

    Raises:
        InvalidInput: the value is not a `datetime`, or has no time zone.
    """
    if not isinstance(value, datetime):
        raise InvalidInput(operation, f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidInput(
            operation, f"{name} must have a time zone, such as datetime(2026, 1, 31, tzinfo=UTC)"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(operation, f"{name} is outside of the years that UTC can have") from None


def check_text(value: object, name: str, operation: str) -> None:
    """Raise if a value is not a text, or contains half of a surrogate pair, which no store can keep.

    Raises:
        InvalidInput: naming the value's type; or the text has more than 50 million characters.
    """
    if not isinstance(value, str):
        raise InvalidInput(operation, f"{name} must be text (str), not {type(value).__name__}")
    if len(value) > MAX_LENGTH:
        raise _too_long(name, operation, len(value))
    if not _is_whole(value):
        raise InvalidInput(operation, f"{name} {_HALF_A_PAIR}")


def check_length(name: str, operation: str, *values: Any) -> None:
    """Raise if the texts in the values have more than `MAX_LENGTH` characters together.

    Raises:
        InvalidInput: naming both lengths.
    """
    length = total_length(*values)
    if length > MAX_LENGTH:
        raise _too_long(name, operation, length)


def total_length(*values: Any) -> int:
    """The number of characters in all texts of JSON values."""
    return sum(map(_length, values))


def _too_long(name: str, operation: str, length: int) -> InvalidInput:
    return InvalidInput(operation, f"{name} may have {MAX_LENGTH:,} characters, not {length:,}")


def _length(value: Any) -> int:
    """The characters of a value's texts. Other values count as one, or as many as their text may have."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_length, value)) + sum(map(_length, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_length, value)) + len(value)
    return value.bit_length() // 3 if isinstance(value, int) else 1


def check_name(value: object, name: str, operation: str) -> None:
    """Raise if a value is not a text, or is empty.

    Raises:
        InvalidInput: saying which of the two.
    """
    check_text(value, name, operation)
    if not value:
        raise InvalidInput(operation, f"{name} must not be empty")


def check_at_least(value: float, least: float, name: str, operation: str) -> None:
    """Raise if a value is not a number, or is below `least`.

    Raises:
        InvalidInput: naming the bound.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise InvalidInput(operation, f"{name} must be a number, at least {least}")


def check_flag(value: object, name: str, operation: str) -> None:
    """Raise if a value is not `True` or `False`: a text such as "no" would count as true.

    Raises:
        InvalidInput: naming the argument.
    """
    if not isinstance(value, bool):
        raise InvalidInput(operation, f"{name} must be True or False")


def check_count(value: int, least: int, name: str, operation: str) -> None:
    """Raise if a value is not a whole number, or is below `least`.

    Raises:
        InvalidInput: naming the bound.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInput(operation, f"{name} must be a whole number, at least {least}")


def check_hours(value: float, name: str, operation: str) -> None:
    """Raise if hours are below 0 or above a hundred years.

    Raises:
        InvalidInput: naming the bound.
    """
    check_at_least(value, 0, name, operation)
    if value > MAX_HOURS:
        raise InvalidInput(operation, f"{name} must be at most {MAX_HOURS} (a hundred years)")


def check_ttl_hours(value: float | None, operation: str) -> None:
    """Raise if a lifetime is not above 0 hours; `None` means for ever and is valid.

    Raises:
        InvalidInput: naming the rule.
    """
    if value is None:
        return
    check_hours(value, "a lifetime in hours", operation)
    if value == 0:
        raise InvalidInput(operation, "a lifetime in hours must be above 0, or None for ever")


def check_answer(response: object, model: object, provider: object, operation: str) -> None:
    """Raise if an answer is not a text, or its model or provider has no name.

    Raises:
        InvalidInput: saying which.
    """
    if not (_is_plain(response) and _is_plain(model) and model and _is_plain(provider)):
        check_text(response, "response", operation)
        check_name(model, "model", operation)
        check_text(provider, "provider", operation)


def check_json_object(value: object, name: str, operation: str) -> dict[str, Any]:
    """Return a copy of a JSON object, or raise if the value is not one.

    Raises:
        InvalidInput: naming the type that does not fit.
    """
    if type(value) is dict and not value:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(operation, f"{name} must be a dict, not {type(value).__name__}")
    misfit = json_misfit(value)
    if misfit:
        raise InvalidInput(operation, f"{name} must be JSON: {misfit}")
    check_length(name, operation, value)
    return {key: copied(item) for key, item in value.items()}


def copied(value: Any) -> Any:
    """A copy of a JSON value, so that changes of the application's object do not change the stored one."""
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list | tuple) else value


def json_misfit(value: Any, depth: int = 0) -> str | None:
    """Why a value cannot be JSON; `None` if it can. A tuple becomes a list."""
    if isinstance(value, str):
        return None if _is_whole(value) else f"a text in it {_HALF_A_PAIR}"
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if value.bit_length() <= MAX_INTEGER_BITS else "it contains a number with too many digits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"it contains {value}, for which JSON has no number"
    return _container_misfit(value, depth)


def _container_misfit(value: Any, depth: int) -> str | None:
    if depth >= MAX_JSON_DEPTH:
        return f"it is nested deeper than {MAX_JSON_DEPTH} levels"
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                return "its keys must be text"
        value = [*value, *value.values()]
    elif not isinstance(value, list | tuple):
        return f"it contains an object of type {type(value).__name__}"
    for item in value:
        if type(item) is str and item.isascii():  # as most are: this saves a call for each
            continue
        misfit = json_misfit(item, depth + 1)
        if misfit:
            return misfit
    return None


_HALF_A_PAIR = "contains half of a surrogate pair: it is not valid Unicode"


def _is_plain(value: object) -> bool:
    """Whether a value surely passes `check_text`, as most texts do; this takes less time."""
    return type(value) is str and value.isascii() and len(value) <= MAX_LENGTH


def _is_whole(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_callable(value: object, name: str, operation: str) -> None:
    """Check that a value can be called.

    Raises:
        InvalidInput: it cannot.
    """
    if not callable(value):
        raise InvalidInput(operation, f"{name} must be a function, not {type(value).__name__}")
