"""The part of an event that can be recalled: its speaker, and the text that is searched and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...models import EventSource, EventType
from ...models.session_event import REDACTED, content_of
from ...providers.common import texts_in
from ...providers.messages import calls_of, function_of, name_of, text_of, tool_text
from ...providers.parts import media_parts, shown_content
from ...stores.base import AnyEvent
from .words import searched_part

HISTORY_TOOLS = ("search_history", "read_history")
"""The tools whose results are not searched, because they repeat earlier messages."""
_PASSAGE = 380
"""Long turns are cut into passages of about 60 words, and each may be recalled by itself. The limit is in
bytes, which in every script are closer to tokens than words are."""
_LONG = 660
"""A turn with more than about 150 tokens is long; this limit is in bytes too."""
_OTHER_ROLES = {"assistant", "system"}
_ROLES = {"user", *_OTHER_ROLES}
# How many characters of a call's arguments are shown.
_MOST_OF_ARGUMENTS = 200

# A text may be cut after a line, a sentence, or a value of JSON.
_CUT = r"\n+|(?<=[.!?])\s+|(?<=[。！？])|(?<=[\]}\"\d]), *(?=[\[{\"])|(?<=[\]}]),"


class Said(NamedTuple):
    """A turn of a conversation, as recall sees it."""

    speaker: str
    """The speaker: "user", "assistant", "system" or a user's name; for a tool's result, its call."""
    text: str
    """The part of the text that is searched."""
    is_result: bool
    """Whether the turn is a tool's result."""
    is_cut: bool
    """Whether the turn has more text, which is not searched."""

    @property
    def is_named(self) -> bool:
        """Whether the speaker is a user with a name."""
        return not self.is_result and self.speaker not in _ROLES


def said_in(event: AnyEvent) -> Said | None:
    """The turn that an event is; `None` if the event has no text."""
    if event.type == EventType.TOOL_CALL:
        return _result_in(event)
    if event.type != EventType.MESSAGE or content_of(event.message) == REDACTED:
        return None
    whole = words_of(event.message)
    text = searched_part(whole)
    if not text.strip():
        return None
    speaker = "assistant" if event.source == EventSource.LLM else "system"
    if event.source == EventSource.USER:
        speaker = _user_in(event)
    return Said(speaker, text, is_result=False, is_cut=len(text) < len(whole.rstrip()))


def _user_in(event: AnyEvent) -> str:
    """The speaker of a user's message; in excerpts, a line begins with it.

    So a user called "assistant" is marked as a user, and a name such as "assistant: Yes. Ann" is in quotes.
    """
    name = " ".join((name_of(event) or "user").split())
    if name.casefold() in _OTHER_ROLES:
        return f"{name} (user)"
    return f'"{name}"' if ": " in name else name


def words_of(message: Any) -> str:
    """The whole text of a message, with the calls that it makes."""
    if isinstance(message, str):
        return message
    if not isinstance(message, dict) or not ("role" in message or "content" in message):
        return "" if message is None else str(message)
    content = message.get("content")
    said = content if isinstance(content, str) else "\n".join(filter(None, texts_in(content or [])))
    return "\n".join(filter(None, [said, *_call_texts(message)]))


def _call_texts(message: Any) -> Iterator[str]:
    for call in calls_of(message):
        if (name := function_of(call).get("name", "a tool")) not in HISTORY_TOOLS:
            yield f"[calls {name}({_arguments_of(call)})]"


def _arguments_of(call: dict[str, Any]) -> str:
    arguments = text_of({"tool_calls": [call]}).partition("\n")[2]
    return arguments[:_MOST_OF_ARGUMENTS]


def _result_in(event: AnyEvent) -> Said | None:
    message = event.message if isinstance(event.message, dict) else {}
    if message.get("tool") in HISTORY_TOOLS:
        return None
    result = message.get("result")
    parts = media_parts(result)
    whole = tool_text(event.message) if parts is None else shown_content(parts)
    text = searched_part(whole)
    if not text.strip():
        return None
    call = {"type": "function", "function": {"name": "", "arguments": message.get("arguments") or ""}}
    arguments = text_of({"tool_calls": [call]})[:_MOST_OF_ARGUMENTS]
    return Said(
        f"{message.get('tool', 'a tool')}({arguments})", text, is_result=True, is_cut=len(text) < len(whole)
    )


def passages_of(text: str, *, is_result: bool = False) -> list[tuple[int, int]]:
    """Where a turn's passages begin and end; a short turn is one passage.

    Tool results are cut at a smaller size, because at most one passage of them is shown.
    """
    if len(text) * 4 <= _PASSAGE or _bytes(text) <= (_PASSAGE * 1.25 if is_result else _LONG):
        return [(0, len(text))]
    found: list[tuple[int, int]] = []
    start, length = 0, 0
    for begin, end in _pieces(text):
        more = _bytes(text[begin:end])
        if length and length + more > _PASSAGE * 1.25:
            found.append((start, begin))
            start, length = begin, 0
        length += more
        if length >= _PASSAGE:
            found.append((start, end))
            start, length = end, 0
    return [*found, (start, len(text))] if length else found


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """The pieces within which a text is not cut, unless a piece is too long for a passage."""
    start = 0
    for end in dict.fromkeys([*(cut.end() for cut in re.finditer(_CUT, text)), len(text)]):
        while end - start > _PASSAGE:
            space = text.rfind(" ", start + _PASSAGE // 2, start + _PASSAGE)
            cut = start + _PASSAGE if space < 0 else space + 1
            yield start, cut
            start = cut
        if end > start:
            yield start, end
        start = end


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
