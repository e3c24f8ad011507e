"""What counting tokens costs with toktok and splintr, splintr alone, and tiktoken: a table with targets.

    python benchmarks/token_counts.py [--rounds 7]

Needs the packages, and tiktoken's vocabulary (TIKTOKEN_CACHE_DIR where there is no network). Each round is a
fresh process for each of the three, in turns; in each, a time is the median of all messages. The texts are
docstrings of the standard library. toktok and splintr remember words that they have seen, so the figures with
targets are of a process that has counted all these docstrings before, cut elsewhere; "new words" says what a
message costs before that. Memory is known on Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import threading
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
from chuk_ai_session_manager.accounts.counters import BUSY
from chuk_ai_session_manager.accounts.tokens import count_tokens, is_estimated

sys.path.insert(0, str(Path(__file__).parent / "drivers"))
from driver import stalled

MODEL = "gpt-4o-mini"
MESSAGE, LONG = 300, 1_000_000  # characters
WARMING_UP, MESSAGES = 100, 1_500
OURS = "toktok and splintr"
COUNTERS: dict[str, tuple[str, ...]] = {OURS: (), "splintr": ("toktok",), "tiktoken": ("toktok", "splintr")}
"""The packages that are hidden from the library, so that it counts with what the name says."""


async def costs() -> dict[str, float]:
    """Each figure of this process's counter."""
    text = corpora(None)["English (docs)"]
    messages, others = cut(text, 0), cut(text, MESSAGE // 2)
    memory = resident()
    first = await stalled(count_tokens(messages[0], MODEL))
    assert not is_estimated(MODEL), "the vocabulary is not at hand"
    later = await stalled(get_busy())
    memory = resident() - memory
    new = await median_time(others, lambda message: count_tokens(message, MODEL))
    count = await median_time(messages, lambda message: count_tokens(message, MODEL))
    long = (text * (LONG // len(text) + 1))[:LONG]
    stall, _, took = min([await stalled(count_tokens(long, MODEL)) for _ in range(3)])

    manager = SessionManager()

    def append(message: str) -> Awaitable[str]:
        return manager.ai_responds(message, model=MODEL, provider="openai")

    appends = 1 / await median_time(messages, append)
    return {
        "first": first.time * 1e3,
        "first stall": first.stall_cpu * 1e3,
        "later stall": later.stall_cpu * 1e3,
        "memory": memory / 1e6,
        "new": new * 1e6,
        "count": count * 1e6,
        "long": took * 1e3,
        "stall": stall * 1e3,
        "appends": appends,
    }


def cut(text: str, start: int) -> list[str]:
    """Messages of this text."""
    return [text[at : at + MESSAGE] for at in range(start, start + MESSAGE * MESSAGES, MESSAGE)]


async def get_busy() -> None:
    """Count so often that toktok is loaded, if it is there; and wait until it is."""
    for _ in range(BUSY):
        await count_tokens("word", MODEL)
    for thread in threading.enumerate():
        if thread.name == "load-toktok":
            await asyncio.to_thread(thread.join)


def resident() -> float:
    """Bytes of memory of this process, on Linux; 0 elsewhere."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0


async def median_time(messages: list[str], work: Callable[[str], Awaitable[object]]) -> float:
    """Seconds that a message takes, once others have warmed up."""
    times = []
    for message in messages:
        started = time.perf_counter()
        await work(message)
        times.append(time.perf_counter() - started)
    return median(times[WARMING_UP:])


UNITS = {
    "first": "ms",
    "first stall": "ms",
    "later stall": "ms",
    "memory": "MB",
    "new": "µs",
    "count": "µs",
    "long": "ms",
    "stall": "ms",
    "appends": "/s",
}


def in_a_process(counter: str) -> dict[str, float]:
    """The figures of a fresh process that counts with one of the three."""
    words = [sys.executable, __file__, "--counter", counter]
    settings = os.environ | {"SESSION_PROVIDER": "memory"}
    done = subprocess.run(words, env=settings, stdout=subprocess.PIPE, check=True)  # noqa: S603  (our own words)
    return dict(json.loads(done.stdout))


def measured(rounds: int) -> Report:
    """The figures of all rounds."""
    values = interleaved(rounds, {counter: partial(in_a_process, counter) for counter in COUNTERS})
    report = Report({name: version(name) for name in ("toktok-rs", "splintr-rs", "tiktoken")})
    series = {
        figure: {each: Series(each, unit, [found[figure] for found in values[each]]) for each in COUNTERS}
        for figure, unit in UNITS.items()
    }

    def compare(figure: str, name: str, target: Target) -> None:
        against = series[figure]["tiktoken"] if target.of == "ratio" else None
        report.figure(name, series[figure][OURS], target, against)

    compare("count", f"count of a message of {MESSAGE} characters", Target(0.25, at_most=True))
    compare("long", "count of a text of 1 MB", Target(0.25, at_most=True))
    compare("stall", "stall of the event loop by that", Target(50, "figure", at_most=True))
    compare("appends", "memory, answers recorded by one SessionManager", Target(1.25))
    compare("first", "first count of a process", Target(1, at_most=True))
    report.side_by_side = {
        f"count of a message of {MESSAGE} characters": [*series["count"].values()],
        "the same, with new words": [*series["new"].values()],
        "the first count of a process": [*series["first"].values()],
        "CPU time in the longest stall of the event loop during the first count": [
            *series["first stall"].values()
        ],
        f"CPU time in the longest stall of the event loop during the {BUSY:,} counts after it": [
            *series["later stall"].values()
        ],
        "memory": [*series["memory"].values()],
    }
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
    modules: dict[str, Any] = sys.modules
    for hidden in COUNTERS[arguments.counter]:
        modules[hidden] = None  # as if it were not installed
    print(json.dumps(asyncio.run(costs())))


if __name__ == "__main__":
    main()
