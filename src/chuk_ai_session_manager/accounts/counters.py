"""Packages that count tokens: splintr, which contains vocabularies, or else tiktoken; toktok for speed."""

from __future__ import annotations

import itertools
import logging
import re
import sys
import threading
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

logger: logging.Logger = logging.getLogger(__name__)

Counter = Callable[[str], int]
"""Returns the number of tokens of a text, in which special tokens like `<|endoftext|>` are ordinary text."""

# splintr's names of the vocabularies. Llama 2's and Mistral's SentencePiece models are complete, so a text
# is not cut.
_IN_SPLINTR = {
    "cl100k_base": "cl100k_base",
    "o200k_base": "o200k_base",
    "o200k_harmony": "o200k_base",  # differs only in special tokens, which are never made from a text
    "llama2": "llama2",
    "codellama": "codellama",
    "llama3": "llama3",
    "deepseek_v3": "deepseek_v3",
    "mistral_sentencepiece": "mistral_v1",  # its later versions differ only in control tokens
    "mistral_tekken": "mistral_v3",
    "qwen3": "qwen3",
    "glm4": "glm4",
    "kimi_k2": "kimi_k2",
    "kimi_k3": "kimi_k3",
    "phi4": "phi4",
    "olmo2": "olmo2",
    "gemma3": "gemma3",
}
_IN_TOKTOK = {"cl100k_base": "cl100k_base", "o200k_base": "o200k_base", "o200k_harmony": "o200k_base"}
_IN_TIKTOKEN = {"cl100k_base", "o200k_base", "o200k_harmony", "p50k_base", "gpt2"}

# splintr builds its table of merges, in 25 to 300 ms, at the first word that is not a single token. This one
# is none in any vocabulary, so the table is built where the vocabulary is loaded, not on the event loop.
_IN_NO_VOCABULARY = "Xqzjkw."

# Texts that a release of toktok with other rules would most likely count otherwise.
_COMPARED = (
    "",
    _IN_NO_VOCABULARY,
    "Hello, I don't think YOU'LL like it:\r\n\r\n    if x_1 >= 12345.67:  # camelCase, HTTPGet\n\t\tpass  \n",
    "a<|endoftext|>b <|im_start|>user\n",
    "-" * 80 + " " * 30 + "/" * 20 + "\n" * 5 + "A" * 30 + "\0\x7f",
)

BUSY = 1_000
"""How many texts a process counts with a vocabulary of OpenAI's until toktok, if it is installed, is loaded.

That takes 0.1 to 0.4 s of CPU time, in which toktok holds the GIL, and 50 to 70 MB of memory; and toktok is
quicker than splintr only for words that it has seen. So it does not pay for a process that counts little, and
the first count, which somebody waits for, does not wait for it.
"""

WHOLE_TEXTS = {"llama2", "codellama", "mistral_sentencepiece"}
"""Vocabularies that begin each text with an extra token, so that long texts must not be counted in slices."""


def load_counter(vocabulary: str) -> Counter | None:
    """The counter for a vocabulary; `None` if no installed package has it. Takes up to a second."""
    counter = _from_splintr(vocabulary) or _from_tiktoken(vocabulary)
    return _busy_with_toktok(vocabulary, counter) if counter and vocabulary in _IN_TOKTOK else counter


def installed_counters() -> dict[str, str | None]:
    """The packages that count exactly and their versions; `None` for a package that is not installed."""
    return {
        name: _version(package)
        for name, package in {"splintr": "splintr-rs", "tiktoken": "tiktoken", "toktok": "toktok-rs"}.items()
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _busy_with_toktok(vocabulary: str, any_text: Counter) -> Counter:
    """The same counts, made with toktok from the time when the process has counted many texts."""
    number = itertools.count(1)  # a step of it is safe in threads
    quick: Counter | None = None

    def load() -> None:
        nonlocal quick
        quick = _with_toktok(vocabulary, any_text)

    def count(text: str) -> int:
        if quick is not None:
            return quick(text)
        if next(number) == BUSY:
            with suppress(RuntimeError):  # no thread can be started: splintr goes on counting
                threading.Thread(target=load, name="load-toktok", daemon=True).start()
        return any_text(text)

    return count


def _with_toktok(vocabulary: str, any_text: Counter) -> Counter | None:
    """Counts ASCII with toktok and other texts as before; `None` if toktok is missing or counts otherwise.

    toktok would count some other texts wrongly, since it has the letters of Unicode 17 and tiktoken has not;
    and it is no quicker than splintr for them.
    """
    try:
        from toktok import truncate  # noqa: PLC0415  (an extra)

        name = _IN_TOKTOK[vocabulary]

        def count(text: str) -> int:  # not with `batch_count`, which takes ten times as long for one text
            return truncate(text, sys.maxsize, name)[1] if text.isascii() else any_text(text)

        agree = all(count(text) == any_text(text) for text in _COMPARED)
    except ModuleNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001  (a release of toktok that has changed may raise anything)
        logger.info("toktok does not count with %s: it raises %s", vocabulary, type(error).__name__)
        return None
    if not agree:
        logger.info("toktok does not count with %s: its counts are wrong", vocabulary)
    return count if agree else None


def _from_splintr(vocabulary: str) -> Counter | None:
    if vocabulary not in _IN_SPLINTR:
        return None
    try:
        from splintr import Tokenizer  # noqa: PLC0415  (an extra, and 40 MB)
    except ImportError:
        return None
    tokenizer = Tokenizer.from_pretrained(_IN_SPLINTR[vocabulary])
    ordinary: Callable[[str], list[int]] = tokenizer.encode_ordinary
    tokenizer.encode_batch([_IN_NO_VOCABULARY])  # of all calls, only this one releases the GIL
    # `encode_flat` returns bytes, four for each token, in some 85 % of the time that a list takes; but it
    # reads special tokens.
    flat: Callable[[str], bytes] = tokenizer.encode_flat
    if len(flat("Words. ")) // 4 != len(ordinary("Words. ")):  # it begins the text with a token
        return lambda text: len(ordinary(text))
    beginnings = {name[:2] for name in tokenizer.special_tokens()}
    if len(beginnings) == 1:  # "<|" with OpenAI and Llama 3; a search for it takes hardly any time
        (beginning,) = beginnings
        return lambda text: len(ordinary(text)) if beginning in text else len(flat(text)) // 4
    may_be_special = re.compile("|".join(map(re.escape, sorted(beginnings)))).search

    def count(text: str) -> int:
        return len(ordinary(text)) if may_be_special(text) else len(flat(text)) // 4

    # Qwen's own tokenizer composes characters first (as dashscope's does), splintr's copy does not.
    return (lambda text: count(unicodedata.normalize("NFC", text))) if vocabulary == "qwen3" else count


def _from_tiktoken(vocabulary: str) -> Counter | None:
    if vocabulary not in _IN_TIKTOKEN:
        return None
    try:
        import tiktoken  # noqa: PLC0415  (an extra)
    except ModuleNotFoundError as error:
        if error.name != "tiktoken":
            raise
        return None
    encode = tiktoken.get_encoding(vocabulary).encode_ordinary
    return lambda text: len(encode(text))
