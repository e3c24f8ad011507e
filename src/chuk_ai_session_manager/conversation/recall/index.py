"""The index of a conversation: which turns have which terms. It is in memory only, and only grows."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from ...stores.base import AnyEvent
from .languages import ENGLISH
from .related import COMPOUNDING, compounds_of, spellings_of
from .speakers import Speakers
from .turns import Said, passages_of, said_in
from .words import Words

# An episode ends after this many seconds of silence, or after this many turns.
_SILENCE = 6 * 3600
_LONGEST_EPISODE = 60
# The number of a passage, and how often a term occurs in it, share 32 bits.
_COUNT_BITS = 6
_MOST_COUNTED = (1 << _COUNT_BITS) - 1
# The greatest number in the arrays of short numbers.
_MOST = 0xFFFF
# The memory that Python needs for a turn beside its text, a term, and an empty index, in bytes (measured).
_TURN_BYTES, _TERM_BYTES, _EMPTY_BYTES = 320, 260, 8_000
# Scores are divided by this power of the passage's tokens, which count as at least this many.
_COST_POWER, _LEAST_COST = 0.3, 8
# In chats of people, not a short question answers, but the turn after it. In chats with models, users'
# questions tell much.
_QUESTION, _SHORT = 0.8, 100
PART = 0.42
"""The share of a long turn's score that each of its passages gets, besides the score of its own words."""
# The weight of terms that are related to those of a question.
_RELATED = 0.5
# A language with a smaller share of the texts than this was most likely guessed wrong.
_FEW_TEXTS = 0.03


class _Joined(NamedTuple):
    """All terms in one text, each between two line ends, and how many they are."""

    terms: int = 0
    text: str = "\n"


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a conversation in the index."""

    number: int
    event_id: str
    session_id: str
    time: datetime
    said: Said


class Index:
    """The turns of a conversation, oldest first, and the places of each term.

    Args:
        words: makes terms of texts.
    """

    def __init__(self, words: Words) -> None:
        self.words = words
        self.bytes: int = _EMPTY_BYTES
        """About how many bytes of memory the index takes."""
        self.ids: list[str] = []
        """The ids of the turns' events."""
        self.number_of: dict[str, int] = {}
        self.times: array[float] = array("d")
        self.lengths: array[int] = array("H")
        """How many terms each turn has."""
        self.episodes: array[int] = array("I")
        self.speakers: array[int] = array("H")
        self.first_passages: array[int] = array("I")
        """The number of each turn's first passage."""
        self.turns_of_passages: array[int] = array("I")
        self.passage_lengths: array[int] = array("H")
        self.has_parts: bool = False
        self.is_part: bytearray = bytearray()
        """For each passage, whether its turn has several."""
        self.spans: array[int] = array("H")
        """Where each passage begins and ends in its turn's text."""
        self.weights: array[float] = array("f")
        """For each passage, the weight of its turn's score: longer passages get less."""
        self.postings: dict[str, array[int]] = {}
        """For each term, the passages in which it occurs, and how often."""
        self.terms_in_turns: int = 0
        self.episode_lengths: array[int] = array("I")
        self.episode_starts: array[int] = array("I")
        """The first turn of each episode."""
        self.names: Speakers = Speakers(words)
        self.results: set[int] = set()
        """The turns that are results of tools."""
        self.cut: set[int] = set()
        """The turns of which only the beginning is searched."""
        self.days: list[tuple[date, int]] = []
        """The days of the conversation, each with its first turn."""
        self.out: set[int] = set()
        """Turns that do not hold: they are not found, and add nothing to the scores of others."""
        self.vectors: dict[int, tuple[object, dict[int, array[float]]]] = {}
        """The vectors of turns, by the `id()` of the embedder."""
        self._texts: list[bytes] = []
        self._segments: list[str] = []
        self._segment_of = array("I")
        # For each segment in `_segments`, the number of its conversation.
        self._conversations: list[int] = []
        self._languages: Counter[str] = Counter()
        self._language = ENGLISH
        self._in_episode, self._begins_anew = 0, True
        self._joined = _Joined()

    # -- growing --------------------------------------------------------------------------------

    def begin_conversation(self) -> None:
        """Begin another conversation: the turns that are added next belong to it."""
        self._begins_anew = True

    def add(self, event: AnyEvent, session_id: str) -> None:
        """Add the next event of the log; events without text are left out."""
        said = said_in(event)
        if said is None or event.id in self.number_of:
            return
        number = len(self.ids)
        self.number_of[event.id] = number
        self.ids.append(event.id)
        is_other = self._begins_anew
        self._place(number, event.timestamp)
        if not self._segments or self._segments[-1] != session_id or is_other:
            self._segments.append(session_id)
            last = self._conversations[-1] if self._conversations else 0
            self._conversations.append(last + is_other)
        self._segment_of.append(len(self._segments) - 1)
        self.speakers.append(self.names.number_of(said, self._language))
        if said.is_result:
            self.results.add(number)
        if said.is_cut:
            self.cut.add(number)
        text = said.text.encode("utf-8", errors="replace")
        self._texts.append(text)
        length = self._add_passages(number, said)
        self.lengths.append(min(length, _MOST))
        self.terms_in_turns += length
        self.episode_lengths[-1] += length
        self.bytes += _TURN_BYTES + len(text) + 4 * length

    def _place(self, number: int, time: datetime) -> None:
        """Record the time and the episode of a turn."""
        seconds = time.timestamp()
        is_silent = bool(self.times) and seconds - self.times[-1] > _SILENCE
        self.times.append(seconds)
        if self._begins_anew or is_silent or self._in_episode >= _LONGEST_EPISODE:
            self.episode_lengths.append(0)
            self.episode_starts.append(number)
            self._in_episode, self._begins_anew = 0, False
        self._in_episode += 1
        self.episodes.append(len(self.episode_lengths) - 1)
        day = time.astimezone(UTC).date()
        if not self.days or self.days[-1][0] != day:
            self.days.append((day, number))

    def _add_passages(self, number: int, said: Said) -> int:
        self.first_passages.append(len(self.turns_of_passages))
        total = 0
        spans = passages_of(said.text, is_result=said.is_result)
        for start, end in spans:
            passage = len(self.turns_of_passages)
            text = said.text[start:end]
            terms, self._language = self.words.terms_and_language(text, self._language)
            if said.is_result and not start:
                terms += self.words.terms_and_language(said.speaker, self._language)[0]
            self._languages[self._language] += 1
            self.turns_of_passages.append(number)
            self.is_part.append(len(spans) > 1)
            self.has_parts = self.has_parts or len(spans) > 1
            self.spans.extend((start, end))
            length = sum(len(term) > 1 for term in terms)  # letters of formulas make no text longer
            self.passage_lengths.append(min(length, _MOST))
            weight = _weight(text, is_part=len(spans) > 1)
            self.weights.append(weight * _QUESTION if said.is_named and _is_short_question(text) else weight)
            total += length
            self._post(passage, terms)
        return total

    def _post(self, passage: int, terms: list[str]) -> None:
        postings, at = self.postings, passage << _COUNT_BITS
        counts: dict[str, int] = {}
        for term in terms:
            counts[term] = counts.get(term, 0) + 1
        for term, count in counts.items():
            entry = at | (min(_MOST_COUNTED, count))
            found = postings.get(term)
            if found is None:
                postings[term] = array("I", (entry,))
                self.bytes += _TERM_BYTES
            else:
                found.append(entry)

    # -- looking up -----------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many turns the index has."""
        return len(self.ids)

    @property
    def languages(self) -> list[str]:
        """The languages of the texts, the commonest first."""
        total = self._languages.total()
        return [name for name, count in self._languages.most_common() if count >= total * _FEW_TEXTS]

    def with_related(self, terms: Iterable[str], without: Collection[int] = ()) -> dict[str, float]:
        """A question's terms, and terms that are related to these, each with its weight.

        Compounds are looked for if a language of the conversation has them, other spellings for terms that do
        not occur.

        Args:
            terms: the terms of a question.
            without: turns that do not count, such as the question.
        """
        found = dict.fromkeys(terms, 1.0)
        unknown = [term for term in found if not self._occurs(term, without)]
        related = [each for term in unknown for each in spellings_of(term, self.postings)]
        if not COMPOUNDING.isdisjoint(self.languages):
            if self._joined.terms != len(self.postings):
                self._joined = _Joined(len(self.postings), "\n".join(["", *self.postings, ""]))
            joined = self._joined.text
            related += (each for term in found for each in compounds_of(term, self.postings, joined))
        return dict.fromkeys(related, _RELATED) | found

    def _occurs(self, term: str, without: Collection[int]) -> bool:
        turns = (self.turns_of_passages[entry >> _COUNT_BITS] for entry in self.postings.get(term, ()))
        return any(turn not in without for turn in turns)

    def set_out(self, event_ids: Collection[str]) -> None:
        """Set the events that do not hold."""
        self.out = {number for each in event_ids if (number := self.number_of.get(each)) is not None}

    def speaker_of(self, turn: int) -> str:
        """The speaker of a turn."""
        return self.names.names[self.speakers[turn]]

    def text_of(self, turn: int) -> str:
        """The searched text of a turn."""
        return self._texts[turn].decode()

    def day_of(self, turn: int) -> date:
        """The day of a turn, in UTC."""
        return datetime.fromtimestamp(self.times[turn], UTC).date()

    def whole(self, turn: int) -> tuple[int, int]:
        """Where the last passage of a turn ends, as all of it."""
        return 0, self.span(self.passages(turn)[-1])[1]

    def conversation_of(self, turn: int) -> int:
        """The number of a turn's conversation, in the order of reading."""
        return self._conversations[self._segment_of[turn]]

    def turn(self, number: int) -> Turn:
        """The turn with this number."""
        said = Said(
            self.speaker_of(number),
            self.text_of(number),
            is_result=number in self.results,
            is_cut=number in self.cut,
        )
        time = datetime.fromtimestamp(self.times[number], UTC)
        return Turn(number, self.ids[number], self._segments[self._segment_of[number]], time, said)

    def passages(self, turn: int) -> range:
        """The numbers of a turn's passages."""
        last = turn + 1 == len(self.ids)
        return range(
            self.first_passages[turn], len(self.turns_of_passages) if last else self.first_passages[turn + 1]
        )

    def span(self, passage: int) -> tuple[int, int]:
        """Where a passage begins and ends in its turn's text."""
        return self.spans[2 * passage], self.spans[2 * passage + 1]

    def passage_text(self, passage: int) -> str:
        """The speaker of a passage, and its text."""
        turn = self.turns_of_passages[passage]
        start, end = self.span(passage)
        return f"{self.speaker_of(turn)}: {self.text_of(turn)[start:end]}"

    def least_cost(self, passage: int) -> int:
        """The least number of tokens of a passage: no tokenizer needs less than one for eight characters."""
        start, end = self.span(passage)
        return (end - start) // 8

    def found(self, term: str) -> tuple[dict[int, int], list[tuple[int, int]]]:
        """The turns that hold and have a term, and how often; and the same for the passages of long turns."""
        entries = self.postings.get(term, ())
        if not self.has_parts and not self.out:  # passages and turns have the same numbers
            return {entry >> _COUNT_BITS: entry & _MOST_COUNTED for entry in entries}, []
        turns: dict[int, int] = {}
        parts: list[tuple[int, int]] = []
        turn_of, is_part, out = self.turns_of_passages, self.is_part, self.out
        for entry in entries:
            passage, times = entry >> _COUNT_BITS, entry & _MOST_COUNTED
            turn = turn_of[passage]
            if turn in out:
                continue
            turns[turn] = turns.get(turn, 0) + times
            if is_part[passage]:
                parts.append((passage, times))
        return turns, parts


def _is_short_question(text: str) -> bool:
    return len(text) < _SHORT and text.rstrip().endswith(("?", "？", "؟"))


def _weight(text: str, *, is_part: bool) -> float:
    """The weight of a turn's score for a passage: it is divided by a small power of the passage's tokens.

    Short turns answer more often than their share of the tokens: in chats with models, three of four turns
    that answer are the user's short ones (measured; the power is, too).
    """
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    cost = 6 + size * 2 / 9
    return (PART if is_part else 1.0) * float(max(_LEAST_COST, cost) ** -_COST_POWER)
