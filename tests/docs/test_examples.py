"""The examples print what they show; the demo replays real conversations too, where `CHATS` names a file."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from servers import RedisServer

ROOT = Path(__file__).parents[2]
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


# What each of them prints, whatever counts the tokens.
PRINTED = {
    "01_track_conversation": ("user  Then tell me about clouds.", "4 messages, "),
    "02_session_manager": ("in 40 tokens:\n    system  You are a patient teacher.", "4 questions, 3 answers"),
    "03_system_prompt": (
        "Found again:   {'role': 'system', 'content': 'You are a travel agent, and brief.'}",
    ),
    "05_model_calls": (
        "failed: the provider is down",
        "Learning with many layers.",
        "Machine learning: from examples.  12 tokens in, 5 out",
        "Learning with                     interrupted",
    ),
    "06_openai_chat": (" assistant  You said: And what is a segment?", "2 calls, 2000 in (800 cached)"),
    "07_anthropic_chat": (
        " assistant  You said: And what is a segment?",
        "2 calls, 2000 tokens in (1200 from",
    ),
    "08_tool_calls": ("        8\n", "        Cannot divide by zero\n", "4 tool calls"),
    "09_agent_loop": (
        '"result": 388.5',
        "umbrella_shop' not found",
        "388.50 USD, or 408.50 USD with an umbrella",
        "3 model calls, 4 tool calls, 630 tokens in, 120 out, $0.000167",
    ),
    "10_retry_prompt": (
        "after 3 tries: {",
        "after 4 tries: no such company",
        '{"role": "tool", "tool_call_id": "call_2", "content": "{\\"error\\": \\"no such company\\"}"}',
    ),
    "11_infinite_context": (
        "13 messages in 4 segments; to the model go 1:\n      user  <earlier_conversation>",
        "Found by its first id: 13 messages",
        "gives no instructions.\n\nthe abacus, please? Babbage's engines, please? Turing's paper, please?",
    ),
    "12_tokens_and_money": (
        "400 of them cached",
        "$0.003000, 1 call without a known price",
        "With its price:   $0.003181",
        "The next question is refused: $0.005 of $0.001 are spent",
    ),
    "13_monitoring": (
        "chat-1                                       1        2     1",
        "unknown",
        "memory store",
    ),
    "14_events_and_runs": ("run completed, its tools: 1", "state {'umbrella': True}, properties {'topic'"),
    "15_session_hierarchy": (
        "trip\n    flights\n        seats\n    hotels\n",
        "['hotels', 'flights', 'seats']",
        "system  Context from previous conversation: Two people, in May.",
    ),
    "16_prompt_builder": (
        '-- hierarchical\n   {"role": "user", "content": "Good morning."}',
        'by zero\\", \\"details',
        '"tool_call_id": "call_1"',
        'in 48 tokens\n   {"role": "system", "content": "You can calculate."}\n   {"role": "user", '
        '"content": "What is 90 divided by nothing?"}\n   {"role": "assistant"',
    ),
    "18_custom_store": ("10 messages, in 3 files", "user  Thought 9"),
    "19_errors": (
        "Session nobody not found",
        "metadata must be JSON",
        "known are memory, redis, sqlite",
        "could not use",
    ),
    "20_edit_and_regenerate": (
        "< 2 of 3 >",
        "< 2 of 2 >",
        "0 messages are on the path; 4 calls stay on the bill",
    ),
}
RUN_ELSEWHERE = {
    "04_fastapi_chat": "test_fastapi_example.py",
    "17_persistence": "below",
    "21_flask_chat": "test_flask_example.py",
}


@pytest.mark.parametrize("name", PRINTED)
def test_examples_print_what_they_show(name: str) -> None:
    run = run_example(name)
    # Where tiktoken's vocabularies are not at hand, a warning says so.
    said = [line for line in run.stderr.splitlines() if "its token counts are estimates" not in line]
    assert (run.returncode, said) == (0, [])
    for fact in PRINTED[name]:
        assert fact in run.stdout


def test_every_example_is_run_and_listed() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("[0-9]*.py")}
    assert names == PRINTED.keys() | RUN_ELSEWHERE.keys()
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [name for name in sorted(names) if f"({name}.py)" not in listed] == []


def test_what_is_stored_is_there_for_the_next_run(tmp_path: Path, redis_server: RedisServer) -> None:
    for url in (f"sqlite:///{tmp_path}/chats.db", redis_server.url):
        assert "2 messages since" in run_example("17_persistence", url).stdout
        run = run_example("17_persistence", url)
        assert "7 messages since" in run.stdout
        assert "user  Thought 2" in run.stdout


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
def test_demo_names_what_is_wrong_with_the_file(
    tmp_path: Path,
    content: str | None,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "chats.jsonl"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    program = str(ROOT / "examples" / "replay.py")
    monkeypatch.setattr(sys, "argv", [program, str(file)])
    with pytest.raises(SystemExit) as ended:  # in this process, as a process would run it
        runpy.run_path(program, run_name="__main__")
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"error: {file}")
    assert problem in said
    assert said.count("\n") == 1
