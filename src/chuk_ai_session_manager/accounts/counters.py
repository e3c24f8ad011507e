"""Packages that count tokens: splintr, which contains the vocabularies, or else tiktoken."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

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
_IN_TIKTOKEN = {"cl100k_base", "o200k_base", "o200k_harmony", "p50k_base", "gpt2"}

# splintr builds its table of merges, in 25 to 300 ms, at the first word that is not a single token. This one
# is none in any vocabulary, so the table is built where the vocabulary is loaded, not on the event loop.
_IN_NO_VOCABULARY = "Xqzjkw."

WHOLE_TEXTS = {"llama2", "codellama", "mistral_sentencepiece"}
"""Vocabularies that begin each text with an extra token, so that long texts must not be counted in slices."""


def load_counter(vocabulary: str) -> Counter | None:
    """The counter for a vocabulary; `None` if no installed package has it. Takes up to a second."""
    return _from_splintr(vocabulary) or _from_tiktoken(vocabulary)


def installed_counters() -> dict[str, str | None]:
    """The packages that count exactly and their versions; `None` for a package that is not installed."""
    return {
        name: _version(package) for name, package in {"splintr": "splintr-rs", "tiktoken": "tiktoken"}.items()
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


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
