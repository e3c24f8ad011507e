"""Terms that are related to those of a question: compound words and their parts, and other spellings.

"Zahnarzttermin" is found by "Termin", and "Termin" by "Zahnarzttermin". A word of a question that nobody said
may be mistyped ("fesetival"), or be derived from one that somebody said ("mentorship").
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice
from string import ascii_lowercase

COMPOUNDING = frozenset(("danish", "dutch", "finnish", "german", "norwegian", "swedish"))
"""The languages in which compound words are written as one."""

# A part has at least so many letters, and so has the rest of the compound. At most so many compounds count.
_LEAST, _MOST = 4, 20
# A word with at least so many letters may be mistyped: shorter ones are too much like others.
_LEAST_MISTYPED = 5
_ALPHABETS = (ascii_lowercase, "абвгдежзийклмнопрстуфхцчшщъыьэюяё")


def compounds_of(term: str, terms: Container[str], joined: str) -> list[str]:
    """The terms that are compounds with a term, and those that are its own parts.

    Args:
        term: a term of a question.
        terms: all terms of the conversation.
        joined: all terms in one text, each between two line ends: so a search takes microseconds.
    """
    if len(term) < _LEAST or not term.isalpha():
        return []
    return [*dict.fromkeys([*_parts(term, terms), *islice(_compounds(term, joined), _MOST)])]


def _parts(term: str, terms: Container[str]) -> Iterator[str]:
    for at in range(_LEAST, len(term) - _LEAST + 1):
        yield from (part for part in (term[:at], term[at:]) if part in terms)


def _compounds(term: str, joined: str) -> Iterator[str]:
    at = joined.find(term)
    while at >= 0:
        start, end = joined.rfind("\n", 0, at) + 1, joined.index("\n", at)
        found = joined[start:end]
        if len(found) >= len(term) + _LEAST and (found.startswith(term) or found.endswith(term)):
            yield found
        at = joined.find(term, end)


def spellings_of(term: str, terms: Container[str]) -> list[str]:
    """The terms that may be meant by a term that nobody said: one letter differs, or it begins with them.

    The first letter is hardly ever mistyped.

    Args:
        term: a term of a question, which is not among the others.
        terms: all terms of the conversation.
    """
    if len(term) < _LEAST_MISTYPED or not term.isalpha():
        return []
    found = [each for each in dict.fromkeys(_one_letter_off(term)) if each in terms]
    if found:
        return found
    shorter = (term[:length] for length in range(len(term) - 1, max(_LEAST, len(term) // 2) - 1, -1))
    return [each for each in shorter if each in terms][:1]


def _one_letter_off(term: str) -> Iterator[str]:
    letters = next((each for each in _ALPHABETS if term[0] in each), "")
    for at in range(1, len(term) + 1):
        before, after = term[:at], term[at:]
        yield from (before + letter + after for letter in letters)
        if after:
            yield before + after[1:]
            yield from (before + letter + after[1:] for letter in letters)
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
