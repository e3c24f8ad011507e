"""Budgets: what a user may spend, over all sessions and in all processes.

An account is a small JSON object that the store keeps beside its sessions, one for each user and kind of
budget. It says what was spent in the period, what the most expensive call cost, and which calls are running.
A question that would begin a call reserves what the call may cost; the answer releases this and adds what was
billed. So as many calls as there are writers may run at once, and at most one of them exceeds the budget.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from ..accounts.money import Usd, units_of
from ..accounts.pricing import call_cost, load_prices
from ..exceptions import InvalidInput, StorageError, TokenLimitExceeded
from ..exceptions.validation import check_at_least
from ..models.home import HomeStore
from ..models.record import new_id, utc_now
from ..stores import EventStore
from ..stores.erasing import account_name
from .usage_report import usage_report

logger: logging.Logger = logging.getLogger(__name__)

Account: TypeAlias = "dict[str, Any]"

_WAITING = 5.0
"""Seconds that a question waits for running calls, if these may use up the rest of the budget."""
_ABANDONED = 600.0
"""Seconds after which a question without an answer no longer reserves anything."""
_HOURS = {"day": 48.0, "month": 24.0 * 32, "total": None}
"""How long an account is kept: until its period is certainly over."""
_ANSWER = 1_000
"""The assumed tokens of an answer, as long as no call of the user is known that cost more."""
_REMEMBERED = 64
"""How many charges an account remembers: one that is sent again after a lost reply counts once."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a user may spend, in USD, over all their sessions in a store and in all processes.

    When the budget is spent, questions are refused. The cost of a call is known only after the call, so the
    last one may exceed the budget: at most one, however many writers there are. Calls without a known price
    do not count. Days and months are in UTC.

    Give the budget to every manager of the user: what a manager without it spends is counted only when a new
    period begins, from the sessions.

    Raises:
        InvalidInput: the amount is below 0, or the period is not "day", "month" or "total".
    """

    usd: float
    """The USD that may be spent."""
    per: Literal["day", "month", "total"] = "total"
    """The period: "day", "month", or "total" for all time."""

    def __post_init__(self) -> None:
        check_at_least(self.usd, 0, "usd", "make a Budget")
        if self.per not in _HOURS:
            raise InvalidInput("make a Budget", 'per must be "day", "month" or "total"')

    def period_of(self, moment: datetime) -> str:
        """Return the name of the period of a time."""
        day = moment.astimezone(UTC).date().isoformat()
        return {"day": day, "month": day[:7], "total": "total"}[self.per]

    def start_of(self, moment: datetime) -> datetime | None:
        """Return when the period of a time began; `None` for "total"."""
        start = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return {"day": start, "month": start.replace(day=1), "total": None}[self.per]


# -- the rules, on accounts as values -----------------------------------------------------------------


def begun(account: Account | None, period: str, spent: int) -> Account:
    """The account of a new period, in which so much is known to be spent already."""
    before = account or {}
    return {
        "period": period,
        "spent": spent,
        "most": before.get("most", 0),
        "tickets": before.get("tickets", {}),
        "charged": before.get("charged", []),
    }


def set_aside_by_others(account: Account, ticket: str, now: float) -> int:
    """What the other running calls may cost."""
    tickets = account["tickets"].items()
    return sum(units for other, (units, until) in tickets if other != ticket and until > now)


def admitted(account: Account, ticket: str, expected: int, limit: int, now: float) -> Account:
    """The account with a running call that may cost so much; all that is left, if the cost is unknown."""
    most = max(expected, account["most"]) or max(1, limit - account["spent"])
    tickets = {other: held for other, held in account["tickets"].items() if held[1] > now}
    return account | {"tickets": tickets | {ticket: [most, now + _ABANDONED]}}


def charged(account: Account, ticket: str | None, units: int, charge: str) -> Account | None:
    """The account after a call; `None` if the call was charged already."""
    if charge in account["charged"]:
        return None
    tickets = {other: held for other, held in account["tickets"].items() if other != ticket}
    return account | {
        "spent": account["spent"] + units,
        "most": max(account["most"], units),
        "tickets": tickets,
        "charged": [*account["charged"], charge][-_REMEMBERED:],
    }


# -- a manager's part ---------------------------------------------------------------------------------------


class Spending:
    """Charges one manager's calls to its user's account.

    Args:
        budget: the budget.
        user_id: the user.
        model: the model that is called, if that is known before the call.
    """

    def __init__(self, budget: Budget, user_id: str, model: str | None) -> None:
        self._budget = budget
        self._user_id = user_id
        self._model = model
        self._ticket = new_id()
        self._limit = units_of(budget.usd)
        self._charging: set[asyncio.Task[None]] = set()
        self._not_charged: list[tuple[int, str]] = []

    async def admit(self, home: HomeStore, tokens: int) -> None:
        """Let a call with so many tokens begin, or refuse it.

        Raises:
            TokenLimitExceeded: the budget is spent, or running calls may use up the rest of it.
            InvalidInput: the store keeps no accounts.
            StorageError: the store failed.
        """
        await self._make_up(home)
        expected = await self._expected(tokens)
        started = asyncio.get_running_loop().time()
        pause = 0.02
        while True:
            in_the_way = await self._try(home, expected)
            if in_the_way is None:
                return
            spent, held = in_the_way
            waited = asyncio.get_running_loop().time() - started
            if spent >= self._limit or waited > _WAITING:
                raise self._exceeded(spent, held)
            await asyncio.sleep(pause)  # until running calls end
            pause = min(pause * 1.5, 0.25)

    async def _expected(self, tokens: int) -> int:
        """The approximate cost of a call; 0 if it is unknown."""
        if self._model is None:
            return 0
        await load_prices()
        return units_of(call_cost(self._model, input_tokens=tokens, output_tokens=_ANSWER) or 0.0)

    async def _try(self, home: HomeStore, expected: int) -> tuple[int, int] | None:
        """Let the call begin, if it may; otherwise, return what was spent, and what other calls reserve."""
        now = utc_now()
        period, is_new = self._budget.period_of(now), False
        initial: int | None = None
        found: tuple[int, int] | None = None

        def change(account: Account | None) -> Account | None:
            nonlocal found, is_new
            begins: Account | None = None
            if account is None or account["period"] != period:
                is_new = True
                if initial is None:
                    return None
                begins = account = begun(account, period, initial)
            held = set_aside_by_others(account, self._ticket, now.timestamp())
            is_over = account["spent"] >= self._limit or (held and account["spent"] + held >= self._limit)
            found = (account["spent"], held) if is_over else None
            if is_over:
                return begins
            return admitted(account, self._ticket, expected, self._limit, now.timestamp())

        await self._change(home, change)
        if is_new:  # a period begins: what was spent in it so far is known from the sessions
            since = self._budget.start_of(now)
            rows = await usage_report(_with_accounts(home), ("user",), since=since, user_id=self._user_id)
            initial = sum(units_of(row.cost_usd) for row in rows)
            await self._change(home, change)
        return found

    async def charge(self, home: HomeStore, cost: float, charge: str) -> None:
        """Add the cost of a call, and release what was reserved for it.

        If this fails, the cost is added with the next question: the answer is recorded in any case.

        Args:
            home: the store of the account.
            cost: USD; below 0 if a bill was reduced.
            charge: a unique id, such as the event's, so that the cost counts once.
        """
        self._not_charged.append((units_of(cost), charge))
        task = asyncio.create_task(self._make_up(home))
        self._charging.add(task)
        task.add_done_callback(self._charging.discard)
        try:
            await asyncio.shield(task)
        except StorageError as problem:
            logger.warning("The cost of a call is not on the user's account yet: %s", problem)

    async def _make_up(self, home: HomeStore) -> None:
        while self._not_charged:
            units, charge = owed = self._not_charged[0]

            def change(account: Account | None, units: int = units, charge: str = charge) -> Account | None:
                # Without an account, the next one counts from the sessions what was spent.
                return None if account is None else charged(account, self._ticket, units, charge)

            await self._change(home, change)
            if owed in self._not_charged:
                self._not_charged.remove(owed)

    async def _change(self, home: HomeStore, change: Callable[[Account | None], Account | None]) -> None:
        name = account_name(self._budget.per, self._user_id)
        await _with_accounts(home).change_account(name, change, hours=_HOURS[self._budget.per])

    def _exceeded(self, spent: int, held: int) -> TokenLimitExceeded:
        period = {"day": " a day", "month": " a month", "total": ""}[self._budget.per]
        so_far = float(Usd.of_units(spent))
        text = f"Budget exceeded: {so_far:.6f} USD spent of {self._budget.usd} USD{period}"
        if spent < self._limit:
            text += f", and running calls may cost {float(Usd.of_units(held)):.6f} USD"
        return TokenLimitExceeded(self._budget.usd, float(Usd.of_units(max(spent, spent + held))), text)


def _with_accounts(home: HomeStore) -> EventStore:
    if not isinstance(home, EventStore):
        raise InvalidInput("keep a budget", "this store cannot: use one in memory, SQLite or Redis")
    return home
