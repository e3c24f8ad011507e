"""Errors of the Redis client: which are temporary, and how the others are explained."""

from __future__ import annotations

import re
import ssl
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
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

# Answers of a server that starts, fails over, moves slots or runs a long script: these are temporary.
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
# An error's code is its first word. For an error within a script, Redis 6 has the code in mid-text, after a
# hyphen.
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
    InvalidResponse,  # the reply was cut off, or came from a proxy
    OSError,
    EOFError,
)
# RuntimeErrors of event loops and streams that mean a lost connection. Python's streams: "read() called
# while another coroutine is already waiting", after a read that was cut off. uvloop: "the handler is closed".
_LOST = re.compile(r"already waiting for incoming data|closing transport|handler is closed|closed=True")
# Answers of a server that cannot know what exists: a replica, or a master that was demoted.
_NO_MASTER = {"READONLY", "MASTERDOWN"}


def may_pass(answer: Any) -> bool:
    """Whether sending the same again may have another outcome."""
    if not isinstance(answer, BaseException) or _is_distrust(answer):
        return False
    if isinstance(answer, AuthenticationError | NoPermissionError):
        return False
    if isinstance(answer, _PASSING_ERRORS):
        return True
    if isinstance(answer, ResponseError):
        return not _PASSING.isdisjoint(_codes(answer))
    return _is_lost(answer)


def _is_lost(problem: BaseException) -> bool:
    """Whether the connection was lost, although the error does not say so.

    asyncio and the driver set parts of a connection to `None` when it closes. A task that is about to write
    then gets "'NoneType' object is not callable" or "'NoneType' object has no attribute 'writelines'".
    """
    if isinstance(problem, TypeError | AttributeError):
        return "'NoneType'" in str(problem)
    return isinstance(problem, RuntimeError) and bool(_LOST.search(str(problem)))


def is_no_master(answer: BaseException) -> bool:
    """Whether a replica or a demoted master answered: the master is another server now."""
    known = isinstance(answer, ReadOnlyError | MasterDownError)
    return known or not _NO_MASTER.isdisjoint(_codes(answer))


def _codes(answer: BaseException) -> list[str]:
    return _CODE.findall(str(answer)) if isinstance(answer, ResponseError) else []


def is_refused_login(answer: Any) -> bool:
    """Whether the server refused user and password, which a credential provider may have renewed by now."""
    return isinstance(answer, AuthenticationError) or (
        isinstance(answer, ResponseError) and not {"NOAUTH", "WRONGPASS"}.isdisjoint(_codes(answer))
    )


def _is_distrust(answer: BaseException) -> bool:
    """Whether the server's certificate was refused, which the driver reports as a lost connection."""
    problem: BaseException | None = answer
    while problem is not None and not isinstance(problem, ssl.SSLCertVerificationError):
        problem = problem.__cause__ or problem.__context__
    return problem is not None


def as_cause(answer: BaseException) -> BaseException:
    """A driver's error as the cause of ours, without arguments that a server repeated."""
    text, repeats, _ = str(answer).partition(", with args beginning with")
    if repeats:
        answer.args = (text,)
    return answer


# How servers refuse a command that a user may not run; the last two are from scripts, in Redis 7.0 and Valkey
# 9.
_NOT_ALLOWED = ("NOPERM", "The user executing the script", "ACL failure in script")


def explained(problem: BaseException) -> StorageError:  # noqa: PLR0911  (one for each fault)
    """A driver's error as one of ours, saying what to do, without passwords and data."""
    text = str(problem)
    if isinstance(problem, NoPermissionError) or any(words in text for words in _NOT_ALLOWED):
        return StorageError(
            "Redis refused the user: they may not run a command, or use a key, that the store needs. The "
            "documentation (Where sessions live) lists commands and keys"
        )
    if isinstance(problem, AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        return StorageError(
            "Redis refused the user or the password: check the credentials in the URL, or of "
            "the credential provider"
        )
    if _is_distrust(problem):
        return StorageError(
            "Redis shows a certificate that is not trusted, or belongs to another server: name its authority "
            "in the URL (ssl_ca_certs=), and the host as the certificate does"
        )
    if isinstance(problem, OutOfMemoryError) or "OOM" in text:
        return StorageError("Redis is full (maxmemory): nothing was stored; free memory or raise the limit")
    if "WRONGTYPE" in text:
        return UnreadableData(
            "Redis has data of another type under the session's key (wrong type); it was not changed"
        )
    if "MISCONF" in _codes(problem):
        return StorageError(
            "Redis accepts no writes, because it cannot save its data to disk (MISCONF): nothing was stored. "
            "The server's log says why"
        )
    if isinstance(problem, ResponseError) and not may_pass(problem):
        return StorageError(f"Redis refused a command: {text.partition(':')[0][:200]}")
    if not may_pass(problem):
        return StorageError(f"The Redis client failed ({type(problem).__name__}); the cause says how")
    return StorageError(
        f"{_why_not(problem)}. The data may have been stored or not: "
        f"trying again stores it only once ({type(problem).__name__})"
    )


def _why_not(problem: BaseException) -> str:
    """Why there was no answer before the deadline."""
    if is_no_master(problem):
        return (
            "The Redis server is not a master: it is a replica, or was demoted. It accepts no writes, and "
            "cannot know which sessions exist. Name the master in the URL, or the sentinels"
        )
    if isinstance(problem, BusyLoadingError) or "LOADING" in _codes(problem):
        return "The Redis server was still loading its data at the deadline"
    if "NOREPLICAS" in _codes(problem):
        return (
            "The Redis server accepts no writes, because too few replicas follow it (min-replicas-to-write), "
            "and so cannot know which sessions exist"
        )
    return "Redis did not answer within the deadline"
