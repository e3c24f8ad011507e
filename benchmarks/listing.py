"""A page of a listing, where there are many sessions."""

from __future__ import annotations

from functools import partial

from harness import APPEND, PEERS, Bench, interleaved
from report import Report, Series

PAGE = 50


def measure(bench: Bench, report: Report) -> None:
    """Every store of the project."""
    sessions = bench.scale.listed
    group = report.side_by_side[f"a page of {PAGE} of {sessions:,} sessions"] = []
    for place in PEERS:
        with bench.worker(APPEND, place) as worker:
            worker("make_sessions", number=sessions)
            turns = {place: partial(worker, "page", size=PAGE)}
            values = interleaved(bench.scale.rounds, turns)[place]
        group.append(Series(place, "ms", values))
