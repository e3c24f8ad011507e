"""Ids of tool calls: what an API would refuse is renamed, in a call and its result alike."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from zlib import crc32

from .context_rows import ORIGIN
from .messages import ChatMessage, calls_of

_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def cleaned(call_id: str) -> str:
    """An id of letters, digits, `_` and `-` only; no two become one."""
    clean = _NOT_IN_AN_ID.sub("_", call_id)
    return clean if clean == call_id and clean else f"{clean}_{crc32(call_id.encode()):08x}"


def shortened(call_id: str, longest: int) -> str:
    """An id of at most so many characters; no two become one."""
    mark = f"_{sha256(call_id.encode()).hexdigest()[:16]}"
    return call_id if len(call_id) <= longest else call_id[: longest - len(mark)] + mark


@dataclass(frozen=True, slots=True)
class IdRule:
    """What ids an API takes."""

    made: Callable[[str], str]
    """Gives an id that the API takes; one that it takes already is given back as it is."""
    once_a_request: bool = True
    """Whether an id may stand for one call only in a request, or for one in each message."""


def with_ids(rows: Sequence[ChatMessage], rule: IdRule) -> list[ChatMessage]:
    """Rows whose calls have ids that an API takes, each with the results that follow the call.

    An id that is used again gets a number, counted from the first of the rows: so the same rows give the same
    ids from call to call, and rows that are added change none of those before.
    """
    taken: set[str] = set()
    renamed: list[tuple[str, str]] = []  # of the calls that wait for their results: the id and the new one
    given = []
    for row in rows:
        if row["role"] == "tool":
            new = next((pair for pair in renamed if pair[0] == row["tool_call_id"]), None)
            if new is not None:
                renamed.remove(new)
                row = row | {"tool_call_id": new[1]}  # noqa: PLW2901
        elif calls := calls_of(row):
            if not rule.once_a_request:
                taken = set()
            renamed = []
            for at, call in enumerate(calls):
                old = call.get("id") or ""
                new_id = _free(old or _made_up(row, at), rule, taken)
                taken.add(new_id)
                renamed.append((old, new_id))
            if any(old != new for old, new in renamed):
                row = row | {  # noqa: PLW2901
                    "tool_calls": [call | {"id": new} for call, (_, new) in zip(calls, renamed, strict=True)]
                }
        given.append(row)
    return given


def _free(call_id: str, rule: IdRule, taken: set[str]) -> str:
    new, number = rule.made(call_id), 2
    while new in taken:
        new, number = rule.made(f"{call_id}_{number}"), number + 1
    return new


def _made_up(row: ChatMessage, at: int) -> str:
    """An id for a call without one: by the event that makes the call."""
    origin = row.get(ORIGIN)
    event = origin.event_id.replace("-", "")[:24] if origin is not None else ""
    return f"call_{event}{at}" if event else f"call_{at}"
