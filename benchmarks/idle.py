"""Many conversations in one process that an application keeps, and most of which nobody writes to."""

from __future__ import annotations

from functools import partial

from harness import PEERS, PROJECT, Bench, interleaved
from report import Report, Series, Target

TOUCHES = 200
LEFT = ("tasks", "timers", "threads")
FEW_FILES = 5  # connections of the pool


def measure(bench: Bench, report: Report) -> None:
    """Every store, by the project, each in a process of its own."""
    for place in PEERS:
        _measure(bench, report, place)


def _measure(bench: Bench, report: Report, place: str) -> None:
    number = bench.scale.held
    name = f"{place}, {number:,} idle conversations"
    with bench.worker(PROJECT, place) as many, bench.worker(PROJECT, place) as one:
        before, after = many("hold", sessions=number)
        one("hold", sessions=1)
        rest = many("rest", seconds=0.5)
        turns = {key: partial(worker, "touch", events=TOUCHES) for key, worker in ((1, one), (number, many))}
        costs = interleaved(bench.scale.rounds, turns)
        closing = many("close_all")
        dropped = many("let_go")
        _, again = many("hold", sessions=number)
    kilobytes = (after["MB"] - before["MB"]) / number * 1024
    report.grids.setdefault("idle conversations", {})[name] = [
        Series("memory of each", "KB", [kilobytes]),
        Series("closing all", "ms", [closing * 1e3]),
        Series("garbage collection", "ms", [rest["garbage"]]),
        *(Series(f"{each} more", "", [after[each] - before[each]]) for each in (*LEFT, "open files")),
        Series("before", "MB", [before["MB"]]),
        Series("kept", "MB", [after["MB"]]),
        Series("dropped", "MB", [dropped]),
        Series("as many again", "MB", [again["MB"]]),
    ]
    left = Series("tasks, timers and threads", "more", [sum(after[each] - before[each] for each in LEFT)])
    report.figure(f"{name}: tasks, timers and threads more", left, Target(0, "figure", at_most=True))
    report.figure(
        f"{name}: CPU of a stall", Series("stall", "ms", [rest["stall"]]), Target(50, "figure", at_most=True)
    )
    late, early = Series(name, "µs", costs[number]), Series("one conversation", "µs", costs[1])
    report.figure(f"{name}: CPU of an append to one", late, Target(1.2, at_most=True), early)
    if place != "memory":  # which keeps all that is stored
        first, second = Series("the first", "MB", [after["MB"]]), Series("again", "MB", [again["MB"]])
        report.figure(f"{name}: memory with as many again", second, Target(1.1, at_most=True), first)
