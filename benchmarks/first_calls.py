"""The first calls of a process: with each way to count tokens, on each store."""

from __future__ import annotations

import json
import subprocess
from functools import partial

from environments import python_of, variables
from harness import AGENTS, DRIVERS, NEWEST, ORIGINAL, PEERS, Bench, Peer, interleaved
from report import Report, Series, Target

OURS = [
    Peer("SessionManager, tokenizers", "project-tokenizers", "fresh_process.py"),
    Peer("SessionManager, tiktoken", "project", "fresh_process.py"),
    Peer("SessionManager, neither", "project-estimates", "fresh_process.py"),
]
COLUMNS = {
    "import": "import",
    "question": "question",
    "answer": "answer",
    "context": "context",
    "stall": "longest stall",
    "stall_cpu": "CPU of the longest stall",
}


def measure(bench: Bench, report: Report) -> None:
    """Each in a fresh process; the stall is compared by its CPU time, which others' work does not change."""
    peers = {
        "memory": [*OURS, ORIGINAL, NEWEST, AGENTS],
        "SQLite": [*OURS, AGENTS],
        "Redis": [*OURS, ORIGINAL, NEWEST, AGENTS],
    }
    turns = {(place, peer): partial(_run, bench, place, peer) for place in PEERS for peer in peers[place]}
    values = interleaved(bench.scale.fresh_processes, turns)
    grid = report.grids["first calls of a process"] = {}
    for (place, peer), rounds in values.items():
        series = {key: Series(name, "ms", [each[key] for each in rounds]) for key, name in COLUMNS.items()}
        grid[f"{place}, {peer.name}"] = list(series.values())
        if peer in OURS:
            name = f"{place}, CPU of the event loop's longest stall in the first calls, {peer.name}"
            report.figure(name, series["stall_cpu"], Target(50, "figure", at_most=True))


def _run(bench: Bench, place: str, peer: Peer) -> dict[str, float]:
    kind = "sessions" if peer is AGENTS else "SessionManager"
    done = subprocess.run(  # noqa: S603  (our own words)
        [python_of(peer.environment), DRIVERS / "fresh_process.py", kind],
        env=variables() | bench.settings(peer, place),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times
