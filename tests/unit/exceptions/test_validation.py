from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chuk_ai_session_manager.exceptions import InvalidInput
from chuk_ai_session_manager.exceptions.validation import check_json_object, check_session_id, json_misfit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "session_id",
    ["", "x" * 256, "a\nb", "a\x00b", "a\x7fb", "zero\u200bwidth", "\ud800", "tab\t", None, 7, b"bytes"],
)
def test_ids_that_are_refused(session_id: Any) -> None:
    with pytest.raises(InvalidInput, match="session id"):
        check_session_id(session_id)


@pytest.mark.parametrize(
    "session_id", ["a", "x" * 255, "user:42/{chat}*", "../up", "not-found", "会话", "a b"]
)
def test_ids_that_pass(session_id: str) -> None:
    assert check_session_id(session_id) == session_id


@given(JSON)
def test_json_is_json(value: Any) -> None:
    assert json_misfit(value) is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        ({1: "a"}, "keys"),
        ({"a": object()}, "object"),
        ([b"x"], "bytes"),
        ({"a", "b"}, "set"),
        ({"deep": [{"er": {1, 2}}]}, "set"),
    ],
)
def test_what_is_no_json_is_named_by_its_type(value: Any, says: str) -> None:
    assert says in (json_misfit(value) or "")


def test_nesting_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "nested" in (json_misfit(endless) or "")


def test_the_value_itself_is_not_in_the_error() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_json_object({"password": {"hunter2"}}, "metadata", "user_says")
    assert "hunter2" not in str(caught.value)
    assert "metadata must be JSON: it contains an object of type set" in str(caught.value)
