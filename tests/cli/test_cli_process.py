"""The command line as a program: in pipes, at a terminal, beside other processes, without its extra."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from places import Place, in_another_process, run
from program import ENVIRONMENT, PROGRAM, at, program, say
from rich.cells import cell_len
from running import PATIENCE, wait_until
from servers import RedisServer

from chuk_ai_session_manager import SessionManager

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(f"sqlite:///{tmp_path / 'a.db'}")


# -- as a program ---------------------------------------------------------------------------------


def test_the_command_is_a_script_and_a_module(place: Place) -> None:
    run(say, place, "s", ["Hi"])
    script = Path(sys.executable).with_name("chuk-ai-sessions")
    as_module = program("list", *at(place))
    assert as_module.returncode == 0
    assert as_module.stderr == ""
    if not script.exists():
        pytest.skip("the package was installed before it had a script: install it again")
    as_script = subprocess.run([script, "list", *at(place)], env=ENVIRONMENT, capture_output=True, check=True)
    assert as_script.stdout.decode() == as_module.stdout


def test_without_the_extra_it_says_what_to_install() -> None:
    for missing in ("typer", "rich", "jinja2"):
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from chuk_ai_session_manager.cli import main\nsys.exit(main())"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert (ended.returncode, ended.stdout) == (2, "")
        assert "pip install chuk-ai-session-manager[cli]" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_the_library_does_not_load_it() -> None:
    code = "import chuk_ai_session_manager, sys; print({'typer', 'rich', 'jinja2'} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert ended.stdout == "set()\n"


def test_a_reader_that_leaves_is_no_error(place: Place) -> None:
    run(say, place, "s", ["much to say " * 10_000] * 40)  # more than any pipe holds
    for command in ("show", "export", "report", "tail"):
        writer = subprocess.Popen(
            [*PROGRAM, command, "s", *at(place)],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.read(10)
        writer.stdout.close()
        errors = writer.stderr.read()
        writer.stderr.close()
        assert (writer.wait(PATIENCE), errors) == (141, b""), command


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_full_disk_ends_in_words(place: Place) -> None:
    run(say, place, "s", ["Hi"])
    for command in (["list"], ["list", "--json"], ["show", "s"], ["export", "s"], ["report", "s"]):
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(
                [*PROGRAM, *command, *at(place)],
                env=ENVIRONMENT,
                stdout=full,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                timeout=PATIENCE,
                check=False,
            )
        assert ended.stderr == "Error: the output cannot be written: No space left on device\n", command
        assert ended.returncode == 3


def test_what_a_pipe_cannot_take_is_written_out(place: Place) -> None:
    run(say, place, "s", ["漢字 🙂"])
    ended = program("show", "s", *at(place), env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert ended.returncode == 0
    assert "\\u6f22\\u5b57 \\U0001f642" in ended.stdout
    for encoding in ("ascii", "latin-1", "utf-8"):
        ended = program("tail", "s", "--json", *at(place), env={"PYTHONIOENCODING": encoding})
        assert json.loads(ended.stdout)["message"] == "漢字 🙂"


def test_an_outage_has_an_exit_code_of_its_own() -> None:
    with RedisServer() as server:
        place = Place(server.url)
        run(say, place, "s", ["Hi"])
        assert program("doctor", *at(place)).returncode == 0
        server.stop()
        commands = (["list"], ["doctor"], ["tail", "-f", "s"])
        with ThreadPoolExecutor() as pool:  # each tries for some seconds
            for ended in pool.map(lambda command: program(*command, *at(place)), commands):
                assert (ended.returncode, ended.stdout) == (3, ""), ended.args
                assert ended.stderr.startswith("Error: ")
                assert "Traceback" not in ended.stderr


# -- following ------------------------------------------------------------------------------------


@contextmanager
def following(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A command that goes on, and the lines that it has written so far."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    lines: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lines.extend, args=(process.stdout,))
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_what_another_process_writes_is_seen_at_once_and_in_new_segments(
    kind: str, place: Place, request: pytest.FixtureRequest
) -> None:
    if kind == "redis":
        place = Place(request.getfixturevalue("redis_server").url)
    infinite = {"infinite_context": True, "max_turns_per_segment": 2}
    run(say, place, "s", ["message 0"], **infinite)
    with following("tail", "-f", "s", "--json", *at(place)) as (process, lines):
        wait_until(lambda: len(lines) == 1, "what was there before")
        in_another_process(say, place, "s", [f"message {number}" for number in range(1, 6)], **infinite)
        wait_until(lambda: len(lines) >= 8, "six messages and two summaries")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""
    events = [json.loads(line) for line in lines]
    said = [event["message"] for event in events if event["type"] == "message"]
    assert said == [f"message {number}" for number in range(6)]
    assert len({event["session_id"] for event in events}) == 3
    assert len(events) == 8


def test_a_follower_sits_out_an_outage() -> None:
    with RedisServer(options={"appendonly": "yes"}) as server:
        place = Place(server.url)
        run(say, place, "s", ["before"])
        with following("tail", "-f", "s", *at(place)) as (process, lines):
            wait_until(lambda: any("before" in line for line in lines), "what was there before")
            server.stop()
            assert process.stderr is not None
            assert process.stderr.readline().startswith("waiting: Session s cannot be reached")
            server.start()
            run(say, place, "s", ["after"])
            wait_until(lambda: any("after" in line for line in lines), "what came after the outage")


# -- at a terminal --------------------------------------------------------------------------------


def at_a_terminal(*arguments: str, columns: int = 80, answer: str = "", **variables: str) -> tuple[int, str]:
    """The exit code of a command at a terminal, and what that got."""
    leader, follower = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": "40"}
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=ENVIRONMENT | size | variables,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    got, end = b"", time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                data = os.read(leader, 65_536)
            except OSError:  # as Linux says that nobody has the other side any more
                break
            got += data
            if answer and b"[y/N]" in got:
                os.write(leader, f"{answer}\n".encode())
                answer = ""
        elif process.poll() is not None:
            break
    code = process.wait(PATIENCE)
    os.close(leader)
    return code, got.decode().replace("\r\n", "\n")


async def seed(place: Place) -> None:
    users = {"plain": "ada", "wide": "林檎", "emoji": "🍎🍏", "hostile": "\x1b[2J\x07bob"}
    async with place.store() as store:
        for session_id, user in users.items():
            sm = SessionManager(session_id, store=store, user_id=user)
            await sm.user_says("\x1b[2J\x1b]0;owned\x07 漢字" + " and on" * 40)
            await sm.ai_responds("Yes.", model="gpt-4o", usage={"input_tokens": 5, "output_tokens": 7})


def test_a_terminal_gets_colours_and_aligned_columns_and_no_strangers_escapes(place: Place) -> None:
    run(seed, place)
    code, got = at_a_terminal("list", *at(place))
    assert code == 0
    assert "\x1b[1m" in got
    lines = ESCAPE.sub("", got).splitlines()
    assert not set("".join(lines)) & {"\x1b", "\x07"}
    heading = next(line for line in lines if "Segment" in line)
    rows = [line for line in lines if " only " in line]
    assert len(rows) == 4
    assert {cell_len(row[: row.index("only")]) for row in rows} == {heading.index("Segment")}

    code, got = at_a_terminal("show", "hostile", *at(place))
    assert code == 0
    plain = ESCAPE.sub("", got)
    assert "\x1b" not in plain
    assert "␛[2J␛]0;owned␇ 漢字" in plain
    assert all(cell_len(line) <= 80 for line in plain.splitlines())
    assert all(line.startswith("  ") for line in plain.splitlines() if " and on" in line)  # wrapped, indented
    for command in (["stats", "hostile"], ["tail", "hostile"], ["doctor"], ["show", "hostile", "--json"]):
        code, got = at_a_terminal(*command, *at(place))
        assert code == 0
        assert not set(ESCAPE.sub("", got)) & {"\x1b", "\x07"}, command
        assert "[2J" not in got.replace("␛[2J", "").replace("\\u001b[2J", "")
    code, got = at_a_terminal("export", "hostile", *at(place))
    assert "\x1b" not in got


@pytest.mark.parametrize("columns", [20, 40, 60])
def test_nothing_is_lost_where_columns_do_not_fit(place: Place, columns: int) -> None:
    run(seed, place)
    for command, words in {
        ("list",): ("plain", "ada", "only", "Events", "Ago", "now", "$"),
        ("stats", "plain"): ("Model", "gpt-4o", "Output", "7", "Cost"),
    }.items():
        code, got = at_a_terminal(*command, *at(place), columns=columns)
        lines = ESCAPE.sub("", got).splitlines()
        assert code == 0
        assert all(cell_len(line) <= columns for line in lines)
        assert [word for word in words if not any(word in line for line in lines)] == []


def test_a_very_long_text_is_shown_whole(place: Place) -> None:
    run(say, place, "s", ["\x1b[2Jword " * 30_000 + "\nEND"])
    code, got = at_a_terminal("show", "s", *at(place))
    assert code == 0
    assert got.count("␛[2Jword") == 30_000
    assert "\n  END\n" in got


def test_no_colours_where_none_are_wanted(place: Place) -> None:
    run(seed, place)
    code, got = at_a_terminal("show", "plain", *at(place), NO_COLOR="1", TERM="dumb")
    assert (code, "\x1b" in got) == (0, False)
    piped = program("show", "plain", *at(place)).stdout
    assert "\x1b" not in piped
    assert not re.search("[─━]{3}", piped)


def test_delete_asks(place: Place) -> None:
    run(seed, place)
    code, got = at_a_terminal("delete", "plain", *at(place), answer="n")
    assert code == 1
    assert "Delete session plain? [y/N]" in got
    assert "Nothing was deleted." in got
    assert program("show", "plain", *at(place)).returncode == 0
    code, got = at_a_terminal("delete", "plain", *at(place), answer="y")
    assert (code, "Deleted session plain." in got) == (0, True)
    assert program("show", "plain", *at(place)).returncode == 1


def test_erase_asks(place: Place) -> None:
    run(seed, place)
    code, got = at_a_terminal("erase", "plain", *at(place), answer="n")
    assert (code, "Nothing was erased." in got) == (1, True)
    assert "Erase the conversation of plain, with every copy? [y/N]" in got
    assert program("show", "plain", *at(place)).returncode == 0
    code, got = at_a_terminal("erase", "plain", *at(place), answer="y")
    assert (code, "Erased 1 conversation" in got) == (0, True)
    assert program("show", "plain", *at(place)).returncode == 1


def test_a_page_is_not_for_a_terminal(place: Place) -> None:
    run(seed, place)
    code, got = at_a_terminal("report", "plain", *at(place))
    assert code == 2
    assert "name a file with -o" in got
