"""What the first use of a process costs: the import, and the first message and answer."""

from __future__ import annotations

import subprocess
import time
from functools import partial

from environments import python_of, variables
from harness import NEWEST, ORIGINAL, PROJECT, Bench, Peer, interleaved
from report import Report, Series, Target

PEERS = (PROJECT, ORIGINAL, NEWEST)

# Says the milliseconds of an import, and which packages it brought that are not Python's own.
IMPORT = """
import sys, time
before = set(sys.modules)
started = time.perf_counter()
import chuk_ai_session_manager
print((time.perf_counter() - started) * 1e3)
brought = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
print(*sorted(name for name in brought if not name.startswith("_")))
"""
UNWANTED = {"chuk_mcp", "chuk_sessions", "chuk_tool_processor", "redis", "tiktoken"}


def measure(bench: Bench, report: Report) -> None:
    """Each time in a fresh process."""
    _imports(bench, report)
    _first_calls(bench, report)


def _imports(bench: Bench, report: Report) -> None:
    packages: dict[Peer, list[str]] = {}

    def import_(peer: Peer) -> tuple[float, float]:
        whole, said = _run(peer, IMPORT)
        alone, packages[peer] = said.splitlines()[0], said.splitlines()[1].split()
        return whole, float(alone)

    turns = {peer: partial(import_, peer) for peer in PEERS}
    values = interleaved(bench.scale.fresh_processes, turns)
    empty = interleaved(bench.scale.fresh_processes, {PROJECT: lambda: _run(PROJECT, "")[0]})[PROJECT]
    whole = {
        peer: Series(f"{peer.name}, whole process", "ms", [one for one, _ in values[peer]]) for peer in PEERS
    }
    alone = {peer: Series(f"{peer.name}, import", "ms", [one for _, one in values[peer]]) for peer in PEERS}
    report.side_by_side["import"] = [
        Series("python -c ''", "ms", empty), *whole.values(), *alone.values()
    ]  # fmt: skip
    at_most = Target(120, "figure", at_most=True)
    report.figure("`import chuk_ai_session_manager`", alone[PROJECT], at_most, alone[ORIGINAL])
    report.figure("the same, whole process", whole[PROJECT], at_most, whole[ORIGINAL])
    brought = packages[PROJECT]
    unwanted = Series("optional or chuk packages", "packages", [len(UNWANTED.intersection(brought))])
    report.figure("what the import brings", unwanted, Target(0, "figure", at_most=True))
    report.notes.append(f"the import brings the packages {', '.join(brought)}")


def _run(peer: Peer, program: str) -> tuple[float, str]:
    """Milliseconds that a process took, and what it said."""
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603  (our own words)
        [python_of(peer.environment), "-c", program],
        env=variables(),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return (time.perf_counter() - started) * 1e3, done.stdout


def _first_calls(bench: Bench, report: Report) -> None:
    def first(peer: Peer) -> dict[str, float]:
        with bench.worker(peer, "memory") as worker:
            times: dict[str, float] = worker("first_calls")
            return times

    turns = {peer: partial(first, peer) for peer in PEERS}
    values = interleaved(bench.scale.fresh_processes, turns)
    report.side_by_side["first message and first answer of a process"] = [
        Series(f"{peer.name}, {what}", "ms", [each[key] for each in values[peer]])
        for key, what in (("took", "both"), ("stall", "longest stall of the event loop"))
        for peer in PEERS
    ]
