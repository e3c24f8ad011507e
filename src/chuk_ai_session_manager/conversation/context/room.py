"""How much of a token limit the messages of a context may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...accounts.pricing import context_window, load_prices
from ...exceptions import InvalidInput, TokenLimitExceeded

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Room:
    """A token limit, and the parts of it that are taken before the first message."""

    limit: int
    reserve: int = 0
    """Tokens for the answer."""
    parts: dict[str, int] = field(default_factory=dict)
    """The other parts of a request, by name, with their tokens as we count them."""
    correction: float = 1.0
    """How many tokens the provider counts for each one that we count."""

    @property
    def tokens(self) -> int:
        """How many tokens, as we count them, are left for messages."""
        return int((self.limit - self.reserve) / self.correction) - sum(self.parts.values())

    def exceeded(self, **parts: int) -> TokenLimitExceeded:
        """The error for a context that does not fit, with all figures.

        Args:
            **parts: the lengths of the messages that the context must have.
        """
        figures = {name: count for name, count in {**self.parts, **parts}.items() if count}
        figures = {name: round(count * self.correction) for name, count in figures.items()}
        if self.reserve:
            figures["reserve"] = self.reserve
        total = sum(figures.values())
        said = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in figures.items())
        text = f"Token limit exceeded: {total} > {self.limit}. The context needs at least: {said}"
        return TokenLimitExceeded(self.limit, total, text)


async def window_of(model: str | None, operation: str) -> int:
    """The context window of a model, in tokens.

    Raises:
        InvalidInput: the window is unknown; the message says how to set it.
    """
    if model is None:
        reason = 'max_tokens="auto" is the window of a model: name the model, here or in SessionManager(...)'
        raise InvalidInput(operation, reason)
    await load_prices()
    window = context_window(model)
    if window is None:
        reason = (
            f"the context window of {model!r} is unknown: give max_tokens a number, or set the window with "
            f"set_price({model!r}, input=..., output=..., context_window=...)"
        )
        raise InvalidInput(operation, reason)
    return window
