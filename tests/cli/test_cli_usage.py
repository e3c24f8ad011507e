"""The command `usage`: what calls were billed, as a table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from places import Place, run

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.cli.commands import run_command


async def fill(place: Place) -> None:
    async with place.store() as store:
        for user, cost in (("ada", 0.25), ("ada", 0.5), ("grace", 1.0)):
            sm = SessionManager(store=store, user_id=user)
            await sm.user_says("hello")
            usage = {"prompt_tokens": 1000, "completion_tokens": 10, "cost": cost}
            await sm.ai_responds("ok", model="m", provider="p", usage=usage)
        await sm.ai_responds(
            "ok", model="nobody-knows-it", usage={"prompt_tokens": 1, "completion_tokens": 1}
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(f"sqlite:///{tmp_path / 'sessions.db'}")
    run(fill, place)
    return place


def usage(place: Place, *options: str) -> int:
    return run_command(["usage", *options, "--store", place.url, "--sandbox", place.sandbox])


def test_as_json(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert usage(place, "--by", "user,model", "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["user"], row["model"], row["calls"], row["cost_usd"]) for row in rows] == [
        ("ada", "m", 2, 0.75),
        ("grace", "m", 1, 1.0),
        ("grace", "nobody-knows-it", 1, None),
    ]
    assert rows[2]["unpriced_calls"] == 1


def test_as_csv(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert usage(place, "--by", "user", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [(row["user"], row["input_tokens"], row["cost_usd"]) for row in rows] == [
        ("ada", "2000", "0.75"),
        ("grace", "1001", "1.0"),
    ]
    assert usage(place, "--by", "model", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [(row["model"], row["cost_usd"]) for row in rows] == [("m", "1.75"), ("nobody-knows-it", "")]


def test_as_a_table(place: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    assert usage(place, "--by", "user,day") == 0
    out = capfd.readouterr().out
    assert "$0.7500" in out
    assert "█" in out
    assert "$1.7500+" in out
    assert "1 of 4 calls have no known price" in out


def test_of_one_user_and_a_time(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    assert usage(place, "--by", "user", "--user", "ada", "--json") == 0
    assert [row["user"] for row in json.loads(capfd.readouterr().out)] == ["ada"]
    assert usage(place, "--until", "2020-01-01") == 0
    assert capfd.readouterr().err == "No model call was billed.\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--by", "colour"), "not 'colour'"),
        (("--since", "yesterday"), "--since takes a day"),
        (("--by", ""), "--by"),
    ],
)
def test_mistakes_end_in_words(
    place: Place, options: tuple[str, ...], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert usage(place, *options) == 2
    ended = capfd.readouterr()
    assert words in ended.err
    assert not ended.out
