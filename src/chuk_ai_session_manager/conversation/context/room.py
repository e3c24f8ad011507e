"""What of a limit a context may take: the limit less what goes with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...accounts.pricing import context_window, load_prices
from ...exceptions import InvalidInput, TokenLimitExceeded

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Room:
    """A limit in tokens, and what of it is taken before anything was said."""

    limit: int
    reserve: int = 0
    """Tokens for the answer."""
    parts: dict[str, int] = field(default_factory=dict)
    """What else is sent, by name: as many tokens as it has in our count."""
    correction: float = 1.0
    """How many tokens the provider counts where we count one."""

    @property
    def tokens(self) -> int:
        """How many tokens, in our count, are left for messages."""
        return int((self.limit - self.reserve) / self.correction) - sum(self.parts.values())

    def exceeded(self, **parts: int) -> TokenLimitExceeded:
        """The error that there is not enough room, with all figures.

        Args:
            **parts: how long messages are that a context cannot do without.
        """
        figures = {name: count for name, count in {**self.parts, **parts}.items() if count}
        figures = {name: round(count * self.correction) for name, count in figures.items()}
        if self.reserve:
            figures["reserve"] = self.reserve
        total = sum(figures.values())
        said = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in figures.items())
        text = f"Token limit exceeded: {total} > {self.limit}. The context cannot do without {said}"
        return TokenLimitExceeded(self.limit, total, text)


async def window_of(model: str | None, operation: str) -> int:
    """The context window of a model, in tokens.

    Raises:
        InvalidInput: it is not known; saying how to tell it.
    """
    if model is None:
        reason = 'max_tokens="auto" is the window of a model: name the model, here or in SessionManager(...)'
        raise InvalidInput(operation, reason)
    await load_prices()
    window = context_window(model)
    if window is None:
        reason = (
            f"nobody knows the context window of {model!r}: give max_tokens a number, or tell the window by "
            f"set_price({model!r}, input=..., output=..., context_window=...)"
        )
        raise InvalidInput(operation, reason)
    return window
