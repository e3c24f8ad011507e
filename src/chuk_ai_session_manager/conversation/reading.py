"""A conversation as applications read it: what was said as rows, and what all of it comes to as figures."""

from __future__ import annotations

from typing import Any

from ..exceptions.validation import copied
from ..models import EventSource, SessionEvent
from ..models.session_event import content_of
from ..models.token_usage import usd
from ..providers.messages import speaker
from .background import Sums

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


def said_row(event: SessionEvent[Any]) -> dict[str, Any]:
    """A message as a row: who said it, what, and when."""
    content = content_of(event.message)
    return {
        "role": speaker(event),
        "content": "" if content is None else copied(content),
        "timestamp": event.timestamp.isoformat(),
    }


def answerer_of(event: SessionEvent[Any]) -> dict[str, Any]:
    """Which model gave an answer, and who ran the model; nothing for a message of the user's."""
    if event.source == EventSource.USER:
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
        "created_at": sums.created_at.isoformat() if sums.created_at else None,
        "last_update": sums.last_update.isoformat() if sums.last_update else None,
        **{name: counted[name] for name in _STATS_TOTALS},
    }
