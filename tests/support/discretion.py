"""What must not be seen: what was said, what tools got and gave, and passwords; and how to look for it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from running import in_time

from chuk_ai_session_manager import SessionNotFound, StorageError
from chuk_ai_session_manager.exceptions import UnreadableData

# It has to be percent-encoded in a URL. No text may show as much as its middle.
PASSWORD = "p@:s3cr3t/%?#&+"
# What was said to the model, which no text may show either.
CANARY = "canary: my doctor says"
SECRETS = ("s3cr3t", "canary", "doctor")


def shows_no_secret(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


def check_error(problem: BaseException | None) -> None:
    """No text of an error, nor of those that it came of, shows a secret."""
    assert problem is not None
    told = "".join(traceback.format_exception(problem))
    assert shows_no_secret(told.replace("test_canary.py", "")), told
    chain: list[BaseException] = []
    while problem is not None:
        assert problem not in chain  # or who walks along it never ends
        assert shows_no_secret(f"{problem} {problem!r}"), f"{problem} {problem!r}"
        chain.append(problem)
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)


@contextmanager
def refused(*words: str) -> Iterator[None]:
    """The block ends, in good time, in a `StorageError` whose text has these words and no secret."""
    with pytest.raises(StorageError) as caught:
        yield
    assert not isinstance(caught.value, SessionNotFound)
    is_unreadable = bool({"damaged", "wrong type"} & set(words))
    assert not is_unreadable or isinstance(caught.value, UnreadableData)
    for word in words:
        assert word in str(caught.value)
    check_error(caught.value)


async def each_refused(words: Sequence[str], *uses: Callable[[], Awaitable[object]]) -> None:
    """Each of these ends so."""
    for use in uses:
        with refused(*words):
            await in_time(use())


@pytest.fixture(autouse=True)
def logs_without_secrets(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test logs what was said, a password, or an error that nobody looked at."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.get_records("call"):
        if record.name.startswith("chuk_tool_processor"):
            continue  # which logs what tools say of their failures; an application sets its level
        text = logging.Formatter().format(record)
        assert shows_no_secret(text.replace("test_canary.py", "")), text
        assert "never retrieved" not in text
