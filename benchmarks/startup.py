"""What the import costs, up to `SessionManager`: the package itself imports nothing before its first use."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial

from environments import python_of, variables
from harness import NEWEST, ORIGINAL, PROJECT, Bench, Peer, interleaved
from report import Report, Series, Target

PEERS = (PROJECT, ORIGINAL, NEWEST)

# Says the milliseconds of CPU of an import, and which packages it brought that are not Python's own.
IMPORT = """
import sys, time
before = set(sys.modules)
started = time.process_time()
from chuk_ai_session_manager import SessionManager
print((time.process_time() - started) * 1e3)
brought = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
print(*sorted(name for name in brought if not name.startswith("_")))
"""
# The least that any package costs whose records are pydantic's.
PYDANTIC = """
import time
started = time.process_time()
import pydantic
class Record(pydantic.BaseModel):
    name: str
print((time.process_time() - started) * 1e3)
"""
UNWANTED = {"chuk_mcp", "chuk_sessions", "chuk_tool_processor", "redis", "tiktoken"}


def measure(bench: Bench, report: Report) -> None:
    """Each time in a fresh process."""
    packages: dict[Peer, list[str]] = {}

    def import_(peer: Peer) -> float:
        took, brought = _run(peer, IMPORT).splitlines()
        packages[peer] = brought.split()
        return float(took)

    turns: dict[str, Callable[[], float]] = {peer.name: partial(import_, peer) for peer in PEERS}
    least = "pydantic and one model"
    turns[least] = lambda: float(_run(PROJECT, PYDANTIC))
    values = interleaved(bench.scale.fresh_processes, turns)
    took = {name: Series(name, "ms", values[name]) for name in turns}
    report.side_by_side["CPU time of the import"] = [*took.values()]
    name = "CPU time of the import of `SessionManager`"
    report.figure(name, took[PROJECT.name], Target(1.1, at_most=True), took[least])
    report.figure(name, took[PROJECT.name], Target(1, at_most=True), took[ORIGINAL.name])
    brought = packages[PROJECT]
    unwanted = Series("optional or chuk packages", "packages", [len(UNWANTED.intersection(brought))])
    report.figure("what the import brings", unwanted, Target(0, "figure", at_most=True))
    report.notes.append(f"the import brings the packages {', '.join(brought)}")


def _run(peer: Peer, program: str) -> str:
    """What a program says."""
    done = subprocess.run(  # noqa: S603  (our own words)
        [python_of(peer.environment), "-c", program],
        env=variables(),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout
