"""Memory: of sessions, and of conversations that go on for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness import AGENTS, APPEND, NEWEST, ORIGINAL, PEERS, PROJECT, Bench, Peer
from report import Report, Series, Target


def measure(bench: Bench, report: Report) -> None:
    """Each in a fresh process; two at a time, for time is not measured."""
    with ThreadPoolExecutor(2) as pool:
        _sessions(bench, report, pool)
        _endless(bench, report, pool)


def _sessions(bench: Bench, report: Report, pool: ThreadPoolExecutor) -> None:
    long = bench.scale.lengths[-1]

    def growth(peer: Peer, events: int) -> Series:
        with bench.worker(peer, "memory") as worker:
            before, after = worker("memory", events=events)
        return Series(f"{peer.name}, {events:,} events", "MB", [after - before])

    wanted = [(peer, bench.scale.session) for peer in (PROJECT, ORIGINAL, NEWEST, AGENTS)]
    wanted += [(peer, long) for peer in (PROJECT, APPEND, AGENTS)]
    report.side_by_side["memory, what the process grows by for a session"] = list(
        pool.map(growth, *zip(*wanted, strict=True))
    )


def _endless(bench: Bench, report: Report, pool: ThreadPoolExecutor) -> None:
    """The process after a whole conversation, against after its first tenth."""
    events, parts = bench.scale.endless, 10

    def peaks(place: str) -> list[float]:
        with bench.worker(PROJECT, place) as worker:
            marks: list[float] = worker("infinite", events=events, parts=parts)
            return marks

    name = f"peak memory of a conversation of {events:,} events in infinite mode"
    for place, marks in zip(PEERS, pool.map(peaks, PEERS), strict=True):
        first = Series(f"after {events // parts:,} events", "MB", marks[:1])
        last = Series(place, "MB", marks[-1:])
        if place == "memory":  # which keeps all that it stores, so that it grows
            report.side_by_side[f"{place}, {name}"] = [first, last]
        else:
            report.figure(f"{place}, {name}", last, Target(1.1, at_most=True), first)
