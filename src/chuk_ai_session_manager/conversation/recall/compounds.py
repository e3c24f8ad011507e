"""Compound words: "Zahnarzttermin" is found by "Termin", and "Termin" by "Zahnarzttermin"."""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import islice

LANGUAGES = frozenset(("danish", "dutch", "finnish", "german", "norwegian", "swedish"))
"""The languages in which compound words are written as one."""

# A part has at least so many letters, and so has the rest of the compound. At most so many compounds count.
_LEAST, _MOST = 4, 20


def related_to(term: str, terms: Container[str], joined: str) -> list[str]:
    """The terms that are compounds with a term, and those that are its own parts.

    Args:
        term: a term of a question.
        terms: all terms.
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
