"""The stems of English words: Porter's algorithm (M. F. Porter, "An algorithm for suffix stripping", 1980).

It runs once for each different word of a conversation. Snowball's successor finds no more (measured), and
takes ten times as long in Python.
"""

from __future__ import annotations

import re

_VOWEL = "[aeiouy]"
# A vowel and the consonants after it: how often a stem has them is the paper's measure.
_SYLLABLE = "[aeiouy]+[^aeiouy]+"
_SHORTEST = 3

# The paper's steps 2, 3 and 4: endings, and what stands in their place.
_SECOND = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble",
    "alli": "al", "entli": "ent", "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate",
    "alism": "al", "iveness": "ive", "fulness": "ful", "ousness": "ous", "aliti": "al", "iviti": "ive",
    "biliti": "ble", "logi": "log",
}  # fmt: skip
_THIRD = {
    "icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": "",
}  # fmt: skip
_FOURTH = dict.fromkeys(
    ("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion", "ou",
     "ism", "ate", "iti", "ous", "ive", "ize"),
    "",
)  # fmt: skip
_FOURTH |= {"sion": "s", "tion": "t"}
_LONGEST = 7


def english_stem(word: str) -> str:
    """Return the stem of an English word in lower case."""
    if len(word) < _SHORTEST:
        return word
    word = _without_tense(_singular(word))
    if word[-1] == "y" and re.search(_VOWEL, word[1:-1] if word[0] == "y" else word[:-1]):
        word = f"{word[:-1]}i"
    word = _replaced(word, _SECOND, 1)
    word = _replaced(word, _THIRD, 1)
    word = _replaced(word, _FOURTH, 2)
    return _without_last(word)


def _singular(word: str) -> str:
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word[-1] == "s" and word[-2] != "s" else word


def _without_tense(word: str) -> str:
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        stem = word.removesuffix(ending)
        if stem != word:
            break
    if stem == word or not re.search(_VOWEL, stem):
        return word
    if stem.endswith(("at", "bl", "iz")):
        return f"{stem}e"
    if len(stem) > 1 and stem[-1] == stem[-2] and stem[-1] not in "aeioulsz":
        return stem[:-1]
    return f"{stem}e" if _measure(stem) == 1 and _is_short(stem) else stem


def _replaced(word: str, endings: dict[str, str], least: int) -> str:
    """A word with its longest ending replaced, if what stands before it is long enough."""
    for length in range(min(_LONGEST, len(word) - 1), 1, -1):
        instead = endings.get(word[-length:])
        if instead is not None:
            stem = word[:-length]
            return stem + instead if _measure(stem) >= least else word
    return word


def _without_last(word: str) -> str:
    if word[-1] == "e":
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _is_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


def _measure(stem: str) -> int:
    # A "y" at the beginning is a consonant.
    return len(re.findall(_SYLLABLE, stem[1:] if stem[:1] == "y" else stem))


def _is_short(stem: str) -> bool:
    """Whether a stem ends in a consonant, a vowel, and a consonant that is not w, x or y."""
    return bool(re.search("[^aeiou][aeiouy][^aeiouwxy]$", stem))
