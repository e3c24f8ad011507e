"""The command `tokens`: texts and whole chat requests, for several models side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running import PATIENCE

from chuk_ai_session_manager.cli.commands import run_command

pytest.importorskip("splintr", reason="splintr-rs is not installed")

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}  # 6 tokens
HELLO = {"role": "user", "content": "Hello!"}  # 2 tokens
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def counts(capfd: pytest.CaptureFixture[str], file: Path, *models: str) -> Any:
    options = [word for model in models for word in ("--model", model)]
    assert run_command(["tokens", str(file), *options, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def of_chat(capfd: pytest.CaptureFixture[str], tmp_path: Path, chat: object, model: str) -> tuple[int, bool]:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps(chat), "utf-8")
    found = counts(capfd, file, model)
    assert found["kind"] == "chat"
    return found["models"][0]["tokens"], found["models"][0]["estimated"]


def test_a_text_for_several_models(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "text.md"
    file.write_text("Hello!", "utf-8")
    found = counts(capfd, file, "gpt-4o", "llama3.3:70b", "claude-sonnet-4-5")
    assert (found["kind"], found["characters"]) == ("text", 6)
    assert [(row["model"], row["tokens"], row["estimated"]) for row in found["models"]] == [
        ("gpt-4o", 2, False),
        ("llama3.3:70b", 2, False),
        ("claude-sonnet-4-5", 2, True),
    ]


def test_a_special_token_in_a_text_is_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "text.txt"
    file.write_text("<|endoftext|>", "utf-8")
    assert counts(capfd, file, "gpt-4o")["models"][0]["tokens"] > 1


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"a": 1}', "{}\n{}", '{"messages": 3}', "[]"])
def test_what_is_no_chat_is_a_text(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str) -> None:
    file = tmp_path / "text.json"
    file.write_text(text, "utf-8")
    assert counts(capfd, file, "gpt-4o")["kind"] == "text"


def test_a_chat_is_a_whole_request(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # 19 is what OpenAI's API reference shows as the `prompt_tokens` of these two messages.
    assert of_chat(capfd, tmp_path, {"messages": [SYSTEM, HELLO]}, "gpt-4o") == (19, False)
    assert of_chat(capfd, tmp_path, [SYSTEM, HELLO], "openai/gpt-4o-2024-08-06") == (19, False)
    # A name is its text ("ada" is one token) and one token more.
    assert of_chat(capfd, tmp_path, [SYSTEM, HELLO | {"name": "ada"}], "gpt-4o") == (21, False)


@pytest.mark.parametrize("model", ["gpt-5", "llama3.3:70b", "claude-sonnet-4-5", "gpt-4o-audio-preview"])
def test_the_rule_is_an_estimate_for_models_that_it_was_not_published_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], model: str
) -> None:
    tokens, is_estimated = of_chat(capfd, tmp_path, [SYSTEM, HELLO], model)
    assert tokens >= 19
    assert is_estimated


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [TOOL]},
        {"messages": [HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]}]},
        {"messages": [HELLO, {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}]}]},
    ],
)  # fmt: skip
def test_tools_calls_and_images_count_and_make_an_estimate(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], more: dict[str, Any]
) -> None:
    without = of_chat(capfd, tmp_path, {"messages": [HELLO]}, "gpt-4o")
    tokens, is_estimated = of_chat(capfd, tmp_path, {"messages": [HELLO]} | more, "gpt-4o")
    assert without == (9, False)
    assert tokens > 9 + 4
    assert is_estimated


def test_lines_are_messages_or_requests(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (SYSTEM, HELLO)), "utf-8")
    found = counts(capfd, file, "gpt-4o")
    assert (found["requests"], found["messages"], found["models"][0]["tokens"]) == (1, 2, 19)
    file.write_text("".join(json.dumps({"messages": [SYSTEM, HELLO]}) + "\n\n" for _ in range(3)), "utf-8")
    found = counts(capfd, file, "gpt-4o")
    assert (found["requests"], found["messages"], found["models"][0]["tokens"]) == (3, 6, 57)


def test_in_a_pipe_from_the_standard_input_and_without_a_store() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "chuk_ai_session_manager",
            "tokens",
            "-",
            "-m",
            "gpt-4o",
            "-m",
            "nobody-knows-it",
        ],
        input="Hello!",
        env=os.environ | {"SESSION_PROVIDER": "no such store"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == ("gpt-4o\t2\texact\nnobody-knows-it\t2\testimated\n", 0)
    assert ended.stderr == "Counted a text of 6 characters.\n"


def test_as_a_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    file = tmp_path / "text.txt"
    file.write_text("word " * 2000, "utf-8")
    assert run_command(["tokens", str(file), "--model", "gpt-4o"]) == 0
    out = capfd.readouterr().out
    assert "Tokens" in out
    assert "2,001" in out
    assert "exact" in out


@pytest.mark.parametrize(
    ("content", "model", "words"),
    [
        (b"\xff\xfe", "gpt-4o", "is not a text in UTF-8"),
        (b"text", "", "model must not be empty"),
        (b'{"messages": [3]}', "gpt-4o", "messages[0] must be a dict"),
        (b'{"messages": []}\n{"messages": [3]}', "gpt-4o", "request 2: messages[0] must be a dict"),
        (b'{"messages": [], "tools": 3}', "gpt-4o", '"tools" is not a list'),
        (None, "gpt-4o", "cannot be read"),
    ],
)
def test_mistakes_end_in_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes | None, model: str, words: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert run_command(["tokens", str(file), "--model", model]) == 2
    ended = capfd.readouterr()
    assert words in ended.err
    assert not ended.out
