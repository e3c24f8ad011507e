"""A long session opened again: in a fresh process, and in one that has read it before."""

from __future__ import annotations

from functools import partial

from harness import NEWEST, ORIGINAL, PROJECT, Bench, Peer, interleaved
from report import Report, Series, Target

PEERS = {"sqlite": [PROJECT], "redis": [PROJECT, ORIGINAL, NEWEST]}
JOBS = {"read": "the session", "reopen": "its messages for the model"}


def measure(bench: Bench, report: Report) -> None:
    """Each where it is durable."""
    for place, peers in PEERS.items():
        group = report.side_by_side[f"{place}, a session of {bench.scale.reopened:,} events opened again"] = []
        for job, what in JOBS.items():
            for series in _of(bench, place, peers, job, what):
                group.append(series)
                if series.name.startswith(PROJECT.name):
                    report.figure(f"{place}, reopened, {what}", series, Target(150, "figure", at_most=True))


def _of(bench: Bench, place: str, peers: list[Peer], job: str, what: str) -> list[Series]:
    length = bench.scale.reopened
    ids: dict[Peer, str] = {}
    for peer in peers:
        with bench.worker(peer, place) as worker:
            ids[peer] = worker("make", length=length)

    def cold_and_warm(peer: Peer) -> tuple[float, float]:
        with bench.worker(peer, place) as worker:
            again = partial(worker, job, session_id=ids[peer], length=length)
            return again(), again()

    values = interleaved(bench.scale.fresh_processes, {peer: partial(cold_and_warm, peer) for peer in peers})
    return [
        Series(f"{peer.name}, {what}, {state}", "ms", [each[index] for each in values[peer]])
        for peer in peers
        for index, state in enumerate(("fresh process", "again"))
    ]
