"""What is counted and billed of an event on its way into a session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .models import CallUsage, SessionEvent, TokenUsage
from .pricing import call_cost, load_prices

# System prompts and summaries of a manager's, each in a model or two.
_PREFACES_KEPT = 16


@dataclass(slots=True)
class Draft:
    """An event on its way in: what is counted of it, and the model call that made it, if one did."""

    event: SessionEvent[Any]
    text: str | None
    """What its tokens are counted of; `None` where none are."""
    model: str
    provider: str = "unknown"
    is_call: bool = False
    reported: dict[str, int] | None = None
    """The provider's own counts of the call."""


async def measure(
    drafts: Sequence[Draft], length: int, preface_length: Callable[[str], Awaitable[int]]
) -> None:
    """Put content tokens on each draft's event, and on an answer what its call was billed for.

    Args:
        drafts: the events, in order.
        length: content tokens of the session before them.
        preface_length: tokens, in a model's count, of what it is sent before the session's messages.
    """
    for draft in drafts:
        if draft.text is None:
            continue
        tokens = await TokenUsage.count_tokens(draft.text, draft.model)
        if draft.is_call:
            counts = draft.reported
            if counts is None:
                sent = length + await preface_length(draft.model)
                counts = {"input_tokens": sent, "output_tokens": tokens}
            draft.event.usage = await _billed(draft, counts)
        draft.event.token_usage = _content(draft, tokens)
        length += tokens


def _content(draft: Draft, tokens: int) -> TokenUsage:
    usage = draft.event.usage
    return TokenUsage(
        prompt_tokens=0 if draft.is_call else tokens,
        completion_tokens=tokens if draft.is_call else 0,
        total_tokens=tokens,
        model=draft.model,
        # The call's cost, so that a session's costs are the sum of its events'; a question costs nothing yet.
        estimated_cost_usd=None if usage is None else usage.cost_usd,
        estimated=TokenUsage.is_estimated(draft.model),
    )


async def _billed(draft: Draft, counts: dict[str, int]) -> CallUsage:
    await load_prices()
    priced = {name: count for name, count in counts.items() if name != "reasoning_tokens"}
    return CallUsage(
        model=draft.model,
        provider=draft.provider,
        cost_usd=call_cost(draft.model, draft.provider, **priced),
        estimated=draft.reported is None,
        **counts,
    )


@dataclass(slots=True)
class LengthCache:
    """Lengths in tokens of the few texts that go before the messages, call after call."""

    _lengths: dict[tuple[str, str], int] = field(default_factory=dict)

    async def length(self, text: str, model: str) -> int:
        """How long a text is for a model, counted once."""
        key = (text, model)
        if key not in self._lengths:
            if len(self._lengths) >= _PREFACES_KEPT:
                self._lengths.clear()
            self._lengths[key] = await TokenUsage.count_tokens(text, model)
        return self._lengths[key]
