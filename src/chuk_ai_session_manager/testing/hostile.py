"""Ids, texts and values that a store may get wrong."""

from __future__ import annotations

import math
from typing import Any

from ..models import SessionRun
from ..stores.base import AnySession, EventStore
from .samples import user_message

# ruff: noqa: SIM905  (many short words are easier to read as a text than as a list)

HOSTILE_IDS = (
    *"a A a: :a : a:b a:b:c {a} {a a} }{ {} * a* ? [a] % %% a% _ __ %7Ba%7D %25 ' '' \" ';-- \"a\"".split(),
    *r"\ \\ a\n a/b ../a .. ~ $a ${a} # a#1 a:1 1:a s:a user:a children:a in index 0 00 -1 [] null".split(),
    *"None true not-found é e\u0301 \u0430 \uff41 ß ss \ufb01 fi \u0130 \u0131 i I".split(),
    *(" ", "a ", " a", "a b", "session not found"),
    *("x" * 255, "x" * 254 + "y", "x" * 254, "界" * 255, "😀" * 255),
)
"""Ids that a store may mix up: through patterns, separators, quotes, letter case, or by cutting them off."""

INVALID_IDS = ("", "\n", "a\nb", "a\0", "\x7f", "\u200b", "\u2028", "x" * 256, "\ud800")
"""Values that are no ids: the empty text, unprintable characters, and more than 255 characters."""

ODD_TEXTS = (
    *r"""<|endoftext|> \u0000 "}], {{}} %s ';DROP--""".split(),
    *("", "\0", "a\0b", "😀👨\u200d👩\u200d👧", "שלום \u202e עולם", "\u2028\u2029", "\r\n\t "),
    *("\ufeff", "\uffff", "\x7f\x80", "\U0010ffff"),
)
"""Texts that must come back exactly, in every place."""


def odd_values() -> list[Any]:
    """Values that JSON cannot hold, or that some JSON writers cannot write."""
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    texts = ["\ud800", "a\udfffb", {"\ud800": 1}, ["😀", "\udc00\ud83d"]]
    return [*texts, math.nan, math.inf, -math.inf, {1: 2}, {1, 2}, b"x", object(), 10**4000, deep]


async def write_odd(store: EventStore, session: AnySession, field: str, value: Any) -> None:
    """Write a value that is not JSON, in some place, after valid values."""
    if field in {"message", "metadata"}:
        odd = {"odd": value}
        last = user_message(odd) if field == "message" else user_message("", metadata=odd)
        await store.append(session, [user_message("in order"), last])
        return
    if field == "runs":
        session.runs = [SessionRun(metadata={"odd": value})]
    else:
        {"state": session.state, "properties": session.metadata.properties}[field]["odd"] = value
    await session.add_event(user_message("in order"))
    await store.save(session)


def odd_in(session: AnySession, field: str) -> str:
    """The value that was read, as text, because not even one NaN equals itself."""
    places = {
        "message": session.events[-1].message,
        "metadata": session.events[-1].metadata,
        "state": session.state,
        "properties": session.metadata.properties,
        "runs": session.runs[0].metadata if session.runs else {},
    }
    return repr(places[field]["odd"])
