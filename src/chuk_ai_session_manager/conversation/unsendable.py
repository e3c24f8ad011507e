"""What contexts contain that no provider accepts: results and messages that are too large, broken data."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from ..accounts.tokens import DEFAULT_MODEL
from ..models import EventSource, EventType, TokenUsage
from ..models.home import HomeStore
from ..models.session_event import content_of
from ..providers.messages import text_of, tool_text
from ..providers.parts import Part, media_of, media_parts
from ..stores.base import AnyEvent, AnySession
from .absent import fill
from .background import Background
from .log_end import LogEnd, PathEnd

LARGEST = 200_000
"""Tokens of one message or result: the whole context window of many models."""


# Google's alphabet of base64 in the standard one.
_STANDARD = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Fault:
    """A message or a tool's result that providers refuse."""

    event_id: str
    what: str
    """The kind of event: "result of export_table", "user's message"."""
    reason: str
    """The reason for the refusal, without any content."""


async def faults_in(
    session: AnySession, background: Background, home: HomeStore, largest: int
) -> list[Fault]:
    """What the next context would contain that no provider accepts, the oldest first.

    Args:
        session: the live segment.
        background: what the segment continues.
        home: the store.
        largest: the most tokens of one message or result.

    Raises:
        SessionNotFound: the session expired or was deleted.
        StorageError: the store failed.
    """
    log: LogEnd = PathEnd(session, home)
    while not log.is_whole:
        await log.read_back()
    events = [*background.start, *log.events] if background.held is None else background.held
    await fill(events, home)
    found = [(event, await _reasons(event, largest)) for event in events]
    return [Fault(event.id, _what(event), "; ".join(reasons)) for event, reasons in found if reasons]


def set_aside_text(event: AnyEvent) -> str:
    """The text that replaces a result that was set aside."""
    text = tool_text(event.message)
    return f"[set aside: a result of {len(text):,} characters that could not be sent to a model]"


async def _reasons(event: AnyEvent, largest: int) -> list[str]:
    if event.type not in {EventType.MESSAGE, EventType.TOOL_CALL}:
        return []
    is_result = event.type == EventType.TOOL_CALL
    result = event.message.get("result") if is_result and isinstance(event.message, dict) else None
    content = media_parts(result) if is_result else content_of(event.message)
    media = media_of(content) if isinstance(content, list) else []
    if is_result:
        text = "" if media else tool_text(event.message)
    else:
        text = event.message if isinstance(event.message, str) else text_of(_row(event))
    reasons = [f"its {part.kind} is not base64" for part in media if _is_broken(part)]
    if len(text.encode(errors="replace")) > largest:  # no token is less than a byte
        tokens = await TokenUsage.count_tokens(text, DEFAULT_MODEL)
        if tokens > largest:
            reasons.append(f"{tokens:,} tokens")
    return reasons


def _row(event: AnyEvent) -> dict[str, object]:
    return event.message if isinstance(event.message, dict) else {"content": content_of(event.message)}


def _is_broken(part: Part) -> bool:
    """Whether the data of a part cannot be decoded."""
    if not part.data:
        return False
    try:
        base64.b64decode("".join(part.data.split()).translate(_STANDARD), validate=True)
    except (binascii.Error, ValueError):
        return True
    return False


def _what(event: AnyEvent) -> str:
    if event.type == EventType.TOOL_CALL:
        name = event.message.get("tool") if isinstance(event.message, dict) else None
        return f"result of {name or 'a tool'}"
    return {EventSource.USER: "user's message", EventSource.LLM: "model's message"}.get(
        EventSource(event.source), "message"
    )
