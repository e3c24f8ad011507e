"""The command line and the report say which messages are pinned."""

from __future__ import annotations

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
        await sm.user_says("Never on Mondays", pinned=True)
        await sm.ai_responds("Noted", model="gpt-4o")
        await sm.user_says("And then?")
        await sm.tool_used("look", {}, "found", pinned=True)
        await sm.wait_for_summaries()
    return url


@pytest.mark.parametrize("last", [(), ("--last", "9")])
def test_pins_are_shown(url: str, last: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["show", "talk", "--store", url, *last]) == 0
    lines = capfd.readouterr().out.splitlines()
    marked = [after.strip() for line, after in pairwise(lines) if line.endswith("pinned")]
    assert "Never on Mondays" in marked
    assert sum("pinned" in line for line in lines) == 2


def test_the_report_marks_pins(url: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run_command(["report", "talk", "--store", url, "-o", str(page)]) == 0
    assert page.read_text("utf-8").count(">pinned<") == 2
