"""Drafts: what is about to be stored, as `Writer` sorts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..models import EventSource, EventType
from ..providers.messages import ChatMessage, text_of
from ..providers.parts import media_of
from .billing import Draft


class Unfinished(Protocol):
    """An answer whose stream is not over."""

    is_awaited: bool
    """Whether somebody waits for its next piece just now."""

    def part(self, *, before_question: bool) -> Draft | None:
        """What came of it so far, made ready to be stored; `None` where there is nothing new.

        Args:
            before_question: whether the next question follows, so that a call of which nothing came counts.
        """

    def part_is_lost(self) -> None:
        """Take back the last part: it could not be stored."""


def what_is_said(row: ChatMessage) -> tuple[str, ...]:
    """What tells whether a row was said before: a result by its call, all else by its text and its media."""
    if row["role"] == "tool":
        return row["role"], row["tool_call_id"]
    media = (part.data or part.url or part.file_id for part in media_of(row.get("content")))
    return row["role"], text_of(row), *media


def tokens_of(drafts: Sequence[Draft]) -> int:
    """The content tokens of drafts together."""
    return sum(draft.tokens for draft in drafts)


def cut_at_question(drafts: Sequence[Draft]) -> list[tuple[Sequence[Draft], bool]]:
    """What has happened, then the question behind it; and which of the two is the question."""
    if len(drafts) == 1:
        return [(drafts, drafts[0].asks)]
    happened = len(drafts)
    while happened and drafts[happened - 1].asks:
        happened -= 1
    parts = [(drafts[:happened], False), (drafts[happened:], True)]
    return [(part, asks) for part, asks in parts if part] or [(drafts, False)]


def without_prompt(drafts: Sequence[Draft]) -> tuple[Sequence[Draft], str | None]:
    """Take the plain system message that begins a conversation out of its messages: it is the prompt."""
    first = drafts[0].event if drafts else None
    if first is None or first.type != EventType.MESSAGE or first.source != EventSource.SYSTEM:
        return drafts, None
    is_prompt = isinstance(first.message, str) and first.message.strip()
    return (drafts[1:], first.message) if is_prompt else (drafts, None)
