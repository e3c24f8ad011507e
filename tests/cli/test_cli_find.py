"""`find`, and `show --around`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Ended
from places import Place, run
from program import at, program, say

from chuk_ai_session_manager import SessionManager


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    place = Place(f"sqlite:///{tmp_path / 'a.db'}")
    filler = [f"Filler number {n}." for n in range(12)]
    await say(place, "a1", [*filler, "The blue zeppelins are in Ulm.", *filler], user_id="ann")
    await say(place, "b1", ["The parrot is \x1b[31mred."], user_id="bob")
    return place


def test_what_was_said_is_found_with_the_way_to_it(cli: Callable[..., Ended], place: Place) -> None:
    found = program("find", "zeppelin", "-n", "1", "--json", *at(place))
    [hit] = json.loads(found.stdout)["hits"]
    assert hit["session_id"] == "a1"
    assert [hit["text"][start:end] for start, end in hit["hits"]] == ["zeppelins"]
    assert hit["show"] == f"chuk-ai-sessions show a1 --around {hit['event_id']}"
    shown = cli(*hit["show"].split()[1:], at=place)
    assert shown.code == 0, shown.err
    assert "The blue zeppelins are in Ulm." in shown.out
    assert shown.out.count("Filler number") == 10
    assert "7 earlier events are not shown" in shown.out
    events = cli(*hit["show"].split()[1:], "--json", at=place).json
    assert [event["id"] for event in events["events"]].index(hit["event_id"]) == 5


def test_the_way_to_a_hit_is_quoted_for_a_shell(cli: Callable[..., Ended], tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'quoted.db'}")
    session_id = "it's $(exit 3); a > b"
    run(say, place, session_id, ["A zeppelin."])
    [hit] = cli("find", "zeppelin", "--json", at=place).json["hits"]
    _, *arguments = shlex.split(hit["show"])
    assert arguments == ["show", session_id, "--around", hit["event_id"]]
    assert "A zeppelin." in cli(*arguments, at=place).out


def test_messages_that_only_stand_beside_a_hit_are_not_shown(cli: Callable[..., Ended], place: Place) -> None:
    hits = cli("find", "zeppelin", "--json", at=place).json["hits"]
    assert [hit["text"] for hit in hits] == ["The blue zeppelins are in Ulm."]
    assert len(cli("find", "filler", "-n", "5", "--json", at=place).json["hits"]) == 5


def test_a_pipe_gets_a_line_for_each_hit_and_only_the_users(cli: Callable[..., Ended], place: Place) -> None:
    line = cli("find", "Where are the zeppelins?", "--user", "ann", "-n", "1", at=place).out
    assert line.split("\t")[0] == "a1"
    assert line.rstrip("\n").split("\t")[3:] == ["user", "The blue zeppelins are in Ulm."]
    assert cli("find", "parrot", "--user", "ann", at=place).out == ""
    assert "\x1b" not in cli("find", "parrot", at=place).out


@pytest.mark.parametrize(
    "arguments",
    [["find", " "], ["find"], ["find", "x", "-n", "0"], ["show", "a1", "--around", "x", "--last", "2"],
     ["show", "a1", "--around", "no-such-event"]],
)  # fmt: skip
def test_bad_input_is_refused(cli: Callable[..., Ended], arguments: list[str], place: Place) -> None:
    refused = cli(*arguments, at=place)
    assert refused.code != 0
    assert "Traceback" not in refused.err
    assert refused.err


async def ask(place: Place) -> None:
    async with place.store() as store:
        sm = SessionManager("a1", store=store, user_id="ann")
        await sm.user_says("Where are the zeppelins?")
        await sm.get_messages_for_llm(recall=True, max_tokens=120)
        await sm.ai_responds("In Ulm.", model="gpt-4o")


def test_what_was_recalled_is_shown_with_all_only(cli: Callable[..., Ended], place: Place) -> None:
    run(ask, place)
    assert "recalled" not in cli("show", "a1", at=place).out
    assert "were shown beside the question" in cli("show", "a1", "--all", at=place).out
