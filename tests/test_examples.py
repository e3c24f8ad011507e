"""The demo replays its own conversations, and real ones where `CHATS` names a file of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Not what the developer's own shell is set up for.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key not in {"FORCE_COLOR", "COLUMNS"}}
GOOD_LINE = json.dumps({"id": "one", "model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]})


def run_example(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", f"examples/{name}.py", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT | {"PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def replay(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_example("replay", *arguments)


def test_the_agent_loop_prints_its_transcript() -> None:
    run = run_example("agent_loop")
    assert run.returncode == 0, run.stderr
    for fact in (
        '"result": 388.5',
        "umbrella_shop' not found",
        "388.50 USD, or 408.50 USD with an umbrella",
        "3 model calls, 4 tool calls, 630 tokens in, 120 out, $0.000167",
    ):
        assert fact in run.stdout


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_the_chats_through_the_sdks(sdk: str) -> None:
    run = run_example(f"{sdk}_chat")
    assert run.returncode == 0, run.stderr
    assert " assistant  You said: And what is a segment?" in run.stdout
    assert "2 calls, 2000" in run.stdout


def test_demo_replays_the_examples() -> None:
    run = replay()
    assert run.returncode == 0, run.stderr
    assert "40 of 40" in run.stdout
    assert "4 of 4 conversations equal" in run.stdout
    assert "5 calls unpriced" in run.stdout
    assert "\x1b" not in run.stdout


def test_demo_replays_real_conversations() -> None:
    chats = os.environ.get("CHATS")
    if not chats:
        pytest.skip("CHATS names no file of real conversations")
    run = replay(Path(chats).resolve())
    assert run.returncode == 0, run.stderr
    for fact in (
        "Sessions:        20, in 20 segments",
        "610 of 610 (20 system, 182 user, 285 assistant, 123 tool)",
        "Tool calls:      123",
        "(0 calls unpriced)",
        "20 of 20 conversations equal",
    ):
        assert fact in run.stdout


def test_demo_takes_conversations_without_id_and_model(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    row = {"role": "user", "content": "Hi [bold]you[/bold] \u2028"}
    file.write_text(
        f"{json.dumps({'messages': [row]}, ensure_ascii=False)}\n\n{GOOD_LINE}\n{GOOD_LINE}\n",
        encoding="utf-8",
    )
    run = replay(file)
    assert run.returncode == 0, run.stderr
    assert "3 of 3 conversations equal" in run.stdout


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        ("", "no conversation in it"),
        (f"{GOOD_LINE}\n\n{{not json\n", "line 3: not a JSON object"),
        (f"{GOOD_LINE}\n[]\n", 'line 2: not a JSON object with a list of "messages"'),
        ('{"messages": "Hi"}', 'line 1: not a JSON object with a list of "messages"'),
        (
            '\n{"messages": [{"content": "Hi"}]}',
            "line 2: Invalid operation 'add_messages': messages[0] needs a role",
        ),
        ('{"messages": [], "id": 7}', "line 1: "),
        ('{"messages": [], "model": null}', "line 1: "),
    ],
    ids=["missing", "empty", "not-json", "not-an-object", "no-list", "no-role", "bad-id", "bad-model"],
)
def test_demo_names_what_is_wrong_with_the_file(tmp_path: Path, content: str | None, problem: str) -> None:
    file = tmp_path / "chats.jsonl"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    run = replay(file)
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: {file}")
    assert problem in run.stderr
    assert run.stderr.count("\n") == 1
