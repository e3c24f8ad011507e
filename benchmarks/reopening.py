"""A long session opened again: in a fresh process, in one that has read it before, and beside a peer's."""

from __future__ import annotations

from functools import partial

from harness import AGENTS, PROJECT, Bench, interleaved
from report import Report, Series, Target

# Without the originals: what they wrote to Redis, another process of theirs finds no event of.
PLACES = ("SQLite", "Redis")
JOBS = {"read": "the session", "reopen": "its messages for the model"}


def measure(bench: Bench, report: Report) -> None:
    """Each where it is durable."""
    length = bench.scale.reopened
    for place in PLACES:
        with bench.worker(PROJECT, place) as worker:
            session_id = worker("make", length=length)

        def cold_and_warm(place: str, job: str, session_id: str) -> tuple[float, float]:
            with bench.worker(PROJECT, place) as worker:
                again = partial(worker, job, session_id=session_id, length=length)
                return again(), again()

        turns = {job: partial(cold_and_warm, place, job, session_id) for job in JOBS}
        grid = report.grids.setdefault(f"{length:,} events opened again", {})
        for job, values in interleaved(bench.scale.fresh_processes, turns).items():
            cold, warm = zip(*values, strict=True)
            grid[f"{place}, {JOBS[job]}"] = [
                Series("in a fresh process", "ms of CPU", list(cold)),
                Series("again", "ms of CPU", list(warm)),
            ]
    read_back(bench, report)


def read_back(bench: Bench, report: Report) -> None:
    """All messages read from a file, again and again, by the project and by the Agents SDK."""
    length = bench.scale.reopened
    with bench.workers("SQLite", [PROJECT, AGENTS]) as workers:
        turns = {
            peer: partial(worker, "read", session_id=worker("make", length=length), length=length)
            for peer, worker in workers.items()
        }
        times = interleaved(bench.scale.rounds, turns)
    ours, theirs = (Series(peer.name, "ms of CPU", times[peer]) for peer in (PROJECT, AGENTS))
    report.figure(f"SQLite, {length:,} messages read back", ours, Target(2, at_most=True), theirs)
