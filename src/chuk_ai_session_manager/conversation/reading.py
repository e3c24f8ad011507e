"""A conversation for applications: its messages as rows, and its statistics."""

from __future__ import annotations

from typing import Any

from ..exceptions.validation import copied
from ..models import EventSource, EventType, SessionEvent
from ..models.record import utc_text
from ..models.session_event import content_of
from ..models.token_usage import usd
from ..providers.common import texts_in
from ..providers.messages import call_id_of, calls_of, name_of, result_content, role_of
from .sums import Sums

_STATS_TOTALS = (
    "user_messages",
    "ai_messages",
    "tool_calls",
    "llm_calls",
    "unpriced_calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


def row_of(event: SessionEvent[Any], *, with_tools: bool, with_ids: bool) -> dict[str, Any] | None:
    """An event as a row of the conversation: role, content and time; `None` for an event that is not shown.

    Args:
        event: any event.
        with_tools: whether to show tool calls and results; otherwise, a step with only tool calls is not
            shown.
        with_ids: whether to include the event's id and metadata.
    """
    if event.type == EventType.TOOL_CALL:
        row = _result_row(event) if with_tools else None
    elif event.type == EventType.MESSAGE:
        row = _message_row(event, with_tools=with_tools)
    else:
        row = None
    if row is None:
        return None
    row["timestamp"] = utc_text(event.timestamp)
    return row | {"event_id": event.id, "metadata": copied(event.metadata)} if with_ids else row


def _message_row(event: SessionEvent[Any], *, with_tools: bool) -> dict[str, Any] | None:
    content, calls = content_of(event.message), calls_of(event.message)
    if calls and not with_tools and not _has_words(event.message):
        return None
    name = name_of(event)
    row = {"role": role_of(event)} | ({} if name is None else {"name": name})
    row |= {"content": "" if content is None else copied(content)}
    return row | ({"tool_calls": copied(calls)} if calls and with_tools else {})


def _has_words(message: Any) -> bool:
    """Whether a message has any text besides its tool calls."""
    said = content_of(message)
    return any(map(str.strip, texts_in(said) if isinstance(said, list) else [str(said or "")]))


def _result_row(event: SessionEvent[Any]) -> dict[str, Any]:
    message = event.message if isinstance(event.message, dict) else {}
    call_id = call_id_of(event)
    row = {"role": "tool", "name": str(message.get("tool", "unknown"))}
    row |= {} if call_id is None else {"tool_call_id": call_id}
    return row | {"arguments": copied(message.get("arguments")), "content": result_content(event)}


def answerer_of(event: SessionEvent[Any]) -> dict[str, Any]:
    """The model and the provider of an answer; empty for events that are not answers."""
    if event.source != EventSource.LLM:
        return {}
    return {name: event.metadata.get(name, "unknown") for name in ("model", "provider")}


def figures_of(sums: Sums) -> dict[str, Any]:
    """What segments come to, as `SessionManager.get_stats` names the figures."""
    counted = sums.totals.as_dict()
    return {
        "total_messages": sums.totals.user_messages + sums.totals.ai_messages,
        "total_events": sums.totals.events,
        "total_tokens": sums.tokens,
        "estimated_cost": usd(sums.cost),
        "usage_source": sums.totals.usage_source,
        "created_at": utc_text(sums.created_at) if sums.created_at else None,
        "last_update": utc_text(sums.last_update) if sums.last_update else None,
        **{name: counted[name] for name in _STATS_TOTALS},
        "cached_share": sums.totals.cached_share,
        "cache_saved_usd": sums.totals.cache_saved_usd,
        "cache_misses": dict(sums.totals.cache_misses),
    }
