"""What an event costs at the end of a short session and of a long one."""

from __future__ import annotations

from functools import partial

from harness import APPEND, NEWEST, ORIGINAL, PEERS, PROJECT, Bench, interleaved
from report import Report, Series, Target

EVENTS = 50  # in a round; a short session is replaced before it has grown by more than half


def measure(bench: Bench, report: Report) -> None:
    """Every store, by every peer that has it, at every length."""
    scale = bench.scale
    short, long = scale.lengths[0], scale.lengths[-1]
    for place, peers in PEERS.items():
        with bench.workers(place, peers) as workers:
            turns = {
                (peer, length): partial(workers[peer], "extend", length=length, events=EVENTS)
                for peer in peers
                for length in scale.lengths
                if peer not in {ORIGINAL, NEWEST} or length <= scale.longest_of_originals
            }
            seconds = interleaved(scale.growth_rounds, turns)
        costs = report.costs[place] = {peer.name: {} for peer in peers}
        for (peer, length), values in seconds.items():
            costs[peer.name][length] = [value * 1e6 for value in values]
        for ours in (PROJECT, APPEND):
            at_end, at_start = (
                Series(f"event {length:,}", "µs of CPU", costs[ours.name][length]) for length in (long, short)
            )
            name = f"{place}, cost of event {long:,}, {ours.name}"
            report.figure(name, at_end, Target(1.2, at_most=True), at_start)
