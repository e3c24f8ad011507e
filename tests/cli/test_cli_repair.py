"""The command that sets aside what no provider accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from command import Ended
from places import Place, on_each, run

from chuk_ai_session_manager import SessionManager
from chuk_ai_session_manager.cli.commands import run_command


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def call(*arguments: object, at: Place) -> Ended:
        code = run_command([*map(str, arguments), "--store", at.url, "--sandbox", at.sandbox])
        return Ended(code, *capfd.readouterr())

    return call


async def fill(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("talk", store=store)
        await sm.user_says("Export it.")
        await sm.tool_used("export\x1b[31m", {}, "SECRET " * 400_000)
        await sm.user_says("And now?")


async def rows(place: Place) -> Any:
    async with place.store() as store:
        return await SessionManager("talk", store=store).get_messages_for_llm(include_tools=True)


@on_each
def test_repair_shows_damage_and_sets_it_aside(place: Place, cli: Callable[..., Ended]) -> None:
    run(fill, place)
    shown = cli("repair", "talk", at=place)
    assert shown.code == 1
    assert "result of export" in shown.out
    assert not {"SECRET", "\x1b"} & set(shown.out.split())
    assert "\x1b" not in shown.out
    assert "confirm with --yes" in shown.err
    assert "SECRET" in str(run(rows, place))

    done = cli("repair", "talk", "--yes", "--json", at=place)
    assert (done.code, done.json["set_aside"], len(done.json["found"])) == (0, True, 1)
    assert "SECRET" not in str(run(rows, place))
    assert "set aside: a result of 2,800,000 characters" in str(run(rows, place))
    nothing = cli("repair", "talk", "--yes", at=place)
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "Providers accept all of it.\n")
    assert "SECRET" in cli("export", "talk", at=place).out  # nothing is deleted
    assert cli("repair", "not there", at=place).code == 1
    assert cli("repair", "talk", "--largest", "0", at=place).code == 2
