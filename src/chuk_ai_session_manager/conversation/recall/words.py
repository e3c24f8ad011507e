"""The terms of a text by which it is searched: stems, parts of identifiers, pairs of characters."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from .languages import ENGLISH, Stem, is_stop_word, language_by_script, language_of, stemmer_of

logger: logging.Logger = logging.getLogger(__name__)

MOST_WORDS = 400
"""How many words of an event are searched, from its beginning."""

# Patterns are texts: `re` compiles them at their first use and keeps them, so importing this stays cheap.

# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese; and Korean, whose
# words have many endings.
PAIRED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Letters with the marks above and below them, which Python does not count as letters.
LETTER = r"\w\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0971-\u0dff"
# Emoji and other pictures: flags are two characters; the shades of skins are no pictures.
_PICTURE = (
    "[\U0001f1e6-\U0001f1ff]{2}"
    "|(?![\U0001f3fb-\U0001f3ff])[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"
)
_TOKEN = (
    rf"[{PAIRED}]+|\d+(?:[.,]\d+)+(?![{LETTER}])|(?:(?![{PAIRED}])[{LETTER}])+"
    rf"(?:['’](?:(?![{PAIRED}])[{LETTER}])+)*|{_PICTURE}"
)
# The same for texts that are only ASCII, as most are: it takes a third of the time.
_PLAIN = r"\d+(?:[.,]\d+)+(?![A-Za-z0-9_])|[A-Za-z0-9_]+(?:'[A-Za-z0-9_]+)*"
_PARTS = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+"
_THOUSANDS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?"
_ACCENTS = "[\u0300-\u036f]"
# English endings after an apostrophe, as in "it's" and "we'll".
_LONGEST_ABBREVIATION = 2

# Texts up to so many characters are searched whole, and of longer ones no more than the other.
_SHORT, _LONG = 1_600, 3_600
_MANY_WORDS = rf"(?:\S+\s+){{{MOST_WORDS}}}"
_MOST_KNOWN = 200_000


def searched_part(text: str) -> str:
    """The part of a text that is searched."""
    if len(text) <= _SHORT:
        return text
    text = text[:_LONG]
    cut = re.match(_MANY_WORDS, text)
    return text if cut is None else cut[0].rstrip()


class Words:
    """Makes terms of texts: a question and its answer have terms in common.

    Args:
        stem: a function for the stems of words, in place of the built-in ones of each text's language.
        language: the language of all texts, if it is known.
    """

    def __init__(self, stem: Stem | None = None, language: str | None = None) -> None:
        self._stem = stem
        self._language = language
        self._known: dict[str, dict[str, tuple[str, ...]]] = {}
        self._has_failed = False

    def terms_and_language(self, text: str, before: str = ENGLISH) -> tuple[list[str], str]:
        """A text's terms, and its language.

        Args:
            text: any text.
            before: the language of the text before this one.
        """
        tokens = tokens_of(text)
        language = self._language or language_of([token.lower() for token in tokens], before)
        return self._terms(tokens, language), language

    def question_terms(self, text: str, languages: Iterable[str]) -> list[str]:
        """The terms by which a question is searched, each once.

        Args:
            text: the question.
            languages: the languages of the searched texts, the commonest first.
        """
        tokens = tokens_of(text)
        languages = list(languages) or [ENGLISH]
        own = self._language or language_of([token.lower() for token in tokens], languages[0])
        tokens = [token for token in tokens if self._terms([token], own)]
        return list(
            dict.fromkeys(
                term for each in dict.fromkeys([own, *languages]) for term in self._terms(tokens, each)
            )
        )

    def places_of(
        self, text: str, terms: AbstractSet[str], languages: Sequence[str]
    ) -> list[tuple[int, int]]:
        """Where the words begin and end that have one of certain terms.

        Args:
            text: any text.
            terms: the terms of a question.
            languages: the languages that the text may have.
        """
        found: list[tuple[int, int]] = []
        for token in re.finditer(_TOKEN, text):
            start, end = token.span()
            if re.match(f"[{PAIRED}]", token[0]):
                found += ((at, at + 2) for at in range(start, end - 1) if text[at : at + 2] in terms)
            elif any(not terms.isdisjoint(self._terms([token[0]], each)) for each in languages or [ENGLISH]):
                found.append((start, end))
        return _joined(found)

    def _terms(self, tokens: Iterable[str], language: str) -> list[str]:
        known = self._known.setdefault(language, {})
        terms: list[str] = []
        for token in tokens:
            found = known.get(token)
            terms += self._learnt(token, language, known) if found is None else found
        return terms

    def _learnt(self, token: str, language: str, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        if re.match(f"[{PAIRED}]", token):
            return pairs(token)
        if len(known) > _MOST_KNOWN:
            known.clear()
        terms = (term for word in _split(token) for term in self._of_word(word, language))
        found = tuple(dict.fromkeys(filter(None, terms)))
        known[token] = found
        return found

    def _of_word(self, word: str, language: str) -> list[str]:
        plain = word.casefold()
        if is_stop_word(plain, language):
            return []
        if any(map(str.isdigit, plain)) or "_" in plain:
            return [plain]
        return [_without_accents(self._stemmed(plain, language))]

    def _stemmed(self, word: str, language: str) -> str:
        if self._stem is not None:
            try:
                stem: object = self._stem(word)
                if isinstance(stem, str) and stem:
                    return stem
                reason = f"it returned {'an empty text' if stem == '' else type(stem).__name__}"
            except Exception as problem:  # noqa: BLE001  (an application's function may raise anything)
                reason = type(problem).__name__
            if not self._has_failed:
                self._has_failed = True
                logger.warning("The stemmer failed (%s): the built-in one is used for such words", reason)
        return stemmer_of(language_by_script(word) or language)(word)


def _joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in which those that touch or overlap are joined."""
    found: list[tuple[int, int]] = []
    for start, end in spans:
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found


def tokens_of(text: str) -> list[str]:
    """The words, numbers and identifiers of a text, and its runs without spaces, in order."""
    if text.isascii():
        return re.findall(_PLAIN, text)
    return re.findall(_TOKEN, unicodedata.normalize("NFKC", text))


def pairs(text: str) -> tuple[str, ...]:
    """The pairs of characters of a run without spaces; a single character is a term itself."""
    if len(text) == 1:
        return (text,)
    return tuple(text[at : at + 2] for at in range(len(text) - 1))


def _split(token: str) -> list[str]:
    """A token as words: an identifier counts as itself and its parts, words around an apostrophe as two."""
    if re.fullmatch(_THOUSANDS, token):
        return [token.replace(",", "")]
    found: list[str] = []
    for number, word in enumerate(re.split("['’]", token)):
        if number and len(word) <= _LONGEST_ABBREVIATION:
            continue
        found.append(word)
        if _is_identifier(word) and len(parts := re.findall(_PARTS, word)) > 1:
            found += [part for part in parts if len(part) > 1]
    return found


def _is_identifier(word: str) -> bool:
    """Whether a word is an identifier of several parts: `get_user_details`, `HAT083`, `getUser`."""
    if "_" in word:
        return True
    has_digits = any(map(str.isdigit, word))
    return (has_digits and not word.isdigit()) or not (word.islower() or word.isupper() or word.istitle())


def _without_accents(word: str) -> str:
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", re.sub(_ACCENTS, "", unicodedata.normalize("NFD", word)))
