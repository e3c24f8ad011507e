"""Ids of tool calls: an id that an API would refuse is replaced, in the call and in its result."""

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
    """An id of only letters, digits, `_` and `-`; different ids stay different."""
    clean = _NOT_IN_AN_ID.sub("_", call_id)
    return clean if clean == call_id and clean else f"{clean}_{crc32(call_id.encode()):08x}"


def shortened(call_id: str, longest: int) -> str:
    """An id of at most so many characters; different ids stay different."""
    mark = f"_{sha256(call_id.encode()).hexdigest()[:16]}"
    return call_id if len(call_id) <= longest else call_id[: longest - len(mark)] + mark


_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_IN_GOOGLE_S_NAME = re.compile(r"[^a-zA-Z0-9_.:-]")
_LONGEST_NAME = 64


def tool_name(name: str, *, may_have_dots: bool = False) -> str:
    """A tool's name in a call that another provider's model made, as an API accepts it.

    OpenAI: `^[a-zA-Z0-9_-]+$` with at most 64 characters, Anthropic: at least as many
    (https://docs.claude.com/en/docs/agents-and-tools/tool-use). Google also accepts dots and colons,
    which names of MCP's servers have (https://ai.google.dev/api/caching#FunctionDeclaration).
    """
    clean = (_NOT_IN_GOOGLE_S_NAME if may_have_dots else _NOT_IN_A_NAME).sub("_", name)
    return shortened(clean, _LONGEST_NAME) or "unknown"


@dataclass(frozen=True, slots=True)
class IdRule:
    """An API's rule for ids."""

    made: Callable[[str], str]
    """Makes an acceptable id; an id that is acceptable already is not changed."""
    once_a_request: bool = True
    """Whether an id must be unique in a request, or only in each message."""


def with_ids(rows: Sequence[ChatMessage], rule: IdRule) -> list[ChatMessage]:
    """Messages whose calls, and the results of these, have ids that an API accepts.

    An id that is used again gets a number, counted from the first message. So the same messages get the same
    ids in every request, and additional messages do not change the ids of earlier ones.
    """
    taken: set[str] = set()
    renamed: list[tuple[str, str]] = []  # for the calls that wait for their results: the old and the new id
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
    """An id for a call without one, made from the id of the call's event."""
    origin = row.get(ORIGIN)
    event = origin.event_id.replace("-", "")[:24] if origin is not None else ""
    return f"call_{event}{at}" if event else f"call_{at}"
