"""The command line: the doctor, mistakes, and stores that cannot be used."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import CANARY, Ended, seed
from hypothesis import given
from hypothesis import strategies as st
from places import Place, everywhere, run

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.cli.safe_text import shown, shown_in_line
from chuk_ai_session_manager.cli.screen import bar
from chuk_ai_session_manager.stores import open_store

# -- checking -------------------------------------------------------------------------------------


@everywhere
def test_doctor_finds_a_healthy_store_healthy(place: Place, cli: Callable[..., Ended]) -> None:
    run(seed, place)
    well = cli("doctor", at=place)
    assert (well.code, well.err) == (0, "")
    assert "Sessions  3 with 8 events" in well.out
    assert "Damaged   none" in well.out
    assert CANARY not in well.out
    found = cli("doctor", "--json", at=place).json
    assert (found["sessions"], found["events"], found["damaged"], found["schema"]) == (3, 8, {}, 2)
    assert found["durability"]["provider"] == place.url.partition(":")[0]
    assert found["server_version"]
    assert found["packages"]["typer"]


def test_doctor_names_what_is_damaged_and_goes_on(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    chain = run(seed, place)
    with sqlite3.connect(tmp_path / "a.db") as db:
        keys = dict(db.execute("SELECT id, key FROM sessions"))
        db.execute("UPDATE events SET body = ? WHERE session = ?", (f'{{"x": "{CANARY}"', keys["alone"]))
        db.execute("UPDATE sessions SET header = ? WHERE key = ?", (CANARY, keys[chain[1]]))
    db.close()
    ill = cli("doctor", at=place)
    assert ill.code == 1
    assert "Sessions  3 with 3 events" in ill.out
    assert "Damaged   2" in ill.out
    assert "✗ alone  Session alone is damaged" in ill.out
    assert f"✗ {chain[1]}  Session {chain[1]} is damaged" in ill.out
    assert CANARY not in ill.out + ill.err
    assert set(cli("doctor", "--json", at=place).json["damaged"]) == {"alone", chain[1]}

    listed = cli("list", at=place)
    assert listed.code == 0
    assert f"{chain[1]}\t\tdamaged" in listed.out
    rows = {row["id"]: row for row in cli("list", "--json", at=place).json["sessions"]}
    assert (rows[chain[1]]["segment"], rows[chain[1]]["events"]) == ("damaged", None)
    assert len({tuple(row) for row in rows.values()}) == 1  # the same names, in the same order
    for command in ("show", "stats", "export", "tail"):
        refused = cli(command, "alone", at=place)
        assert refused.code == 1, command
        assert "Session alone is damaged" in refused.err
    everything = cli("export", "--all", at=place)
    assert everything.code == 1
    assert everything.out == ""
    told = everything.err.splitlines()
    assert len(told) == 2
    assert any(line.startswith("left out: Session alone is damaged") for line in told)
    assert cli("delete", "alone", "--yes", at=place).code == 0


async def test_doctor_goes_on_past_a_key_of_another_kind(redis_server: Any) -> None:
    from chuk_ai_session_manager.cli.checkup import check_up

    place = Place(redis_server.url)
    await seed(place)
    async with place.store() as store:
        with redis_server.client() as client:
            key = next(
                key
                for key in client.scan_iter(match=f"casm:*{place.sandbox}:*alone*")
                if client.type(key) in {"hash", b"hash"}
            )
            client.delete(key)
            client.set(key, CANARY)
        found = await check_up(store)
    assert set(found.damaged) == {"alone"}
    assert found.sessions == 3


# -- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "nobody"], 1, "Error: Session nobody not found in sqlite:///"),
        (["stats", "nobody"], 1, "Is it another --store or --sandbox"),
        (["tail", "nobody"], 1, "not found"),
        (["tail", "nobody", "-f"], 1, "not found"),
        (["export", "nobody"], 1, "not found"),
        (["report", "nobody"], 1, "not found"),
        (["show", "\x1b[31mnobody"], 1, "Error: Session ␛[31mnobody not found"),
        (["export"], 2, "or use --all"),
        (["export", "--all", "one"], 2, "or use --all"),
        (["list", "-n", "0"], 2, "--limit"),
        (["list", "-n", "99999999999999999999"], 2, "--limit"),
        (["show", "two\nlines"], 1, "Session two␊lines not found"),
        (["list", "--cursor", "x"], 2, "the cursor is invalid"),
        (["import", "/nowhere"], 2, "/nowhere cannot be read: No such file or directory"),
        (["import", "/nowhere", "--format", "xml"], 2, "--format"),
        (["frobnicate"], 2, "No such command 'frobnicate'"),
        (["show"], 2, "SESSION"),
    ],
)
def test_mistakes_end_in_words(
    arguments: list[str], code: int, words: str, cli: Callable[..., Ended], tmp_path: Path
) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    where = place if arguments[0] != "frobnicate" else None
    ended = cli(*arguments, at=where)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("store", "code", "words"),
    [
        ("sqlite:////nowhere/at/all.db", 1, "The file /nowhere/at/all.db does not exist"),
        ("memory://", 2, "sessions in memory end with their process"),
        ("mongodb://u:CANARY-4711@host/0", 2, "Unknown session provider 'mongodb'"),
        ("redis://u:CANARY-4711@host:notaport/0", 2, ""),
        ("redis://u:CANARY-4711@127.0.0.1:9/0", 3, "redis://***@127.0.0.1:9/0: Redis did not answer"),
        ("CANARY-4711", 2, "--store takes a URL. Name a store: --store sqlite:///"),
        ("", 2, "--store takes a URL"),  # as of a variable that is not set: not the environment's store
    ],
)
def test_stores_that_cannot_be_used_are_told_of(
    store: str, code: int, words: str, cli: Callable[..., Ended]
) -> None:
    ended = cli("list", "--store", store)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "CANARY" not in ended.err
    assert "Traceback" not in ended.err


def test_another_file_is_left_alone(cli: Callable[..., Ended], tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine " * 1_000)
    ended = cli("doctor", "--store", f"sqlite:///{file}")
    assert ended.code == 1
    assert "it is not a SQLite database" in ended.err
    assert file.read_text() == "mine " * 1_000


def test_the_environment_names_the_store(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = cli("list")
    assert nowhere.code == 2
    assert "set SESSION_PROVIDER" in nowhere.err
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    monkeypatch.setenv("SESSION_PROVIDER", "sqlite")
    assert "SESSION_SQLITE_PATH" in cli("list").err
    monkeypatch.setenv("SESSION_SQLITE_PATH", str(tmp_path / "a.db"))
    assert cli("list").out == ""
    monkeypatch.setenv("CHUK_SANDBOX_ID", place.sandbox)
    assert len(cli("list").out.splitlines()) == 3


def test_no_sandbox_is_not_the_usual_one(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    ended = cli("list", "--store", place.url, "--sandbox", "")
    assert (ended.code, ended.out) == (2, "")
    assert "sandbox_id" in ended.err


def test_another_sandboxs_session_is_not_there(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    run(seed, place)
    for command in ("show", "stats", "tail", "export", "report"):
        assert cli(command, "alone", at=place.fresh()).code == 1
    assert cli("delete", "alone", "--yes", at=place.fresh()).code == 1
    assert cli("show", "alone", at=place).code == 0


def test_a_password_is_not_shown(cli: Callable[..., Ended], redis_server: Any) -> None:
    url = redis_server.url.replace("redis://", f"redis://default:{CANARY}@")
    ended = cli("doctor", "--store", url)
    assert ended.code in {0, 3}  # the server may take any password, having none
    assert CANARY not in ended.out + ended.err


# -- text -----------------------------------------------------------------------------------------


def test_what_a_terminal_would_act_on_is_shown() -> None:
    assert shown("a\x1b[0m\x00\x7f\x9b\u2028\ud800") == "a␛[0m␀␡\\x9b\\u2028\\ud800"
    for harmless in ("line\nline\ttab", "👩‍👩‍👧‍👦 漢字 שלום", "naïve"):
        assert shown(harmless) == harmless
    assert shown("a\r\nb\rc") == "a\nb␍c"


@given(st.text(st.characters()))
def test_no_text_does_anything(text: str) -> None:
    harmless = shown(text)
    kinds = {unicodedata.category(char) for char in harmless if char not in "\n\t"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    directions = {unicodedata.bidirectional(char) for char in harmless}
    assert not directions & {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert shown(harmless) == harmless
    assert "\n" not in shown_in_line(text)
    harmless.encode()


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, ""), (1, "████"), (0.5, "██"), (0.001, "▏"), (2, "████"), (-1, ""), (0.53, "██▏")],
)
def test_bars(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_a_store_is_opened_as_anywhere(cli: Callable[..., Ended], tmp_path: Path) -> None:
    async def told() -> str:
        async with open_store(f"sqlite:///{tmp_path / 'a.db'}") as store:
            await SessionManager("s", store=store).user_says("Hi")
            return str(await store.server_version())

    version = run(told)
    assert (
        cli("doctor", "--json", "--store", f"sqlite:///{tmp_path / 'a.db'}").json["server_version"] == version
    )
    assert cli("--version").out.strip()
