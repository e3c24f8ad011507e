"""Events a second: one writer, many sessions at once, real conversations."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

from harness import AGENTS, BARE, ORIGINAL, PEERS, PROJECT, SPLINTR, Bench, Peer, interleaved
from report import Report, Series, Target

SESSIONS = 64

Rates: TypeAlias = dict[Peer, Series]
"""Events a second of CPU: what else the machine does changes these less than events a second."""


def measure(bench: Bench, report: Report) -> None:
    """Every store, by every peer that has it."""
    for place in PEERS:
        _measure_place(bench, report, place)


def _measure_place(bench: Bench, report: Report, place: str) -> None:
    scale = bench.scale
    events = scale.session if place == "memory" else scale.few
    peers = [*PEERS[place], SPLINTR] if place == "memory" else PEERS[place]
    with bench.workers(place, peers) as workers:

        def side_by_side(name: str, job: str, **arguments: object) -> Rates:
            turns = {peer: partial(worker, job, **arguments) for peer, worker in workers.items()}
            series: dict[Peer, list[Series]] = {}
            for peer, values in interleaved(scale.rounds, turns).items():
                by_time, by_cpu = zip(*values, strict=True)
                series[peer] = [
                    Series("events", "/s", list(by_time)),
                    Series(peer.name, "/s of CPU", list(by_cpu)),
                ]
            report.grids[f"{place}, {name}"] = {
                peer.name: [rate, Series("CPU an event", "µs", [1e6 / each for each in cpu.values])]
                for peer, (rate, cpu) in series.items()
            }
            return {peer: cpu for peer, (_, cpu) in series.items()}

        one = side_by_side(f"one writer, sessions of {events:,} events", "build", events=events)
        many = side_by_side(f"{SESSIONS} sessions at once", "build", events=scale.each, sessions=SESSIONS)
        if bench.chats:
            side_by_side("real conversations replayed", "replay", path=bench.chats)
    name, at_once = f"{place}, one writer", f"{place}, {SESSIONS} sessions at once"
    match place:
        case "memory":
            report.figure(name, one[PROJECT], Target(4), one[AGENTS])
            report.figure(f"{name}, tokenizers", one[SPLINTR], Target(4), one[AGENTS])
            report.figure(f"{name}, session of {events:,} events", one[PROJECT], Target(80), one[ORIGINAL])
        case "SQLite":
            report.figure(name, one[PROJECT], Target(1.2), one[AGENTS])
            report.figure(f"{at_once}, against one of theirs", many[PROJECT], Target(4), one[AGENTS])
        case "Redis":
            report.figure(name, one[PROJECT], Target(3.5), one[AGENTS])
            report.figure(at_once, many[PROJECT], Target(0.35), many[BARE])
