"""Estimates how many tokens a text has, without any vocabulary."""

from __future__ import annotations

# The text is estimated in slices of this size: each step holds the GIL for well under 1 ms.
_SLICE_CHARACTERS = 65_536


def _character_classes() -> bytes:
    """The table that turns each byte of UTF-8 into the letter of its class.

    ASCII: a lower case, A upper case, 0 digit, space, n line end, _ underscore, "." any other.
    A lead byte of UTF-8 tells the script closely enough; a continuation byte is "c" and is never counted.
    """
    table = bytearray(b"." * 0x80 + b"c" * 0x40 + b"." * 0x40)
    for characters, name in (
        ("abcdefghijklmnopqrstuvwxyz", "a"),
        ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"),
        ("0123456789", "0"),
        (" \t", " "),
        ("\r\n", "n"),
        ("_", "_"),
    ):
        for character in characters:
            table[ord(character)] = ord(name)
    for first, last, name in (
        (0xC2, 0xC2, "P"),  # signs of Latin-1
        (0xC3, 0xCC, "L"),  # Latin letters with marks
        (0xCD, 0xCF, "G"),  # Greek
        (0xD0, 0xD4, "C"),  # Cyrillic
        (0xD5, 0xD7, "H"),  # Armenian, Hebrew
        (0xD8, 0xDF, "R"),  # Arabic
        (0xE0, 0xE0, "I"),  # the scripts of India, Thai
        (0xE1, 0xE1, "T"),  # Georgian, Khmer and others, most of Vietnamese
        (0xE2, 0xE2, "S"),  # typographic punctuation, arrows, boxes
        (0xE3, 0xE3, "K"),  # kana, CJK punctuation
        (0xE4, 0xE9, "Z"),  # Chinese characters
        (0xEA, 0xED, "N"),  # Hangul
        (0xEE, 0xEF, "F"),  # full-width forms, variation selectors
        (0xF0, 0xF7, "M"),  # emoji and everything else beyond the basic plane
    ):
        table[first : last + 1] = name.encode() * (last + 1 - first)
    return bytes(table)


_CLASSES = _character_classes()

# Tokens for each occurrence of a run of character classes. None is negative, so that a text never gets fewer
# tokens by appending. Fitted by non-negative least squares on the relative error against the middle of
# cl100k_base and o200k_base (English chats and documentation, Python, C, JavaScript, HTML, Perl, shell, JSON,
# numbers, hexadecimal, base64), no weight above 1.6; the last two are set by hand for runs that no such text
# has.
_ASCII_WEIGHTS: tuple[tuple[bytes, float], ...] = (
    (b"a", 0.043),
    (b" a", 0.908),
    (b".a", 1.197),
    (b"_a", 1.222),
    (b"an", 0.708),
    (b"aA", 0.860),
    (b"a0", 1.6),
    (b"A", 0.247),
    (b" A", 0.326),
    (b".A", 1.6),
    (b"A0", 1.6),
    (b"0", 0.291),
    (b" 0", 1.524),
    (b".0", 1.39),
    (b"0A", 1.6),
    (b".", 0.146),
    (b" .", 0.552),
    (b". ", 0.545),
    (b".  ", 1.229),
    (b"n", 0.69),
    (b"n ", 0.603),
    (b"__", 0.719),
    (b"a" * 16, 1.5),
    (b" " * 64, 1.0),
)

# Tokens per character: the middle of two very different vocabularies (Chinese 1.13 and 0.75, Hindi 1.0 and
# 0.27).
_OTHER_WEIGHTS: tuple[tuple[bytes, float], ...] = (
    (b"P", 0.9),
    (b"L", 2.0),
    (b"G", 0.57),
    (b"C", 0.4),
    (b"H", 0.6),
    (b"R", 0.45),
    (b"I", 0.52),
    (b"T", 1.9),
    (b"S", 1.1),
    (b"K", 0.87),
    (b"Z", 0.92),
    (b"N", 0.88),
    (b"F", 0.8),
    (b"M", 2.37),
)

# The first word of a text follows no space or line end, and would otherwise not be counted as a word.
_START_TOKENS = 0.8


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a text has, for cl100k_base and o200k_base alike; 0 only for the empty text.

    The two vocabularies differ, so the estimate aims at their middle. Its mean absolute error for texts of
    500 (3,000) characters, measured by benchmarks/estimator.py: English 3.5 % (2 %), Python code 4.5 % (2.5
    %), JSON 2.5 % (1 %), for either vocabulary; Chinese 18 % too few for cl100k_base and 23 % too many for
    o200k_base at any size. The estimate never falls when text is appended.
    """
    if not text:
        return 0
    total = _START_TOKENS
    if len(text) <= _SLICE_CHARACTERS:
        total += _estimate_slice(text)
    else:
        for start in range(0, len(text), _SLICE_CHARACTERS):
            total += _estimate_slice(text[start : start + _SLICE_CHARACTERS])
    return max(1, round(total))


def _estimate_slice(text: str) -> float:
    count = text.encode("utf-8", "surrogatepass").translate(_CLASSES).count
    total = 0.0
    for run, weight in _ASCII_WEIGHTS:
        total += count(run) * weight
    if not text.isascii():
        for run, weight in _OTHER_WEIGHTS:
            total += count(run) * weight
    return total
