"""What counting tokens costs with splintr, and with tiktoken in its place: a table with targets.

    python benchmarks/token_counts.py [--rounds 7]

Needs both packages, and tiktoken's vocabulary (TIKTOKEN_CACHE_DIR where there is no network). Each round is a
fresh process for each of the two, in turns; in each, a time is the median of all messages. The texts are
docstrings of the standard library.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from estimator import corpora
from harness import interleaved
from report import Report, Series, Target

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.accounts.tokens import count_tokens, is_estimated

sys.path.insert(0, str(Path(__file__).parent / "drivers"))
from driver import stalled

MODEL = "gpt-4o-mini"
MESSAGE, LONG = 300, 1_000_000  # characters
WARMING_UP, MESSAGES = 100, 1_500
COUNTERS = ("splintr", "tiktoken")


async def costs() -> dict[str, float]:
    """Each figure of this process's counter."""
    text = corpora(None)["English (docs)"]
    messages = [text[start : start + MESSAGE] for start in range(0, MESSAGE * MESSAGES, MESSAGE)]
    count = await median_time(messages, lambda message: count_tokens(message, MODEL))
    assert not is_estimated(MODEL), "the vocabulary is not at hand"
    long = (text * (LONG // len(text) + 1))[:LONG]
    stall, _, took = min([await stalled(count_tokens(long, MODEL)) for _ in range(3)])

    manager = SessionManager()

    def append(message: str) -> Awaitable[str]:
        return manager.ai_responds(message, model=MODEL, provider="openai")

    appends = 1 / await median_time(messages, append)
    return {"count": count * 1e6, "long": took * 1e3, "stall": stall * 1e3, "appends": appends}


async def median_time(messages: list[str], work: Callable[[str], Awaitable[object]]) -> float:
    """Seconds that a message takes, once others have warmed up."""
    times = []
    for message in messages:
        started = time.perf_counter()
        await work(message)
        times.append(time.perf_counter() - started)
    return median(times[WARMING_UP:])


def in_a_process(counter: str) -> dict[str, float]:
    """The figures of a fresh process that counts with one of the two."""
    words = [sys.executable, __file__, "--counter", counter]
    settings = os.environ | {"SESSION_PROVIDER": "memory"}
    done = subprocess.run(words, env=settings, stdout=subprocess.PIPE, check=True)  # noqa: S603  (our own words)
    return dict(json.loads(done.stdout))


def measured(rounds: int) -> Report:
    """The figures of all rounds."""
    values = interleaved(rounds, {counter: partial(in_a_process, counter) for counter in COUNTERS})
    report = Report({name: version(name) for name in ("splintr-rs", "tiktoken")})

    def compare(figure: str, name: str, unit: str, target: Target) -> None:
        series = {each: Series(each, unit, [found[figure] for found in values[each]]) for each in COUNTERS}
        against = series["tiktoken"] if target.of == "ratio" else None
        report.figure(name, series["splintr"], target, against)

    compare("count", f"count of a message of {MESSAGE} characters", "µs", Target(0.25, at_most=True))
    compare("long", "count of a text of 1 MB", "ms", Target(0.25, at_most=True))
    compare("stall", "stall of the event loop by that", "ms", Target(50, "figure", at_most=True))
    compare("appends", "memory, answers recorded by one SessionManager", "/s", Target(1.25))
    return report


def main() -> None:
    """Print the table; in a process of one counter, its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--counter", choices=COUNTERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.counter is None:
        print(measured(arguments.rounds).as_markdown())
        return
    if arguments.counter == "tiktoken":
        modules: dict[str, Any] = sys.modules
        modules["splintr"] = None  # as if it were not installed
    print(json.dumps(asyncio.run(costs())))


if __name__ == "__main__":
    main()
