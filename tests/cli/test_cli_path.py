"""What the command line shows of a conversation whose user had second thoughts."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.cli.commands import run_command
from chuk_ai_session_manager.stores import open_store


@pytest.fixture
async def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    async with open_store(url) as store:
        sm = SessionManager("talk", store=store, infinite_context=True, max_turns_per_segment=2)
        await sm.user_says("The first question")
        await sm.ai_responds("The first answer", model="gpt-4o")
        await sm.user_says("A question in haste")
        await sm.ai_responds("An answer in haste", model="gpt-4o")
        await sm.undo()
        await sm.user_says("The second question")
        await sm.wait_for_summaries()
    return url


def shown(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_command([*arguments]) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("last", [(), ("--last", "9")])
def test_show_leaves_out_what_was_taken_back(
    url: str, last: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    out = shown(capfd, "show", "talk", "--store", url, *last)
    assert "in haste" not in out
    assert "path_choice" not in out
    assert "The first question" in out
    assert "The second question" in out


@pytest.mark.parametrize("last", [(), ("--last", "9")])
def test_show_all_marks_what_was_taken_back(
    url: str, last: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capfd, "show", "talk", "--all", "--store", url, *last).splitlines()
    marked = [after.strip() for line, after in pairwise(lines) if "off the path" in line]
    assert marked == ["A question in haste", "An answer in haste"]
    assert any("goes on after" in line for line in lines)


def test_json_has_everything_and_says_what_does_not_hold(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    read = json.loads(shown(capfd, "show", "talk", "--json", "--store", url))
    events = {event["id"]: event["message"] for segment in read["segments"] for event in segment["events"]}
    assert {events[each] for each in read["off_path"]} == {"A question in haste", "An answer in haste"}


def test_stats_count_what_holds_and_bill_everything(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    read = json.loads(shown(capfd, "stats", "talk", "--json", "--store", url))
    assert (read["messages"], read["llm_calls"], read["content_tokens"]) == (3, 2, 9)
    assert "in haste" in shown(capfd, "export", "talk", "--store", url)
    chat = json.loads(shown(capfd, "export", "talk", "--format", "openai", "--store", url))
    assert [row["content"] for row in chat["messages"]] == [
        "The first question",
        "The first answer",
        "The second question",
    ]
