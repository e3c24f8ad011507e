"""Token counts: exact if the model's vocabulary is installed, or else by an estimator."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cache
from inspect import iscoroutinefunction
from operator import index
from typing import Any

from ..exceptions import InvalidInput
from ..exceptions.validation import check_name
from .counters import WHOLE_TEXTS, Counter, installed_counters, load_counter
from .estimator import estimate_tokens
from .vocabularies import Vocabulary, vocabulary_of

__all__ = [
    "DEFAULT_MODEL",
    "LONG_TEXT",
    "VOCABULARY_WAIT_SECONDS",
    "count_tokens",
    "estimate_tokens",
    "installed_counters",
    "is_estimated",
    "set_tokenizer",
]

logger: logging.Logger = logging.getLogger(__name__)

# A vocabulary on disk loads in 0.1 to 0.6 s. tiktoken downloads a missing one (2 to 4 MB) without a timeout,
# which can hang for minutes without a network. 3 s are ample for the disk and for a quick download, and
# short enough not to look like a hang. The wait happens once for each vocabulary, not for each count.
VOCABULARY_WAIT_SECONDS = 3.0

DEFAULT_MODEL = "gpt-4o-mini"
"""The model whose tokens are counted if no model is known, as in the original."""

# The vocabulary for a model whose own is not known or not installed; such a count is an estimate.
_BORROWED = Vocabulary("cl100k_base", is_exact=False)

# A text up to this length is counted on the event loop: 0.3 to 0.5 ms for prose, 2 ms for the worst
# text found (emoji, Chinese without punctuation). A thread hop costs about 0.1 ms.
LONG_TEXT = 4096

# Longer texts are counted in a worker thread, in slices of this size. tiktoken releases the GIL while it
# encodes, but not while it builds the list of tokens (0.5 ms for this many characters); splintr never
# releases it. tiktoken's time for one unbroken run of characters grows faster than the run, and it panics on
# a run of 1,000,000 spaces.
_SLICE_CHARACTERS = 16_384

# Callers choose the names of models, so the number of remembered names is bounded: when full, all are
# forgotten.
_MAXIMUM_CACHED_MODELS = 512


# --- loading ------------------------------------------------------------------------------------------------


class _Load:
    """A vocabulary that a daemon thread loads into the process.

    The result is `None` if loading failed, for the life of the process. A thread cannot
    keep loading off the event loop entirely: tiktoken holds the GIL for its last 0.1 s (cl100k_base)
    or 0.2 s (o200k_base), once. tiktoken also loads one vocabulary at a time: a download that hangs
    delays the others.
    """

    def __init__(self, name: str, produce: Callable[[], Any]) -> None:
        self._result: Future[Any] = Future()
        # A running future cannot be cancelled: a waiter that gives up does not affect the others.
        self._result.set_running_or_notify_cancel()
        self._wait_until = time.monotonic() + VOCABULARY_WAIT_SECONDS
        # A daemon thread: a download that hangs must not keep the interpreter from exiting.
        threading.Thread(target=self._run, args=(name, produce), name=f"load-{name}", daemon=True).start()

    def _run(self, name: str, produce: Callable[[], Any]) -> None:
        result = None
        try:
            result = produce()
        # A library's import, network or parser may raise anything; counting must go on.
        except Exception as error:
            reason = type(error).__name__
            logger.warning("%s could not be loaded (%s): its token counts are estimates", name, reason)
            logger.debug("Why %s could not be loaded", name, exc_info=error)
        self._result.set_result(result)

    @property
    def is_done(self) -> bool:
        """Whether loading has ended, successfully or not."""
        return self._result.done()

    def now(self) -> Any:
        """The result; `None` if there is none yet."""
        return self._result.result() if self._result.done() else None

    async def soon(self) -> Any:
        """The result, waiting until VOCABULARY_WAIT_SECONDS after the load began; `None` if there is none."""
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


def _load(name: str) -> _Load:
    """The load of a vocabulary, started by the first caller in the process."""
    load = _loads.get(name)
    if load is None:
        with _loads_lock:
            load = _loads.get(name)
            if load is None:
                load = _loads[name] = _Load(name, lambda: load_counter(name))
    return load


# --- the counter of a model ---------------------------------------------------------------------------------

# An application's own tokenizers, by the beginning of the model's name.
_own: dict[str, _OwnCounter] = {}
# The counter and the vocabulary that were found for a model.
_found: dict[str, tuple[Counter, Vocabulary]] = {}


def set_tokenizer(prefix: str, tokenizer: Callable[[str], Any] | None) -> None:
    """Count with your own function for all models whose name begins with `prefix`.

    Its counts are exact. If several prefixes fit a name, the longest one applies. If the function
    raises, or returns something else, the estimator counts that text, the log says so once, and
    counts for these models are called estimates from then on.

    Args:
        prefix: the beginning of the models' names, in any case: "my-model", "anthropic/".
        tokenizer: gets a text, and returns the number of its tokens, or the list of them, or what a
            tokenizer of transformers returns. It must be fast:
            texts of up to 4,096 characters are counted on the event loop. `None` removes an earlier one.

    Raises:
        InvalidInput: the prefix is empty, or the tokenizer is no function, or an async one.
    """
    check_name(prefix, "prefix", "set a tokenizer")
    if tokenizer is None:
        _own.pop(prefix.lower(), None)
    elif not callable(tokenizer) or iscoroutinefunction(tokenizer):
        raise InvalidInput("set a tokenizer", "tokenizer must be a plain function")
    else:
        _own[prefix.lower()] = _OwnCounter(prefix, tokenizer)
    _found.clear()


class _OwnCounter:
    """An application's tokenizer. Where it fails, the estimator counts."""

    def __init__(self, prefix: str, tokenizer: Callable[[str], Any]) -> None:
        self._prefix = prefix
        self._tokenizer = tokenizer
        self.has_failed = False

    def __call__(self, text: str) -> int:
        try:
            return _length_of(self._tokenizer(text))
        except Exception as problem:  # noqa: BLE001  (an application's code may raise anything)
            if not self.has_failed:
                self.has_failed = True
                logger.warning(
                    "The tokenizer set for %s failed (%s): its texts are estimated",
                    self._prefix,
                    type(problem).__name__,
                )
            return estimate_tokens(text)


def _length_of(counted: Any) -> int:
    """The number that an application's tokenizer returned, or how many tokens it returned."""
    if isinstance(counted, Mapping):  # the tokenizers of transformers
        counted = counted["input_ids"]
    if isinstance(counted, bool | str):
        raise TypeError
    length = (
        index(counted) if hasattr(counted, "__index__") and not hasattr(counted, "__len__") else len(counted)
    )
    if length < 0:
        raise ValueError
    return length


def _own_counter(model: str) -> _OwnCounter | None:
    fitting = [prefix for prefix in _own if model.lower().startswith(prefix)]
    return _own[max(fitting, key=len)] if fitting else None


def has_own_tokenizer(model: str) -> bool:
    """Whether the application has set a tokenizer for a model."""
    return _own_counter(model) is not None


async def _find(model: str) -> tuple[Counter, Vocabulary] | None:
    """The counter of a model, and its vocabulary; `None` if there is only the estimator, perhaps for now."""
    own = _own_counter(model)
    found: tuple[Counter, Vocabulary] | None = (own, Vocabulary("the application's")) if own else None
    for vocabulary in () if found else (vocabulary_of(model) or _BORROWED, _BORROWED):
        load = _load(vocabulary.name)
        counter: Counter | None = await load.soon()
        if counter is not None:
            found = counter, vocabulary
            break
        if not load.is_done:
            return None  # it may be loaded later, so nothing is remembered
    if found is not None:
        if len(_found) >= _MAXIMUM_CACHED_MODELS:
            _found.clear()
        _found[model] = found
    return found


def is_estimated(model: str) -> bool:
    """Whether a count for this model would be an estimate at this moment.

    It is an estimate if the model's own vocabulary is not known (another one is used), or is not installed
    or loaded. This includes the time before the first count, which starts to load the vocabulary.
    """
    own = _own_counter(model) if _own else None
    if own is not None:
        return own.has_failed
    found = _found.get(model)
    if found is not None:
        return not found[1].is_exact
    vocabulary = vocabulary_of(model)
    load = _loads.get(vocabulary.name) if vocabulary and vocabulary.is_exact else None
    return load is None or load.now() is None


# --- counting -----------------------------------------------------------------------------------------------


@cache  # compiled when it is first used: that takes 4 ms, which importing should not cost
def _cut() -> re.Pattern[str]:
    """Matches before a place where a text can be cut without cutting a token.

    After such a letter or digit, every pattern of tiktoken's has a boundary before such a space or sign: its
    runs of letters and of digits end there whatever precedes, and no pattern looks back. An apostrophe is
    not such a sign: it may continue a word ("don't").
    """
    return re.compile(
        r"[A-Za-z0-9\u4e00-\u9fa5](?=[ \t\r\n!-&(-/:-@\[-`{-~\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
    )


def count_at_once(text: str, model: str) -> int | None:
    """The same as `count_tokens` where there is nothing to wait for; `None` elsewhere."""
    found = _found.get(model)
    return None if found is None or len(text) > LONG_TEXT else _counted(found[0], text)


async def count_tokens(text: str, model: str) -> int:
    """Return how many tokens a text has for a model: exact if the model's vocabulary is installed and loaded.

    Otherwise, the count is an estimate: see `is_estimated`. Special tokens such as `<|endoftext|>` count as
    ordinary text. The first count with a vocabulary waits until it is loaded, at most
    VOCABULARY_WAIT_SECONDS; if loading takes longer, later counts are exact. A text with more than about
    16,000 characters without space or punctuation may count a few tokens too many.
    """
    found = _found.get(model) or await _find(model)
    if len(text) > LONG_TEXT:
        return await asyncio.to_thread(_count_long, text, found)
    if found is None:
        return estimate_tokens(text)
    try:
        return found[0](text)  # not `_counted`, which would take a fiftieth of a short text's count
    except UnicodeEncodeError:
        return _counted(found[0], text)


def _counted(counter: Counter, text: str) -> int:
    try:
        return counter(text)
    except UnicodeEncodeError:  # half of a surrogate pair is not text: count its replacement
        return counter(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _count_long(text: str, found: tuple[Counter, Vocabulary] | None) -> int:
    if found is None:
        return estimate_tokens(text)
    counter, vocabulary = found
    if vocabulary.name in WHOLE_TEXTS:
        return _counted(counter, text)
    total = start = 0
    while start < len(text):
        end = _slice_end(text, start)
        total += _counted(counter, text[start:end])
        start = end
    return total


def _slice_end(text: str, start: int) -> int:
    """Where to cut the slice that begins at `start`: after its size, and before twice that."""
    earliest = start + _SLICE_CHARACTERS
    if earliest >= len(text):
        return len(text)
    found = _cut().search(text, earliest, earliest + _SLICE_CHARACTERS)
    # There is no such place (a base64 picture, Chinese without punctuation): cut anyway, for a token or two
    # more.
    return found.end() if found else earliest
