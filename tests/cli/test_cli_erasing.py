"""Erasing, pruning and subject access from the command line."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from chuk_ai_session_manager import EventType, Session, SessionEvent, SessionManager, SessionMetadata
from chuk_ai_session_manager.cli.commands import run_command
from chuk_ai_session_manager.models.record import utc_now
from chuk_ai_session_manager.stores import open_store

MARKER = "marker-7f3a"


@pytest.fixture
async def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    async with open_store(url) as store:
        for name, user in (("talk", "ann"), ("another", "ann"), ("bob's", "bob")):
            sm = SessionManager(
                name, store=store, user_id=user, infinite_context=True, max_turns_per_segment=2
            )
            for number in range(3):
                await sm.user_says(f"{MARKER} {name} {number}")
            await sm.wait_for_summaries()
        await SessionManager("talk", store=store).fork(session_id="fork")
        past = utc_now() - timedelta(days=100)
        await Session.create(
            session_id="old",
            store=store,
            metadata=SessionMetadata(created_at=past),
            events=[SessionEvent(message="long ago", timestamp=past)],
        )
    return url


def ids(url: str, capfd: pytest.CaptureFixture[str]) -> set[str]:
    capfd.readouterr()
    assert run_command(["list", "--live", "--store", url]) == 0
    return {line.split("\t")[0] for line in capfd.readouterr().out.splitlines()}


def test_a_user_is_exported_and_erased(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "ann.jsonl"
    assert run_command(["export", "--user", "ann", "-o", str(copy), "--store", url]) == 0
    lines = [json.loads(line)["session"] for line in copy.read_text(encoding="utf-8").splitlines()]
    assert {line["metadata"]["properties"]["user_id"] for line in lines} == {"ann"}
    said = json.dumps(lines)
    assert all(f"{MARKER} {name} {number}" in said for name in ("talk", "another") for number in range(3))
    assert "bob's" not in said

    capfd.readouterr()
    assert run_command(["erase", "--user", "ann", "--yes", "--json", "--store", url]) == 0
    receipt = json.loads(capfd.readouterr().out)
    assert set(receipt["conversations"]) == {"talk", "another", "fork"}
    assert receipt["events"] > 6
    assert MARKER not in json.dumps(receipt)
    assert len(ids(url, capfd)) == 2
    assert run_command(["export", "--user", "ann", "--store", url]) == 1
    assert run_command(["erase", "--user", "ann", "--yes", "--store", url]) == 1  # nothing is there

    assert run_command(["import", str(copy), "--store", url]) == 0
    assert run_command(["show", "talk", "--store", url]) == 0
    assert f"{MARKER} talk 2" in capfd.readouterr().out


def test_a_conversation_is_erased_in_words(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["erase", "talk", "-y", "--store", url]) == 0
    told = capfd.readouterr().err
    assert "Erased 1 conversation, 2 segments" in told
    assert "copied event" in told
    assert "Not reached: backups" in told
    assert run_command(["show", "talk", "--store", url]) == 1
    assert run_command(["show", "fork", "--store", url]) == 0
    assert f"{MARKER} talk" not in capfd.readouterr().out


def test_segments_that_an_application_linked_are_erased_together(
    url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def link() -> None:
        async with open_store(url) as store:
            for name, parent in (("first", None), ("second", "first"), ("third", "second")):
                summary: SessionEvent[str] = SessionEvent(message=name, type=EventType.SUMMARY)
                await Session.create(session_id=name, parent_id=parent, store=store, events=[summary])

    asyncio.run(link())
    assert run_command(["erase", "third", "-y", "--json", "--store", url]) == 0
    receipt = json.loads(capfd.readouterr().out)
    assert (set(receipt["sessions"]), receipt["events"]) == ({"first", "second", "third"}, 3)
    assert not {"first", "second", "third"} & ids(url, capfd)


def test_pruning_says_first_what_it_would_erase(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    everything = ids(url, capfd)
    assert run_command(["prune", "--older-than", "90d", "--dry-run", "--json", "--store", url]) == 0
    receipt = json.loads(capfd.readouterr().out)
    assert (receipt["conversations"], receipt["is_dry_run"]) == (["old"], True)
    assert ids(url, capfd) == everything
    assert run_command(["prune", "--older-than", "90d", "--user", "ann", "--store", url]) == 0
    assert "Erased 0 conversations" in capfd.readouterr().err
    assert run_command(["prune", "--older-than", "90d", "--store", url]) == 0
    assert ids(url, capfd) == everything - {"old"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["erase", "--yes"],
        ["erase", "talk", "--user", "ann", "--yes"],
        ["erase", "talk"],  # nobody to ask
        ["erase", "--user", "", "--yes"],
        ["prune"],
        ["prune", "--older-than", "90"],
        ["prune", "--older-than", "0d"],
        ["prune", "--older-than", "90d", "--user", ""],
        ["export", "--user", "ann", "--all"],
        ["export", "talk", "--user", "ann"],
        ["export", "--user", ""],
    ],
)
def test_what_cannot_be_meant_is_refused(
    url: str, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    everything = ids(url, capfd)
    assert run_command([*arguments, "--store", url]) == 2
    assert ids(url, capfd) == everything
