"""Several processes that write to one file or server: to conversations of their own, and to the same one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

from harness import AGENTS, PROJECT, Bench, Peer, Worker, interleaved
from report import Report, Series, Target

PLACES = ("SQLite", "Redis")
WRITERS = [PROJECT, AGENTS]
NUMBERS = (1, 2, 4)
LATE = 0.3  # seconds until all have opened their session


class Case(NamedTuple):
    """Who writes, how many of them, and where to."""

    peer: Peer
    processes: int
    is_one_session: bool

    def __str__(self) -> str:
        if self.processes == 1:
            return f"{self.peer.name}, one process"
        shared = "the same conversation" if self.is_one_session else "conversations of their own"
        return f"{self.peer.name}, {self.processes} processes, {shared}"


CASES = [
    Case(peer, number, shared)
    for peer in WRITERS
    for number in NUMBERS
    for shared in ((False,) if number == 1 else (False, True))
]
Rounds: TypeAlias = dict[Case, list[dict[str, float]]]
COLUMNS = {
    "rate": ("all", "events/s"),
    "cpu": ("CPU an event", "µs"),
    "p99": ("99 % of appends", "ms"),
    "max": ("the slowest", "ms"),
    "share": ("events of the slowest process, of the fastest's", ""),
}


def measure(bench: Bench, report: Report) -> None:
    """Each durable store; and what was written is read by another process."""
    for place in PLACES:
        with ExitStack() as stack:
            workers = {
                peer: [stack.enter_context(bench.worker(peer, place)) for _ in range(NUMBERS[-1] + 1)]
                for peer in WRITERS
            }
            turns = {case: partial(_written, bench, workers[case.peer], case) for case in CASES}
            values = interleaved(bench.scale.few_rounds, turns)
        series = {
            case: {key: Series(*name, [each[key] for each in rounds]) for key, name in COLUMNS.items()}
            for case, rounds in values.items()
        }
        report.grids[f"{place}, written by several processes"] = {
            str(case): list(cells.values()) for case, cells in series.items()
        }
        _compare(report, place, values, series)


def _compare(report: Report, place: str, values: Rounds, series: dict[Case, dict[str, Series]]) -> None:
    """The figures that have targets: those of the project that others' work on the machine changes least."""
    alone = replace(series[Case(PROJECT, 1, is_one_session=False)]["cpu"], name="one process")
    for case in CASES:
        if case.peer is PROJECT and case.processes > 1:
            name, found = f"{place}, {case}", series[case]
            if not case.is_one_session:  # otherwise each process reads what the others write
                report.figure(f"{name}: CPU", found["cpu"], Target(1.5, at_most=True), alone)
            report.figure(f"{name}: slowest append", found["max"], Target(1_000, "figure", at_most=True))
    ours = [rounds for case, rounds in values.items() if case.peer is PROJECT]
    wrong = Series("sessions", "sessions", [sum(each["wrong"] for rounds in ours for each in rounds)])
    name = f"{place}, written by several processes: sessions that lack, repeat or reorder an event"
    report.figure(name, wrong, Target(0, "figure", at_most=True))


def _written(bench: Bench, workers: list[Worker], case: Case) -> dict[str, float]:
    """Let the first workers write at the same time, and the last one read what they wrote."""
    *writers, reader = workers
    shared = writers[0]("make", length=2) if case.is_one_session else None
    job = {"seconds": bench.scale.shared_seconds, "at": time.time() + LATE, "session_id": shared}
    with ThreadPoolExecutor(case.processes) as pool:
        done = list(pool.map(lambda writer: writer("write_for", **job), writers[: case.processes]))
    took = sorted(each for one in done for each in one["took"])
    written = [len(one["took"]) for one in done]
    wrong = 0
    for session in {one["session"] for one in done}:
        found = reader("marks", session_id=session)[2:]
        theirs = [one["marks"] for one in done if one["session"] == session]
        in_turns = [[mark for mark in found if mark in marks] for marks in theirs]
        wrong += in_turns != theirs or len(found) != sum(map(len, theirs))
    return {
        "rate": len(took) / bench.scale.shared_seconds,
        "cpu": sum(one["cpu"] for one in done) / len(took) * 1e6,
        "p99": took[int(len(took) * 0.99)],
        "max": took[-1],
        "share": min(written) / max(written),
        "wrong": wrong,
    }
