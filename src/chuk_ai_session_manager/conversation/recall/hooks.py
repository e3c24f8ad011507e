"""Functions that an application may give to recall: an embedder, a reranker, a stemmer.

Without them, or if one fails, only words decide.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, TypeAlias

from ...exceptions import InvalidInput
from ...exceptions.validation import check_callable
from ..callbacks import call
from .index import Index
from .languages import Stem, language_named
from .words import Words

logger: logging.Logger = logging.getLogger(__name__)

Embedder: TypeAlias = Callable[[list[str]], Any]
"""Returns a vector (a sequence of numbers) for each text; sync or async."""
Reranker: TypeAlias = Callable[[str, list[str]], Any]
"""Takes a question and texts; returns for each text how well it answers the question. Sync or async."""

_SECONDS = 30.0
"""How long one call of a hook may take, in seconds."""
_TEXTS_AT_ONCE = 128
# The weight of the cosine beside words: 0.4 of a standard deviation, in quarters (measured).
_COSINE = 0.4 / 4
# The reranker orders this many of the best passages.
_RERANKED = 50
_VECTOR_BYTES = 4


@dataclass(frozen=True, slots=True)
class Hooks:
    """The functions that an application gives."""

    embedder: Embedder | None = None
    reranker: Reranker | None = None
    stemmer: Stem | str | None = None
    """Returns the stem of a word in lower case; or, in place of a guess, the name or code of a language."""

    def check(self, operation: str) -> None:
        """Refuse hooks that are no functions, and unknown languages.

        Raises:
            InvalidInput: the message names the argument.
        """
        for name in ("embedder", "reranker"):
            hook = getattr(self, name)
            if hook is not None:
                check_callable(hook, name, operation)
        is_language = isinstance(self.stemmer, str) and language_named(self.stemmer) is not None
        is_function = callable(self.stemmer) and not iscoroutinefunction(self.stemmer)
        if self.stemmer is not None and not is_language and not is_function:
            raise InvalidInput(
                operation, 'stemmer must be a plain function, or a language such as "german" or "de"'
            )

    def words(self) -> Words:
        """The object that makes terms of texts."""
        if self.stemmer is None:
            return _DEFAULT_WORDS
        if isinstance(self.stemmer, str):
            return Words(language=language_named(self.stemmer))
        return Words(self.stemmer)


_DEFAULT_WORDS = Words()
# Shared by all managers: with one each, every manager would index the conversation again.


async def nearness(index: Index, question: str, embedder: Embedder) -> dict[int, float]:
    """What the cosine of each turn and the question adds to the turn's score; empty if the embedder fails.

    Each turn is embedded once, at its first use.
    """
    vectors = await _vectors(index, embedder)
    asked = await _embedded(embedder, [question]) if vectors else None
    return await asyncio.to_thread(_added_by_cosine, vectors, asked[0]) if asked else {}


def _added_by_cosine(vectors: Mapping[int, array[float]], asked: array[float]) -> dict[int, float]:
    """What each turn's score gains. A thread computes it: without numpy, a thousand vectors take 60 ms."""
    cosines = _cosines({turn: each for turn, each in vectors.items() if len(each) == len(asked)}, asked)
    if vectors and not cosines:
        logger.warning("The embedder's vectors have different lengths: words alone decide")
    mean = sum(cosines.values()) / max(1, len(cosines))
    spread = math.sqrt(sum((each - mean) ** 2 for each in cosines.values()) / max(1, len(cosines)))
    return {turn: _COSINE * (each - mean) / spread for turn, each in cosines.items()} if spread else {}


def _cosines(vectors: Mapping[int, array[float]], asked: array[float]) -> dict[int, float]:
    """The cosine of each vector and the question's; all have length 1."""
    numpy: Any = sys.modules.get("numpy")  # most embedders have imported it
    if not asked or not hasattr(numpy, "frombuffer"):
        return {turn: sum(map(float.__mul__, vector, asked)) for turn, vector in vectors.items()}
    rows = numpy.frombuffer(b"".join(vectors.values()), dtype=numpy.float32).reshape(-1, len(asked))
    found = rows @ numpy.frombuffer(asked, dtype=numpy.float32)
    return dict(zip(vectors, found.tolist(), strict=True))


async def _vectors(index: Index, embedder: Embedder) -> dict[int, array[float]]:
    """The vectors of all turns; empty if the embedder fails."""
    _, known = index.vectors.setdefault(id(embedder), (embedder, {}))
    missing = [turn for turn in range(len(index)) if turn not in known and turn not in index.out]
    for at in range(0, len(missing), _TEXTS_AT_ONCE):
        turns = missing[at : at + _TEXTS_AT_ONCE]
        texts = [f"{index.speaker_of(turn)}: {index.turn(turn).said.text}" for turn in turns]
        found = await _embedded(embedder, texts)
        if found is None:
            return {}
        for turn, vector in zip(turns, found, strict=True):
            known[turn] = vector
            index.bytes += _VECTOR_BYTES * len(vector)
    return {turn: vector for turn, vector in known.items() if turn not in index.out}


async def _embedded(embedder: Embedder, texts: list[str]) -> list[array[float]] | None:
    """Vectors of length 1; `None` if the embedder fails."""
    found = await _outcome("embedder", partial(embedder, texts))
    if found is None:
        return None
    vectors = await asyncio.to_thread(_unit_vectors, found, len(texts))
    if vectors is None:
        logger.warning("The embedder gave no vector for each text: words alone decide")
    return vectors


def _unit_vectors(found: Any, count: int) -> list[array[float]] | None:
    """An embedder's vectors with length 1; `None` if they are not this many, or no numbers."""
    try:
        vectors = [array("f", map(float, vector)) for vector in found]
    except (TypeError, ValueError, OverflowError):
        return None
    lengths = {len(vector) for vector in vectors}
    if len(vectors) != count or len(lengths) > 1 or not all(map(math.isfinite, _flat(vectors))):
        return None
    return [_unit(vector) for vector in vectors]


def _flat(vectors: Sequence[array[float]]) -> list[float]:
    return [sum(vector) for vector in vectors]


def _unit(vector: array[float]) -> array[float]:
    length = math.sqrt(sum(each * each for each in vector))
    return array("f", (each / length for each in vector)) if length else vector


async def reranked(
    index: Index, question: str, candidates: list[tuple[float, int]], reranker: Reranker
) -> list[tuple[float, int]]:
    """The best passages in the reranker's order; unchanged if the reranker fails."""
    first = candidates[:_RERANKED]
    if not first:
        return candidates
    texts = [index.passage_text(passage) for _, passage in first]
    found = await _outcome("reranker", partial(reranker, question, texts))
    try:
        scores = [float(score) for score in found]
    except (TypeError, ValueError, OverflowError):
        scores = []
    if len(scores) != len(texts) or not all(map(math.isfinite, scores)):
        if found is not None:
            logger.warning("The reranker gave no number for each text: words alone decide")
        return candidates
    order = sorted(range(len(first)), key=lambda at: -scores[at])
    # Scores that decrease, as those of every recall do, whatever numbers the reranker returned.
    return [*((first[rank][0], first[at][1]) for rank, at in enumerate(order)), *candidates[_RERANKED:]]


async def _outcome(name: str, hook: Callable[[], Any]) -> Any:
    """The result of a hook; `None` if the hook fails or takes too long."""
    try:
        async with asyncio.timeout(_SECONDS):
            found = await call(lambda _: hook(), None)
    except Exception as problem:  # noqa: BLE001  (an application's function may raise anything)
        logger.warning("The %s failed (%s): words alone decide", name, type(problem).__name__)
        return None
    if found is None:
        logger.warning("The %s returned nothing: words alone decide", name)
    return found
