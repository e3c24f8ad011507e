"""The contents of a server's replies, in whichever form the client returns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def text_of(value: Any) -> str:
    """A reply as text, even if the client decodes replies itself."""
    return value.decode() if isinstance(value, bytes) else str(value)


def name_of(value: Any) -> str:
    """A member of a list of sessions as text; bytes that are not text are not a session's id."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def pairs_of(answer: Sequence[Any] | dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Members and scores, or fields and values: one after the other, in pairs with RESP3, or in a dict."""
    if isinstance(answer, dict):
        return list(answer.items())
    if answer and isinstance(answer[0], list | tuple):
        return [(member, score) for member, score in answer]
    return list(zip(answer[::2], answer[1::2], strict=True))


def scored(answer: Sequence[Any]) -> list[tuple[int, str]]:
    """Rows of the index: the place and the id of each session."""
    return [(int(float(score)), name_of(member)) for member, score in pairs_of(answer)]
