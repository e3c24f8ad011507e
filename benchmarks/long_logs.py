"""A short context of a long log: what the next call is sent, by the length of the conversation before it."""

from __future__ import annotations

from functools import partial

from harness import PROJECT, Bench, interleaved
from report import Report, Series, Target

PLACES = ("SQLite", "Redis")
LIMITS = (2_000, 4_000)
"""Content tokens that the context may have."""


def measure(bench: Bench, report: Report) -> None:
    """Each durable store and limit: in a fresh process, and where everything was imported before."""
    short, *longer = bench.scale.logs
    for place in PLACES:
        with bench.worker(PROJECT, place) as worker:
            sessions = {length: worker("make", length=length) for length in bench.scale.logs}

        def cold_and_warm(place: str, session_id: str, limit: int) -> tuple[float, float]:
            with bench.worker(PROJECT, place) as worker:
                context = partial(worker, "context", session_id=session_id, max_tokens=limit)
                return context(), min(context() for _ in range(15))

        turns = {
            (length, limit): partial(cold_and_warm, place, sessions[length], limit)
            for limit in LIMITS
            for length in bench.scale.logs
        }
        measured = interleaved(bench.scale.fresh_processes, turns)
        for limit in LIMITS:
            for at, state in enumerate(("in a fresh process", "again")):
                series = {
                    length: Series(
                        f"{length:,} events", "ms of CPU", [times[at] for times in measured[length, limit]]
                    )
                    for length in bench.scale.logs
                }
                for length in longer:
                    name = f"{place}, context of {limit:,} tokens, session of {length:,} events, {state}"
                    report.figure(name, series[length], Target(1.5, at_most=True), series[short])
