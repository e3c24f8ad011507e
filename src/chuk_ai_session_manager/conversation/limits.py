"""Limits of a conversation, and the budget of its user: they refuse questions, but never an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..exceptions import TokenLimitExceeded
from ..models import Session, SessionEvent
from ..models.home import HomeStore
from ..models.turns import Turns
from .budgets import Spending
from .context.beginning import Beginning
from .drafts import Draft, tokens_of, without_prompt


@dataclass(slots=True, frozen=True)
class Limits:
    """The most content tokens that a conversation may have, and the most USD that it may cost."""

    tokens: int | None
    cost: float | None

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return self.tokens is not None or self.cost is not None

    def check(self, length: int, spent: float, added: int) -> None:
        """Raise if a limit is reached, or if a question would exceed it.

        Answers are not checked: a call that was made is paid for, and must be recorded.

        Args:
            length: content tokens of the conversation before the question.
            spent: the cost of the conversation so far, in USD.
            added: content tokens of the question.

        Raises:
            TokenLimitExceeded: with the limit, and the conversation's total with the question.
        """
        if self.tokens is not None and max(length + 1, length + added) > self.tokens:
            is_reached = length + added <= self.tokens
            text = f"Token limit reached: {length} of {self.tokens}" if is_reached else None
            raise TokenLimitExceeded(self.tokens, length + added, text)
        # A limit of 0 allows models that cost nothing.
        if self.cost is not None and 0 < spent >= self.cost:
            text = f"Cost limit exceeded: {spent:.6f} USD of {self.cost} USD"
            raise TokenLimitExceeded(self.cost, spent, text)


# The managers within whose model calls this code runs.
_calling: ContextVar[tuple[Allowance, ...]] = ContextVar("chuk_ai_session_manager_calling", default=())


class Allowance:
    """What one manager may use: the limits of its conversation, and the budget of its user.

    Args:
        limits: the limits of the conversation.
        spending: the user's account for all conversations, if there is a budget.
        beginning: knows the sums of the segments before the live one.
    """

    def __init__(self, limits: Limits, spending: Spending | None, beginning: Beginning) -> None:
        self.limits: Limits = limits
        self.spending: Spending | None = spending
        self._beginning = beginning
        self._one_call = Turns()

    def __bool__(self) -> bool:
        """Whether there is a limit or a budget."""
        limits = self.limits
        return self.spending is not None or limits.tokens is not None or limits.cost is not None

    async def check_question(
        self, home: HomeStore, session: Session[Any], draft: Draft, before: int = 0
    ) -> None:
        """Raise if a limit or a budget forbids a question.

        Args:
            home: the session's store.
            session: the conversation's live segment.
            draft: the question, counted.
            before: the change of the conversation's content tokens before the question.

        Raises:
            TokenLimitExceeded: nothing was written.
        """
        if draft.asks and self:
            tokens, cost = await self._used(home, session)
            self.limits.check(tokens + before, cost, draft.tokens)
            if self.spending is not None:
                await self.spending.admit(home, tokens + before + draft.tokens)

    async def _used(self, home: HomeStore, session: Session[Any]) -> tuple[int, float]:
        """The content tokens and the cost of a conversation so far."""
        earlier = (await self._beginning.background_of(home, session)).sums
        return earlier.tokens + session.added_tokens, earlier.cost + session.total_cost

    async def check_limits(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Raise if a limit of the conversation forbids these questions.

        Raises:
            TokenLimitExceeded: nothing was written.
        """
        tokens, cost = await self._used(home, session)
        self.limits.check(tokens, cost, tokens_of(drafts))

    async def admit(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Raise if a limit or the user's budget forbids these questions; reserve the cost of their answer.

        Raises:
            TokenLimitExceeded: nothing was written.
        """
        if self.limits:
            await self.check_limits(home, session, without_prompt(drafts)[0])
        if self.spending is not None:
            before = (await self._beginning.background_of(home, session)).sums.tokens
            await self.spending.admit(home, before + session.added_tokens + tokens_of(drafts))

    async def charge(self, home: HomeStore, event: SessionEvent[Any]) -> None:
        """Put the cost of a call on the user's account, once its answer is stored."""
        if self.spending is not None and event.usage is not None:
            await self.spending.charge(home, event.usage.cost_usd or 0.0, event.id)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Make a whole model call in the block; with limits, one after the other.

        The cost of a call is known when it is over. Without this, as many calls as there are tasks could
        exceed the limit. A call within another call does not wait for it.
        """
        if not self or self in _calling.get():
            yield
            return
        async with self._one_call.turn():
            token = _calling.set((*_calling.get(), self))
            try:
                yield
            finally:
                _calling.reset(token)

    @asynccontextmanager
    async def after_calls(self) -> AsyncIterator[None]:
        """Enter the block when the whole calls that began before are over, if there are limits."""
        if not self or self in _calling.get():
            yield
            return
        async with self._one_call.turn():
            yield
