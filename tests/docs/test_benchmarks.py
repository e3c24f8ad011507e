"""The benchmarks work: drivers do their jobs, and the report says of each figure whether it is reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from harness import interleaved  # noqa: E402
from report import Report, Series, Target  # noqa: E402


def answers(driver: str, settings: dict[str, str], *jobs: dict[str, Any]) -> list[Any]:
    """What a driver answers, in a process of this Python."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "drivers" / driver],
        input="".join(json.dumps(job) + "\n" for job in jobs),
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    ready, *rest = map(json.loads, done.stdout.splitlines())
    assert ready == {"answer": "ready"}
    return [answer["answer"] for answer in rest]


@pytest.mark.parametrize(
    ("driver", "place"),
    [
        ("session_manager.py", "memory"),
        ("store_append.py", "sqlite"),
        ("bare.py", "memory"),
        ("bare.py", "sqlite"),
    ],
)
def test_drivers_write(driver: str, place: str, tmp_path: Path) -> None:
    settings = {"SESSION_PROVIDER": place, "SESSION_SQLITE_PATH": str(tmp_path / "a.db")}
    one, many, longer, peaks = answers(
        driver,
        settings,
        {"job": "build", "events": 10, "at_least": 0.001},
        {"job": "build", "events": 2, "sessions": 3, "at_least": 0.001},
        {"job": "extend", "length": 20, "events": 4},
        {"job": "memory", "events": 100},
    )
    assert min(*one, *many) > 0
    assert longer > 0
    assert 0 < peaks[0] <= peaks[1]


def test_what_a_driver_made_another_process_opens(tmp_path: Path) -> None:
    settings = {"SESSION_PROVIDER": "sqlite", "SESSION_SQLITE_PATH": str(tmp_path / "a.db")}
    [session_id] = answers("session_manager.py", settings, {"job": "make", "length": 30})
    again = {"session_id": session_id, "length": 30}
    short = {"job": "context", "session_id": session_id, "max_tokens": 300}
    jobs = [{"job": "read"} | again, {"job": "reopen"} | again, short]
    assert len(answers("session_manager.py", settings, *jobs)) == 3


def test_conversations_are_replayed(tmp_path: Path) -> None:
    call = {"id": "call-1", "function": {"name": "weather", "arguments": '{"place": "Rome"}'}}
    rows = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Is it warm?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call-1", "content": "25 degrees"},
        {"role": "assistant", "content": "It is."},
    ]
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"messages": rows}) + "\n", "utf-8")
    [rates] = answers("session_manager.py", {}, {"job": "replay", "path": str(chats)})
    assert min(rates) > 0


def test_several_processes_write_to_one_session(tmp_path: Path) -> None:
    settings = {"SESSION_PROVIDER": "sqlite", "SESSION_SQLITE_PATH": str(tmp_path / "a.db")}
    [session_id] = answers("session_manager.py", settings, {"job": "make", "length": 2})
    job = {"job": "write_for", "seconds": 0.2, "at": time.time() + 1, "session_id": session_id}
    with ThreadPoolExecutor(2) as pool:
        [one], [other] = pool.map(lambda _: answers("session_manager.py", settings, job), range(2))
    [found] = answers("session_manager.py", settings, {"job": "marks", "session_id": session_id})
    assert sorted(found[2:]) == sorted(one["marks"] + other["marks"])
    assert len(one["took"]) <= len(one["marks"])


def test_sessions_are_held_and_let_go(tmp_path: Path) -> None:
    settings = {"SESSION_PROVIDER": "sqlite", "SESSION_SQLITE_PATH": str(tmp_path / "a.db")}
    (before, after), cost, rest, closed, dropped, burst = answers(
        "session_manager.py",
        settings,
        {"job": "hold", "sessions": 20},
        {"job": "touch", "events": 4},
        {"job": "rest", "seconds": 0.01},
        {"job": "close_all"},
        {"job": "let_go"},
        {"job": "burst", "sessions": 10},
    )
    assert after["tasks"] == before["tasks"]
    assert min(cost, closed, dropped, *burst.values(), rest["garbage"]) > 0


def test_turns_alternate_after_a_round_that_warms_up() -> None:
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    values = interleaved(2, {"a": lambda: turn("a"), "b": lambda: turn("b")})
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [4, 5], "b": [3, 6]}


def test_a_ratio_is_of_the_same_rounds() -> None:
    report = Report()
    ours, theirs = Series("ours", "/s", [10, 40, 90]), Series("theirs", "/s", [10, 20, 30])
    report.figure("faster", ours, Target(2), theirs)
    report.figure("faster still", ours, Target(2.5), theirs)
    report.figure("short", ours, Target(40, "figure", at_most=True))
    assert [figure.is_reached for figure in report.figures] == [True, False, True]
    assert report.figures[0].ratios == [1, 2, 3]
    assert "| faster still | ≥ 2.5 x | 40 /s (10-90) | theirs: 20 /s (10-30) | 2 (1-3) | **no** |" in (
        report.as_markdown()
    )
    assert json.loads(json.dumps(report.as_json()))["figures"][0]["ratio"] == 2


async def test_a_bill_counts_what_the_call_before_began_with() -> None:
    from contexts import Bill, Lengths, billed, langchain, ours

    rows: list[dict[str, Any]] = [{"role": "system", "content": "Be brief."}]
    for number in range(60):
        rows.append({"role": "user", "content": f"Question {number}? " + "word " * 20})
        rows.append({"role": "assistant", "content": f"Answer {number}. " + "word " * 20})
    lengths = Lengths()
    for row in rows:
        await lengths.of(row)
    steady = await billed(ours(rows, max_tokens=600), lengths)
    tight = await billed(ours(rows, max_tokens=600, steady=False), lengths)
    theirs = await billed(langchain(rows, 600, lengths), lengths)
    assert steady.calls == tight.calls == theirs.calls == 60
    assert max(steady.most, tight.most, theirs.most) <= 600
    assert steady.cost() * 1.5 < min(tight.cost(), theirs.cost())
    assert steady.refused == 0

    bill = Bill()
    await bill.add(rows[:2], [], lengths)
    await bill.add(rows[:4], rows[:2], lengths)
    assert bill.cached == sum([await lengths.of(row) for row in rows[:2]])
