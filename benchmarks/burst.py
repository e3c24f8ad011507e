"""Many new conversations at once, each with a question and an answer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from harness import AGENTS, BARE, PEERS, PROJECT, Bench, Worker, interleaved
from report import Report, Series, Target

COMPARED = [PROJECT, AGENTS, BARE]
COLUMNS = {
    "took": ("all", "ms"),
    "slowest": ("the slowest", "ms"),
    "cpu": ("CPU an event", "µs"),
    "server": ("CPU an event of the server", "µs"),
    "reads": ("reads of the server an event", ""),
    "connections": ("connections to Redis", ""),
}


def measure(bench: Bench, report: Report) -> None:
    """Every store, by the project, by the OpenAI Agents SDK, and bare."""
    sessions = bench.scale.burst
    for place in PEERS:
        with bench.workers(place, COMPARED) as workers:
            turns = {peer: partial(_burst, bench, worker, sessions) for peer, worker in workers.items()}
            values = interleaved(bench.scale.few_rounds, turns)
        columns = COLUMNS if place == "Redis" else dict(list(COLUMNS.items())[:3])
        series = {
            peer: {key: Series(*name, [each[key] for each in rounds]) for key, name in columns.items()}
            for peer, rounds in values.items()
        }
        report.grids[f"{place}, {sessions:,} new conversations at once"] = {
            peer.name: list(cells.values()) for peer, cells in series.items()
        }
        name = f"{place}, {sessions:,} new conversations at once"
        ours = series[PROJECT]
        theirs = {key: replace(each, name=AGENTS.name) for key, each in series[AGENTS].items()}
        report.figure(f"{name}: CPU", ours["cpu"], Target(1, at_most=True), theirs["cpu"])
        report.figure(f"{name}: the slowest", ours["slowest"], Target(1, at_most=True), theirs["slowest"])
        if place == "Redis":
            report.figure(f"{name}: connections", ours["connections"], Target(10, "figure", at_most=True))


def _burst(bench: Bench, worker: Worker, sessions: int) -> dict[str, float]:
    database = str(bench.databases[worker.peer])
    with bench.redis.client() as client:
        before = client.info("everything")
        found = worker("burst", sessions=sessions)
        after = client.info("everything")
        own = str(client.client_id())
        others = [each for each in client.client_list() if each["id"] != own]

    def more(*names: str) -> float:
        return float(sum(after[name] - before[name] for name in names)) / sessions / 2

    return {
        "took": found["took"] * 1e3,
        "slowest": found["slowest"] * 1e3,
        "cpu": found["cpu"] / sessions / 2 * 1e6,
        "server": more("used_cpu_user", "used_cpu_sys") * 1e6,
        "reads": more("total_reads_processed"),
        "connections": sum(each["db"] == database for each in others),
    }
