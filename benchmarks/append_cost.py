"""CPU that an append takes in two checkouts of this project, in turns: what a change costs.

    python benchmarks/append_cost.py OTHER/src [--kind usage] [--store sqlite] [--counter tiktoken]

Each checkout has a process of its own. CPU time is compared: other work on the machine changes it less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
KINDS = {
    "estimated": "no provider reports the usage of calls, so that it is estimated",
    "usage": "each answer comes with its usage",
    "infinite": "infinite context, segments of 20 messages",
    "limit": "with a token limit",
}
USAGE = {"prompt_tokens": 1234, "completion_tokens": 77, "total_tokens": 1311}


def main() -> None:
    """Compare this checkout with another one, or be the process of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path, help="the `src` folder of the other checkout")
    parser.add_argument("--kind", choices=KINDS, default="estimated", help=str(KINDS))
    parser.add_argument(
        "--store",
        choices=["memory", "sqlite", "redis"],
        default="memory",
        help="redis: the server of SESSION_REDIS_URL",
    )
    parser.add_argument("--counter", choices=["any", "tiktoken"], default="tiktoken")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--events", type=int, default=400)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        sys.path[:0] = [str(options.source), str(HERE / "drivers")]
        if options.counter == "tiktoken":
            for name in ("splintr", "toktok"):
                sys.modules[name] = None  # type: ignore[assignment]  # as if it were not installed
        asyncio.run(serve(options.kind, options.events))
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Let the two take turns, and print the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        sources = {"this": HERE.parent / "src", "other": options.source}
        workers = {name: start(source, options, f"{folder}/{name}.db") for name, source in sources.items()}
        costs: dict[str, list[float]] = {name: [] for name in workers}
        for number in range(options.rounds + 1):
            for name in list(workers)[:: 1 if number % 2 else -1]:
                cost = ask(workers[name])
                if number:  # the first round warms up
                    costs[name].append(cost)
        for worker in workers.values():
            worker.kill()
            worker.communicate()
    for name, each in costs.items():
        print(f"{name}: {min(each):.1f} µs at least, {median(each):.1f} in the middle")
    ratios = [mine / theirs for mine, theirs in zip(costs["this"], costs["other"], strict=True)]
    least = min(costs["this"]) / min(costs["other"])
    print(f"this / other: {least:.3f} at least, {median(ratios):.3f} of pairs")


def start(source: Path, options: argparse.Namespace, path: str) -> subprocess.Popen[str]:
    words = [sys.executable, __file__, str(source), "--serve", "--kind", options.kind]
    words += ["--counter", options.counter, "--events", str(options.events)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"SESSION_PROVIDER": options.store, "SESSION_SQLITE_PATH": path}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)  # noqa: S603


def ask(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(json.loads(worker.stdout.readline()))


async def serve(kind: str, events: int) -> None:
    """For each line that comes, a new session; its microseconds of CPU an event."""
    await spent(kind, 40)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await spent(kind, events)), flush=True)


async def spent(kind: str, events: int) -> float:
    from workload import MODEL, PROVIDER, messages  # noqa: PLC0415  (of this process's path)

    from chuk_ai_session_manager import SessionManager  # noqa: PLC0415

    options: dict[str, dict[str, Any]] = {
        "infinite": {"infinite_context": True},
        "limit": {"token_limit": 10**9},
    }
    sm = SessionManager(**options.get(kind, {}))
    about = {"model": MODEL, "provider": PROVIDER} | ({"usage": USAGE} if kind == "usage" else {})
    answer: Callable[..., Awaitable[str]] = sm.ai_responds
    said = messages(events)
    started = time.process_time()
    for message in said:
        if message.role == "user":
            await sm.user_says(message.text)
        else:
            await answer(message.text, **about)
    return (time.process_time() - started) / events * 1e6


if __name__ == "__main__":
    main()
