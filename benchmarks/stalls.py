"""How long the event loop stands still while a very long message is recorded."""

from __future__ import annotations

from functools import partial

from harness import NEWEST, ORIGINAL, PEERS, PROJECT, Bench, interleaved
from report import Report, Series, Target

ROUNDS = 3


def measure(bench: Bench, report: Report) -> None:
    """The project in every store, the originals in memory."""
    megabytes = bench.scale.megabytes
    group = report.side_by_side[f"a message of {megabytes:g} MB"] = []
    for place in PEERS:
        peers = [PROJECT, ORIGINAL, NEWEST] if place == "memory" else [PROJECT]
        with bench.workers(place, peers) as workers:
            turns = {peer: partial(worker, "stall", megabytes=megabytes) for peer, worker in workers.items()}
            values = interleaved(ROUNDS, turns)
        for peer, times in values.items():
            stall = Series(
                f"{place}, {peer.name}, longest stall", "ms of CPU", [each["stall"] for each in times]
            )
            group += [stall, Series(f"{place}, {peer.name}, took", "ms", [each["took"] for each in times])]
            if peer is PROJECT:
                name = f"{place}, stall of the event loop by a message of {megabytes:g} MB"
                report.figure(name, stall, Target(50, "figure", at_most=True))
