"""Ranking the passages of a conversation for a question: by words, neighbours, episodes, dates and names.

The weights were measured on conversations between people (LoCoMo) and with models (BEAM); `docs/recall.md`
shows what each part gains. The parts are added up, and none needs a model.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from operator import mul
from typing import TypeAlias

from .dates import Days, days_in
from .index import PART, Index
from .words import tokens_of

# BM25 (Robertson and others, 1994), with the usual constants.
_K1, _B = 1.2, 0.75
# A match adds to the scores of the turns after it and before it in its episode.
_OWN = 1.1
_AFTER = (0.7, 0.4, 0.2)
_BEFORE = (0.5, 0.25, 0.12)
# The weights of the episode, the date and the speaker, if the best turn's words score 1.
_EPISODE, _DATE, _SPEAKER = 0.3, 0.8, 0.3
# The weight of a speaker's name among the words: people call each other by name in any turn.
_NAME = 0.3
# A term counts if its rarity is at least this share of that of the question's rarest term.
_LEAST_RARITY = 0.01
_ROLES = {"user", "assistant", "system", "i", "you"}


def ranked(
    index: Index,
    question: str,
    today: date,
    most: int,
    *,
    added: Mapping[int, float] | None = None,
    without: Collection[int] = (),
    by_cost: bool = True,
) -> list[tuple[float, int]]:
    """The passages that may answer a question, each with its score, the best first.

    Args:
        index: the index of the conversation.
        question: any text, without special syntax.
        today: the day of the question.
        most: the most passages.
        added: further scores of turns, by the turn's number.
        without: turns to leave out (those that are shown already, and the question); they score nothing.
        by_cost: whether to prefer short passages, because more of them fit into a context.
    """
    terms = index.words.question_terms(question, index.languages)
    days = days_in(question, today)
    words = _word_scores(index, terms, without)
    turns, own = _scores(index, words, days, question, added or {})
    weights = index.weights if by_cost else [PART if is_part else 1.0 for is_part in index.is_part]
    of_passages = map(turns.__getitem__, index.turns_of_passages) if index.has_parts else turns
    values = list(map(mul, of_passages, weights))
    for passage, score in own.items():
        if values[passage] > 0:
            values[passage] += score * weights[passage]
    return _best(values, most)


def _best(values: Sequence[float], most: int) -> list[tuple[float, int]]:
    """The greatest values above 0, the greatest first, each with its position."""
    greatest = heapq.nlargest(most, values)  # without a key, which would take twice the time
    if not greatest:
        return []
    least = greatest[-1]
    found = [(value, at) for at, value in enumerate(values) if value >= least and value > 0]
    return sorted(found, key=lambda each: -each[0])[:most]


_Scores: TypeAlias = dict[int, float]


def _scores(
    index: Index,
    found: tuple[_Scores, _Scores, _Scores],
    days: Sequence[Days],
    question: str,
    added: Mapping[int, float],
) -> tuple[list[float], dict[int, float]]:
    """The scores of turns, and of the passages of long turns, by their own words."""
    words, passages, by_episode = found
    turns = _with_neighbours(index, words)
    scale = 1 / (max(turns, default=0.0) or 1.0)
    best_episode = max(by_episode.values(), default=0.0)
    starts = [*index.episode_starts, len(index)]
    for episode, score in by_episode.items():  # turns of the other episodes have no score
        first, end, share = starts[episode], starts[episode + 1], _EPISODE * score / best_episode
        turns[first:end] = [each * scale + share for each in turns[first:end]]
    for first, last in _on_days(index, days):
        for number in range(first, last):
            turns[number] += _DATE
    _add_speakers(index, question, turns)
    for number, score in added.items():
        turns[number] += score
    for number in index.out:
        turns[number] = 0.0
    return turns, {passage: score * scale * _OWN for passage, score in passages.items()}


def _word_scores(
    index: Index, terms: Sequence[str], without: Collection[int]
) -> tuple[_Scores, _Scores, _Scores]:
    """The BM25 scores of turns, of long turns' passages, and of episodes."""
    lengths, episode_of = index.lengths, index.episodes
    turns: _Scores = {}
    passages: _Scores = {}
    by_episode: _Scores = {}
    count, total = max(1, len(index) - len(index.out)), max(1, index.terms_in_turns)
    episodes = len(index.episode_lengths)
    usual, usual_episode = _K1 * _B * count / total, _K1 * _B * episodes / total
    usual_passage = _K1 * _B * max(1, len(index.turns_of_passages)) / total
    least = _K1 * (1 - _B)
    for term, share in _telling(index, terms, without).items():
        in_turns, in_parts = index.found(term)
        for turn in without:
            in_turns.pop(turn, None)
        if not in_turns:
            continue
        weight = share * _rarity(count, len(in_turns))
        in_episodes: dict[int, int] = {}
        for turn, times in in_turns.items():
            turns[turn] = turns.get(turn, 0.0) + weight * times / (times + least + usual * lengths[turn])
            episode = episode_of[turn]
            in_episodes[episode] = in_episodes.get(episode, 0) + times
        for passage, times in in_parts:
            length = index.passage_lengths[passage]
            bm25 = weight * times / (times + least + usual_passage * length)
            passages[passage] = passages.get(passage, 0.0) + bm25
        weight = share * _rarity(episodes, len(in_episodes))
        for episode, times in in_episodes.items():
            bm25 = weight * times / (times + least + usual_episode * index.episode_lengths[episode])
            by_episode[episode] = by_episode.get(episode, 0.0) + bm25
    return turns, passages, by_episode


def _telling(index: Index, terms: Sequence[str], without: Collection[int]) -> dict[str, float]:
    """The terms that count, with the weight of each, which is 1 for most of the question's own.

    Terms in nearly all passages are left out: beside rarer ones, these tell nothing.
    """
    count = len(index.turns_of_passages)
    found = {
        term: _NAME if term in index.names.terms else share
        for term, share in index.with_related(terms, without).items()
        if term in index.postings
    }
    rarities = [_rarity(count, len(index.postings[term])) for term in found]
    least = max(rarities, default=0.0) * _LEAST_RARITY
    return {term: found[term] for term, rarity in zip(found, rarities, strict=True) if rarity >= least}


def _rarity(count: int, having: int) -> float:
    return (_K1 + 1) * math.log(1 + (count - having + 0.5) / (having + 0.5))


def _with_neighbours(index: Index, words: Mapping[int, float]) -> list[float]:
    """The score of each turn by its own words and by those of the turns around it."""
    if index.out:
        return _with_held_neighbours(index, words)
    (after, after2, after3), (before, before2, before3) = _AFTER, _BEFORE
    total, episodes, starts = [0.0] * len(index), index.episodes, [*index.episode_starts, len(index)]
    for turn, score in words.items():
        total[turn] += _OWN * score
        episode = episodes[turn]
        first, end = starts[episode], starts[episode + 1]
        if first + 3 <= turn < end - 3:
            total[turn + 1] += after * score
            total[turn + 2] += after2 * score
            total[turn + 3] += after3 * score
            total[turn - 1] += before * score
            total[turn - 2] += before2 * score
            total[turn - 3] += before3 * score
            continue
        for near, weight in zip(range(turn + 1, end), _AFTER, strict=False):
            total[near] += weight * score
        for near, weight in zip(range(turn - 1, first - 1, -1), _BEFORE, strict=False):
            total[near] += weight * score
    return total


def _with_held_neighbours(index: Index, words: Mapping[int, float]) -> list[float]:
    """The same score where some turns do not hold: turns before and after these count as neighbours."""
    total, episodes = [0.0] * len(index), index.episodes
    held = [turn for turn in range(len(index)) if turn not in index.out]
    for at, turn in enumerate(held):
        score = words.get(turn, 0.0)
        if not score:
            continue
        total[turn] += _OWN * score
        for step, weights in ((1, _AFTER), (-1, _BEFORE)):
            for distance, weight in enumerate(weights, 1):
                near = at + step * distance
                if not 0 <= near < len(held) or episodes[held[near]] != episodes[turn]:
                    break
                total[held[near]] += weight * score
    return total


def _on_days(index: Index, days: Sequence[Days]) -> Iterator[tuple[int, int]]:
    """The turns of certain days, as pairs: the number of a first turn, and of the first turn after them."""
    if not days:
        return
    for at, (day, first) in enumerate(index.days):
        if any(each.has(day) for each in days):
            yield first, index.days[at + 1][1] if at + 1 < len(index.days) else len(index)


def _add_speakers(index: Index, question: str, turns: list[float]) -> None:
    """Add to the scores of turns whose speaker the question names; "user" and "assistant" are no names."""
    asked = {token.casefold().removesuffix("'s") for token in tokens_of(question)} - _ROLES
    named = {number for word in asked for number in index.names.by_word.get(word, ())}
    if not named:
        return
    for number, speaker in enumerate(index.speakers):
        if speaker in named and turns[number] and number not in index.results:
            turns[number] += _SPEAKER
