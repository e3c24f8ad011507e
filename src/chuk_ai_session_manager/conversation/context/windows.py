"""Cutting messages to a number of tokens: which of them are dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, compress, takewhile
from typing import NamedTuple

from ...exceptions import TokenLimitExceeded
from ...exceptions.validation import check_count
from ...providers.messages import SYSTEM_ROLES, ChatMessage, calls_of
from .lengths import Length, content_length
from .steps import first_in_step


class _Row(NamedTuple):
    """A message of a prompt, and its tokens."""

    message: ChatMessage
    tokens: int


async def truncate_prompt_to_token_limit(
    prompt: list[ChatMessage], max_tokens: int, model: str = "gpt-3.5-turbo"
) -> list[ChatMessage]:
    """Cut a prompt to at most so many tokens; a prompt that fits is returned as it is.

    These rows are always kept: the system rows in front, the last user row, and the last answer after it.
    The oldest rows are dropped first: exchange by exchange (an exchange reaches from a user row to the next),
    then, inside the newest exchange, answer by answer. A call and its results stay or go together; only
    results after an assistant's row without calls (the original's strategies make such rows) go one by one.

    Args:
        prompt: chat messages, each call directly followed by its results; the list is not changed.
        max_tokens: how many tokens the rows' texts may have together.
        model: the model whose tokens are counted.

    Raises:
        InvalidInput: `max_tokens` is below 1.
        TokenLimitExceeded: the rows that are always kept have more tokens; `actual` says how many.
    """
    check_count(max_tokens, 1, "max_tokens", "truncate a prompt")
    cut = await shortened(prompt, max_tokens, content_length(model))
    return prompt if cut is None else cut


async def shortened(
    prompt: list[ChatMessage],
    max_tokens: int,
    length: Length,
    step: float | None = None,
    is_pinned: Callable[[ChatMessage], bool] = lambda _row: False,
) -> list[ChatMessage] | None:
    """A prompt, cut to at most so many tokens; `None` where it already fits.

    Args:
        prompt: chat messages.
        max_tokens: how many tokens the messages may have together.
        length: measures a message.
        step: inside the newest exchange, answers are dropped in steps of this many tokens.
        is_pinned: whether a message of the newest exchange is never dropped.

    Raises:
        TokenLimitExceeded: as for `truncate_prompt_to_token_limit`.
    """
    front = len(list(takewhile(is_system, prompt)))
    system = [_Row(row, await length(row)) for row in prompt[:front]]
    rows = await _counted_from_the_end(prompt[front:], max_tokens - _tokens(system), length)
    if _tokens(system) + _tokens(rows) <= max_tokens:
        return None
    exchanges = _blocks(rows, lambda _first, row: not is_user(row))
    room = max_tokens - _tokens(system)
    newest = _newest(exchanges, room) or _newest_exchange_within(exchanges, room, step, is_pinned)
    kept = system + newest
    if _tokens(kept) > max_tokens:
        raise TokenLimitExceeded(max_tokens, _tokens(kept))
    return [row.message for row in kept]


async def _counted_from_the_end(prompt: list[ChatMessage], room: int, length: Length) -> list[_Row]:
    """The last rows, counted from the end until they are too long and the newest question is among them."""
    rows: list[_Row] = []
    has_question = False
    for message in reversed(prompt):
        rows.append(_Row(message, await length(message)))
        room -= rows[-1].tokens
        has_question = has_question or is_user(message)
        if room < 0 and has_question:
            break
    return rows[::-1]


def _newest_exchange_within(
    exchanges: list[list[_Row]], room: int, step: float | None, is_pinned: Callable[[ChatMessage], bool]
) -> list[_Row]:
    """The newest exchange without its oldest answers: as many answers as fit, or the fewest possible."""
    newest = [row for exchange in exchanges[-1:] for row in exchange]
    question = list(takewhile(lambda row: is_user(row.message), newest))
    answers = _blocks(newest[len(question) :], _is_result_of)
    pinned = [any(is_pinned(row.message) for row in answer) for answer in answers]
    room -= _tokens(question)
    if fitting := _newest(answers, room, step, pinned):
        return question + fitting
    earlier = _pinned_before(answers, len(answers) - 1, pinned)
    return question + earlier + _without_loose_results(answers, room - _tokens(earlier))


def _without_loose_results(answers: list[list[_Row]], room: int) -> list[_Row]:
    """The last answer; where its results answer no call, without the oldest of them."""
    last = [row for answer in answers[-1:] for row in answer]
    if not last or calls_of(last[0].message):
        return last
    return last[:1] + _newest([[result] for result in last[1:]], room - last[0].tokens)


def _blocks(rows: Iterable[_Row], belongs: Callable[[ChatMessage, ChatMessage], bool]) -> list[list[_Row]]:
    """Cut rows into blocks: a row that does not belong to the first row of a block begins the next block."""
    blocks: list[list[_Row]] = []
    for row in rows:
        if blocks and belongs(blocks[-1][0].message, row.message):
            blocks[-1].append(row)
        else:
            blocks.append([row])
    return blocks


def _newest(
    blocks: Sequence[list[_Row]], room: int, step: float | None = None, pinned: Sequence[bool] = ()
) -> list[_Row]:
    """The rows of the last blocks: as many blocks as fit, or fewer where they have to begin at a step.

    Pinned blocks are among them wherever they stand. Where not even the last block fits, there are no rows.
    """
    pinned = pinned or [False] * len(blocks)
    room -= _tokens(_pinned_before(blocks, len(blocks), pinned))
    begins = len(blocks)
    while begins:
        room -= 0 if pinned[begins - 1] else _tokens(blocks[begins - 1])
        if room < 0:
            break
        begins -= 1
    if begins == len(blocks):
        return []
    if step:
        positions = list(accumulate(map(_tokens, blocks[:-1]), initial=0))
        begins = first_in_step(positions, [None, *positions], begins, step)
    return [*_pinned_before(blocks, begins, pinned), *chain.from_iterable(blocks[begins:])]


def _pinned_before(blocks: Sequence[list[_Row]], end: int, pinned: Sequence[bool]) -> list[_Row]:
    """The rows of the pinned blocks before a block."""
    return list(chain.from_iterable(compress(blocks[:end], pinned)))


def _tokens(rows: Iterable[_Row]) -> int:
    return sum(row.tokens for row in rows)


def _is_result_of(call: ChatMessage, row: ChatMessage) -> bool:
    return call.get("role") == "assistant" and row.get("role") == "tool"


def is_user(row: ChatMessage) -> bool:
    """Whether a row is the user's."""
    return row.get("role") == "user"


def is_system(row: ChatMessage) -> bool:
    """Whether a row is an instruction of the application to the model."""
    return row.get("role") in SYSTEM_ROLES
