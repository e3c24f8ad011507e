"""Where the command line writes to, and what it says where that is closed, a pipe, or a file."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Ended
from places import Place, run
from program import ENVIRONMENT, PROGRAM, at, program, say
from running import PATIENCE

import chuk_ai_session_manager
from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.api import installed
from chuk_ai_session_manager.cli.figures import dollars, plain_dollars

LONG_ID = "a-session-with-a-long-id-" + "x" * 200
FORCING = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE")
COMMANDS = (["list"], ["show", LONG_ID], ["stats", LONG_ID], ["tail", LONG_ID], ["doctor"], ["usage"])


def named(command: list[str]) -> str:
    return command[0]


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    await say(place, LONG_ID, ["Hello " + "word " * 100], user_id="ann")
    async with place.store() as store:
        sm = SessionManager(LONG_ID, store=store)
        await sm.ai_responds("سلام، حال شما چطور است؟", model="gpt-4o")
    return place


# -- pipes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_a_pipe_gets_the_same_lines_whatever_the_environment_says_of_terminals(
    command: list[str], place: Place
) -> None:
    plain = program(*command, *at(place))
    forced = program(*command, *at(place), env=dict.fromkeys(FORCING, "1") | {"COLUMNS": "40"})
    assert (forced.returncode, forced.stdout) == (plain.returncode, plain.stdout)
    assert LONG_ID in plain.stdout or command[0] in {"tail", "doctor", "usage"}


# -- what is closed -------------------------------------------------------------------------------


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


def line(place: Place, *arguments: str) -> str:
    return " ".join([*PROGRAM, *arguments, *([] if {"--version", "--help"} & {*arguments} else at(place))])


CLOSED = [["list"], ["export", "--all"], ["--version"], ["stats", LONG_ID], ["report", LONG_ID], ["doctor"]]


@pytest.mark.parametrize("command", CLOSED, ids=named)
def test_a_closed_output_is_told_of(command: list[str], place: Place) -> None:
    ended = in_shell(line(place, *command) + " >&-")
    assert (ended.returncode, ended.stderr) == (3, "Error: the standard output is closed; nothing was done\n")


@pytest.mark.parametrize("command", [*CLOSED, ["--help"]], ids=named)
def test_a_full_output_is_told_of(command: list[str], place: Place) -> None:
    ended = in_shell(line(place, *command) + " >/dev/full")
    assert ended.returncode == 3
    assert "cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_closed_input_is_told_of(place: Place) -> None:
    ended = in_shell(line(place, "import", "-") + " <&-")
    assert ended.returncode == 2
    assert "the standard input is closed" in ended.stderr
    asked = in_shell(line(place, "delete", LONG_ID) + " <&-")
    assert asked.returncode == 2
    assert "confirm with --yes" in asked.stderr


def test_nothing_is_written_into_a_store_whose_number_a_closed_stream_had(place: Place) -> None:
    for closed in (">&- 2>&- <&-", "2>&-", ">&-"):
        in_shell(line(place, "list") + f" {closed}")
        in_shell(line(place, "show", "nobody") + f" {closed}")
    assert json.loads(program("doctor", "--json", *at(place)).stdout)["damaged"] == {}


def test_without_an_error_output_the_results_come_all_the_same(place: Place) -> None:
    ended = in_shell(line(place, "list") + " 2>&-")
    assert (ended.returncode, LONG_ID in ended.stdout) == (0, True)


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["export", LONG_ID], ["report", LONG_ID]], ids=named)
def test_a_file_is_for_its_owner_s_eyes_only(
    cli: Callable[..., Ended], command: list[str], place: Place, tmp_path: Path
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("before")
    old.chmod(0o644)
    for path in (new, old):
        assert cli(*command, "-o", path, at=place).code == 0
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_size > 6
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


def test_texts_in_the_report_take_their_own_direction(cli: Callable[..., Ended], place: Place) -> None:
    page = cli("report", LONG_ID, at=place).out
    assert '<p dir="auto">سلام' in page
    assert "<pre>" not in page
    assert "<p>" not in page


# -- costs ----------------------------------------------------------------------------------------


async def spend(place: Place) -> None:
    async with place.store() as store:
        asked = SessionManager("asked", store=store)
        await asked.user_says("Hello")
        usage = {"input_tokens": 9, "output_tokens": 1}
        unknown = SessionManager("unknown", store=store)
        await unknown.ai_responds(
            "Hello", model="a-model-of-nobody", usage={"input_tokens": 9, "output_tokens": 1}
        )
        tiny = SessionManager("tiny", store=store)
        await tiny.ai_responds(
            "Hello", model="m", usage={"input_tokens": 9, "output_tokens": 1, "cost": 1.2e-7}
        )
        some = SessionManager("some", store=store)
        await some.ai_responds("Hello", model="m", usage=usage | {"cost": 0.5})
        await some.ai_responds("Hi", model="a-model-of-nobody", usage=usage)


def test_a_cost_that_nobody_knows_is_told_from_none_and_a_tiny_one_from_nothing(
    cli: Callable[..., Ended], tmp_path: Path
) -> None:
    place = Place(f"sqlite:///{tmp_path / 'costs.db'}")
    run(spend, place)
    listed = cli("list", at=place).out
    costs = {row.split("\t")[0]: row.split("\t")[5] for row in listed.splitlines()}
    assert costs == {"asked": "0.000000", "unknown": "unknown", "tiny": "0.00000012", "some": "0.500000"}
    rows = cli("list", "--json", at=place).json["sessions"]
    told = {row["id"]: (row["cost_usd"], row["unpriced_calls"]) for row in rows}
    assert told == {"asked": (0.0, 0), "unknown": (None, 1), "tiny": (1.2e-7, 0), "some": (0.5, 1)}
    stats = cli("stats", "unknown", "--json", at=place).json
    assert (stats["cost_usd"], stats["models"]["a-model-of-nobody"]["cost_usd"]) == (None, None)
    page = cli("report", "unknown", at=place).out
    assert "<dd>unknown<small>1 model call" in page
    assert "no known price" in cli("show", "unknown", at=place).out


def test_small_sums() -> None:
    assert [dollars(each) for each in (0, 1.2e-7, 0.00012, 1.5, 1234.5)] == [
        "$0.0000",
        "$0.00000012",
        "$0.000120",
        "$1.5000",
        "$1,234.50",
    ]
    assert [plain_dollars(each) for each in (0.0, 1.2e-7, 0.5)] == ["0.000000", "0.00000012", "0.500000"]


# -- without being installed ----------------------------------------------------------------------


NOT_INSTALLED = """
import importlib.metadata as metadata, sys
known = metadata.Distribution.from_name.__func__
def from_name(cls, name):
    if name.replace("_", "-") == "chuk-ai-session-manager":
        raise metadata.PackageNotFoundError(name)
    return known(cls, name)
metadata.Distribution.from_name = classmethod(from_name)
import chuk_ai_session_manager
assert chuk_ai_session_manager.__file__.startswith(sys.argv.pop(1)), chuk_ai_session_manager.__file__
sys.argv[0] = "chuk-ai-sessions"
from chuk_ai_session_manager.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "command", [["--version"], ["doctor"], ["report", LONG_ID]], ids=lambda each: each[0]
)
def test_the_command_runs_from_a_zip_that_is_not_installed(
    command: list[str], place: Place, tmp_path: Path
) -> None:
    package = Path(chuk_ai_session_manager.__file__).parent
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in package.rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                file.write(path, path.relative_to(package.parent))
    where = [] if command == ["--version"] else at(place)
    ended = subprocess.run(
        [sys.executable, "-c", NOT_INSTALLED, str(archive), *command, *where],
        env=ENVIRONMENT | {"PYTHONPATH": str(archive)},
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert installed._RELEASE in ended.stdout


def test_the_release_that_it_says_then_is_this_one() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert f'version = "{installed._RELEASE}"' in project
