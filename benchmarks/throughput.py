"""Events a second: one writer, many sessions at once, real conversations; and reading from memory."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

from harness import AGENTS, APPEND, BARE, NEWEST, ORIGINAL, PEERS, PROJECT, Bench, Peer, Worker, interleaved
from report import Report, Series, Target

SESSIONS = 64

Rates: TypeAlias = dict[Peer, Series]


def measure(bench: Bench, report: Report) -> None:
    """Every store, by every peer that has it."""
    for place in PEERS:
        _measure_place(bench, report, place)


def _measure_place(bench: Bench, report: Report, place: str) -> None:
    scale = bench.scale
    events = scale.session if place == "memory" else scale.few
    with bench.workers(place, PEERS[place]) as workers:

        def side_by_side(name: str, job: str, peers: list[Peer] = PEERS[place], **arguments: object) -> Rates:
            rates = _rates(scale.rounds, {peer: workers[peer] for peer in peers}, job, arguments)
            report.side_by_side[f"{place}, {name}"] = list(rates.values())
            return rates

        one = side_by_side(f"one writer, sessions of {events:,} events", "build", events=events)
        many = side_by_side(f"{SESSIONS} sessions at once", "build", events=scale.each, sessions=SESSIONS)
        if bench.chats:
            side_by_side("real conversations replayed", "replay", path=bench.chats)
        if place == "memory":
            gets = side_by_side("get of a live session", "gets", [PROJECT, APPEND, ORIGINAL, NEWEST])
            report.figure(
                "memory, `get` of a live session", gets[APPEND], Target(1.8e6, "figure"), gets[ORIGINAL]
            )
        _compare(report, place, one, many)


def _rates(rounds: int, workers: dict[Peer, Worker], job: str, arguments: dict[str, object]) -> Rates:
    turns = {peer: partial(worker, job, **arguments) for peer, worker in workers.items()}
    return {peer: Series(peer.name, "/s", values) for peer, values in interleaved(rounds, turns).items()}


def _compare(report: Report, place: str, one: Rates, many: Rates) -> None:
    """The figures of a place that have targets."""
    if place == "memory":
        for peer, bound in ((ORIGINAL, 100), (AGENTS, 10)):
            report.figure("memory, one writer", one[PROJECT], Target(bound), one[peer])
    for ours in (PROJECT, APPEND):
        one_writer, at_once = (
            f"{place}, one writer, {ours.name}",
            f"{place}, {SESSIONS} sessions, {ours.name}",
        )
        if place == "SQLite":
            report.figure(one_writer, one[ours], Target(1.2), one[AGENTS])
            report.figure(at_once, many[ours], Target(4), many[AGENTS])
            report.figure(f"{at_once}, against one of theirs", many[ours], Target(4), one[AGENTS])
        elif place == "Redis":
            report.figure(one_writer, one[ours], Target(0.75), one[BARE])
            report.figure(one_writer, one[ours], Target(5), one[AGENTS])
            report.figure(at_once, many[ours], Target(25_000, "figure"))
            report.figure(at_once, many[ours], Target(0.5), many[BARE])
