"""Contexts of at most so many tokens, made of the end of a log: what is older than the window is not read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import takewhile
from typing import TypeAlias

from ...exceptions import TokenLimitExceeded
from ...models import TokenUsage
from ...models.event_page import tokens_of
from ...providers.earlier import marked, with_earlier
from ...providers.messages import ChatMessage, call_and_result_numbers, text_of
from ...providers.sendable import with_newest_marks
from ...stores.base import AnyEvent
from ..log_end import LogEnd
from ..order import late_answers, late_questions
from .windows import is_system, is_user, shortened, truncate_prompt_to_token_limit

RowsOf: TypeAlias = Callable[[Sequence[AnyEvent]], list[ChatMessage]]
"""Makes chat messages of events that follow each other."""

# A result's call is looked for in so many events before the result; one whose call is further away is shown
# with a call made of what the result says.
_CALL_SEARCHED = 200


async def fitted(
    log: LogEnd,
    beginning: Sequence[ChatMessage],
    summary: str | None,
    start: Sequence[AnyEvent],
    rows_of: RowsOf,
    *,
    may_begin_with_system: bool,
    max_tokens: int,
    model: str,
) -> list[ChatMessage]:
    """The messages that `truncate_prompt_to_token_limit` would leave of the whole log.

    Args:
        log: the end of the live segment's log; more of it is read as needed.
        beginning: the rows that go before all messages: the system prompt.
        summary: of what was said before the log; the first user's row then begins with it.
        start: the events that go before the log: the start of the exchange that it goes on with.
        rows_of: makes the messages.
        may_begin_with_system: whether `rows_of` may give system rows where the log begins: these belong to
            what is never dropped.
        max_tokens: what the tokens of the messages' texts may add up to.
        model: whose tokens those are.

    Raises:
        InvalidInput: `max_tokens` below 1.
        TokenLimitExceeded: not even the newest exchange fits.
        SessionNotFound: the session expired or was deleted meanwhile.
        StorageError: the store could not say.
    """

    async def cut(tokens: int) -> list[ChatMessage]:
        return await _fitted(
            log,
            beginning,
            start,
            rows_of,
            may_begin_with_system=may_begin_with_system,
            max_tokens=tokens,
            model=model,
        )

    if summary is None:
        return await cut(max_tokens)
    return await fitted_with_earlier(cut, summary, max_tokens, model)


async def fitted_with_earlier(
    cut: Callable[[int], Awaitable[list[ChatMessage]]], summary: str, max_tokens: int, model: str
) -> list[ChatMessage]:
    """Messages cut to so many tokens, the first user's row of which begins with a summary.

    Raises:
        TokenLimitExceeded: the summary, and what `cut` leaves in any case, are more than that.
    """
    length = await TokenUsage.count_tokens(marked(summary), model)
    while length < max_tokens:
        try:
            rows = await cut(max_tokens - length)
        except TokenLimitExceeded as problem:
            raise TokenLimitExceeded(max_tokens, length + int(problem.actual or 0)) from None
        told = with_earlier(rows, summary)
        longer = await _tokens(told, model) - await _tokens(rows, model)
        if longer <= length:
            return told
        length = longer  # two texts together can be more tokens than each of them
    raise TokenLimitExceeded(max_tokens, length + 1)


async def _tokens(rows: Sequence[ChatMessage], model: str) -> int:
    return sum([await TokenUsage.count_tokens(text_of(row), model) for row in rows])


async def _fitted(
    log: LogEnd,
    beginning: Sequence[ChatMessage],
    start: Sequence[AnyEvent],
    rows_of: RowsOf,
    *,
    may_begin_with_system: bool,
    max_tokens: int,
    model: str,
) -> list[ChatMessage]:
    front: list[ChatMessage] | None = None
    if not log.is_whole and tokens_of(log.events) < max_tokens:
        await log.read_back(tokens=max_tokens)
    while not log.is_whole:
        begins = _beginning_of_window(log.events, rows_of)
        if begins is not None:
            if front is None:
                front = [*beginning]
                if may_begin_with_system and not start:
                    front += await _system_rows_of(log, rows_of)
                continue  # the log may have been read anew
            rows = with_newest_marks([*front, *rows_of(log.events[begins:])])
            fitting = await shortened(rows, max_tokens, model)
            if fitting is not None:
                return fitting
        await log.read_back()
    late = await late_questions(log.events, log.home)
    rows = [*beginning, *rows_of([*late, *start, *log.events])]
    return await truncate_prompt_to_token_limit(rows, max_tokens, model)


def _beginning_of_window(events: Sequence[AnyEvent], rows_of: RowsOf) -> int | None:
    """The first event that a user's message is, from which on no result is without its call.

    And no answer that came late without its question.
    """
    spans = [*call_and_result_numbers(events), *late_answers(events)]
    at = 0
    while True:
        at = next((n for n in range(at, len(events)) if _is_user_s(events[n], rows_of)), len(events))
        if at == len(events):
            return None
        cut = [result for call, result in spans if _is_cut(call, result, at)]
        if not cut:
            return at
        at = max(cut) + 1


def _is_cut(call: int | None, result: int, at: int) -> bool:
    """Whether a window that begins at an event has a result, and not the call that it is of."""
    if call is None:
        return at <= result < _CALL_SEARCHED  # else the call would have been among the events
    return call < at <= result


def _is_user_s(event: AnyEvent, rows_of: RowsOf) -> bool:
    return any(is_user(row) for row in rows_of([event]))


async def _system_rows_of(log: LogEnd, rows_of: RowsOf) -> list[ChatMessage]:
    """The system rows that the log begins with."""
    totals = log.session.totals
    if totals.messages == totals.user_messages + totals.ai_messages:
        return []
    first = await log.first_events(lambda events: not all(map(is_system, rows_of(events))))
    return list(takewhile(is_system, rows_of(first)))
