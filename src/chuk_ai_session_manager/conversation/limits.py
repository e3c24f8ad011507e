"""Limits of a conversation and the budget of its user: they refuse questions, and never an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..exceptions import TokenLimitExceeded
from ..models import Session, SessionEvent
from ..models.home import HomeStore
from ..stores.turns import Turns
from .budgets import Spending
from .context.beginning import Beginning
from .drafts import Draft, tokens_of, without_prompt
from .sums import Sums


@dataclass(slots=True, frozen=True)
class Limits:
    """The most that a conversation may be, in content tokens, and may cost, in USD."""

    tokens: int | None
    cost: float | None

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.tokens is not None or self.cost is not None

    def check(self, length: int, spent: float, added: int) -> None:
        """Refuse a question where a limit is reached, or where the question would cross it.

        Answers are not checked: a call that was made is paid, and belongs in the record.

        Args:
            length: content tokens of the conversation before the question.
            spent: what the conversation cost before it, in USD.
            added: content tokens of the question.

        Raises:
            TokenLimitExceeded: with the limit, and what the conversation would come to.
        """
        if self.tokens is not None and max(length + 1, length + added) > self.tokens:
            is_reached = length + added <= self.tokens
            text = f"Token limit reached: {length} of {self.tokens}" if is_reached else None
            raise TokenLimitExceeded(self.tokens, length + added, text)
        # A limit of 0 lets models be asked that cost nothing.
        if self.cost is not None and 0 < spent >= self.cost:
            text = f"Cost limit exceeded: {spent:.6f} USD of {self.cost} USD"
            raise TokenLimitExceeded(self.cost, spent, text)


# In whose model calls this is done.
_calling: ContextVar[tuple[Allowance, ...]] = ContextVar("chuk_ai_session_manager_calling", default=())


class Allowance:
    """What one manager may use: the limits of its conversation, and the budget of its user.

    Args:
        limits: the most that the conversation may be, and cost.
        spending: the user's account over all conversations, where there is a budget.
        beginning: knows what the segments before the live one come to.
    """

    def __init__(self, limits: Limits, spending: Spending | None, beginning: Beginning) -> None:
        self.limits: Limits = limits
        self.spending: Spending | None = spending
        self._beginning = beginning
        self._one_call = Turns()

    def __bool__(self) -> bool:
        """Whether there is a limit or a budget."""
        return self.spending is not None or bool(self.limits)

    async def check_question(
        self, home: HomeStore, session: Session[Any], draft: Draft, before: int = 0
    ) -> None:
        """Refuse a question that a limit or a budget stands in the way of.

        Args:
            home: where the session is.
            session: the conversation's live segment.
            draft: the question, counted.
            before: what changes in the conversation's content tokens before it is asked.

        Raises:
            TokenLimitExceeded: nothing was written.
        """
        if draft.asks and self:
            sums = (await self._beginning.background_of(home, session)).sums + Sums.of(session)
            self.limits.check(sums.tokens + before, sums.cost, draft.tokens)
            if self.spending is not None:
                await self.spending.admit(home, sums.tokens + before + draft.tokens)

    async def check_limits(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Refuse questions that a limit of the conversation stands in the way of.

        Raises:
            TokenLimitExceeded: nothing was written.
        """
        sums = (await self._beginning.background_of(home, session)).sums + Sums.of(session)
        self.limits.check(sums.tokens, sums.cost, tokens_of(drafts))

    async def admit(self, home: HomeStore, session: Session[Any], drafts: Sequence[Draft]) -> None:
        """Refuse questions that a limit stands in the way of, or whose user has spent the budget.

        What their answer may cost is set aside.

        Raises:
            TokenLimitExceeded: nothing was written.
        """
        if self.limits:
            await self.check_limits(home, session, without_prompt(drafts)[0])
        if self.spending is not None:
            before = (await self._beginning.background_of(home, session)).sums.tokens
            await self.spending.admit(home, before + session.added_tokens + tokens_of(drafts))

    async def charge(self, home: HomeStore, event: SessionEvent[Any]) -> None:
        """Put what a call cost on the user's account, once its answer is stored."""
        if self.spending is not None and event.usage is not None:
            await self.spending.charge(home, event.usage.cost_usd or 0.0, event.id)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        """Make a whole model call in here: where there are limits, one after the other.

        What a call costs is known when it is over. Calls that begin before that would be as many over the
        limit as there are tasks. A call that is made inside of another one does not wait for that.
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
        """Ask in here when the whole calls that began before are over, where there are limits."""
        if not self or self in _calling.get():
            yield
            return
        async with self._one_call.turn():
            yield
