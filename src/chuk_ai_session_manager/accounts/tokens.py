"""How many tokens a text is: exactly by tiktoken where it can be, by an estimator of our own otherwise."""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "DEFAULT_MODEL",
    "LONG_TEXT",
    "VOCABULARY_WAIT_SECONDS",
    "count_tokens",
    "estimate_tokens",
    "is_estimated",
]

logger = logging.getLogger(__name__)

# A vocabulary on disk loads in 0.3 to 0.6 s. One that is not is downloaded (2 to 4 MB) by tiktoken without a
# timeout, which with no network can hang for minutes: 3 s is ample for the disk and for a quick download, and
# short enough not to look like a hang. It is waited out once a vocabulary, not once a count.
VOCABULARY_WAIT_SECONDS = 3.0

DEFAULT_MODEL = "gpt-4o-mini"
"""Whose tokens are counted where no model is known, as in the original."""

# The vocabulary that counts for a model tiktoken does not know; such a count is marked as an estimate.
_BORROWED_ENCODING = "cl100k_base"

# Up to so many characters a text is counted on the event loop: 0.3 to 0.5 ms for prose, 2 ms for the worst
# text found (emoji, Chinese with no punctuation). A thread hop costs about 0.1 ms.
LONG_TEXT = 4096

# Longer texts are counted in a worker thread in slices of this size. tiktoken lets go of the GIL while it
# encodes but not while it builds the list of tokens (0.5 ms for this many characters), its time for one
# unbroken run of characters grows faster than the run, and a run of 1,000,000 spaces even makes it panic.
_SLICE_CHARACTERS = 16_384

# The estimator's own slices: each of its steps holds the GIL for well under 1 ms.
_ESTIMATE_SLICE_CHARACTERS = 65_536

# Names of models come from callers, so the cache by name is bounded (it is emptied when full).
_MAXIMUM_CACHED_MODELS = 512

_Encode = Callable[[str], list[int]]


# --- the estimator ------------------------------------------------------------------------------------------


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
        (0xF0, 0xF7, "M"),  # emoji and all else beyond the basic plane
    ):
        table[first : last + 1] = name.encode() * (last + 1 - first)
    return bytes(table)


_CLASSES = _character_classes()

# Tokens per occurrence of a run of character classes. None is negative, so no text gets cheaper by appending.
# Fitted by non-negative least squares on the relative error against the middle of cl100k_base and o200k_base
# (English chats and documentation, Python, C, JavaScript, HTML, Perl, shell, JSON, numbers, hexadecimal,
# base64), no weight above 1.6; the two last ones are set by hand for runs no such text has.
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

# Tokens per character, the middle of two vocabularies far apart (Chinese 1.13 and 0.75, Hindi 1.0 and 0.27).
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

# The first word of a text follows no space or line end and would otherwise not be counted as one.
_START_TOKENS = 0.8


def estimate_tokens(text: str) -> int:
    """About how many tokens the text is, for cl100k_base and o200k_base alike; 0 only for the empty text.

    The two vocabularies differ, so it aims at their middle. Its mean absolute error on passages of 500
    (3,000) characters, measured by benchmarks/estimator.py: English 3.5 % (2 %), Python code 4.5 % (2.5 %),
    JSON 2.5 % (1 %), for either vocabulary; Chinese 18 % too few for cl100k_base and 23 % too many for
    o200k_base at any size. It never falls when text is appended.
    """
    if not text:
        return 0
    total = _START_TOKENS
    if len(text) <= _ESTIMATE_SLICE_CHARACTERS:
        total += _estimate_slice(text)
    else:
        for start in range(0, len(text), _ESTIMATE_SLICE_CHARACTERS):
            total += _estimate_slice(text[start : start + _ESTIMATE_SLICE_CHARACTERS])
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


# --- tiktoken and its vocabularies --------------------------------------------------------------------------


class _Load:
    """One thing that a daemon thread brings into the process: tiktoken itself, or one vocabulary.

    Its result is None once it has failed, and stays so for the life of the process. A thread cannot keep a
    vocabulary from the event loop altogether: tiktoken holds the GIL for its last 0.1 (cl100k_base) or 0.2 s
    (o200k_base), once. It also loads one vocabulary at a time: a download that hangs holds up the others.
    """

    def __init__(self, name: str, produce: Callable[[], Any]) -> None:
        self._result: Future[Any] = Future()
        # A future that runs cannot be cancelled: a waiter that gives up takes nothing from the others.
        self._result.set_running_or_notify_cancel()
        self._wait_until = time.monotonic() + VOCABULARY_WAIT_SECONDS
        # A daemon: a download that hangs must not keep the interpreter from exiting.
        threading.Thread(target=self._run, args=(name, produce), name=f"load-{name}", daemon=True).start()

    def _run(self, name: str, produce: Callable[[], Any]) -> None:
        result = None
        try:
            result = produce()
        # A library's import, network and parser: whatever they raise, counting must go on.
        except Exception as error:
            reason = type(error).__name__
            logger.warning("%s could not be loaded (%s): its token counts are estimates", name, reason)
            logger.debug("Why %s could not be loaded", name, exc_info=error)
        self._result.set_result(result)

    def now(self) -> Any:
        """The result, None while there is none."""
        return self._result.result() if self._result.done() else None

    async def soon(self) -> Any:
        """The result, waited for until VOCABULARY_WAIT_SECONDS after the start of the load; None without."""
        remaining = self._wait_until - time.monotonic()
        if self._result.done() or remaining <= 0:
            return self.now()
        try:
            async with asyncio.timeout(remaining):
                return await asyncio.wrap_future(self._result)
        except TimeoutError:
            return None


_loads: dict[str, _Load] = {}
_loads_lock = threading.Lock()
_encode_by_model: dict[str, _Encode] = {}
# Of those, the models that tiktoken knows: for the others a borrowed vocabulary counts.
_exact_models: set[str] = set()


def _load(name: str, produce: Callable[[], Any]) -> _Load:
    """The load of this name, started by whoever asks first in the process."""
    load = _loads.get(name)
    if load is None:
        with _loads_lock:
            load = _loads.get(name)
            if load is None:
                load = _loads[name] = _Load(name, produce)
    return load


def _import_tiktoken() -> ModuleType | None:
    try:
        return importlib.import_module("tiktoken")
    except ModuleNotFoundError as error:
        if error.name != "tiktoken":
            raise
        logger.info("tiktoken is not installed: token counts are estimates")
        return None


def _encoding_name(tiktoken: ModuleType, model: str) -> str | None:
    try:
        name: str = tiktoken.encoding_name_for_model(model)
    except KeyError:
        return None
    return name


async def _find_encode(model: str) -> _Encode | None:
    """The exact encoder for a model, None if it is not at hand (yet)."""
    tiktoken = await _load("tiktoken", _import_tiktoken).soon()
    if tiktoken is None:
        return None
    own_name = _encoding_name(tiktoken, model)
    name = own_name or _BORROWED_ENCODING
    encoding = await _load(name, lambda: tiktoken.get_encoding(name)).soon()
    if encoding is None:
        return None
    if len(_encode_by_model) >= _MAXIMUM_CACHED_MODELS:
        _encode_by_model.clear()
        _exact_models.clear()
    encode: _Encode = encoding.encode_ordinary
    _encode_by_model[model] = encode
    if own_name is not None:
        _exact_models.add(model)
    return encode


def is_estimated(model: str) -> bool:
    """Whether a count made for this model right now is an estimate.

    It is where tiktoken does not know the model (another vocabulary counts for it), is not installed, or its
    vocabulary is not at hand; so also before the first count, which is what starts the load.
    """
    if model in _encode_by_model:
        return model not in _exact_models
    tiktoken_load = _loads.get("tiktoken")
    tiktoken = tiktoken_load.now() if tiktoken_load else None
    if tiktoken is None:
        return True
    name = _encoding_name(tiktoken, model)
    vocabulary_load = _loads.get(name) if name else None
    return vocabulary_load is None or vocabulary_load.now() is None


# --- counting -----------------------------------------------------------------------------------------------


@cache  # compiled at first use: that takes 4 ms, which an import need not
def _cut() -> re.Pattern[str]:
    """Where a text can be cut with no token across the cut: after a match.

    Behind such a letter or digit every pattern of tiktoken's has a boundary before such a space or sign: its
    runs of letters and of digits end there whatever precedes, and no pattern looks back. An apostrophe is no
    such sign: it may continue a word ("don't").
    """
    return re.compile(
        r"[A-Za-z0-9\u4e00-\u9fa5](?=[ \t\r\n!-&(-/:-@\[-`{-~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
    )


async def count_tokens(text: str, model: str) -> int:
    """How many tokens the text is for a model: exact where tiktoken and its vocabulary are at hand.

    Otherwise, and for a model tiktoken does not know, an estimate: see `is_estimated`. Special tokens such as
    `<|endoftext|>` count as ordinary text. The first count for a vocabulary waits for it to load, at most
    VOCABULARY_WAIT_SECONDS; if it comes later, the counts from then on are exact. A text of more than about
    16,000 characters with no space or punctuation in them may count a few tokens too many.
    """
    encode = _encode_by_model.get(model) or await _find_encode(model)
    if len(text) > LONG_TEXT:
        return await asyncio.to_thread(_count_long, text, encode)
    return estimate_tokens(text) if encode is None else len(encode(text))


def _count_long(text: str, encode: _Encode | None) -> int:
    if encode is None:
        return estimate_tokens(text)
    total = start = 0
    while start < len(text):
        end = _slice_end(text, start)
        total += len(encode(text[start:end]))
        start = end
    return total


def _slice_end(text: str, start: int) -> int:
    """Where to cut the slice that begins at `start`: no sooner than its size, no later than twice that."""
    earliest = start + _SLICE_CHARACTERS
    if earliest >= len(text):
        return len(text)
    found = _cut().search(text, earliest, earliest + _SLICE_CHARACTERS)
    # Nowhere to cut (a base64 picture, Chinese with no punctuation): cut anyway, for a token or two too many.
    return found.end() if found else earliest
