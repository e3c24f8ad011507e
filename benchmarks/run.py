"""Every figure that the project promises, beside its peers, in one run: `make bench`.

    python benchmarks/run.py [--quick] [--only throughput growth ...] [--json FILE] [--write]

Peers take turns in short rounds; what is compared is of the same rounds. Medians, with the spread. Set
TIKTOKEN_CACHE_DIR where there is no network, and CHATS to a file of conversations to have them replayed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import burst
import first_calls
import footprint
import growth
import idle
import listing
import long_logs
import processes
import reopening
import stalls
import startup
import throughput
from environments import python_of
from harness import AGENTS, NEWEST, ORIGINAL, PEERS, PROJECT, QUICK, Bench, Scale, bench_of
from report import Report

TOPICS = {
    "startup": startup,
    "first_calls": first_calls,
    "throughput": throughput,
    "processes": processes,
    "burst": burst,
    "idle": idle,
    "growth": growth,
    "reopening": reopening,
    "long_logs": long_logs,
    "listing": listing,
    "stalls": stalls,
    "footprint": footprint,
}
HERE = Path(__file__).parent
PACKAGES = ["chuk-ai-session-manager", "openai-agents", "pydantic", "redis", "tiktoken", "genai-prices"]
REDIS_SETTINGS = ("appendonly", "appendfsync", "save", "maxmemory")


def main() -> int:
    """Measure, and say what; 1 if something could not be measured."""
    arguments = _arguments()
    failed = False
    report = Report()
    with bench_of(QUICK if arguments.quick else Scale()) as bench:
        report.facts |= facts(bench)
        for name in arguments.only or TOPICS:
            started = time.perf_counter()
            try:
                TOPICS[name].measure(bench, report)
            except RuntimeError as problem:  # the others are worth having nevertheless
                failed = True
                print(problem, file=sys.stderr)
                report.notes.append(f"{name} failed: {str(problem).splitlines()[-1]}")
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    if arguments.quick:
        report.notes.insert(0, "a quick run, to see that everything works: these are not the figures")
    print(report.as_markdown())
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_json(), indent=1) + "\n", "utf-8")
    if arguments.write:
        write(report)
    return failed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether everything works")
    parser.add_argument("--only", nargs="+", choices=TOPICS, metavar="TOPIC", help=f"of {', '.join(TOPICS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, for machines")
    parser.add_argument("--write", action="store_true", help="write README.md's tables and the chart")
    arguments = parser.parse_args()
    if arguments.write and (arguments.quick or arguments.only):
        parser.error("--write is for the whole run")
    return arguments


def facts(bench: Bench) -> dict[str, str]:
    """What was measured, on what, and how the databases were set."""
    found = {
        "machine": f"{os.cpu_count()} x {processor()}, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}",
        "load of the machine at the start": f"{os.getloadavg()[0]:.1f}",
        "rounds": f"{bench.scale.rounds} of each figure, {bench.scale.growth_rounds} of growth, "
        f"{bench.scale.fresh_processes} of fresh processes, {bench.scale.few_rounds} of processes and bursts",
    }
    for peer in (PROJECT, ORIGINAL, NEWEST, AGENTS):
        with bench.worker(peer, "memory") as worker:
            words = [" ".join(each) for each in worker("versions", packages=PACKAGES).items()]
            if peer is not AGENTS:  # it counts none
                words.append("tokens counted" if worker("counts_exactly") else "tokens estimated")
        found[peer.environment] = ", ".join(words)
    with bench.redis.client() as client:
        settings = ", ".join(f"{name} {client.config_get(name)[name] or 'none'}" for name in REDIS_SETTINGS)
        found["Redis"] = f"{client.info('server')['redis_version']}, {settings}"
    found["SQLite"] = sqlite3.sqlite_version
    for peer in PEERS["SQLite"]:
        with bench.worker(peer, "SQLite") as worker:
            pragmas = worker("sqlite_settings")
        words = [f"{name} {value}" for name, value in pragmas.items()]
        found["SQLite"] += f"; {peer.name}: {', '.join(words)}"
    return found


def processor() -> str:
    """What the processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def write(report: Report) -> None:
    """Put the tables into README.md after its last fixed line, and draw the chart."""
    readme = HERE / "README.md"
    fixed, mark, _ = readme.read_text("utf-8").partition("<!-- written by run.py -->\n")
    readme.write_text(f"{fixed}{mark}\n{report.as_markdown()}\n", "utf-8")
    if report.costs:
        words = [python_of("chart"), HERE / "chart.py", HERE / "cost-of-an-event.svg"]
        subprocess.run(words, input=json.dumps(report.costs), text=True, check=True)  # noqa: S603  (our own)


if __name__ == "__main__":
    sys.exit(main())
