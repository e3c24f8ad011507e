"""What the Redis client raises: what may pass, and how the rest is told."""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ...exceptions import StorageError, UnreadableData

# Answers of a server that starts, fails over, moves slots or runs a long script: soon it will do better.
_PASSING = {
    "LOADING",
    "READONLY",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "MOVED",
    "ASK",
    "NOREPLICAS",
    "BUSY",
}
# An error's code is its first word; of what a script met with, Redis 6 tells it in mid-text, after a hyphen.
_CODE = re.compile(r"(?:^|[ -])([A-Z]+)\b")
_PASSING_ERRORS = (
    NoScriptError,
    ReadOnlyError,
    TryAgainError,
    MasterDownError,
    ClusterDownError,
    RedisConnectionError,
    RedisTimeoutError,
    RedisClusterException,
    OSError,
    asyncio.IncompleteReadError,
)


def may_pass(answer: Any) -> bool:
    """Whether sending the same again may be answered otherwise."""
    if not isinstance(answer, BaseException) or _is_distrust(answer):
        return False
    if isinstance(answer, AuthenticationError | NoPermissionError):
        return False
    if isinstance(answer, _PASSING_ERRORS):
        return True
    if isinstance(answer, ResponseError):
        return not _PASSING.isdisjoint(_CODE.findall(str(answer)))
    if isinstance(answer, AttributeError):  # the driver's, of a connection closed while another task made it
        return "'NoneType'" in str(answer)
    return False


def is_read_only(answer: BaseException) -> bool:
    """Whether it was a replica that answered: its master is another one by now."""
    return isinstance(answer, ReadOnlyError) or "READONLY" in _CODE.findall(str(answer))


def _is_distrust(answer: BaseException) -> bool:
    """Whether the server's certificate was refused, which the driver takes for a lost connection."""
    problem: BaseException | None = answer
    while problem is not None and not isinstance(problem, ssl.SSLCertVerificationError):
        problem = problem.__cause__ or problem.__context__
    return problem is not None


def explained(problem: BaseException) -> StorageError:  # noqa: PLR0911  (one for each fault)
    """A driver's error as ours, saying what to do; never with a password or what was to be stored."""
    text = str(problem)
    if (
        isinstance(problem, AuthenticationError | NoPermissionError)
        or "NOAUTH" in text
        or "WRONGPASS" in text
    ):
        return StorageError("Redis refused the user or the password: check the URL's credentials")
    if _is_distrust(problem):
        return StorageError(
            "Redis shows a certificate that is not trusted, or is another server's: name its authority in "
            "the URL (ssl_ca_certs=), and the host as the certificate does"
        )
    if isinstance(problem, OutOfMemoryError) or "OOM" in text:
        return StorageError("Redis is full (maxmemory): nothing was stored; free memory or raise the limit")
    if "WRONGTYPE" in text:
        return UnreadableData(
            "Redis holds something else under the session's key (wrong type); it was left as it is"
        )
    if isinstance(problem, ResponseError) and not may_pass(problem):
        return StorageError(f"Redis refused a command: {text.partition(':')[0][:200]}")
    if not may_pass(problem):
        return StorageError(f"The Redis client failed ({type(problem).__name__}); the cause says how")
    return StorageError(
        "Redis did not answer within the deadline. What was being stored may have been stored or not: "
        f"doing it again does it once ({type(problem).__name__})"
    )
