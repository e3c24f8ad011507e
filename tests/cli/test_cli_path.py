"""What the command line shows of a conversation whose user had second thoughts."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from running import in_time

from chuk_ai_session_manager import EventSource, SessionEvent, SessionManager
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


@pytest.mark.parametrize("last", [(), ("--last", "9")])
def test_a_report_marks_what_was_taken_back(
    url: str, last: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    page = shown(capfd, "report", "talk", "--store", url, *last)
    articles = re.findall(r"<article class=.*?</article>", page, flags=re.DOTALL)
    marked = [text for text in articles if "<span>off the path</span>" in text]
    assert ["in haste" in text for text in marked] == [True, True]
    assert sum("in haste" in text for text in articles) == 2


def test_tail_marks_what_was_taken_back(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    lines = shown(capfd, "tail", "talk", "-n", "9", "--store", url).splitlines()
    marked = [after.strip() for line, after in pairwise(lines) if "off the path" in line]
    assert marked == ["A question in haste", "An answer in haste"]
    rows = [json.loads(line) for line in shown(capfd, "tail", "talk", "--json", "--store", url).splitlines()]
    assert [row["message"] for row in rows if row.get("off_path")] == [
        "A question in haste",
        "An answer in haste",
    ]


async def test_tail_marks_an_answer_that_comes_late(url: str) -> None:
    async with open_store(url) as store:
        sm = SessionManager("talk", store=store)
        question = (await sm.get_conversation(with_ids=True))[-1]["event_id"]
        await sm.undo()
        command = [sys.executable, "-m", "chuk_ai_session_manager", "tail", "-f", "-n", "1", "--json", "talk"]
        program = await asyncio.create_subprocess_exec(
            *command, "--store", url, stdout=asyncio.subprocess.PIPE
        )
        assert program.stdout is not None
        try:
            assert b"path_choice" in await in_time(program.stdout.readline())
            session = await store.get((await sm.get_session_chain())[-1])
            assert session is not None
            late: SessionEvent[str] = SessionEvent(
                message="Too late", source=EventSource.LLM, parent_event_id=question
            )
            await session.add_event_and_save(late)
            row = json.loads(await in_time(program.stdout.readline()))
            assert (row["message"], row["off_path"]) == ("Too late", True)
        finally:
            program.kill()
            await program.wait()
