"""Events a second: one writer, many sessions at once, real conversations; and reading what lives in memory."""

from __future__ import annotations

from functools import partial

from harness import AGENTS, APPEND, BARE, NEWEST, ORIGINAL, PEERS, PROJECT, Bench, Peer, interleaved
from report import Report, Series, Target

SESSIONS = 64


def measure(bench: Bench, report: Report) -> None:
    """Every store, by every peer that has it."""
    scale = bench.scale
    for place in PEERS:
        long = place == "memory"
        one = side_by_side(
            bench,
            report,
            f"{place}, one writer, sessions of {scale.session if long else scale.few:,} events",
            place,
            "build",
            events=scale.session if long else scale.few,
        )
        many = side_by_side(
            bench,
            report,
            f"{place}, {SESSIONS} sessions at once",
            place,
            "build",
            events=scale.each,
            sessions=SESSIONS,
        )
        if bench.chats:
            side_by_side(
                bench, report, f"{place}, real conversations replayed", place, "replay", path=bench.chats
            )
        compare(report, place, one, many)
    gets = side_by_side(
        bench, report, "memory, get of a live session", "memory", "gets", (PROJECT, APPEND, ORIGINAL, NEWEST)
    )
    report.figure("memory, `get` of a live session", gets[APPEND], Target(1.8e6, "figure"), gets[ORIGINAL])


def side_by_side(
    bench: Bench,
    report: Report,
    name: str,
    place: str,
    job: str,
    peers: tuple[Peer, ...] | None = None,
    **arguments: object,
) -> dict[Peer, Series]:
    """Have peers do a job in turns; events a second."""
    with bench.workers(place, peers or PEERS[place]) as workers:
        turns = {peer: partial(worker, job, **arguments) for peer, worker in workers.items()}
        values = interleaved(bench.scale.rounds, turns)
    series = {peer: Series(peer.name, "/s", rates) for peer, rates in values.items()}
    report.side_by_side[name] = list(series.values())
    return series


def compare(report: Report, place: str, one: dict[Peer, Series], many: dict[Peer, Series]) -> None:
    """The figures of a place that have targets."""
    match place:
        case "memory":
            for peer, bound in ((ORIGINAL, 100), (AGENTS, 10)):
                report.figure("memory, one writer", one[PROJECT], Target(bound), one[peer])
        case "sqlite":
            for ours in (PROJECT, APPEND):
                report.figure(f"SQLite, one writer, {ours.name}", one[ours], Target(3), one[AGENTS])
                report.figure(f"SQLite, 64 sessions, {ours.name}", many[ours], Target(10), many[AGENTS])
                report.figure(
                    f"SQLite, 64 sessions, {ours.name}, against one writer", many[ours], Target(10), one[AGENTS]
                )
        case "redis":
            for ours in (PROJECT, APPEND):
                report.figure(f"Redis, one writer, {ours.name}", one[ours], Target(0.75), one[BARE])
                report.figure(f"Redis, 64 sessions, {ours.name}", many[ours], Target(0.5), many[BARE])
                report.figure(f"Redis, 64 sessions, {ours.name}", many[ours], Target(25_000, "figure"))
            report.figure("Redis, one writer", one[PROJECT], Target(5), one[AGENTS])
